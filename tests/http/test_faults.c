/* The n-th allocation, the n-th system call, the n-th await of a scenario fails, for every n
 * that it reaches: no crash, no leak, no hang, and a clear code; and the session is of use
 * afterwards. Needs a build with the fault hook.
 *
 * ctest: labels=slow,fault timeout=300 */
#include "http_test.h"
#include "raw_server.h"

#include "base/faults.h"

#ifdef ASYNC_FAULTS

static struct raw_server server;

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    (void)body;

    if (!raw_skip_body(fd, head, size)) return false;
    if (strstr(head, "/redirect"))
        return raw_printf(fd, "HTTP/1.1 303 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello");
}

static char body[100000];

/* A body in four pieces. */
struct pieces {
    async_iterator iterator;
    int left;
};

static int next_piece(async_iterator *self, void *value)
{
    struct pieces *pieces = (struct pieces *)self;
    int code = async_checkpoint();
    if (code < 0 || pieces->left == 0) return code;
    *(async_http_chunk *)value = (async_http_chunk){body, sizeof body / 4};
    pieces->left--;
    return 1;
}

static int stream_body(async_http_session *session)
{
    struct pieces pieces = {{.next = next_piece, .size = sizeof(async_http_chunk)}, 4};
    async_with_http_request (response, session, .url = raw_url(&server, "/redirect"),
                             .method = "POST", .body_iterator = &pieces.iterator,
                             .body_size = sizeof body)
        assert_int_equal(async_http_history_count(response), 1);
    return async_block_error();
}

static void on_trace(const async_http_trace *trace, void *unused)
{
    (void)unused;
    assert_non_null(trace->url);
}

/* A text to the session and back. */
static int exchange_cookies(async_http_session *session)
{
    int code = async_http_cookies_load(session, "127.0.0.1\tFALSE\t/\tFALSE\t0\ta\tb\n");
    if (code < 0) return code;
    char *text = async_http_cookies_save(session);
    if (!text) return async_error_code();
    free(text);
    return async_http_cookies_clear(session);
}

static int relative(async_http_session *session)
{
    async_with_http_request (response, session, .url = "../y", .read_timeout = 50,
                             .connect_timeout = 40)
        assert_string_equal(async_http_url(response), raw_url(&server, "/y"));
    return async_block_error();
}

static int requests(async_http_session *session)
{
    int code = stream_body(session);
    if (code == 0) code = exchange_cookies(session);
    if (code == 0) code = relative(session);
    if (code < 0) return code;
    async_http_response *response = async_http_request(
        session, &(async_http_request_options){.url = raw_url(&server, "/redirect"),
                                               .method = "POST",
                                               .headers = LIST("X-One: 1", "X-Two: 2"),
                                               .body = body,
                                               .body_size = sizeof body,
                                               .content_type = "text/plain"});
    if (!response) return async_error_code();
    const char *text = async_http_read(response, NULL);
    if (text) assert_string_equal(text, "hello");
    async_http_response_free(response);
    if (!text) return async_error_code();

    async_with_http_get (other, session, raw_url(&server, "/y"))
        async_for (async_http_chunk, chunk, async_http_chunks(other))
            assert_true(chunk.size <= 5);
    return async_block_error();
}

static int scenario(void *unused)
{
    (void)unused;
    async_http_session *session = async_http_session_new(&(async_http_session_options){
        .headers = LIST("X-Base: b"), .base_url = raw_url(&server, "/a/"), .on_trace = on_trace});
    if (!session) return async_error_code();
    int code = requests(session);
    async_uncancel(async_current_task());
    if (code < 0) {
        for (int kind = 0; kind < ASYNC__FAULT_KINDS; kind++)
            async__faults[kind].at = 0;
        int again = requests(session);
        if (again < 0) print_error("again: %s\n", async_error_message());
        assert_int_equal(again, 0);
    }
    async_http_session_free(session);
    return code;
}

static void sweep(enum async__fault_kind kind)
{
    long n = 1, failed = 0;

    for (;; n++) {
        async__faults[kind] = (struct async__fault_counter){.at = n};
        int code = async_run_with(scenario, NULL, &(async_run_options){.no_signals = true});
        long count = async__faults[kind].count;
        bool reached = count >= n;
        async__faults[kind].at = 0;
        if (code == 1) code = 0;
        assert_true(code <= 0);
        if (code == -EIO && kind != ASYNC__FAULT_SYSTEM_CALL)
            print_error("%ld: %s\n", n, async_run_error_message());
        if (code < 0) {
            assert_true(kind != ASYNC__FAULT_ALLOCATION || code == -ENOMEM);
            assert_true(kind != ASYNC__FAULT_AWAIT || code == -ECANCELED);
            failed++;
        }
        if (!reached && code == 0) break;
        assert_true(n < 5000);
    }
    print_message("%ld of %ld failed\n", failed, n - 1);
    assert_true(failed > 3);
    assert_true(raw_idle(&server));
}

static void test_allocations(void **state)
{
    (void)state;
    sweep(ASYNC__FAULT_ALLOCATION);
}

static void test_system_calls(void **state)
{
    (void)state;
    sweep(ASYNC__FAULT_SYSTEM_CALL);
}

static void test_awaits(void **state)
{
    (void)state;
    sweep(ASYNC__FAULT_AWAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_system_calls),
        cmocka_unit_test(test_awaits),
    };
    assert_true(raw_start(&server, answer));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    raw_stop(&server);
    return failed;
}

#else

int main(void)
{
    puts("skipped: built without ASYNC_FAULTS");
    return 77;
}

#endif
