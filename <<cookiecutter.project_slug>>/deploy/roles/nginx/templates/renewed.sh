#!/bin/sh
# {{ ansible_managed }}
set -eu
umask 077
cp /etc/letsencrypt/live/{{ project_slug }}/fullchain.pem {{ nginx_tls_folder }}/certificate.pem
cp /etc/letsencrypt/live/{{ project_slug }}/privkey.pem {{ nginx_tls_folder }}/key.pem
nginx -t -q
service nginx reload
