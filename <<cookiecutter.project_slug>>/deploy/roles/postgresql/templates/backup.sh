#!/bin/sh
# {{ ansible_managed }}
# Dump the database, run as postgres. A dump is whole or not there; old ones go after the new one. The
# ending says to Ansible's module that it is for pg_restore.
set -eu
umask 077
folder={{ postgresql_backup_folder }}
name={{ postgresql_database }}-$(date -u +%Y%m%dT%H%M%SZ).pgc
trap 'rm -f "$folder/.unfinished"' EXIT
pg_dump --format=custom --file="$folder/.unfinished" {{ postgresql_database }}
# Refuses what it cannot read again.
pg_restore --list "$folder/.unfinished" > /dev/null
mv "$folder/.unfinished" "$folder/$name"
find "$folder" -name '*.pgc' -mtime +{{ postgresql_backup_days }} -delete
echo "$folder/$name"
