/* The ends of processes: waiting, signals, the exit of async_with_process. */
#include "process_test.h"
#include "unclosed.h"

#define SLEEPER ASYNC_ARGUMENTS("sleep", "1000")

/* Writes "ready" once it ignores SIGTERM. */
static async_process *stubborn(double grace)
{
    char line[16];
    async_process *process = async_create_subprocess_shell(
        "trap '' TERM; echo ready; while :; do sleep 1000; done",
        &(async_subprocess_options){.out = ASYNC_PIPE, .grace = grace, .new_process_group = true});
    assert_int_equal(async_stream_readline(async_process_stdout(process), line, sizeof line), 6);
    return process;
}

/* Its sleep, which nothing else ends. */
static void end_group(pid_t pid) { kill(-pid, SIGKILL); }

/* ---- waiting ---- */

static int exit_codes(void *unused)
{
    int returncode;
    async_process *process = async_create_subprocess_shell("exit 255", NULL);
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, 255);
    async_process_close(process);
    process = async_create_subprocess_shell("kill -9 $$", NULL);
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, -SIGKILL);
    async_process_close(process);
    process = async_create_subprocess_shell("kill -ABRT $$", NULL);
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, -SIGABRT);
    return async_process_close(process);
}
PROCESS_TEST(exit_codes)

static int polling(void *unused)
{
    int returncode = 77;
    async_process *process = async_create_subprocess_shell(
        "read x; exit 5", &(async_subprocess_options){.in = ASYNC_PIPE});
    assert_int_equal(async_process_poll(process, &returncode), 0);
    assert_int_equal(returncode, 77);
    async_stream_write_eof(async_process_stdin(process));
    while (async_process_poll(process, &returncode) == 0)
        async_sleep(0.001);
    assert_int_equal(returncode, 5);
    assert_int_equal(async_process_poll(process, NULL), 1);
    assert_int_equal(async_process_kill(process), -ESRCH);
    assert_message("sh");
    return async_process_close(process);
}
PROCESS_TEST(polling)

static int wait_task(void *process)
{
    int returncode;
    int code = async_process_wait(process, &returncode);
    return code < 0 ? code : returncode;
}

static int many_waiters(void *unused)
{
    enum { COUNT_OF_THEM = 5 };
    async_task *tasks[COUNT_OF_THEM];
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("cat"), &(async_subprocess_options){.in = ASYNC_PIPE});
    for (int i = 0; i < COUNT_OF_THEM; i++)
        tasks[i] = async_create_task(wait_task, process);
    async_sleep(0);
    /* The one that set up the watch, and another. */
    async_cancel(tasks[0], NULL);
    async_cancel(tasks[3], NULL);
    async_sleep(0);
    async_stream_write_eof(async_process_stdin(process));
    int codes[COUNT_OF_THEM];
    assert_int_equal(async_gather_results(tasks, COUNT_OF_THEM, codes), 0);
    for (int i = 0; i < COUNT_OF_THEM; i++)
        assert_int_equal(codes[i], i == 0 || i == 3 ? -ECANCELED : 0);
    return async_process_close(process);
}
PROCESS_TEST(many_waiters)

/* A process that is not waited for keeps no loop alive: what waits for nothing is told so. */
static int forgotten(void *unused)
{
    async_event event = ASYNC_EVENT_INIT;
    async_process *process = async_create_subprocess_exec(SLEEPER, NULL);
    int code = 0;
    async_timeout (0.01)
        async_process_wait(process, NULL);
    async_task *task = async_create_task(wait_task, process);
    async_sleep(0);
    async_cancel(task, NULL);
    async_await(task);
    code = async_event_wait(&event);
    async_process_close(process);
    return code;
}

static void test_deadlock(void **state)
{
    (void)state;
    assert_int_equal(run_real(forgotten, NULL), -EDEADLK);
    assert_no_child();
}

/* The shell has ended; what it has left behind holds the pipe. */
static int grandchild(void *unused)
{
    async_process *process = async_create_subprocess_shell(
        "sleep 1000 & echo $!", &(async_subprocess_options){.out = ASYNC_PIPE});
    char line[32];
    assert_true(async_stream_readline(async_process_stdout(process), line, sizeof line) > 1);
    assert_int_equal(async_process_wait(process, NULL), 0);

    async_process_output output = {0};
    async_timeout (0.02) {
        int code = async_process_communicate(process, NULL, 0, &output);
        assert_int_equal(code, -ETIMEDOUT);
    }
    assert_string_equal(output.out, "");
    assert_int_equal(output.returncode, 0);
    async_process_output_free(&output);
    kill(atoi(line), SIGKILL);
    return async_process_close(process);
}
PROCESS_TEST(grandchild)

/* ---- signals ---- */

static int signals_to_it(void *unused)
{
    int returncode;
    async_process *process = async_create_subprocess_exec(SLEEPER, NULL);
    assert_int_equal(async_process_send_signal(process, 0), 0);
    assert_int_equal(async_process_send_signal(process, 4711), -EINVAL);
    assert_message("4711");
    assert_int_equal(async_process_terminate(process), 0);
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, -SIGTERM);
    assert_int_equal(async_process_terminate(process), -ESRCH);
    async_process_close(process);

    process = async_create_subprocess_exec(SLEEPER, NULL);
    assert_int_equal(async_process_kill(process), 0);
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, -SIGKILL);
    return async_process_close(process);
}
PROCESS_TEST(signals_to_it)

/* What else the program does with SIGCHLD and its children. */
static int status_taken(void *unused)
{
    int returncode = 0;
    async_process *process = async_create_subprocess_exec(ASYNC_ARGUMENTS("true"), NULL);
    assert_int_equal(waitpid(async_process_pid(process), NULL, 0), async_process_pid(process));
    assert_int_equal(async_process_wait(process, &returncode), -ECHILD);
    assert_message("cannot be known");
    assert_int_equal(async_process_poll(process, &returncode), -ECHILD);
    assert_int_equal(async_process_returncode(process), 255);
    async_process_close(process);

    signal(SIGCHLD, SIG_IGN);
    process = async_create_subprocess_exec(ASYNC_ARGUMENTS("cat"),
                                           &(async_subprocess_options){.in = ASYNC_PIPE});
    async_task *task = async_create_task(wait_task, process);
    async_sleep(0);
    async_stream_write_eof(async_process_stdin(process));
    assert_int_equal(async_await(task), -ECHILD);
    assert_null(async_create_subprocess_exec(ASYNC_ARGUMENTS("/nowhere"), NULL));
    assert_int_equal(async_error_code(), -ENOENT);
    async_process_close(process);
    process = async_create_subprocess_exec(SLEEPER, NULL);
    async_process_close(process);
    signal(SIGCHLD, SIG_DFL);
    return 0;
}
PROCESS_TEST(status_taken)

/* ---- closing ---- */

static int block(void *unused)
{
    pid_t pid = 0;
    async_with_process (process, async_create_subprocess_exec(SLEEPER, NULL))
        pid = async_process_pid(process);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(async_block_error(), 0);
    async_with_process (process, async_create_subprocess_exec(ASYNC_ARGUMENTS("/nowhere"), NULL))
        fail();
    assert_int_equal(async_block_error(), -ENOENT);
    return 0;
}
PROCESS_TEST(block)

/* Asked to end, it says something, and ends. */
static int graceful(void *unused)
{
    char line[16], name[] = "/tmp/casyncio-grace-XXXXXX";
    int file = mkstemp(name);
    async_process *process = async_create_subprocess_shell(
        "trap 'echo bye >&2; echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
        &(async_subprocess_options){
            .out = ASYNC_PIPE, .err = ASYNC_FD, .err_fd = file, .grace = 100});
    assert_int_equal(async_stream_readline(async_process_stdout(process), line, sizeof line), 6);
    assert_int_equal(async_process_close(process), 0);
    assert_int_equal(pread(file, line, sizeof line, 0), 4);
    unlink(name);
    close(file);
    return 0;
}
PROCESS_TEST(graceful)

static int killed_after_the_grace(void *unused)
{
    async_process *process = stubborn(0.05);
    pid_t pid = async_process_pid(process);
    double begin = async_now();
    assert_int_equal(async_process_close(process), 0);
    assert_true(async_now() - begin > 0.04);
    end_group(pid);
    process = stubborn(-1);
    pid = async_process_pid(process);
    assert_int_equal(async_process_close(process), 0);
    end_group(pid);
    return 0;
}
PROCESS_TEST(killed_after_the_grace)

static int in_block(void *argument)
{
    async_process **place = argument;
    async_with_process (process, *place = stubborn(1000))
        async_process_wait(process, NULL);
    return async_block_error();
}

/* A cancellation ends the grace when the exit's shield ends: after exit_timeout. */
static int cancelled(void *unused)
{
    async_process *process = NULL;
    async_task *task = async_create_task(in_block, &process);
    while (!process)
        async_sleep(0.001);
    pid_t pid = async_process_pid(process);
    async_cancel(task, NULL);
    int code = async_await(task);
    assert_int_equal(kill(pid, 0), -1);
    end_group(pid);
    return code == 0 || code == -ECANCELED ? 0 : code;
}

static void test_cancelled(void **state)
{
    (void)state;
    assert_int_equal(async_run_with(cancelled, NULL, &(async_run_options){.exit_timeout = 0.05}),
                     0);
    assert_no_child();
}

static int wait_and_close(void *process)
{
    assert_int_equal(async_process_wait(process, NULL), -EBADF);
    assert_message("closed");
    return 0;
}

static int talk_and_close(void *process)
{
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), -EBADF);
    assert_message("closed");
    async_process_output_free(&output);
    return 0;
}

static int close_again(void *process)
{
    assert_int_equal(async_process_close(process), -EBADF);
    assert_int_equal(async_process_wait(process, NULL), -EBADF);
    assert_int_equal(async_process_kill(process), -EBADF);
    return 0;
}

static int closed_under_calls(void *unused)
{
    async_process *process = async_create_subprocess_exec(
        SLEEPER, &(async_subprocess_options){.out = ASYNC_PIPE, .err = ASYNC_PIPE});
    async_task *first = async_create_task(wait_and_close, process),
               *second = async_create_task(talk_and_close, process);
    async_sleep(0);
    async_sleep(0);
    async_task *third = async_create_task(close_again, process);
    assert_int_equal(async_process_close(process), 0);
    return async_gather(first, second, third);
}
PROCESS_TEST(closed_under_calls)

/* The user closes a stream that is the process's. */
static int closed_stream(void *unused)
{
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("cat"), &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE});
    char c;
    assert_int_equal(async_stream_close(async_process_stdin(process)), 0);
    assert_int_equal(async_stream_write(async_process_stdin(process), "x", 1), -EBADF);
    assert_int_equal(async_stream_read(async_process_stdout(process), &c, 1), 0);
    async_stream_abort(async_process_stdout(process));
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_int_equal(output.returncode, 0);
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(closed_stream)

static void close_in_callback(async_callback *callback);
static struct {
    async_callback callback;
    async_process *process;
} late = {.callback = {.run = close_in_callback}};

static void close_in_callback(async_callback *callback)
{
    (void)callback;
    assert_int_equal(async_process_close(late.process), 0);
    late.process = NULL;
}

static int outside_of_a_task(void *unused)
{
    late.process = async_create_subprocess_exec(SLEEPER, NULL);
    async_call_soon(async_get_running_loop(), &late.callback);
    async_sleep(0);
    assert_null(late.process);
    late.process = async_create_subprocess_exec(
        SLEEPER, &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE});
    return 0; /* closed after the loop */
}

static void test_outside_of_a_task(void **state)
{
    (void)state;
    assert_int_equal(run_real(outside_of_a_task, NULL), 0);
    async_stream_abort(async_process_stdin(late.process));
    assert_int_equal(async_process_close(late.process), 0);
    assert_no_child();
}

/* A task that the end of the loop finds in its block: no shield holds there, and no zombie is left. */
static pid_t left;

static int left_behind(void *unused)
{
    async_with_process (process, stubborn(1000)) {
        left = async_process_pid(process);
        async_sleep(1000);
    }
    return async_block_error();
}

static int leave_it_behind(void *unused)
{
    async_detach(async_create_task(left_behind, NULL));
    while (!left)
        async_sleep(0.001);
    return 0;
}

static void test_leave_it_behind(void **state)
{
    (void)state;
    int before = open_fds();
    async_run_options options = {.exit_timeout = 0.05};
    assert_int_equal(async_run_with(leave_it_behind, NULL, &options), 0);
    end_group(left);
    assert_int_equal(open_fds(), before);
    assert_no_child();
}

/* ---- fork: the child of a fork does not touch its parent's child ---- */

static int forked(void *unused)
{
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("cat"), &(async_subprocess_options){.in = ASYNC_PIPE});
    pid_t pid = fork();
    if (pid == 0) {
        bool good = async_process_kill(process) == -ECHILD &&
                    async_process_poll(process, NULL) == -ECHILD &&
                    async_process_close(process) == 0;
        _exit(good ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(async_process_poll(process, NULL), 0);
    async_stream_write_eof(async_process_stdin(process));
    assert_int_equal(async_process_wait(process, &status), 0);
    assert_int_equal(status, 0);
    return async_process_close(process);
}
PROCESS_TEST(forked)

/* ---- debug mode ---- */

static async_process *left_open;

__attribute__((noinline)) static int leaves_it_open(void *unused)
{
    (void)unused;
    async_process *closed = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("true"), &(async_subprocess_options){.out = ASYNC_PIPE});
    assert_non_null(closed);
    assert_int_equal(async_process_close(closed), 0);
    left_open = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("true"), &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE});
    assert_non_null(left_open);
    return async_process_wait(left_open, NULL);
}

static int closes_it_late(void *unused)
{
    (void)unused;
    return async_process_close(left_open);
}

/* Its pipes are the process's, and are not told of besides. */
static void test_never_closed(void **state)
{
    (void)state;
    assert_int_equal(run_unclosed(leaves_it_open), 0);
    assert_unclosed("process", leaves_it_open);
    assert_int_equal(run_unclosed(closes_it_late), 0);
    assert_int_equal(unclosed_count, 0);
    assert_no_child();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes),      cmocka_unit_test(test_polling),
        cmocka_unit_test(test_many_waiters),    cmocka_unit_test(test_deadlock),
        cmocka_unit_test(test_grandchild),      cmocka_unit_test(test_signals_to_it),
        cmocka_unit_test(test_status_taken),    cmocka_unit_test(test_block),
        cmocka_unit_test(test_graceful),        cmocka_unit_test(test_killed_after_the_grace),
        cmocka_unit_test(test_cancelled),       cmocka_unit_test(test_closed_under_calls),
        cmocka_unit_test(test_closed_stream),   cmocka_unit_test(test_outside_of_a_task),
        cmocka_unit_test(test_leave_it_behind), cmocka_unit_test(test_forked),
        cmocka_unit_test(test_never_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
