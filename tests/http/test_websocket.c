/* WebSockets: the two handshakes, limits, times, closing, tasks that share a socket, cancellation. */
#include "websocket_test.h"

/* ---- a server's handshake ---- */

static const char *const chat_protocols[] = {"chat.v2", "chat.v1", NULL};
static const char *const origins[] = {"https://good.example", "http://other.example:81", NULL};
static const char *const any[] = {"*", NULL};

#define GET "GET /chat HTTP/1.1\r\nHost: example.org\r\n"
#define ASK "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define V13 "Sec-WebSocket-Version: 13\r\n"

static int server_handshakes(void *unused)
{
    static const struct {
        const char *request, *answer; /* what it begins with, and has in it */
        const char *has;
        async_websocket_options options;
    } cases[] = {
        {GET ASK KEY V13 "\r\n",
         "HTTP/1.1 101 ",
         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
         {0}},
        {GET "upgrade: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY V13 "\r\n",
         "HTTP/1.1 101 ",
         "Upgrade: websocket\r\n",
         {0}},
        {GET "\r\n", "HTTP/1.1 426 ", "Upgrade: websocket\r\n", {0}},
        {GET "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY V13 "\r\n", "HTTP/1.1 426 ", "", {0}},
        {GET ASK KEY "\r\n", "HTTP/1.1 426 ", "Sec-WebSocket-Version: 13\r\n", {0}},
        {GET ASK KEY "Sec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 426 ", "", {0}},
        {GET ASK KEY V13 V13 "\r\n", "HTTP/1.1 426 ", "", {0}},
        {GET ASK V13 "\r\n", "HTTP/1.1 400 ", "Sec-WebSocket-Key", {0}},
        {GET ASK KEY KEY V13 "\r\n", "HTTP/1.1 400 ", "", {0}},
        {GET ASK "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n" V13 "\r\n", "HTTP/1.1 400 ", "", {0}},
        {GET ASK "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!\r\n" V13 "\r\n",
         "HTTP/1.1 400 ",
         "",
         {0}},
        {GET "Upgrade: websocket\r\n" KEY V13 "\r\n", "HTTP/1.1 426 ", "", {0}},
        {"GET /chat HTTP/1.0\r\nHost: a\r\n" ASK KEY V13 "\r\n", "HTTP/1.1 426 ", "", {0}},
        {"POST /chat HTTP/1.1\r\nHost: example.org\r\nContent-Length: 0\r\n" ASK KEY V13 "\r\n",
         "HTTP/1.1 400 ",
         "GET",
         {0}},
        {GET ASK KEY V13 "\r\n\x81", "HTTP/1.1 400 ", "wait", {0}},
        /* subprotocols: the server's order */
        {GET ASK KEY V13 "Sec-WebSocket-Protocol: x, chat.v1\r\nSec-WebSocket-Protocol: chat.v2"
                         "\r\n\r\n",
         "HTTP/1.1 101 ",
         "Sec-WebSocket-Protocol: chat.v2\r\n",
         {.subprotocols = chat_protocols}},
        {GET ASK KEY V13 "Sec-WebSocket-Protocol: chat.v1\r\n\r\n",
         "HTTP/1.1 101 ",
         "Sec-WebSocket-Protocol: chat.v1\r\n",
         {.subprotocols = chat_protocols}},
        /* origins */
        {GET ASK KEY V13 "Origin: https://example.org\r\n\r\n", "HTTP/1.1 101 ", "", {0}},
        {GET ASK KEY V13 "Origin: http://EXAMPLE.org:8080\r\n\r\n", "HTTP/1.1 101 ", "", {0}},
        {GET ASK KEY V13 "Origin: https://example.org.evil\r\n\r\n", "HTTP/1.1 403 ", "", {0}},
        {GET ASK KEY V13 "Origin: https://evil.example\r\n\r\n", "HTTP/1.1 403 ", "", {0}},
        {GET ASK KEY V13 "Origin: null\r\n\r\n", "HTTP/1.1 403 ", "", {0}},
        {GET ASK KEY V13 "Origin: https://good.example\r\n\r\n",
         "HTTP/1.1 101 ",
         "",
         {.origins = origins}},
        {GET ASK KEY V13 "Origin: https://example.org\r\n\r\n",
         "HTTP/1.1 403 ",
         "",
         {.origins = origins}},
        {GET ASK KEY V13 "Origin: null\r\n\r\n", "HTTP/1.1 101 ", "", {.origins = any}},
        {GET ASK KEY V13 "\r\n", "HTTP/1.1 101 ", "", {.origins = origins}},
        /* extensions */
        {GET ASK KEY V13 "Sec-WebSocket-Extensions: x-foo, permessage-deflate\r\n\r\n",
         "HTTP/1.1 101 ",
         "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12\r\n",
         {0}},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct peer peer = {.handler = echo, .options = &cases[i].options, .masks = true};
        char answer[2000];
        told_count = 0;
        now_serving = &peer;
        assert_int_equal(async_stream_pair(peer.ends), 0);
        peer.server = async_http_server_new(&(async_http_server_options){.on_error = tell});
        async_http_route(peer.server, NULL, "/chat", accept_socket);
        peer.task = async_create_task(serve_peer, &peer);
        async_stream_printf(peer.ends[1], "%s", cases[i].request);
        async_stream_write_eof(peer.ends[1]);
        ssize_t size = async_stream_read(peer.ends[1], answer, sizeof answer - 1);
        assert_true(size > 0);
        answer[size] = '\0';
        if (strncmp(answer, cases[i].answer, strlen(cases[i].answer)) != 0)
            print_error("%s\n", cases[i].request);
        assert_memory_equal(answer, cases[i].answer, strlen(cases[i].answer));
        assert_contains(answer, cases[i].has);
        close_peer(&peer);
        assert_int_equal(told_count, 0); /* it is no failure of the handler's */
    }
    return 0;
}

/* ---- a client's handshake ---- */

#define SWITCH "HTTP/1.1 101 Switching Protocols\r\n"
#define UP "Upgrade: websocket\r\nConnection: Upgrade\r\n"

static int client_handshakes(void *unused)
{
    static const struct {
        const char *answer; /* %s: the right Sec-WebSocket-Accept */
        int code;
        const char *message;
    } cases[] = {
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\n\r\n", 0, ""},
        {"HTTP/1.1 101\r\nUPGRADE: WebSocket\r\nconnection: x, upgrade\r\nsec-websocket-accept:%s"
         "\r\n\r\n",
         0, ""},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n", 0, ""},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat.v3\r\n\r\n",
         ASYNC_EHTTP, "subprotocol"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: chat.v1, chat.v2\r\n\r\n",
         ASYNC_EHTTP, "subprotocol"},
        {SWITCH UP "Sec-WebSocket-Accept: x%s\r\n\r\n", ASYNC_EHTTP, "Accept is wrong"},
        {SWITCH UP "X: %s\r\n\r\n", ASYNC_EHTTP, "Accept is wrong"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Accept: a\r\n\r\n", ASYNC_EHTTP,
         "twice"},
        {SWITCH "Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", ASYNC_EHTTP,
         "Connection"},
        {SWITCH "Connection: upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", ASYNC_EHTTP, "Upgrade"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: x-foo\r\n\r\n",
         ASYNC_EHTTP, "extensions"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: permessage-deflate; "
                   "client_max_window_bits\r\n\r\n",
         ASYNC_EHTTP, "extensions"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: permessage-deflate, "
                   "permessage-deflate\r\n\r\n",
         ASYNC_EHTTP, "extensions"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: permessage-deflate; "
                   "client_max_window_bits=8\r\n\r\n",
         0, ""},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nA line\r\n\r\n", ASYNC_EHTTP, "malformed"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nA : b\r\n\r\n", ASYNC_EHTTP, "malformed"},
        {SWITCH UP "Sec-WebSocket-Accept: %s\r\nA: b\nC: d\r\n\r\n", ASYNC_EHTTP, "malformed"},
        {"HTTP/1.0 101 x\r\n" UP "Sec-WebSocket-Accept: %s\r\n\r\n", ASYNC_EHTTP, "HTTP/1.1"},
        {"SSH-2.0 %s\r\n\r\n", ASYNC_EHTTP, "HTTP/1.1"},
        {"HTTP/1.1 1011 x\r\n" UP "Sec-WebSocket-Accept: %s\r\n\r\n", ASYNC_EHTTP, "HTTP/1.1"},
        {"HTTP/1.1 403 Forbidden\r\nX: %s\r\n\r\n", ASYNC_EHTTPSTATUS, "403"},
        {"HTTP/1.1 301 Moved\r\nLocation: ws://a/%s\r\n\r\n", ASYNC_EHTTPSTATUS, "301"},
        {"HTTP/1.1 101 x\r\nX: %s\r\n", ASYNC_EINCOMPLETE, ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct peer peer = {.handler = echo,
                            .options = &(async_websocket_options){.subprotocols = chat_protocols}};
        char accept[29];
        peer.code = 1;
        assert_int_equal(async_stream_pair(peer.ends), 0);
        peer.task = async_create_task(connect_socket, &peer);
        assert_true(read_head(&peer) > 0);
        assert_contains(peer.head, "GET /chat HTTP/1.1\r\nHost: example.org\r\n");
        assert_contains(peer.head, "Sec-WebSocket-Protocol: chat.v2, chat.v1\r\n");
        async__ws_accept_key(strstr(peer.head, "Sec-WebSocket-Key: ") + 19, accept);
        async_stream_printf(peer.ends[1], cases[i].answer, accept);
        send_string(&peer, 0x88, "\3\xe8");
        async_stream_write_eof(peer.ends[1]);
        async_await(peer.task);
        if (peer.code != cases[i].code) print_error("%s", cases[i].answer);
        assert_int_equal(peer.code, cases[i].code);
        async_stream_abort(peer.ends[1]);
    }
    return 0;
}

static int urls_and_options(void *unused)
{
    static const char *const bad[] = {
        "http://a/",    "ws:", "ws://a b/",     "//a",        "ws://a/#x",
        "ws://user@a/", "",    "ws://a:99999/", "ws://a:b/x", "ws://a/\r\nEvil:"};
    static const char *const lists[][2] = {{"a b"}, {"Host: x"}, {"a"}, {"a: b\r\nc: d"}};
    static const async_websocket_options wrong[] = {
        {.heartbeat = -1},
        {.close_timeout = NAN},
        {.server_max_window_bits = 8},
        {.client_max_window_bits = 16},
        {.subprotocols = lists[0]},
        {.headers = lists[1]},
        {.headers = lists[2]},
        {.headers = lists[3]},
    };
    async_stream *ends[2];

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (!bad[i][0]) continue;
        assert_null(async_websocket_connect(bad[i], NULL));
        if (async_error_code() != -EINVAL) print_error("%s\n", bad[i]);
        assert_int_equal(async_error_code(), -EINVAL);
    }
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_int_equal(async_stream_pair(ends), 0);
        assert_null(async_websocket_connect_stream(ends[0], "ws://a/", &wrong[i]));
        assert_int_equal(async_error_code(), -EINVAL);
        async_stream_abort(ends[1]);
    }
    assert_null(async_websocket_connect(NULL, NULL));
    assert_int_equal(async_error_code(), -EBADF);
    assert_null(async_websocket_connect("ws://127.0.0.1:1/", NULL));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    async_websocket_message message;
    assert_int_equal(async_websocket_receive(NULL, &message), -EBADF);
    assert_int_equal(async_websocket_send(NULL, ASYNC_WEBSOCKET_TEXT, "", 0), -EBADF);
    assert_int_equal(async_websocket_send_text(NULL, ""), -EBADF);
    assert_int_equal(async_websocket_send_nowait(NULL, ASYNC_WEBSOCKET_TEXT, "", 0), -EBADF);
    assert_int_equal(async_websocket_ping(NULL, NULL, 0), -EBADF);
    assert_int_equal(async_websocket_close(NULL, 1000, NULL), -EBADF);
    assert_int_equal(async_websocket_printf(NULL, "x"), -EBADF);
    assert_null(async_websocket_messages(NULL));
    assert_null(async_websocket_accept(NULL, NULL));
    assert_null(async_websocket_connect_stream(NULL, "ws://a/", NULL));
    assert_int_equal(async_websocket_close_code(NULL), 0);
    assert_string_equal(async_websocket_subprotocol(NULL), "");
    async_websocket_free(NULL);
    return 0;
}

static int what_a_client_sends(void *unused)
{
    static const struct {
        const char *url, *has;
    } cases[] = {
        {"ws://example.org", "GET / HTTP/1.1\r\nHost: example.org\r\n"},
        {"ws://example.org:80/a?b=c&d", "GET /a?b=c&d HTTP/1.1\r\nHost: example.org\r\n"},
        {"ws://example.org:81/%20x", "GET /%20x HTTP/1.1\r\nHost: example.org:81\r\n"},
        {"WS://[::1]:90/", "Host: [::1]:90\r\n"},
        {"wss://example.org/", "Host: example.org\r\n"}, /* the stream is given: no TLS here */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct peer peer = {.masks = false};
        assert_int_equal(async_stream_pair(peer.ends), 0);
        async_stream_printf(peer.ends[1], "HTTP/1.1 404 x\r\n\r\n");
        assert_null(async_websocket_connect_stream(
            peer.ends[0], cases[i].url,
            &(async_websocket_options){.headers = (const char *const[]){"Cookie: a=b", NULL}}));
        assert_int_equal(async_error_code(), ASYNC_EHTTPSTATUS);
        assert_true(read_head(&peer) > 0);
        assert_contains(peer.head, cases[i].has);
        assert_contains(peer.head, "\r\nCookie: a=b\r\n");
        async_stream_abort(peer.ends[1]);
    }
    return 0;
}

/* ---- two of ours ---- */

/* A server that runs a handler, and a client of it. */
struct both {
    async_http_server *server;
    async_stream *ends[2];
    async_task *task;
    async_websocket *socket; /* the client's */
    const async_websocket_options *options;
    int (*handler)(async_websocket *socket, struct both *both);
    int code; /* the handler's */
    int state;
};

static int accept_both(struct async_http_request *request, struct both *both)
{
    async_websocket *socket = async_websocket_accept(request, both->options);
    both->code = socket ? both->handler(socket, both) : async_error_code();
    return both->code;
}

static int serve_both(void *argument)
{
    struct both *both = argument;
    return async_http_serve_stream(both->server, both->ends[0]);
}

static void open_both(struct both *both, const async_websocket_options *options)
{
    both->server = async_http_server_new(&(async_http_server_options){.on_error = tell});
    async_http_route(both->server, "GET", "/", accept_both, both);
    assert_int_equal(async_stream_pair(both->ends), 0);
    both->task = async_create_task(serve_both, both);
    both->socket = async_websocket_connect_stream(both->ends[1], "ws://a/", options);
    assert_non_null(both->socket);
}

static void close_both(struct both *both)
{
    async_websocket_free(both->socket);
    assert_int_equal(async_await(both->task), 0);
    assert_int_equal(async_http_server_connections(both->server), 0);
    async_http_server_free(both->server);
}

static int echo_both(async_websocket *socket, struct both *both)
{
    async_for (async_websocket_message, message, async_websocket_messages(socket)) {
        int code = async_websocket_send(socket, message.type, message.data, message.size);
        if (code < 0) return code;
    }
    return async_block_error();
}

/* Messages of all kinds come back as they were, with any agreement about compression. */
static int round_trips(void *unused)
{
    static const async_websocket_options kinds[] = {
        {.compress_from = 1},
        {.no_compression = true},
        {.compress_from = 1, .server_no_context_takeover = true},
        {.compress_from = 1, .client_no_context_takeover = true},
        {.compress_from = 1, .server_max_window_bits = 9, .client_max_window_bits = 15},
        {.compress_from = 1, .server_max_window_bits = 15, .client_max_window_bits = 9},
        {.compress_from = 1, .fragment = 7},
        {0},
    };
    static char data[150000];
    unsigned random = 1;

    for (size_t i = 0; i < sizeof data; i++) {
        random = random * 1103515245 + 12345;
        data[i] = i % 50000 < 40000 ? (char)('a' + (i / 7) % 20) : (char)(random >> 16);
    }
    for (size_t i = 0; i < COUNT(kinds) * 2; i++) {
        struct both both = {.handler = echo_both,
                            .options = i % 2 ? &kinds[i / 2] : &(async_websocket_options){0}};
        open_both(&both, &kinds[i / 2]);
        assert_int_equal(async_websocket_compressed(both.socket), !kinds[i / 2].no_compression);
        for (size_t size = 0; size < sizeof data; size += size / 3 + 1) {
            async_websocket_message message;
            const char *from = data + (sizeof data - size) / 2;
            assert_int_equal(async_websocket_send(both.socket, ASYNC_WEBSOCKET_BINARY, from, size),
                             0);
            assert_int_equal(async_websocket_receive(both.socket, &message), 1);
            assert_int_equal(message.type, ASYNC_WEBSOCKET_BINARY);
            assert_int_equal(message.size, size);
            assert_memory_equal(message.data, from, size);
            assert_int_equal(message.data[size], 0);
        }
        assert_int_equal(async_websocket_close(both.socket, 3000, "b\xc3\xa4"), 0);
        assert_int_equal(async_websocket_close_code(both.socket), 3000);
        close_both(&both);
        assert_int_equal(both.code, 0);
    }
    return 0;
}

/* ---- limits ---- */

static int limits(void *unused)
{
    static const struct {
        size_t frames[3];
        bool fits;
    } cases[] = {
        {{100}, true},       {{101}, false},       {{60, 40}, true},    {{60, 41}, false},
        {{0, 60, 40}, true}, {{50, 50, 1}, false}, {{61, 0, 0}, false}, /* max_frame is 60 in fragments */};
    char data[200] = "";

    for (size_t i = 0; i < COUNT(cases) * 2; i++) {
        const size_t *sizes = cases[i / 2].frames;
        bool single = sizes[1] == 0 && sizes[2] == 0 && i / 2 < 2;
        struct peer peer = {.handler = echo,
                            .options = &(async_websocket_options){.max_message = 100,
                                                                  .max_frame = single ? 0 : 60}};
        open_peer(&peer, i % 2, "", NULL);
        int last = single ? 0 : sizes[2] > 0 || i / 2 == 6 ? 2 : 1;
        for (int k = 0; k <= last; k++)
            send_frame(&peer, (k == 0 ? 2u : 0u) | (k == last ? 0x80u : 0u), data, sizes[k]);
        send_string(&peer, 0x88, "\3\xe8");
        see(&peer);
        close_peer(&peer);
        assert_int_equal(peer.code, cases[i / 2].fits ? 0 : -EMSGSIZE);
        assert_contains(peer.seen, cases[i / 2].fits ? "88:1000;" : "88:1009;");
    }
    return 0;
}

/* A frame that announces much, and does not come, takes no memory and no time but the heartbeat's. */
static int announced(void *unused)
{
    struct peer peer = {.handler = echo};

    open_peer(&peer, true, "", NULL);
    double begin = async_now();
    async_stream_write(peer.ends[1], "\x82\xff\0\0\0\0\0\x0f\xff\xff....x", 15);
    assert_string_equal(see(&peer), "89:;88:1011;");
    assert_int_equal((int)(async_now() - begin + 0.5), 40);
    close_peer(&peer);
    assert_int_equal(peer.code, -ETIMEDOUT);
    return 0;
}

/* ---- times ---- */

static int heartbeat(void *unused)
{
    struct peer peer = {.handler = echo,
                        .options = &(async_websocket_options){.heartbeat = 5, .pong_timeout = 2}};
    unsigned char *data;
    size_t size;

    open_peer(&peer, false, "", NULL);
    double begin = async_now();
    for (int i = 0; i < 10; i++) { /* one that answers lives */
        assert_int_equal(read_frame(&peer, &data, &size), 0x89);
        send_frame(&peer, 0x8a, data, size);
        free(data);
    }
    assert_int_equal((int)(async_now() - begin + 0.5), 50);
    for (int i = 0; i < 10; i++) { /* and is not asked if it says something */
        async_sleep(4);
        send_string(&peer, 0x8a, "");
    }
    assert_string_equal(see(&peer), "89:;88:1011;");
    assert_int_equal((int)(async_now() - begin + 0.5), 97);
    close_peer(&peer);
    assert_int_equal(peer.code, -ETIMEDOUT);
    return 0;
}

static int latency_of(async_websocket *socket)
{
    int code = echo(socket);
    assert_true(fabs(async_websocket_latency(socket) - 0.5) < 0.01);
    return code;
}

static int latency(void *unused)
{
    struct peer peer = {.handler = latency_of};
    unsigned char *data;
    size_t size;

    open_peer(&peer, true, "", NULL);
    assert_int_equal(read_frame(&peer, &data, &size), 0x89);
    free(data);
    async_sleep(0.5);
    send_string(&peer, 0x8a, "");
    send_string(&peer, 0x88, "");
    assert_string_equal(see(&peer), "88:;");
    close_peer(&peer);
    assert_int_equal(peer.close_code, 1005);
    return 0;
}

static int pushes(async_websocket *socket)
{
    static char data[100000];
    int sent = 0, code;

    memset(data, 'x', sizeof data);
    while ((code = async_websocket_send(socket, ASYNC_WEBSOCKET_BINARY, data, sizeof data)) == 0)
        sent++;
    assert_true(sent > 0 && sent < 5); /* back-pressure */
    assert_int_equal(async_websocket_send_nowait(socket, ASYNC_WEBSOCKET_TEXT, "x", 1), -EPIPE);
    return code;
}

/* A peer that takes nothing. */
static int send_timeout(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        struct peer peer = {
            .handler = pushes,
            .options = &(async_websocket_options){.send_timeout = 7, .no_compression = true}};
        open_peer(&peer, of_server, "", NULL);
        double begin = async_now();
        async_sleep(6.9);
        assert_int_equal(peer.code, 0);
        async_sleep(0.2);
        assert_int_equal(peer.code, -ETIMEDOUT);
        assert_true(async_now() - begin < 8);
        close_peer(&peer);
    }
    return 0;
}

static int drops(async_websocket *socket)
{
    char data[1000] = "";
    int sent = 0, code;

    while ((code = async_websocket_send_nowait(socket, ASYNC_WEBSOCKET_BINARY, data,
                                               sizeof data)) == 0)
        sent++;
    assert_true(sent > 60 && sent < 200);
    assert_true(async_websocket_unsent(socket) > 60000);
    return code;
}

static int too_slow(void *unused)
{
    struct peer peer = {.handler = drops};

    open_peer(&peer, true, "", NULL);
    async_sleep(0.1);
    assert_int_equal(peer.code, -EAGAIN);
    close_peer(&peer);
    return 0;
}

/* Pings without an end from one that does not read what it is answered: memory stays bounded, and it is
 * not read any more. */
static int flood(void *unused)
{
    struct peer peer = {.handler = echo};
    char bytes[200];
    size_t size = make_frame(bytes, 0x89, "0123456789012345678901234567890123456789", 40, true);
    long sent = 0;
    int code = 0;

    open_peer(&peer, true, "", NULL);
    async_timeout (5)
        while ((code = async_stream_write(peer.ends[1], bytes, size)) == 0)
            sent++;
    assert_int_equal(code, -ETIMEDOUT); /* it is held up */
    assert_true(sent < 20000);
    close_peer(&peer);
    return 0;
}

/* ---- closing ---- */

static int close_with(async_websocket *socket) { return async_websocket_close(socket, 4000, "x"); }

static int close_times_out(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        struct peer peer = {.handler = close_with};
        open_peer(&peer, of_server, "", NULL);
        double begin = async_now();
        assert_string_equal(see(&peer), "88:4000x;");
        while (async_now() - begin < 9.5) { /* data does not make the time longer */
            send_string(&peer, 0x81, "Hello");
            async_sleep(1);
        }
        async_sleep(1);
        assert_int_equal(peer.code, -ETIMEDOUT);
        assert_int_equal(peer.close_code, 1006);
        close_peer(&peer);
    }
    return 0;
}

static int close_answered(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        struct peer peer = {.handler = close_with};
        open_peer(&peer, of_server, "", NULL);
        send_string(&peer, 0x01, "a part of");
        assert_string_equal(see(&peer), "88:4000x;");
        send_string(&peer, 0x80, " a message, dropped");
        send_string(&peer, 0x82, "\xff");
        send_string(&peer, 0x89, "a ping, which is not answered any more");
        send_string(&peer, 0x88,
                    "\x0f\xa1"
                    "bye");
        see(&peer);
        close_peer(&peer);
        assert_string_equal(peer.seen, "88:4000x;");
        assert_int_equal(peer.code, 0);
        assert_int_equal(peer.close_code, 4001);
        assert_string_equal(peer.close_reason, "bye");
    }
    return 0;
}

static int close_bad_codes(async_websocket *socket)
{
    static const int codes[] = {0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, -1};
    char reason[125];

    for (size_t i = 0; i < COUNT(codes); i++)
        assert_int_equal(async_websocket_close(socket, codes[i], NULL), -EINVAL);
    memset(reason, 'x', 124);
    reason[124] = '\0';
    assert_int_equal(async_websocket_close(socket, 1000, reason), -EINVAL);
    assert_int_equal(async_websocket_close(socket, 1000, "\xff"), -EINVAL);
    assert_int_equal(async_websocket_send_text(socket, "\xff"), -EILSEQ);
    assert_int_equal(async_websocket_send_text(socket, "a\xc3"), -EILSEQ);
    assert_int_equal(async_websocket_send(socket, ASYNC_WEBSOCKET_TEXT, NULL, 1), -EINVAL);
    assert_int_equal(async_websocket_send(socket, (enum async_websocket_type)8, "", 0), -EINVAL);
    assert_int_equal(async_websocket_ping(socket, reason, 126), -EINVAL);
    assert_int_equal(async_websocket_ping(socket, "p", 1), 0);
    reason[123] = '\0';
    int code = async_websocket_close(socket, 1000, reason);
    assert_int_equal(async_websocket_send_text(socket, "x"), -EPIPE);
    assert_int_equal(async_websocket_ping(socket, "p", 1), -EPIPE);
    assert_int_equal(async_websocket_close(socket, 1000, NULL), code); /* again */
    return code;
}

static int arguments(void *unused)
{
    struct peer peer = {.handler = close_bad_codes};

    open_peer(&peer, true, "", NULL);
    send_string(&peer, 0x88, "");
    see(&peer);
    assert_contains(peer.seen, "89:p;88:1000xxxx");
    close_peer(&peer);
    assert_int_equal(peer.code, 0);
    return 0;
}

/* A task receives, and another closes: the first gets what the peer still sends. */
struct receiver {
    async_websocket *socket;
    int code;
};

static int receiver(struct receiver *self)
{
    async_websocket_message message;
    while ((self->code = async_websocket_receive(self->socket, &message)) > 0)
        note("%s", message.data);
    note("%d", self->code);
    return 0;
}

static int close_beside(async_websocket *socket)
{
    async_task *task = async_spawn(receiver, .socket = socket);
    async_websocket_message message;

    async_sleep(1);
    assert_int_equal(async_websocket_receive(socket, &message), -EBUSY);
    int code = async_websocket_close(socket, 1000, NULL);
    async_await(task);
    return code;
}

static int closed_by_another(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        struct peer peer = {.handler = close_beside};
        open_peer(&peer, of_server, "", NULL);
        send_string(&peer, 0x81, "a");
        async_sleep(2);
        send_string(&peer, 0x81, "b");
        send_string(&peer, 0x88, "\3\xe8");
        assert_string_equal(see(&peer), "88:1000;");
        close_peer(&peer);
        assert_int_equal(peer.code, 0);
        assert_notes("a b 0 ");
    }
    return 0;
}

/* The receiving task is cancelled while another waits for the end: that goes on with it. */
static int closer(void *socket) { return close_with(socket); }

static int close_and_cancel(async_websocket *socket)
{
    async_task *task = async_spawn(receiver, .socket = socket);

    async_sleep(1);
    async_task *closing = async_create_task(closer, socket);
    async_sleep(1);
    async_cancel(task, NULL);
    async_await(task);
    async_sleep(1);
    return async_await(closing);
}

static int receiver_leaves(void *unused)
{
    struct peer peer = {.handler = close_and_cancel};

    open_peer(&peer, true, "", NULL);
    assert_string_equal(see(&peer), "88:4000x;");
    async_sleep(2);
    send_string(&peer, 0x88, "\3\xe8");
    async_sleep(1);
    close_peer(&peer);
    assert_int_equal(peer.code, 0);
    assert_int_equal(peer.close_code, 1000);
    notes[0] = '\0';
    return 0;
}

/* What a handler's return tells the peer. */
static int returns_0(async_websocket *socket) { return 0; }
static int fails(async_websocket *socket) { return async_raise(-EDOM, "of its own"); }

static int handlers_end(void *unused)
{
    struct peer good = {.handler = returns_0}, bad = {.handler = fails};

    told_count = 0;
    open_peer(&good, true, "", NULL);
    assert_string_equal(see(&good), "88:1000;");
    send_string(&good, 0x88, "\3\xe8");
    assert_int_equal(async_stream_read(good.ends[1], good.head, 1), 0); /* the server closes */
    close_peer(&good);
    assert_int_equal(told_count, 0);

    open_peer(&bad, true, "", NULL);
    assert_string_equal(see(&bad), "88:1011;");
    send_string(&bad, 0x88, "\3\xe8");
    close_peer(&bad);
    assert_int_equal(told_count, 1);
    assert_contains(told, "of its own");
    return 0;
}

static int shutdown_of_server(void *unused)
{
    struct peer peer = {.handler = echo}, silent = {.handler = echo};

    open_peer(&peer, true, "", NULL);
    async_http_shutdown(peer.server);
    assert_string_equal(see(&peer), "88:1001;");
    send_string(&peer, 0x88, "\3\xe9");
    assert_int_equal(async_stream_read(peer.ends[1], peer.head, 1), 0);
    close_peer(&peer);
    assert_int_equal(peer.code, 0);
    assert_int_equal(peer.close_code, 1001);

    open_peer(&silent, true, "", NULL); /* it does not answer: close_timeout, 10 s */
    double begin = async_now();
    async_http_shutdown(silent.server);
    see(&silent);
    assert_int_equal(async_stream_read(silent.ends[1], silent.head, 1), 0);
    assert_int_equal((int)(async_now() - begin + 0.5), 10);
    close_peer(&silent);
    assert_int_equal(silent.code, -ETIMEDOUT);
    return 0;
}

/* One message is in the middle: the Close comes behind it. */
static int sends_much(async_websocket *socket)
{
    char *data = calloc(1, 300000);
    int code = async_websocket_send(socket, ASYNC_WEBSOCKET_BINARY, data, 300000);

    free(data);
    return code < 0 ? code : echo(socket);
}

static int shutdown_in_a_message(void *unused)
{
    struct peer peer = {.handler = sends_much,
                        .options = &(async_websocket_options){.fragment = 10000}};
    unsigned char *data;
    size_t size, all = 0;
    int first;

    open_peer(&peer, true, "", NULL);
    async_sleep(1);
    async_http_shutdown(peer.server);
    async_sleep(1);
    while ((first = read_frame(&peer, &data, &size)) != 0x88) {
        assert_true(first == 0x02 || first == 0x00 || first == 0x80);
        all += size;
        free(data);
    }
    assert_int_equal(data[0] << 8 | data[1], 1001);
    free(data);
    assert_int_equal(all, 300000);
    send_string(&peer, 0x88, "\3\xe9");
    close_peer(&peer);
    assert_int_equal(peer.code, 0);
    return 0;
}

/* ---- tasks that share a socket ---- */

struct sender {
    async_websocket *socket;
    char letter;
};

static int sender(struct sender *self)
{
    static const size_t sizes[] = {1, 70000, 500, 150000};
    char *data = malloc(150000);
    int code = 0;

    memset(data, self->letter, 150000);
    for (int i = 0; i < 8 && code == 0; i++)
        code = async_websocket_send(self->socket, ASYNC_WEBSOCKET_BINARY, data, sizes[i % 4]);
    free(data);
    return code;
}

static int send_many(async_websocket *socket, struct both *both)
{
    async_task *tasks[4];

    for (int i = 0; i < 4; i++)
        tasks[i] = async_spawn(sender, .socket = socket, .letter = (char)('a' + i));
    int code = 0;
    for (int i = 0; i < 4; i++)
        code |= async_await(tasks[i]);
    return code;
}

static int whole_messages(void *unused)
{
    for (int compressed = 0; compressed < 2; compressed++) {
        struct both both = {.handler = send_many,
                            .options = &(async_websocket_options){.fragment = 1000}};
        async_websocket_message message;
        int counts[4] = {0}, code;

        open_both(&both, &(async_websocket_options){.no_compression = !compressed});
        while ((code = async_websocket_receive(both.socket, &message)) > 0) {
            counts[message.data[0] - 'a']++;
            for (size_t i = 0; i < message.size; i++)
                assert_int_equal(message.data[i], message.data[0]);
        }
        assert_int_equal(code, 0);
        for (int i = 0; i < 4; i++)
            assert_int_equal(counts[i], 8);
        close_both(&both);
        assert_int_equal(both.code, 0);
    }
    return 0;
}

/* ---- cancellation ---- */

/* Receiving is given up again and again, in the middle of headers, frames, messages: nothing is lost. */
static int impatient(async_websocket *socket)
{
    async_websocket_message message;
    int code = 1;

    while (code != 0) {
        code = -ETIMEDOUT;
        async_timeout (0.13)
            code = async_websocket_receive(socket, &message);
        if (code == -ETIMEDOUT) note(".");
        if (code > 0) note("%s", message.data);
        if (code < 0 && code != -ETIMEDOUT) return code;
    }
    return 0;
}

static int given_up(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        struct peer peer = {.handler = impatient};
        char bytes[200];
        size_t size = 0;
        size += make_frame(bytes + size, 0x01, "Hel", 3, of_server);
        size += make_frame(bytes + size, 0x89, "p", 1, of_server);
        size += make_frame(bytes + size, 0x80, "lo", 2, of_server);
        size += make_frame(bytes + size, 0x81, "!", 1, of_server);
        size += make_frame(bytes + size, 0x88, "\3\xe8", 2, of_server);
        open_peer(&peer, of_server, "", NULL);
        for (size_t i = 0; i < size; i++) {
            async_stream_write(peer.ends[1], bytes + i, 1);
            async_sleep(0.2);
        }
        assert_string_equal(see(&peer), "8a:p;88:1000;");
        close_peer(&peer);
        assert_int_equal(peer.code, 0);
        const char *first = strstr(notes, "Hello"), *second = strstr(notes, "!");
        assert_true(first && second && first < second && strstr(notes, ". "));
        notes[0] = '\0';
    }
    return 0;
}

/* A send that is cancelled has sent nothing, or all, and the socket is as good as before. */
static int cancelled_sends(async_websocket *socket, struct both *both)
{
    size_t size = 300000;
    char *data = malloc(size);
    int whole = 0;

    for (int i = 0; i < 40; i++) {
        memset(data, 'a' + i % 20, size);
        data[0] = (char)i;
        int code = -ETIMEDOUT;
        async_timeout (0.01 * i)
            code = async_websocket_send(socket, ASYNC_WEBSOCKET_BINARY, data, size);
        assert_true(code == 0 || code == -ETIMEDOUT);
        whole += code == 0;
    }
    free(data);
    assert_true(whole > 0 && whole < 40);
    both->state = whole;
    return 0;
}

static int sends(void *unused)
{
    for (int compressed = 0; compressed < 2; compressed++) {
        struct both both = {.handler = cancelled_sends,
                            .options =
                                &(async_websocket_options){.fragment = compressed ? 50 : 10000}};
        async_websocket_message message;
        int code, count = 0, last = -1;

        open_both(&both, &(async_websocket_options){.no_compression = !compressed});
        while ((code = async_websocket_receive(both.socket, &message)) > 0) {
            assert_int_equal(message.size, 300000);
            assert_true(message.data[0] > last);
            last = message.data[0];
            for (size_t i = 1; i < message.size; i++)
                assert_int_equal(message.data[i], 'a' + last % 20);
            count++;
            if (!compressed) async_sleep(0.1);
        }
        assert_int_equal(code, 0);
        assert_true(count >= both.state);
        close_both(&both);
    }
    return 0;
}

/* ---- a socket that outlives its loop ---- */

static async_websocket *left;

static int waits_for_a_message(async_websocket *socket)
{
    async_websocket_message message;
    return async_websocket_receive(socket, &message);
}

/* The server's end is cancelled with the loop, the client's is there after it. */
static int leaves_it_open(void *unused)
{
    struct peer peer = {.handler = waits_for_a_message};
    (void)unused;
    now_serving = &peer;
    assert_int_equal(async_stream_pair(peer.ends), 0);
    peer.server = async_http_server_new(NULL);
    async_http_route(peer.server, NULL, "/chat", accept_socket);
    peer.task = async_create_task(serve_peer, &peer);
    left = async_websocket_connect_stream(peer.ends[1], "ws://example.org/chat", NULL);
    assert_non_null(left);
    assert_int_equal(async_websocket_send_text(left, "a"), 0);
    async_await(peer.task);
    async_http_server_free(peer.server);
    return 0;
}

static void test_freed_after_its_loop(void **state)
{
    (void)state;
    assert_int_equal(run(leaves_it_open, NULL), 0);
    async_websocket_free(left);
}

TEST(server_handshakes)
TEST(client_handshakes)
TEST(urls_and_options)
TEST(what_a_client_sends)
TEST(round_trips)
TEST(limits)
TEST(announced)
TEST(heartbeat)
TEST(latency)
TEST(send_timeout)
TEST(too_slow)
TEST(flood)
TEST(close_times_out)
TEST(close_answered)
TEST(arguments)
TEST(closed_by_another)
TEST(receiver_leaves)
TEST(handlers_end)
TEST(shutdown_of_server)
TEST(shutdown_in_a_message)
TEST(whole_messages)
TEST(given_up)
TEST(sends)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_handshakes),
        cmocka_unit_test(test_client_handshakes),
        cmocka_unit_test(test_urls_and_options),
        cmocka_unit_test(test_what_a_client_sends),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_announced),
        cmocka_unit_test(test_heartbeat),
        cmocka_unit_test(test_latency),
        cmocka_unit_test(test_send_timeout),
        cmocka_unit_test(test_too_slow),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_close_times_out),
        cmocka_unit_test(test_close_answered),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_closed_by_another),
        cmocka_unit_test(test_receiver_leaves),
        cmocka_unit_test(test_handlers_end),
        cmocka_unit_test(test_shutdown_of_server),
        cmocka_unit_test(test_shutdown_in_a_message),
        cmocka_unit_test(test_whole_messages),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_sends),
        cmocka_unit_test(test_freed_after_its_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
