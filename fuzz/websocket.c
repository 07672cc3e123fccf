/* What a peer of a WebSocket sends once it is open: frames, compressed or not, to a server or a client.
 * The first byte: bit 0: to a client; bit 1: with permessage-deflate; the others: how much a read gets at
 * the most.
 *
 * What is received is sent back; beside the sanitizers' word what is checked is that a text is UTF-8, that
 * no message is larger than the limit, and that nothing remains of the connection. */
#include <casyncio.h>
#include <casyncio/http_server.h>
#include <casyncio/websocket.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT 20000

struct input {
    const uint8_t *data;
    size_t size;
};

void async__ws_accept_key(const char *key, char *accept); /* of the library's own */

static void must(bool holds)
{
    if (!holds) abort();
}

static bool is_text(const uint8_t *at, size_t size)
{
    for (const uint8_t *end = at + size; at < end; at++) {
        int more = *at < 0x80 ? 0 : *at < 0xe0 ? 1 : *at < 0xf0 ? 2 : 3;
        if ((*at >= 0x80 && *at < 0xc2) || *at > 0xf4 || end - at <= more) return false;
        for (; more > 0; more--)
            if ((*++at & 0xc0) != 0x80) return false;
    }
    return true;
}

static int echo(async_websocket *socket)
{
    must(socket != NULL);
    async_for (async_websocket_message, message, async_websocket_messages(socket)) {
        must(message.size <= LIMIT && message.data[message.size] == '\0');
        must(message.type != ASYNC_WEBSOCKET_TEXT ||
             is_text((const uint8_t *)message.data, message.size));
        async_websocket_send(socket, message.type, message.data, message.size);
    }
    int code = async_block_error();
    must(code == 0 || async_websocket_close_code(socket) == 1006);
    return code;
}

static const async_websocket_options options = {.max_message = LIMIT, .compress_from = 10};

static int handle(struct async_http_request *request)
{
    return echo(async_websocket_accept(request, &options));
}

struct serve {
    async_http_server *server;
    async_stream *stream;
};

static int serve(struct serve *self) { return async_http_serve_stream(self->server, self->stream); }

struct ask {
    async_stream *stream;
};

static int ask(struct ask *self)
{
    async_websocket *socket = async_websocket_connect_stream(self->stream, "ws://a/", &options);
    echo(socket);
    async_websocket_free(socket);
    return 0;
}

#define EXTENSION "Sec-WebSocket-Extensions: permessage-deflate\r\n"

static int exchange(void *argument)
{
    const struct input *input = argument;
    bool client = input->data[0] & 1, packed = input->data[0] & 2;
    async_stream *ends[2];
    char text[4096], accept[29];
    async_http_server *server = async_http_server_new(NULL);
    async_task *task;

    must(server && async_http_route(server, "GET", "/", handle) == 0);
    must(async_stream_pair_with(ends, &(async_pair_options){.max_read = input->data[0] >> 2}) == 0);
    if (client) {
        task = async_spawn(ask, .stream = ends[0]);
        must(async_stream_readuntil(ends[1], text, sizeof text, "\r\n\r\n", 4) > 0);
        async__ws_accept_key(strstr(text, "Key: ") + 5, accept);
        async_stream_printf(ends[1],
                            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
                            "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                            accept, packed ? EXTENSION : "");
    } else {
        task = async_spawn(serve, .server = server, .stream = ends[0]);
        async_stream_printf(ends[1],
                            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                            packed ? EXTENSION : "");
        must(async_stream_readuntil(ends[1], text, sizeof text, "\r\n\r\n", 4) > 0);
    }
    async_stream_write(ends[1], input->data + 1, input->size - 1);
    async_stream_write_eof(ends[1]);
    while (async_stream_read(ends[1], text, sizeof text) > 0)
        continue;
    async_stream_close(ends[1]);
    must(async_await(task) == 0);
    must(async_http_server_connections(server) == 0);
    async_http_server_free(server);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.data = data, .size = size};

    if (size == 0 || size > 32768) return 0;
    must(async_run_with(
             exchange, &input,
             &(async_run_options){.loop = {.virtual_clock = true}, .no_signals = true}) == 0);
    return 0;
}
