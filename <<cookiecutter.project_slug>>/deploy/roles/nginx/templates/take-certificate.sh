#!/bin/sh
# {{ ansible_managed }}
set -eu
umask 077
given=/etc/letsencrypt/live/{{ project_slug }}
served={{ nginx_tls_folder }}
if cmp -s "$given/fullchain.pem" "$served/certificate.pem"; then
  exit 0
fi
# The certificate last: it says that both are there.
cp "$given/privkey.pem" "$served/key.pem"
cp "$given/fullchain.pem" "$served/certificate.pem"
nginx -t -q
service nginx reload
echo "The certificate is taken."
