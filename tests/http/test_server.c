/* The HTTP server: routes, answers, bodies. In memory and in virtual time. */
#include "server_test.h"

#define HOST "Host: a\r\n"
#define END HOST "\r\n"

static struct client client;

static int name(struct async_http_request *request, const char *text)
{
    const char *id = async_http_param(request, "id"), *rest = async_http_param(request, "rest");
    return async_http_respond_text(request, 200, "%s(%s,%s)", text, id ? id : "-",
                                   rest ? rest : "-");
}

/* ---- routes ---- */

static int finds_routes(void *unused)
{
    static const struct {
        const char *method, *pattern, *text;
    } routes[] = {
        {"GET", "/", "root"},
        {"GET", "/users", "users"},
        {"GET", "/users/", "users-slash"},
        {"GET", "/users/{id}", "user"},
        {"GET", "/users/me", "me"},
        {"DELETE", "/users/{id}", "delete"},
        {"GET", "/users/{id}/edit", "edit"},
        {"GET", "/files/{rest...}", "files"},
        {"GET", "/files/{id}/meta", "meta"},
        {NULL, "/any/{id}", "any"},
        {"HEAD", "/head", "own-head"},
        {"GET", "/head", "head"},
        {"GET", "/a b", "blank"},
    };
    static const struct {
        const char *line, *status, *body;
    } requests[] = {
        {"GET /", "200", "root(-,-)"},
        {"GET /?x=/users", "200", "root(-,-)"},
        {"GET /users", "200", "users(-,-)"},
        {"GET /users/", "200", "users-slash(-,-)"},
        {"GET /users/7", "200", "user(7,-)"},
        {"GET /users/me", "200", "me(-,-)"},
        {"DELETE /users/me", "200", "delete(me,-)"},
        {"GET /users/a%2Fb", "200", "user(a/b,-)"},
        {"GET /users/%7Bid%7D", "200", "user({id},-)"},
        {"GET /users/m%65", "200", "me(-,-)"},
        {"GET /users/7/edit", "200", "edit(7,-)"},
        {"GET /users/7/edi", "404", "404"},
        {"GET /users//edit", "404", "404"},
        {"GET /users/7/edit/", "404", "404"},
        {"GET /files/", "200", "files(-,)"},
        {"GET /files", "404", "404"},
        {"GET /files/a", "200", "files(-,a)"},
        {"GET /files/a/b//c%2F", "200", "files(-,a/b//c/)"},
        {"GET /files/a/meta", "200", "meta(a,-)"},
        {"GET /files/a/meta/x", "200", "files(-,a/meta/x)"},
        {"PUT /any/x", "200", "any(x,-)"},
        {"GET http://b/users/7", "200", "user(7,-)"},
        {"GET http://b", "200", "root(-,-)"},
        {"GET /a%20b", "200", "blank(-,-)"},
        {"GET /none", "404", "404"},
        {"POST /users/7", "405", "405"},
        {"POST /any", "404", "404"},
    };
    WITH_SERVER (server, .on_error = tell) {
        for (size_t i = 0; i < COUNT(routes); i++)
            assert_int_equal(async_http_route(server, routes[i].method, routes[i].pattern, name,
                                              (char *)routes[i].text),
                             0);
        for (size_t i = 0; i < COUNT(requests); i++) {
            char text[256], status[32];
            int size = snprintf(text, sizeof text, "%s HTTP/1.1\r\n" END, requests[i].line);
            ask_bytes(&client, server, text, (size_t)size);
            snprintf(status, sizeof status, "HTTP/1.1 %s ", requests[i].status);
            assert_contains(client.answer, status);
            const char *body = strstr(client.answer, "\r\n\r\n");
            assert_non_null(body);
            if (strncmp(body + 4, requests[i].body, strlen(requests[i].body)) != 0)
                print_error("%s: %s\n", requests[i].line, body + 4);
            assert_int_equal(strncmp(body + 4, requests[i].body, strlen(requests[i].body)), 0);
        }
        assert_contains(ask(&client, server, "POST /users/7 HTTP/1.1\r\n" END),
                        "\r\nAllow: DELETE, GET, HEAD, OPTIONS\r\n");
        assert_contains(ask(&client, server, "OPTIONS /users/7 HTTP/1.1\r\n" END),
                        "HTTP/1.1 204 No Content\r\n");
        assert_contains(client.answer, "\r\nAllow: DELETE, GET, HEAD, OPTIONS\r\n");
        ask(&client, server, "HEAD /users/7 HTTP/1.1\r\n" END);
        assert_contains(client.answer, "\r\nContent-Length: 9\r\n");
        assert_lacks(client.answer, "user(");
        ask(&client, server, "HEAD /head HTTP/1.1\r\n" END);
        assert_contains(client.answer, "\r\nContent-Length: 13\r\n");
    }
    return async_block_error();
}

static int refuses_patterns(void *unused)
{
    static const char *const bad[] = {"",
                                      "a",
                                      "/{}",
                                      "/{a",
                                      "/a}",
                                      "/x{a}",
                                      "/{a}x",
                                      "/{...}",
                                      "/{a...}/b",
                                      "/{a{b}}",
                                      "/{a.b}",
                                      NULL,
                                      "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}"
                                      "/{o}/{p}/{q}"};
    WITH_SERVER (server) {
        for (size_t i = 0; i < COUNT(bad); i++) {
            assert_int_equal(async_http_route(server, "GET", bad[i], name, ""), -EINVAL);
            assert_int_equal(async_block_error(), -EINVAL);
        }
        assert_int_equal(async_http_route(server, "G T", "/", name, ""), -EINVAL);
        assert_int_equal(async_http_route(server, "GET", "/{id}", name, ""), 0);
        assert_int_equal(async_block_error(), -EINVAL);
        assert_int_equal(async_http_route(server, "GET", "/{other}", name, ""), -EEXIST);
        assert_contains(async_error_message(), "GET /{other}");
        assert_int_equal(async_block_error(), -EEXIST);
        assert_int_equal(async_http_route(NULL, "GET", "/", name, ""), -EBADF);
        assert_int_equal(async_block_error(), -EBADF);
    }
    return async_block_error();
}

/* ---- middlewares ---- */

static int outer(struct async_http_request *request)
{
    note("outer");
    int code = async_http_next(request);
    note("outer:%s:%d", async_error_name(code), async_http_response_status(request));
    if (code == -ENOENT) return async_http_respond_text(request, 404, "mapped");
    return code;
}

static int inner(struct async_http_request *request, const char *text)
{
    note("%s", text);
    async_http_request_set_data(request, (void *)text);
    if (strcmp(async_http_request_path(request), "/denied") == 0)
        return async_http_respond_text(request, 403, "denied");
    int code = async_http_next(request);
    assert_int_equal(async_http_next(request), -EALREADY);
    return code;
}

static int missing(struct async_http_request *request)
{
    note("handler:%s", (char *)async_http_request_data(request));
    return async_raise(-ENOENT, "secret");
}

static int runs_middlewares(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_use(server, outer);
        async_http_use(server, inner, "inner");
        async_http_route(server, "GET", "/missing", missing);
        assert_contains(ask(&client, server, "GET /missing HTTP/1.1\r\n" END), "404 Not Found");
        assert_contains(client.answer, "mapped");
        assert_notes("outer inner handler:inner outer:ENOENT:0 ");
        assert_contains(ask(&client, server, "GET /denied HTTP/1.1\r\n" END), "403 Forbidden");
        assert_notes("outer inner outer:0:403 ");
        assert_contains(ask(&client, server, "GET /none HTTP/1.1\r\n" END), "404 Not Found");
        assert_notes("outer inner outer:0:404 ");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

/* ---- handlers that fail ---- */

static int fails(struct async_http_request *request)
{
    assert_int_equal(async_http_set_header(request, "X-Secret", "1"), 0);
    return async_raise(-EIO, "the password is 123");
}

static int fails_in_a_block(struct async_http_request *request)
{
    async_with_file(file, async_file_open("/nonexistent/file", "r"))
        async_http_redirect(request, 302, "/");
    return 0;
}

static int gives_nothing(struct async_http_request *request) { return 0; }

static int answers_twice(struct async_http_request *request)
{
    int code = async_http_respond_text(request, 200, "first");
    if (code < 0) return code;
    assert_int_equal(async_http_respond_text(request, 200, "second"), -EALREADY);
    assert_int_equal(async_http_set_header(request, "X", "1"), -EALREADY);
    assert_int_equal(async_http_respond_begin(request, 200, NULL, 1), -EALREADY);
    assert_int_equal(async_http_redirect(request, 302, "/"), -EALREADY);
    assert_int_equal(async_http_respond_write(request, "x", 1), -EINVAL);
    assert_int_equal(async_http_respond_end(request), 0);
    return 0;
}

static int breaks_off(struct async_http_request *request)
{
    async_http_respond_begin(request, 200, "text/plain", -1);
    async_http_respond_write(request, "half", 4);
    return async_raise(-EIO, "the source has dried up");
}

static int too_short(struct async_http_request *request)
{
    async_http_respond_begin(request, 200, "text/plain", 10);
    return async_http_respond_write(request, "half", 4);
}

static int too_long(struct async_http_request *request)
{
    async_http_respond_begin(request, 200, "text/plain", 3);
    assert_int_equal(async_http_respond_write(request, "half", 4), -EMSGSIZE);
    return async_http_respond_write(request, "all", 3);
}

static int reported;

static void report(async_loop *loop, int code, const char *message, void *data)
{
    reported = code;
    snprintf(told, sizeof told, "%s", message);
}

#define NEXT "GET /next HTTP/1.1\r\n" END

static int answers_for_handlers(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/fails", fails);
        async_http_route(server, "GET", "/block", fails_in_a_block);
        async_http_route(server, "GET", "/nothing", gives_nothing);
        async_http_route(server, "GET", "/twice", answers_twice);
        async_http_route(server, "GET", "/breaks", breaks_off);
        async_http_route(server, "GET", "/short", too_short);
        async_http_route(server, "GET", "/long", too_long);

        ask(&client, server, "GET /fails HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "HTTP/1.1 500 Internal Server Error\r\n");
        assert_lacks(client.answer, "password");
        assert_lacks(client.answer, "X-Secret");
        assert_contains(client.answer, "404"); /* the connection goes on */
        assert_string_equal(told, "GET /fails EIO: the password is 123");

        ask(&client, server, "GET /block HTTP/1.1\r\n" END);
        assert_contains(client.answer, "HTTP/1.1 500 ");
        assert_contains(told, "ENOENT");
        assert_contains(told, "/nonexistent/file");

        ask(&client, server, "GET /nothing HTTP/1.1\r\n" END);
        assert_contains(client.answer, "HTTP/1.1 500 ");
        assert_string_equal(told, "GET /nothing EINVAL: the handler gave no answer");

        told_count = 0;
        ask(&client, server, "GET /twice HTTP/1.1\r\n" END);
        assert_contains(client.answer, "first");
        assert_lacks(client.answer, "second");
        ask(&client, server, "GET /long HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "\r\n\r\nall");
        assert_contains(client.answer, "404");
        assert_int_equal(told_count, 0);

        ask(&client, server, "GET /breaks HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "4\r\nhalf\r\n");
        assert_lacks(client.answer, "0\r\n\r\n");
        assert_lacks(client.answer, "404");
        assert_contains(told, "dried up");
        ask(&client, server, "GET /short HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "\r\n\r\nhalf");
        assert_lacks(client.answer, "404");
        assert_contains(told, "6 bytes shorter");
    }
    WITH_SERVER (server) {
        async_http_route(server, "GET", "/fails", fails);
        async_set_exception_handler(async_get_running_loop(), report, NULL);
        ask(&client, server, "GET /fails HTTP/1.1\r\n" END);
        async_sleep(0);
        assert_int_equal(reported, -EIO);
        assert_contains(told, "GET /fails: the password is 123");
        async_set_exception_handler(async_get_running_loop(), NULL, NULL);
    }
    return async_block_error();
}

/* ---- headers ---- */

static int sets_headers(struct async_http_request *request)
{
    static const char *const own[] = {"Content-Length", "transfer-encoding", "CONNECTION",
                                      "Upgrade", "Trailer"};

    assert_int_equal(async_http_set_header(request, "X-A", "a\r\nX-Evil: 1"), -EINVAL);
    assert_int_equal(async_http_set_header(request, "X-A", "a\nb"), -EINVAL);
    assert_int_equal(async_http_set_header(request, "X-A\r\nX-Evil", "1"), -EINVAL);
    assert_int_equal(async_http_set_header(request, "X-A:", "1"), -EINVAL);
    assert_int_equal(async_http_set_header(request, "", "1"), -EINVAL);
    assert_int_equal(async_http_set_header(request, NULL, "1"), -EINVAL);
    assert_int_equal(async_http_add_header(request, "X-A", "\x7f"), -EINVAL);
    assert_int_equal(async_http_respond(request, 200, "text/plain\r\nX-Evil: 1", "", 0), -EINVAL);
    assert_int_equal(async_http_redirect(request, 302, "/\r\nX-Evil: 1"), -EINVAL);
    assert_int_equal(async_http_redirect(request, 200, "/"), -EINVAL);
    assert_int_equal(async_http_redirect(request, 302, ""), -EINVAL);
    assert_int_equal(async_http_set_cookie(request, "a", "b; Domain=x", NULL), -EINVAL);
    assert_int_equal(async_http_set_cookie(request, "a=", "b", NULL), -EINVAL);
    assert_int_equal(
        async_http_set_cookie(request, "a", "b", &(async_http_cookie_options){.path = "/;x"}),
        -EINVAL);
    for (size_t i = 0; i < COUNT(own); i++)
        assert_int_equal(async_http_set_header(request, own[i], "1"), -EINVAL);
    assert_int_equal(async_http_respond(request, 100, NULL, "", 0), -EINVAL);
    assert_int_equal(async_http_respond(request, 600, NULL, "", 0), -EINVAL);
    assert_int_equal(async_http_respond_begin(request, 200, NULL, -2), -EINVAL);
    assert_int_equal(async_http_respond_write(request, "x", 1), -EINVAL);
    assert_int_equal(async_http_respond_end(request), -EINVAL);

    assert_int_equal(async_http_set_header(request, "X-A", "1"), 0);
    assert_int_equal(async_http_set_header(request, "X-Ab", "2"), 0);
    assert_int_equal(async_http_add_header(request, "x-a", "3"), 0);
    assert_int_equal(async_http_set_header(request, "X-B", "4"), 0);
    assert_int_equal(async_http_set_header(request, "x-B", "5"), 0);
    assert_int_equal(async_http_set_header(request, "X-C", "6"), 0);
    assert_int_equal(async_http_set_header(request, "X-C", NULL), 0);
    assert_int_equal(async_http_set_header(request, "Date", "never"), 0);
    assert_int_equal(async_http_set_cookie(request, "a", "b", NULL), 0);
    assert_int_equal(async_http_set_cookie(request, "c", "",
                                           &(async_http_cookie_options){.path = "/",
                                                                        .domain = "d",
                                                                        .max_age = -1,
                                                                        .secure = true,
                                                                        .http_only = true,
                                                                        .same_site = "Lax"}),
                     0);
    return async_http_respond(request, 200, "text/html", "", 0);
}

static int keeps_headers_apart(void *unused)
{
    WITH_SERVER (server, .on_error = tell, .server_name = "test/1") {
        async_http_route(server, "GET", "/", sets_headers);
        ask(&client, server, "GET / HTTP/1.1\r\n" END);
        assert_string_equal(client.answer,
                            "HTTP/1.1 200 OK\r\nServer: test/1\r\nContent-Type: text/html\r\n"
                            "Content-Length: 0\r\nX-A: 1\r\nX-Ab: 2\r\nx-a: 3\r\nx-B: 5\r\n"
                            "Date: never\r\nSet-Cookie: a=b\r\n"
                            "Set-Cookie: c=; Max-Age=0; Path=/; Domain=d; Secure; HttpOnly; "
                            "SameSite=Lax\r\n\r\n");
    }
    return async_block_error();
}

/* ---- what came ---- */

static int tells(struct async_http_request *request)
{
    const char *head_name, *value;

    assert_string_equal(async_http_request_method(request), "POST");
    assert_string_equal(async_http_request_path(request), "/a b");
    assert_string_equal(async_http_request_target(request),
                        "/a%20b?x=1&y=a+b%26&x=2&empty=&flag&%7a=3&bad=%zz&nul=%00");
    assert_string_equal(async_http_request_version(request), "1.1");
    assert_string_equal(async_http_request_host(request), "example.org");
    assert_string_equal(async_http_request_header(request, "x-A"), "b");
    assert_null(async_http_request_header(request, "X-None"));
    assert_int_equal(async_http_request_header_count(request), 6);
    assert_true(async_http_request_header_at(request, 1, &head_name, &value));
    assert_string_equal(head_name, "X-A");
    assert_string_equal(value, "b");
    assert_false(async_http_request_header_at(request, 6, &head_name, &value));
    assert_string_equal(async_http_query(request, "x"), "1");
    assert_string_equal(async_http_query(request, "y"), "a b&");
    assert_string_equal(async_http_query(request, "empty"), "");
    assert_string_equal(async_http_query(request, "flag"), "");
    assert_string_equal(async_http_query(request, "z"), "3");
    assert_null(async_http_query(request, "bad"));
    assert_null(async_http_query(request, "nul"));
    assert_null(async_http_query(request, "none"));
    assert_string_equal(async_http_cookie(request, "a"), "1");
    assert_string_equal(async_http_cookie(request, "b"), "2=3");
    assert_string_equal(async_http_cookie(request, "c"), "");
    assert_string_equal(async_http_cookie(request, "d"), "4");
    assert_null(async_http_cookie(request, "e"));
    assert_string_equal(async_http_form(request, "f"), "1 2");
    assert_string_equal(async_http_form(request, "g"), "ä");
    assert_null(async_http_form(request, "h"));
    assert_non_null(async_http_request_stream(request));
    assert_null(async_http_request_trailer(request, "X"));
    assert_null(async_http_param(request, "x"));
    return async_http_respond_text(request, 200, "fine");
}

static int gives_what_came(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "POST", "/a b", tells);
        ask(&client, server,
            "POST /a%20b?x=1&y=a+b%26&x=2&empty=&flag&%7a=3&bad=%zz&nul=%00 HTTP/1.1\r\n"
            "Host: Example.ORG:80\r\nX-A: b\r\nCookie: a=1; b=2=3;c=\r\nCookie: d=4; e\r\n"
            "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n"
            "Content-Length: 14\r\n\r\nf=1+2&g=%c3%a4");
        assert_contains(client.answer, "fine");
    }
    assert_null(async_http_request_method(NULL));
    assert_null(async_http_request_header(NULL, "x"));
    assert_null(async_http_query(NULL, "x"));
    assert_int_equal(async_http_request_header_count(NULL), 0);
    assert_int_equal(async_http_request_recv(NULL, NULL, 0), -EBADF);
    assert_null(async_http_request_read(NULL, NULL));
    assert_int_equal(async_http_respond(NULL, 200, NULL, NULL, 0), -EBADF);
    assert_int_equal(async_http_respond_text(NULL, 200, "x"), -EBADF);
    assert_int_equal(async_http_set_header(NULL, "x", "y"), -EBADF);
    assert_int_equal(async_http_serve(NULL), -EBADF);
    assert_int_equal(async_http_shutdown(NULL), -EBADF);
    assert_int_equal(async_http_next(NULL), -EBADF);
    async_http_server_free(NULL);
    return async_block_error();
}

/* ---- bodies ---- */

static int echo(struct async_http_request *request)
{
    size_t size, again;
    const char *body = async_http_request_read(request, &size);

    if (!body) return async_error_code();
    assert_int_equal(body[size], 0);
    assert_ptr_equal(async_http_request_read(request, &again), body);
    assert_int_equal(again, size);
    const char *trailer = async_http_request_trailer(request, "X-Sum");
    return async_http_respond_text(request, 200, "%s|%s", body, trailer ? trailer : "");
}

static int by_threes(struct async_http_request *request)
{
    char piece[4];
    ssize_t got;

    while ((got = async_http_request_recv(request, piece, 3)) > 0)
        note("%.*s", (int)got, piece);
    if (got < 0) return (int)got;
    return async_http_respond_text(request, 200, "done");
}

static int unread(struct async_http_request *request)
{
    return async_http_respond_text(request, 200, "unread");
}

static int larger(struct async_http_request *request)
{
    async_http_set_max_body(request, UINT64_MAX);
    return echo(request);
}

#define POST "POST %s HTTP/1.1\r\n" HOST
static int reads_bodies(void *unused)
{
    WITH_SERVER (server, .on_error = tell, .max_body = 20) {
        async_http_route(server, "POST", "/echo", echo);
        async_http_route(server, "POST", "/threes", by_threes);
        async_http_route(server, "POST", "/unread", unread);
        async_http_route(server, "POST", "/larger", larger);
        ask(&client, server,
            "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
            "3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum:  9 \r\nX: \r\n\r\n" NEXT);
        assert_contains(client.answer, "abcdefg|9");
        assert_contains(client.answer, "404");
        ask(&client, server, "POST /threes HTTP/1.1\r\n" HOST "Content-Length: 7\r\n\r\nabcdefg");
        assert_contains(client.answer, "done");
        assert_notes("abc def g ");

        /* What is left is discarded, if it is not much. */
        ask(&client, server,
            "POST /unread HTTP/1.1\r\n" HOST "Content-Length: 30\r\n\r\n"
            "012345678901234567890123456789" NEXT);
        assert_contains(client.answer, "unread");
        assert_contains(client.answer, "404");
        ask(&client, server, "POST /unread HTTP/1.1\r\n" HOST "Content-Length: 70000\r\n\r\n" NEXT);
        assert_contains(client.answer, "unread");
        assert_lacks(client.answer, "404");

        /* The limit: of a length, of chunks, by the handler. */
        ask(&client, server,
            "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 21\r\n\r\n012345678901234567890" NEXT);
        assert_contains(client.answer, "HTTP/1.1 413 Content Too Large\r\n");
        assert_contains(client.answer, "Connection: close\r\n");
        assert_lacks(client.answer, "404");
        ask(&client, server,
            "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
            "f\r\n012345678901234\r\n6\r\n012345\r\n0\r\n\r\n");
        assert_contains(client.answer, "HTTP/1.1 413 ");
        ask(&client, server,
            "POST /larger HTTP/1.1\r\n" HOST "Content-Length: 21\r\n\r\n012345678901234567890");
        assert_contains(client.answer, "012345678901234567890|");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

static int expects_to_go_on(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "POST", "/echo", echo);
        async_http_route(server, "POST", "/unread", unread);
        client_open(&client, server);
        static const char head[] =
            "POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        client_send(&client, head, sizeof head - 1);
        assert_string_equal(client_read_for(&client, 1), "HTTP/1.1 100 Continue\r\n\r\n");
        client_send(&client, "abc", 3);
        assert_contains(client_read_for(&client, 1), "abc|");
        client_close(&client);

        /* A handler that wants no body: what the client sends next cannot be told. */
        ask(&client, server,
            "POST /unread HTTP/1.1\r\n" HOST
            "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc" NEXT);
        assert_lacks(client.answer, "100 Continue");
        assert_contains(client.answer, "Connection: close\r\n");
        assert_lacks(client.answer, "404");
    }
    return async_block_error();
}

/* ---- answers piece by piece ---- */

static int streams(struct async_http_request *request)
{
    async_http_respond_begin(request, 200, "text/plain", -1);
    for (int i = 0; i < 3; i++) {
        async_http_respond_printf(request, "line %d\n", i);
        async_sleep(1);
    }
    return async_http_respond_end(request);
}

static int events(struct async_http_request *request)
{
    assert_int_equal(async_http_send_event(request, "a\nb", NULL, ""), -EINVAL);
    assert_int_equal(async_http_send_event(request, NULL, "a\r", ""), -EINVAL);
    async_http_send_event(request, NULL, NULL, "one");
    async_http_send_event(request, "e", "1", "two\nlines\r\nor\rfour");
    return async_http_send_event(request, NULL, NULL, NULL);
}

static int streams_answers(void *unused)
{
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/", streams);
        async_http_route(server, "GET", "/events", events);
        ask(&client, server, "GET / HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "Transfer-Encoding: chunked\r\n");
        assert_contains(client.answer, "\r\n\r\n7\r\nline 0\n\r\n7\r\nline 1\n\r\n7\r\nline 2\n\r\n"
                                       "0\r\n\r\nHTTP/1.1 404");
        ask(&client, server, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" NEXT);
        assert_lacks(client.answer, "Transfer-Encoding");
        assert_contains(client.answer, "Connection: close\r\n");
        assert_contains(client.answer, "\r\n\r\nline 0\nline 1\nline 2\n");
        assert_lacks(client.answer, "404");
        ask(&client, server, "HEAD / HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "Transfer-Encoding: chunked\r\n\r\nHTTP/1.1 404");
        ask(&client, server, "GET /events HTTP/1.0\r\n\r\n");
        assert_contains(client.answer, "Content-Type: text/event-stream\r\n");
        assert_contains(client.answer, "Cache-Control: no-store\r\n");
        assert_contains(client.answer, "\r\n\r\ndata: one\n\nevent: e\nid: 1\ndata: two\n"
                                       "data: lines\ndata: or\ndata: four\n\ndata: \n\n");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

static int sums(struct async_http_request *request)
{
    static const char *const refused[] = {"Content-Length",
                                          "transfer-encoding",
                                          "Host",
                                          "Trailer",
                                          "Connection",
                                          "Set-Cookie",
                                          "Content-Type",
                                          "if-none-match",
                                          "TE",
                                          "a b",
                                          ""};
    const char *length = async_http_query(request, "length");

    for (size_t i = 0; i < COUNT(refused); i++)
        assert_int_equal(async_http_set_trailer(request, refused[i], "1"), -EINVAL);
    assert_int_equal(async_http_set_trailer(request, NULL, "1"), -EINVAL);
    assert_int_equal(async_http_set_trailer(request, "X", "a\r\nB: c"), -EINVAL);
    assert_int_equal(async_http_set_trailer(NULL, "X", "1"), -EBADF);
    assert_int_equal(async_http_set_trailer(request, "X-Gone", "1"), 0);
    assert_int_equal(async_http_set_trailer(request, "x-gone", NULL), 0);
    assert_int_equal(async_http_set_trailer(request, "X-Sum", "unknown"), 0);
    assert_int_equal(async_http_set_trailer(request, "X-Ok", "yes"), 0);
    if (async_http_query(request, "gzip")) async_http_enable_compression(request);
    async_http_respond_begin(request, 200, "text/plain", length ? atoi(length) : -1);
    static char text[6000];
    size_t size = async_http_query(request, "large") ? sizeof text : 4;
    async_http_respond_write(request, memset(text, 'x', sizeof text), size);
    assert_int_equal(async_http_set_trailer(request, "x-sum", "7"), 0);
    assert_int_equal(async_http_set_trailer(request, "X-Late", "1"), 0);
    assert_int_equal(async_http_respond_end(request), 0);
    assert_int_equal(async_http_set_trailer(request, "X-Sum", "8"), -EALREADY);
    return 0;
}

static int fails_with_trailer(struct async_http_request *request)
{
    async_http_set_trailer(request, "X-Sum", "7");
    return -EIO;
}

static int sends_trailers(void *unused)
{
    static const char end[] = "\r\n0\r\nX-Ok: yes\r\nx-sum: 7\r\nX-Late: 1\r\n\r\nHTTP/1.1 404";

    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/", sums);
        async_http_route(server, "GET", "/fails", fails_with_trailer);
        ask(&client, server, "GET / HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "\r\nTrailer: X-Sum, X-Ok\r\n");
        assert_contains(client.answer, "\r\n\r\n4\r\nxxxx");
        assert_contains(client.answer, end);
        ask(&client, server, "GET /?large=1 HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, end);
        ask(&client, server, "GET /?gzip=1 HTTP/1.1\r\nAccept-Encoding: gzip\r\n" END NEXT);
        assert_contains(client.answer, "\r\nTrailer: X-Sum, X-Ok\r\n");
        assert_non_null(memmem(client.answer, client.size, end, sizeof end - 1));
        assert_int_equal(told_count, 0);
        /* There is no place for them. */
        static const char *const without[] = {"HEAD / HTTP/1.1\r\n" END, "GET / HTTP/1.0\r\n" END,
                                              "GET /?length=4 HTTP/1.1\r\n" END};
        for (size_t i = 0; i < COUNT(without); i++) {
            ask_bytes(&client, server, without[i], strlen(without[i]));
            assert_contains(client.answer, "HTTP/1.1 200 OK\r\n");
            assert_lacks(client.answer, "railer");
            assert_lacks(client.answer, "X-Ok");
        }
        ask(&client, server, "GET /fails HTTP/1.1\r\n" END NEXT);
        assert_contains(client.answer, "HTTP/1.1 500 ");
        assert_lacks(client.answer, "X-Sum");
        assert_int_equal(told_count, 1);
    }
    return async_block_error();
}

/* ---- upgrades ---- */

static int talks(struct async_http_request *request)
{
    char line[32];

    async_http_set_header(request, "X-A", "b");
    async_stream *stream = async_http_upgrade(request, "talk");
    if (!stream) {
        note("%s", async_error_name(async_error_code()));
        return async_http_respond_text(request, 200, "no upgrade");
    }
    assert_null(async_http_upgrade(request, "talk"));
    ssize_t got = async_stream_readline(stream, line, sizeof line);
    if (got < 0) return (int)got;
    return async_stream_printf(stream, "you said %s", line);
}

static int leaves_http(void *unused)
{
    static const char head[] =
        "GET / HTTP/1.1\r\n" HOST "Connection: keep-alive, Upgrade\r\nUpgrade: x, talk\r\n\r\n";
    WITH_SERVER (server, .on_error = tell) {
        async_http_route(server, "GET", "/", talks);
        client_open(&client, server);
        client_send(&client, head, sizeof head - 1);
        assert_string_equal(client_read_for(&client, 1),
                            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                            "Upgrade: talk\r\nX-A: b\r\n\r\n");
        client_send(&client, "hello\n", 6);
        assert_string_equal(client_read(&client), "you said hello\n");
        client_close(&client);

        assert_contains(ask(&client, server, "GET / HTTP/1.1\r\n" END), "no upgrade");
        ask(&client, server, "GET / HTTP/1.1\r\n" HOST "Upgrade: talk\r\n\r\n");
        assert_contains(client.answer, "no upgrade");
        ask(&client, server,
            "GET / HTTP/1.0\r\n" HOST "Connection: Upgrade\r\nUpgrade: talk\r\n\r\n");
        assert_contains(client.answer, "no upgrade");
        assert_notes("EINVAL EINVAL EINVAL ");
        /* Data before the answer. */
        client_open(&client, server);
        char early[256];
        int size = snprintf(early, sizeof early, "%shello\n", head);
        client_send(&client, early, (size_t)size);
        assert_contains(client_read_for(&client, 1), "no upgrade");
        client_close(&client);
        assert_notes("ASYNC_EHTTP ");
    }
    assert_int_equal(told_count, 0);
    return async_block_error();
}

/* ---- the access log ---- */

static char logged[2048];

static void log_access(const async_http_access *access, void *data)
{
    char line[1024];

    assert_string_equal(data, "data");
    int size = async_http_common_log(line, sizeof line, access);
    assert_int_equal(size, strlen(line));
    char small[10];
    assert_int_equal(async_http_common_log(small, sizeof small, access), size);
    assert_int_equal(strlen(small), sizeof small - 1);
    assert_int_equal(async_http_common_log(NULL, 0, access), size);
    strcat(strcat(logged, strchr(line, ']')), "\n");
}

static int logs(void *unused)
{
    WITH_SERVER (server, .access_log = log_access, .data = "data") {
        async_http_route(server, "GET", "/", unread);
        logged[0] = '\0';
        ask(&client, server,
            "GET / HTTP/1.1\r\n" HOST "Referer: \"a\\\r\nUser-Agent: b\xff\r\n\r\n"
            "GET /x HTTP/1.1\r\n" END "HEAD / HTTP/1.1\r\n" END "bad\r\n");
        assert_string_equal(logged, "] \"GET / HTTP/1.1\" 200 6 \"\\x22a\\x5C\" \"b\\xFF\"\n"
                                    "] \"GET /x HTTP/1.1\" 404 14 \"-\" \"-\"\n"
                                    "] \"HEAD / HTTP/1.1\" 200 0 \"-\" \"-\"\n"
                                    "] \"-\" 400 16 \"-\" \"-\"\n");
    }
    return async_block_error();
}

TEST(finds_routes)
TEST(refuses_patterns)
TEST(runs_middlewares)
TEST(answers_for_handlers)
TEST(keeps_headers_apart)
TEST(gives_what_came)
TEST(reads_bodies)
TEST(expects_to_go_on)
TEST(streams_answers)
TEST(sends_trailers)
TEST(leaves_http)
TEST(logs)

static int setup(void **state)
{
    (void)state;
    told_count = 0;
    told[0] = '\0';
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_finds_routes, setup),
        cmocka_unit_test_setup(test_refuses_patterns, setup),
        cmocka_unit_test_setup(test_runs_middlewares, setup),
        cmocka_unit_test_setup(test_answers_for_handlers, setup),
        cmocka_unit_test_setup(test_keeps_headers_apart, setup),
        cmocka_unit_test_setup(test_gives_what_came, setup),
        cmocka_unit_test_setup(test_reads_bodies, setup),
        cmocka_unit_test_setup(test_expects_to_go_on, setup),
        cmocka_unit_test_setup(test_streams_answers, setup),
        cmocka_unit_test_setup(test_sends_trailers, setup),
        cmocka_unit_test_setup(test_leaves_http, setup),
        cmocka_unit_test_setup(test_logs, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
