/* WebSockets with other implementations: python3-websockets and python3-aiohttp, each as a client of our
 * server and as the server of our client, over TCP on the loopback, and over TLS.
 *
 * ctest: timeout=240 */
#include "../tls/pki.h"
#include "websocket_test.h"

#include <casyncio/subprocess.h>
#include <casyncio/tls.h>

#define PYTHON "/usr/bin/python3"

/* Each says what is wrong by its exit status and standard error. */
static const char websockets_client[] =
    "import asyncio, sys, websockets\n"
    "from websockets.exceptions import ConnectionClosed\n"
    "async def main(port):\n"
    "    for compression in 'deflate', None:\n"
    "        async with websockets.connect(f'ws://127.0.0.1:{port}/', compression=compression,\n"
    "                subprotocols=['b', 'a'], max_size=None) as ws:\n"
    "            assert ws.subprotocol == 'a', ws.subprotocol\n"
    "            extensions = getattr(ws, 'protocol', ws).extensions\n"
    "            assert bool(extensions) == bool(compression), extensions\n"
    "            for size in 0, 1, 125, 126, 65535, 65536, 500000:\n"
    "                for message in 'ä' * (size // 2), b'\\0x' * (size // 2), 'x' * size:\n"
    "                    await ws.send(message)\n"
    "                    assert await ws.recv() == message\n"
    "            await ws.send(['in ', 'frag', '', 'ments'])\n"
    "            assert await ws.recv() == 'in fragments'\n"
    "            await asyncio.wait_for(await ws.ping(), 100)\n"
    "            await ws.close(4321, 'bye')\n"
    "            assert ws.close_code == 4321, ws.close_code\n"
    "        async with websockets.connect(f'ws://127.0.0.1:{port}/') as ws:\n"
    "            await ws.send('x' * 2000000)\n"
    "            try:\n"
    "                await ws.recv()\n"
    "                assert False\n"
    "            except ConnectionClosed:\n"
    "                assert ws.close_code == 1009, ws.close_code\n"
    "    try:\n"
    "        await websockets.connect(f'ws://127.0.0.1:{port}/', origin='http://evil.example')\n"
    "        assert False\n"
    "    except websockets.exceptions.InvalidHandshake as error:\n"
    "        assert getattr(error, 'response', error).status_code == 403\n"
    "asyncio.run(main(int(sys.argv[1])))\n";

static const char aiohttp_client[] =
    "import asyncio, sys, aiohttp\n"
    "async def main(port):\n"
    "    async with aiohttp.ClientSession() as session:\n"
    "        for compress in 0, 15, 10:\n"
    "            async with session.ws_connect(f'http://127.0.0.1:{port}/', compress=compress,\n"
    "                    protocols=['a'], max_msg_size=0) as ws:\n"
    "                assert ws.protocol == 'a'\n"
    "                for size in 0, 1, 126, 65536, 300000:\n"
    "                    await ws.send_str('y' * size)\n"
    "                    assert await ws.receive_str() == 'y' * size\n"
    "                    await ws.send_bytes(b'z' * size)\n"
    "                    assert await ws.receive_bytes() == b'z' * size\n"
    "                await ws.close(code=3001)\n"
    "                assert ws.close_code == 3001, ws.close_code\n"
    "asyncio.run(main(int(sys.argv[1])))\n";

static const char websockets_server[] =
    "import asyncio, sys, websockets\n"
    "async def echo(ws, *_):\n"
    "    async for message in ws:\n"
    "        if message == 'fragments':\n"
    "            message = ['in ', '', 'fragments']\n"
    "        if message == 'close':\n"
    "            await ws.close(4000, 'as asked')\n"
    "            return\n"
    "        await ws.send(message)\n"
    "async def main():\n"
    "    async with websockets.serve(echo, '127.0.0.1', 0, subprotocols=['a'], max_size=None) as "
    "server:\n"
    "        print(server.sockets[0].getsockname()[1], flush=True)\n"
    "        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)\n"
    "asyncio.run(main())\n";

static const char aiohttp_server[] =
    "import asyncio, sys\n"
    "from aiohttp import web\n"
    "async def echo(request):\n"
    "    ws = web.WebSocketResponse(protocols=['a'], max_msg_size=0)\n"
    "    await ws.prepare(request)\n"
    "    async for message in ws:\n"
    "        if message.data == 'close':\n"
    "            await ws.close(code=4000, message=b'as asked')\n"
    "        elif message.data == 'fragments':\n"
    "            await ws.send_str('in fragments')\n"
    "        elif message.type == web.WSMsgType.TEXT:\n"
    "            await ws.send_str(message.data)\n"
    "        else:\n"
    "            await ws.send_bytes(message.data)\n"
    "    return ws\n"
    "async def main():\n"
    "    app = web.Application()\n"
    "    app.router.add_get('/', echo)\n"
    "    runner = web.AppRunner(app)\n"
    "    await runner.setup()\n"
    "    site = web.TCPSite(runner, '127.0.0.1', 0)\n"
    "    await site.start()\n"
    "    print(site._server.sockets[0].getsockname()[1], flush=True)\n"
    "    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)\n"
    "asyncio.run(main())\n";

static bool can_import(const char *module)
{
    char command[100];
    snprintf(command, sizeof command, PYTHON " -c 'import %s' 2>/dev/null", module);
    if (access(PYTHON, X_OK) == 0 && system(command) == 0) return true;
    print_message("skipped: python3 cannot import %s\n", module);
    return false;
}

static const char *const only_a[] = {"a", NULL};

/* ---- clients of ours ---- */

static int echo_here(struct async_http_request *request)
{
    async_websocket *socket = async_websocket_accept(
        request, &(async_websocket_options){.subprotocols = only_a, .fragment = 1000});
    int code = socket ? echo(socket) : async_error_code();
    return code;
}

static int serve_here(void *server) { return async_http_serve(server); }

/* Runs a script with the port of our server. */
static int with_client(void *script)
{
    int status = -1;

    async_with_http_server (server, "127.0.0.1", 0,
                            (&(async_http_server_options){.on_error = tell})) {
        char port[10];
        async_http_route(server, "GET", "/", echo_here);
        snprintf(port, sizeof port, "%d", async_http_server_port(server));
        async_task *task = async_create_task(serve_here, server);
        async_with_process (process,
                            async_create_subprocess_exec(
                                ASYNC_ARGUMENTS(PYTHON, "-c", (const char *)script, port), NULL))
            async_process_wait(process, &status);
        async_http_shutdown(server);
        assert_int_equal(async_await(task), 0);
    }
    assert_int_equal(async_block_error(), 0);
    return status;
}

/* ---- servers for our client ---- */

static void exchange(async_websocket *socket, bool compressed)
{
    static const size_t sizes[] = {0, 1, 125, 126, 65535, 65536, 400000};
    async_websocket_message message;
    char *data = malloc(400000);

    assert_non_null(socket);
    assert_string_equal(async_websocket_subprotocol(socket), "a");
    assert_int_equal(async_websocket_compressed(socket), compressed);
    memset(data, 'x', 400000);
    for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
        enum async_websocket_type type = i % 2 ? ASYNC_WEBSOCKET_TEXT : ASYNC_WEBSOCKET_BINARY;
        assert_int_equal(async_websocket_send(socket, type, data, sizes[i / 2]), 0);
        assert_int_equal(async_websocket_receive(socket, &message), 1);
        assert_int_equal(message.type, type);
        assert_int_equal(message.size, sizes[i / 2]);
        assert_memory_equal(message.data, data, message.size);
    }
    free(data);
    async_websocket_send_text(socket, "fragments");
    assert_int_equal(async_websocket_receive(socket, &message), 1);
    assert_string_equal(message.data, "in fragments");
    async_websocket_send_text(socket, "close");
    assert_int_equal(async_websocket_receive(socket, &message), 0);
    assert_int_equal(async_websocket_close_code(socket), 4000);
    assert_string_equal(async_websocket_close_reason(socket), "as asked");
    async_websocket_free(socket);
}

static int with_server(void *script)
{
    char url[60], line[20];
    int status = -1;
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS(PYTHON, "-c", (const char *)script),
        &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE});

    assert_non_null(process);
    assert_true(async_stream_readline(async_process_stdout(process), line, sizeof line) > 0);
    snprintf(url, sizeof url, "ws://127.0.0.1:%d/", atoi(line));
    for (int i = 0; i < 4; i++) {
        async_websocket_options options = {.subprotocols = only_a,
                                           .no_compression = i == 0,
                                           .client_no_context_takeover = i == 2,
                                           .server_max_window_bits = i == 3 ? 10 : 0,
                                           .fragment = i == 1 ? 1000 : 0};
        exchange(async_websocket_connect(url, &options), i > 0);
    }
    async_stream_write_eof(async_process_stdin(process));
    async_process_wait(process, &status);
    async_process_close(process);
    return status;
}

static int run_real(async_coroutine coroutine, const char *script)
{
    return async_run_with(coroutine, (void *)(uintptr_t)script, &(async_run_options){0});
}

#define PEER(name, module, coroutine)                                                              \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        if (!can_import(module)) skip();                                                           \
        told_count = 0;                                                                            \
        assert_int_equal(run_real(coroutine, name), 0);                                            \
        if (told_count > 0) print_error("%s\n", told);                                             \
        assert_int_equal(told_count, 0);                                                           \
    }

PEER(websockets_client, "websockets", with_client)
PEER(aiohttp_client, "aiohttp", with_client)
PEER(websockets_server, "websockets", with_server)
PEER(aiohttp_server, "aiohttp", with_server)

/* ---- wss ---- */

static const char *const http_1[] = {"http/1.1", NULL};
static int tls_port;

static int serve_tls(void *server)
{
    async_tls_context *context = async_tls_server_context(&(async_tls_options){
        .certificate = pki("server.crt"), .key = pki("server.key"), .alpn = http_1});
    async_server *listener = async_tls_start_server("127.0.0.1", 0, context, NULL);

    async_tls_context_free(context);
    tls_port = async_server_port(listener);
    return async_http_serve_on(server, listener);
}

static int over_tls(void *unused)
{
    async_http_server *server =
        async_http_server_new(&(async_http_server_options){.on_error = tell});
    async_tls_context *context =
        async_tls_client_context(&(async_tls_options){.ca_file = pki("ca.crt"), .alpn = http_1});
    async_websocket_options options = {.tls = context, .subprotocols = only_a};
    async_websocket_message message;
    char url[60];

    async_http_route(server, "GET", "/", echo_here);
    async_task *task = async_create_task(serve_tls, server);
    async_checkpoint();
    while (tls_port == 0)
        async_sleep(0.01);
    snprintf(url, sizeof url, "wss://localhost:%d/", tls_port);
    async_with_websocket(socket, async_websocket_connect(url, &options))
    {
        char *data = calloc(1, 300000);
        assert_int_equal(async_websocket_send(socket, ASYNC_WEBSOCKET_BINARY, data, 300000), 0);
        assert_int_equal(async_websocket_receive(socket, &message), 1);
        assert_int_equal(message.size, 300000);
        free(data);
        assert_int_equal(async_websocket_close(socket, 1000, NULL), 0);
    }
    assert_int_equal(async_block_error(), 0);
    /* Without the test's CA nobody is believed. */
    assert_null(async_websocket_connect(url, NULL));
    assert_int_equal(async_error_code(), ASYNC_ECERT);
    async_tls_context_free(context);
    async_http_shutdown(server);
    int code = async_await(task);
    async_http_server_free(server);
    return code;
}

static void test_over_tls(void **state)
{
    (void)state;
    pki_make();
    assert_int_equal(run_real(over_tls, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_websockets_client), cmocka_unit_test(test_aiohttp_client),
        cmocka_unit_test(test_websockets_server), cmocka_unit_test(test_aiohttp_server),
        cmocka_unit_test(test_over_tls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
