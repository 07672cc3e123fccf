/* Kernels without pidfds and close_range: a filter answers for them as they do. Exit status 77 where
 * there can be no such filter. */
#include "process_test.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { WITH_PIDFD = 0x1000, PIDFD_SEND_SIGNAL = 424, PIDFD_OPEN = 434, CLOSE_RANGE = 436 };

#define ANSWER(code) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (code))
#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))

static bool without_pidfds(void)
{
    struct sock_filter filter[] = {
        LOAD(nr),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PIDFD_OPEN, 5, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PIDFD_SEND_SIGNAL, 4, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CLOSE_RANGE, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3),
        LOAD(args[0]),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, WITH_PIDFD, 2, 1),
        ANSWER(ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        ANSWER(EINVAL),
    };
    struct sock_fprog program = {.len = COUNT(filter), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) < 0) return false;
    if (prctl(PR_SET_SECCOMP, (long)SECCOMP_MODE_FILTER, &program, 0L, 0L) < 0) return false;
    return syscall(PIDFD_OPEN, getpid(), 0) < 0 && errno == ENOSYS;
}

static int talk(void *unused)
{
    async_process_output output = {0};
    assert_int_equal(shell("echo out; echo err >&2; exit 3",
                           &(async_subprocess_options){.err = ASYNC_PIPE}, &output),
                     3);
    assert_string_equal(output.out, "out\n");
    assert_string_equal(output.err, "err\n");
    async_process_output_free(&output);
    assert_null(async_create_subprocess_exec(ASYNC_ARGUMENTS("/nowhere"), NULL));
    assert_int_equal(async_error_code(), -ENOENT);
    return 0;
}
PROCESS_TEST(talk)

static int wait_task(void *process)
{
    int returncode, code = async_process_wait(process, &returncode);
    return code < 0 ? code : -returncode;
}

static int wait_and_kill(void *unused)
{
    async_process *process = async_create_subprocess_exec(ASYNC_ARGUMENTS("sleep", "1000"), NULL);
    async_task *first = async_create_task(wait_task, process),
               *second = async_create_task(wait_task, process);
    async_sleep(0.01);
    assert_int_equal(async_process_poll(process, NULL), 0);
    async_cancel(first, NULL);
    assert_int_equal(async_await(first), -ECANCELED);
    assert_int_equal(async_process_terminate(process), 0);
    assert_int_equal(async_await(second), SIGTERM);
    assert_int_equal(async_process_kill(process), -ESRCH);
    assert_int_equal(async_process_close(process), 0);
    async_with_process (other, async_create_subprocess_exec(ASYNC_ARGUMENTS("sleep", "1000"), NULL))
        assert_int_equal(async_process_returncode(other), ASYNC_RUNNING);
    return async_block_error();
}
PROCESS_TEST(wait_and_kill)

static int no_leaks(void *unused)
{
    int open_here = fcntl(1, F_DUPFD, 40);
    assert_shell("[ -e /proc/self/fd/40 ] && echo leaked; exit 0", NULL, "");
    close(open_here);
    return 0;
}
PROCESS_TEST(no_leaks)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_talk),
        cmocka_unit_test(test_wait_and_kill),
        cmocka_unit_test(test_no_leaks),
    };
    if (!without_pidfds()) {
        printf("skipped: no filter of system calls is to be had here\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
