/* Child processes while an allocation, a system call or an await fails: no child is left, neither
 * running nor dead, and no descriptor.
 * ctest: timeout=600 */
#include "sweep.h"

#include <fcntl.h>
#include <sys/wait.h>

static int no_child_is_left(int code)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return code;
}

/* ---- communicate ---- */

static int talk_to_cat(void)
{
    async_process_output output = {0};
    int code = 0;

    async_with_process (
        cat, async_create_subprocess_shell(
                 "tee /dev/stderr", &(async_subprocess_options){
                                        .in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE})) {
        code = async_process_communicate(cat, "hello\n", 6, &output);
        /* That of a write says that the child does not read, which is no error. */
        if (code == 0 && async__fault_errno != ECONNRESET) {
            assert_string_equal(output.out, "hello\n");
            assert_string_equal(output.err, "hello\n");
            assert_int_equal(output.returncode, 0);
        }
        async_process_output_free(&output);
    }
    return code < 0 ? code : async_block_error();
}

static int communicate(void *unused) { return no_child_is_left(talk_to_cat()); }
SWEEP(communicate, PEERS)

/* ---- waiting, signals, two tasks ---- */

static int wait_for_it(void *process)
{
    int returncode = 0, code = async_process_wait(process, &returncode);
    if (code == 0) assert_true(returncode == -SIGTERM || returncode == -SIGKILL);
    return code;
}

static int end_a_sleeper(void)
{
    int code = 0;

    async_with_process (sleeper,
                        async_create_subprocess_exec(
                            ASYNC_ARGUMENTS("sleep", "1000"),
                            &(async_subprocess_options){.in = ASYNC_DEVNULL, .grace = 0.001})) {
        async_task *task = async_create_task(wait_for_it, sleeper);
        code = async_sleep(0);
        if (code == 0) code = async_process_poll(sleeper, NULL);
        if (code == 0) code = async_process_terminate(sleeper);
        if (code < 0) async_cancel(task, NULL);
        int result = async_await(task);
        if (code == 0) code = result;
    }
    return code < 0 ? code : async_block_error();
}

static int sleeper(void *unused) { return no_child_is_left(end_a_sleeper()); }
SWEEP(sleeper, PEERS)

/* ---- left to the block's exit ---- */

static int leave_it(void)
{
    char line[8];
    int code = 0;

    async_with_process (process, async_create_subprocess_shell(
                                     "echo ready; exec cat",
                                     &(async_subprocess_options){
                                         .in = ASYNC_PIPE, .out = ASYNC_PIPE, .grace = -1})) {
        ssize_t n = async_stream_readline(async_process_stdout(process), line, sizeof line);
        code = n < 0 ? (int)n : 0;
    }
    return code < 0 ? code : async_block_error();
}

static int left_alone(void *unused) { return no_child_is_left(leave_it()); }
SWEEP(left_alone, 0)

/* ---- a program that is not there: its error, or the fault's ---- */

static int find_nothing(void *unused)
{
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("casyncio-nosuch"),
        &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_DEVNULL, .err = ASYNC_STDOUT});
    assert_null(process);
    int code = async_error_code();
    return no_child_is_left(code == -ENOENT ? 0 : code);
}

static int nothing_there(void *unused) { return find_nothing(unused); }
SWEEP(nothing_there, 0)

/* ---- streams of pipes and of standard error ---- */

static int use_pipes(async_stream *in, async_stream *out)
{
    char text[8];
    int code = async_stream_write(out, "hello", 5);
    ssize_t n = code < 0 ? code : async_stream_readexactly(in, text, 5);
    return n < 0 ? (int)n : 0;
}

static int pipes(void *unused)
{
    int ends[2], code = 0;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    async_stream *in = async_connect_read_pipe(ends[0]), *out = NULL, *error = NULL;
    if (!in) close(ends[0]);
    if (in && !(out = async_connect_write_pipe(ends[1]))) code = async_error_code();
    if (!out) close(ends[1]);
    if (out && !(error = async_stderr())) code = async_error_code();
    if (!in) code = async_error_code();
    if (error) code = use_pipes(in, out);
    if (out && code == 0)
        code = async_stream_close(out);
    else
        async_stream_abort(out);
    async_stream_abort(in);
    async_stream_abort(error);
    return code;
}
SWEEP(pipes, 0)

/* ---- another task closes it at the n-th point ---- */

static struct {
    async_callback callback;
    async_process *process;
    int result;
} closer;

static void close_it(async_callback *callback)
{
    (void)callback;
    if (!closer.process) return;
    async_process *process = closer.process;
    closer.process = NULL;
    closer.result = async_process_close(process);
}

static void close_soon(void)
{
    if (closer.process && !closer.callback.next)
        async_call_soon(async_get_running_loop(), &closer.callback);
}

static int talk_and_be_closed(void *unused)
{
    async_process_output output = {0};

    async_process *cat = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("cat"),
        &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE});
    closer.process = cat;
    closer.callback.run = close_it;
    int code = async_process_communicate(cat, "hello\n", 6, &output);
    assert_true(code == 0 || code == -EBADF);
    if (code == 0) assert_string_equal(output.out, "hello\n");
    async_process_output_free(&output);
    close_it(NULL);
    async_callback_cancel(&closer.callback);
    assert_int_equal(closer.result, 0);
    return no_child_is_left(0);
}

static const char *is_success(int code, void *data)
{
    (void)data;
    return code == 0 ? NULL : "it failed";
}

static void test_closed_meanwhile(void **state)
{
    (void)state;
    async__fault_action = close_soon;
    bool good = async_test_faults(
        talk_and_be_closed, NULL,
        &(async_test_options){.name = "closed meanwhile", .seeds = 1, .check = is_success});
    async__fault_action = NULL;
    assert_true(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_communicate), cmocka_unit_test(test_sleeper),
        cmocka_unit_test(test_left_alone),  cmocka_unit_test(test_nothing_there),
        cmocka_unit_test(test_pipes),       cmocka_unit_test(test_closed_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
