/* streams.h: a pair of streams in memory, and what it can be made to do. */
#include "io/io.h"

#include "io_test.h"

#include <math.h>

static async_stream *ends[2];

static void open_pair(const async_pair_options *options)
{
    assert_int_equal(async_stream_pair_with(ends, options), 0);
}

static void close_pair(void)
{
    async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
}

static int has_no_name(void *unused)
{
    (void)unused;
    char text[32] = "x";
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(async_stream_fd(ends[0]), -1);
    assert_int_equal(async_stream_peername(ends[0], text, sizeof text), -ENOTSOCK);
    assert_string_equal(text, "");
    assert_message("a memory stream");
    close_pair();
    return 0;
}
TEST(has_no_name)

static int bad_options(void *unused)
{
    (void)unused;
    const async_pair_options bad[] = {
        {.latency = -1},  {.latency = INFINITY}, {.latency = NAN},
        {.cut_error = 1}, {.fail_error = 5},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(async_stream_pair_with(ends, &bad[i]), -EINVAL);
        assert_null(ends[0]);
        assert_null(ends[1]);
    }
    struct {
        async_pair_options options;
        int more;
    } newer = {.more = 1};
    assert_int_equal(async__stream_pair(ends, &newer.options, sizeof newer), -EINVAL);
    newer.more = 0;
    assert_int_equal(async__stream_pair(ends, &newer.options, sizeof newer), 0);
    close_pair();
    return 0;
}
TEST(bad_options)

static int capacity(void *unused)
{
    (void)unused;
    char data[100] = "";
    open_pair(&(async_pair_options){.capacity = 10});
    async_stream_set_high_water(ends[0], 1000);
    assert_int_equal(async_stream_write(ends[0], data, 100), 0);
    assert_int_equal(async_stream_unsent(ends[0]), 90);
    assert_int_equal(async_stream_read(ends[1], data, 100), 10);
    settle();
    assert_int_equal(async_stream_unsent(ends[0]), 80);
    close_pair();
    return 0;
}
TEST(capacity)

static int max_read(void *unused)
{
    (void)unused;
    char data[100];
    open_pair(&(async_pair_options){.max_read = 3});
    assert_int_equal(async_stream_write(ends[0], "abcdefgh", 8), 0);
    assert_int_equal(async_stream_read(ends[1], data, 100), 3);
    assert_int_equal(async_stream_readexactly(ends[1], data, 5), 5);
    assert_memory_equal(data, "defgh", 5);
    close_pair();
    return 0;
}
TEST(max_read)

static int latency(void *unused)
{
    (void)unused;
    char data[100];
    open_pair(&(async_pair_options){.latency = 0.5});
    int start = tenths();
    assert_int_equal(async_stream_write(ends[0], "a", 1), 0);
    async_sleep(0.2);
    assert_int_equal(async_stream_write(ends[0], "b", 1), 0);
    assert_int_equal(async_stream_read(ends[1], data, 100), 1);
    assert_int_equal(tenths() - start, 5);
    assert_int_equal(async_stream_read(ends[1], data, 100), 1);
    assert_int_equal(tenths() - start, 7);
    async_stream_write(ends[0], "c", 1);
    async_stream_close(ends[0]);
    async_sleep(0.3);
    assert_int_equal(async_stream_read(ends[1], data, 100), 1);
    assert_int_equal(tenths() - start, 12);
    assert_int_equal(async_stream_read(ends[1], data, 100), 0);
    assert_int_equal(tenths() - start, 12);
    async_stream_abort(ends[1]);

    /* The end takes as long, and so does what is read by a reader that was there before. */
    open_pair(&(async_pair_options){.latency = 0.5});
    start = tenths();
    int code = 0;
    async_timeout (0.1)
        code = (int)async_stream_read(ends[1], data, 100);
    assert_int_equal(code, -ETIMEDOUT);
    async_stream_write_eof(ends[0]);
    assert_int_equal(async_stream_read(ends[1], data, 100), 0);
    assert_int_equal(tenths() - start, 6);
    close_pair();
    return 0;
}
TEST(latency)

static int cut(void *unused)
{
    (void)unused;
    char data[100];
    open_pair(&(async_pair_options){.cut_after = 5});
    assert_int_equal(async_stream_write(ends[1], "abcdefgh", 8), 0);
    assert_int_equal(async_stream_write(ends[0], "other", 5), 0);
    assert_int_equal(async_stream_readexactly(ends[0], data, 6), ASYNC_EINCOMPLETE);
    assert_int_equal(async_stream_read(ends[0], data, 100), 5);
    assert_int_equal(async_stream_read(ends[0], data, 100), 0);
    for (int i = 0; i < 5000; i++) /* is lost, and is in no way of more */
        assert_int_equal(async_stream_write(ends[1], data, 100), 0);
    assert_int_equal(async_stream_read(ends[1], data, 100), 5);
    assert_int_equal(async_stream_write(ends[0], "goes on", 7), 0);
    assert_int_equal(async_stream_read(ends[1], data, 100), 7);
    close_pair();

    open_pair(&(async_pair_options){.cut_after = 5, .cut_error = -ETIMEDOUT});
    assert_int_equal(async_stream_write(ends[1], "abcdefgh", 8), 0);
    assert_int_equal(async_stream_write(ends[0], "other", 5), 0);
    assert_int_equal(async_stream_read(ends[0], data, 100), 5);
    assert_int_equal(async_stream_read(ends[0], data, 100), -ETIMEDOUT);
    assert_int_equal(async_stream_write(ends[0], "x", 1), -ETIMEDOUT);
    assert_int_equal(async_stream_read(ends[1], data, 100), 5);
    assert_int_equal(async_stream_read(ends[1], data, 100), -ETIMEDOUT);
    assert_int_equal(async_stream_write(ends[1], "x", 1), -ETIMEDOUT);
    assert_message("write on a memory stream");
    close_pair();
    return 0;
}
TEST(cut)

/* A protocol of two messages, whose n-th call fails, for all n. */
static int fails_at(void *unused)
{
    (void)unused;
    char line[16];
    unsigned at = 1;
    for (;; at++) {
        open_pair(&(async_pair_options){.fail_at = at, .fail_error = at % 2 ? 0 : -EHOSTUNREACH});
        async_stream_write(ends[1], "one\ntwo\n", 8);
        int code = async_stream_write(ends[0], "first\n", 6);
        if (code == 0) code = (int)async_stream_readline(ends[0], line, 5);
        if (code > 0) code = async_stream_write(ends[0], "second\n", 7);
        if (code == 0) code = (int)async_stream_readexactly(ends[0], line, 4);
        if (code >= 0) break;
        assert_int_equal(code, at % 2 ? -ECONNRESET : -EHOSTUNREACH);
        /* Nothing can be done on either end any more. */
        assert_int_equal(async_stream_write(ends[0], "x", 1), code);
        assert_int_equal(async_stream_write(ends[1], "x", 1), code);
        ssize_t n;
        while ((n = async_stream_read(ends[1], line, sizeof line)) > 0)
            ;
        assert_int_equal(n, code);
        close_pair();
    }
    assert_int_equal(at, 4); /* the second line was there already */
    close_pair();
    return 0;
}
TEST(fails_at)

static int peer_gone(void *unused)
{
    (void)unused;
    char text[16];
    assert_int_equal(async_stream_pair(ends), 0);
    async_stream_write(ends[1], "last", 4);
    async_stream_close(ends[1]);
    assert_int_equal(async_stream_write(ends[0], "x", 1), -EPIPE);
    assert_int_equal(async_stream_read(ends[0], text, sizeof text), 4);
    assert_int_equal(async_stream_read(ends[0], text, sizeof text), 0);
    async_stream_close(ends[0]);
    return 0;
}
TEST(peer_gone)

static int reads_for_ever(void *unused)
{
    (void)unused;
    char byte;
    assert_int_equal(async_stream_pair(ends), 0);
    int code = (int)async_stream_read(ends[0], &byte, 1);
    close_pair();
    return code;
}

/* Neither end has a descriptor: that nothing can come any more is seen. */
static void test_deadlock(void **state)
{
    (void)state;
    assert_int_equal(run(reads_for_ever, NULL), -EDEADLK);
}

/* Made and closed where no loop runs. */
static void test_outside(void **state)
{
    (void)state;
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(async_stream_write_nowait(ends[0], "x", 1), 0);
    assert_int_equal(async_stream_close(ends[0]), 0);
    async_stream_abort(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_has_no_name), cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_capacity),    cmocka_unit_test(test_max_read),
        cmocka_unit_test(test_latency),     cmocka_unit_test(test_cut),
        cmocka_unit_test(test_fails_at),    cmocka_unit_test(test_peer_gone),
        cmocka_unit_test(test_deadlock),    cmocka_unit_test(test_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
