#!/usr/bin/env bash
# examples/16_proxy between what is not ours: socat, and Python's asyncio, on both sides. What goes through is the same on the other
# side, half closes and ends arrive, and Ctrl-C ends it.
# ctest: timeout=180 serial
set -uo pipefail
proxy=$BUILD_DIR/examples/16_proxy
if [ ! -x "$proxy" ]; then
    echo "skipped: the examples are not built (CASYNCIO_EXAMPLES)"
    exit 77
fi
. "$SOURCE_DIR/tests/scratch.sh"

# A program that tells its port in its first line: the port is in $port, its number in $pid.
start() {
    local output=$work/start.$RANDOM
    : >"$output"
    "$@" >"$output" 2>"$output.errors" &
    pid=$!
    started+=("$pid")
    for _ in $(seq 600); do
        port=$(sed -nE '1s/.*[^0-9]([0-9]+)$/\1/p' "$output")
        [ -z "$port" ] || return 0
        sleep 0.1
    done
    echo "$* does not start: $(cat "$output.errors")" >&2
    exit 1
}

head -c 20000000 /dev/urandom >"$work/data"
tail -c 3000000 "$work/data" >"$work/answer"

if command -v socat >/dev/null; then
    # A server that reads to the end, and answers after that: the half close goes through, and so does the answer.
    cat >"$work/server.sh" <<END
cat >"$work/received"
cat "$work/answer"
END
    start bash -c "exec socat -d -d TCP-LISTEN:0,bind=127.0.0.1,fork 'EXEC:bash $work/server.sh' 2>&1"
    start env --default-signal=INT "$proxy" 0 127.0.0.1 "$port"
    for i in 1 2 3; do
        socat -t 60 - "TCP:127.0.0.1:$port" <"$work/data" >"$work/back"
        cmp "$work/data" "$work/received" || fault "socat, $i: the server has received something else"
        cmp "$work/answer" "$work/back" || fault "socat, $i: the answer is another one"
    done
    kill -INT "$pid"
    wait "$pid"
    [ $? = 0 ] || fault "Ctrl-C: the proxy's exit status is not 0"
else
    echo "socat is not installed: left out"
fi

if command -v python3 >/dev/null; then
    cat >"$work/echo.py" <<'END'
import asyncio

async def echo(reader, writer):
    while data := await reader.read(100000):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
    await writer.drain()
    writer.close()

async def main():
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    print('port', server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
END
    cat >"$work/clients.py" <<'END'
import asyncio, os, sys

async def client(port, size):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    data = os.urandom(size)
    async def send():
        writer.write(data)
        await writer.drain()
        writer.write_eof()
    sending = asyncio.create_task(send())
    assert await reader.read() == data, size
    await sending
    writer.close()

async def main():
    port = int(sys.argv[1])
    await asyncio.gather(*(client(port, size) for size in [0, 1, 1000, 70000, 3000000] * 10))

asyncio.run(main())
END
    start python3 "$work/echo.py"
    start "$proxy" 0 localhost "$port"
    python3 "$work/clients.py" "$port" || fault "asyncio's clients have failed"
    # A server that is gone: the client's connection ends, and the proxy goes on.
    kill "${started[-2]}"
    wait "${started[-2]}" 2>/dev/null
    for _ in 1 2; do
        timeout 60 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port; cat <&3" >"$work/nothing" || fault "a client of a dead server hangs"
        [ ! -s "$work/nothing" ] || fault "a client of a dead server has got something"
    done
    kill -0 "$pid" || fault "the proxy has died with its server"
else
    echo "python3 is not installed: left out"
fi
exit $((faults > 0))
