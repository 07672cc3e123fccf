#!/usr/bin/env bash
# The examples that speak TLS: the echo server and its client, with each other; the client of STARTTLS with
# a small server of Python's.
# ctest: labels=programs timeout=120
set -uo pipefail
programs=$BUILD_DIR/examples
for needed in openssl python3; do
    command -v $needed >/dev/null || { echo "skipped: $needed is not installed"; exit 77; }
done
[ -x "$programs/17_tls_echo" ] || { echo "skipped: the examples are not built (CASYNCIO_EXAMPLES)"; exit 77; }
. "$SOURCE_DIR/tests/scratch.sh"

# is LABEL EXPECTED GOT
is() { [ "$2" = "$3" ] || fault "$1: '$3', not '$2'"; }

# until_there FILE: tries for ten seconds
until_there() {
    for ((i = 0; i < 500; i++)); do
        [ ! -s "$1" ] || return 0
        sleep 0.02
    done
    fault "in vain for ten seconds: $1"
}

cd "$work"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key -out crt -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost 2>/dev/null || fault "openssl req"

env --default-signal=INT "$programs/17_tls_echo" serve 0 crt key >echo.out 2>echo.err &
server=$!
started+=($server)
until_there echo.out
port=$(sed 's/.* //' echo.out)
is "17_tls_echo" $'TLSv1.3\none\ntwo' "$("$programs/17_tls_echo" ask localhost "$port" crt one two 2>&1)"
got=$("$programs/17_tls_echo" ask 127.0.0.1 "$port" crt one 2>&1) && fault "a wrong name: $got"
[[ $got == *"is not for 127.0.0.1, but for localhost"* ]] || [[ $got == *refused* ]] || fault "a wrong name: $got"
got=$("$programs/17_tls_echo" ask localhost "$port" /nowhere one 2>&1) && fault "no CA: $got"
[[ $got == *"ca_file /nowhere: No such file"* ]] || fault "no CA: $got"
# The server goes on after a client that speaks no TLS.
printf 'GET / HTTP/1.0\r\n\r\n' | timeout 20 bash -c "exec 3<>/dev/tcp/localhost/$port; cat >&3; cat <&3 >/dev/null"
is "17_tls_echo again" $'TLSv1.3\nagain' "$("$programs/17_tls_echo" ask localhost "$port" crt again 2>&1)"
kill -INT $server
wait $server || fault "17_tls_echo serve: exit status $? after SIGINT: $(cat echo.err)"
grep -q 'does not speak TLS, but HTTP' echo.err || fault "17_tls_echo serve said: $(cat echo.err)"

cat >smtp.py <<'END'
import socket, ssl
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("crt", "key")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
def serve(connection, greeting):
    lines = connection.makefile("rb", buffering=0)
    if greeting:
        connection.sendall(b"220 mail.test ESMTP\r\n")
    for line in lines:
        word = line.split()[0]
        if word == b"EHLO":
            connection.sendall(b"250-mail.test\r\n250 STARTTLS\r\n" if greeting else b"250 mail.test\r\n")
        elif word == b"STARTTLS":
            connection.sendall(b"220 go on\r\n")
            return serve(context.wrap_socket(connection, server_side=True), False)
        elif word == b"QUIT":
            connection.sendall(b"221 bye\r\n")
            connection.unwrap()
            return
serve(connection, True)
END
python3 smtp.py >smtp.out &
started+=($!)
until_there smtp.out
is "18_starttls" $'220 mail.test ESMTP\n250-mail.test\n250 STARTTLS\n220 go on\n-- TLSv1.3, CN=localhost, of CN=localhost\n250 mail.test\n221 bye' \
    "$("$programs/18_starttls" localhost "$(cat smtp.out)" crt 2>&1 | tr -d '\r')"
"$programs/18_starttls" >/dev/null 2>&1
is "18_starttls without arguments" 2 $?
[ $faults = 0 ]
