/* spawn.c - starting a program.
 *
 * A child by clone(CLONE_VM | CLONE_VFORK) has its parent's memory, and the parent's thread stands
 * still until the child has executed its program, or has ended: no page table is copied, so that it
 * takes as long from a process of many GiB as from a small one; and why a program could not be
 * executed is found in that memory. CLONE_PIDFD gives the pidfd in the same call, so that it cannot
 * be another process's.
 *
 * Emulators (qemu-user, valgrind) make a plain fork of it. Then neither holds: so the first child of a
 * process has a pipe, too, that execve closes, or that has the failure. It is read only if the child
 * turns out not to share the memory; once one has, later ones get no pipe. */
#include "process.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif

static atomic_bool memory_is_shared; /* a child has shown that it is */

/* ---- the child ---- */

static pid_t start_with(struct async__child *child, unsigned long flags, int *pidfd)
{
#ifdef HAS_TSAN
    /* Its interceptor of clone prepares both sides for a fork, in memory that must not be shared. */
    pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, pidfd, NULL, NULL);
    if (pid == 0) async__child_main(child);
    return pid;
#else
    return clone(async__child_main, child->stack + sizeof child->stack,
                 (int)(flags | CLONE_VM | CLONE_VFORK | SIGCHLD), child, pidfd, NULL, NULL);
#endif
}

static pid_t start(struct async__child *child, int *pidfd)
{
    pid_t pid = start_with(child, CLONE_PIDFD, pidfd);
    if (pid < 0 && errno == EINVAL) pid = start_with(child, 0, pidfd); /* an emulator */
    return pid;
}

/* Blocks all signals around it, those that libc has for itself too: so there are no calls for it. */
static int start_blocked(struct async__child *child, pid_t *pid, int *pidfd)
{
    unsigned char all[ASYNC__SIGNAL_SET];

    memset(all, 0xff, sizeof all);
    if (ASYNC__CALL(syscall(SYS_rt_sigprocmask, SIG_SETMASK, all, child->signal_mask,
                            (long)ASYNC__SIGNAL_SET)) < 0)
        return -errno;
    *pid = ASYNC__CALL(start(child, pidfd));
    int code = *pid < 0 ? -errno : 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, child->signal_mask, NULL, (long)ASYNC__SIGNAL_SET);
    return code;
}

/* ---- how it went ---- */

static int open_report(struct async__child *child, int *mine)
{
    int ends[2];
    int code = async__open_pipe(ends);
    if (code < 0) return code;
    *mine = ends[0];
    child->report = ends[1];
    return 0;
}

/* The failure of a child that does not share the memory; waits until its program runs. */
static struct async__child_failure read_report(int fd)
{
    struct async__child_failure failure = {0};
    ssize_t n;

    do
        n = read(fd, &failure, sizeof failure);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof failure) failure.error = 0;
    return failure;
}

static void reap_failed(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int async__spawn(struct async__child *child, pid_t *pid, int *pidfd, int *step)
{
    int report = -1;

    *pidfd = child->report = -1;
    *step = ASYNC__STEP_EXEC;
    child->alive = false;
    child->failure.error = 0;
    if (!atomic_load_explicit(&memory_is_shared, memory_order_relaxed)) {
        int code = open_report(child, &report);
        if (code < 0) return code;
    }
    int code = start_blocked(child, pid, pidfd);
    if (child->report >= 0) close(child->report);

    struct async__child_failure failure = {child->failure.step, child->failure.error};
    if (code == 0 && child->alive)
        atomic_store_explicit(&memory_is_shared, true, memory_order_relaxed);
    else if (code == 0 && report >= 0)
        failure = read_report(report);
    if (report >= 0) close(report);
    if (code < 0) return code;

    if (failure.error) {
        reap_failed(*pid);
        if (*pidfd >= 0) close(*pidfd);
        *pidfd = -1; /* the caller would close it again, and by then it may be another's */
        *step = failure.step;
        return -failure.error;
    }
    /* Linux before 5.2, or an emulator. The child has not been reaped, so that it still has the pid. */
    if (*pidfd < 0) *pidfd = (int)ASYNC__CALL(syscall(SYS_pidfd_open, *pid, 0L));
    return 0;
}
