/* A request that may have reached the server is sent again only if its method is idempotent (RFC
 * 9110, 9.2.2): the server ends the connections that the client uses again, before it has read the
 * request, in the middle of it, or after it, with and without a reset. */
#include "http_test.h"
#include "raw_server.h"

static struct raw_server server;

enum end { CLOSES, RESETS };
enum moment { UNREAD, HALF_READ, READ }; /* of the second request of a connection */

static struct {
    atomic_int end, moment;
    atomic_int requests; /* other than those that prepare a connection */
    atomic_bool always;  /* ends the connection at the first request of one, too */
} plan;

static void end_connection(int fd)
{
    if (plan.end == RESETS)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
}

/* The request that is sent over a connection that has served /prepare: its head, or some of it. */
static bool spoil(int fd)
{
    char text[70000];
    size_t wanted = plan.moment == UNREAD ? 0 : 200, length = 0;

    while (length < wanted) {
        ssize_t n = recv(fd, text + length, wanted - length, 0);
        if (n <= 0) return false;
        length += (size_t)n;
    }
    if (length == 0) recv(fd, text, 1, MSG_PEEK); /* it has come, but is not read */
    plan.requests++;
    end_connection(fd);
    return false;
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    (void)body;
    if (strstr(head, " /prepare ")) {
        if (!raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) return false;
        return plan.moment == READ ? true : spoil(fd);
    }
    if (strstr(head, " /expect/never ") || (strstr(head, " /expect ") && strstr(head, "Expect:"))) {
        plan.requests++;
        if (!strstr(head, "Expect:")) raw_skip_body(fd, head, size);
        return raw_printf(fd, "HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno");
    }
    if (!raw_skip_body(fd, head, size)) return false;
    plan.requests++;
    if (plan.always || (plan.moment == READ && plan.requests == 1)) {
        end_connection(fd);
        return false;
    }
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsent");
}

static const struct {
    const char *method;
    bool idempotent;
} methods[] = {
    {"GET", true},   {"PUT", true},       {"DELETE", true}, {"OPTIONS", true}, {"TRACE", true},
    {"POST", false}, {"PATCH", false},    {"LOCK", false},  {"MKCOL", false},  {"get", false},
    {"post", false}, {"CONNECTX", false}, {"PUT-X", false},
};

static void one(async_http_session *session, size_t method, size_t body_size)
{
    static char body[1000000];
    async_http_request_options options = {.url = raw_url(&server, "/act"),
                                          .method = methods[method].method,
                                          .body = body,
                                          .body_size = body_size};

    plan.requests = 0;
    async_with_http_get (prepared, session, raw_url(&server, "/prepare"))
        assert_string_equal(async_http_text(prepared), "ok");
    async_http_response *response = async_http_request(session, &options);
    /* libcurl does not begin again when it fails in the middle of a body. */
    bool in_body = !response && body_size > 65536 && plan.moment != READ;
    if (methods[method].idempotent && !in_body) {
        if (!response) fail_msg("%s", async_error_message());
        assert_string_equal(async_http_text(response), "sent");
        assert_int_equal(plan.requests, 2);
    } else {
        assert_null(response);
        int code = async_error_code();
        assert_true(code == ASYNC_EINCOMPLETE || code == -ECONNRESET);
        if (plan.moment == READ && plan.end == CLOSES)
            assert_int_equal(code, ASYNC_EINCOMPLETE);
        else if (plan.moment == READ)
            assert_int_equal(code, -ECONNRESET);
        assert_contains(async_error_message(), "/act: ");
        assert_int_equal(plan.requests, 1);
    }
    async_http_response_free(response);
}

static int connection_used_again(void *unused)
{
    (void)unused;
    static const size_t sizes[] = {0, 10, 100000, 1000000};
    for (int end = CLOSES; end <= RESETS; end++)
        for (int moment = UNREAD; moment <= READ; moment++)
            for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
                for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                    /* "HEAD, or half of a request": there must be as much. */
                    if (moment == HALF_READ && sizes[k] < 1000) continue;
                    plan.end = end;
                    plan.moment = moment;
                    async_with_http_session (session, NULL)
                        one(session, i, sizes[k]);
                }
    return 0;
}
HTTP_TEST(connection_used_again)

/* The idle connection is not the only one: another idle one is no reason either. */
static int several_idle_connections(void *unused)
{
    (void)unused;
    plan.end = CLOSES;
    plan.moment = READ;
    async_with_http_session (session, NULL) {
        async_with_http_get (first, session, raw_url(&server, "/prepare"))
            async_with_http_get (second, session, raw_url(&server, "/prepare")) {
                assert_string_equal(async_http_text(first), "ok");
                assert_string_equal(async_http_text(second), "ok");
            }
        plan.requests = 0;
        plan.always = true;
        assert_null(async_http_post(session, raw_url(&server, "/act"), "x", 1, NULL));
        assert_int_equal(async_error_code(), ASYNC_EINCOMPLETE);
        assert_contains(async_error_message(), "a POST is not sent twice");
        assert_int_equal(plan.requests, 1);
        plan.always = false;
    }
    return 0;
}
HTTP_TEST(several_idle_connections)

/* Nothing is sent twice over connections that are new, whatever the method. */
static int no_answer(void *unused)
{
    (void)unused;
    plan.moment = READ;
    plan.always = true;
    for (int end = CLOSES; end <= RESETS; end++)
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
            async_with_http_session (session, NULL) {
                plan.end = end;
                plan.requests = 0;
                async_http_request_options options = {.url = raw_url(&server, "/act"),
                                                      .method = methods[i].method};
                assert_request_fails(session, &options,
                                     end == CLOSES ? ASYNC_EINCOMPLETE : -ECONNRESET, "/act: ");
                assert_int_equal(plan.requests, 1);
            }
    plan.always = false;
    return 0;
}
HTTP_TEST(no_answer)

/* 417 says that the server has not acted on the request: it is sent again, without the header. With
 * a server that says so of any request, that is the answer. */
static int expectation_failed(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        plan.requests = 0;
        async_with_http_request (response, session, .url = raw_url(&server, "/expect"),
                                 .method = "POST", .body = "x", .body_size = 1,
                                 .headers = LIST("Expect: 100-continue")) {
            assert_int_equal(async_http_status(response), 200);
            assert_string_equal(async_http_text(response), "sent");
        }
        assert_int_equal(plan.requests, 2);
        async_with_http_request (response, session, .url = raw_url(&server, "/expect/never"),
                                 .method = "POST", .body = "x", .body_size = 1,
                                 .headers = LIST("Expect: 100-continue")) {
            assert_int_equal(async_http_status(response), 417);
            assert_string_equal(async_http_text(response), "no");
        }
    }
    return 0;
}
HTTP_TEST(expectation_failed)

static int open_server(void **state)
{
    (void)state;
    assert_true(raw_start(&server, answer));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    raw_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connection_used_again),
        cmocka_unit_test(test_several_idle_connections),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_expectation_failed),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
