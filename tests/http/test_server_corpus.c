/* Requests that are malformed or odd, and the right answer to each: all of them at once, byte by
 * byte, and after a pause at each byte. */
#include "server_test.h"
#include "server_corpus.h"

static int reply(struct async_http_request *request)
{
    size_t size;

    if (!async_http_request_read(request, &size)) return async_error_code();
    return async_http_respond_text(request, 200, "%s %s %zu|", async_http_request_method(request),
                                   async_http_request_target(request), size);
}

/* "200 GET / 0; 400" of what came. */
static const char *sum_up(const char *answer)
{
    static char text[2048];
    size_t used = 0;

    text[0] = '\0';
    for (const char *at = answer; (at = strstr(at, "HTTP/1.1 ")); at++) {
        int status = atoi(at + 9);
        if (status == 100) continue;
        const char *body = strstr(at, "\r\n\r\n");
        assert_non_null(body);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", used ? "; " : "", status);
        if (status == 200)
            used += (size_t)snprintf(text + used, sizeof text - used, " %.*s",
                                     (int)strcspn(body + 4, "|"), body + 4);
    }
    return text;
}

static int failures;

static void expect(const char *name, const char *way, const char *answer, const char *answers)
{
    const char *got = sum_up(answer);

    if (strcmp(got, answers) == 0) return;
    print_error("%s, %s: is answered with \"%s\", not with \"%s\"\n", name, way, got, answers);
    failures++;
}

static async_http_server *new_server(void)
{
    async_http_server *server =
        async_http_server_new(&(async_http_server_options){.on_error = tell, .no_http2 = true});
    assert_non_null(server);
    assert_int_equal(async_http_route(server, NULL, "/{path...}", reply), 0);
    return server;
}

static struct client client;

static int at_once(void *unused)
{
    async_http_server *server = new_server();

    failures = 0;
    for (size_t i = 0; i < COUNT(odd_requests); i++) {
        const struct odd_request *odd = &odd_requests[i];
        expect(odd->name, "at once", ask_bytes(&client, server, odd->bytes, odd->size),
               odd->answers);
    }
    assert_int_equal(failures, 0);
    assert_int_equal(told_count, 0); /* what a client does is no failure of a handler */
    assert_int_equal(async_http_server_connections(server), 0);
    print_message("%zu requests\n", COUNT(odd_requests));
    async_http_server_free(server);
    return 0;
}

/* A read never gets more than `most` bytes. */
static int in_pieces(void *unused)
{
    async_http_server *server = new_server();

    failures = 0;
    for (size_t i = 0; i < COUNT(odd_requests); i++)
        for (size_t most = 1; most <= 7; most += 3) {
            const struct odd_request *odd = &odd_requests[i];
            client_open_with(&client, server, &(async_pair_options){.max_read = most});
            client_send(&client, odd->bytes, odd->size);
            async_stream_write_eof(client.ends[1]);
            client_read(&client);
            assert_int_equal(client_close(&client), 0);
            expect(odd->name, "in pieces", client.answer, odd->answers);
        }
    assert_int_equal(failures, 0);
    async_http_server_free(server);
    return 0;
}

/* The client leaves, or resets the connection, behind each byte: nothing remains, and nothing is told. */
static int leaves_at_each_byte(void *unused)
{
    async_http_server *server = new_server();
    static const char bytes[] =
        CHUNKED "3;x\r\nabc\r\n0\r\nX: 1\r\n\r\n" POST "Content-Length: 3\r\n\r\nabc";

    for (size_t size = 0; size < sizeof bytes; size++)
        for (int reset = 0; reset < 2; reset++) {
            client_open(&client, server);
            client_send(&client, bytes, size);
            async_sleep(1);
            if (!reset) {
                async_stream_write_eof(client.ends[1]);
                client_read(&client);
            }
            assert_int_equal(client_close(&client), 0);
            assert_int_equal(async_http_server_connections(server), 0);
        }
    assert_int_equal(told_count, 0);
    async_http_server_free(server);
    return 0;
}

/* ---- each byte at a place: what is not allowed there is refused ---- */

static bool is_token(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_field(int c) { return c == '\t' || (c >= ' ' && c != 127); }

static bool is_target(int c) { return c > ' ' && c < 127 && c != '#' && c != '%'; }

static void at_place(async_http_server *server, const char *before, int c, const char *behind,
                     const char *answers)
{
    char bytes[256];
    size_t size = (size_t)snprintf(bytes, sizeof bytes, "%s", before);

    bytes[size++] = (char)c;
    size += (size_t)snprintf(bytes + size, sizeof bytes - size, "%s", behind);
    char name[64];
    snprintf(name, sizeof name, "%s<%02x>", before + (strlen(before) > 8 ? strlen(before) - 8 : 0),
             (unsigned)c);
    const char *got = sum_up(ask_bytes(&client, server, bytes, size));
    if (answers ? strcmp(got, answers) == 0 : strncmp(got, "200", 3) == 0) return;
    print_error("%s is answered with \"%s\"\n", name, got);
    failures++;
}

static int each_byte(void *unused)
{
    async_http_server *server = new_server();

    failures = 0;
    for (int c = 0; c < 256; c++) {
        at_place(server, GET "X", c, "Y: 1\r\n\r\n" NEXT,
                 is_token(c) || c == ':' ? GOT THEN : "400");
        at_place(server, GET "X: a", c, "b\r\n\r\n" NEXT, is_field(c) ? GOT THEN : "400");
        at_place(server, "GET /?", c, "x HTTP/1.1\r\n" HOST "\r\n",
                 is_target(c) || c == '%' ? NULL : "400");
        at_place(server, "GET / HTTP/1.", c, "\r\n" HOST "\r\n" NEXT,
                 c == '1'               ? GOT THEN
                 : c == '0'             ? GOT
                 : c >= '2' && c <= '9' ? "505"
                                        : "400");
        if (c == '\t') continue; /* llhttp's versions differ, and to refuse it is right as well */
        at_place(server, POST "Content-Length: 1", c, "\r\n\r\nabcdefghijklmnopqrstuvwxyz",
                 (c >= '0' && c <= '9') || c == ' ' ? NULL : "400");
        at_place(server, POST "Transfer-Encoding: chunked", c, "\r\n\r\n0\r\n\r\n" NEXT,
                 c == ' ' ? "200 POST / 0" THEN : "400");
        if (!c || !strchr("123456789abcdefABCDEF", c))
            at_place(server, CHUNKED "0", c, "\r\n\r\n" NEXT,
                     c == '0' || c == ';' ? "200 POST / 0" THEN : "400");
    }
    assert_int_equal(failures, 0);
    async_http_server_free(server);
    return 0;
}

TEST(at_once)
TEST(in_pieces)
TEST(leaves_at_each_byte)
TEST(each_byte)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_once),
        cmocka_unit_test(test_in_pieces),
        cmocka_unit_test(test_leaves_at_each_byte),
        cmocka_unit_test(test_each_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
