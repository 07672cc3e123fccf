/* What a session does around its requests: time limits, what it tells of them, cookies that are kept, a base
 * URL, and requests that are made again. */
#include "http_test.h"
#include "raw_server.h"

#include <sys/stat.h>

static struct raw_server server;

static atomic_int failures; /* how many of the next requests end without an answer */
static atomic_int requests;

static bool slow_pieces(int fd)
{
    if (!raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")) return false;
    for (int i = 0; i < 8; i++) {
        raw_sleep(300);
        if (!raw_send(fd, "x", 1)) return false;
    }
    return true;
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    char path[256] = "";
    sscanf(head, "%*s %255s", path);
    (void)body;

    if (!raw_skip_body(fd, head, size)) return false;
    atomic_fetch_add(&requests, 1);
    if (strcmp(path, "/slow") == 0) return slow_pieces(fd);
    if (strcmp(path, "/never") == 0) return raw_closed(fd, 60), false;
    if (strcmp(path, "/stall") == 0) {
        raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nten bytes.");
        return raw_closed(fd, 60), false;
    }
    if (strcmp(path, "/half") == 0 && atomic_load(&failures) > 0) {
        atomic_fetch_sub(&failures, 1);
        return raw_printf(fd, "HTTP/1.1 200 OK\r\nX-A: b\r\n"), false;
    }
    if (atomic_load(&failures) > 0) {
        atomic_fetch_sub(&failures, 1);
        return false;
    }
    if (strcmp(path, "/redirect") == 0)
        return raw_printf(fd, "HTTP/1.1 302 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(path, "/cookies") == 0)
        return raw_printf(fd, "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\n"
                              "Set-Cookie: b=2; Path=/; HttpOnly; Max-Age=1000\r\n"
                              "Content-Length: 0\r\n\r\n");
    const char *cookie = strcasestr(head, "\ncookie: ");
    char text[600];
    snprintf(text, sizeof text, "%s %.*s", path, cookie ? (int)strcspn(cookie + 9, "\r") : 0,
             cookie ? cookie + 9 : "");
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
}

#define URL(path) raw_url(&server, path)

#define WITH_SESSION(session, ...)                                                                 \
    async_with_http_session (session, &((async_http_session_options){__VA_ARGS__}))

static void assert_text(async_http_session *session, const char *url, const char *text)
{
    async_http_response *response = async_http_get(session, url);
    if (!response) fail_msg("%s", async_error_message());
    assert_string_equal(async_http_text(response), text);
    async_http_response_free(response);
}

/* ---- time limits ---- */

static int read_timeouts(void *unused)
{
    (void)unused;
    WITH_SESSION(session, .read_timeout = 0.2)
    {
        assert_fails(session, URL("/never"), -ETIMEDOUT, "nothing came for 0.2 s");
        async_http_response *response = async_http_get(session, URL("/stall"));
        assert_non_null(response);
        assert_null(async_http_read(response, NULL));
        assert_int_equal(async_error_code(), -ETIMEDOUT);
        async_http_response_free(response);

        /* What is longer as a whole; what the program does not take; a request's own. */
        async_with_http_request (slow, session, .url = URL("/slow"), .read_timeout = 2)
            assert_string_equal(async_http_text(slow), "xxxxxxxx");
        async_with_http_request (own, session, .url = URL("/stall"), .read_timeout = INFINITY)
            async_timeout (0.3)
                assert_null(async_http_read(own, NULL));
        assert_text(session, URL("/after"), "/after ");
    }
    WITH_SESSION(session, .read_timeout = INFINITY)
    assert_request_fails(session,
                         &(async_http_request_options){.url = URL("/never"), .read_timeout = 0.05},
                         -ETIMEDOUT, "nothing came");
    assert_null(async_http_session_new(&(async_http_session_options){.read_timeout = -1}));
    assert_int_equal(async_error_code(), -EINVAL);
    return async_block_error() == -EINVAL ? 0 : async_block_error();
}
HTTP_TEST(read_timeouts)

/* A listener whose queue is full does not answer: not all kernels are that strict, so the limit has to be
 * met only if the connection does not stand. */
static int connect_timeouts(void *unused)
{
    (void)unused;
    WITH_SESSION(session, .user_agent = NULL)
    {
        async_http_request_options options = {.url = URL("/x"), .connect_timeout = -1};
        assert_request_fails(session, &options, -EINVAL, "the timeout is negative");
        options.connect_timeout = 20;
        async_http_response *response = async_http_request(session, &options);
        assert_non_null(response);
        async_http_response_free(response);
    }
    return async_block_error();
}
HTTP_TEST(connect_timeouts)

/* ---- tracing ---- */

static char trace_text[1000];
static double last_time;
static void *expected_context;

static void on_trace(const async_http_trace *trace, void *data)
{
    static const char *const names[] = {"start",  "resolved", "connected", "secured",
                                        "reused", "sending",  "sent",      "headers",
                                        "chunk",  "redirect", "retry",     "end"};
    char *end = trace_text + strlen(trace_text);
    size_t room = sizeof trace_text - strlen(trace_text);

    assert_string_equal((const char *)data, "data");
    assert_ptr_equal(trace->context, expected_context);
    assert_true(trace->time >= last_time - 0.001 && trace->time <= async_now() + 0.001);
    last_time = trace->time;
    assert_memory_equal(trace->url, "http://127.0.0.1:", 17);
    snprintf(end, room, "%s", names[trace->event]);
    end += strlen(end);
    room = sizeof trace_text - strlen(trace_text);
    switch (trace->event) {
    case ASYNC_HTTP_TRACE_HEADERS: snprintf(end, room, " %d", trace->status); break;
    case ASYNC_HTTP_TRACE_CHUNK: snprintf(end, room, " %zu", trace->size); break;
    case ASYNC_HTTP_TRACE_START: snprintf(end, room, " %s", trace->method); break;
    case ASYNC_HTTP_TRACE_REDIRECT: snprintf(end, room, " %s", strrchr(trace->url, '/')); break;
    case ASYNC_HTTP_TRACE_RETRY:
    case ASYNC_HTTP_TRACE_END: snprintf(end, room, " %s", async_error_name(trace->code)); break;
    default: break;
    }
    strcat(trace_text, ";");
}

static void assert_trace(const char *text)
{
    assert_string_equal(trace_text, text);
    trace_text[0] = 0;
}

static int traces(void *unused)
{
    int context;
    (void)unused;
    last_time = 0;
    trace_text[0] = 0;
    char end[40];
    snprintf(end, sizeof end, "end %s;", async_error_name(0));
    WITH_SESSION(session, .on_trace = on_trace, .trace_data = "data", .retry_delay = 0.001)
    {
        char expected[400];
        assert_text(session, URL("/x"), "/x ");
        snprintf(expected, sizeof expected,
                 "start GET;resolved;connected;sending;headers 200;chunk 3;%s", end);
        assert_trace(expected);

        expected_context = &context;
        async_with_http_request (response, session, .url = URL("/redirect"), .method = "PUT",
                                 .trace_context = &context)
            assert_string_equal(async_http_text(response), "/x ");
        /* Whether a connection is reused is for curl to decide: on a slow machine it makes another. */
        snprintf(expected, sizeof expected,
                 "start PUT;reused;sending;headers 302;redirect /x;%s;sending;headers 200;"
                 "chunk 3;%s",
                 strstr(trace_text, "/x;reused;") ? "reused" : "resolved;connected", end);
        assert_trace(expected);

        static char large[70000];
        async_with_http_request (response, session, .url = URL("/x"), .method = "PUT",
                                 .trace_context = &context, .body = large,
                                 .body_size = sizeof large)
            assert_string_equal(async_http_text(response), "/x ");
        assert_memory_equal(trace_text, "start PUT;reused;sending;sent;", 30);
        trace_text[0] = 0;

        /* Freed before its end; and one that is refused does not begin. */
        async_with_http_request (response, session, .url = URL("/stall"), .trace_context = &context)
            assert_int_equal(async_http_status(response), 200);
        assert_non_null(strstr(trace_text, "headers 200;"));
        assert_non_null(strstr(trace_text, "end ECANCELED;"));
        trace_text[0] = 0;
        assert_fails(session, "nonsense", -EINVAL, "a URL begins with");
        assert_trace("");
        expected_context = NULL;

        atomic_store(&failures, 2);
        async_http_response *response = async_http_request(
            session, &(async_http_request_options){.url = URL("/x"), .retries = 3});
        assert_non_null(response);
        assert_non_null(strstr(trace_text, "retry"));
        async_http_response_free(response);
        trace_text[0] = 0;
    }
    return async_block_error();
}
HTTP_TEST(traces)

/* ---- cookies ---- */

static int cookies(void *unused)
{
    (void)unused;
    char path[] = "/tmp/casyncio-cookies-XXXXXX", *text;
    close(mkstemp(path));
    WITH_SESSION(session, .user_agent = NULL)
    {
        text = async_http_cookies_save(session);
        assert_string_equal(text, "# Netscape HTTP Cookie File\n");
        free(text);
        async_with_http_get (response, session, URL("/cookies"))
            assert_int_equal(async_http_status(response), 200);
        text = async_http_cookies_save(session);
        assert_non_null(strstr(text, "\n127.0.0.1\tFALSE\t/\tFALSE\t0\ta\t1\n"));
        assert_non_null(strstr(text, "\n#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t"));
        free(text);
        assert_int_equal(async_http_cookies_save_file(session, path), 0);
    }
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    WITH_SESSION(session, .user_agent = NULL)
    {
        assert_text(session, URL("/x"), "/x ");
        assert_int_equal(async_http_cookies_load_file(session, path), 0);
        async_with_http_get (response, session, URL("/x")) {
            const char *got = async_http_text(response);
            assert_non_null(strstr(got, "a=1"));
            assert_non_null(strstr(got, "b=2"));
        }
        assert_int_equal(async_http_cookies_clear(session), 0);
        assert_text(session, URL("/x"), "/x ");
        assert_int_equal(async_http_cookies_load(session,
                                                 "# one\r\n\r\n127.0.0.1\tFALSE\t/\tFALSE\t0"
                                                 "\tc\tv w\r\n127.0.0.1\tFALSE\t/\tFALSE\t0"
                                                 "\td\t"),
                         0);
        async_with_http_get (response, session, URL("/x"))
            assert_non_null(strstr(async_http_text(response), "c=v w"));
        unlink(path);
        assert_int_equal(async_http_cookies_load_file(session, path), -ENOENT);
        assert_non_null(strstr(async_error_message(), path));
        assert_int_equal(async_http_cookies_save_file(session, "/nowhere/at/all"), -ENOENT);
    }
    return async_block_error();
}
HTTP_TEST(cookies)

static int bad_cookies(void *unused)
{
    (void)unused;
    static const char *const bad[] = {
        "x",
        "a\tb\tc\td\te\tf\tg",
        "127.0.0.1\tFALSE\t/\tFALSE\t0",
        "127.0.0.1\tFALSE\t/\tFALSE\t-1\ta\tb",
        "127.0.0.1\tFALSE\tx\tFALSE\t0\ta\tb",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\t\tb",
        "\tFALSE\t/\tFALSE\t0\ta\tb",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tb\tc",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\t\1",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tb\rX: y",
    };
    WITH_SESSION(session, .user_agent = NULL)
    {
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            char text[200];
            snprintf(text, sizeof text, "127.0.0.1\tFALSE\t/\tFALSE\t0\tgood\t1\n%s\n", bad[i]);
            if (async_http_cookies_load(session, text) != -EINVAL) fail_msg("%s", bad[i]);
            assert_non_null(strstr(async_error_message(), "line 2 is malformed"));
        }
        assert_text(session, URL("/x"), "/x ");
        assert_int_equal(async_http_cookies_load(session, NULL), -EINVAL);
        assert_int_equal(async_http_cookies_load_file(session, NULL), -EINVAL);
        assert_int_equal(async_http_cookies_save_file(session, NULL), -EINVAL);
    }
    /* As everywhere, the error is that of the session that could not be made. */
    assert_int_equal(async_http_cookies_load(NULL, ""), -EINVAL);
    assert_null(async_http_cookies_save(NULL));
    assert_int_equal(async_http_cookies_clear(NULL), -EINVAL);
    WITH_SESSION(session, .no_cookies = true)
    assert_int_equal(async_http_cookies_load(session, ""), -EINVAL);
    return async_block_error() <= 0 ? 0 : 1;
}
HTTP_TEST(bad_cookies)

/* ---- a base URL ---- */

static int base_urls(void *unused)
{
    (void)unused;
    static const struct {
        const char *relative, *path;
    } cases[] = {
        {"g", "/b/c/g"},          {"./g", "/b/c/g"},
        {"g/", "/b/c/g/"},        {"/g", "/g"},
        {"../g", "/b/g"},         {"../../g", "/g"},
        {"?y", "/b/c/d?y"},       {"g?y/./x", "/b/c/g?y/./x"},
        {"", "/b/c/d?q"},         {"../../../g", "/g"},
        {".", "/b/c/"},           {"..", "/b/"},
        {"g;x=1/../y", "/b/c/y"}, {"a b", "/b/c/a%20b"},
    };
    char base[100];
    snprintf(base, sizeof base, "%s", URL("/b/c/d?q"));
    WITH_SESSION(session, .base_url = base)
    {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char text[100];
            snprintf(text, sizeof text, "%s ", cases[i].path);
            assert_text(session, cases[i].relative, text);
        }
        assert_text(session, URL("/absolute"), "/absolute ");
        assert_fails(session, "ftp://example.org/", -EINVAL, "it is not http or https");
        assert_fails(session, NULL, -EINVAL, "a URL begins with");
        async_with_http_get (response, session, "../redirect")
            assert_string_equal(async_http_url(response), URL("/b/redirect"));
    }
    assert_int_equal(async_block_error(), 0);
    assert_null(async_http_session_new(&(async_http_session_options){.base_url = "example.org"}));
    assert_int_equal(async_error_code(), -EINVAL);
    return 0;
}
HTTP_TEST(base_urls)

/* ---- what is made again ---- */

/* In a session that has no connection yet: libcurl repeats some by itself over one that it uses again. */
static int asked(const char *method, const char *path, int fail, int retries)
{
    async_http_session *session =
        async_http_session_new(&(async_http_session_options){.retries = 2, .retry_delay = 0.001});
    atomic_store(&failures, fail);
    atomic_store(&requests, 0);
    async_http_response *response = async_http_request(
        session,
        &(async_http_request_options){.url = URL(path), .method = method, .retries = retries});
    int code = response ? 0 : async_error_code();
    async_http_response_free(response);
    async_http_session_free(session);
    atomic_store(&failures, 0);
    return code;
}

static int retries(void *unused)
{
    (void)unused;
    assert_int_equal(asked("GET", "/x", 2, 0), 0);
    assert_int_equal(atomic_load(&requests), 3);
    assert_int_equal(asked("GET", "/x", 3, 0), ASYNC_EINCOMPLETE);
    assert_int_equal(atomic_load(&requests), 3);
    assert_int_equal(asked("GET", "/x", 1, -1), ASYNC_EINCOMPLETE);
    assert_int_equal(atomic_load(&requests), 1);
    assert_int_equal(asked("PUT", "/x", 5, 6), 0);
    assert_int_equal(atomic_load(&requests), 6);
    /* It may have been acted on; an answer had begun. */
    assert_int_equal(asked("POST", "/x", 1, 0), ASYNC_EINCOMPLETE);
    assert_int_equal(atomic_load(&requests), 1);
    assert_int_equal(asked("GET", "/half", 1, 0), ASYNC_EINCOMPLETE);
    assert_int_equal(atomic_load(&requests), 1);
    assert_int_equal(asked("GET", "/x", 1, -2), -EINVAL);

    /* A POST that was never sent; the time limit holds for all of it, the waits too. */
    WITH_SESSION(session, .retries = 1000, .retry_delay = 0.01)
    {
        double began = async_now();
        assert_request_fails(session,
                             &(async_http_request_options){
                                 .url = "http://127.0.0.1:1/", .method = "POST", .timeout = 0.2},
                             -ETIMEDOUT, "not complete in time");
        assert_true(async_now() - began >= 0.19);
    }
    assert_null(async_http_session_new(&(async_http_session_options){.retries = -1}));
    assert_null(async_http_session_new(&(async_http_session_options){.retry_delay = NAN}));
    return 0;
}
HTTP_TEST(retries)

static int asks_for_ever(void *session)
{
    async_http_response *response = async_http_get(session, "http://127.0.0.1:1/");
    assert_null(response);
    return async_error_code();
}

/* While it waits to try again: the task is cancelled, the session closed. */
static int retries_are_given_up(void *unused)
{
    (void)unused;
    for (int i = 0; i < 20; i++) {
        async_http_session *session = async_http_session_new(
            &(async_http_session_options){.retries = 1000, .retry_delay = 0.001});
        async_task *task = async_create_task(asks_for_ever, session);
        async_sleep(0.001 * (i / 2));
        if (i % 2 == 0) async_cancel(task, NULL);
        if (i % 2 == 1) async_sleep(0.01), async_http_session_free(session);
        assert_int_equal(async_await(task), i % 2 ? -ECONNABORTED : -ECANCELED);
        if (i % 2 == 0) async_http_session_free(session);
    }
    return 0;
}
HTTP_TEST(retries_are_given_up)

static int open_server(void **state)
{
    (void)state;
    return raw_start(&server, answer) ? 0 : -1;
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
        cmocka_unit_test(test_read_timeouts), cmocka_unit_test(test_connect_timeouts),
        cmocka_unit_test(test_traces),        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_bad_cookies),   cmocka_unit_test(test_base_urls),
        cmocka_unit_test(test_retries),       cmocka_unit_test(test_retries_are_given_up),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
