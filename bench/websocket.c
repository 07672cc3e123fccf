/* websocket: echo of binary messages by a handler and async_for, beside a plain epoll loop that unmasks and
 * sends back, the limit; libwebsockets, if it was there at build time, and python3-websockets, if it is
 * there now: the server's CPU time for a message, in ns.
 *
 * The load is that of echo, behind a handshake without compression. */
#include "bench.h"

#include <casyncio.h>
#include <casyncio/http_server.h>
#include <casyncio/websocket.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/child.h"
#include "support/load.h"

enum { TURNS = 25, LARGEST = 16000 };

static const char upgrade[] = "GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/* ---- the server ---- */

static int echo(struct async_http_request *request)
{
    async_websocket *socket = async_websocket_accept(request, NULL);
    async_for (async_websocket_message, message, async_websocket_messages(socket))
        async_websocket_send(socket, message.type, message.data, message.size);
    return 0;
}

static int serve(void *unused)
{
    (void)unused;
    async_with_http_server (server, "127.0.0.1", 0, NULL) {
        async_http_route(server, "GET", "/echo", echo);
        bench_tell(async_http_server_port(server));
        async_http_serve(server);
    }
    return async_block_error();
}

static void run_server(void *unused)
{
    (void)unused;
    async_run(serve, NULL);
}

/* ---- the limit ---- */

/* A frame comes as a whole: the load sends one at a time. */
static void answer(int fd, const char *bytes, size_t size)
{
    static const char switching[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                    "Connection: Upgrade\r\n"
                                    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    static char out[LARGEST + 8];
    size_t head = (bytes[1] & 0x7f) == 126 ? 4 : 2;

    if (bytes[0] == 'G') {
        load_send_all(fd, switching, sizeof switching - 1);
        return;
    }
    memcpy(out, bytes, head);
    out[1] &= 0x7f;
    const char *mask = bytes + head, *data = mask + 4;
    for (size_t i = 0; i < size - head - 4; i++)
        out[head + i] = (char)(data[i] ^ mask[i % 4]);
    load_send_all(fd, out, size - 4);
}

static void run_epoll(void *unused)
{
    (void)unused;
    load_serve(answer);
}

/* ---- peers ---- */

/* A listening socket for a program that takes the place of this process. */
static void run_python(void *unused)
{
    static const char script[] =
        "import asyncio, socket, sys, websockets\n"
        "async def echo(ws, *_):\n"
        "    async for message in ws:\n"
        "        await ws.send(message)\n"
        "async def main():\n"
        "    async with websockets.serve(echo, sock=socket.socket(fileno=int(sys.argv[1])),\n"
        "                                compression=None, ping_interval=None):\n"
        "        await asyncio.Future()\n"
        "asyncio.run(main())\n";
    char text[20];
    int port, fd = bench_listen(&port);
    (void)unused;

    fcntl(fd, F_SETFD, 0);
    snprintf(text, sizeof text, "%d", fd);
    bench_tell(port);
    execl("/usr/bin/python3", "python3", "-c", script, text, (char *)NULL);
}

static bool has_python(void)
{
    return system("/usr/bin/python3 -c 'import websockets' 2>/dev/null") == 0;
}

#ifdef HAVE_LIBWEBSOCKETS
#include <libwebsockets.h>

struct kept {
    size_t size;
    unsigned char data[LWS_PRE + LARGEST];
};

static int on_event(struct lws *socket, enum lws_callback_reasons reason, void *session, void *data,
                    size_t size)
{
    struct kept *kept = session;

    if (reason == LWS_CALLBACK_RECEIVE) {
        if (lws_is_first_fragment(socket)) kept->size = 0;
        memcpy(kept->data + LWS_PRE + kept->size, data, size);
        kept->size += size;
        if (lws_is_final_fragment(socket)) lws_callback_on_writable(socket);
    } else if (reason == LWS_CALLBACK_SERVER_WRITEABLE) {
        lws_write(socket, kept->data + LWS_PRE, kept->size, LWS_WRITE_BINARY);
    }
    return 0;
}

static void run_libwebsockets(void *unused)
{
    static const struct lws_protocols protocols[] = {{.name = "echo",
                                                      .callback = on_event,
                                                      .per_session_data_size = sizeof(struct kept),
                                                      .rx_buffer_size = LARGEST},
                                                     {0}};
    int port, fd = bench_listen(&port);
    (void)unused;

    close(fd);
    lws_set_log_level(0, NULL);
    struct lws_context *context = lws_create_context(&(struct lws_context_creation_info){
        .port = port, .iface = "127.0.0.1", .protocols = protocols, .gid = -1, .uid = -1});
    if (!context) return;
    bench_tell(port);
    while (lws_service(context, 0) >= 0)
        continue;
}
#endif

/* ---- the table ---- */

/* Every connection asks for a WebSocket, and waits for the answer's head. */
static void upgrade_all(const struct load *load)
{
    for (int i = 0; i < load->connections; i++) {
        char head[1024];
        size_t size = 0;
        load_send_all(load->fds[i], upgrade, sizeof upgrade - 1);
        while (size < 4 || memcmp(head + size - 4, "\r\n\r\n", 4) != 0)
            if (size == sizeof head || recv(load->fds[i], head + size++, 1, 0) != 1)
                bench_fail("the handshake");
    }
}

static struct load open_load(void (*server)(void *), int connections, const char *message,
                             size_t size)
{
    struct load load = load_open(server, connections, message, size, size - 4); /* without a mask */
    upgrade_all(&load);
    load_run(&load, 4 * connections);
    return load;
}

static size_t make_message(char *to, size_t size)
{
    static const char mask[] = {0x37, 0x7a, 0x21, 0x3d};
    size_t head = size < 126 ? 2 : 4;

    to[0] = (char)0x82;
    to[1] = (char)(0x80 | (size < 126 ? size : 126));
    to[2] = (char)(size >> 8);
    to[3] = (char)size;
    memcpy(to + head, mask, 4);
    for (size_t i = 0; i < size; i++)
        to[head + 4 + i] = (char)('x' ^ mask[i % 4]);
    return size + head + 4;
}

static void compare(const char *name, const char *aim, void (*limit)(void *), int connections,
                    size_t size, int turns)
{
    static char message[LARGEST + 8];
    struct bench_pair pairs[TURNS];
    int count = limit == run_python ? 2000 : 10000;

    size = make_message(message, size);
    struct load ours = open_load(run_server, connections, message, size);
    struct load other = open_load(limit, connections, message, size);
    for (int turn = 0; turn < turns; turn++) {
        pairs[turn].limit = load_run(&other, count);
        pairs[turn].ours = load_run(&ours, count);
    }
    struct bench_pair median = bench_median(pairs, (size_t)turns);
    bench_row(name, "ns", median.ours, median.limit, aim);
    load_close(&ours);
    load_close(&other);
}

int main(void)
{
    bench_files();
    bench_pin(0);
    bench_heading();
    compare("WebSocket echo, 64 x 64 B", "1.25 x", run_epoll, 64, 64, TURNS);
    compare("WebSocket echo, 64 x 4 KiB", "", run_epoll, 64, 4096, TURNS);
#ifdef HAVE_LIBWEBSOCKETS
    compare("  the same beside libwebsockets, 64 B", "", run_libwebsockets, 64, 64, TURNS);
    compare("  4 KiB", "", run_libwebsockets, 64, 4096, TURNS);
#endif
    if (has_python()) {
        compare("  the same beside python3-websockets, 64 B", "", run_python, 64, 64, 7);
        compare("  4 KiB", "", run_python, 64, 4096, 7);
    }
    return 0;
}
