/* Answers of the HTTP server that are compressed: when they are, and what comes out. */
#include "server_test.h"

#define HOST "Host: a\r\n"
#define END HOST "\r\n"

static struct client client;
static char text[200000];
static size_t text_size;

static int compress(struct async_http_request *request)
{
    int code = async_http_enable_compression(request);
    return code < 0 ? code : async_http_next(request);
}

static int whole(struct async_http_request *request)
{
    async_http_set_header(request, "ETag", "\"x\"");
    return async_http_respond(
        request, 200, async_http_param(request, "type")[0] == 't' ? "text/plain" : "image/png",
        text, text_size);
}

static int in_pieces(struct async_http_request *request)
{
    int code = async_http_respond_begin(request, 200, "application/json", (int64_t)text_size);
    for (size_t at = 0; at < text_size && code == 0; at += 10000)
        code = async_http_respond_write(request, text + at,
                                        text_size - at < 10000 ? text_size - at : 10000);
    return code;
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

static int small(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "small");
}

static int coded(struct async_http_request *request)
{
    async_http_set_header(request, "Content-Encoding", "br");
    return async_http_respond(request, 200, "text/plain", text, text_size);
}

static int fixed(struct async_http_request *request)
{
    async_http_set_header(request, "Cache-Control", "no-transform");
    return async_http_respond(request, 200, "text/plain", text, text_size);
}

static void add_routes(async_http_server *server)
{
    async_http_use(server, compress);
    async_http_route(server, "GET", "/whole/{type}", whole);
    async_http_route(server, "GET", "/pieces", in_pieces);
    async_http_route(server, "GET", "/events", events);
    async_http_route(server, "GET", "/small", small);
    async_http_route(server, "GET", "/coded", coded);
    async_http_route(server, "GET", "/fixed", fixed);
    assert_int_equal(async_http_static(server, "/files/", "/tmp"), 0);
    text_size = 0; /* fits into the client's memory also if it is not compressed */
    for (int i = 0; text_size < 40000; i++)
        text_size += (size_t)snprintf(text + text_size, sizeof text - text_size, "line %d %x\n", i,
                                      i * 2654435761u);
}

static bool is_compressed(async_http_server *server, const char *path, const char *accepts)
{
    char bytes[512];
    int size =
        snprintf(bytes, sizeof bytes, "GET %s HTTP/1.0\r\n%s%s%s" END, path,
                 accepts ? "Accept-Encoding: " : "", accepts ? accepts : "", accepts ? "\r\n" : "");
    ask_bytes(&client, server, bytes, (size_t)size);
    assert_contains(client.answer, "HTTP/1.1 200 OK\r\n");
    bool is = strstr(client.answer, "Content-Encoding: gzip\r\n");
    const char *body = strstr(client.answer, "\r\n\r\n") + 4;
    assert_int_equal(is, memcmp(body, "\x1f\x8b", 2) == 0);
    return is;
}

static int is_negotiated(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        add_routes(server);
        assert_false(is_compressed(server, "/whole/text", NULL));
        assert_contains(client.answer, "Vary: Accept-Encoding\r\n");
        assert_contains(client.answer, "ETag: \"x\"\r\n");
        assert_true(is_compressed(server, "/whole/text", "gzip"));
        assert_contains(client.answer, "Vary: Accept-Encoding\r\n");
        assert_contains(client.answer, "ETag: W/\"x\"\r\n");
        assert_lacks(client.answer, "Content-Length");
        assert_true(client.size < text_size / 2);
        static const char *const yes[] = {"deflate, GZIP;q=0.5, br",
                                          "*",
                                          "gzip;q=1.0",
                                          "x-gzip",
                                          "identity;q=0.5, gzip;q=0.8",
                                          "gzip; q=0.001",
                                          "br, *;q=0.1"};
        static const char *const no[] = {
            "",      "gzip;q=0", "gzip;q=0.000, *",      "br",
            "*;q=0", "gzipped",  "identity, gzip;q=0.5", "identity;q=1, *;q=0.5"};
        for (size_t i = 0; i < COUNT(yes); i++)
            if (!is_compressed(server, "/whole/text", yes[i])) fail_msg("%s", yes[i]);
        for (size_t i = 0; i < COUNT(no); i++)
            if (is_compressed(server, "/whole/text", no[i])) fail_msg("%s", no[i]);
        assert_false(is_compressed(server, "/whole/image", "gzip"));
        assert_lacks(client.answer, "Vary");
        assert_false(is_compressed(server, "/small", "gzip"));
        assert_false(is_compressed(server, "/fixed", "gzip"));
        ask(&client, server, "GET /coded HTTP/1.0\r\nAccept-Encoding: gzip\r\n" END);
        assert_lacks(client.answer, "gzip");
        /* No body, and the same headers. */
        ask(&client, server, "HEAD /whole/text HTTP/1.1\r\nAccept-Encoding: gzip\r\n" END);
        assert_contains(client.answer, "Content-Encoding: gzip\r\n");
        assert_null(memmem(client.answer, client.size, "\x1f\x8b", 2));
        assert_int_equal(told_count, 0);
    }
    return async_block_error();
}

/* What gzip makes of it. */
static void assert_unpacks_to(const char *wanted, size_t size)
{
    static char unpacked[sizeof text];
    char name[] = "/tmp/casyncio-gzip-XXXXXX", command[100];
    int fd = mkstemp(name);
    const char *body = strstr(client.answer, "\r\n\r\n") + 4;
    size_t body_size = client.size - (size_t)(body - client.answer);

    assert_int_equal(write(fd, body, body_size), body_size);
    close(fd);
    snprintf(command, sizeof command, "gzip -dc <%s", name);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(unpacked, 1, sizeof unpacked, pipe);
    assert_int_equal(pclose(pipe), 0);
    unlink(name);
    assert_int_equal(got, size);
    assert_memory_equal(unpacked, wanted, size);
}

static int comes_out_as_it_was(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        add_routes(server);
        assert_true(is_compressed(server, "/whole/text", "gzip"));
        assert_unpacks_to(text, text_size);
        assert_true(is_compressed(server, "/pieces", "gzip"));
        assert_unpacks_to(text, text_size);
        assert_true(is_compressed(server, "/events", "gzip"));
        assert_unpacks_to("data: x\n\ndata: x\n\ndata: x\n\n", 27);
        char name[] = "/tmp/casyncio-gzip-XXXXXX.txt", path[100];
        int fd = mkstemps(name, 4);
        assert_int_equal(write(fd, text, text_size), text_size);
        close(fd);
        snprintf(path, sizeof path, "/files/%s", name + 5);
        assert_true(is_compressed(server, path, "gzip"));
        assert_unpacks_to(text, text_size);
        char bytes[300];
        int size = snprintf(
            bytes, sizeof bytes,
            "GET %s HTTP/1.1\r\nRange: bytes=10-19\r\nAccept-Encoding: gzip\r\n" END, path);
        ask_bytes(&client, server, bytes, (size_t)size);
        assert_contains(client.answer, "HTTP/1.1 206 ");
        assert_lacks(client.answer, "gzip");
        assert_contains(client.answer, "Content-Length: 10\r\n");
        unlink(name);
        assert_int_equal(told_count, 0);
    }
    return async_block_error();
}

/* Events are not held back until there are many. */
static int events_come_at_once(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        add_routes(server);
        client_open(&client, server);
        client_send(&client, "GET /events HTTP/1.1\r\nAccept-Encoding: gzip\r\n" END, 57);
        client_read_for(&client, 0.5);
        assert_contains(client.answer, "Content-Encoding: gzip\r\n");
        const char *body = strstr(client.answer, "\r\n\r\n") + 4;
        assert_true(client.size - (size_t)(body - client.answer) > 20);
        client_close(&client);
    }
    return async_block_error();
}

TEST(is_negotiated)
TEST(comes_out_as_it_was)
TEST(events_come_at_once)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_negotiated),
        cmocka_unit_test(test_comes_out_as_it_was),
        cmocka_unit_test(test_events_come_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
