/* Content codings: read whole, in however many pieces they come; what is cut off, damaged or followed
 * by junk is an error; and a body that becomes very large is decoded no further than there is room. */
#include "http_test.h"
#include "raw_server.h"

#define HELLO "hello hello hello hello\n"
#define BYTES(name, ...) static const unsigned char name[] = {__VA_ARGS__}
#define GZIP_HELLO                                                                                 \
    31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 72, 205, 201, 201, 87, 200, 64, 39, 185, 0, 0, 136, 89,  \
        11, 24, 0, 0, 0
#define ZSTD_HELLO                                                                                 \
    40, 181, 47, 253, 4, 104, 109, 0, 0, 56, 104, 101, 108, 108, 111, 32, 10, 1, 0, 153, 75, 17,   \
        168, 124, 46, 168

BYTES(gzip_one, GZIP_HELLO);
BYTES(gzip_two, GZIP_HELLO, GZIP_HELLO);
BYTES(gzip_empty_between, GZIP_HELLO, 31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      GZIP_HELLO);
BYTES(zlib, 120, 218, 203, 72, 205, 201, 201, 87, 200, 64, 39, 185, 0, 112, 190, 8, 187);
BYTES(deflated, 203, 72, 205, 201, 201, 87, 200, 64, 39, 185, 0); /* without zlib's header */
BYTES(brotli, 27, 23, 0, 0, 164, 20, 64, 114, 16, 69, 148, 169, 195, 115, 250, 11);
BYTES(zstd_one, ZSTD_HELLO);
BYTES(zstd_two, ZSTD_HELLO, ZSTD_HELLO);
/* By gzip, and the result by deflate. */
BYTES(twice, 120, 156, 147, 239, 230, 96, 0, 1, 38, 230, 211, 30, 103, 79, 158, 12, 63, 225, 160,
      190, 147, 129, 161, 35, 146, 91, 2, 40, 8, 0, 111, 93, 7, 109);
/* 256 MiB of zeros */
BYTES(brotli_bomb, 207, 255, 255, 127, 0, 36, 0, 226, 177, 64, 114, 239, 255, 249, 255, 255, 15,
      128, 4, 64, 28, 22, 128, 238, 253, 63, 255, 255, 255, 1, 144, 0, 136, 195, 2, 208, 189, 255,
      231, 255, 255, 63, 0, 18, 0, 113, 88, 0, 186, 247, 255, 252, 255, 255, 7, 64, 2, 32, 14, 11,
      64, 247, 254, 159, 255, 255, 255, 0, 72, 0, 196, 97, 1, 232, 222, 255, 243, 255, 255, 31, 0,
      9, 128, 56, 44, 0, 221, 251, 127, 254, 255, 255, 3, 32, 1, 16, 135, 5, 160, 123, 255, 207,
      255, 255, 127, 0, 36, 0, 226, 176, 0, 116, 239, 255, 249, 255, 255, 15, 128, 4, 64, 28, 22,
      128, 238, 253, 63, 255, 255, 255, 1, 144, 0, 136, 195, 2, 208, 189, 255, 231, 255, 255, 63, 0,
      18, 0, 113, 88, 0, 186, 247, 255, 252, 255, 255, 7, 64, 2, 32, 14, 11, 64, 247, 254, 159, 255,
      255, 255, 0, 72, 0, 196, 97, 1, 232, 222, 255, 243, 255, 255, 31, 0, 9, 128, 56, 44, 0, 221,
      251, 255, 252, 255, 255, 7, 32, 1, 16, 135, 5, 160, 123, 255, 15);
static unsigned char gzip_bomb[16384], zstd_bomb[16384];

static const struct {
    const char *coding;
    const unsigned char *data;
    size_t size, member; /* the size of one of the members or frames that it may be cut after */
    const char *text;
} good[] = {
    {"gzip", gzip_one, sizeof gzip_one, 0, HELLO},
    {"x-gzip", gzip_one, sizeof gzip_one, 0, HELLO},
    {"GZip , identity", gzip_one, sizeof gzip_one, 0, HELLO},
    {"gzip", gzip_two, sizeof gzip_two, sizeof gzip_one, HELLO HELLO},
    {"gzip", gzip_empty_between, sizeof gzip_empty_between, sizeof gzip_one, HELLO HELLO},
    {"deflate", zlib, sizeof zlib, 0, HELLO},
    {"deflate", deflated, sizeof deflated, 0, HELLO},
    {"br", brotli, sizeof brotli, 0, HELLO},
    {"zstd", zstd_one, sizeof zstd_one, 0, HELLO},
    {"zstd", zstd_two, sizeof zstd_two, sizeof zstd_one, HELLO HELLO},
    {"gzip,deflate", twice, sizeof twice, 0, HELLO},
    {"identity", (const unsigned char *)HELLO, sizeof HELLO - 1, 0, HELLO},
};

/* ---- the server: what it is to answer with ---- */

static struct raw_server server;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* held while the server answers */
static struct {
    const char *status, *coding;
    const unsigned char *data;
    size_t size;
    bool in_bytes; /* each in a chunk of its own */
    const char *junk;
} current;

static bool answer_current(int fd)
{
    const char *junk = current.junk ? current.junk : "";

    raw_printf(fd, "HTTP/1.1 %s\r\nContent-Encoding: %s\r\n",
               current.status ? current.status : "200 OK", current.coding);
    if (!current.in_bytes) {
        raw_printf(fd, "Content-Length: %zu\r\n\r\n", current.size + strlen(junk));
        return raw_send(fd, current.data, current.size) && raw_send(fd, junk, strlen(junk));
    }
    char *chunks = malloc(6 * current.size + 1), *at = chunks;
    for (size_t i = 0; i < current.size; i++) {
        memcpy(at, "1\r\n-\r\n", 6);
        at[3] = (char)current.data[i];
        at += 6;
    }
    bool ok = raw_printf(fd, "Transfer-Encoding: chunked\r\n\r\n") &&
              raw_send(fd, chunks, (size_t)(at - chunks)) && raw_printf(fd, "0\r\n\r\n");
    free(chunks);
    return ok;
}

static bool answer(int fd, const char *head, const char *body, size_t size)
{
    (void)head, (void)body, (void)size;
    pthread_mutex_lock(&lock);
    bool more = answer_current(fd);
    pthread_mutex_unlock(&lock);
    return more;
}

static void set(const char *coding, const unsigned char *data, size_t size)
{
    pthread_mutex_lock(&lock); /* the last answer has been sent */
    pthread_mutex_unlock(&lock);
    memset(&current, 0, sizeof current);
    current.coding = coding;
    current.data = data;
    current.size = size;
}

static void assert_body(async_http_session *session, const char *text)
{
    async_with_http_get (response, session, raw_url(&server, "/")) {
        if (!async_http_read(response, NULL)) fail_msg("%s", async_error_message());
        assert_string_equal(async_http_text(response), text);
    }
}

/* The text, if not NULL, and then the error; read as a whole it is the error alone. */
static void assert_bad_body(async_http_session *session, const char *text, int code,
                            const char *words)
{
    async_with_http_get (response, session, raw_url(&server, "/")) {
        char got[100] = "";
        async_for (async_http_chunk, chunk, async_http_chunks(response))
            strncat(got, chunk.data, chunk.size);
        assert_string_equal(async_error_name(async_block_error()), async_error_name(code));
        assert_contains(async_error_message(), words);
        if (text) assert_string_equal(got, text);
    }
    async_with_http_get (response, session, raw_url(&server, "/")) {
        assert_null(async_http_read(response, NULL));
        assert_int_equal(async_error_code(), code);
    }
}

/* ---- tests ---- */

static int whole(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
            for (int in_bytes = 0; in_bytes < 2; in_bytes++) {
                set(good[i].coding, good[i].data, good[i].size);
                current.in_bytes = in_bytes;
                assert_body(session, good[i].text);
            }
    async_with_http_session (session, &(async_http_session_options){.no_decompress = true}) {
        set("gzip", gzip_one, sizeof gzip_one);
        async_with_http_get (response, session, raw_url(&server, "/")) {
            size_t size;
            const void *data = async_http_read(response, &size);
            assert_int_equal(size, sizeof gzip_one);
            assert_memory_equal(data, gzip_one, size);
        }
    }
    return 0;
}
HTTP_TEST(whole)

/* At every byte. */
static int cut_off(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
            for (size_t size = 1; size < good[i].size; size++) {
                if (strcmp(good[i].coding, "identity") == 0) continue;
                set(good[i].coding, good[i].data, size);
                if (size == good[i].member)
                    assert_body(session, HELLO);
                else if (!good[i].member || size < good[i].member ||
                         good[i].data != gzip_empty_between)
                    assert_bad_body(session, NULL, ASYNC_EINCOMPLETE, "is cut short");
            }
    return 0;
}
HTTP_TEST(cut_off)

static int followed_by_junk(void *unused)
{
    (void)unused;
    static const char *const junk[] = {"junk", "more than a few bytes of junk", "x"};
    async_with_http_session (session, NULL)
        for (size_t i = 0; i < sizeof good / sizeof *good; i++)
            for (size_t k = 0; k < sizeof junk / sizeof *junk; k++) {
                bool members = strcasestr(good[i].coding, "gzip") || good[i].coding[0] == 'z';
                if (strcmp(good[i].coding, "identity") == 0) continue;
                if (members && strlen(junk[k]) < 4) continue; /* may be the start of another one */
                set(good[i].coding, good[i].data, good[i].size);
                current.junk = junk[k];
                assert_bad_body(session, good[i].text, ASYNC_EHTTP, "bad ");
            }
    return 0;
}
HTTP_TEST(followed_by_junk)

static int damaged(void *unused)
{
    (void)unused;
    unsigned char damaged[sizeof good / sizeof *good + 1][100], *data = *damaged;
    async_with_http_session (session, NULL) {
        for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
            if (good[i].data == deflated || strcmp(good[i].coding, "identity") == 0) continue;
            data = damaged[i]; /* none is changed while it may still be sent */
            memcpy(data, good[i].data, good[i].size);
            data[good[i].data == brotli ? 8 : 0] ^= 0xff;
            set(good[i].coding, data, good[i].size);
            if (good[i].data == brotli || good[i].data == zlib || good[i].data == twice)
                continue; /* has no sum to check, or may be taken for something else */
            assert_bad_body(session, "", ASYNC_EHTTP, "bad ");
        }
        data = damaged[sizeof good / sizeof *good];
        memcpy(data, gzip_two, sizeof gzip_two);
        data[sizeof gzip_two - 6] ^= 1; /* the check sum */
        set("gzip", data, sizeof gzip_two);
        assert_bad_body(session, HELLO HELLO, ASYNC_EHTTP, "bad gzip data: incorrect data check");
        set("lzw", gzip_one, sizeof gzip_one);
        assert_bad_body(session, "", ASYNC_EHTTP, "unknown content coding: lzw");
        set("gzip, gzip, gzip, gzip, gzip", gzip_one, sizeof gzip_one);
        assert_bad_body(session, "", ASYNC_EHTTP, "more than 4 content codings");
        set("gzip", (const unsigned char *)"not gzip", 8);
        assert_bad_body(session, "", ASYNC_EHTTP, "bad gzip data: incorrect header check");
    }
    return 0;
}
HTTP_TEST(damaged)

/* No body has no coding, whatever the header says. */
static int no_body(void *unused)
{
    (void)unused;
    async_with_http_session (session, NULL) {
        set("gzip", NULL, 0);
        assert_body(session, "");
        set("lzw", NULL, 0);
        assert_body(session, "");
        set("gzip", gzip_one, 0);
        current.status = "304 Not Modified";
        assert_body(session, "");
        set("br", NULL, 0);
        async_with_http_request (response, session, .method = "HEAD", .url = raw_url(&server, "/"))
            assert_string_equal(async_http_text(response), "");
    }
    return 0;
}
HTTP_TEST(no_body)

/* Deflate's fixed codes: a zero, and then copies of 258 bytes from one byte before: 13 bits each,
 * so that eight of them make a pattern of 13 bytes. */
static size_t make_gzip_bomb(void)
{
    static const unsigned char head[] = {31, 139, 8, 0, 0, 0, 0, 0, 2, 3};
    size_t bit = 8 * sizeof head;
    memcpy(gzip_bomb, head, sizeof head);
#define PUT(text)                                                                                  \
    for (const char *c = text; *c; c++, bit++)                                                     \
    gzip_bomb[bit / 8] |= (unsigned char)((*c - '0') << bit % 8)
    PUT("1"); /* the last block */
    PUT("10");
    PUT("00110000");
    while (bit / 8 + 3 < sizeof gzip_bomb)
        PUT("1100010100000");
#undef PUT
    return sizeof gzip_bomb;
}

/* Blocks that say "128 KiB of this byte". */
static size_t make_zstd_bomb(void)
{
    static const unsigned char head[] = {40, 181, 47, 253, 0, 64}, block[] = {2, 0, 16, 0};
    size_t size = sizeof head;
    memcpy(zstd_bomb, head, sizeof head);
    for (; size + sizeof block <= sizeof zstd_bomb; size += sizeof block)
        memcpy(zstd_bomb + size, block, sizeof block);
    return size;
}

/* While nothing is read, no more is decoded than may be kept; a limit for the whole holds. */
static int bombs(void *unused)
{
    (void)unused;
    const struct {
        const char *coding;
        const unsigned char *data;
        size_t size, least; /* bytes that it becomes */
    } cases[] = {
        {"gzip", gzip_bomb, make_gzip_bomb(), 2500000},
        {"br", brotli_bomb, sizeof brotli_bomb, 256u << 20},
        {"zstd", zstd_bomb, make_zstd_bomb(), 256u << 20},
    };
    async_with_http_session (session, &(async_http_session_options){.max_body = 1000000})
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            set(cases[i].coding, cases[i].data, cases[i].size);
            async_with_http_get (response, session, raw_url(&server, "/")) {
                size_t total = 0, largest = 0;
                async_for (async_http_chunk, chunk, async_http_chunks(response)) {
                    total += chunk.size;
                    if (chunk.size > largest) largest = chunk.size;
                }
                async_block_error(); /* the gzip and the zstd one have no end */
                assert_true(total >= cases[i].least);
                assert_in_range(largest, 1, 256 << 10);
            }
            async_with_http_get (response, session, raw_url(&server, "/")) {
                assert_null(async_http_read(response, NULL));
                assert_int_equal(async_error_code(), -EMSGSIZE);
            }
            async_with_http_get (response, session, raw_url(&server, "/")) {
                async_for (async_http_chunk, chunk, async_http_chunks(response))
                    break;
                assert_null(async_http_read(response, NULL));
                assert_int_equal(async_error_code(), -EMSGSIZE);
            }
        }
    return 0;
}
HTTP_TEST(bombs)

static int open_server(void **state)
{
    (void)state;
    assert_true(raw_start(&server, answer));
    return 0;
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
        cmocka_unit_test(test_whole),   cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_followed_by_junk),
        cmocka_unit_test(test_no_body), cmocka_unit_test(test_bombs),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
