/* Starting programs: streams, options, errors of the call. */
#include "process_test.h"

/* ---- streams ---- */

static int three_pipes(void *unused)
{
    async_process *process = async_create_subprocess_shell(
        "read line; echo out $line; echo err $line >&2; exit 3",
        &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE});
    char line[64];
    int returncode;
    assert_non_null(process);
    assert_true(async_process_pid(process) > 0);
    assert_int_equal(async_process_returncode(process), ASYNC_RUNNING);
    assert_int_equal(async_stream_write(async_process_stdin(process), "hello\n", 6), 0);
    assert_int_equal(async_stream_readline(async_process_stdout(process), line, sizeof line), 10);
    assert_string_equal(line, "out hello\n");
    assert_int_equal(async_stream_readline(async_process_stderr(process), line, sizeof line), 10);
    assert_string_equal(line, "err hello\n");
    assert_int_equal(async_stream_readline(async_process_stdout(process), line, sizeof line), 0);
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, 3);
    assert_int_equal(async_process_returncode(process), 3);
    assert_int_equal(async_process_wait(process, NULL), 0); /* again */
    return async_process_close(process);
}
PROCESS_TEST(three_pipes)

static int no_pipes(void *unused)
{
    async_process *process = async_create_subprocess_exec(ASYNC_ARGUMENTS("true"), NULL);
    assert_non_null(process);
    assert_null(async_process_stdin(process));
    assert_null(async_process_stdout(process));
    assert_null(async_process_stderr(process));
    int returncode = -1;
    assert_int_equal(async_process_wait(process, &returncode), 0);
    assert_int_equal(returncode, 0);
    return async_process_close(process);
}
PROCESS_TEST(no_pipes)

static int stderr_into_stdout(void *unused)
{
    async_subprocess_options both = {.err = ASYNC_STDOUT};
    assert_shell("echo a; echo b >&2", &both, "a\nb\n");
    return 0;
}
PROCESS_TEST(stderr_into_stdout)

static int null_streams(void *unused)
{
    async_subprocess_options options = {.in = ASYNC_DEVNULL, .err = ASYNC_DEVNULL};
    assert_shell("cat; echo lost >&2; echo end", &options, "end\n");
    options = (async_subprocess_options){.out = ASYNC_DEVNULL, .err = ASYNC_PIPE};
    async_process_output output = {0};
    assert_int_equal(shell("echo a; echo b >&2", &options, &output), 0);
    assert_null(output.out);
    assert_string_equal(output.err, "b\n");
    async_process_output_free(&output);
    async_process_output_free(&output);
    async_process_output_free(NULL);
    return 0;
}
PROCESS_TEST(null_streams)

static int given_descriptors(void *unused)
{
    int ends[2], file;
    char name[] = "/tmp/casyncio-process-XXXXXX", text[16] = "";
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    file = mkostemp(name, O_CLOEXEC);
    unlink(name);
    assert_int_equal(write(ends[1], "in\n", 3), 3);
    close(ends[1]);
    async_subprocess_options options = {
        .in = ASYNC_FD, .in_fd = ends[0], .out = ASYNC_FD, .out_fd = file, .err = ASYNC_STDOUT};
    async_process_output output = {0};
    assert_int_equal(shell("cat; echo err >&2", &options, &output), 0);
    assert_null(output.out);
    async_process_output_free(&output);
    assert_int_equal(pread(file, text, sizeof text, 0), 7);
    assert_string_equal(text, "in\nerr\n");
    assert_true(fcntl(ends[0], F_GETFD) & FD_CLOEXEC);
    close(ends[0]);
    close(file);
    return 0;
}
PROCESS_TEST(given_descriptors)

/* What is given lies where the child's own are to be: 1 and 2 change places. */
static int crossed_descriptors(void *unused)
{
    int out[2], err[2], saved[2] = {dup(1), dup(2)};
    char text[16] = "";
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    fflush(stdout);
    dup2(out[1], 1);
    dup2(err[1], 2);
    async_process *process = async_create_subprocess_shell(
        "echo out; echo err >&2",
        &(async_subprocess_options){.out = ASYNC_FD, .out_fd = 2, .err = ASYNC_FD, .err_fd = 1});
    dup2(saved[0], 1);
    dup2(saved[1], 2);
    close(saved[0]);
    close(saved[1]);
    close(out[1]);
    close(err[1]);
    assert_non_null(process);
    assert_int_equal(async_process_wait(process, NULL), 0);
    assert_int_equal(read(out[0], text, sizeof text), 4);
    assert_string_equal(text, "err\n");
    assert_int_equal(read(err[0], text, sizeof text), 4);
    assert_string_equal(text, "out\n");
    close(out[0]);
    close(err[0]);
    return async_process_close(process);
}
PROCESS_TEST(crossed_descriptors)

/* ---- this process runs without standard streams ---- */

/* Which of 0, 1 and 2 a shell has, told to descriptor 5. */
static const char *const show_three =
    "for i in 0 1 2; do [ -e /proc/self/fd/$i ] && echo $i >&5; done; exit 0";

static int pipes_without_standard_streams(void)
{
    async_process_output output = {0};
    async_process *process = async_create_subprocess_shell(
        "read x; echo out $x; echo err $x >&2",
        &(async_subprocess_options){.in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE});
    int code = async_process_communicate(process, "1\n", 2, &output);
    bool good =
        code == 0 && strcmp(output.out, "out 1\n") == 0 && strcmp(output.err, "err 1\n") == 0;
    async_process_output_free(&output);
    async_process_close(process);
    return good ? 0 : async_raise(-EIO, "pipes");
}

static int without_standard_streams(void *count)
{
    int code = pipes_without_standard_streams();
    if (code < 0) return code;
    /* What is inherited stays closed: nothing of ours, as the loop's epoll, is there in its place. */
    async_process *process = async_create_subprocess_shell(
        show_three, &(async_subprocess_options){.pass_fds = (int[]){5}, .pass_fds_count = 1});
    code = async_process_wait(process, NULL);
    async_process_close(process);
    return code;
}

/* In a process of its own: the loop and the pipes get the numbers. */
static void run_without(int count, char *text, size_t size)
{
    int ends[2], status;
    assert_int_equal(pipe2(ends, 0), 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 5);
        for (int fd = 0; fd < count; fd++)
            close(fd);
        _exit(run_real(without_standard_streams, NULL) == 0 ? 0 : 1);
    }
    close(ends[1]);
    ssize_t all = 0, n;
    while ((n = read(ends[0], text + all, size - 1 - (size_t)all)) > 0)
        all += n;
    text[all] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_closed_standard_input(void **state)
{
    (void)state;
    char text[64];
    run_without(1, text, sizeof text);
    assert_string_equal(text, "1\n2\n");
    run_without(3, text, sizeof text);
    assert_string_equal(text, "");
}

/* ---- options ---- */

static int environment(void *unused)
{
    assert_int_equal(setenv("CASYNCIO_TEST", "parent", 1), 0);
    assert_shell("echo $CASYNCIO_TEST", NULL, "parent\n");
    async_subprocess_options options = {
        .environment = (const char *const[]){"CASYNCIO_TEST=child", "PATH=/bin:/usr/bin", NULL}};
    assert_shell("echo $CASYNCIO_TEST", &options, "child\n");
    options.environment = (const char *const[]){NULL};
    assert_shell("echo $CASYNCIO_TEST", &options, "\n");
    options.environment = (const char *const[]){"novalue", NULL};
    assert_null(async_create_subprocess_shell("true", &options));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_message("environment");
    return 0;
}
PROCESS_TEST(environment)

/* PATH is the child's, and its entries are tried in turn. */
static int search_path(void *unused)
{
    char directory[] = "/tmp/casyncio-path-XXXXXX", path[600], file[128], entry[64];
    assert_non_null(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/casyncio-tool", directory);
    int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    assert_int_equal(write(fd, "#!/bin/sh\necho found\n", 21), 21);
    close(fd);
    snprintf(path, sizeof path, "PATH=/nowhere:/etc/passwd::%s:/bin", directory);
    async_subprocess_options options = {.environment = (const char *const[]){path, NULL},
                                        .out = ASYNC_PIPE};
    async_process *process =
        async_create_subprocess_exec(ASYNC_ARGUMENTS("casyncio-tool"), &options);
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_string_equal(output.out, "found\n");
    async_process_output_free(&output);
    async_process_close(process);

    chmod(file, 0644); /* found, but not to be executed: that is the error */
    assert_null(async_create_subprocess_exec(ASYNC_ARGUMENTS("casyncio-tool"), &options));
    assert_int_equal(async_error_code(), -EACCES);
    unlink(file);
    assert_null(async_create_subprocess_exec(ASYNC_ARGUMENTS("casyncio-tool"), &options));
    assert_int_equal(async_error_code(), -ENOENT);
    snprintf(entry, sizeof entry, "%s", directory);
    assert_message("casyncio-tool");
    assert_message(entry);
    rmdir(directory);
    return 0;
}
PROCESS_TEST(search_path)

static int other_executable(void *unused)
{
    async_subprocess_options options = {.executable = "/bin/sh", .out = ASYNC_PIPE};
    async_process *process =
        async_create_subprocess_exec(ASYNC_ARGUMENTS("myself", "-c", "echo $0"), &options);
    async_process_output output = {0};
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_string_equal(output.out, "myself\n");
    async_process_output_free(&output);
    return async_process_close(process);
}
PROCESS_TEST(other_executable)

static int directory_and_umask(void *unused)
{
    async_subprocess_options options = {.directory = "/", .set_umask = true, .umask = 027};
    assert_shell("pwd; umask", &options, "/\n0027\n");
    options.umask = 0;
    assert_shell("umask", &options, "0000\n");
    return 0;
}
PROCESS_TEST(directory_and_umask)

/* The process's group and session: fields 5 and 6 of /proc/PID/stat. */
static void where_it_is(const async_subprocess_options *given, pid_t *pid, int *group, int *session)
{
    async_subprocess_options options = *given;
    options.in = ASYNC_PIPE;
    async_process *process = async_create_subprocess_exec(ASYNC_ARGUMENTS("cat"), &options);
    assert_non_null(process);
    *pid = async_process_pid(process);
    *group = getpgid(*pid);
    *session = getsid(*pid);
    assert_int_equal(async_process_close(process), 0);
}

static int groups_and_sessions(void *unused)
{
    pid_t pid;
    int group, session;
    where_it_is(&(async_subprocess_options){0}, &pid, &group, &session);
    assert_int_equal(group, getpgid(0));
    assert_int_equal(session, getsid(0));
    where_it_is(&(async_subprocess_options){.new_process_group = true}, &pid, &group, &session);
    assert_int_equal(group, pid);
    assert_int_equal(session, getsid(0));
    where_it_is(&(async_subprocess_options){.new_session = true}, &pid, &group, &session);
    assert_int_equal(group, pid);
    assert_int_equal(session, pid);
    where_it_is(&(async_subprocess_options){.process_group = getpgid(0)}, &pid, &group, &session);
    assert_int_equal(group, getpgid(0));
    async_subprocess_options nowhere = {.process_group = 0x7ffffff0};
    assert_null(async_create_subprocess_shell("true", &nowhere));
    assert_true(async_error_code() == -EPERM || async_error_code() == -ESRCH);
    assert_message("process group");
    return 0;
}
PROCESS_TEST(groups_and_sessions)

/* ---- descriptors that a child must not have ---- */

static int no_leaks(void *unused)
{
    /* Opened by somebody who does not know of O_CLOEXEC. */
    int open_here = fcntl(1, F_DUPFD, 40), passed = fcntl(1, F_DUPFD_CLOEXEC, 50);
    const char *all = "i=3; while [ $i -lt 100 ]; do [ -e /proc/self/fd/$i ] && echo $i; "
                      "i=$((i+1)); done; exit 0";
    async_subprocess_options options = {.in = ASYNC_PIPE, .err = ASYNC_PIPE};
    assert_shell(all, &options, "");
    options.pass_fds = &passed;
    options.pass_fds_count = 1;
    assert_shell(all, &options, "50\n");
    options.inherit_fds = true;
    async_process_output output = {0};
    assert_int_equal(shell(all, &options, &output), 0);
    assert_non_null(strstr(output.out, "40\n"));
    assert_non_null(strstr(output.out, "50\n"));
    async_process_output_free(&output);
    close(open_here);
    close(passed);
    return 0;
}
PROCESS_TEST(no_leaks)

/* ---- signals ---- */

static void on_signal(int signal) { (void)signal; }

/* By a program that is no shell: dash unblocks all signals. */
static void signals_of_child(bool keep, unsigned long long *blocked, unsigned long long *ignored)
{
    async_process_output output = {0};
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"),
        &(async_subprocess_options){.out = ASYNC_PIPE, .keep_signals = keep});
    assert_int_equal(async_process_communicate(process, NULL, 0, &output), 0);
    assert_int_equal(sscanf(output.out, "SigBlk: %llx SigIgn: %llx", blocked, ignored), 2);
    async_process_output_free(&output);
    async_process_close(process);
}

static int signals(void *unused)
{
    sigset_t set, before;
    unsigned long long blocked, ignored;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR2, on_signal);
    signal(SIGHUP, SIG_IGN);

    signals_of_child(false, &blocked, &ignored);
    assert_int_equal(blocked, 0);
    assert_int_equal(ignored & 1ull << (SIGPIPE - 1), 0);
    assert_int_equal(ignored & 1ull << (SIGUSR2 - 1), 0);
    assert_int_not_equal(ignored & 1ull << (SIGHUP - 1), 0);

    signals_of_child(true, &blocked, &ignored);
    assert_int_equal(blocked, 1ull << (SIGTERM - 1) | 1ull << (SIGUSR1 - 1));
    assert_int_not_equal(ignored & 1ull << (SIGPIPE - 1), 0);

    /* Nothing of it has changed here. */
    struct sigaction now;
    sigaction(SIGUSR2, NULL, &now);
    assert_ptr_equal(now.sa_handler, on_signal);
    pthread_sigmask(SIG_SETMASK, &before, &set);
    assert_true(sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1));
    assert_false(sigismember(&set, SIGUSR2) || sigismember(&set, SIGINT));
    signal(SIGPIPE, pipe_before);
    signal(SIGUSR2, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    return 0;
}
PROCESS_TEST(signals)

/* ---- programs that cannot be executed ---- */

static int fails_with(int code, const char *text, const char *const *arguments,
                      const async_subprocess_options *options)
{
    int before = open_fds();
    assert_null(async_create_subprocess_exec(arguments, options));
    assert_int_equal(async_error_code(), code);
    assert_message(text);
    assert_int_equal(open_fds(), before);
    assert_no_child();
    return 0;
}

static int no_such_program(void *unused)
{
    char file[] = "/tmp/casyncio-noexec-XXXXXX", binary[] = "/tmp/casyncio-noexec-XXXXXX";
    async_subprocess_options pipes = {.in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE};
    fails_with(-ENOENT, "cannot run casyncio-nosuch", ASYNC_ARGUMENTS("casyncio-nosuch"), NULL);
    fails_with(-ENOENT, "cannot run /nowhere/x", ASYNC_ARGUMENTS("/nowhere/x"), &pipes);
    fails_with(-ENOENT, "cannot run", ASYNC_ARGUMENTS(""), &pipes);
    fails_with(-EACCES, "cannot run /tmp", ASYNC_ARGUMENTS("/tmp"), &pipes);
    close(mkstemp(file));
    fails_with(-EACCES, file, ASYNC_ARGUMENTS(file), &pipes);
    int fd = mkstemp(binary);
    assert_int_equal(write(fd, "\1\2\3\4", 4), 4);
    fchmod(fd, 0755);
    close(fd);
    fails_with(-ENOEXEC, binary, ASYNC_ARGUMENTS(binary), &pipes);
    unlink(file);
    unlink(binary);
    fails_with(-ENOENT, "directory /nowhere", ASYNC_ARGUMENTS("true"),
               &(async_subprocess_options){.directory = "/nowhere"});
    fails_with(-ENOTDIR, "directory /etc/passwd", ASYNC_ARGUMENTS("true"),
               &(async_subprocess_options){.directory = "/etc/passwd"});
    return 0;
}
PROCESS_TEST(no_such_program)

static int too_many_arguments(void *unused)
{
    if (RUNNING_ON_VALGRIND) return 0; /* it cannot go on after an execve that fails so late */
    size_t size = 256 * 1024;
    char *text = malloc(size + 1);
    memset(text, 'x', size);
    text[size] = 0;
    fails_with(-E2BIG, "cannot run true", ASYNC_ARGUMENTS("true", text), NULL);
    fails_with(-ENAMETOOLONG, "cannot run xxx", ASYNC_ARGUMENTS(text), NULL);
    text[100 * 1024] = 0; /* fewer than 128 KiB each, many of them */
    const char *many[101] = {"true"};
    for (int i = 1; i < 100; i++)
        many[i] = text;
    struct rlimit limit;
    getrlimit(RLIMIT_STACK, &limit);
    if (limit.rlim_cur == 8 << 20) fails_with(-E2BIG, "cannot run true", many, NULL);
    free(text);
    return 0;
}
PROCESS_TEST(too_many_arguments)

static int bad_calls(void *unused)
{
    fails_with(-EINVAL, "no program", NULL, NULL);
    fails_with(-EINVAL, "no program", (const char *const[]){NULL}, NULL);
    assert_null(async_create_subprocess_shell(NULL, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    const char *const *yes = ASYNC_ARGUMENTS("true");
    fails_with(-EINVAL, "standard input", yes, &(async_subprocess_options){.in = ASYNC_STDOUT});
    fails_with(-EINVAL, "standard output", yes, &(async_subprocess_options){.out = ASYNC_STDOUT});
    fails_with(-EINVAL, "standard error", yes, &(async_subprocess_options){.err = 17});
    fails_with(-EBADF, "descriptor 999", yes,
               &(async_subprocess_options){.in = ASYNC_FD, .in_fd = 999});
    fails_with(-EBADF, "descriptor -1", yes,
               &(async_subprocess_options){.out = ASYNC_FD, .out_fd = -1});
    fails_with(-EBADF, "descriptor 998", yes,
               &(async_subprocess_options){.pass_fds = (int[]){998}, .pass_fds_count = 1});
    fails_with(-EINVAL, "pass_fds", yes,
               &(async_subprocess_options){.pass_fds = (int[]){1}, .pass_fds_count = 1});
    fails_with(-EINVAL, "pass_fds", yes, &(async_subprocess_options){.pass_fds_count = 1});
    fails_with(-EINVAL, "process group", yes,
               &(async_subprocess_options){.new_session = true, .new_process_group = true});
    fails_with(-EINVAL, "process group", yes, &(async_subprocess_options){.process_group = -5});
    fails_with(-EINVAL, "terminal", yes, &(async_subprocess_options){.terminal = true});
    fails_with(-EINVAL, "grace", yes, &(async_subprocess_options){.grace = 0.0 / 0.0});
    struct {
        async_subprocess_options known;
        long more;
    } later = {.more = 1};
    assert_null(async__create_subprocess_exec(yes, &later.known, sizeof later));
    assert_int_equal(async_error_code(), -EINVAL);
    /* A caller that was compiled when the struct was shorter. */
    async_subprocess_options shorter = {.in = ASYNC_DEVNULL, .grace = 0.0 / 0.0};
    async_process *process =
        async__create_subprocess_exec(yes, &shorter, offsetof(async_subprocess_options, grace));
    assert_non_null(process);
    return async_process_close(process);
}
PROCESS_TEST(bad_calls)

static int null_process(void *unused)
{
    async_process_output output = {0};
    assert_int_equal(async_process_wait(NULL, NULL), -EBADF);
    assert_message("NULL");
    assert_int_equal(async_process_poll(NULL, NULL), -EBADF);
    assert_int_equal(async_process_communicate(NULL, NULL, 0, &output), -EBADF);
    assert_int_equal(async_process_send_signal(NULL, SIGTERM), -EBADF);
    assert_int_equal(async_process_terminate(NULL), -EBADF);
    assert_int_equal(async_process_kill(NULL), -EBADF);
    assert_int_equal(async_process_pid(NULL), -EBADF);
    assert_int_equal(async_process_returncode(NULL), ASYNC_RUNNING);
    assert_null(async_process_stdin(NULL));
    assert_null(async_process_stdout(NULL));
    assert_null(async_process_stderr(NULL));
    assert_int_equal(async_process_close(NULL), 0);
    return 0;
}
PROCESS_TEST(null_process)

static void test_outside_of_a_task(void **state)
{
    (void)state;
    assert_null(async_create_subprocess_exec(ASYNC_ARGUMENTS("true"), NULL));
    assert_int_equal(async_error_code(), -EPERM);
    assert_no_child();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_pipes),
        cmocka_unit_test(test_no_pipes),
        cmocka_unit_test(test_stderr_into_stdout),
        cmocka_unit_test(test_null_streams),
        cmocka_unit_test(test_given_descriptors),
        cmocka_unit_test(test_crossed_descriptors),
        cmocka_unit_test(test_closed_standard_input),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_search_path),
        cmocka_unit_test(test_other_executable),
        cmocka_unit_test(test_directory_and_umask),
        cmocka_unit_test(test_groups_and_sessions),
        cmocka_unit_test(test_no_leaks),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_no_such_program),
        cmocka_unit_test(test_too_many_arguments),
        cmocka_unit_test(test_bad_calls),
        cmocka_unit_test(test_null_process),
        cmocka_unit_test(test_outside_of_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
