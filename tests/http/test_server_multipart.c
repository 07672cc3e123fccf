/* Forms with files: what is taken, what is refused, limits, and a file that is saved; at once and in pieces
 * of every size. */
#include "server_test.h"

#define B "--b\r\n"
#define PART(name) B "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"

static struct client client;
static char directory[] = "/tmp/casyncio-parts-XXXXXX";

/* "name[filename type]=value|" of each part. */
static int list_parts(struct async_http_request *request)
{
    char text[8000];
    size_t used = 0;
    async_http_part part;
    int code;

    async_http_set_max_body(request, 1000000);
    while ((code = async_http_next_part(request, &part)) > 0) {
        size_t size = 0;
        const char *value = async_http_part_read(request, &size);
        if (!value) return async_error_code();
        used += (size_t)snprintf(text + used, sizeof text - used, "%s[%s %s]=%s:%zu|", part.name,
                                 part.filename ? part.filename : "-",
                                 part.content_type ? part.content_type : "-",
                                 size < 100 ? value : "", size);
    }
    if (code < 0) return code;
    assert_int_equal(async_http_next_part(request, &part), 0);
    return async_http_respond(request, 200, "text/plain", text, used);
}

static int save(struct async_http_request *request)
{
    char path[100];
    async_http_part part;
    int64_t size = 0;
    int code;

    async_http_set_max_body(request, 10000000);
    snprintf(path, sizeof path, "%s/file", directory);
    while ((code = async_http_next_part(request, &part)) > 0)
        if (part.filename && (size = async_http_part_save(request, path)) < 0) return (int)size;
    return code < 0 ? code : async_http_respond_text(request, 200, "%lld", (long long)size);
}

static int names(struct async_http_request *request)
{
    async_http_part part;
    int code, count = 0;

    while ((code = async_http_next_part(request, &part)) > 0)
        count += async_http_part_recv(request, &(char){0}, 1) == 1; /* and leaves the rest of it */
    return code < 0 ? code : async_http_respond_text(request, 200, "%d", count);
}

static async_http_server *new_server(void)
{
    async_http_server *server =
        async_http_server_new(&(async_http_server_options){.on_error = tell, .max_parts = 5});
    async_http_route(server, "POST", "/", list_parts);
    async_http_route(server, "POST", "/save", save);
    async_http_route(server, "POST", "/names", names);
    told_count = 0;
    return server;
}

static const char *post(async_http_server *server, const char *path, const char *type,
                        const char *body, size_t size, size_t max_read)
{
    char head[500];
    int head_size = snprintf(head, sizeof head,
                             "POST %s HTTP/1.0\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                             path, type, size);

    client_open_with(&client, server, &(async_pair_options){.max_read = max_read});
    client_send(&client, head, (size_t)head_size);
    client_send(&client, body, size);
    async_stream_write_eof(client.ends[1]);
    client_read(&client);
    client_close(&client);
    const char *answer = strstr(client.answer, "\r\n\r\n");
    return strstr(client.answer, " 200 ") && answer ? answer + 4 : client.answer + 9;
}

#define TYPE "multipart/form-data; boundary=b"

static const struct {
    const char *type, *body, *answer; /* of which the beginning counts */
} cases[] = {
    {TYPE, PART("a") "1\r\n--b--\r\n", "a[- -]=1:1|"},
    {TYPE, PART("a") "\r\n--b--", "a[- -]=:0|"},
    {TYPE, PART("a") "1\r\n" PART("b") "\r\n2\r\n\r\n--b--\r\nepilogue",
     "a[- -]=1:1|b[- -]=\r\n2\r\n:5|"},
    {TYPE, "preamble\r\n" PART("a") "1\r\n--b--", "a[- -]=1:1|"},
    {TYPE, "--b--\r\n", ""},
    {TYPE, "--b \t\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--", "a[- -]=1:1|"},
    {TYPE, PART("a") "--b\r--b\n--b\r\n-b\r\n--b--", "a[- -]=--b\r--b\n--b\r\n-b:15|"},
    {"Multipart/Form-Data ; charset=utf-8; BOUNDARY=\"b\"", PART("a") "1\r\n--b--", "a[- -]=1:1|"},
    {TYPE,
     B "content-type: image/png\r\nContent-Disposition: form-data; filename=\"a \\\"b\\\" "
       "C:\\x.png\"; "
       "name=\"f\"\r\nX: y\r\n\r\n1\r\n--b--",
     "f[a \"b\" C:\\x.png image/png]=1:1|"},
    {TYPE, B "Content-Disposition: form-data; name=\"a\"; filename=\"\"\r\n\r\n\r\n--b--",
     "a[ -]=:0|"},
    /* ---- not well ---- */
    {TYPE, "", "400"},
    {TYPE, "no delimiter", "400"},
    {TYPE, PART("a") "1", "400"},
    {TYPE, PART("a") "1\r\n--b", "400"},
    {TYPE, PART("a") "1\r\n--bx\r\n", "400"},
    {TYPE, PART("a") "1\n--b--\r\n", "400"},
    {TYPE, B "Content-Disposition: form-data; name=\"a\"\r\n", "400"},
    {TYPE, B "\r\n1\r\n--b--", "400"},
    {TYPE, B "Content-Disposition: form-data\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "Content-Disposition: attachment; name=\"a\"\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "Content-Disposition: form-data; name=\"a\"; name=\"b\"\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "Content-Disposition: form-data; name=\"a\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "Content-Disposition: form-data; name\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "Content-Disposition: form-data; name=\"a\rb\"\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "no colon\r\n\r\n1\r\n--b--", "400"},
    {TYPE, B "a b: c\r\n\r\n1\r\n--b--", "400"},
    {TYPE,
     PART("a") "1\r\n" B "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: "
               "base64\r\n\r\nMQ==\r\n--b--",
     "400"},
    {TYPE,
     PART("1") "\r\n" PART("2") "\r\n" PART("3") "\r\n" PART("4") "\r\n" PART("5") "\r\n" PART("6"),
     "413"},
    {"multipart/form-data", PART("a") "1\r\n--b--", "400"},
    {"multipart/form-data; boundary=", PART("a") "1\r\n--b--", "400"},
    {"multipart/form-data; boundary=b; boundary=b", PART("a") "1\r\n--b--", "400"},
    {"multipart/form-data; boundary=\"b", PART("a") "1\r\n--b--", "400"},
    {"multipart/mixed; boundary=b", PART("a") "1\r\n--b--", "400"},
    {"multipart/form-data; boundary="
     "12345678901234567890123456789012345678901234567890123456789012345678901",
     "", "400"},
    {"application/x-www-form-urlencoded", "a=b", "400"},
};

static int forms(void *unused)
{
    async_http_server *server = new_server();

    (void)unused;
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t max_read = 0; max_read < 20; max_read++) {
            const char *got =
                post(server, "/", cases[i].type, cases[i].body, strlen(cases[i].body), max_read);
            if (strncmp(got, cases[i].answer, strlen(cases[i].answer)) != 0 ||
                (!*cases[i].answer && *got))
                fail_msg("%zu, %zu: %s", i, max_read, client.answer);
        }
    assert_int_equal(told_count, 0);
    async_http_server_free(server);
    return 0;
}

static int large(void *unused)
{
    static char body[3000000];
    async_http_server *server = new_server();
    char path[100];

    (void)unused;
    size_t size =
        (size_t)sprintf(body, PART("a") "1\r\n" B "Content-Disposition: form-data; name=\"f\"; "
                                        "filename=\"x\"\r\n\r\n");
    size_t from = size;
    for (; size < from + 2500000; size++)
        body[size] = (char)((size * 2654435761u) >> 13);
    memcpy(body + size, "\r\n--b--\r\n", 9);
    assert_string_equal(post(server, "/save", TYPE, body, size + 9, 5000), "2500000");
    snprintf(path, sizeof path, "%s/file", directory);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    static char saved[2500001];
    assert_int_equal(fread(saved, 1, sizeof saved, file), 2500000);
    fclose(file);
    unlink(path);
    assert_memory_equal(saved, body + from, 2500000);
    assert_memory_equal(post(server, "/names", TYPE, body, size + 9, 0), "413", 3);
    static const char two[] = PART("a") "1\r\n" PART("b") "2\r\n--b--";
    assert_string_equal(post(server, "/names", TYPE, two, sizeof two - 1, 0), "2");
    /* A head that is too large. */
    size = (size_t)sprintf(body, B "X: ");
    memset(body + size, 'x', 20000);
    assert_memory_equal(post(server, "/", TYPE, body, size + 20000, 0), "413", 3);
    assert_int_equal(told_count, 0);
    async_http_server_free(server);
    return 0;
}

TEST(forms)
TEST(large)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_large),
    };
    assert_non_null(mkdtemp(directory));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(directory);
    return failed;
}
