/* Bodies of requests that come piece by piece: from a generator, an iterator, a stream, a file; and the
 * history of redirects. The server is the library's own, in the same loop. */
#include "http_test.h"

#include <casyncio/http_server.h>
#include <stdio.h>

enum { PIECE = 10000 };

static char base[64], url_text[128];
static async_event arrived, go_on;

static const char *at(const char *path)
{
    snprintf(url_text, sizeof url_text, "%s%s", base, path);
    return url_text;
}

/* ---- the server ---- */

/* How the body came, its length, and whether each byte is the one that it has to be. */
static int take(struct async_http_request *request)
{
    static char piece[30000];
    size_t total = 0, wrong = 0;
    ssize_t got;
    const char *length = async_http_request_header(request, "Content-Length");

    async_http_set_max_body(request, UINT64_MAX);
    while ((got = async_http_request_recv(request, piece, sizeof piece)) > 0)
        for (ssize_t i = 0; i < got; i++)
            wrong += piece[i] != (char)(total++ % 251);
    if (got < 0) return (int)got;
    return async_http_respond_text(request, 200, "%s %s %zu %zu",
                                   async_http_request_method(request), length ? "length" : "chunks",
                                   total, wrong);
}

/* Answers when it has had a byte, or none. */
static int stop(struct async_http_request *request)
{
    char byte;
    async_http_set_max_body(request, UINT64_MAX);
    ssize_t got = async_http_request_recv(request, &byte, 1);
    if (got < 0) return (int)got;
    async_event_set(&arrived);
    int code = async_event_wait(&go_on);
    return code < 0 ? code : async_http_respond_text(request, 403, "no");
}

static int never(struct async_http_request *request)
{
    char byte;
    ssize_t got = async_http_request_recv(request, &byte, 1);
    async_event_set(&arrived);
    return got < 0 ? (int)got : async_sleep(1000);
}

static int redirect(struct async_http_request *request)
{
    char path[40];
    int status = atoi(async_http_param(request, "status")), hops = 0;
    sscanf(async_http_param(request, "hops"), "%d", &hops);
    if (hops > 1)
        snprintf(path, sizeof path, "/to/%d/%d", status, hops - 1);
    else
        snprintf(path, sizeof path, "/take");
    async_http_set_header(request, "X-Hop", async_http_param(request, "hops"));
    return async_http_redirect(request, status, path);
}

static int refuses_expectation(struct async_http_request *request)
{
    if (async_http_request_header(request, "Expect"))
        return async_http_respond_text(request, 417, "no");
    return take(request);
}

static int serve(void *server) { return async_http_serve(server); }

static int run_case(int (*body)(async_http_session *session))
{
    async_http_server *server = async_http_server_start("127.0.0.1", 0, NULL);
    assert_non_null(server);
    snprintf(base, sizeof base, "http://127.0.0.1:%d", async_http_server_port(server));
    async_http_route(server, NULL, "/take", take);
    async_http_route(server, NULL, "/stop", stop);
    async_http_route(server, NULL, "/never", never);
    async_http_route(server, NULL, "/to/{status}/{hops}", redirect);
    async_http_route(server, NULL, "/expect", refuses_expectation);
    arrived = go_on = (async_event)ASYNC_EVENT_INIT;
    async_task *task = async_create_task(serve, server);
    int code = 0;
    async_with_http_session (session, NULL)
        code = body(session);
    async_cancel(task, NULL);
    async_await(task);
    async_http_server_free(server);
    return code;
}

#define CASE(name)                                                                                 \
    static int run_##name(void *unused)                                                            \
    {                                                                                              \
        (void)unused;                                                                              \
        return run_case(name);                                                                     \
    }                                                                                              \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        int code = async_run(run_##name, NULL);                                                    \
        if (code < 0) print_error("%s\n", async_run_error_message());                              \
        assert_int_equal(code, 0);                                                                 \
    }

/* ---- the bodies ---- */

struct body {
    int pieces;
    size_t size;   /* of each */
    int failure;   /* what it ends with */
    double sleeps; /* before each */
    int given;
    bool closed;
};

static int produce(async_generator *self, void *argument)
{
    struct body *body = argument;
    char data[PIECE];
    size_t total = 0;
    int code = 0;

    for (; body->given < body->pieces && code == 0; body->given++) {
        if (body->sleeps > 0) code = async_sleep(body->sleeps);
        for (size_t i = 0; i < body->size; i++)
            data[i] = (char)(total++ % 251);
        if (code == 0) code = async_yield(self, &(async_http_chunk){data, body->size});
        memset(data, 'x', sizeof data); /* it is not good any longer */
    }
    body->closed = code < 0;
    return code < 0 ? code : body->failure;
}

static async_iterator *generate(struct body *body)
{
    async_iterator *iterator = async_generate(produce, body, sizeof(async_http_chunk));
    assert_non_null(iterator);
    return iterator;
}

static void assert_taken(async_http_session *session, const async_http_request_options *options,
                         const char *answer)
{
    async_http_response *response = async_http_request(session, options);
    if (!response) fail_msg("%s", async_error_message());
    assert_int_equal(async_http_status(response), 200);
    assert_string_equal(async_http_text(response), answer);
    async_http_response_free(response);
}

static int iterators(async_http_session *session)
{
    static const struct {
        int pieces;
        size_t size, length;
        double sleeps;
        const char *answer;
    } cases[] = {
        {0, 0, 0, 0, "POST chunks 0 0"},
        {1, 1, 0, 0, "POST chunks 1 0"},
        {3, PIECE, 0, 0, "POST chunks 30000 0"},
        {300, PIECE, 0, 0, "POST chunks 3000000 0"},
        {5, 1, 0, 0.002, "POST chunks 5 0"},
        {1, 1, 1, 0, "POST length 1 0"},
        {300, PIECE, 3000000, 0, "POST length 3000000 0"},
        {5, 100, 500, 0.002, "POST length 500 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct body body = {
            .pieces = cases[i].pieces, .size = cases[i].size, .sleeps = cases[i].sleeps};
        assert_taken(session,
                     &(async_http_request_options){.url = at("/take"),
                                                   .method = "POST",
                                                   .body_iterator = generate(&body),
                                                   .body_size = cases[i].length},
                     cases[i].answer);
        assert_int_equal(body.given, cases[i].pieces);
    }
    struct body body = {.pieces = 2, .size = 5};
    assert_taken(session,
                 &(async_http_request_options){
                     .url = at("/take"), .method = "PUT", .body_iterator = generate(&body)},
                 "PUT chunks 10 0");
    return 0;
}
CASE(iterators)

static int write_stream(void *stream)
{
    char data[1000];
    for (size_t at = 0; at < sizeof data; at++)
        data[at] = (char)(at % 251);
    async_stream_write(stream, data, 400);
    async_sleep(0.01);
    async_stream_write(stream, data + 400, 600);
    return async_stream_close(stream);
}

static int streams(async_http_session *session)
{
    async_stream *ends[2];
    assert_int_equal(async_stream_pair(ends), 0);
    async_task *writer = async_create_task(write_stream, ends[1]);
    assert_taken(
        session,
        &(async_http_request_options){.url = at("/take"), .method = "POST", .body_stream = ends[0]},
        "POST chunks 1000 0");
    assert_int_equal(async_await(writer), 0);
    return async_stream_close(ends[0]);
}
CASE(streams)

static async_file *make_file(size_t size)
{
    char path[] = "/tmp/casyncio-upload-XXXXXX", byte;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < size; i++) {
        byte = (char)(i % 251);
        assert_int_equal(write(fd, &byte, 1), 1);
    }
    close(fd);
    async_file *file = async_file_open(path, "r");
    assert_non_null(file);
    unlink(path);
    return file;
}

static int files(async_http_session *session)
{
    async_file *file = make_file(200000), *empty = make_file(0);
    async_http_request_options options = {.url = at("/take"), .method = "PUT", .body_file = file};
    assert_taken(session, &options, "PUT length 200000 0");
    assert_taken(session, &options, "PUT length 0 0"); /* it is at its end */
    assert_int_equal(async_file_seek(file, 251, SEEK_SET), 251);
    assert_taken(session, &options, "PUT length 199749 0");
    options.body_file = empty;
    assert_taken(session, &options, "PUT length 0 0");

    /* A redirect has it sent again, from where it was. */
    assert_int_equal(async_file_seek(file, 502, SEEK_SET), 502);
    options.body_file = file;
    options.url = at("/to/307/2");
    assert_taken(session, &options, "PUT length 199498 0");
    assert_int_equal(async_file_close(empty), 0);
    return async_file_close(file);
}
CASE(files)

static int lengths(async_http_session *session)
{
    struct body body = {.pieces = 3, .size = 100};
    async_http_request_options options = {.url = at("/take"), .method = "POST", .body_size = 250};

    options.body_iterator = generate(&body);
    assert_request_fails(session, &options, -EINVAL, "the body is longer than it was said");
    body = (struct body){.pieces = 2, .size = 100};
    options.body_iterator = generate(&body);
    assert_request_fails(session, &options, -EINVAL, "the body is shorter than it was said");

    /* Of another type; two at once; with HEAD. They are closed all the same. */
    async_iterator wrong = {.size = 1};
    options.body_iterator = &wrong;
    assert_request_fails(session, &options, -EINVAL, "does not give async_http_chunk");
    body = (struct body){.pieces = 2, .size = 100};
    options.body_iterator = generate(&body);
    options.body = "x";
    assert_request_fails(session, &options, -EINVAL, "more than one body");
    options.body = NULL;
    options.body_iterator = generate(&body);
    options.method = "HEAD";
    assert_request_fails(session, &options, -EINVAL, "HEAD has no body");
    assert_int_equal(body.given, 0);
    async_with_http_get (response, session, at("/take"))
        assert_string_equal(async_http_text(response), "GET chunks 0 0");
    return async_block_error();
}
CASE(lengths)

static int failures(async_http_session *session)
{
    struct body body = {.pieces = 2, .size = 100, .failure = -EPROTO};
    async_http_request_options options = {.url = at("/take"), .method = "POST"};

    options.body_iterator = generate(&body);
    async_http_response *response = async_http_request(session, &options);
    assert_null(response);
    assert_int_equal(async_error_code(), -EPROTO);

    body = (struct body){.pieces = 2, .size = 100, .sleeps = 1000};
    options.body_iterator = generate(&body);
    options.timeout = 0.05;
    assert_request_fails(session, &options, -ETIMEDOUT, "not complete in time");
    assert_true(body.given == 0 || body.closed);
    return 0;
}
CASE(failures)

/* The server reads a byte and no more: what has been asked of the body by then is what the sockets hold.
 * Then it answers, and nothing more is asked. */
static int answers(async_event *event)
{
    int code = async_event_wait(&arrived);
    async_sleep(0.1);
    async_event_set(event);
    return code;
}

static int back_pressure(async_http_session *session)
{
    struct body body = {.pieces = 10000, .size = PIECE};
    async_task *other = async_create_task((async_coroutine)(void (*)(void))answers, &go_on);
    async_with_http_request (response, session, .url = at("/stop"), .method = "POST",
                             .body_iterator = generate(&body)) {
        assert_int_equal(async_http_status(response), 403);
        assert_true(body.given > 0 && body.given < 9000);
        assert_true(body.closed);
    }
    assert_int_equal(async_await(other), 0);
    return async_block_error();
}
CASE(back_pressure)

/* A final answer, while the body's next piece is waited for. */
static int early_answer(async_http_session *session)
{
    struct body body = {.pieces = 2, .size = 10, .sleeps = 0.02};
    async_stream *ends[2];
    async_event_set(&go_on);
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(async_stream_write(ends[1], "a", 1), 0);
    async_with_http_request (response, session, .url = at("/stop"), .method = "POST",
                             .body_stream = ends[0])
        assert_int_equal(async_http_status(response), 403);
    assert_int_equal(async_block_error(), 0);
    async_stream_abort(ends[1]);
    async_stream_abort(ends[0]);
    assert_taken(session,
                 &(async_http_request_options){
                     .url = at("/take"), .method = "POST", .body_iterator = generate(&body)},
                 "POST chunks 20 0");
    return 0;
}
CASE(early_answer)

static int redirects(async_http_session *session)
{
    struct body body = {.pieces = 2, .size = 10};
    async_http_request_options options = {
        .url = at("/to/307/1"), .method = "POST", .body_iterator = generate(&body)};
    assert_request_fails(session, &options, -EOPNOTSUPP, "its body cannot be sent again");

    body = (struct body){.pieces = 2, .size = 10};
    options.url = at("/to/303/3");
    options.body_iterator = generate(&body);
    async_http_response *response = async_http_request(session, &options);
    assert_non_null(response);
    assert_string_equal(async_http_text(response), "GET chunks 0 0");
    assert_int_equal(async_http_history_count(response), 3);
    for (size_t i = 0; i < 3; i++) {
        char hop[2] = {(char)('3' - i), 0}, path[16];
        const async_http_response *before = async_http_history_at(response, i);
        snprintf(path, sizeof path, "/to/303/%s", hop);
        assert_int_equal(async_http_status(before), 303);
        assert_string_equal(async_http_reason(before), "See Other");
        assert_string_equal(async_http_version(before), "1.1");
        assert_string_equal(async_http_url(before), at(path));
        assert_string_equal(async_http_header(before, "x-hop"), hop);
        assert_non_null(async_http_header(before, "Location"));
    }
    assert_null(async_http_history_at(response, 3));
    async_http_response_free(response);
    async_with_http_get (direct, session, at("/take"))
        assert_int_equal(async_http_history_count(direct), 0);
    return async_block_error();
}
CASE(redirects)

static int expectations(async_http_session *session)
{
    struct body body = {.pieces = 2, .size = 10};
    async_http_request_options options = {.url = at("/take"),
                                          .method = "POST",
                                          .headers = LIST("Expect: 100-continue"),
                                          .body_iterator = generate(&body)};
    assert_taken(session, &options, "POST chunks 20 0");
    body = (struct body){.pieces = 2, .size = 10};
    options.body_iterator = generate(&body);
    options.url = at("/expect");
    assert_taken(session, &options, "POST chunks 20 0");
    return 0;
}
CASE(expectations)

struct send_it {
    async_http_session *session;
    struct body *body;
    const char *url;
};

static int send_it(struct send_it *self)
{
    async_http_response *response = async_http_request(
        self->session, &(async_http_request_options){.url = self->url,
                                                     .method = "POST",
                                                     .body_iterator = generate(self->body)});
    if (!response) return async_error_code();
    async_http_response_free(response);
    return 0;
}

/* At each of its awaits: with a piece, without one, while the answer is waited for. */
static int cancelled(async_http_session *session)
{
    static const struct body bodies[] = {{.pieces = 1000, .size = 10, .sleeps = 0.001},
                                         {.pieces = 1, .size = 10, .sleeps = 1000},
                                         {.pieces = 1, .size = 10}};
    for (int i = 0; i < 30; i++) {
        struct body body = bodies[i % 3];
        async_task *task =
            async_spawn(send_it, .session = session, .body = &body, .url = at("/never"));
        for (int turns = 0; turns < i; turns++)
            async_sleep(turns % 4 ? 0 : 0.001);
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
        assert_true(body.given == 0 || body.closed || body.given == body.pieces);
    }
    async_with_http_get (response, session, at("/take"))
        assert_string_equal(async_http_text(response), "GET chunks 0 0");
    return async_block_error();
}
CASE(cancelled)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iterators),    cmocka_unit_test(test_streams),
        cmocka_unit_test(test_files),        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_failures),     cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_early_answer), cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_expectations), cmocka_unit_test(test_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
