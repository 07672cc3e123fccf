#!/usr/bin/env bash
# STARTTLS with a mail server: the example's client and a Postfix of the test's own, on a port of the loopback interface.
# ctest: labels=programs timeout=180
set -uo pipefail
programs=$BUILD_DIR/examples
export PATH="$PATH:/usr/sbin:/sbin"
for needed in openssl python3 postfix; do
    command -v $needed >/dev/null || { echo "skipped: $needed is not installed"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "skipped: only root can start Postfix"; exit 77; }
[ -x "$programs/18_starttls" ] || { echo "skipped: the examples are not built (CASYNCIO_EXAMPLES)"; exit 77; }
. "$SOURCE_DIR/tests/scratch.sh"

cd "$work"
chmod 711 . # for Postfix's own user
mkdir conf queue data
chown postfix data
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out crt -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost 2>/dev/null || fault "openssl req"
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
cat >conf/main.cf <<EOF
compatibility_level = 3.6
queue_directory = $work/queue
data_directory = $work/data
command_directory = /usr/sbin
daemon_directory = $(postconf -d -h daemon_directory)
maillog_file = $work/log
maillog_file_prefixes = $work
myhostname = mail.test
inet_interfaces = loopback-only
inet_protocols = ipv4
smtpd_tls_security_level = may
smtpd_tls_cert_file = $work/crt
smtpd_tls_key_file = $work/key
smtpd_relay_restrictions = reject
alias_maps =
local_recipient_maps =
EOF
cat >conf/master.cf <<EOF
127.0.0.1:$port inet n - n - - smtpd
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
EOF
: >conf/dynamicmaps.cf
stop() {
    postfix -c "$work/conf" stop >/dev/null 2>&1
    wait # for the one below, whose shell does not pass signals on
}
trap 'stop; leave' EXIT
postfix -c "$work/conf" start-fg >start.log 2>&1 &
server=$!
for ((i = 0; i < 1500; i++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break
    kill -0 $server 2>/dev/null || { fault "Postfix does not start: $(cat start.log log 2>/dev/null)"; exit 1; }
    sleep 0.02
done

got=$("$programs/18_starttls" localhost "$port" crt 2>&1 | tr -d '\r')
for expected in '220 mail.test ESMTP Postfix*' '250-STARTTLS' '-- TLSv1.3, CN=localhost, of CN=localhost' '221 2.0.0 Bye'; do
    found=no
    while IFS= read -r line; do
        # shellcheck disable=SC2053
        [[ $line == $expected ]] && found=yes
    done <<<"$got"
    [ $found = yes ] || fault "no line '$expected' in: $got"
done
# Before TLS it offers STARTTLS, and afterwards no more.
[ "$(grep -c STARTTLS <<<"$got")" = 1 ] || fault "STARTTLS is not offered once: $got"
got=$("$programs/18_starttls" 127.0.0.1 "$port" crt 2>&1) && fault "a wrong name: $got"
[[ $got == *"is not for 127.0.0.1, but for localhost"* ]] || fault "a wrong name: $got"
[ $faults = 0 ] || cat log start.log 2>/dev/null
[ $faults = 0 ]
