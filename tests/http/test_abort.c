/* Transfers that are broken off: by a cancellation at any moment, by closing the session or the
 * response. In each case the server sees its connection end, and the session works on. */
#include "http_test.h"
#include "raw_server.h"

static struct raw_server server;

/* The headers and each of the pieces take their time. */
static bool slow(int fd)
{
    raw_sleep(3);
    raw_printf(fd, "HTTP/1.1 200 OK\r\n");
    raw_sleep(3);
    raw_printf(fd, "Transfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 4; i++) {
        raw_sleep(3);
        if (!raw_printf(fd, "5\r\npiece\r\n")) return false;
    }
    return raw_printf(fd, "0\r\n\r\n");
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    char path[128] = "";
    sscanf(head, "%*s %127s", path);
    (void)body;

    if (!raw_skip_body(fd, head, size)) return false;
    if (strcmp(path, "/slow") == 0) return slow(fd);
    if (strcmp(path, "/never") == 0) return raw_closed(fd, 30), false;
    if (strcmp(path, "/redirect") == 0)
        return raw_printf(fd, "HTTP/1.1 307 Go\r\nLocation: /slow\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(path, "/stall") == 0) {
        raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nten bytes.");
        return raw_closed(fd, 30), false;
    }
    return raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

#define URL(path) raw_url(&server, path)

struct step {
    async_http_session *session;
    const char *url;
    int *reached;
};

static int waits_for_headers(struct step *self)
{
    *self->reached = 1;
    async_http_response *response = async_http_get(self->session, self->url);
    assert_null(response);
    return async_error_code();
}

static int waits_for_chunks(struct step *self)
{
    async_with_http_get (response, self->session, self->url)
        async_for (async_http_chunk, chunk, async_http_chunks(response))
            *self->reached += (int)chunk.size;
    return async_error_code();
}

static int waits_for_text(struct step *self)
{
    async_with_http_get (response, self->session, self->url) {
        *self->reached = 1;
        assert_null(async_http_read(response, NULL));
        int code = async_error_code();
        assert_null(async_http_read(response, NULL)); /* and again: nothing hangs */
        return code;
    }
    return async_error_code();
}

static int cancelled_while_it_waits(void *unused)
{
    (void)unused;
    static const struct {
        int (*step)(struct step *);
        const char *path;
    } cases[] = {
        {waits_for_headers, "/never"}, {waits_for_chunks, "/stall"}, {waits_for_text, "/stall"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        async_with_http_session (session, NULL) {
            int reached = 0;
            struct step step = {session, URL(cases[i].path), &reached};
            async_task *task =
                async_create_task((async_coroutine)(void (*)(void))cases[i].step, &step);
            async_sleep(0.05);
            assert_int_not_equal(reached, 0);
            assert_int_equal(atomic_load(&server.live), 1);
            async_cancel(task, NULL);
            assert_int_equal(async_await(task), -ECANCELED);
            async_error_code();
            assert_true(raw_idle(&server));
            async_with_http_get (response, session, URL("/"))
                assert_string_equal(async_http_text(response), "ok");
        }
    assert_true(raw_idle(&server));
    return 0;
}
HTTP_TEST(cancelled_while_it_waits)

/* A task that is cancelled already sends nothing. */
static int begins_cancelled(void *session)
{
    async_sleep(10);
    async_http_response *response = async_http_get(session, URL("/"));
    assert_null(response);
    return async_error_code();
}

static int cancelled_before(void *unused)
{
    (void)unused;
    int before = atomic_load(&server.accepted);
    async_with_http_session (session, NULL) {
        async_task *task = async_create_task(begins_cancelled, session);
        async_sleep(0);
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
        async_error_code();
        async_sleep(0.02);
    }
    assert_int_equal(atomic_load(&server.accepted), before);
    return 0;
}
HTTP_TEST(cancelled_before)

struct whole {
    async_http_session *session;
    char *body;
    size_t size;
};

/* A redirect that keeps its body, a large upload, the headers in two parts, the pieces, and then
 * one more. */
static int whole(struct whole *self)
{
    int got = 0;
    async_with_http_request (response, self->session, .method = "POST", .url = URL("/redirect"),
                             .body = self->body, .body_size = self->size)
        async_for (async_http_chunk, chunk, async_http_chunks(response))
            got += (int)chunk.size;
    int code = async_error_code();
    if (code < 0) return code;
    assert_int_equal(got, 20);
    async_with_http_get (response, self->session, URL("/slow")) {
        const char *text = async_http_read(response, NULL);
        if (!text) return async_error_code();
        assert_string_equal(text, "piecepiecepiecepiece");
    }
    return async_error_code();
}

static int sweep(void)
{
    size_t size = 1u << 20;
    char *body = calloc(1, size);
    int ended = 0, broken = 0;

    for (int i = 0; i < 400 && ended < 3; i++) {
        async_http_session *session = async_http_session_new(NULL);
        assert_non_null(session);
        async_task *task = async_spawn(whole, .session = session, .body = body, .size = size);
        async_sleep(i * 0.0004);
        async_cancel(task, NULL);
        int code = async_await(task);
        const char *message = async_error_message();
        if (code == 0)
            ended++;
        else
            broken++;
        if (code != 0 && code != -ECANCELED) print_error("%s\n", message);
        assert_true(code == 0 || code == -ECANCELED);
        if (i % 16 == 0)
            async_with_http_get (response, session, URL("/"))
                assert_string_equal(async_http_text(response), "ok");
        async_http_session_close(session);
    }
    free(body);
    assert_true(broken > 10);
    return ended;
}

static int cancelled_at_any_time(void *unused)
{
    (void)unused;
    assert_int_equal(sweep(), 3);
    assert_true(raw_idle(&server));
    return 0;
}
HTTP_TEST(cancelled_at_any_time)

struct first {
    async_http_session *session;
    int *code;
};

static int first(struct first *self)
{
    async_with_http_request (response, self->session, .method = "PUT", .url = URL("/slow"),
                             .body = "x", .body_size = 1)
        async_http_read(response, NULL);
    return *self->code = async_error_code();
}

/* From another task, while one waits for the headers or the body: that one gets -ECONNABORTED and
 * closes its response afterwards. */
static int session_closed_at_any_time(void *unused)
{
    (void)unused;
    int aborted = 0;
    for (int i = 0; i < 60; i++) {
        int code = 1;
        async_http_session *session = async_http_session_new(NULL);
        async_task *task = async_spawn(first, .session = session, .code = &code);
        async_sleep(0);
        async_sleep(i * 0.0004);
        async_http_session_close(session);
        async_await(task);
        if (async_error_code() == -ECONNABORTED)
            assert_contains(async_error_message(),
                            "/slow: Software caused connection abort (the session was closed)");
        assert_true(code == 0 || code == -ECONNABORTED);
        aborted += code < 0;
    }
    assert_true(aborted > 10);
    assert_true(raw_idle(&server));
    return 0;
}
HTTP_TEST(session_closed_at_any_time)

static int responses_outlive_their_session(void *unused)
{
    (void)unused;
    async_http_session *session = async_http_session_new(NULL);
    async_http_response *done = async_http_get(session, URL("/"));
    async_http_response *stalled = async_http_get(session, URL("/stall"));
    async_http_response *other = async_http_get(session, URL("/stall"));
    assert_non_null(done);
    assert_non_null(stalled);
    async_sleep(0.02);
    async_http_session_close(session);
    assert_true(raw_idle(&server));

    assert_int_equal(async_http_status(done), 200);
    assert_string_equal(async_http_url(done), URL("/"));
    assert_string_equal(async_http_header(done, "content-length"), "2");
    assert_string_equal(async_http_text(done), "ok");
    async_for (async_http_chunk, chunk, async_http_chunks(stalled))
        assert_memory_equal(chunk.data, "ten bytes.", chunk.size);
    assert_int_equal(async_error_code(), -ECONNABORTED);
    assert_null(async_http_read(other, NULL));
    assert_int_equal(async_error_code(), -ECONNABORTED);
    async_http_response_close(done);
    async_http_response_close(stalled);
    async_http_response_close(other);
    return 0;
}
HTTP_TEST(responses_outlive_their_session)

static int closed_unread(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        for (int i = 0; i < 20; i++)
            async_with_http_get (response, session, URL("/stall"))
                assert_int_equal(async_http_status(response), 200);
        assert_true(raw_idle(&server));
        /* A handle that was broken off is as good as new. */
        int before = atomic_load(&server.accepted);
        for (int i = 0; i < 20; i++)
            async_with_http_get (response, session, URL("/"))
                assert_string_equal(async_http_text(response), "ok");
        assert_int_equal(atomic_load(&server.accepted), before + 1);
    }
    return 0;
}
HTTP_TEST(closed_unread)

/* With a second loop in another thread: nothing is shared but curl's global state. */
static int few(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (int i = 0; i < 50; i++)
            async_with_http_get (response, session, URL("/"))
                assert_string_equal(async_http_text(response), "ok");
    return 0;
}

static void *thread(void *result)
{
    *(int *)result = async_run(few, NULL);
    return NULL;
}

static void test_two_loops(void **state)
{
    (void)state;
    int result = 1;
    pthread_t id;
    pthread_create(&id, NULL, thread, &result);
    assert_int_equal(async_run(few, NULL), 0);
    pthread_join(id, NULL);
    assert_int_equal(result, 0);
}

static int open_server(void **state)
{
    (void)state;
    assert_true(raw_start(&server, answer));
    return 0;
}

static int close_server(void **state)
{
    (void)state;
    assert_true(raw_idle(&server));
    raw_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancelled_while_it_waits),
        cmocka_unit_test(test_cancelled_before),
        cmocka_unit_test(test_cancelled_at_any_time),
        cmocka_unit_test(test_session_closed_at_any_time),
        cmocka_unit_test(test_responses_outlive_their_session),
        cmocka_unit_test(test_closed_unread),
        cmocka_unit_test(test_two_loops),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
