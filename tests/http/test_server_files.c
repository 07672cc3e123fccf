/* Files as answers: conditions, ranges, and a directory that nothing gets out of. */
#include "server_test.h"

#include <fcntl.h>
#include <sys/stat.h>

#define HOST "Host: a\r\n"
#define END HOST "\r\n"

static struct client client;
static char top[64];

static const char *in_top(const char *name)
{
    static char paths[4][200];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", top, name);
    return path;
}

static void put_file(const char *name, const char *text)
{
    FILE *file = fopen(in_top(name), "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* 2001-02-03 04:05:06 */
static void set_time(const char *name)
{
    struct timespec times[2] = {{.tv_sec = 981173106}, {.tv_sec = 981173106}};
    assert_int_equal(utimensat(AT_FDCWD, in_top(name), times, 0), 0);
}

static int make_files(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/casyncio-files-XXXXXX");
    assert_non_null(mkdtemp(top));
    assert_int_equal(mkdir(in_top("www"), 0755), 0);
    assert_int_equal(mkdir(in_top("www/sub"), 0755), 0);
    assert_int_equal(mkdir(in_top("www/empty"), 0755), 0);
    put_file("secret", "secret");
    put_file("www/ten.txt", "0123456789");
    put_file("www/empty.css", "");
    put_file("www/a b.html", "<p>");
    put_file("www/sub/index.html", "index");
    put_file("www/sub/deep.JS", "deep");
    set_time("www/ten.txt");
    assert_int_equal(symlink("../secret", in_top("www/link")), 0);
    assert_int_equal(symlink("ten.txt", in_top("www/inside")), 0);
    assert_int_equal(symlink("/", in_top("www/root")), 0);
    assert_int_equal(symlink("..", in_top("www/up")), 0);
    assert_int_equal(mkfifo(in_top("www/fifo"), 0644), 0);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", top);
    return system(command);
}

static async_http_server *new_server(void)
{
    async_http_server *server =
        async_http_server_new(&(async_http_server_options){.on_error = tell});
    assert_non_null(server);
    assert_int_equal(async_http_static(server, "/s/", in_top("www")), 0);
    return server;
}

static const char *get_with(async_http_server *server, const char *target, const char *headers)
{
    char text[1024];
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "%s\r\n", target, headers);
    return ask_bytes(&client, server, text, (size_t)size);
}

static void expect(const char *status, const char *body)
{
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    assert_contains(client.answer, line);
    const char *at = strstr(client.answer, "\r\n\r\n");
    assert_non_null(at);
    if (body) assert_string_equal(at + 4, body);
}

static int serves_a_directory(void *unused)
{
    static const char *const missing[] = {
        "/s/none", "/s/sub", "/s/empty", "/s/empty/", "/s/sub/none", "/s/ten.txt/", "/s/ten.txt/x",
        "/s/sub//deep.JS", "/s//ten.txt", "/s/fifo",
        /* out of it */
        "/s/../secret", "/s/..", "/s/../", "/s/sub/../../secret", "/s/sub/../ten.txt",
        "/s/./ten.txt", "/s/%2e%2e/secret", "/s/%2e%2e%2fsecret", "/s/..%2fsecret",
        "/s/..%5csecret", "/s/....//secret", "/s/..;/secret", "/s/%252e%252e/secret",
        "/s/%2fetc/passwd", "/s//etc/passwd", "/s/%c0%ae%c0%ae/secret", "/s/...", "/s/.",
        /* by links */
        "/s/link", "/s/inside", "/s/root/etc/passwd", "/s/up/secret", "/s/up/www/ten.txt",
        "/s/root", "/s/up/"};
    async_http_server *server = new_server();

    get_with(server, "/s/ten.txt", "");
    expect("200", "0123456789");
    assert_contains(client.answer, "\r\nContent-Type: text/plain; charset=utf-8\r\n");
    assert_contains(client.answer, "\r\nContent-Length: 10\r\n");
    assert_contains(client.answer, "\r\nLast-Modified: Sat, 03 Feb 2001 04:05:06 GMT\r\n");
    assert_contains(client.answer, "\r\nAccept-Ranges: bytes\r\n");
    assert_contains(client.answer, "\r\nETag: \"3a7b8372.0-a\"\r\n");
    get_with(server, "/s/empty.css", "");
    expect("200", "");
    get_with(server, "/s/a%20b.html?x=/../secret", "");
    expect("200", "<p>");
    get_with(server, "/s/sub/", "");
    expect("200", "index");
    assert_contains(client.answer, "\r\nContent-Type: text/html; charset=utf-8\r\n");
    get_with(server, "/s/sub/deep.JS", "");
    expect("200", "deep");
    assert_contains(client.answer, "\r\nContent-Type: text/javascript; charset=utf-8\r\n");
    for (size_t i = 0; i < COUNT(missing); i++) {
        get_with(server, missing[i], "");
        if (!strstr(client.answer, "HTTP/1.1 404 ")) print_error("%s\n", missing[i]);
        expect("404", "404 Not Found\n");
    }
    assert_contains(get_with(server, "/s/a%00b", ""), "HTTP/1.1 400 ");
    char name[400];
    memset(name, 'a', sizeof name);
    memcpy(name, "/s/", 3);
    name[399] = '\0';
    get_with(server, name, "");
    expect("404", NULL);
    ask(&client, server, "HEAD /s/ten.txt HTTP/1.1\r\n" END "HEAD /s/none HTTP/1.1\r\n" END);
    assert_contains(client.answer, "\r\nContent-Length: 10\r\n");
    assert_contains(client.answer, "HTTP/1.1 404 ");
    assert_lacks(client.answer, "0123");
    assert_contains(ask(&client, server, "POST /s/ten.txt HTTP/1.1\r\n" END), "HTTP/1.1 405 ");
    assert_int_equal(told_count, 0);
    async_http_server_free(server);
    return 0;
}

static int judges_conditions(void *unused)
{
#define TAG "\"3a7b8372.0-a\""
    static const struct {
        const char *headers, *status;
    } cases[] = {
        {"If-None-Match: " TAG, "304"},
        {"If-None-Match: W/" TAG, "304"},
        {"If-None-Match: *", "304"},
        {"If-None-Match: \"x\", " TAG, "304"},
        {"If-None-Match: \"x\" , W/\"y\",,\"3a7b8372.0-a\"", "304"},
        {"If-None-Match: \"x\"", "200"},
        {"If-None-Match: 3a7b8372.0-a", "200"},
        {"If-None-Match: \"3a7b8372.0-a", "200"},
        {"If-None-Match:", "200"},
        {"If-Modified-Since: Sat, 03 Feb 2001 04:05:06 GMT", "304"},
        {"If-Modified-Since: Saturday, 03-Feb-01 04:05:06 GMT", "304"},
        {"If-Modified-Since: Sat Feb  3 04:05:06 2001", "304"},
        {"If-Modified-Since: Sat, 03 Feb 2001 04:05:07 GMT", "304"},
        {"If-Modified-Since: Sat, 03 Feb 2001 04:05:05 GMT", "200"},
        {"If-Modified-Since: Sat, 03 Xyz 2001 04:05:07 GMT", "200"},
        {"If-Modified-Since: Sat, 03 anF 2001 04:05:07 GMT", "200"},
        {"If-Modified-Since: Sat, 03 Feb 2001 04:05:07 GMT; length=10", "200"},
        {"If-Modified-Since: yesterday", "200"},
        {"If-None-Match: \"x\"\r\nIf-Modified-Since: Sat, 03 Feb 2001 04:05:06 GMT", "200"},
        {"If-Match: " TAG, "200"},
        {"If-Match: *", "200"},
        {"If-Match: W/" TAG, "412"},
        {"If-Match: \"x\"", "412"},
        {"If-Unmodified-Since: Sat, 03 Feb 2001 04:05:06 GMT", "200"},
        {"If-Unmodified-Since: Sat, 03 Feb 2001 04:05:05 GMT", "412"},
        {"If-Match: " TAG "\r\nIf-None-Match: " TAG, "304"},
    };
    async_http_server *server = new_server();

    for (size_t i = 0; i < COUNT(cases); i++) {
        char headers[256];
        snprintf(headers, sizeof headers, "%s\r\n", cases[i].headers);
        get_with(server, "/s/ten.txt", headers);
        char line[32];
        snprintf(line, sizeof line, "HTTP/1.1 %s ", cases[i].status);
        if (!strstr(client.answer, line)) print_error("%s\n", cases[i].headers);
        expect(cases[i].status, strcmp(cases[i].status, "200") == 0   ? "0123456789"
                                : strcmp(cases[i].status, "304") == 0 ? ""
                                                                      : NULL);
    }
    async_http_server_free(server);
    return 0;
}

static int sends_ranges(void *unused)
{
    static const struct {
        const char *headers, *status, *range, *body;
    } cases[] = {
        {"Range: bytes=0-0", "206", "bytes 0-0/10", "0"},
        {"Range: bytes=2-4", "206", "bytes 2-4/10", "234"},
        {"Range: bytes=8-", "206", "bytes 8-9/10", "89"},
        {"Range: bytes=8-99", "206", "bytes 8-9/10", "89"},
        {"Range: bytes=-3", "206", "bytes 7-9/10", "789"},
        {"Range: bytes=-99", "206", "bytes 0-9/10", "0123456789"},
        {"Range: BYTES=1-1", "206", "bytes 1-1/10", "1"},
        {"Range: bytes=0-99999999999999999999999999", "206", "bytes 0-9/10", "0123456789"},
        {"Range: bytes=10-", "416", "bytes */10", NULL},
        {"Range: bytes=99-100", "416", "bytes */10", NULL},
        {"Range: bytes=-0", "416", "bytes */10", NULL},
        {"Range: bytes=18446744073709551616-", "416", "bytes */10", NULL},
        {"Range: bytes=4-2", "200", NULL, "0123456789"},
        {"Range: bytes=-", "200", NULL, "0123456789"},
        {"Range: bytes=", "200", NULL, "0123456789"},
        {"Range: bytes", "200", NULL, "0123456789"},
        {"Range: lines=1-2", "200", NULL, "0123456789"},
        {"Range: bytes=1-2,4-5", "200", NULL, "0123456789"},
        {"Range: bytes=1-2x", "200", NULL, "0123456789"},
        {"Range: bytes=a-b", "200", NULL, "0123456789"},
        {"Range: bytes=--1", "200", NULL, "0123456789"},
        {"Range: bytes=1-2\r\nIf-Range: " TAG, "206", "bytes 1-2/10", "12"},
        {"Range: bytes=1-2\r\nIf-Range: \"x\"", "200", NULL, "0123456789"},
        {"Range: bytes=1-2\r\nIf-Range: W/" TAG, "200", NULL, "0123456789"},
        {"Range: bytes=1-2\r\nIf-Range: Sat, 03 Feb 2001 04:05:06 GMT", "206", "bytes 1-2/10",
         "12"},
        {"Range: bytes=1-2\r\nIf-Range: Sat, 03 Feb 2001 04:05:07 GMT", "200", NULL, "0123456789"},
    };
    async_http_server *server = new_server();

    for (size_t i = 0; i < COUNT(cases); i++) {
        char headers[256], line[100];
        snprintf(headers, sizeof headers, "%s\r\n", cases[i].headers);
        get_with(server, "/s/ten.txt", headers);
        snprintf(line, sizeof line, "HTTP/1.1 %s ", cases[i].status);
        if (!strstr(client.answer, line)) print_error("%s\n", cases[i].headers);
        expect(cases[i].status, cases[i].body);
        snprintf(line, sizeof line, "\r\nContent-Range: %s\r\n",
                 cases[i].range ? cases[i].range : "");
        if (cases[i].range) assert_contains(client.answer, line);
        if (!cases[i].range) assert_lacks(client.answer, "Content-Range");
    }
    get_with(server, "/s/empty.css", "Range: bytes=0-\r\n");
    expect("416", NULL);
    async_http_server_free(server);
    return 0;
}

static int one_file(struct async_http_request *request, const char *path)
{
    return async_http_respond_file(request, path, NULL);
}

static int sends_a_file(void *unused)
{
    async_http_server *server = new_server();
    char good[200], link[200], gone[200], directory[200];

    snprintf(good, sizeof good, "%s", in_top("www/ten.txt"));
    snprintf(link, sizeof link, "%s", in_top("www/link"));
    snprintf(gone, sizeof gone, "%s", in_top("www/gone"));
    snprintf(directory, sizeof directory, "%s", in_top("www"));
    async_http_route(server, NULL, "/good", one_file, good);
    async_http_route(server, "GET", "/link", one_file, link);
    async_http_route(server, "GET", "/gone", one_file, gone);
    async_http_route(server, "GET", "/directory", one_file, directory);
    get_with(server, "/good", "");
    expect("200", "0123456789");
    get_with(server, "/link", ""); /* the program's path is opened as it is */
    expect("200", "secret");
    get_with(server, "/gone", "");
    expect("404", NULL);
    get_with(server, "/directory", "");
    expect("404", NULL);
    assert_contains(ask(&client, server, "PUT /good HTTP/1.1\r\n" END), "HTTP/1.1 405 ");
    assert_contains(client.answer, "\r\nAllow: GET, HEAD\r\n");
    assert_int_equal(async_http_static(server, "/t", top), -EINVAL);
    assert_int_equal(async_http_static(server, "t/", top), -EINVAL);
    assert_int_equal(async_http_static(server, "", top), -EINVAL);
    assert_int_equal(async_http_static(server, "/t/", gone), -ENOENT);
    assert_int_equal(async_http_static(server, "/t/", good), -ENOTDIR);
    assert_int_equal(async_http_static(server, "/s/", top), -EEXIST);
    assert_int_equal(async_http_static(NULL, "/s/", top), -EBADF);
    assert_int_equal(async_http_static(server, "/s/", NULL), -EBADF);
    assert_int_equal(async_block_error(), -EINVAL);
    assert_int_equal(told_count, 0);
    async_http_server_free(server);
    return 0;
}

/* A large file, and one that becomes shorter while it is sent. */
static int sends_much(void *unused)
{
    async_http_server *server = new_server();
    static char piece[65536];
    size_t total;
    ssize_t got;

    for (int cut = 0; cut < 2; cut++) {
        FILE *file = fopen(in_top("www/large"), "w");
        for (int i = 0; i < 1000; i++)
            fprintf(file, "%9999d\n", i);
        fclose(file);
        total = 0;
        client_open(&client, server);
        client_send(&client, "GET /s/large HTTP/1.0\r\n\r\n", 25);
        do {
            got = async_stream_read(client.ends[1], piece, sizeof piece);
            assert_true(got >= 0);
            total += (size_t)got;
            if (cut && total > 1000000) assert_int_equal(truncate(in_top("www/large"), 500000), 0);
        } while (got > 0);
        if (cut)
            assert_true(total < 9000000);
        else
            assert_true(total > 10000000);
        client_close(&client);
    }
    async_http_server_free(server);
    return 0;
}

TEST(serves_a_directory)
TEST(judges_conditions)
TEST(sends_ranges)
TEST(sends_a_file)
TEST(sends_much)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves_a_directory), cmocka_unit_test(test_judges_conditions),
        cmocka_unit_test(test_sends_ranges),       cmocka_unit_test(test_sends_a_file),
        cmocka_unit_test(test_sends_much),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
