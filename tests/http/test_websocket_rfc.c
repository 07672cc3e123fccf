/* The cases of RFC 6455, by section, against a server and against a client of ours: the other side is
 * bytes, which come as a whole, and in pieces of one byte and of three. */
#include "websocket_test.h"

struct frame {
    unsigned first;
    const char *data;
    size_t size;
};

#define F(first, text)                                                                             \
    {                                                                                              \
        first, text, sizeof(text) - 1                                                              \
    }
#define BYTES(text)                                                                                \
    {                                                                                              \
        0x100, text, sizeof(text) - 1                                                              \
    } /* as they are */
#define MAX_FRAMES 8

struct test_case {
    const char *section, *name;
    struct frame frames[MAX_FRAMES];
    const char *seen; /* by the peer */
    int code;         /* what receiving gave at the end */
};

#define A125                                                                                       \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" \
    "aaaa"                                                                                         \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct test_case cases[] = {
    {"5.2", "a text", {F(0x81, "Hello"), F(0x88, "\3\xe8")}, "81:Hello;88:1000;", 0},
    {"5.2", "binary", {F(0x82, "\0\xff"), F(0x88, "\3\xe8")}, "82:\\00\\ff;88:1000;", 0},
    {"5.2", "an empty text", {F(0x81, ""), F(0x88, "\3\xe8")}, "81:;88:1000;", 0},
    {"5.2", "empty binary", {F(0x82, ""), F(0x88, "\3\xe8")}, "82:;88:1000;", 0},
    {"5.2",
     "125 bytes",
     {F(0x81, A125), F(0x88, "\3\xe8")},
     "81:"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaa...125;88:1000;",
     0},
    {"5.2", "RSV1", {F(0xc1, "a")}, "88:1002;", -EPROTO},
    {"5.2", "RSV2", {F(0xa1, "a")}, "88:1002;", -EPROTO},
    {"5.2", "RSV3", {F(0x91, "a")}, "88:1002;", -EPROTO},
    {"5.2", "RSV1 of a ping", {F(0xc9, "a")}, "88:1002;", -EPROTO},
    {"5.2", "RSV1 of a Close", {F(0xc8, "\3\xe8")}, "88:1002;", -EPROTO},
    {"5.2",
     "all reserved bits behind a message",
     {F(0x81, "a"), F(0xf1, "b")},
     "81:a;88:1002;",
     -EPROTO},
    {"5.2", "opcode 3", {F(0x83, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 4", {F(0x84, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 5", {F(0x85, "")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 6", {F(0x86, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 7", {F(0x87, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 11", {F(0x8b, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 12", {F(0x8c, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 13", {F(0x8d, "")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 14", {F(0x8e, "a")}, "88:1002;", -EPROTO},
    {"5.2", "opcode 15", {F(0x8f, "a")}, "88:1002;", -EPROTO},
    {"5.2",
     "a reserved opcode between fragments",
     {F(0x01, "a"), F(0x83, "b")},
     "88:1002;",
     -EPROTO},
    {"5.4",
     "two fragments",
     {F(0x01, "Hel"), F(0x80, "lo"), F(0x88, "\3\xe8")},
     "81:Hello;88:1000;",
     0},
    {"5.4",
     "empty fragments",
     {F(0x01, ""), F(0x00, ""), F(0x80, ""), F(0x88, "\3\xe8")},
     "81:;88:1000;",
     0},
    {"5.4",
     "the middle one is not empty",
     {F(0x02, ""), F(0x00, "x"), F(0x80, ""), F(0x88, "\3\xe8")},
     "82:x;88:1000;",
     0},
    {"5.4",
     "a ping between fragments",
     {F(0x01, "Hel"), F(0x89, "p"), F(0x80, "lo"), F(0x88, "\3\xe8")},
     "8a:p;81:Hello;88:1000;",
     0},
    {"5.4",
     "a pong between fragments",
     {F(0x01, "Hel"), F(0x8a, "p"), F(0x80, "lo"), F(0x88, "\3\xe8")},
     "81:Hello;88:1000;",
     0},
    {"5.4", "a Close between fragments", {F(0x01, "Hel"), F(0x88, "\3\xe8")}, "88:1000;", 0},
    {"5.4", "a text between fragments", {F(0x01, "Hel"), F(0x81, "lo")}, "88:1002;", -EPROTO},
    {"5.4", "a new first fragment", {F(0x01, "Hel"), F(0x02, "lo")}, "88:1002;", -EPROTO},
    {"5.4", "a continuation of nothing", {F(0x80, "lo")}, "88:1002;", -EPROTO},
    {"5.4", "a fragment of nothing", {F(0x00, "lo")}, "88:1002;", -EPROTO},
    {"5.4",
     "a continuation behind a whole message",
     {F(0x81, "a"), F(0x80, "b")},
     "81:a;88:1002;",
     -EPROTO},
    {"5.5", "a ping in fragments", {F(0x09, "a"), F(0x80, "b")}, "88:1002;", -EPROTO},
    {"5.5", "a pong in fragments", {F(0x0a, "a")}, "88:1002;", -EPROTO},
    {"5.5", "a Close in fragments", {F(0x08, "\3\xe8")}, "88:1002;", -EPROTO},
    {"5.5", "a ping of 126 bytes", {F(0x89, A125 "a")}, "88:1002;", -EPROTO},
    {"5.5", "a pong of 126 bytes", {F(0x8a, A125 "a")}, "88:1002;", -EPROTO},
    {"5.5", "a Close of 126 bytes", {F(0x88, A125 "a")}, "88:1002;", -EPROTO},
    {"5.5.1", "no code", {F(0x88, "")}, "88:;", 0},
    {"5.5.1",
     "a code and a reason",
     {F(0x88, "\3\xe9"
              "bye")},
     "88:1001;",
     0},
    {"5.5.1", "one byte", {F(0x88, "\3")}, "88:1002;", -EPROTO},
    {"5.5.1", "a reason that is not UTF-8", {F(0x88, "\3\xe8\xff")}, "88:1007;", -EILSEQ},
    {"5.5.1", "a reason that is cut off", {F(0x88, "\3\xe8\xc3")}, "88:1007;", -EILSEQ},
    {"5.5.1",
     "nothing behind a Close counts",
     {F(0x88, "\3\xe8"), F(0x81, "x"), F(0x83, "")},
     "88:1000;",
     0},
    {"5.5.2", "a ping", {F(0x89, "Hello"), F(0x88, "\3\xe8")}, "8a:Hello;88:1000;", 0},
    {"5.5.2", "an empty one", {F(0x89, ""), F(0x88, "\3\xe8")}, "8a:;88:1000;", 0},
    {"5.5.2",
     "of bytes that are no text",
     {F(0x89, "\0\xff\xfe"), F(0x88, "\3\xe8")},
     "8a:\\00\\ff\\fe;88:1000;",
     0},
    {"5.5.2",
     "three",
     {F(0x89, "1"), F(0x89, "2"), F(0x89, "3"), F(0x88, "\3\xe8")},
     "8a:1;8a:2;8a:3;88:1000;",
     0},
    {"5.5.3",
     "a pong that was not asked for",
     {F(0x8a, "a"), F(0x81, "b"), F(0x88, "\3\xe8")},
     "81:b;88:1000;",
     0},
    {"5.6",
     "UTF-8 of each length",
     {F(0x81, "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82"), F(0x88, "\3\xe8")},
     "81:a\\c3\\a4\\e2\\82\\ac\\f0\\9f\\99\\82;88:1000;",
     0},
    {"5.6",
     "a character across fragments",
     {F(0x01, "\xf0\x9f"), F(0x00, "\x99"), F(0x80, "\x82"), F(0x88, "\3\xe8")},
     "81:\\f0\\9f\\99\\82;88:1000;",
     0},
    {"5.6", "a character that is cut off", {F(0x81, "\xe2\x82")}, "88:1007;", -EILSEQ},
    {"5.6",
     "cut off in the last fragment",
     {F(0x01, "a\xe2"), F(0x80, "\x82")},
     "88:1007;",
     -EILSEQ},
    {"5.6", "refused before the message is whole", {F(0x01, "a\xff")}, "88:1007;", -EILSEQ},
    {"5.6",
     "binary need not be UTF-8",
     {F(0x82, "\xff"), F(0x88, "\3\xe8")},
     "82:\\ff;88:1000;",
     0},
    {"5.2",
     "a length in 64 bits with its first bit set",
     {BYTES("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff....x")},
     "88:1002;",
     -EPROTO},
    {"5.2", "16 bits for a length of 5", {BYTES("\x82\xfe\0\5....xxxxx")}, "88:1002;", -EPROTO},
    {"5.2",
     "64 bits for a length of 5",
     {BYTES("\x82\xff\0\0\0\0\0\0\0\5....xxxxx")},
     "88:1002;",
     -EPROTO},
};

static void play(const struct test_case *test, bool of_server, size_t piece)
{
    struct peer peer = {.handler = echo};

    told_count = 0;
    open_peer(&peer, of_server, "", &(async_pair_options){.max_read = piece});
    for (const struct frame *frame = test->frames; frame < test->frames + MAX_FRAMES; frame++) {
        char bytes[300];
        size_t size = frame->size;
        if (frame->first < 0x100)
            size = make_frame(bytes, frame->first, frame->data, size, of_server);
        else
            memcpy(bytes, frame->data, size);
        if (frame->first == 0x100 && !of_server) { /* without a mask */
            bytes[1] &= 0x7f;
            memmove(bytes + size - 5, bytes + size - 1, 1);
        }
        if (frame->data) async_stream_write(peer.ends[1], bytes, size);
    }
    see(&peer);
    close_peer(&peer);
    bool fine = strcmp(peer.seen, test->seen) == 0 && peer.code == test->code && told_count == 0;
    if (!fine)
        print_error("%s, %s, %s, in pieces of %zu: %s, not %s; %s (%s)\n", test->section,
                    test->name, of_server ? "server" : "client", piece, peer.seen, test->seen,
                    async_error_name(peer.code), told);
    assert_true(fine);
}

static int run_cases(void *of_server)
{
    for (size_t i = 0; i < COUNT(cases); i++)
        for (size_t piece = 0; piece <= 3; piece += piece + 1)
            play(&cases[i], of_server != NULL, piece);
    return 0;
}

static void test_server(void **state)
{
    (void)state;
    assert_int_equal(run(run_cases, "server"), 0);
}

static void test_client(void **state)
{
    (void)state;
    assert_int_equal(run(run_cases, NULL), 0);
}

/* 5.1: a server closes on what is not masked, a client on what is. */
static int wrong_masks(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        struct peer peer = {.handler = echo};
        open_peer(&peer, of_server, "", NULL);
        char bytes[20];
        size_t size = make_frame(bytes, 0x81, "Hello", 5, !peer.masks);
        async_stream_write(peer.ends[1], bytes, size);
        assert_string_equal(see(&peer), "88:1002;");
        close_peer(&peer);
        assert_int_equal(peer.code, -EPROTO);
        assert_int_equal(peer.close_code, 1006);
    }
    return 0;
}

/* 7.4: all codes that there can be. */
static int close_codes(void *unused)
{
    for (int code = 0; code < 6000; code += code == 1020 || code == 3005 ? 490 : 1) {
        bool valid = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                     (code >= 3000 && code <= 4999);
        struct peer peer = {.handler = echo};
        char seen[20], data[2] = {(char)(code >> 8), (char)code};
        open_peer(&peer, code % 2, "", NULL);
        send_frame(&peer, 0x88, data, 2);
        snprintf(seen, sizeof seen, "88:%d;", valid ? code : 1002);
        assert_string_equal(see(&peer), seen);
        close_peer(&peer);
        assert_int_equal(peer.code, valid ? 0 : -EPROTO);
        assert_int_equal(peer.close_code, valid ? code : 1006);
    }
    return 0;
}

/* 5.2: lengths around those where the header changes, in one frame and in many. */
static int lengths(void *unused)
{
    static const size_t sizes[] = {125, 126, 127, 65535, 65536, 65537, 200000};
    char *data = malloc(200000);

    memset(data, 'x', 200000);
    for (size_t i = 0; i < COUNT(sizes) * 2; i++) {
        struct peer peer = {
            .handler = echo,
            .options = &(async_websocket_options){.fragment = i % 3 == 0 ? 1000 : 1000000}};
        size_t size = sizes[i / 2], got = 0, frame_size, frames = 0;
        unsigned char *frame;
        open_peer(&peer, i % 2, "", NULL);
        async_stream_set_high_water(peer.ends[1], SIZE_MAX);
        send_frame(&peer, 0x82, data, size);
        int first = 0;
        while (!(first & 0x80)) {
            first = read_frame(&peer, &frame, &frame_size);
            assert_int_equal(first & 0x7f, frames++ == 0 ? 2 : 0);
            assert_true(got + frame_size <= size);
            assert_memory_equal(frame, data, frame_size);
            got += frame_size;
            free(frame);
        }
        assert_int_equal(got, size);
        assert_int_equal(frames, i % 3 == 0 ? (size + 999) / 1000 : 1);
        send_string(&peer, 0x88, "\3\xe8");
        assert_string_equal(see(&peer), "88:1000;");
        close_peer(&peer);
    }
    free(data);
    return 0;
}

/* 8.1: every two and three bytes that begin a character, and each place to cut a text at. */
static bool by_definition(const unsigned char *text, size_t size)
{
    for (size_t at = 0; at < size;) {
        unsigned c = text[at], more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        unsigned least[] = {0, 0x80, 0x800, 0x10000}, value = more == 0 ? c : c & (0x3f >> more);
        if ((c >= 0x80 && c < 0xc0) || c >= 0xf8 || at + more >= size) return false;
        for (unsigned i = 1; i <= more; i++) {
            if ((text[at + i] & 0xc0) != 0x80) return false;
            value = value << 6 | (text[at + i] & 0x3f);
        }
        if (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
            return false;
        at += more + 1;
    }
    return true;
}

static void test_utf8(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++)
            for (unsigned c = 0; c < 5; c++) {
                static const unsigned char last[] = {0x7f, 0x80, 0xbf, 0xc0, 0xff};
                unsigned char text[12] = {'a', (unsigned char)a, (unsigned char)b, last[c], 0x80,
                                          'b'};
                for (size_t size = 1; size <= 6; size++) {
                    bool valid = by_definition(text, size);
                    assert_int_equal(async__utf8_is_text((char *)text, size), valid);
                    for (size_t cut = 0; cut <= size; cut++) {
                        struct async__utf8 self = {0};
                        bool fine = async__utf8_check(&self, (char *)text, cut) &&
                                    async__utf8_check(&self, (char *)text + cut, size - cut) &&
                                    self.need == 0;
                        assert_int_equal(fine, valid);
                    }
                }
            }
    assert_true(async__utf8_is_text("12345678\xc3\xa4"
                                    "1234567",
                                    17));
    assert_false(async__utf8_is_text("12345678\xc3"
                                     "12345678",
                                     17));
    assert_false(async__utf8_is_text("1234567\xff"
                                     "12345678",
                                     16));
}

/* Each character that cannot be, at every place in a text of two fragments that are cut everywhere. */
static int invalid_texts(void *unused)
{
    static const char *const wrong[] = {"\xc0\x80",         "\xe0\x80\x80",         "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80"};
    for (size_t i = 0; i < COUNT(wrong) * 2; i++) {
        char text[40];
        int size = snprintf(text, sizeof text, "ab\xc3\xa4%szz", wrong[i / 2]);
        for (int cut = 0; cut <= size; cut++) {
            struct peer peer = {.handler = echo};
            open_peer(&peer, i % 2, "", NULL);
            send_frame(&peer, 0x01, text, (size_t)cut);
            send_frame(&peer, 0x80, text + cut, (size_t)(size - cut));
            assert_string_equal(see(&peer), "88:1007;");
            close_peer(&peer);
            assert_int_equal(peer.code, -EILSEQ);
        }
    }
    return 0;
}

/* The peer leaves behind each byte of what it sends. */
static int leaves_anywhere(void *unused)
{
    for (int of_server = 0; of_server < 2; of_server++) {
        char bytes[200];
        size_t size = 0;
        size += make_frame(bytes + size, 0x01, "Hel", 3, of_server);
        size += make_frame(bytes + size, 0x89, "p", 1, of_server);
        size += make_frame(bytes + size, 0x80, "lo", 2, of_server);
        size += make_frame(bytes + size, 0x88, "\3\xe8", 2, of_server);
        for (size_t cut = 0; cut <= size; cut++) {
            struct peer peer = {.handler = echo};
            told_count = 0;
            open_peer(&peer, of_server, "", NULL);
            async_stream_write(peer.ends[1], bytes, cut);
            async_stream_write_eof(peer.ends[1]);
            see(&peer);
            close_peer(&peer);
            assert_int_equal(peer.code, cut < size ? ASYNC_EINCOMPLETE : 0);
            assert_int_equal(peer.close_code, cut < size ? 1006 : 1000);
            assert_int_equal(told_count, 0); /* it is no failure of the handler's */
        }
    }
    return 0;
}

TEST(wrong_masks)
TEST(close_codes)
TEST(lengths)
TEST(invalid_texts)
TEST(leaves_anywhere)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server),        cmocka_unit_test(test_client),
        cmocka_unit_test(test_wrong_masks),   cmocka_unit_test(test_close_codes),
        cmocka_unit_test(test_lengths),       cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_invalid_texts), cmocka_unit_test(test_leaves_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
