/* The HTTP server over HTTP/2: requests, bodies, windows, times, floods, the end. Times are those of the
 * virtual clock. */
#include "http2_client.h"

#include <malloc.h>

static struct client client;
static int cancelled;

/* ---- handlers ---- */

static int show(struct async_http_request *request)
{
    const char *cookie = async_http_request_header(request, "Cookie");
    const char *query = async_http_query(request, "q");

    async_http_set_header(request, "X-Upper", " v ");
    async_http_set_cookie(request, "a", "b", NULL);
    return async_http_respond_text(
        request, 200, "%s %s %s %s %s %s", async_http_request_method(request),
        async_http_request_path(request), async_http_request_version(request),
        async_http_request_host(request), cookie ? cookie : "-", query ? query : "-");
}

static int echo(struct async_http_request *request)
{
    size_t size;
    const void *body = async_http_request_read(request, &size);
    if (!body) return async_error_code();
    const char *trailer = async_http_request_trailer(request, "x-sum");
    if (trailer) return async_http_respond_text(request, 200, "%zu %s", size, trailer);
    return async_http_respond(request, 200, NULL, body, size);
}

static int slow(struct async_http_request *request)
{
    int code = async_sleep(20);
    if (code < 0) cancelled++;
    return code < 0 ? code : async_http_respond_text(request, 200, "slow");
}

static int lazy(struct async_http_request *request)
{
    static char piece[100000];
    size_t total = 0;
    ssize_t got;
    int code = async_sleep(5);
    async_http_set_max_body(request, UINT64_MAX);
    while (code == 0 && (got = async_http_request_recv(request, piece, sizeof piece)) != 0) {
        if (got < 0) return (int)got;
        total += (size_t)got;
    }
    return code < 0 ? code : async_http_respond_text(request, 200, "%zu", total);
}

static int written;

static int large(struct async_http_request *request)
{
    static const char body[300000];
    return written = async_http_respond(request, 200, "text/plain", body, sizeof body);
}

static int events(struct async_http_request *request)
{
    for (int i = 0; i < 3; i++) {
        int code = async_http_send_event(request, NULL, NULL, "x");
        if (code == 0) code = async_sleep(1);
        if (code < 0) return code;
    }
    return 0;
}

static int breaks_off(struct async_http_request *request)
{
    int code = async_http_respond_begin(request, 200, NULL, -1);
    if (code == 0) code = async_http_respond_write(request, "half", 4);
    return code < 0 ? code : -EIO;
}

static int silent(struct async_http_request *request)
{
    (void)request;
    return 0;
}

static int many_headers(struct async_http_request *request)
{
    for (int i = 0; i < 50; i++)
        async_http_add_header(request, "X-Many", "1");
    return async_http_respond(request, 204, NULL, NULL, 0);
}

static int leave(struct async_http_request *request)
{
    async_http_close_after(request);
    return async_http_respond_text(request, 200, "bye");
}

static int upgrade(struct async_http_request *request)
{
    return async_http_upgrade(request, "x") ? 0
                                            : async_http_respond_text(request, 400, "no upgrade");
}

static void add_routes(async_http_server *server)
{
    async_http_route(server, "GET", "/", show);
    async_http_route(server, "POST", "/echo", echo);
    async_http_route(server, "GET", "/slow", slow);
    async_http_route(server, "POST", "/lazy", lazy);
    async_http_route(server, "GET", "/large", large);
    async_http_route(server, "GET", "/events", events);
    async_http_route(server, "GET", "/breaks_off", breaks_off);
    async_http_route(server, "GET", "/silent", silent);
    async_http_route(server, "GET", "/many", many_headers);
    async_http_route(server, "GET", "/leave", leave);
    async_http_route(server, "GET", "/upgrade", upgrade);
    async_http_static(server, "/files/", "/usr/bin");
    told_count = cancelled = 0;
}

#define WITH_HTTP2(...)                                                                            \
    for (int once = 1; once; once = 0)                                                             \
        WITH_SERVER (server, .on_error = tell, ##__VA_ARGS__)                                      \
            for (add_routes(server), http2_open(&client, server); once;                            \
                 once = 0, http2_close(&client))

static int ask2(int id, const char *const *headers)
{
    put_headers(id, END_STREAM, headers);
    send_all(&client);
    return read_answer(&client, id);
}

/* ---- requests ---- */

static int answers(void *unused)
{
    WITH_HTTP2()
    {
        assert_int_equal(ask2(1, REQUEST("GET", "/?q=%41")), 0);
        assert_string_equal(client.answer, "GET / 2 a - A");
        assert_contains(head, ":status: 200\n");
        assert_contains(head, "content-length: 13\n");
        assert_contains(head, "x-upper: v\n");
        assert_contains(head, "set-cookie: a=b\n");
        assert_contains(head, "date: ");
        assert_lacks(head, "connection");
        /* Cookies may come divided. */
        assert_int_equal(ask2(3, REQUEST("GET", "/", "cookie", "a=1", "x", "y", "cookie", "b=2")),
                         0);
        assert_string_equal(client.answer, "GET / 2 a a=1; b=2 -");
        assert_int_equal(ask2(5, REQUEST("HEAD", "/")), 0);
        assert_string_equal(client.answer, "");
        assert_contains(head, "content-length: 14\n");
        assert_int_equal(ask2(7, REQUEST("GET", "/none")), 0);
        assert_contains(head, ":status: 404\n");
        assert_int_equal(ask2(9, REQUEST("DELETE", "/")), 0);
        assert_contains(head, ":status: 405\n");
        assert_contains(head, "allow: ");
        assert_int_equal(ask2(11, REQUEST("GET", "/many")), 0);
        assert_contains(head, ":status: 204\n");
        assert_contains(head, "x-many: 1\nx-many: 1\n");
        assert_int_equal(told_count, 0);
        assert_int_equal(ask2(13, REQUEST("GET", "/silent")), 0);
        assert_contains(head, ":status: 500\n");
        assert_int_equal(told_count, 1);
        assert_int_equal(ask2(15, REQUEST("GET", "/breaks_off")), NGHTTP2_INTERNAL_ERROR);
        assert_string_equal(client.answer, "half");
        assert_int_equal(told_count, 2);
        assert_int_equal(ask2(17, REQUEST("GET", "/upgrade", "x", "y")), 0);
        assert_string_equal(client.answer, "no upgrade");
        assert_int_equal(ask2(19, REQUEST("GET", "/files/env")), 0);
        assert_contains(head, ":status: 200\n");
        assert_true(client.size > 10000);
    }
    return async_block_error();
}

/* The body is of a number of bytes; ?whole: in one call, with its length; ?begin: the head goes first. */
static int sums(struct async_http_request *request)
{
    static const char body[100000];
    const char *size = async_http_query(request, "size"),
               *whole = async_http_query(request, "whole");
    size_t length = size ? (size_t)atoi(size) : 0;

    async_http_set_trailer(request, "X-Sum", "unknown");
    if (whole) {
        async_http_set_trailer(request, "X-Sum", " 7 ");
        return async_http_respond(request, 200, NULL, body, length);
    }
    async_http_respond_begin(request, 200, NULL, -1);
    if (async_http_query(request, "wait")) async_sleep(1);
    async_http_respond_write(request, body, length);
    return async_http_set_trailer(request, "x-sum", "7");
}

static int trailers(void *unused)
{
    static const struct {
        const char *path;
        size_t size;
    } requests[] = {{"/sums", 0},
                    {"/sums?wait=1", 0},
                    {"/sums?size=5&wait=1", 5},
                    {"/sums?size=40000", 40000},
                    {"/sums?whole=1", 0},
                    {"/sums?whole=1&size=40000", 40000}};

    WITH_HTTP2()
    {
        async_http_route(server, "GET", "/sums", sums);
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
            int id = (int)i * 2 + 1;
            put_headers(id, END_STREAM, REQUEST("GET", requests[i].path));
            send_all(&client);
            assert_true(find_frame(&client, NGHTTP2_HEADERS));
            assert_contains(head, "trailer: X-Sum\n");
            assert_int_equal(frame.flags & END_STREAM, 0);
            assert_int_equal(read_answer(&client, id), 0);
            assert_int_equal(frame.type, NGHTTP2_HEADERS);
            assert_string_equal(head, "x-sum: 7\n");
            assert_int_equal(client.size, requests[i].size);
            put_number(NGHTTP2_WINDOW_UPDATE, 0, 65536);
        }
        assert_int_equal(ask2(101, REQUEST("HEAD", "/sums?size=5")), 0);
        assert_lacks(head, "railer");
        assert_lacks(head, "sum");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

static int bodies(void *unused)
{
    WITH_HTTP2(.max_body = 1000)
    {
        put_headers(1, 0, REQUEST("POST", "/echo", "content-length", "5"));
        put_frame(NGHTTP2_DATA, 0, 1, "he", 2);
        send_all(&client);
        async_sleep(1);
        put_frame(NGHTTP2_DATA, END_STREAM, 1, "llo", 3);
        send_all(&client);
        assert_int_equal(read_answer(&client, 1), 0);
        assert_string_equal(client.answer, "hello");
        /* Of no length, with a trailer. */
        put_headers(3, 0, REQUEST("POST", "/echo"));
        put_frame(NGHTTP2_DATA, 0, 3, "hello", 5);
        put_headers(3, END_STREAM, HEADERS("x-sum", "12"));
        send_all(&client);
        assert_int_equal(read_answer(&client, 3), 0);
        assert_string_equal(client.answer, "5 12");
        /* It waits for its body to be asked for. */
        put_headers(5, 0, REQUEST("POST", "/echo", "expect", "100-continue"));
        send_all(&client);
        assert_true(find_frame(&client, NGHTTP2_HEADERS));
        assert_string_equal(head, ":status: 100\n");
        put_frame(NGHTTP2_DATA, END_STREAM, 5, "x", 1);
        send_all(&client);
        assert_int_equal(read_answer(&client, 5), 0);
        assert_string_equal(client.answer, "x");
        /* Too large, said to be so and not. The client need not send it. */
        static const char much[2000];
        put_headers(7, 0, REQUEST("POST", "/echo", "content-length", "2000"));
        send_all(&client);
        assert_int_equal(read_answer(&client, 7), 0);
        assert_contains(head, ":status: 413\n");
        assert_true(find_frame(&client, NGHTTP2_RST_STREAM));
        assert_int_equal(number_at(0), NGHTTP2_NO_ERROR);
        put_headers(9, 0, REQUEST("POST", "/echo"));
        put_frame(NGHTTP2_DATA, END_STREAM, 9, much, sizeof much);
        send_all(&client);
        assert_int_equal(read_answer(&client, 9), 0);
        assert_contains(head, ":status: 413\n");
        /* Never whole. */
        put_headers(11, 0, REQUEST("POST", "/echo"));
        send_all(&client);
        int begin = tenths();
        assert_int_equal(read_answer(&client, 11), 0);
        assert_contains(head, ":status: 408\n");
        assert_in_range(tenths() - begin, 299, 310);
        assert_int_equal(told_count, 0);
    }
    return async_block_error();
}

/* A slow answer holds up none of the others. */
static int streams_are_tasks(void *unused)
{
    WITH_HTTP2()
    {
        put_headers(1, END_STREAM, REQUEST("GET", "/slow"));
        put_headers(3, END_STREAM, REQUEST("GET", "/events"));
        put_headers(5, END_STREAM, REQUEST("GET", "/"));
        send_all(&client);
        int begin = tenths();
        assert_int_equal(read_answer(&client, 5), 0);
        assert_in_range(tenths() - begin, 0, 1);
        assert_int_equal(async_http_server_requests(server), 2);
        assert_int_equal(read_answer(&client, 3), 0);
        assert_in_range(tenths() - begin, 20, 31);
        assert_string_equal(client.answer, "data: x\n\n"
                                           "data: x\n\n");
        assert_int_equal(read_answer(&client, 1), 0);
        assert_string_equal(client.answer, "slow");
    }
    return async_block_error();
}

/* ---- windows ---- */

static int answers_wait_for_windows(void *unused)
{
    WITH_HTTP2()
    {
        put_headers(1, END_STREAM, REQUEST("GET", "/large"));
        send_all(&client);
        size_t got = 0;
        while (next_frame(&client, 1))
            if (frame.type == NGHTTP2_DATA) got += frame.size;
        assert_int_equal(got, 65535);
        assert_int_equal(async_http_server_requests(server), 1);
        put_number(NGHTTP2_WINDOW_UPDATE, 0, 1000000);
        put_number(NGHTTP2_WINDOW_UPDATE, 1, 1000000);
        send_all(&client);
        do {
            assert_true(find_frame(&client, NGHTTP2_DATA));
            got += frame.size;
        } while (!(frame.flags & END_STREAM));
        assert_int_equal(got, 300000);
        assert_int_equal(written, 0);
        /* One that never opens holds a stream, and no more than write_timeout. */
        put_setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
        put_headers(3, END_STREAM, REQUEST("GET", "/large"));
        send_all(&client);
        int begin = tenths();
        assert_int_equal(read_answer(&client, 3), NGHTTP2_INTERNAL_ERROR);
        assert_in_range(tenths() - begin, 299, 310);
        assert_int_equal(written, -ETIMEDOUT);
        assert_int_equal(async_http_server_requests(server), 0);
    }
    return async_block_error();
}

static int bodies_wait_for_handlers(void *unused)
{
    static const char much[16384];

    WITH_HTTP2()
    {
        put_headers(1, 0, REQUEST("POST", "/lazy"));
        for (int i = 0; i < 3; i++)
            put_frame(NGHTTP2_DATA, 0, 1, much, sizeof much);
        put_frame(NGHTTP2_DATA, 0, 1, much, sizeof much - 1);
        send_all(&client);
        uint32_t opened = 0;
        while (next_frame(&client, 4))
            if (frame.type == NGHTTP2_WINDOW_UPDATE && frame.id == 1) opened += number_at(0);
        assert_int_equal(opened, 0); /* nothing has been read */
        assert_true(find_frame(&client, NGHTTP2_WINDOW_UPDATE));
        put_frame(NGHTTP2_DATA, END_STREAM, 1, much, 100);
        send_all(&client);
        assert_int_equal(read_answer(&client, 1), 0);
        assert_string_equal(client.answer, "65635");
        /* More than the window. */
        put_headers(3, 0, REQUEST("POST", "/lazy"));
        for (int i = 0; i < 5; i++)
            put_frame(NGHTTP2_DATA, 0, 3, much, sizeof much);
        send_all(&client);
        while (next_frame(&client, 4) && frame.type != NGHTTP2_RST_STREAM &&
               frame.type != NGHTTP2_GOAWAY)
            ;
        assert_int_equal(number_at(frame.type == NGHTTP2_GOAWAY ? 4 : 0),
                         NGHTTP2_FLOW_CONTROL_ERROR);
    }
    return async_block_error();
}

/* ---- the client's end of a stream ---- */

static int resets_cancel(void *unused)
{
    WITH_HTTP2()
    {
        put_headers(1, END_STREAM, REQUEST("GET", "/slow"));
        send_all(&client);
        async_sleep(1);
        assert_int_equal(async_http_server_requests(server), 1);
        put_number(NGHTTP2_RST_STREAM, 1, NGHTTP2_CANCEL);
        send_all(&client);
        async_sleep(1);
        assert_int_equal(async_http_server_requests(server), 0);
        assert_int_equal(cancelled, 1);
        assert_int_equal(ask2(3, REQUEST("GET", "/")), 0); /* the connection goes on */
        put_headers(5, END_STREAM, REQUEST("GET", "/slow"));
        send_all(&client);
        async_sleep(1);
        async_stream_abort(client.ends[1]); /* the client has gone */
        assert_int_equal(async_stream_pair(client.ends), 0);
        async_sleep(1);
        assert_int_equal(cancelled, 2);
        assert_true(async_task_done(client.task));
        async_stream_abort(client.ends[0]);
        assert_int_equal(told_count, 0);
    }
    return async_block_error();
}

/* ---- limits ---- */

static int limits(void *unused)
{
    static char long_value[40000];

    memset(long_value, 'x', sizeof long_value - 1);
    WITH_HTTP2(.max_streams = 3, .max_headers = 10)
    {
        for (int i = 0; i < 4; i++)
            put_headers(1 + 2 * i, END_STREAM, REQUEST("GET", "/slow"));
        send_all(&client);
        assert_int_equal(read_answer(&client, 7), NGHTTP2_REFUSED_STREAM);
        assert_int_equal(read_answer(&client, 5), 0);
        async_sleep(1);
        assert_int_equal(ask2(9, REQUEST("GET", "/", "a", "1", "a", "2", "a", "3", "a", "4", "a",
                                         "5", "a", "6", "a", "7", "a", "8", "a", "9", "a", "10")),
                         0);
        assert_contains(head, ":status: 431\n");
        static unsigned char block[65536];
        size_t size = write_block(block, REQUEST("GET", "/", "x", long_value));
        put_frame(NGHTTP2_HEADERS, END_STREAM, 11, block, 16384);
        put_frame(NGHTTP2_CONTINUATION, 0, 11, block + 16384, 16384);
        put_frame(NGHTTP2_CONTINUATION, END_HEADERS, 11, block + 32768, size - 32768);
        send_all(&client);
        assert_int_equal(read_answer(&client, 11), 0);
        assert_contains(head, ":status: 431\n");
    }
    WITH_HTTP2(.max_requests = 1)
    {
        put_headers(1, END_STREAM, REQUEST("GET", "/slow"));
        put_headers(3, END_STREAM, REQUEST("GET", "/"));
        send_all(&client);
        assert_int_equal(read_answer(&client, 3), 0);
        assert_contains(head, ":status: 503\n");
        assert_int_equal(read_answer(&client, 1), 0);
        assert_string_equal(client.answer, "slow");
    }
    return async_block_error();
}

/* ---- times ---- */

static int times(void *unused)
{
    WITH_HTTP2(.idle_timeout = 5)
    {
        assert_int_equal(ask2(1, REQUEST("GET", "/")), 0);
        int begin = tenths();
        put_frame(NGHTTP2_PING, 0, 0, "01234567", 8); /* no request, and no more time for it */
        send_all(&client);
        assert_true(find_frame(&client, NGHTTP2_GOAWAY));
        assert_int_equal(number_at(4), NGHTTP2_NO_ERROR);
        assert_in_range(tenths() - begin, 45, 51);
        assert_false(next_frame(&client, 1));
    }
    WITH_HTTP2()
    { /* a head that is never whole */
        put_headers(1, END_STREAM, REQUEST("GET", "/"));
        out.size -= 3;
        send_all(&client);
        int begin = tenths();
        assert_true(find_frame(&client, NGHTTP2_GOAWAY));
        assert_in_range(tenths() - begin, 95, 105);
    }
    WITH_HTTP2()
    { /* nor the preface */
        out.size = 10;
        send_all(&client);
        int begin = tenths();
        assert_false(next_frame(&client, 100));
        assert_in_range(tenths() - begin, 95, 130);
    }
    return async_block_error();
}

/* ---- the end ---- */

static int shuts_down(void *unused)
{
    WITH_HTTP2()
    {
        put_headers(1, END_STREAM, REQUEST("GET", "/slow"));
        send_all(&client);
        async_sleep(1);
        async_http_shutdown(server);
        assert_true(find_frame(&client, NGHTTP2_GOAWAY));
        assert_int_equal(number_at(0), INT32_MAX);
        assert_true(find_frame(&client, NGHTTP2_PING));
        put_headers(3, END_STREAM, REQUEST("GET", "/")); /* was on its way: it is answered */
        put_frame(NGHTTP2_PING, ACK, 0, frame.payload, 8);
        send_all(&client);
        assert_true(find_frame(&client, NGHTTP2_GOAWAY));
        assert_int_equal(number_at(0), 3);
        put_headers(5, END_STREAM, REQUEST("GET", "/")); /* was opened in spite of it */
        send_all(&client);
        assert_int_equal(read_answer(&client, 3), 0);
        assert_string_equal(client.answer, "GET / 2 a - -");
        assert_int_equal(read_answer(&client, 1), 0);
        assert_string_equal(client.answer, "slow");
        assert_false(next_frame(&client, 1));
    }
    WITH_HTTP2()
    { /* idle, and the client takes no notice */
        send_all(&client);
        async_sleep(1);
        int begin = tenths();
        async_http_shutdown(server);
        while (next_frame(&client, 100))
            ;
        assert_in_range(tenths() - begin, 10, 45);
    }
    WITH_HTTP2(.shutdown_timeout = 3)
    { /* a handler that takes too long */
        put_headers(1, END_STREAM, REQUEST("GET", "/slow"));
        send_all(&client);
        async_sleep(1);
        int begin = tenths();
        async_http_shutdown(server);
        while (next_frame(&client, 100))
            ;
        assert_in_range(tenths() - begin, 29, 60);
        assert_int_equal(cancelled, 1);
    }
    WITH_HTTP2()
    { /* one that wants the connection's end */
        assert_int_equal(ask2(1, REQUEST("GET", "/leave")), 0);
        assert_true(find_frame(&client, NGHTTP2_GOAWAY));
    }
    return async_block_error();
}

/* ---- floods ---- */

/* Bytes of memory that are in use; 0 where malloc does not say. */
static size_t in_use(void)
{
#ifdef __GLIBC__
    return mallinfo2().uordblks;
#else
    return 0;
#endif
}

/* Sends what `put` puts together again and again, and reads nothing, until the server has had enough: the
 * reason of its GOAWAY. Memory must not grow meanwhile. */
static int flood(void (*put)(int round))
{
    int error = -1;

    WITH_HTTP2()
    {
        send_all(&client);
        async_sleep(0.1);
        size_t before = in_use();
        for (int round = 0; round < 10000 && !async_task_done(client.task); round++) {
            put(round);
            async_timeout (0.5)
                client_send(&client, (const char *)out.bytes, out.size);
            if (async_block_error() == -ETIMEDOUT) break; /* it reads no more */
            out.size = 0;
            async_sleep(0);
        }
        size_t after = in_use();
        assert_true(after < before + 1000000);
        while (find_frame(&client, NGHTTP2_GOAWAY))
            error = (int)number_at(4);
        assert_int_equal(told_count, 0);
    }
    assert_int_equal(async_block_error(), 0);
    return error;
}

static void put_rapid_reset(int round)
{
    put_headers(1 + 2 * round, END_STREAM, REQUEST("GET", "/slow"));
    put_number(NGHTTP2_RST_STREAM, 1 + 2 * round, NGHTTP2_CANCEL);
}

static void put_ping(int round)
{
    (void)round;
    put_frame(NGHTTP2_PING, 0, 0, "01234567", 8);
}

static void put_settings(int round)
{
    put_setting(NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384 + (uint32_t)round);
}

static void put_empty_data(int round)
{
    if (round == 0) put_headers(1, 0, REQUEST("POST", "/lazy"));
    put_frame(NGHTTP2_DATA, 0, 1, NULL, 0);
}

static void put_continuation(int round)
{
    static unsigned char block[1000];
    if (round == 0)
        put_frame(NGHTTP2_HEADERS, 0, 1, block, write_block(block, REQUEST("GET", "/")));
    else
        put_frame(NGHTTP2_CONTINUATION, 0, 1, NULL, 0);
}

static void put_priority(int round)
{
    (void)round;
    put_frame(NGHTTP2_PRIORITY, 0, 3, "\0\0\0\0\1", 5);
}

/* An answer whose window opens byte by byte. */
static void put_small_windows(int round)
{
    if (round == 0) put_setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0);
    if (round == 0) put_headers(1, END_STREAM, REQUEST("GET", "/large"));
    put_number(NGHTTP2_WINDOW_UPDATE, 1, 1);
}

static void put_too_many_streams(int round)
{
    put_headers(1 + 2 * round, END_STREAM, REQUEST("GET", "/slow"));
}

/* The server is made to reset the streams (CVE-2025-8671). */
static void put_made_resets(int round)
{
    put_headers(1 + 2 * round, 0, REQUEST("GET", "/slow", "content-length", "5"));
    put_frame(NGHTTP2_DATA, END_STREAM, 1 + 2 * round, NULL, 0);
}

static int floods(void *unused)
{
    (void)unused;
    assert_int_equal(flood(put_rapid_reset), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(cancelled <= 200);
    assert_int_equal(flood(put_ping), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(flood(put_settings), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(flood(put_empty_data), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_not_equal(flood(put_continuation), -1);
    assert_int_equal(flood(put_priority), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(flood(put_small_windows), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(flood(put_too_many_streams), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_int_equal(flood(put_made_resets), NGHTTP2_ENHANCE_YOUR_CALM);
    assert_true(cancelled <= 200);
    return 0;
}

/* ---- which version ---- */

static int version_is_chosen(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        add_routes(server);
        http2_open(&client, server); /* the preface byte by byte */
        put_headers(1, END_STREAM, REQUEST("GET", "/"));
        for (size_t i = 0; i < out.size; i++) {
            client_send(&client, (const char *)out.bytes + i, 1);
            async_sleep(0);
        }
        assert_int_equal(read_answer(&client, 1), 0);
        assert_string_equal(client.answer, "GET / 2 a - -");
        http2_close(&client);
        /* What begins like it. */
        assert_contains(ask(&client, server, "PRI / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 4");
        assert_contains(ask(&client, server, "P"), "");
        client_open(&client, server);
        client_send(&client, "P", 1);
        async_sleep(1);
        client_send(&client, "UT / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
        assert_contains(client_read_for(&client, 1), "HTTP/1.1 405 ");
        client_close(&client);
    }
    WITH_HTTP2()
    { /* the greatest number that a stream may have */
        assert_int_equal(ask2(INT32_MAX, REQUEST("GET", "/")), 0);
        assert_string_equal(client.answer, "GET / 2 a - -");
    }
    WITH_SERVER (server, .no_http2 = true) {
        add_routes(server);
        assert_contains(ask(&client, server, PREFACE), "HTTP/1.1 505 ");
    }
    return async_block_error();
}

TEST(answers)
TEST(trailers)
TEST(bodies)
TEST(streams_are_tasks)
TEST(answers_wait_for_windows)
TEST(bodies_wait_for_handlers)
TEST(resets_cancel)
TEST(limits)
TEST(times)
TEST(shuts_down)
TEST(floods)
TEST(version_is_chosen)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_streams_are_tasks),
        cmocka_unit_test(test_answers_wait_for_windows),
        cmocka_unit_test(test_bodies_wait_for_handlers),
        cmocka_unit_test(test_resets_cancel),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_shuts_down),
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_version_is_chosen),
    };
    if (getenv("FILTER")) cmocka_set_test_filter(getenv("FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
