/* Programs that ignore codes of refused calls, Ctrl-C, or the end of a shield; and what the library
 * then reports. */
#include "run.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void hear(async_loop *loop, int code, const char *message, void *data)
{
    (void)loop;
    (void)data;
    note("%s[%s]", async_error_name(code), message);
}

static int run_hearing(async_coroutine main)
{
    notes[0] = 0;
    return async_run_with(
        main, NULL,
        &(async_run_options){.loop = {.virtual_clock = true}, .exception_handler = hear});
}

/* ---- codes that are ignored in a loop ---- */

static bool done;
static int others;

static int finishes(void *unused)
{
    (void)unused;
    int code = 0;
    for (int i = 0; i < 50 && code == 0; i++, others++)
        code = async_sleep(0);
    done = true;
    return code;
}

static int ignores_its_timeout(void *unused)
{
    (void)unused;
    done = false;
    others = 0;
    long calls = 0;
    async_timeout (0)
        while (!done || calls < 10000) {
            async_task *task = calls++ == 0 ? async_create_task(finishes, NULL) : NULL;
            if (task) async_detach(task);
            async_sleep(0.1);
        }
    assert_int_equal(others, 50);
    assert_int_equal(async_sleep(1), 0);
    assert_int_equal(tenths(), 10);
    return 0;
}

static void test_ignored_timeout(void **state)
{
    (void)state;
    assert_int_equal(run_hearing(ignores_its_timeout), 0);
    /* Once for each time that its calls begin to be refused, and with the name. */
    const char *first = strstr(notes, "ETIMEDOUT[Task-1 ignores the code");
    assert_non_null(first);
    assert_null(strstr(first + 1, "ETIMEDOUT["));
#ifdef __GLIBC__
    if (!getenv("CASYNCIO_EMULATED")) assert_non_null(strstr(notes, "test_task_stubborn"));
#endif
}

/* Every kind of call: each is refused, and each gives way. */
static int ignores_everything(void *unused)
{
    async_queue *queue = async_queue_new(sizeof(int), 0);
    async_event event = ASYNC_EVENT_INIT;
    async_future future = ASYNC_FUTURE_INIT;
    async_lock lock = ASYNC_LOCK_INIT;
    char byte;
    int fds[2], item;
    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    for (int kind = 0; kind < 10; kind++) {
        done = false;
        async_detach(async_create_task(finishes, NULL));
        async_cancel(async_current_task(), NULL);
        while (!done) {
            if (kind == 0) async_sleep(1);
            if (kind == 1) async_queue_get(queue, &item);
            if (kind == 2) async_event_wait(&event);
            if (kind == 3) async_future_wait(&future, NULL);
            if (kind == 4) async_recv(fds[0], &byte, 1, 0);
            if (kind == 5) async_wait_readable(fds[0]);
            if (kind == 6) async_checkpoint();
            if (kind == 7) async_sleep(0);
            if (kind == 8 && async_lock_acquire(&lock) == 0) fail();
            if (kind == 9) async_gather_array(NULL, 0);
        }
        async_uncancel(async_current_task());
    }
    async_queue_free(queue);
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}

static void test_every_call_gives_way(void **state)
{
    (void)state;
    assert_int_equal(run_hearing(ignores_everything), 0);
}

/* ---- Ctrl-C ---- */

enum way { SLEEPS_ON, COMPUTES, HELD_IN_AN_EXIT, AT_ONCE };

static void tell(const char *word) { assert_true(write(1, word, strlen(word)) > 0); }

static void never_leaves(void *unused)
{
    (void)unused;
    for (;;)
        async_sleep(INFINITY);
}

__attribute__((noreturn)) static int stubborn(void *argument)
{
    enum way way = *(enum way *)argument;
    tell("ready");
    if (way == COMPUTES)
        for (volatile int i = 0;; i++)
            continue;
    if (way == HELD_IN_AN_EXIT)
        async_with (void *, self, argument, never_leaves)
            async_sleep(INFINITY);
    for (;;) {
        async_sleep(INFINITY);
        async_sleep(1000);
    }
}

/* What becomes of a program that is sent SIGINT twice: its wait status. */
static int interrupted_twice(enum way way)
{
    int fds[2];
    char word[8];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(fds[1], 1);
        async_run_with(stubborn, &way, &(async_run_options){.no_report = true});
        _exit(0);
    }
    close(fds[1]);
    assert_true(read(fds[0], word, sizeof word) > 0);
    kill(child, SIGINT);
    if (way != AT_ONCE) usleep(20000);
    kill(child, SIGINT);
    int status;
    /* Two that come while the first is still pending are one: then it takes a third. */
    while (waitpid(child, &status, WNOHANG) == 0) {
        usleep(10000);
        kill(child, SIGINT);
    }
    close(fds[0]);
    return status;
}

static void test_second_interrupt_ends_it(void **state)
{
    (void)state;
    for (enum way way = SLEEPS_ON; way <= AT_ONCE; way++) {
#ifdef __SANITIZE_THREAD__
        if (way == COMPUTES) continue; /* its handlers run when the program calls something */
#endif
        int status = interrupted_twice(way);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGINT);
    }
}

/* ---- the shield around an exit ---- */

static int results[2];

static void waits_in_its_exit(void *unused)
{
    (void)unused;
    results[0] = async_sleep(3);
    results[1] = async_sleep(100);
    note("exit@%d", tenths());
}

static int has_an_exit(void *unused)
{
    async_with (void *, self, &others, waits_in_its_exit)
        async_sleep(1);
    return unused ? 1 : 0;
}

static int limits_exits(void *unused)
{
    (void)unused;
    /* Nothing is due: the exit takes its time. */
    assert_int_equal(async_await(async_create_task(has_an_exit, NULL)), 0);
    assert_int_equal(results[1], 0);
    assert_notes("exit@1040 ");

    /* A cancellation that comes 2 s after the exit has begun reaches it 10 s later. */
    async_task *task = async_create_task(has_an_exit, NULL);
    async_sleep(3);
    async_cancel(task, NULL);
    async_await(task);
    assert_int_equal(results[0], 0);
    assert_int_equal(results[1], -ECANCELED);
    assert_notes("exit@1170 "); /* 104 + 3 + 10 */

    /* One of before the exit. */
    task = async_create_task(has_an_exit, NULL);
    async_sleep(0.5);
    async_cancel(task, NULL);
    async_await(task);
    assert_int_equal(results[1], -ECANCELED);
    assert_notes("exit@1275 "); /* 117 + 0.5 + 10 */

    /* A timeout around the block. */
    async_timeout (2) {
        has_an_exit(NULL);
        assert_int_equal(results[1], -ETIMEDOUT);
    }
    assert_notes("exit@1395 "); /* 127.5 + 2 + 10 */
    return 0;
}

static void test_limited_exits(void **state)
{
    (void)state;
    notes[0] = 0;
    assert_int_equal(run(limits_exits, NULL), 0);
}

static int cancelled_in_its_exit(void *unused)
{
    (void)unused;
    async_task *task = async_create_task(has_an_exit, NULL);
    async_sleep(2);
    async_cancel(task, NULL);
    async_await(task);
    return 0;
}

static void test_exit_timeout_option(void **state)
{
    static const struct {
        double timeout;
        const char *notes;
    } cases[] = {{0.5, "exit@25 "}, {60, "exit@620 "}, {INFINITY, "exit@1040 "}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        async_run_options options = {.loop = {.virtual_clock = true},
                                     .exit_timeout = cases[i].timeout};
        notes[0] = 0;
        assert_int_equal(async_run_with(cancelled_in_its_exit, NULL, &options), 0);
        assert_notes(cases[i].notes);
    }
    assert_int_equal(
        async_run_with(cancelled_in_its_exit, NULL, &(async_run_options){.exit_timeout = -1}),
        -EINVAL);
    assert_int_equal(
        async_run_with(cancelled_in_its_exit, NULL, &(async_run_options){.exit_timeout = NAN}),
        -EINVAL);
}

/* Exits in exits: one limit for all of them, from when something is due; none if it is taken back. */
static void waits_for_ever(void *unused)
{
    (void)unused;
    int code = async_sleep(300);
    note("%s@%d", async_error_name(code), tenths());
}

static void has_a_block(void *argument)
{
    async_with (void *, inner, argument, waits_for_ever)
        async_sleep(0);
    waits_for_ever(argument);
}

static int nests(void *argument)
{
    async_with (void *, outer, argument, has_a_block)
        async_sleep(0);
    return 0;
}

static int nested_exits(void *unused)
{
    (void)unused;
    async_task *task = async_create_task(nests, &others);
    async_sleep(1); /* it is in the inner exit */
    async_cancel(task, NULL);
    async_sleep(5);
    async_uncancel(task);
    async_sleep(14);
    async_cancel(task, NULL);
    async_await(task);
    assert_notes("ECANCELED@300 ECANCELED@300 "); /* 1 + 5 + 14 + 10 */
    return 0;
}

TEST(nested_exits)

/* A generator that ignores the code of async_yield does not keep the others from running. */
static int yields_on(async_generator *self, void *unused)
{
    (void)unused;
    for (int i = 0; !done; i++)
        async_yield(self, &i);
    return 0;
}

static int ignored_by_generators(void *unused)
{
    (void)unused;
    done = false;
    async_detach(async_create_task(finishes, NULL));
    async_for (int, value, async_generate(yields_on, NULL, sizeof(int)))
        if (value == 3) break;
    assert_true(done);
    return async_block_error();
}

static void test_generators_give_way(void **state)
{
    (void)state;
    assert_int_equal(run_hearing(ignored_by_generators), 0);
}

/* Calls that are refused because their arguments make no sense give way as well. */
static int misuses_everything(void *unused)
{
    char line[8];
    int item;
    (void)unused;
    for (int kind = 0; kind < 16; kind++) {
        done = false;
        async_detach(async_create_task(finishes, NULL));
        while (!done) {
            if (kind == 0) async_stream_readline(NULL, line, sizeof line);
            if (kind == 1) async_queue_get(NULL, &item);
            if (kind == 2) async_event_wait(NULL);
            if (kind == 3) async_future_wait(NULL, NULL);
            if (kind == 4) async_await(NULL);
            if (kind == 5) async_await(async_current_task());
            if (kind == 6) async_sleep(-1);
            if (kind == 7) async_file_read(NULL, line, sizeof line);
            if (kind == 8) async_file_open("x", "?");
            if (kind == 9) async_recv(-1, line, sizeof line, 0);
            if (kind == 10)
                async_for (int, value, (async_iterator *)NULL)
                    fail_msg("%d", value);
            if (kind == 11)
                async_with_lock (NULL)
                    fail();
            if (kind == 12)
                async_timeout (NAN)
                    fail();
            if (kind == 13)
                async_with_group (group)
                    continue;
            if (kind == 14) async_server_accept(NULL);
            if (kind == 15) async_to_thread(NULL, NULL);
        }
        async_block_error();
    }
    return 0;
}

static void test_misuse_gives_way(void **state)
{
    (void)state;
    assert_int_equal(run_hearing(misuses_everything), 0);
}

/* A stream whose peer does not read: a timeout ends the close in async_with_stream at once. */
static int fills(async_stream *stream)
{
    static const char block[60000];
    int code = 0;
    async_timeout (1)
        while (code == 0)
            code = async_stream_write(stream, block, sizeof block);
    return code;
}

static int closes_streams(void *unused)
{
    int fds[2];
    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    async_timeout (5)
        async_with_stream(stream, async_stream_from_fd(fds[0]))
            assert_int_equal(fills(stream), -ETIMEDOUT);
    assert_int_equal(tenths(), 50);
    assert_int_equal(async_block_error(), -ETIMEDOUT); /* what was kept has been dropped */
    close(fds[1]);
    return 0;
}

TEST(closes_streams)

static int interrupts(void *unused)
{
    (void)unused;
    int code = async_sleep(3);
    kill(getpid(), SIGINT);
    return code;
}

/* Ctrl-C as well. */
static int interrupted_in_the_exit(void *unused)
{
    int fds[2];
    (void)unused;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    async_task *task = async_create_task(interrupts, NULL);
    async_with_stream(stream, async_stream_from_fd(fds[0]))
        assert_int_equal(fills(stream), -ETIMEDOUT);
    int code = async_block_error();
    note("%s@%d", async_error_name(code), tenths());
    assert_int_equal(fcntl(fds[0], F_GETFD), -1);
    close(fds[1]);
    assert_int_equal(async_await(task), 0);
    return code;
}

static void test_interrupted_in_the_exit(void **state)
{
    (void)state;
    notes[0] = 0;
    signal(SIGINT, SIG_DFL);
    assert_int_equal(run(interrupted_in_the_exit, NULL), -EINTR);
    assert_notes("ECANCELED@30 ");
}

/* ---- errors that no code could give ---- */

static int fails(void *unused)
{
    (void)unused;
    return async_raise(-EIO, "it is on fire");
}

static int loses(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++)
        async_detach(async_create_task(fails, NULL));
    return async_sleep(1);
}

static int loses_none(void *unused)
{
    (void)unused;
    assert_int_equal(async_await(async_create_task(fails, NULL)), -EIO);
    async_task *task = async_create_task(fails, NULL);
    async_sleep(1);
    assert_int_equal(async_await(task), -EIO); /* it had ended before */
    return 0;
}

/* One that is awaited while the run ends is not lost either. */
static int awaits_at_the_end(void *task)
{
    async_sleep(INFINITY);
    async_shield ()
        assert_int_equal(async_await(task), -EIO);
    return 0;
}

static int ends_early(void *unused)
{
    (void)unused;
    async_task *task = async_create_task(fails, NULL);
    async_create_task(awaits_at_the_end, task);
    return async_sleep(1);
}

/* What async_run writes to standard error. */
static const char *said(async_coroutine main, bool no_report)
{
    static char text[1024];
    int fds[2], before = dup(2);
    assert_int_equal(pipe(fds), 0);
    fflush(stderr);
    dup2(fds[1], 2);
    async_run_with(main, NULL,
                   &(async_run_options){.loop = {.virtual_clock = true}, .no_report = no_report});
    dup2(before, 2);
    close(before);
    close(fds[1]);
    ssize_t size = read(fds[0], text, sizeof text - 1);
    close(fds[0]);
    text[size > 0 ? size : 0] = 0;
    return text;
}

static void test_lost_errors_are_told(void **state)
{
    (void)state;
    assert_string_equal(said(loses, false),
                        "casyncio: 3 errors were never looked at; the first: "
                        "Task-2 (fails) was detached, and failed: it is on fire\n");
    assert_string_equal(said(loses, true), "");
    assert_string_equal(said(loses_none, false), "");
    assert_string_equal(said(ends_early, false), "");
}

/* ---- a timer for infinity does not keep the loop alive ---- */

static int sleeps_for_ever(void *unused)
{
    (void)unused;
    return async_sleep(INFINITY);
}

static int has_a_timer_for_ever(void *unused)
{
    static async_timer timer;
    timer = (async_timer){0}; /* the loop of the last run is closed */
    (void)unused;
    async_event event = ASYNC_EVENT_INIT;
    async_call_later(async_get_running_loop(), &timer, INFINITY);
    return async_event_wait(&event);
}

static void test_infinity_is_no_timer(void **state)
{
    async_coroutine mains[] = {sleeps_for_ever, has_a_timer_for_ever};
    (void)state;
    for (int i = 0; i < 4; i++) {
        async_run_options options = {.loop = {.virtual_clock = i % 2}};
        assert_int_equal(async_run_with(mains[i / 2], NULL, &options), -EDEADLK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ignored_timeout),
        cmocka_unit_test(test_every_call_gives_way),
        cmocka_unit_test(test_second_interrupt_ends_it),
        cmocka_unit_test(test_limited_exits),
        cmocka_unit_test(test_exit_timeout_option),
        cmocka_unit_test(test_nested_exits),
        cmocka_unit_test(test_generators_give_way),
        cmocka_unit_test(test_misuse_gives_way),
        cmocka_unit_test(test_closes_streams),
        cmocka_unit_test(test_interrupted_in_the_exit),
        cmocka_unit_test(test_lost_errors_are_told),
        cmocka_unit_test(test_infinity_is_no_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
