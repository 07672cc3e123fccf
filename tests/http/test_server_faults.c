/* The n-th allocation, system call, await, wait, wake-up or timeout of a scenario of the HTTP server fails,
 * for every n that it reaches: no crash, no leak, no hang; what the client gets are whole answers, the
 * last of which may be cut; and the server goes on. Needs a build with the fault hook.
 *
 * ctest: labels=slow,fault timeout=300 */
#include "server_sweep.h"

#ifdef ASYNC_FAULTS

#define HOST "Host: a\r\n"
#define END HOST "\r\n"

static char directory[] = "/tmp/casyncio-faults-XXXXXX";

static int hello(struct async_http_request *request)
{
    int code = async_http_set_cookie(request, "a", "b", NULL);
    if (code < 0) return code;
    const char *name = async_http_query(request, "name"), *cookie = async_http_cookie(request, "c");
    return async_http_respond_text(request, 200, "Hello, %s %s!", name ? name : "",
                                   cookie ? cookie : "");
}

static int echo(struct async_http_request *request)
{
    size_t size;
    const char *body = async_http_request_read(request, &size);
    if (!body) return async_error_code();
    const char *field = async_http_form(request, "f");
    return async_http_respond_text(request, 200, "%zu %s", size, field ? field : "");
}

static int stream(struct async_http_request *request)
{
    for (int i = 0; i < 3; i++) {
        int code = async_http_set_trailer(request, "X-Sum", "1");
        if (code == 0) code = async_http_send_event(request, "tick", NULL, "x");
        if (code == 0) code = async_sleep(1);
        if (code < 0) return code;
    }
    return 0;
}

static int around(struct async_http_request *request) { return async_http_next(request); }

#ifndef FRAMES
static const char bytes[] =
    "GET /hello?name=A%41 HTTP/1.1\r\nCookie: c=d\r\n" END "POST /echo HTTP/1.1\r\n" HOST
    "Content-Type: application/x-www-form-urlencoded\r\n"
    "Transfer-Encoding: chunked\r\n\r\n3\r\nf=1\r\n5\r\n23456\r\n0\r\nX: 1\r\n\r\n"
    "GET /events HTTP/1.1\r\n" END "GET /s/file HTTP/1.1\r\n" END "POST /hello HTTP/1.1\r\n" HOST
    "Content-Length: 3\r\n\r\nabc"
    "OPTIONS /hello HTTP/1.1\r\n" END "GET bad HTTP/1.1\r\n" END;

static size_t size_of_bytes(void) { return sizeof bytes - 1; }
#endif

static struct client client;

/* Any of the statuses that there may be, and nothing else. */
static void check_answer(const char *answer)
{
    for (const char *at = answer; (at = strstr(at, "HTTP/1.1 ")); at++) {
        int status = atoi(at + 9);
        if (strlen(at) < 12) break; /* the client was cut off in the middle of it */
        bool fine = status == 200 || status == 204 || status == 400 || status == 404 ||
                    status == 405 || status == 408 || status == 500;
        if (!fine) print_error("%s\n", answer);
        assert_true(fine);
    }
}

static int exchange(async_http_server *server)
{
    client.server = server;
    client.size = 0;
    client.answer[0] = '\0';
    int code = async_stream_pair_with(client.ends, &(async_pair_options){.max_read = 30});
    if (code < 0) return code;
    client.task = async_create_task(serve_end, &client);
    if (!client.task) {
        code = async_error_code();
        async_stream_abort(client.ends[0]);
        async_stream_abort(client.ends[1]);
        return code;
    }
    for (size_t at = 0; at < size_of_bytes() && code == 0; at += 60) { /* it has to wait */
        size_t left = size_of_bytes() - at;
        code = async_stream_write(client.ends[1], bytes + at, left < 60 ? left : 60);
        if (code == 0) code = async_sleep(0.1);
    }
    if (code == 0) code = async_sleep(5); /* with HTTP/2 the client's end ends what runs */
    if (code == 0) {
        async_stream_write_eof(client.ends[1]);
        client_read(&client);
        check_answer(client.answer);
    }
    int served = client_close(&client);
    return code < 0 ? code : served;
}

static int add_routes(async_http_server *server)
{
    int code = async_http_use(server, around);
    if (code == 0) code = async_http_route(server, "GET", "/hello", hello);
    if (code == 0) code = async_http_route(server, "POST", "/echo", echo);
    if (code == 0) code = async_http_route(server, "GET", "/events", stream);
    if (code == 0) code = async_http_static(server, "/s/", directory);
    async_block_error();
    return code;
}

SWEEP(system_calls_of_threads, async__worker_faults, ASYNC__FAULT_SYSTEM_CALL)

int main(void)
{
    char path[100];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_system_calls),
        cmocka_unit_test(test_system_calls_of_threads),
        cmocka_unit_test(test_awaits),
        cmocka_unit_test(test_waits),
        cmocka_unit_test(test_wakes),
        cmocka_unit_test(test_expiries),
    };
#ifdef FRAMES
    make_bytes();
#endif
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("file", file);
    fclose(file);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(directory);
    return failed;
}

#else

int main(void)
{
    puts("skipped: built without ASYNC_FAULTS");
    return 77;
}

#endif
