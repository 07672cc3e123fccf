/* The engine without tasks: callbacks, timers, stop, other threads, deadlock, the virtual clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio/loop.h>
#include <cmocka.h>
#include <limits.h>
#include <loop/loop_internal.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static async_loop *loop;
static char trace[256];

static int set_up(void **state)
{
    (void)state;
    trace[0] = 0;
    loop = async_loop_new(&(async_loop_options){.virtual_clock = true});
    return loop ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return async_loop_close(loop);
}

struct mark {
    async_timer timer; /* first, so that it is a callback too */
    char letter;
    bool stops;
};

static void run_mark(async_callback *callback)
{
    struct mark *mark = (struct mark *)callback;
    char text[] = {mark->letter, 0};
    strcat(trace, text);
    if (mark->stops) async_loop_stop(loop);
}

#define MARK(x)                                                                                    \
    {                                                                                              \
        .timer = {.callback = {.run = run_mark}}, .letter = x                                      \
    }

static void test_callbacks_run_in_order(void **state)
{
    struct mark a = MARK('a'), b = MARK('b'), c = MARK('c'), d = MARK('d');
    (void)state;
    async_call_soon(loop, &a.timer.callback);
    async_call_soon(loop, &b.timer.callback);
    async_call_soon(loop, &a.timer.callback); /* is queued already */
    async_call_soon(loop, &c.timer.callback);
    assert_true(async_callback_cancel(&b.timer.callback));
    assert_false(async_callback_cancel(&b.timer.callback));
    async_loop_stop(loop);
    async_call_soon(loop, &d.timer.callback); /* after the stop: for the next run */
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "ac");
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "acd");
}

static void test_timers(void **state)
{
    struct mark a = MARK('a'), b = MARK('b'), c = MARK('c'), d = MARK('d'), e = MARK('e');
    (void)state;
    e.stops = true;
    assert_int_equal(async_call_later(loop, &a.timer, 3), 0);
    assert_int_equal(async_call_later(loop, &b.timer, 1), 0);
    assert_int_equal(async_call_later(loop, &c.timer, 1), 0);
    assert_int_equal(async_call_later(loop, &d.timer, -5), 0);
    assert_int_equal(async_call_later(loop, &e.timer, 10), 0);
    assert_int_equal(async_call_later(loop, &b.timer, 2), 0); /* set anew */
    assert_int_equal(async_call_later(loop, &b.timer, NAN), -EINVAL);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "dcbae");
    assert_int_equal(async_loop_time_ns(loop), 10 * ASYNC__SECOND);
    assert_false(async_timer_cancel(loop, &a.timer));
}

/* A nanosecond counts, a time in the past is as soon as possible, and INT64_MAX is never. */
static void test_nanoseconds(void **state)
{
    struct mark a = MARK('a'), b = MARK('b'), c = MARK('c'), d = MARK('d');
    (void)state;
    b.stops = true;
    assert_int_equal(async_call_at_ns(loop, &b.timer, 1000000001), 0);
    assert_int_equal(async_call_at_ns(loop, &a.timer, 1000000000), 0);
    assert_int_equal(async_call_at_ns(loop, &c.timer, -5), 0);
    assert_int_equal(async_call_at_ns(loop, &d.timer, INT64_MAX), 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "cab");
    assert_int_equal(async_loop_time_ns(loop), 1000000001);
    assert_int_equal(async_loop_run(loop), -EDEADLK); /* d */
    assert_true(async_timer_cancel(loop, &d.timer));
}

static void test_negative_delays_keep_their_order(void **state)
{
    struct mark a = MARK('a'), b = MARK('b'), c = MARK('c');
    (void)state;
    c.stops = true;
    async_call_later(loop, &a.timer, -1);
    async_call_later(loop, &b.timer, -2);
    async_call_later(loop, &c.timer, 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "bac");
}

static void test_cancelled_timers_do_not_run(void **state)
{
    enum { MANY = 5000 };
    static struct mark marks[MANY];
    struct mark end = MARK('!');
    (void)state;
    end.stops = true;
    for (int i = 0; i < MANY; i++) {
        marks[i] = (struct mark)MARK(i % 1000 == 7 ? 'x' : '?');
        assert_int_equal(async_call_later(loop, &marks[i].timer, (i * 37) % 1009), 0);
    }
    async_call_later(loop, &end.timer, 5000);
    for (int i = 0; i < MANY; i++)
        if (i % 1000 != 7) assert_true(async_timer_cancel(loop, &marks[i].timer));
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "xxxxx!");
}

static void test_deadlock(void **state)
{
    struct mark a = MARK('a');
    (void)state;
    assert_int_equal(async_loop_run(loop), -EDEADLK);
    async_call_later(loop, &a.timer, INFINITY);
    assert_int_equal(async_loop_run(loop), -EDEADLK); /* a clock that jumps cannot jump there */
    assert_true(async_timer_cancel(loop, &a.timer));
}

static void *comes_in(void *argument)
{
    async_call_soon_threadsafe(loop, argument);
    return NULL;
}

static void test_other_threads(void **state)
{
    struct mark a = MARK('a');
    pthread_t thread;
    (void)state;
    a.stops = true;
    async_loop_share(loop);
    assert_int_equal(pthread_create(&thread, NULL, comes_in, &a.timer.callback), 0);
    assert_int_equal(async_loop_run(loop), 0); /* sleeps until it comes, and is not a deadlock */
    pthread_join(thread, NULL);
    assert_string_equal(trace, "a");
}

static int nested, closed;

static void run_nested(async_callback *callback)
{
    (void)callback;
    async_loop *other = async_loop_new(NULL);
    nested = async_loop_run(other);
    async_loop_close(other);
    closed = async_loop_close(loop);
    async_loop_stop(loop);
}

static void test_one_loop_a_thread(void **state)
{
    async_callback callback = {.run = run_nested};
    (void)state;
    async_call_soon(loop, &callback);
    assert_false(async_loop_is_running(loop));
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(nested, -EALREADY);
    assert_int_equal(closed, -EBUSY);
}

/* ---- descriptors ---- */

struct reader {
    async_watch watch;
    int count;
    bool drains;
};

static void run_reader(async_callback *callback)
{
    struct reader *reader = (struct reader *)callback;
    char bytes[16];
    if (reader->drains && read(reader->watch.fd, bytes, sizeof bytes) < 0) abort();
    if (++reader->count == 3) async_loop_stop(loop);
}

static void test_watches(void **state)
{
    struct reader reader = {.watch = {.callback = {.run = run_reader}}}, second = reader;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(async_add_reader(loop, -1, &reader.watch), -EBADF);
    assert_int_equal(async_add_reader(loop, 1999, &reader.watch), -EBADF);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &second.watch), -EBUSY);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(async_loop_run(loop), 0); /* level-triggered: not read, it comes again */
    assert_int_equal(reader.count, 3);
    assert_true(async_remove_watch(loop, &reader.watch));
    assert_false(async_remove_watch(loop, &reader.watch));
    assert_int_equal(async_loop_run(loop), -EDEADLK); /* though there is something to read */

    reader.watch.once = true;
    reader.count = 2;
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_false(async_remove_watch(loop, &reader.watch));

    reader.count = 2;
    assert_int_equal(read(ends[0], trace, 1), 1);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    async_forget_fd(loop, ends[0]);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(reader.watch.error, -EBADF);
    close(ends[0]);
    close(ends[1]);
}

/* A number that is no descriptor makes no entry: the table follows what is open. */
static void test_numbers_that_are_no_descriptors(void **state)
{
    static const int numbers[] = {-1, INT_MIN, 1000, 10000000, 1500000000, INT_MAX};
    struct reader reader = {.watch = {.callback = {.run = run_reader}}};
    int length = loop->fds_length, ends[2];
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        assert_int_equal(async_add_reader(loop, numbers[i], &reader.watch), -EBADF);
        assert_int_equal(async_add_writer(loop, numbers[i], &reader.watch), -EBADF);
        async_forget_fd(loop, numbers[i]);
    }
    assert_int_equal(loop->fds_length, length);
    assert_int_equal(loop->watches, 0);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[0], 900), 900);
    assert_int_equal(async_add_reader(loop, 900, &reader.watch), 0);
    assert_true(loop->fds_length > 900 && loop->fds_length <= 2048);
    async_forget_fd(loop, 900);
    close(900);
    close(ends[0]);
    close(ends[1]);
}

/* A number that is closed and comes back at once: no event of the old one's. */
static void test_a_reused_number(void **state)
{
    struct reader old = {.watch = {.callback = {.run = run_reader}}}, new = old;
    int ends[2], again[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &old.watch), 0);
    async_remove_watch(loop, &old.watch);
    async_forget_fd(loop, ends[0]);
    close(ends[0]);
    assert_int_equal(pipe(again), 0);
    assert_int_equal(again[0], ends[0]);
    new.count = 2;
    assert_int_equal(async_add_reader(loop, again[0], &new.watch), 0);
    assert_int_equal(write(again[1], "x", 1), 1);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(new.count, 3);
    assert_int_equal(old.count, 0);
    async_remove_watch(loop, &new.watch);
    close(ends[1]);
    close(again[0]);
    close(again[1]);
}

/* Closed by close(2), behind the loop's back, and the number reused: the watch is put in anew. */
static void test_closed_behind_its_back(void **state)
{
    struct reader writer = {.watch = {.callback = {.run = run_reader}, .once = true}},
                  reader = writer;
    int ends[2], again[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    async_remove_watch(loop, &reader.watch);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(pipe(again), 0);
    writer.count = 2;
    int fd = dup2(again[1], ends[0]);
    assert_int_equal(async_add_writer(loop, fd, &writer.watch), 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(writer.count, 3);
    close(fd);
    close(again[1]);
    if (again[0] != fd) close(again[0]);
}

static void test_a_regular_file_is_always_ready(void **state)
{
    struct reader reader = {.watch = {.callback = {.run = run_reader}, .once = true}, .count = 2};
    FILE *file = tmpfile();
    (void)state;
    assert_int_equal(async_add_reader(loop, fileno(file), &reader.watch), 0);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(reader.count, 3);
    fclose(file);
}

static void test_real_time(void **state)
{
    struct mark a = MARK('a');
    (void)state;
    async_loop_close(loop);
    loop = async_loop_new(NULL);
    const char *chosen = getenv("CASYNCIO_BACKEND");
    assert_string_equal(async_loop_backend(loop), chosen ? chosen : "epoll");
    a.stops = true;
    double start = async_loop_time(loop);
    async_call_later(loop, &a.timer, 0.002);
    assert_int_equal(async_loop_run(loop), 0);
    assert_true(async_loop_time(loop) - start >= 0.002); /* never too early */
}

static struct mark taken_back = MARK('x');

static void run_taking_back(async_callback *callback)
{
    run_mark(callback);
    assert_true(async_callback_cancel(&taken_back.timer.callback));
}

/* The last first, each once, and what is taken back not. */
static void test_at_close(void **state)
{
    struct mark a = MARK('a'), b = MARK('b'), c = MARK('c');
    async_loop *other = async_loop_new(NULL);
    (void)state;
    trace[0] = 0;
    c.timer.callback.run = run_taking_back;
    async_loop_at_close(other, &a.timer.callback);
    async_loop_at_close(other, &taken_back.timer.callback);
    async_loop_at_close(other, &b.timer.callback);
    async_loop_at_close(other, &c.timer.callback);
    async_loop_at_close(other, &a.timer.callback); /* is there already */
    assert_true(async_callback_cancel(&b.timer.callback));
    assert_int_equal(async_loop_close(other), 0);
    assert_string_equal(trace, "ca");
    assert_false(async_callback_cancel(&a.timer.callback));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_callbacks_run_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_timers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nanoseconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_negative_delays_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancelled_timers_do_not_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deadlock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_loop_a_thread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_watches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_numbers_that_are_no_descriptors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reused_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_behind_its_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_regular_file_is_always_ready, set_up, tear_down),
        cmocka_unit_test(test_at_close),
        cmocka_unit_test_setup_teardown(test_real_time, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
