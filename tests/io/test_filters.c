/* test_filters.c - a filter of the user's own (casyncio/filters.h) on a stream: what its functions may do, and where
 * they run. TLS, the other filter that there is, has tests of its own. */
#include "run.h"

#include <casyncio.h>
#include <casyncio/filters.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Each byte that goes through is changed by the key. */
struct cipher {
    async_filter *filter;
    unsigned char key;
    int waited;            /* what a wait in one of its functions gave */
    const char *called_at; /* the frame of that function */
};

static int cipher_start(void *self)
{
    struct cipher *cipher = self;
    cipher->waited = async_sleep(0.01);
    cipher->called_at = __builtin_frame_address(0);
    return 0;
}

static ssize_t cipher_recv(void *self, void *buffer, size_t size)
{
    struct cipher *cipher = self;
    unsigned char *bytes = buffer;
    ssize_t n = async_filter_recv(cipher->filter, buffer, size);

    for (ssize_t i = 0; i < n; i++)
        bytes[i] ^= cipher->key;
    return n;
}

static ssize_t cipher_send(void *self, const struct iovec *pieces, int count)
{
    struct cipher *cipher = self;
    unsigned char bytes[256];
    size_t size = 0;

    for (int i = 0; i < count && size == 0; i++) {
        size = pieces[i].iov_len < sizeof bytes ? pieces[i].iov_len : sizeof bytes;
        for (size_t k = 0; k < size; k++)
            bytes[k] = ((unsigned char *)pieces[i].iov_base)[k] ^ cipher->key;
    }
    int code = async_filter_send(cipher->filter, bytes, size);
    return code < 0 ? code : (ssize_t)size;
}

static int cipher_send_end(void *self)
{
    (void)self;
    return 0;
}

static bool cipher_pending(const void *self)
{
    (void)self;
    return false;
}

static const char *cipher_reason(const void *self, int code)
{
    (void)self, (void)code;
    return NULL;
}

static void cipher_free(void *self) { free(self); }

static const async_filter_type cipher_type = {
    .size = sizeof(async_filter_type),
    .name = "cipher",
    .start = cipher_start,
    .recv = cipher_recv,
    .send = cipher_send,
    .send_end = cipher_send_end,
    .pending = cipher_pending,
    .reason = cipher_reason,
    .free = cipher_free,
};

static struct cipher *put_on(async_stream *stream, unsigned char key)
{
    struct cipher *cipher = calloc(1, sizeof *cipher);
    assert_non_null(cipher);
    cipher->key = key;
    cipher->filter =
        async_stream_filter(stream, &(async_filter_options){.type = &cipher_type,
                                                            .self = cipher,
                                                            .start_timeout = INFINITY,
                                                            .close_timeout = INFINITY});
    assert_non_null(cipher->filter);
    return cipher;
}

/* Two filters at one end, and one with both keys at the other. */
static int through(void *unused)
{
    async_stream *ends[2];
    char line[1000], got[1000];
    (void)unused;

    assert_int_equal(async_stream_pair(ends), 0);
    put_on(ends[0], 0x15);
    put_on(ends[0], 0x2a);
    struct cipher *both = put_on(ends[1], 0x15 ^ 0x2a);
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 20; i++) {
        assert_int_equal(async_stream_write(ends[i % 2], line, sizeof line), 0);
        assert_int_equal(async_stream_readexactly(ends[1 - i % 2], got, sizeof got), sizeof got);
        assert_memory_equal(line, got, sizeof got);
    }
    /* Its functions run on the loop's stack, and no task runs meanwhile. */
    assert_int_equal(both->waited, -EPERM);
    if (!SANITIZED && !getenv("CASYNCIO_TEST_WRAPPER"))
        assert_true(labs((long)(both->called_at - got)) > 16 * 1024);
    assert_int_equal(async_sleep(0.01), 0);
    async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
    return 0;
}

static void test_through(void **state)
{
    (void)state;
    assert_int_equal(run(through, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_through)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
