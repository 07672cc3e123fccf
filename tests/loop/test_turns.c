/* What another language's event loop asks of the engine: turns, an end at once, hooks around the
 * wait, a look at what is queued, watches of descriptors that are closed behind the loop's back,
 * forks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <casyncio/loop.h>
#include <cmocka.h>
#include <loop/loop_internal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static async_loop *loop;
static char trace[256];

static int set_up(void **state)
{
    (void)state;
    trace[0] = 0;
    loop = async_loop_new(&(async_loop_options){.turns = true});
    return loop ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return async_loop_close(loop);
}

/* Writes its letter, and then does one thing. */
struct mark {
    async_callback callback;
    char letter;
    enum { NOTHING, STOP, INTERRUPT } deed;
    struct mark *other; /* to queue */
};

static void run_mark(async_callback *callback)
{
    struct mark *mark = async__container(callback, struct mark, callback);
    strncat(trace, &mark->letter, 1);
    if (mark->deed == STOP) async_loop_stop(loop);
    if (mark->deed == INTERRUPT) async_loop_interrupt(loop);
    if (mark->other) async_call_soon(loop, &mark->other->callback);
}

#define MARK(...)                                                                                  \
    {                                                                                              \
        .callback = {.run = run_mark}, __VA_ARGS__                                                 \
    }

/* ---- turns ---- */

static void test_stop_ends_the_turn(void **state)
{
    struct mark late = MARK(.letter = 'l'), c = MARK(.letter = 'c', .deed = STOP);
    struct mark a = MARK(.letter = 'a', .other = &late), b = MARK(.letter = 'b', .deed = STOP);
    (void)state;
    async_call_soon(loop, &a.callback);
    async_call_soon(loop, &b.callback);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "ab"); /* `late` was made ready by this turn */
    async_call_soon(loop, &c.callback);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "ablc");
}

static void test_stop_before_the_run_is_one_turn(void **state)
{
    struct mark late = MARK(.letter = 'l'), a = MARK(.letter = 'a', .other = &late);
    (void)state;
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0); /* with nothing to do it does not wait */
    assert_string_equal(trace, "");
    async_call_soon(loop, &a.callback);
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "a");
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "al");
}

struct reader {
    async_watch watch;
    char letter;
};

static void run_reader(async_callback *callback)
{
    struct reader *reader = async__container(callback, struct reader, watch.callback);
    strncat(trace, &reader->letter, 1);
}

static void test_stop_before_the_run_looks_outside(void **state)
{
    struct mark a = MARK(.letter = 'a');
    struct reader reader = {.watch = {.callback = {.run = run_reader}}, .letter = 'r'};
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    async_call_soon(loop, &a.callback);
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "ar"); /* one turn, and the reader in it */
    async_remove_watch(loop, &reader.watch);
    async_forget_fd(loop, ends[0]);
    close(ends[0]);
    close(ends[1]);
}

/* However busy the ready queue is: a timer gets its turn. */
struct busy {
    struct mark mark;
    async_timer timer;
    long rounds;
};

static void run_busy(async_callback *callback)
{
    struct busy *busy = async__container(callback, struct busy, mark.callback);
    busy->rounds++;
    if (!strchr(trace, 't')) async_call_soon(loop, callback);
}

static void run_due(async_callback *callback)
{
    (void)callback;
    strcat(trace, "t");
    async_loop_stop(loop);
}

static void test_busy_turns_look_outside(void **state)
{
    struct busy busy = {.mark = {.callback = {.run = run_busy}},
                        .timer = {.callback = {.run = run_due}}};
    (void)state;
    /* A timer that is due in the first turn already, on a machine that is busy, shows nothing. */
    for (double delay = 0.002; busy.rounds <= 1; delay *= 2) {
        busy.rounds = 0;
        trace[0] = 0;
        async_call_soon(loop, &busy.mark.callback);
        assert_int_equal(async_call_later(loop, &busy.timer, delay), 0);
        assert_int_equal(async_loop_run(loop), 0);
        assert_string_equal(trace, "t");
    }
}

static void run_polling(async_callback *callback)
{
    async_loop_yielded(loop);
    run_busy(callback);
}

static void set_timer(async_callback *callback)
{
    struct busy *busy = async__container(callback, struct busy, mark.callback);
    assert_int_equal(async_call_at(loop, &busy->timer, 0), 0); /* due, but not seen yet */
    callback->run = run_polling;
    run_polling(callback);
}

/* What gives way again and again need not do so for 50 microseconds until it sees what is due. */
static void test_yields_look_outside(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        struct busy busy = {.mark = {.callback = {.run = set_timer}},
                            .timer = {.callback = {.run = run_due}}};
        trace[0] = 0;
        async_call_soon(loop, &busy.mark.callback);
        assert_int_equal(async_loop_run(loop), 0);
        assert_true(busy.rounds < 8);
        async_callback_cancel(&busy.mark.callback);
    }
}

static void test_interrupt_leaves_the_rest_for_later(void **state)
{
    struct mark a = MARK(.letter = 'a', .deed = INTERRUPT), b = MARK(.letter = 'b', .deed = STOP);
    (void)state;
    async_call_soon(loop, &a.callback);
    async_call_soon(loop, &b.callback);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "a");
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "ab");
}

/* ---- hooks ---- */

static void before(void *data) { strcat(data, "("); }

static void after(void *data)
{
    strcat(data, ")");
    async_loop_interrupt(loop);
}

static void test_hooks_are_around_waiting_only(void **state)
{
    struct busy busy = {.timer = {.callback = {.run = run_due}}};
    struct mark a = MARK(.letter = 'a');
    (void)state;
    async_set_poll_hooks(loop, &(async_poll_hooks){before, after, trace});
    async_call_soon(loop, &a.callback);
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0); /* only looks */
    assert_string_equal(trace, "a");
    assert_int_equal(async_call_later(loop, &busy.timer, 0.001), 0);
    assert_int_equal(async_loop_run(loop), 0); /* the hook ends it */
    assert_string_equal(trace, "a()");
    async_set_poll_hooks(loop, NULL);
    assert_int_equal(async_loop_run(loop), 0);
    assert_string_equal(trace, "a()t");
}

/* ---- what waits ---- */

static int count(async_callback *callback, void *data)
{
    (void)callback;
    return ++*(int *)data == 3 ? 7 : 0;
}

static void test_visit_and_take(void **state)
{
    struct mark a = MARK(.letter = 'a'), b = MARK(.letter = 'b'), c = MARK(.letter = 'c');
    async_timer first = {.callback = {.run = run_due}}, never = {.callback = {.run = run_due}};
    int visited = 0;
    (void)state;
    async_call_soon(loop, &a.callback);
    async_call_soon(loop, &b.callback);
    assert_int_equal(async_call_later(loop, &never, 1.0 / 0.0), 0);
    assert_int_equal(async_call_later(loop, &first, 10), 0);
    assert_int_equal(async_loop_visit(loop, count, &visited), 7);
    assert_int_equal(visited, 3);
    async_call_soon_threadsafe(loop, &c.callback);
    assert_ptr_equal(async_loop_take(loop), &a.callback);
    assert_ptr_equal(async_loop_take(loop), &b.callback);
    assert_ptr_equal(async_loop_take(loop), &c.callback);
    assert_ptr_equal(async_loop_take(loop), &first.callback);
    assert_ptr_equal(async_loop_take(loop), &never.callback);
    assert_null(async_loop_take(loop));
    assert_false(async_timer_cancel(loop, &first)); /* it is not set any more */
}

/* ---- foreign watches ---- */

static void run_once_more(void)
{
    async_loop_stop(loop);
    assert_int_equal(async_loop_run(loop), 0);
}

/* The number is closed without a word, and comes back as another descriptor. */
static void test_foreign_watches_survive_a_close(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct reader reader = {
            .watch = {.callback = {.run = run_reader}, .foreign = true, .once = round == 1},
            .letter = 'r'};
        int ends[2];
        trace[0] = 0;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
        run_once_more();
        assert_string_equal(trace, "");
        assert_int_equal(write(ends[1], "x", 1), 1);
        run_once_more();
        assert_string_equal(trace, "r");
        if (round == 2) { /* closed while it is watched, and then watched anew */
            close(ends[0]);
            close(ends[1]);
            async_remove_watch(loop, &reader.watch);
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
            assert_int_equal(write(ends[1], "x", 1), 1);
            assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
            run_once_more();
            assert_string_equal(trace, "rr");
        }
        async_remove_watch(loop, &reader.watch);
        close(ends[0]);
        close(ends[1]);
    }
}

/* A duplicate keeps the kernel's registration alive: nothing of it may be left behind. */
static void test_foreign_watches_leave_nothing_behind(void **state)
{
    struct reader reader = {.watch = {.callback = {.run = run_reader}, .foreign = true},
                            .letter = 'r'};
    struct busy busy = {.timer = {.callback = {.run = run_due}}};
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    run_once_more();
    assert_true(async_remove_watch(loop, &reader.watch));
    int copy = dup(ends[0]);
    close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(async_call_later(loop, &busy.timer, 0.001), 0);
    async_set_poll_hooks(loop, &(async_poll_hooks){before, NULL, trace});
    assert_int_equal(async_loop_run(loop), 0);
    /* One wait, or two on a machine that is busy: nothing ends it again and again. */
    assert_true(strcmp(trace, "(t") == 0 || strcmp(trace, "((t") == 0);
    close(copy);
    close(ends[1]);
}

static void test_foreign_reader_and_writer(void **state)
{
    struct reader reader = {.watch = {.callback = {.run = run_reader}, .foreign = true},
                            .letter = 'r'};
    struct reader writer = {
        .watch = {.callback = {.run = run_reader}, .foreign = true, .once = true}, .letter = 'w'};
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    run_once_more();
    assert_string_equal(trace, "w");
    assert_int_equal(write(ends[1], "x", 1), 1);
    run_once_more();
    assert_string_equal(trace, "wr");
    assert_int_equal(async_add_writer(loop, ends[0], &writer.watch), 0);
    run_once_more();
    assert_true(strcmp(trace, "wrrw") == 0 || strcmp(trace, "wrwr") == 0);
    async_remove_watch(loop, &reader.watch);
    close(ends[0]);
    close(ends[1]);
}

/* ---- forks ---- */

/* In the child: the loop can only be closed, another one can run, and the parent keeps its
 * interest. */
static int in_child(int fd, async_watch *watch)
{
    if (async_loop_run(loop) != -ECHILD) return 1;
    async_remove_watch(loop, watch);
    async_forget_fd(loop, fd);
    if (async_loop_close(loop) != 0) return 2;
    trace[0] = 0;
    loop = async_loop_new(NULL);
    struct mark a = MARK(.letter = 'a', .deed = STOP);
    async_call_soon(loop, &a.callback);
    if (async_loop_run(loop) != 0 || strcmp(trace, "a") != 0) return 3;
    return async_loop_close(loop) == 0 ? 0 : 4;
}

struct forker {
    async_callback callback;
    int fd;
    async_watch *watch;
    pid_t child;
};

static void run_fork(async_callback *callback)
{
    struct forker *forker = async__container(callback, struct forker, callback);
    forker->child = fork();
    if (forker->child == 0) _exit(in_child(forker->fd, forker->watch));
    async_loop_stop(loop);
}

static void test_fork_in_a_callback(void **state)
{
    struct reader reader = {.watch = {.callback = {.run = run_reader}}, .letter = 'r'};
    struct forker forker = {.callback = {.run = run_fork}, .watch = &reader.watch};
    int ends[2], status;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    forker.fd = ends[0];
    assert_int_equal(async_add_reader(loop, ends[0], &reader.watch), 0);
    async_call_soon(loop, &forker.callback);
    assert_int_equal(async_loop_run(loop), 0);
    assert_int_equal(waitpid(forker.child, &status, 0), forker.child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    run_once_more();
    assert_string_equal(trace, "r");
    async_remove_watch(loop, &reader.watch);
    async_forget_fd(loop, ends[0]);
    close(ends[0]);
    close(ends[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stop_ends_the_turn),
        TEST(stop_before_the_run_is_one_turn),
        TEST(stop_before_the_run_looks_outside),
        TEST(busy_turns_look_outside),
        TEST(yields_look_outside),
        TEST(interrupt_leaves_the_rest_for_later),
        TEST(hooks_are_around_waiting_only),
        TEST(visit_and_take),
        TEST(foreign_watches_survive_a_close),
        TEST(foreign_watches_leave_nothing_behind),
        TEST(foreign_reader_and_writer),
        TEST(fork_in_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
