/* websocket_test.h - what the tests of WebSockets have in common: a peer that is bytes, over a pair in
 * memory and in virtual time, of a server and of a client. */
#ifndef TESTS_HTTP_WEBSOCKET_TEST_H
#define TESTS_HTTP_WEBSOCKET_TEST_H

#include "server_test.h"

#include <casyncio/websocket.h>

#include "http/websocket/websocket_internal.h"

#define UPGRADE                                                                                    \
    "GET /chat HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"     \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"

/* The peer: ends[1] is its own. */
struct peer {
    async_stream *ends[2];
    bool masks; /* it is a client */
    async_task *task;
    async_http_server *server; /* what the task serves by */
    const async_websocket_options *options;
    int (*handler)(async_websocket *socket); /* what the socket under test does */
    int code;                                /* what that gave */
    int close_code;
    char close_reason[130];
    char head[4096]; /* of the other side's handshake */
    char seen[8192]; /* frames that came: "81:Hello;88:1000;" */
};

static struct peer *now_serving; /* the one whose handler runs next */

__attribute__((unused)) static int run_handler(struct peer *peer, async_websocket *socket)
{
    if (!socket) return async_error_code();
    peer->code = peer->handler(socket);
    peer->close_code = async_websocket_close_code(socket);
    strcpy(peer->close_reason, async_websocket_close_reason(socket));
    return peer->code;
}

__attribute__((unused)) static int accept_socket(struct async_http_request *request)
{
    struct peer *peer = now_serving;
    int code = run_handler(peer, async_websocket_accept(request, peer->options));
    async_block_error();
    return code;
}

__attribute__((unused)) static int serve_peer(void *argument)
{
    struct peer *peer = argument;
    return async_http_serve_stream(peer->server, peer->ends[0]);
}

__attribute__((unused)) static int connect_socket(void *argument)
{
    struct peer *peer = argument;
    async_websocket *socket =
        async_websocket_connect_stream(peer->ends[0], "ws://example.org/chat", peer->options);
    if (!socket) peer->code = async_error_code();
    int code = socket ? run_handler(peer, socket) : 0;
    async_block_error();
    async_websocket_free(socket);
    return code > -1 ? code : 0;
}

__attribute__((unused)) static ssize_t read_head(struct peer *peer)
{
    ssize_t got =
        async_stream_readuntil(peer->ends[1], peer->head, sizeof peer->head, "\r\n\r\n", 4);
    if (got < 0) peer->head[0] = '\0';
    return got;
}

/* The peer is a client, and asks with these header lines more. */
__attribute__((unused)) static void ask_server(struct peer *peer, const char *lines)
{
    now_serving = peer;
    peer->masks = true;
    peer->server = async_http_server_new(&(async_http_server_options){.on_error = tell});
    async_http_route(peer->server, NULL, "/chat", accept_socket);
    peer->task = async_create_task(serve_peer, peer);
    assert_int_equal(async_stream_printf(peer->ends[1], UPGRADE "%s\r\n", lines), 0);
    read_head(peer);
}

/* It is a server, and answers with these. */
__attribute__((unused)) static void answer_client(struct peer *peer, const char *lines)
{
    char accept[29];

    peer->masks = false;
    peer->task = async_create_task(connect_socket, peer);
    if (read_head(peer) < 0) return;
    const char *key = strstr(peer->head, "Sec-WebSocket-Key: ");
    assert_non_null(key);
    async__ws_accept_key(key + 19, accept);
    async_stream_printf(peer->ends[1],
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n",
                        accept, lines);
}

__attribute__((unused)) static void open_peer(struct peer *peer, bool of_server, const char *lines,
                                              const async_pair_options *pair)
{
    assert_int_equal(async_stream_pair_with(peer->ends, pair), 0);
    (of_server ? ask_server : answer_client)(peer, lines);
}

__attribute__((unused)) static void close_peer(struct peer *peer)
{
    async_stream_abort(peer->ends[1]);
    async_await(peer->task);
    async_http_server_free(peer->server);
    peer->server = NULL;
}

/* ---- frames ---- */

/* A frame's bytes into `to`, which has room for them: how many. `first` is the first byte. */
__attribute__((unused)) static size_t make_frame(char *to, unsigned first, const void *data,
                                                 size_t size, bool masked)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char *at = (unsigned char *)to;
    unsigned bit = masked ? 0x80 : 0;

    *at++ = (unsigned char)first;
    if (size < 126) {
        *at++ = (unsigned char)(bit | size);
    } else if (size < 65536) {
        *at++ = (unsigned char)(bit | 126);
        *at++ = (unsigned char)(size >> 8);
        *at++ = (unsigned char)size;
    } else {
        *at++ = (unsigned char)(bit | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            *at++ = (unsigned char)((uint64_t)size >> shift);
    }
    if (masked) memcpy(at, mask, 4);
    if (masked) at += 4;
    for (size_t i = 0; i < size; i++)
        *at++ = ((const unsigned char *)data)[i] ^ (masked ? mask[i % 4] : 0);
    return (size_t)((char *)at - to);
}

__attribute__((unused)) static int send_frame(struct peer *peer, unsigned first, const void *data,
                                              size_t size)
{
    char *bytes = malloc(size + 14);
    size_t length = make_frame(bytes, first, data, size, peer->masks);
    int code = async_stream_write(peer->ends[1], bytes, length);
    free(bytes);
    return code;
}

#define send_string(peer, first, text) send_frame(peer, first, text, sizeof(text) - 1)

/* Reads a frame: its first byte, or a code; 0: the end. *data is to be freed. */
__attribute__((unused)) static int read_frame(struct peer *peer, unsigned char **data, size_t *size)
{
    unsigned char head[14];
    bool masked = !peer->masks; /* the other side */

    *data = NULL;
    ssize_t got = async_stream_readexactly(peer->ends[1], head, 2);
    if (got < 2) return got == ASYNC_EINCOMPLETE ? 0 : (int)got;
    assert_int_equal(head[1] >> 7, masked);
    *size = head[1] & 0x7f;
    size_t more = *size == 126 ? 2 : *size == 127 ? 8 : 0;
    if (more > 0 && async_stream_readexactly(peer->ends[1], head + 2, more) < 0) return -1;
    if (more > 0) *size = 0;
    for (size_t i = 0; i < more; i++)
        *size = *size << 8 | head[2 + i];
    assert_true(more == 0 || *size >= (more == 2 ? 126 : 65536));
    if (masked && async_stream_readexactly(peer->ends[1], head + 10, 4) < 0) return -1;
    *data = calloc(1, *size + 1);
    if (*size > 0 && async_stream_readexactly(peer->ends[1], *data, *size) < 0) return -1;
    for (size_t i = 0; masked && i < *size; i++)
        (*data)[i] ^= head[10 + i % 4];
    return head[0];
}

static void show(struct peer *peer, int first, const unsigned char *data, size_t size)
{
    char *to = peer->seen;
    size_t used = strlen(to), all = sizeof peer->seen;

    used += (size_t)snprintf(to + used, all - used, "%02x:", (unsigned)first);
    if (first == 0x88 && size >= 2) {
        used += (size_t)snprintf(to + used, all - used, "%d", data[0] << 8 | data[1]);
        data += 2;
        size -= 2;
    }
    for (size_t i = 0; i < size && i < 100; i++)
        used += (size_t)snprintf(to + used, all - used,
                                 data[i] >= 32 && data[i] < 127 ? "%c" : "\\%02x", data[i]);
    if (size > 100) used += (size_t)snprintf(to + used, all - used, "...%zu", size);
    snprintf(to + used, all - used, ";");
}

/* Reads frames until the other side's end, or its Close, or nothing for a long time, into `seen`. */
__attribute__((unused)) static const char *see(struct peer *peer)
{
    int first = 1;

    while (first > 0 && first != 0x88) {
        unsigned char *data = NULL;
        size_t size = 0;
        async_timeout (1000)
            first = read_frame(peer, &data, &size);
        if (first > 0) show(peer, first, data, size);
        free(data);
    }
    return peer->seen;
}

/* A handler: sends back what comes. */
__attribute__((unused)) static int echo(async_websocket *socket)
{
    async_websocket_message message;
    int code;

    while ((code = async_websocket_receive(socket, &message)) > 0)
        async_websocket_send(socket, message.type, message.data, message.size);
    return code;
}

#endif
