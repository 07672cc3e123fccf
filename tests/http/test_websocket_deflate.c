/* permessage-deflate: the cases of RFC 7692, by section, against a server and a client of ours. */
#include "websocket_test.h"

#include <zlib.h>

/* ---- agreements ---- */

static void test_accept(void **state)
{
    static const struct {
        const char *offer, *answer; /* NULL: it is declined */
        int send_bits, receive_bits;
        async_websocket_options options;
    } cases[] = {
        {"permessage-deflate", "permessage-deflate; server_max_window_bits=12", 12, 15, {0}},
        {"PerMessage-Deflate", "permessage-deflate; server_max_window_bits=12", 12, 15, {0}},
        {"permessage-deflate; client_max_window_bits",
         "permessage-deflate; server_max_window_bits=12",
         12,
         15,
         {0}},
        {"permessage-deflate; client_max_window_bits=10",
         "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10",
         12,
         10,
         {0}},
        {"permessage-deflate; client_max_window_bits=\"10\"",
         "permessage-deflate; server_max_window_bits=12; client_max_window_bits=10",
         12,
         10,
         {0}},
        {"permessage-deflate;client_max_window_bits;server_max_window_bits=10",
         "permessage-deflate; server_max_window_bits=10; client_max_window_bits=9",
         10,
         9,
         {.client_max_window_bits = 9}},
        {"permessage-deflate",
         "permessage-deflate; server_max_window_bits=15",
         15,
         15,
         {.client_max_window_bits = 9, .server_max_window_bits = 15}},
        {"permessage-deflate; server_max_window_bits=8, permessage-deflate",
         "permessage-deflate; server_max_window_bits=12",
         12,
         15,
         {0}},
        {"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
         "permessage-deflate; server_max_window_bits=12; server_no_context_takeover; "
         "client_no_context_takeover",
         12,
         15,
         {0}},
        {"permessage-deflate",
         "permessage-deflate; server_max_window_bits=12; server_no_context_takeover; "
         "client_no_context_takeover",
         12,
         15,
         {.server_no_context_takeover = true, .client_no_context_takeover = true}},
        {"permessage-deflate; server_max_window_bits", NULL, 0, 0, {0}},
        {"permessage-deflate; server_max_window_bits=7", NULL, 0, 0, {0}},
        {"permessage-deflate; server_max_window_bits=16", NULL, 0, 0, {0}},
        {"permessage-deflate; server_max_window_bits=010", NULL, 0, 0, {0}},
        {"permessage-deflate; server_max_window_bits=1x", NULL, 0, 0, {0}},
        {"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
         NULL,
         0,
         0,
         {0}},
        {"permessage-deflate; client_max_window_bits=99", NULL, 0, 0, {0}},
        {"permessage-deflate; server_no_context_takeover=1", NULL, 0, 0, {0}},
        {"permessage-deflate; client_no_context_takeover; client_no_context_takeover",
         NULL,
         0,
         0,
         {0}},
        {"permessage-deflate; unknown", NULL, 0, 0, {0}},
        {"permessage-deflate;", NULL, 0, 0, {0}},
        {"permessage-bzip2", NULL, 0, 0, {0}},
        {"", NULL, 0, 0, {0}},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct async__deflate made = {0};
        char answer[200];
        bool taken = async__deflate_accept(&made, &cases[i].options, cases[i].offer, answer);
        if (taken != (cases[i].answer != NULL)) print_error("%s\n", cases[i].offer);
        assert_int_equal(taken, cases[i].answer != NULL);
        assert_int_equal(made.on, taken);
        if (!taken) continue;
        assert_string_equal(answer, cases[i].answer);
        assert_int_equal(made.send_bits, cases[i].send_bits);
        assert_int_equal(made.receive_bits, cases[i].receive_bits);
    }
}

static void test_agree(void **state)
{
    static const struct {
        const char *answer;
        int send_bits, receive_bits; /* -1: it is refused */
        async_websocket_options options;
    } cases[] = {
        {"permessage-deflate", 12, 15, {0}},
        {"permessage-deflate; server_max_window_bits=10", 12, 10, {0}},
        {"permessage-deflate; client_max_window_bits=9", 9, 15, {0}},
        {"permessage-deflate; client_max_window_bits=8", 0, 15, {0}}, /* nothing is compressed */
        {"permessage-deflate; client_max_window_bits", -1, 0, {0}},
        {"permessage-deflate; server_max_window_bits=10", 12, 10, {.server_max_window_bits = 10}},
        {"permessage-deflate; server_max_window_bits=11", -1, 0, {.server_max_window_bits = 10}},
        {"permessage-deflate", -1, 0, {.server_max_window_bits = 10}},
        {"permessage-deflate; client_max_window_bits=11", -1, 0, {.client_max_window_bits = 10}},
        {"permessage-deflate", 10, 15, {.client_max_window_bits = 10}},
        {"permessage-deflate", -1, 0, {.server_no_context_takeover = true}},
        {"permessage-deflate; server_no_context_takeover",
         12,
         15,
         {.server_no_context_takeover = true}},
        {"x-webkit-deflate-frame", -1, 0, {0}},
        {"permessage-deflate; foo=bar", -1, 0, {0}},
    };
    (void)state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct async__deflate made = {0};
        bool taken = async__deflate_agree(&made, &cases[i].options, cases[i].answer);
        if (taken != (cases[i].send_bits >= 0)) print_error("%s\n", cases[i].answer);
        assert_int_equal(taken, cases[i].send_bits >= 0);
        if (!taken) continue;
        assert_int_equal(made.send_bits, cases[i].send_bits);
        assert_int_equal(made.receive_bits, cases[i].receive_bits);
    }
}

/* ---- messages ---- */

struct frame {
    unsigned first;
    const char *data;
    size_t size;
};
#define F(first, text)                                                                             \
    {                                                                                              \
        first, text, sizeof(text) - 1                                                              \
    }

#define HELLO "\xf2\x48\xcd\xc9\xc9\x07\x00"
#define CLOSE F(0x88, "\3\xe8")

static const struct {
    const char *section, *name;
    struct frame frames[6];
    const char *seen;
    int code;
} cases[] = {
    {"7.2.3.1", "one frame", {F(0xc1, HELLO), CLOSE}, "81:Hello;88:1000;", 0},
    {"7.2.3.1",
     "two fragments",
     {F(0x41, "\xf2\x48\xcd"), F(0x80, "\xc9\xc9\x07\x00"), CLOSE},
     "81:Hello;88:1000;",
     0},
    {"7.2.3.2",
     "context takeover",
     {F(0xc1, HELLO), F(0xc1, "\xf2\x00\x11\x00\x00"), CLOSE},
     "81:Hello;81:Hello;88:1000;",
     0},
    {"7.2.3.3",
     "a block that is not compressed",
     {F(0xc1, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"), CLOSE},
     "81:Hello;88:1000;",
     0},
    {"7.2.3.4",
     "a last block",
     {F(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), CLOSE},
     "81:Hello;88:1000;",
     0},
    {"7.2.3.4",
     "the window outlives a last block",
     {F(0xc1, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"), F(0xc1, "\xf2\x00\x11\x00\x00"), CLOSE},
     "81:Hello;81:Hello;88:1000;",
     0},
    {"7.2.3.5",
     "two blocks",
     {F(0xc1, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"), CLOSE},
     "81:Hello;88:1000;",
     0},
    {"7.2.3.6", "an empty message", {F(0xc1, "\x00"), CLOSE}, "81:;88:1000;", 0},
    {"7.2.3.6",
     "in empty fragments",
     {F(0x41, ""), F(0x00, "\x00"), F(0x80, ""), CLOSE},
     "81:;88:1000;",
     0},
    {"6",
     "one that is not compressed",
     {F(0x81, "plain"), F(0xc1, HELLO), CLOSE},
     "81:plain;81:Hello;88:1000;",
     0},
    {"6",
     "a ping between fragments",
     {F(0x41, "\xf2\x48\xcd"), F(0x89, "p"), F(0x80, "\xc9\xc9\x07\x00"), CLOSE},
     "8a:p;81:Hello;88:1000;",
     0},
    {"6.1",
     "RSV1 of a continuation",
     {F(0x41, "\xf2\x48\xcd"), F(0xc0, "\xc9\xc9\x07\x00")},
     "88:1002;",
     -EPROTO},
    {"6.1", "RSV1 of a ping", {F(0xc9, "p")}, "88:1002;", -EPROTO},
    {"6.2", "what is no deflate", {F(0xc1, "\xff\xff\xff\xff")}, "88:1007;", -EBADMSG},
    {"6.2",
     "it refers to what has not been",
     {F(0xc1, "\xf2\x00\x11\x00\x00")},
     "88:1007;",
     -EBADMSG},
    {"8.1",
     "a text that is not UTF-8", /* "\xff" in a stored block */
     {F(0xc1, "\x00\x01\x00\xfe\xff\xff\x00")},
     "88:1007;",
     -EILSEQ},
    {"8.1",
     "binary that is not",
     {F(0xc2, "\x00\x01\x00\xfe\xff\xff\x00"), CLOSE},
     "82:\\ff;88:1000;",
     0},
};

static int sections(void *unused)
{
    for (size_t i = 0; i < COUNT(cases) * 4; i++) {
        struct peer peer = {.handler = echo};
        const struct frame *frames = cases[i / 4].frames;
        open_peer(&peer, i % 2, "Sec-WebSocket-Extensions: permessage-deflate\r\n",
                  &(async_pair_options){.max_read = i / 2 % 2});
        for (int k = 0; k < 6 && frames[k].data; k++)
            send_frame(&peer, frames[k].first, frames[k].data, frames[k].size);
        see(&peer);
        close_peer(&peer);
        if (strcmp(peer.seen, cases[i / 4].seen) != 0)
            print_error("%s, %s: %s\n", cases[i / 4].section, cases[i / 4].name, peer.seen);
        assert_string_equal(peer.seen, cases[i / 4].seen);
        assert_int_equal(peer.code, cases[i / 4].code);
    }
    return 0;
}

/* A raw deflate of `size` bytes of one letter, without its tail. */
static size_t bomb(char *to, size_t room, size_t size)
{
    z_stream z = {0};
    char *data = malloc(size);

    memset(data, 'a', size);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (void *)data;
    z.avail_in = (unsigned)size;
    z.next_out = (void *)to;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    deflateEnd(&z);
    free(data);
    return room - z.avail_out - 4;
}

/* A small message that becomes a large one is refused at the limit, not behind it; one that has just the
 * limit's size is let through. */
static int bombs(void *unused)
{
    static const struct {
        size_t size;
        bool fits;
    } sizes[] = {{100000, true}, {100001, false}, {50000000, false}};
    static char packed[100000];

    for (size_t i = 0; i < COUNT(sizes) * 4; i++) {
        size_t size = bomb(packed, sizeof packed, sizes[i / 4].size);
        struct peer peer = {.handler = echo,
                            .options = &(async_websocket_options){.max_message = 100000}};
        open_peer(&peer, i % 2, "Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL);
        if (i / 2 % 2) {
            send_frame(&peer, 0xc2, packed, size);
        } else {
            send_frame(&peer, 0x42, packed, size / 2);
            send_frame(&peer, 0x80, packed + size / 2, size - size / 2);
        }
        send_string(&peer, 0x88, "\3\xe8");
        see(&peer);
        close_peer(&peer);
        assert_int_equal(peer.code, sizes[i / 4].fits ? 0 : -EMSGSIZE);
        assert_contains(peer.seen, sizes[i / 4].fits ? "88:1000;" : "88:1009;");
    }
    return 0;
}

/* What ours sends, another zlib reads: with the window that was agreed on, and the tail put back. */
static int sends_compressed(async_websocket *socket)
{
    static char text[20000];
    int code = 0;

    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + (i * i / 7 + i / 100) % 26);
    for (size_t size = 64; size < sizeof text && code == 0; size = size * 5 / 2) {
        code = async_websocket_send(socket, ASYNC_WEBSOCKET_TEXT, text, size);
        if (code == 0) code = async_websocket_send(socket, ASYNC_WEBSOCKET_TEXT, text, 63);
    }
    return code;
}

static int what_is_sent(void *unused)
{
    for (int bits = 9; bits <= 15; bits++)
        for (int takeover = 0; takeover < 2; takeover++) {
            struct peer peer = {
                .handler = sends_compressed,
                .options = &(async_websocket_options){.server_max_window_bits = bits,
                                                      .server_no_context_takeover = !takeover}};
            z_stream z = {0};
            unsigned char *data;
            size_t size, all = 0, packed = 0;
            int first;

            open_peer(&peer, true, "Sec-WebSocket-Extensions: permessage-deflate\r\n", NULL);
            assert_int_equal(inflateInit2(&z, -bits), Z_OK);
            while ((first = read_frame(&peer, &data, &size)) != 0x88) {
                static char text[20000];
                if (first == 0x81) { /* too small to be compressed */
                    assert_int_equal(size, 63);
                    free(data);
                    continue;
                }
                assert_int_equal(first, 0xc1);
                packed += size;
                data = realloc(data, size + 4);
                memcpy(data + size, "\0\0\xff\xff", 4);
                z.next_in = data;
                z.avail_in = (unsigned)size + 4;
                z.next_out = (void *)text;
                z.avail_out = sizeof text;
                assert_int_equal(inflate(&z, Z_SYNC_FLUSH), Z_OK);
                assert_int_equal(z.avail_in, 0);
                for (size_t i = 0; i < sizeof text - z.avail_out; i++)
                    assert_int_equal(text[i], 'a' + (int)((i * i / 7 + i / 100) % 26));
                all += sizeof text - z.avail_out;
                if (!takeover) inflateReset(&z); /* nothing before is needed */
                free(data);
            }
            free(data);
            assert_true(packed < all);
            inflateEnd(&z);
            close_peer(&peer);
            assert_int_equal(peer.code, 0);
        }
    return 0;
}

TEST(sections)
TEST(bombs)
TEST(what_is_sent)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accept),       cmocka_unit_test(test_agree),
        cmocka_unit_test(test_sections),     cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_what_is_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
