/* end.c - ending a process that its program has done with: SIGTERM, a time of grace, SIGKILL, and the
 * exit status taken, so that no zombie is left.
 *
 * Its outputs stay open until it has ended, since a program that is asked to end may have something
 * left to say; its input is closed at once, which is all that many programs wait for. */
#include "process.h"

#include <poll.h>
#include <signal.h>

#define PATIENCE                                                                                   \
    2000 /* ms that the thread is held up for a process that SIGKILL has been sent to */

/* Waits for at most `seconds`. What fails in it is no error of the close. */
static void await_for(async_process *process, double seconds)
{
    async_scope limit = {0};

    if (async_timeout_enter(&limit, seconds) < 0) return;
    async__process_await(process);
    async_scope_leave(&limit);
}

static void end_in_task(async_process *process)
{
    async_scope shield = {0};

    async__exit_shield_enter(&shield);
    if (process->grace > 0 && async__process_signal(process, SIGTERM) == 0)
        await_for(process, process->grace);
    if (!process->ended && async__process_signal(process, SIGKILL) == 0)
        async__process_await(process);
    async_scope_leave(&shield);
}

/* There is no task, its shield has ended, or something has failed: the thread waits. A process that
 * SIGKILL has been sent to ends within a millisecond, unless it is in the middle of a system call that
 * nothing interrupts. */
static int end_here(async_process *process)
{
    /* The program may have become another user's: it is left alone then. */
    if (async__process_signal(process, SIGKILL) == -EPERM) return -EPERM;
    for (int waited = 0; async__process_reap(process) != 1;) {
        struct pollfd end = {.fd = process->pidfd, .events = POLLIN};
        int pause = process->pidfd < 0 ? 1 : PATIENCE;
        if (waited >= PATIENCE) return -ETIMEDOUT;
        waited += poll(&end, process->pidfd >= 0, pause) == 0 ? pause : 1;
    }
    return 0;
}

static int end(async_process *process)
{
    int code = 0;

    if (process->forks != async__forks || async__process_reap(process) == 1) return 0;
    struct async__record before = async__record_save();
    async__process_stream_abort(process->streams[0]);
    if (async__current) end_in_task(process);
    if (!process->ended) code = end_here(process);
    async__record_restore(&before, true);
    if (code == 0) return 0;
    return async__failf(code, "%s (%d) cannot be ended: %s", process->name, (int)process->pid,
                        async_strerror(code));
}

int async_process_close(async_process *process)
{
    if (!process) return 0;
    if (process->closed)
        return async__failf(-EBADF, "the process %s is being closed already", process->name);
    process->closed = true;
    async__process_wake(process, -EBADF);
    int code = end(process);
    for (int i = 0; i < 3; i++)
        async__process_stream_abort(process->streams[i]);
    async__process_free(process);
    return code;
}

void async__close_process(void *process)
{
    int code = async_process_close(process);
    if (code < 0) async__pend(code);
}
