/* A runner: several coroutines one after another in one loop, signals, its end, and the loop inside of
 * another one. */
#include "run.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const async_run_options virtual = {.loop = {.virtual_clock = true}};

static int seven(void)
{
    int code = async_sleep(1);
    return code < 0 ? code : 7;
}

static int fails(void *unused)
{
    (void)unused;
    return async_raise(-EIO, "the disk is on fire");
}

static int ticks(void *count)
{
    for (;;) {
        int code = async_sleep(1);
        if (code < 0) {
            note("stopped@%d", tenths());
            return code;
        }
        ++*(int *)count;
    }
}

static int starts_ticking(void *count)
{
    async_detach(async_create_task(ticks, count));
    return async_sleep(2.5);
}

static int sleeps(void *seconds) { return async_sleep(*(double *)seconds); }

static void test_runs_one_after_another(void **state)
{
    (void)state;
    int count = 0;
    double five = 5;
    async_runner *runner = async_runner_new(&virtual);
    assert_non_null(runner);
    assert_int_equal(async_runner_run(runner, seven), 7);
    assert_string_equal(async_run_error_message(), "");
    assert_int_equal(async_runner_run(runner, fails), -EIO);
    assert_string_equal(async_run_error_message(), "the disk is on fire");
    notes[0] = 0;
    assert_int_equal(async_runner_run(runner, starts_ticking, &count), 0);
    assert_int_equal(count, 2); /* and goes on in the next run */
    assert_int_equal(async_runner_run(runner, sleeps, &five), 0);
    assert_int_equal(count, 7);
    assert_notes("");
    assert_int_equal(async_runner_close(runner), 0);
    assert_notes("stopped@85 ");
}

static void test_close_without_a_run(void **state)
{
    (void)state;
    assert_int_equal(async_runner_close(async_runner_new(NULL)), 0);
    assert_int_equal(async_runner_close(NULL), 0);
    assert_null(async_runner_new(&(async_run_options){.exit_timeout = -1}));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_runner_new(&(async_run_options){.loop = {.backend = "none"}}));
    assert_int_equal(async_error_code(), -EINVAL);
}

/* ---- refusals ---- */

static int uses_runner(void *runner)
{
    assert_int_equal(async_runner_run(runner, seven), -EBUSY);
    assert_int_equal(async_runner_close(runner), -EBUSY);
    return 0;
}

static int uses_another(void *other)
{
    assert_null(async_runner_new(NULL));
    assert_int_equal(async_error_code(), -EBUSY);
    assert_int_equal(async_runner_run(other, seven), -EBUSY);
    assert_string_equal(async_error_message(),
                        "async_runner_run: a loop runs in this thread already");
    assert_int_equal(async_runner_close(other), -EBUSY);
    return 0;
}

static void *in_thread(void *runner)
{
    assert_int_equal(async_runner_run(runner, seven), -EPERM);
    assert_int_equal(async_runner_close(runner), -EPERM);
    return NULL;
}

static void test_refusals(void **state)
{
    (void)state;
    pthread_t thread;
    async_runner *other = async_runner_new(NULL), *runner = async_runner_new(&virtual);
    assert_int_equal(async_runner_run(NULL, seven), -EBADF);
    assert_null(async_runner_get_loop(NULL));
    assert_int_equal((async_runner_run)(runner, NULL, NULL), -EINVAL);
    assert_int_equal(async_runner_run(runner, uses_runner, runner), 0);
    pthread_create(&thread, NULL, in_thread, runner);
    pthread_join(thread, NULL);
    assert_int_equal(async_runner_run(runner, uses_another, other), 0);
    assert_int_equal(async_runner_close(other), 0);
    assert_int_equal(async_runner_close(runner), 0);
}

/* ---- a deadlock ends all tasks, and not the runner ---- */

static int waits_for_ever(void *unused)
{
    (void)unused;
    return async_sleep(INFINITY);
}

static int deadlocks(void *unused)
{
    (void)unused;
    async_detach(async_create_task(waits_for_ever));
    async_shield ()
        async_sleep(INFINITY);
    return 0;
}

static int counts_tasks(void) { return (int)async_all_tasks(NULL, 0); }

static void test_deadlock(void **state)
{
    (void)state;
    async_runner *runner = async_runner_new(&virtual);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(async_runner_run(runner, deadlocks), -EDEADLK);
        assert_non_null(strstr(async_run_error_message(), "waits_for_ever"));
        assert_int_equal(async_runner_run(runner, counts_tasks), 1);
        assert_int_equal(async_runner_run(runner, seven), 7);
    }
    assert_int_equal(async_runner_close(runner), 0);
}

/* ---- context variables ---- */

static int destroyed;
static void destroy(void *value)
{
    (void)value;
    destroyed++;
}
static async_context_var var = ASYNC_CONTEXT_VAR_INIT("var", destroy);

static int sets(void *value) { return async_context_var_set(&var, value, NULL); }

static int gets(void *expected)
{
    void *value;
    async_context_var_get(&var, &value);
    return value == expected ? 0 : -EIO;
}

static void test_context(void **state)
{
    (void)state;
    int one, two;
    async_runner *runner = async_runner_new(&virtual);
    assert_int_equal(async_runner_run(runner, gets, NULL), 0);
    assert_int_equal(async_runner_run(runner, sets, &one), 0);
    assert_int_equal(async_runner_run(runner, gets, &one), 0);
    assert_int_equal(async_runner_run(runner, sets, &two), 0);
    assert_int_equal(destroyed, 1);
    assert_int_equal(async_runner_run(runner, gets, &two), 0);
    assert_int_equal(async_runner_close(runner), 0);
    assert_int_equal(destroyed, 2);
}

/* ---- signals ---- */

static int is_signalled(void *number)
{
    kill(getpid(), *(int *)number);
    int code = async_sleep(10);
    note("%s", async_error_message());
    return code;
}

static void test_signals(void **state)
{
    (void)state;
    int interrupt = SIGINT, term = SIGTERM;
    struct sigaction after;
    async_run_options options = {.loop = {.virtual_clock = true}, .handle_sigterm = true};
    async_runner *runner = async_runner_new(&options);
    /* Of any disposition: a test driver may have it ignored. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    notes[0] = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(async_runner_run(runner, is_signalled, &interrupt), -EINTR);
        assert_notes("interrupted (SIGINT) ");
        assert_int_equal(async_runner_run(runner, is_signalled, &term), -EINTR);
        assert_notes("interrupted (SIGTERM) ");
        assert_int_equal(async_runner_run(runner, seven), 7);
        sigaction(SIGTERM, NULL, &after);
        assert_true(after.sa_handler == SIG_DFL); /* between runs they are as before */
    }
    assert_int_equal(async_runner_close(runner), 0);
    assert_int_equal(async_run_with(is_signalled, &term, &options), -EINTR);
    signal(SIGTERM, SIG_IGN); /* the program's own */
    assert_int_equal(async_run_with(is_signalled, &term, &options), 0);
    signal(SIGTERM, SIG_DFL);
    notes[0] = 0;
}

/* Not asked for, SIGTERM ends the program. */
static int ends_by(bool handle)
{
    int status, term = SIGTERM;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        async_run_options options = {.loop = {.virtual_clock = true}, .handle_sigterm = handle};
        async_runner *runner = async_runner_new(&options);
        _exit(async_runner_run(runner, is_signalled, &term) == -EINTR ? 0 : 1);
    }
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void test_sigterm_ends(void **state)
{
    (void)state;
    assert_int_equal(ends_by(false), SIGTERM);
    assert_int_equal(ends_by(true), 0);
}

static int terminates_twice(void *unused)
{
    (void)unused;
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGTERM);
    return 0;
}

static void test_second_sigterm(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        async_run_with(terminates_twice, NULL, &(async_run_options){.handle_sigterm = true});
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
}

/* A child of a fork cannot run what is its parent's, and can close it. */
static void test_fork(void **state)
{
    (void)state;
    int status, count = 0;
    async_runner *runner = async_runner_new(&virtual);
    assert_int_equal(async_runner_run(runner, starts_ticking, &count), 0);
    pid_t child = fork();
    if (child == 0) {
        if (async_runner_run(runner, seven) != -ECHILD) _exit(1);
        if (async_runner_close(runner) != 0) _exit(2);
        _exit(async_run(seven) == 7 ? 0 : 3);
    }
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(async_runner_run(runner, seven), 7);
    assert_int_equal(async_runner_close(runner), 0);
}

/* ---- an orderly end ---- */

static int numbers(async_generator *self, void *unused)
{
    (void)unused;
    for (int i = 0;; i++) {
        int code = async_yield(self, &i);
        if (code < 0) {
            note("closed");
            return code;
        }
    }
}

static int leaves_generator(void *unused)
{
    (void)unused;
    int value;
    async_iterator *iterator = async_generate(numbers, NULL, sizeof(int));
    return iterator->next(iterator, &value) == 1 ? 0 : -EIO;
}

static int works(void *unused)
{
    (void)unused;
    usleep(1000);
    return 0;
}

static int goes_to_thread(void *unused)
{
    (void)unused;
    return async_to_thread(works, NULL);
}

static void test_orderly_end(void **state)
{
    (void)state;
    async_runner *runner = async_runner_new(&virtual);
    notes[0] = 0;
    assert_int_equal(async_runner_run(runner, leaves_generator), 0);
    async_task *task = async_loop_create_task(async_runner_get_loop(runner), goes_to_thread);
    async_detach(task);
    assert_int_equal(async_runner_run(runner, goes_to_thread), 0);
    assert_notes("");
    assert_int_equal(async_runner_close(runner), 0);
    assert_notes("closed ");
}

/* ---- tasks of a loop that does not run, and factories ---- */

static int await_it(void *task) { return async_await(task); }

static async_task *counting_factory(async_loop *loop, async_coroutine coroutine, void *argument,
                                    const async_task_options *options, void *count)
{
    async_task_options named = *options;
    char name[32];
    snprintf(name, sizeof name, "made-%d", ++*(int *)count);
    named.name = name;
    return async_task_new(loop, coroutine, argument, &named);
}

static async_task *refusing_factory(async_loop *loop, async_coroutine coroutine, void *argument,
                                    const async_task_options *options, void *data)
{
    (void)loop, (void)coroutine, (void)argument, (void)options, (void)data;
    async_raise(-EAGAIN, "enough tasks");
    return NULL;
}

static int says_name(void *unused)
{
    (void)unused;
    note("%s", async_task_name(async_current_task()));
    return 0;
}

static int uses_factories(void *unused)
{
    (void)unused;
    int count = 0, result = 0;
    void *data;
    async_loop *loop = async_get_running_loop();
    assert_null(async_get_task_factory(loop, NULL));
    assert_int_equal(async_set_task_factory(loop, counting_factory, &count), 0);
    assert_true(async_get_task_factory(loop, &data) == counting_factory && data == &count);
    async_await(async_create_task(says_name));
    async_with_group (group) {
        async_group_create_task(group, says_name);
        async_group_create_task(group, says_name);
    }
    assert_notes("made-1 made-2 made-3 ");

    async_set_task_factory(loop, async_eager_task_factory, NULL);
    async_task *task = async_create_task(says_name);
    assert_true(async_task_done(task));
    async_await(task);
    async_with_group (group)
        assert_non_null(async_group_create_task(group, says_name));
    notes[0] = 0;

    async_set_task_factory(loop, refusing_factory, NULL);
    assert_int_equal(async_await(async_create_task(says_name)), -EAGAIN);
    async_with_group (group) {
        assert_null(async_group_create_task_with(group, says_name, NULL,
                                                 &(async_task_options){.result = &result}));
        assert_int_equal(result, -EAGAIN);
    }
    assert_int_equal(async_block_error(), -EAGAIN);
    async_set_task_factory(loop, NULL, NULL);
    assert_int_equal(async_await(async_create_task(says_name)), 0);
    assert_int_equal(async_set_task_factory(NULL, NULL, NULL), -EPERM);
    notes[0] = 0;
    return 0;
}

static void test_tasks_between_runs(void **state)
{
    (void)state;
    async_runner *runner = async_runner_new(&virtual);
    async_loop *loop = async_runner_get_loop(runner), *plain = async_loop_new(NULL);
    notes[0] = 0;
    async_task *task = async_loop_create_task(loop, seven);
    assert_ptr_equal(async_task_get_loop(task), loop);
    assert_int_equal(async_task_result(task), -EINPROGRESS);
    assert_int_equal(async_runner_run(runner, await_it, task), 7);
    task = async_loop_create_task_with(loop, says_name, NULL,
                                       &(async_task_options){.name = "x", .eager_start = true});
    assert_notes(""); /* it cannot begin before the loop runs */
    assert_int_equal(async_runner_run(runner, await_it, task), 0);
    assert_notes("x ");
    assert_null(async_loop_create_task(plain, seven));
    assert_int_equal(async_error_code(), -EPERM);
    assert_null(async_loop_create_task(NULL, seven));
    assert_int_equal(async_error_code(), -EBADF);
    assert_null(async_loop_create_task_with(loop, NULL, NULL, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_int_equal(async_runner_run(runner, uses_factories), 0);
    assert_int_equal(async_runner_close(runner), 0);
    async_loop_close(plain);
}

/* ---- in another loop: poll() stands for it ---- */

struct ended {
    async_done_callback done;
    bool ended;
};

static void on_end(async_callback *callback) { ((struct ended *)callback)->ended = true; }

/* Gives how often it has gone round; the loop must not have to run more often than there is reason. */
static int drive(async_loop *loop, async_task *task)
{
    struct ended ended = {.done = {.callback = {.run = on_end}}};
    int rounds = 0;

    assert_int_equal(async_task_add_done_callback(task, &ended.done), 0);
    while (!ended.ended) {
        double seconds = async_loop_timeout(loop);
        struct pollfd fd = {.fd = async_loop_fd(loop), .events = POLLIN};
        int timeout = isinf(seconds) ? -1 : (int)(seconds * 1000) + 1;
        assert_true(poll(&fd, 1, timeout) >= 0);
        assert_null(async_get_running_loop());
        assert_int_equal(async_loop_run_once(loop, 0), 0);
        rounds++;
    }
    return rounds;
}

static int reads(void *fd)
{
    char byte;
    ssize_t got = async_read(*(int *)fd, &byte, 1);
    return got < 0 ? (int)got : byte;
}

static int sleeps_shortly(void *unused)
{
    (void)unused;
    int code = async_sleep(0.02);
    return code < 0 ? code : 3;
}

static int asks_thread(void *unused)
{
    (void)unused;
    return async_to_thread(works, NULL);
}

static void test_inside_of_poll(void **state)
{
    (void)state;
    int ends[2];
    async_runner *runner = async_runner_new(NULL);
    async_loop *loop = async_runner_get_loop(runner);

    assert_true(isinf(async_loop_timeout(loop)));
    async_task *task = async_loop_create_task(loop, sleeps_shortly);
    assert_true(async_loop_timeout(loop) == 0);
    assert_true(drive(loop, task) < 10);
    assert_int_equal(async_task_result(task), 3);
    assert_int_equal(async_runner_run(runner, await_it, task), 3);

    task = async_loop_create_task(loop, asks_thread);
    assert_true(drive(loop, task) < 10); /* a thread's end makes the descriptor readable */
    assert_int_equal(async_runner_run(runner, await_it, task), 0);

    assert_int_equal(pipe(ends), 0);
    task = async_loop_create_task(loop, reads, &ends[0]);
    assert_int_equal(async_loop_run_once(loop, 0), 0);
    assert_int_equal(async_loop_run_once(loop, 0.001), 0);
    assert_false(async_task_done(task));
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_true(drive(loop, task) < 10);
    assert_int_equal(async_task_result(task), 'x');
    async_detach(task);
    close(ends[1]);
    assert_int_equal(async_runner_run(runner, seven), 7); /* and by itself in between */
    assert_int_equal(async_runner_close(runner), 0);
    close(ends[0]);
}

static int runs_itself(void *unused)
{
    (void)unused;
    async_loop *loop = async_get_running_loop(), *other = async_loop_new(NULL);
    assert_int_equal(async_loop_run_once(loop, 0), -EBUSY);
    assert_int_equal(async_loop_run_once(other, 0), -EALREADY);
    async_loop_close(other);
    return 0;
}

static int yields(void *count)
{
    for (;;) {
        int code = async_sleep(0);
        if (code < 0) return code;
        ++*(int *)count;
    }
}

/* One turn at a time, however much is ready: the other loop gets its turn as well. */
static void test_one_turn(void **state)
{
    (void)state;
    int count = 0;
    double hour = 3600;
    async_runner *runner = async_runner_new(&virtual);
    async_loop *loop = async_runner_get_loop(runner);

    assert_int_equal(async_loop_run_once(loop, INFINITY), -EDEADLK);
    assert_int_equal(async_loop_run_once(loop, NAN), -EINVAL);
    async_detach(async_loop_create_task(loop, yields, &count));
    for (int i = 0; i < 100; i++) {
        assert_true(async_loop_timeout(loop) == 0);
        assert_int_equal(async_loop_run_once(loop, 1), 0);
        assert_int_equal(count, i);
    }
    assert_int_equal(async_runner_run(runner, runs_itself), 0);
    assert_int_equal(async_runner_close(runner), 0);

    runner = async_runner_new(&virtual); /* the virtual clock goes as far as the wait may be */
    loop = async_runner_get_loop(runner);
    async_task *task = async_loop_create_task(loop, sleeps, &hour);
    assert_int_equal(async_loop_run_once(loop, 0), 0);
    assert_true(async_loop_timeout(loop) == 3600);
    assert_int_equal(async_loop_run_once(loop, 600), 0);
    assert_true(async_loop_timeout(loop) == 3000);
    assert_int_equal(async_loop_run_once(loop, INFINITY), 0);
    assert_int_equal(async_loop_run_once(loop, 0), 0);
    assert_int_equal(async_task_result(task), 0);
    async_detach(task);
    assert_int_equal(async_runner_close(runner), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_one_after_another),
        cmocka_unit_test(test_close_without_a_run),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_sigterm_ends),
        cmocka_unit_test(test_second_sigterm),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_orderly_end),
        cmocka_unit_test(test_tasks_between_runs),
        cmocka_unit_test(test_inside_of_poll),
        cmocka_unit_test(test_one_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
