/* Descriptors that are not the loop's to know of: watched one event at a time, closed without a
 * word, their numbers used again, duplicated. Whatever happens to them, the loop neither misses
 * an event nor spins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio/loop.h>
#include <cmocka.h>
#include <fcntl.h>
#include <loop/loop_internal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static async_loop *loop;
static char trace[64];
static int waits; /* system calls that wait: a loop that spins has many */
static int ends[2];

static void count_wait(void *data)
{
    (void)data;
    waits++;
}

static int set_up(void **state)
{
    (void)state;
    trace[0] = 0;
    waits = 0;
    loop = async_loop_new(NULL);
    if (!loop || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0) return -1;
    async_set_poll_hooks(loop, &(async_poll_hooks){count_wait, count_wait, NULL});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0) close(ends[i]);
    return async_loop_close(loop);
}

/* A watch that writes its letter when it goes off, and may remove another. */
struct watch {
    async_watch watch;
    char letter;
    struct watch *victim;
};

static void run_watch(async_callback *callback)
{
    struct watch *self = (struct watch *)callback;
    char text[] = {self->letter, 0};

    strncat(trace, text, sizeof trace - strlen(trace) - 1);
    if (self->victim) async_remove_watch(loop, &self->victim->watch);
}

#define WATCH(x, once_)                                                                            \
    {                                                                                              \
        .watch = {.callback = {.run = run_watch}, .foreign = true, .once = once_}, .letter = x     \
    }

static void run_stop(async_callback *callback)
{
    (void)callback;
    async_loop_stop(loop);
}

static void run_for(double seconds)
{
    async_timer end = {.callback = {.run = run_stop}};

    assert_int_equal(async_call_later(loop, &end, seconds), 0);
    assert_int_equal(async_loop_run(loop), 0);
}

/* What has gone off in a few milliseconds, in order. */
#define assert_goes_off(expected)                                                                  \
    do {                                                                                           \
        trace[0] = 0;                                                                              \
        run_for(0.003);                                                                            \
        assert_string_equal(trace, expected);                                                      \
    } while (0)

static void put(int fd) { assert_int_equal(write(fd, "x", 1), 1); }

static void fill(int fd)
{
    char block[4096] = {0};

    while (write(fd, block, sizeof block) > 0)
        continue;
}

static void drain(int fd)
{
    char block[4096];

    while (read(fd, block, sizeof block) > 0)
        continue;
}

static void test_one_event_a_watch(void **state)
{
    struct watch reader = WATCH('r', true);
    (void)state;
    put(ends[1]);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("r");
    assert_goes_off("");                        /* although there is still something to read */
    assert_true(loop->fds[ends[0]].registered); /* the kernel has ended it, without a call */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), -EBUSY);
        assert_goes_off("r");
    }
    drain(ends[0]);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("");
    put(ends[1]);
    assert_goes_off("r");
}

/* A watch that has gone off leaves its registration to what comes next: the same file, or another that
 * has its number, while a duplicate keeps the old one open or not. */
static void test_forgotten_after_one_event(void **state)
{
    struct watch reader = WATCH('r', true), plain = WATCH('p', false);
    (void)state;
    plain.watch.foreign = false;
    for (int duplicated = 0; duplicated < 2; duplicated++) {
        put(ends[1]);
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        assert_goes_off("r");
        async_forget_fd(loop, ends[0]);
        assert_goes_off("");
        assert_int_equal(async_add_reader(loop, ends[0], &plain.watch), 0);
        trace[0] = 0;
        run_for(0.003);
        assert_int_equal(trace[0], 'p');
        drain(ends[0]);
        assert_goes_off("");
        async_remove_watch(loop, &plain.watch);
        async_forget_fd(loop, ends[0]);

        put(ends[1]);
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        assert_goes_off("r");
        async_forget_fd(loop, ends[0]);
        int number = ends[0], peer = ends[1], kept = duplicated ? dup(number) : -1;
        close(number);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        assert_int_equal(ends[0], number);
        assert_int_equal(async_add_reader(loop, number, &plain.watch), 0);
        if (duplicated) put(peer); /* the old file has an event */
        assert_goes_off("");
        put(ends[1]);
        trace[0] = 0;
        run_for(0.003);
        assert_int_equal(trace[0], 'p');
        drain(number);
        async_remove_watch(loop, &plain.watch);
        async_forget_fd(loop, number);
        if (kept >= 0) close(kept);
        close(peer);
    }
}

static void test_reader_and_writer(void **state)
{
    struct watch reader = WATCH('r', true), writer = WATCH('w', true);
    (void)state;
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_goes_off("w");
    assert_goes_off("");
    put(ends[1]);
    assert_goes_off("r"); /* the writer's event was not the end of it */

    fill(ends[0]);
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("r");
    drain(ends[1]);
    assert_goes_off("w");

    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_goes_off("rw");
}

static void test_removed(void **state)
{
    struct watch reader = WATCH('r', true), writer = WATCH('w', true);
    (void)state;
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_true(async_remove_watch(loop, &reader.watch));
    assert_false(async_remove_watch(loop, &reader.watch));
    put(ends[1]);
    assert_goes_off("");

    /* Both go off at once: the reader, which comes first, takes the writer out of the queue. */
    reader.victim = &writer;
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("r");
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_goes_off("w");
}

static void test_beside_a_lasting_watch(void **state)
{
    struct watch reader = WATCH('r', false), writer = WATCH('w', true);
    (void)state;
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_goes_off("w");
    waits = 0;
    assert_goes_off("");
    assert_in_range(waits, 1, 20);
    reader.victim = &reader;
    put(ends[1]);
    assert_goes_off("r");
    drain(ends[0]);

    /* The other order: the one event becomes part of what lasts. */
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("w");
    put(ends[1]);
    assert_goes_off("r");
}

/* The number of ends[0] for another socket, whose other end is returned. */
static int renew(void)
{
    int number = ends[0], pair[2];

    assert_int_equal(close(number), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    if (pair[0] != number) {
        assert_int_equal(dup2(pair[0], number), number);
        close(pair[0]);
    }
    return pair[1];
}

static void test_closed_and_reused(void **state)
{
    struct watch reader = WATCH('r', true), second = WATCH('s', true);
    (void)state;
    for (int waiting = 0; waiting < 2; waiting++) {
        put(ends[1]);
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        assert_goes_off("r");
        drain(ends[0]);
        if (waiting) assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        int other = renew();
        if (waiting) assert_true(async_remove_watch(loop, &reader.watch));
        assert_int_equal(async_add_reader(loop, ends[0], &second.watch), 0);
        assert_goes_off("");
        put(other);
        assert_goes_off("s");
        close(ends[1]);
        ends[1] = other;
    }
}

/* The kernel goes on reporting for the duplicate, under a number that is now another's. */
static void test_closed_with_a_duplicate(void **state)
{
    struct watch reader = WATCH('r', true), second = WATCH('s', true);
    int duplicate = dup(ends[0]), old_end = ends[1];
    (void)state;
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    ends[1] = renew();
    assert_true(async_remove_watch(loop, &reader.watch));
    assert_int_equal(async_add_reader(loop, ends[0], &second.watch), 0);
    put(old_end);
    trace[0] = 0;
    run_for(0.003);
    /* It may go off in vain: a reader that has found nothing sets it again. */
    if (strcmp(trace, "s") == 0)
        assert_int_equal(async_add_reader(loop, ends[0], &second.watch), 0);
    waits = 0;
    assert_goes_off("");
    assert_in_range(waits, 1, 20);
    put(ends[1]);
    assert_goes_off("s");
    close(duplicate);
    close(old_end);
}

/* One direction's event is the other's end, and it cannot begin again: its owner is to find out. */
static void test_closed_while_both_wait(void **state)
{
    struct watch reader = WATCH('r', true), writer = WATCH('w', true);
    (void)state;
    fill(ends[0]);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    int duplicate = dup(ends[0]);
    close(ends[0]);
    put(ends[1]);
    assert_goes_off("rw");
    ends[0] = duplicate;
}

static void test_given_to_the_loop(void **state)
{
    struct watch reader = WATCH('r', true), own = WATCH('o', false);
    (void)state;
    own.watch.foreign = false;
    own.victim = &own;
    put(ends[1]);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("r");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(async_add_reader(loop, ends[0], &own.watch), 0);
        assert_goes_off("o");
    }
    async_forget_fd(loop, ends[0]);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_goes_off("r");

    /* The loop's own interest lasts, in a socket that is no more. */
    drain(ends[0]);
    assert_int_equal(async_add_reader(loop, ends[0], &own.watch), 0);
    assert_true(async_remove_watch(loop, &own.watch));
    int other = renew();
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    put(other);
    assert_goes_off("r");
    close(other);
}

static void test_not_to_be_watched(void **state)
{
    struct watch reader = WATCH('r', true);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(async_add_reader(loop, 99, &reader.watch), -EBADF);
    assert_int_equal(async_add_reader(loop, file, &reader.watch), 0);
    assert_goes_off("r"); /* it is always ready */
    assert_int_equal(async_add_reader(loop, file, &reader.watch), 0);
    assert_goes_off("r");
    close(file);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_one_event_a_watch),       CASE(test_forgotten_after_one_event),
        CASE(test_reader_and_writer),       CASE(test_removed),
        CASE(test_beside_a_lasting_watch),  CASE(test_closed_and_reused),
        CASE(test_closed_with_a_duplicate), CASE(test_closed_while_both_wait),
        CASE(test_given_to_the_loop),       CASE(test_not_to_be_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
