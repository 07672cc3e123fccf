/* Transfers that are broken off: by a cancellation at any moment, by closing the session or the
 * response. In each case the server sees its connection end, and the session works on. */
#include "http_test.h"
#include "raw_server.h"

static struct raw_server server;

static sem_t permits;      /* for the steps of /slow */
static atomic_int arrived; /* requests for /never and /stall */

#define STEPS 6 /* of one answer to /slow */

/* The headers come in two steps, and then four pieces. */
static bool slow(int fd)
{
    if (!raw_permitted(fd, &permits) || !raw_printf(fd, "HTTP/1.1 200 OK\r\n")) return false;
    if (!raw_permitted(fd, &permits) || !raw_printf(fd, "Transfer-Encoding: chunked\r\n\r\n"))
        return false;
    for (int i = 0; i < 4; i++)
        if (!raw_permitted(fd, &permits) || !raw_printf(fd, "5\r\npiece\r\n")) return false;
    return raw_printf(fd, "0\r\n\r\n");
}

/* After so many steps: to be undone by no_steps. */
static void allow_steps(int count)
{
    while (count-- > 0)
        sem_post(&permits);
}

static void no_steps(void)
{
    assert_true(raw_idle(&server));
    while (sem_trywait(&permits) == 0)
        ;
}

static int steps_left(void)
{
    int count;
    sem_getvalue(&permits, &count);
    return count;
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    char path[128] = "";
    sscanf(head, "%*s %127s", path);
    (void)body;

    if (!raw_skip_body(fd, head, size)) return false;
    if (strcmp(path, "/slow") == 0) return slow(fd);
    if (strcmp(path, "/never") == 0) {
        atomic_fetch_add(&arrived, 1);
        return raw_closed(fd, 60), false;
    }
    if (strcmp(path, "/redirect") == 0)
        return raw_printf(fd, "HTTP/1.1 307 Go\r\nLocation: /slow\r\nContent-Length: 0\r\n\r\n");
    if (strcmp(path, "/stall") == 0) {
        raw_printf(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nten bytes.");
        atomic_fetch_add(&arrived, 1);
        return raw_closed(fd, 60), false;
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
    return async_block_error();
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
    return async_block_error();
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
            assert_true(raw_idle(&server));
            int reached = 0;
            struct step step = {session, URL(cases[i].path), &reached};
            atomic_store(&arrived, 0);
            async_task *task =
                async_create_task((async_coroutine)(void (*)(void))cases[i].step, &step);
            while (!reached || !atomic_load(&arrived))
                async_sleep(0.001);
            assert_int_equal(atomic_load(&server.live), 1);
            async_cancel(task, NULL);
            assert_int_equal(async_await(task), -ECANCELED);
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
    int code = async_block_error();
    if (code < 0) return code;
    assert_int_equal(got, 20);
    async_with_http_get (response, self->session, URL("/slow")) {
        const char *text = async_http_read(response, NULL);
        if (!text) return async_error_code();
        assert_string_equal(text, "piecepiecepiecepiece");
    }
    return async_block_error();
}

static char upload[1u << 20];

static async_task *start_whole(async_http_session *session)
{
    return async_spawn(whole, .session = session, .body = upload, .size = sizeof upload);
}

/* After so many steps of the server's, and then so many milliseconds. */
static void cancel_after(int steps, double more)
{
    async_http_session *session = async_http_session_new(NULL);
    assert_non_null(session);
    allow_steps(steps);
    async_task *task = start_whole(session);
    while (steps_left() > 0)
        async_sleep(0.0005);
    async_sleep(more / 1000);
    async_cancel(task, NULL);
    int code = async_await(task);
    if (code != -ECANCELED) print_error("%d: %s\n", steps, async_error_message());
    /* The last piece may have come, and with it the end. */
    assert_true(code == -ECANCELED || (code == 0 && steps == 2 * STEPS));
    async_with_http_get (response, session, URL("/"))
        assert_string_equal(async_http_text(response), "ok");
    async_http_session_free(session);
    no_steps();
}

static int cancelled_at_any_time(void *unused)
{
    (void)unused;
    for (int i = 0; i < 40; i++) /* while it connects, and uploads */
        cancel_after(0, i * 0.1);
    for (int steps = 1; steps <= 2 * STEPS; steps++)
        for (int i = 0; i < 4; i++)
            cancel_after(steps, i * 0.2);
    for (int i = 0; i < 3; i++)
        async_with_http_session (session, NULL) {
            allow_steps(2 * STEPS);
            assert_int_equal(async_await(start_whole(session)), 0);
        }
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
    for (int i = 0; i < 10 * (STEPS + 1); i++) {
        int code = 1, steps = i % (STEPS + 1);
        async_http_session *session = async_http_session_new(NULL);
        allow_steps(steps);
        async_task *task = async_spawn(first, .session = session, .code = &code);
        async_sleep(0);
        while (steps_left() > 0)
            async_sleep(0.0005);
        if (steps == STEPS) async_await(task);
        async_http_session_free(session);
        if (steps < STEPS) {
            async_await(task);
            assert_int_equal(async_error_code(), -ECONNABORTED);
            assert_contains(async_error_message(),
                            "/slow: Software caused connection abort (the session was closed)");
        }
        assert_int_equal(code, steps == STEPS ? 0 : -ECONNABORTED);
        no_steps();
    }
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
    async_http_session_free(session);
    assert_true(raw_idle(&server));

    assert_int_equal(async_http_status(done), 200);
    assert_string_equal(async_http_url(done), URL("/"));
    assert_string_equal(async_http_header(done, "content-length"), "2");
    assert_string_equal(async_http_text(done), "ok");
    async_for (async_http_chunk, chunk, async_http_chunks(stalled))
        assert_memory_equal(chunk.data, "ten bytes.", chunk.size);
    assert_int_equal(async_block_error(), -ECONNABORTED);
    assert_null(async_http_read(other, NULL));
    assert_int_equal(async_error_code(), -ECONNABORTED);
    async_http_response_free(done);
    async_http_response_free(stalled);
    async_http_response_free(other);
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

/* ---- what is freed after its loop has been closed ---- */

static struct {
    async_http_session *session;
    async_http_response *done, *stalled;
} left;

static int leaves_all(void *unused)
{
    (void)unused;
    left.session = async_http_session_new(NULL);
    left.done = async_http_get(left.session, URL("/"));
    left.stalled = async_http_get(left.session, URL("/stall"));
    assert_non_null(left.done);
    assert_non_null(left.stalled);
    return 0;
}

static int leaves_responses(void *unused)
{
    leaves_all(unused);
    async_http_session_free(left.session);
    return 0;
}

static int uses_what_is_left(void *unused)
{
    (void)unused;
    assert_string_equal(async_http_text(left.done), "ok");
    assert_null(async_http_read(left.stalled, NULL));
    assert_int_equal(async_error_code(), -ECONNABORTED);
    assert_fails(left.session, URL("/"), -ECONNABORTED, "the session's loop has been closed");
    return 0;
}

static void test_loop_closed_before_a_session(void **state)
{
    (void)state;
    for (int order = 0; order < 3; order++) {
        assert_int_equal(async_run(leaves_all, NULL), 0);
        assert_true(raw_idle(&server));
        assert_int_equal(async_http_status(left.stalled), 200);
        if (order == 0) async_http_session_free(left.session);
        if (order == 2) assert_int_equal(async_run(uses_what_is_left, NULL), 0);
        async_http_response_free(left.done);
        if (order > 0) async_http_session_free(left.session);
        async_http_response_free(left.stalled);
    }
    assert_int_equal(async_run(leaves_responses, NULL), 0);
    async_http_response_free(left.stalled);
    async_http_response_free(left.done);
}

static async_http_session *of_one_loop;

static int asks_in_another(void *unused)
{
    (void)unused;
    assert_fails(of_one_loop, URL("/"), -EPERM, "the session is another loop's");
    return 0;
}

static void *other_thread(void *result)
{
    *(int *)result = async_run(asks_in_another, NULL);
    return NULL;
}

static int asked_by_another(void *unused)
{
    (void)unused;
    int result = 1;
    pthread_t id;
    async_with_http_session (session, NULL) {
        of_one_loop = session;
        pthread_create(&id, NULL, other_thread, &result);
        pthread_join(id, NULL);
    }
    return result;
}
HTTP_TEST(asked_by_another)

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
    sem_init(&permits, 0, 0);
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
        cmocka_unit_test(test_loop_closed_before_a_session),
        cmocka_unit_test(test_asked_by_another),
        cmocka_unit_test(test_two_loops),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
