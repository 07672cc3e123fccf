/* Two processes start a server at one path, where a server that died has left its socket: one of
 * them serves, the other gets -EADDRINUSE. The first is held up at each of its system calls in turn,
 * while the second does all of its own. */
#include "io_test.h"

#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- the process that is held up ---- */

static int stop_at, calls, tell_fd = -1, wait_fd = -1;

static void step(void)
{
    char byte = 's';
    if (tell_fd < 0 || ++calls != stop_at) return;
    if (write(tell_fd, &byte, 1) != 1 || read(wait_fd, &byte, 1) != 1) _exit(20);
}

#define STEP(type, name, number, parameters, ...)                                                  \
    type name parameters                                                                           \
    {                                                                                              \
        step();                                                                                    \
        type result = (type)syscall(number, __VA_ARGS__);                                          \
        int saved = errno;                                                                         \
        step();                                                                                    \
        errno = saved;                                                                             \
        return result;                                                                             \
    }

STEP(int, bind, SYS_bind, (int fd, const struct sockaddr *address, socklen_t size), fd, address,
     size)
STEP(int, connect, SYS_connect, (int fd, const struct sockaddr *address, socklen_t size), fd,
     address, size)
STEP(int, listen, SYS_listen, (int fd, int backlog), fd, backlog)
STEP(int, flock, SYS_flock, (int fd, int operation), fd, operation)
STEP(int, unlink, SYS_unlinkat, (const char *path), AT_FDCWD, path, 0)
STEP(int, chmod, SYS_fchmodat, (const char *path, mode_t mode), AT_FDCWD, path, mode)

/* ---- two processes ---- */

static char directory[64], path[96];

struct process {
    pid_t pid;
    int from, to; /* one byte each: 's' it stands at its step, '1' it serves, '0' it does not */
};

static int serve(void *unused)
{
    (void)unused;
    async_server *server = async_start_unix_server(path, &(async_server_options){.mode = 0600});
    if (!server) return async_error_code();
    char byte = '1';
    stop_at = 0;
    if (write(tell_fd, &byte, 1) != 1 || read(wait_fd, &byte, 1) != 1) _exit(21);
    async_server_close(server);
    return 0;
}

static struct process start(int step_to_stop_at)
{
    struct process process;
    int from[2], to[2];
    assert_int_equal(pipe(from), 0);
    assert_int_equal(pipe(to), 0);
    process.pid = fork();
    if (process.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
        stop_at = step_to_stop_at;
        tell_fd = from[1];
        wait_fd = to[0];
        int code = async_run(serve, NULL);
        if (code < 0 && write(tell_fd, code == -EADDRINUSE ? "0" : "?", 1) != 1) _exit(22);
        _exit(0);
    }
    close(from[1]);
    close(to[0]);
    process.from = from[0];
    process.to = to[1];
    return process;
}

static char hear(struct process *process)
{
    char byte = 0;
    assert_int_equal(read(process->from, &byte, 1), 1);
    return byte;
}

static void go_on(struct process *process) { assert_int_equal(write(process->to, "g", 1), 1); }

static void end(struct process *process)
{
    int status;
    close(process->to);
    close(process->from);
    assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
}

static void leave_stale_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static bool answers(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int result = connect(fd, (struct sockaddr *)&address, sizeof address);
    close(fd);
    return result == 0;
}

/* False: the first has no such step. */
static bool hold_up(int at, bool stale)
{
    if (stale) leave_stale_socket();
    struct process first = start(at);
    char told = hear(&first);
    bool stopped = told == 's';
    struct process second = start(0);
    char other = hear(&second);
    if (stopped) {
        go_on(&first);
        told = hear(&first);
    }
    assert_true((told == '1' && other == '0') || (told == '0' && other == '1'));
    assert_true(answers());
    go_on(told == '1' ? &first : &second); /* closes its server */
    end(&first);
    end(&second);
    assert_int_equal(access(path, F_OK), -1);
    return stopped;
}

static void test_one_serves(void **state)
{
    (void)state;
    for (int stale = 0; stale < 2; stale++) {
        int at = 1;
        while (hold_up(at, stale))
            at++;
        assert_true(at > 8);
    }
}

/* One that dies in the middle keeps no other from the path. */
static void test_one_dies(void **state)
{
    (void)state;
    for (int at = 1;; at++) {
        leave_stale_socket();
        struct process first = start(at);
        bool stopped = hear(&first) == 's';
        kill(first.pid, SIGKILL);
        end(&first);
        struct process second = start(0);
        assert_int_equal(hear(&second), '1');
        go_on(&second);
        end(&second);
        assert_int_equal(access(path, F_OK), -1);
        if (!stopped) break;
    }
}

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/casyncio-XXXXXX");
    if (!mkdtemp(directory)) return -1;
    snprintf(path, sizeof path, "%s/socket", directory);
    return 0;
}

/* Nothing else is left in the directory: no lock. */
static int tear_down(void **state)
{
    (void)state;
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_serves),
        cmocka_unit_test(test_one_dies),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
