#!/bin/sh
# Makes an authority, a certificate for the broker, and passwords, for a trial on one machine.
# Usage: sh deploy/certificates.sh DIR [HOST]
set -eu
folder=${1:?usage: certificates.sh DIR [HOST]}
host=${2:-broker}
umask 077
mkdir -p "$folder/tls"
cd "$folder/tls"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=worker trial authority" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign \
    -keyout ../ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj "/CN=$host" -keyout broker.key -out broker.csr
printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1\n' "$host" > broker.ext
openssl x509 -req -in broker.csr -CA ca.pem -CAkey ../ca.key -CAcreateserial -days 30 \
    -CAserial ../ca.srl -extfile broker.ext -out broker.pem
rm -f broker.csr broker.ext
# The broker and the workers of the compose file are users of their own.
chmod 755 .
chmod 644 ca.pem broker.pem broker.key
cd ..
: > passwords
openssl rand -hex 16 > database_password
for user in control north south alice operator; do
    password=$(openssl rand -hex 16)
    mosquitto_passwd -b passwords "$user" "$password"
    file=$user
    [ "$user" = control ] && file=control-plane
    printf 'WORKER_MQTT_PASSWORD=%s\n' "$password" > "$file.env"
done
printf 'PGPASSWORD=%s\n' "$(cat database_password)" >> control-plane.env
chmod 644 passwords
