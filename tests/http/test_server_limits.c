/* The HTTP server's limits and times, and its end. Times are those of the virtual clock. */
#include "server_test.h"

#define HOST "Host: a\r\n"
#define END HOST "\r\n"
#define GET "GET / HTTP/1.1\r\n" END

static struct client client, other;

static int plain(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "fine");
}

static int slow(struct async_http_request *request)
{
    int code = async_sleep(20);
    if (code < 0) note("cancelled");
    return code < 0 ? code : async_http_respond_text(request, 200, "slow");
}

static int echo(struct async_http_request *request)
{
    size_t size;
    if (!async_http_request_read(request, &size)) return async_error_code();
    return async_http_respond_text(request, 200, "%zu bytes", size);
}

/* Sends a byte each second, and goes on until the server has closed: when that was. */
static int drip(struct client *self, const char *bytes)
{
    for (const char *at = bytes; *at; at++) {
        if (async_stream_write(self->ends[1], at, 1) < 0) break;
        async_sleep(1);
        if (async_task_done(self->task)) break;
    }
    client_read(self);
    int when = tenths();
    client_close(self);
    return when;
}

/* ---- slow clients ---- */

static int head_comes_slowly(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/", plain);
        client_open(&client, server);
        int begin = tenths(),
            end = drip(&client, "GET / HTTP/1.1\r\nHost: a\r\nX: 1234567890\r\n\r\n");
        assert_contains(client.answer, "HTTP/1.1 408 Request Timeout\r\n");
        assert_in_range(end - begin, 100, 130); /* and two seconds of grace */

        /* Nothing at all: closed without a word. */
        client_open(&client, server);
        begin = tenths();
        assert_string_equal(client_read(&client), "");
        assert_in_range(tenths() - begin, 99, 101);
        client_close(&client);
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

static int connection_is_idle(void *unused)
{
    WITH_SERVER (server, .idle_timeout = 5) {
        async_http_route(server, "GET", "/", plain);
        client_open(&client, server);
        client_send(&client, GET, sizeof GET - 1);
        assert_contains(client_read_for(&client, 4), "fine");
        client_send(&client, GET, sizeof GET - 1);
        assert_contains(client_read_for(&client, 4), "fine");
        int begin = tenths();
        assert_string_equal(client_read(&client), "");
        assert_in_range(tenths() - begin, 9, 11);
        client_close(&client);
    }
    return async_block_error();
}

static int body_comes_slowly(void *unused)
{
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\n";
    static char kib[1024];

    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "POST", "/", echo);
        client_open(&client, server);
        client_send(&client, head, sizeof head - 1);
        int begin = tenths();
        static char drops[100];
        memset(drops, 'x', sizeof drops - 1);
        assert_in_range(drip(&client, drops) - begin, 300, 330);
        assert_contains(client.answer, "HTTP/1.1 408 Request Timeout\r\n");

        /* One that comes at a KiB a second gets through. */
        client_open(&client, server);
        client_send(&client, head, sizeof head - 1);
        for (int sent = 0; sent < 100000; sent += 1000) {
            assert_int_equal(async_stream_write(client.ends[1], kib, 1000), 0);
            async_sleep(1);
        }
        assert_contains(client_read_for(&client, 1), "100000 bytes");
        client_close(&client);
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

static int written_code;

static int large(struct async_http_request *request)
{
    static const char piece[10000];
    int code = async_http_respond_begin(request, 200, "text/plain", -1);

    for (int i = 0; i < 100 && code == 0; i++)
        code = async_http_respond_write(request, piece, sizeof piece);
    written_code = code;
    return code;
}

static int whole(struct async_http_request *request)
{
    static const char body[1000000];
    return written_code = async_http_respond(request, 200, "text/plain", body, sizeof body);
}

static int answer_is_not_taken(void *unused)
{
    static const char *const targets[] = {"/large", "/whole"};

    for (size_t i = 0; i < COUNT(targets); i++)
        WITH_SERVER (server, .on_error = tell) {
            char text[100];
            async_http_route(server, "GET", "/large", large);
            async_http_route(server, "GET", "/whole", whole);
            int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" END, targets[i]);
            client_open(&client, server);
            client_send(&client, text, (size_t)size);
            int begin = tenths();
            assert_int_equal(async_await(client.task), 0);
            assert_in_range(tenths() - begin, 299, 610); /* to write, and to close */
            assert_int_equal(written_code, -ETIMEDOUT);
            async_stream_abort(client.ends[1]);
        }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

/* What is read slowly waits: no more is taken from the handler than the stream keeps. */
static int writer_waits(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        static char piece[65536];
        size_t total = 0;
        ssize_t got;
        async_http_route(server, "GET", "/large", large);
        client_open(&client, server);
        client_send(&client, "GET /large HTTP/1.0\r\n\r\n", 23);
        written_code = 1;
        async_sleep(5);
        assert_int_equal(written_code, 1);
        do {
            got = async_stream_read(client.ends[1], piece, sizeof piece);
            assert_true(got >= 0);
            total += (size_t)got;
            async_sleep(1);
        } while (got > 0);
        assert_true(total > 1000000 && total < 1001000);
        assert_int_equal(written_code, 0);
        client_close(&client);
    }
    return async_block_error();
}

/* ---- sizes ---- */

static int head_is_too_large(void *unused)
{
    static char bytes[9000];

    WITH_SERVER (server, .max_head = 4000, .max_headers = 5) {
        async_http_route(server, NULL, "/{path...}", plain);
        /* A request line, a header, many headers. */
        memset(bytes, 'a', sizeof bytes);
        memcpy(bytes, "GET /", 5);
        assert_contains(ask_bytes(&client, server, bytes, 8000), "HTTP/1.1 414 URI Too Long\r\n");
        memcpy(bytes, "GET / HTTP/1.1\r\nX: ", 19);
        assert_contains(ask_bytes(&client, server, bytes, 8000), "HTTP/1.1 431 ");
        int size =
            snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\n" HOST "A: 1\r\nB: 1\r\nC: 1\r\n");
        memcpy(bytes + size, "D: 1\r\n\r\n", 9);
        assert_contains(ask_bytes(&client, server, bytes, (size_t)size + 8), "fine");
        memcpy(bytes + size, "D: 1\r\nE: 1\r\n\r\n", 15);
        assert_contains(ask_bytes(&client, server, bytes, (size_t)size + 14), "HTTP/1.1 431 ");
        /* Of exactly the size, and one more. */
        for (int more = 0; more < 2; more++) {
            size = snprintf(bytes, sizeof bytes, "GET / HTTP/1.1\r\n" HOST "X: ");
            memset(bytes + size, 'x', 4001);
            memcpy(bytes + 3996 + more, "\r\n\r\n", 4);
            ask_bytes(&client, server, bytes, 4000 + (size_t)more);
            assert_contains(client.answer, more ? "HTTP/1.1 431 " : "fine");
        }
    }
    return async_block_error();
}

static int trailers_and_extensions_are_too_large(void *unused)
{
    static char bytes[100000];
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";

    WITH_SERVER (server, .max_head = 4000, .max_headers = 5) {
        async_http_route(server, "POST", "/", echo);
        memcpy(bytes, head, sizeof head);
        size_t size = sizeof head - 1;
        size += (size_t)snprintf(bytes + size, 10, "0\r\nX: ");
        memset(bytes + size, 'x', 5000);
        assert_contains(ask_bytes(&client, server, bytes, size + 5000), "HTTP/1.1 400 ");
        size = sizeof head - 1;
        for (int i = 0; i < 6; i++)
            size += (size_t)snprintf(bytes + size, 10, i ? "X: 1\r\n" : "0\r\nX: 1\r\n");
        memcpy(bytes + size, "\r\n", 2);
        assert_contains(ask_bytes(&client, server, bytes, size + 2), "HTTP/1.1 400 ");
        /* One extension; many. */
        size = sizeof head - 1;
        size += (size_t)snprintf(bytes + size, 10, "1;");
        memset(bytes + size, 'x', 300);
        assert_contains(ask_bytes(&client, server, bytes, size + 300), "HTTP/1.1 400 ");
        size = sizeof head - 1;
        for (int i = 0; i < 200; i++) {
            memcpy(bytes + size, "1;", 2);
            memset(bytes + size + 2, 'x', 200);
            memcpy(bytes + size + 202, "\r\na\r\n", 5);
            size += 207;
        }
        assert_contains(ask_bytes(&client, server, bytes, size), "HTTP/1.1 400 ");
    }
    return async_block_error();
}

/* ---- how many at once ---- */

static int too_many_at_once(void *unused)
{
    WITH_SERVER (server, .max_connections = 2, .max_requests = 1) {
        async_http_route(server, "GET", "/", plain);
        async_http_route(server, "GET", "/slow", slow);
        client_open(&client, server);
        client_send(&client, "GET /slow HTTP/1.1\r\n" END, sizeof "GET /slow HTTP/1.1\r\n" END - 1);
        async_sleep(1);
        assert_int_equal(async_http_server_requests(server), 1);
        /* A second request: 503. A third connection meanwhile: as well. */
        client_open(&other, server);
        async_sleep(1);
        assert_int_equal(async_http_server_connections(server), 2);
        static struct client third;
        ask(&third, server, GET);
        assert_contains(third.answer, "HTTP/1.1 503 Service Unavailable\r\n");
        assert_contains(third.answer, "Retry-After: 1\r\n");
        client_send(&other, GET, sizeof GET - 1);
        assert_contains(client_read(&other), "HTTP/1.1 503 Service Unavailable\r\n");
        assert_contains(other.answer, "Retry-After: 1\r\n");
        client_close(&other);
        assert_contains(client_read_for(&client, 30), "slow");
        client_close(&client);
        assert_contains(ask(&client, server, GET), "fine");
        assert_int_equal(async_http_server_connections(server), 0);
        assert_int_equal(async_http_server_requests(server), 0);
    }
    return async_block_error();
}

/* ---- the end ---- */

static int shuts_down(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/", plain);
        async_http_route(server, "GET", "/slow", slow);
        client_open(&client, server);
        client_send(&client, GET, sizeof GET - 1);
        assert_contains(client_read_for(&client, 1), "fine");
        client_open(&other, server);
        client_send(&other, "GET /slow HTTP/1.1\r\n" END GET,
                    sizeof "GET /slow HTTP/1.1\r\n" END GET - 1);
        async_sleep(1);
        int begin = tenths();
        assert_int_equal(async_http_shutdown(server), 0);
        assert_int_equal(async_http_shutdown(server), 0);
        assert_string_equal(client_read(&client), ""); /* idle: at once */
        assert_int_equal(tenths(), begin);
        client_close(&client);
        client_read(&other);
        assert_contains(other.answer, "slow"); /* under way: it finishes, and is the last */
        assert_contains(other.answer, "Connection: close\r\n");
        assert_lacks(other.answer, "fine");
        client_close(&other);
        assert_string_equal(ask(&client, server, GET), "");
    }
    assert_notes("");
    return async_block_error();
}

static int shutdown_takes_too_long(void *unused)
{
    WITH_SERVER (server, .on_error = tell, .shutdown_timeout = 3) {
        async_http_route(server, "GET", "/slow", slow);
        client_open(&client, server);
        client_send(&client, "GET /slow HTTP/1.1\r\n" END, sizeof "GET /slow HTTP/1.1\r\n" END - 1);
        async_sleep(1);
        int begin = tenths();
        async_http_shutdown(server);
        assert_string_equal(client_read(&client), "");
        assert_in_range(tenths() - begin, 29, 31);
        client_close(&client);
        assert_notes("cancelled ");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

static int later(struct async_http_request *request)
{
    async_http_server *server = async_http_request_data(request);
    if (!server) return async_http_respond_text(request, 200, "no data");
    async_http_shutdown(server);
    return async_http_respond_text(request, 200, "bye");
}

static int give_server(struct async_http_request *request, async_http_server *server)
{
    async_http_request_set_data(request, server);
    return async_http_next(request);
}

/* A handler ends the server that it is of. */
static int handler_shuts_down(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_use(server, give_server, server);
        async_http_route(server, "GET", "/", later);
        assert_contains(ask(&client, server, GET GET), "bye");
        assert_contains(client.answer, "Connection: close\r\n");
    }
    return async_block_error();
}

/* A server is freed while it serves: what is under way goes on. */
static int freed_while_serving(void *unused)
{
    async_http_server *server = async_http_server_new(NULL);
    async_http_route(server, "GET", "/slow", slow);
    client_open(&client, server);
    client_send(&client, "GET /slow HTTP/1.0\r\n\r\n", 22);
    async_sleep(1);
    async_http_server_free(server);
    assert_contains(client_read(&client), "slow");
    client_close(&client);
    return 0;
}

static int task_is_cancelled(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/slow", slow);
        client_open(&client, server);
        client_send(&client, "GET /slow HTTP/1.1\r\n" END, sizeof "GET /slow HTTP/1.1\r\n" END - 1);
        async_sleep(1);
        async_cancel(client.task, "enough");
        assert_int_equal(client_close(&client), -ECANCELED);
        assert_int_equal(async_http_server_connections(server), 0);
        assert_notes("cancelled ");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

/* ---- options ---- */

static int refuses_options(void *unused)
{
    static const async_http_server_options bad[] = {
        {.head_timeout = -1},    {.body_timeout = NAN},         {.max_headers = -1},
        {.max_connections = -1}, {.max_requests = -1},          {.server_name = "a\r\nb"},
        {.max_headers = 100000}, {.max_head = (size_t)1 << 40},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_null(async_http_server_new(&bad[i]));
        assert_int_equal(async_error_code(), -EINVAL);
    }
    assert_null(async_http_server_start("127.0.0.1", -1, NULL));
    async_http_server *server = async_http_server_new(NULL);
    assert_int_equal(async_http_serve(server), -EINVAL);
    assert_int_equal(async_http_serve_stream(server, NULL), -EBADF);
    assert_int_equal(async_http_server_port(server), 0);
    async_http_server_free(server);
    return 0;
}

TEST(head_comes_slowly)
TEST(connection_is_idle)
TEST(body_comes_slowly)
TEST(answer_is_not_taken)
TEST(writer_waits)
TEST(head_is_too_large)
TEST(trailers_and_extensions_are_too_large)
TEST(too_many_at_once)
TEST(shuts_down)
TEST(shutdown_takes_too_long)
TEST(handler_shuts_down)
TEST(freed_while_serving)
TEST(task_is_cancelled)
TEST(refuses_options)

static int setup(void **state)
{
    (void)state;
    told_count = 0;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_head_comes_slowly, setup),
        cmocka_unit_test_setup(test_connection_is_idle, setup),
        cmocka_unit_test_setup(test_body_comes_slowly, setup),
        cmocka_unit_test_setup(test_answer_is_not_taken, setup),
        cmocka_unit_test_setup(test_writer_waits, setup),
        cmocka_unit_test_setup(test_head_is_too_large, setup),
        cmocka_unit_test_setup(test_trailers_and_extensions_are_too_large, setup),
        cmocka_unit_test_setup(test_too_many_at_once, setup),
        cmocka_unit_test_setup(test_shuts_down, setup),
        cmocka_unit_test_setup(test_shutdown_takes_too_long, setup),
        cmocka_unit_test_setup(test_handler_shuts_down, setup),
        cmocka_unit_test_setup(test_freed_while_serving, setup),
        cmocka_unit_test_setup(test_task_is_cancelled, setup),
        cmocka_unit_test_setup(test_refuses_options, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
