/* child.c - what runs between clone(2) and execve(2).
 *
 * The child shares its parent's memory, the thread-local part too, while the thread that made it
 * stands still. So nothing here may call a function that has a lock or a state: all are system
 * calls by number, and what they need lies ready in struct async__child. Nor may a signal handler run,
 * which would change what the parent believes: all signals are blocked until no handler is set.
 *
 * Sanitizers keep books of their own in that memory: their instrumentation is left out. */
#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#define CLOSE_ON_EXEC 4 /* CLOSE_RANGE_CLOEXEC, Linux 5.11 */

#define BARE __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

/* ---- signals ---- */

/* struct sigaction as the kernel has it: the handler comes first, and there is room for the rest. */
struct disposition {
    unsigned long handler, rest[7];
};

/* A handler is reset by execve as well, but must not run until then. */
BARE static void reset_signals(const struct async__child *child)
{
    for (int number = 1; number <= 64; number++) {
        struct disposition now = {0}, by_default = {0};
        if (syscall(SYS_rt_sigaction, number, NULL, &now, (long)ASYNC__SIGNAL_SET) < 0) continue;
        bool ignored = now.handler == (unsigned long)SIG_IGN;
        if (now.handler == (unsigned long)SIG_DFL) continue;
        if (ignored && (number != SIGPIPE || child->keep_signals)) continue;
        syscall(SYS_rt_sigaction, number, &by_default, NULL, (long)ASYNC__SIGNAL_SET);
    }
}

BARE static void unblock_signals(const struct async__child *child)
{
    static const unsigned char none[ASYNC__SIGNAL_SET];
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, child->keep_signals ? child->signal_mask : none, NULL,
            (long)ASYNC__SIGNAL_SET);
}

/* ---- descriptors ---- */

/* Those that are to become one of 0 to 2 and lie there themselves would be overwritten by the others:
 * they are moved away first. What is opened here lies above. */
BARE static int set_stdio(const struct async__child *child)
{
    int from[3];

    for (int i = 0; i < 3; i++) {
        from[i] = child->stdio[i];
        if (from[i] < 0 || from[i] > 2 || from[i] == i) continue;
        from[i] = (int)syscall(SYS_fcntl, from[i], F_DUPFD_CLOEXEC, 3L);
        if (from[i] < 0) return -1;
    }
    for (int i = 0; i < 3; i++) {
        int source = from[i] == ASYNC__DUP_STDOUT ? 1 : from[i];
        if (source < 0) continue;
        if (source == i) {
            if (syscall(SYS_fcntl, i, F_SETFD, 0L) < 0) return -1;
        } else if (syscall(SYS_dup3, source, i, 0L) < 0) {
            return -1;
        }
    }
    return 0;
}

struct entry { /* linux_dirent64 */
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

BARE static int number_of(const char *text)
{
    int number = 0;

    if (!*text) return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return -1;
        number = number * 10 + (*text - '0');
    }
    return number;
}

/* For kernels without CLOSE_RANGE_CLOEXEC: asks /proc what is open. */
BARE static void mark_one_by_one(void)
{
    char entries[1024] __attribute__((aligned(8)));
    long size;
    int directory =
        (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0L);

    if (directory < 0) { /* no /proc: the numbers that programs use */
        for (int fd = 3; fd < 1024; fd++)
            syscall(SYS_fcntl, fd, F_SETFD, (long)FD_CLOEXEC);
        return;
    }
    while ((size = syscall(SYS_getdents64, directory, entries, (long)sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(entries + at);
            int fd = number_of(entry->name);
            if (fd > 2) syscall(SYS_fcntl, fd, F_SETFD, (long)FD_CLOEXEC);
            at += entry->length;
        }
}

/* Descriptors that others have opened in the parent, without O_CLOEXEC, are none of the child's. They
 * are closed by execve, so that a program that cannot be executed can still be reported. */
BARE static int close_others(const struct async__child *child)
{
    if (!child->inherit_fds &&
        syscall(SYS_close_range, 3L, (long)UINT_MAX, (long)CLOSE_ON_EXEC) < 0)
        mark_one_by_one();
    for (size_t i = 0; i < child->pass_count; i++)
        if (syscall(SYS_fcntl, child->pass[i], F_SETFD, 0L) < 0) return -1;
    return 0;
}

/* ---- the program ---- */

BARE static void execute(const struct async__child *child, const char *path)
{
    syscall(SYS_execve, path, child->arguments, child->environment);
}

/* Whether an entry of PATH that fails so is passed over. */
BARE static bool goes_on(int error)
{
    return error == ENOENT || error == ENOTDIR || error == EACCES || error == ENAMETOOLONG ||
           error == ELOOP || error == ESTALE || error == ENODEV || error == ETIMEDOUT;
}

/* execvp(3). A file that may not be executed is the error only if there is no other one. */
BARE static int search(const struct async__child *child)
{
    const char *entry = child->search;
    int error = ENOENT;

    for (;;) {
        char *end = child->candidate;
        while (*entry && *entry != ':')
            *end++ = *entry++;
        if (end != child->candidate) *end++ = '/'; /* an empty entry is the working directory */
        for (const char *c = child->path; *c; c++)
            *end++ = *c;
        *end = 0;
        execute(child, child->candidate);
        if (!goes_on(errno)) return errno;
        if (errno == EACCES) error = EACCES;
        if (!*entry++) return error;
    }
}

BARE static int run_program(const struct async__child *child)
{
    if (child->search) return search(child);
    execute(child, child->path);
    return errno;
}

/* ---- all of it ---- */

/* Gives the errno of what failed, and *step. */
BARE static int prepare_and_run(const struct async__child *child, int *step)
{
    reset_signals(child);
    *step = ASYNC__STEP_SESSION;
    if (child->new_session && syscall(SYS_setsid) < 0) return errno;
    *step = ASYNC__STEP_GROUP;
    if (child->set_group && syscall(SYS_setpgid, 0L, (long)child->group) < 0) return errno;
    *step = ASYNC__STEP_DESCRIPTORS;
    if (set_stdio(child) < 0) return errno;
    *step = ASYNC__STEP_TERMINAL;
    if (child->terminal && syscall(SYS_ioctl, 0L, (long)TIOCSCTTY, 0L) < 0) return errno;
    if (child->set_umask) syscall(SYS_umask, (long)child->umask);
    *step = ASYNC__STEP_DIRECTORY;
    if (child->directory && syscall(SYS_chdir, child->directory) < 0) return errno;
    *step = ASYNC__STEP_DESCRIPTORS;
    if (close_others(child) < 0) return errno;
    unblock_signals(child);
    *step = ASYNC__STEP_EXEC;
    return run_program(child);
}

BARE int async__child_main(void *argument)
{
    struct async__child *child = argument;
    struct async__child_failure failure;

    child->alive = true;
    failure.error = prepare_and_run(child, &failure.step);
    child->failure.step = failure.step;
    child->failure.error = failure.error;
    if (child->report >= 0) syscall(SYS_write, child->report, &failure, (long)sizeof failure);
    for (;;)
        syscall(SYS_exit_group, 127L);
}
