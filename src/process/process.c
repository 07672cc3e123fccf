/* process.c - waiting for a child's end, and signals; create.c starts it, end.c is the exit of
 * async_with_process.
 *
 * The pidfd becomes readable when the child ends. It is watched only while a task waits, so that a
 * process that is not waited for keeps no loop from finding out that nothing can happen any more.
 * The child is reaped by its pidfd, or by its number, which stays its own until then.
 *
 * A process is counted, as streams are: its owner has a reference, and each call under way. */
#include "process.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#define BY_PIDFD ((idtype_t)3) /* P_PIDFD, Linux 5.4; not in every libc */

#define LOST_CODE 255     /* asyncio's */
#define FIRST_PAUSE 0.001 /* seconds; where there are no pidfds */
#define LONGEST_PAUSE 0.02

/* ---- the end of a child ---- */

static void set_ended(async_process *process)
{
    process->ended = true;
    if (process->pidfd >= 0) async_close(process->pidfd);
    process->pidfd = -1;
}

static int ask(const async_process *process, siginfo_t *info)
{
    int result = -1;

    do {
        info->si_pid = 0;
        errno = EINVAL;
        if (process->pidfd >= 0)
            result = ASYNC__CALL(waitid(BY_PIDFD, (id_t)process->pidfd, info, WEXITED | WNOHANG));
        if (result < 0 && errno == EINVAL)
            result = ASYNC__CALL(waitid(P_PID, (id_t)process->pid, info, WEXITED | WNOHANG));
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : 0;
}

int async__process_reap(async_process *process)
{
    siginfo_t info;

    if (process->ended) return 1;
    int code = ask(process, &info);
    if (code == -ECHILD) {
        process->lost = true;
        process->returncode = LOST_CODE;
    } else if (code < 0) {
        return code;
    } else if (info.si_pid == 0) {
        return 0;
    } else {
        process->returncode = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    }
    set_ended(process);
    return 1;
}

int async__process_result(const async_process *process, int *returncode)
{
    if (returncode) *returncode = process->returncode;
    if (!process->lost) return 0;
    return async__failf(-ECHILD,
                        "how %s (%d) has ended cannot be known: SIGCHLD is ignored, or something "
                        "else has waited for it",
                        process->name, (int)process->pid);
}

/* ---- waiting ---- */

static void stop_waiting(async_process *process)
{
    async_loop *loop = async__loop();

    if (!process->waited_for) return;
    process->waited_for = false;
    if (!loop) return;
    async_remove_watch(loop, &process->watch);
    async_timer_cancel(loop, &process->timer);
}

void async__process_wake(async_process *process, int result)
{
    async__waiter *waiter;

    stop_waiting(process);
    while ((waiter = async__wake_first(&process->waiters)))
        *(int *)waiter->item = result;
}

static void on_readable(async_callback *callback)
{
    async_process *process = async__container(callback, async_process, watch.callback);
    int result = process->watch.error ? process->watch.error : async__process_reap(process);
    if (result != 0) async__process_wake(process, result);
}

static void on_time(async_callback *callback)
{
    async_process *process = async__container(callback, async_process, timer.callback);
    int result = async__process_reap(process);

    if (process->pause < LONGEST_PAUSE) process->pause *= 2;
    if (result == 0) result = async_call_later(async__loop(), &process->timer, process->pause);
    if (result != 0) async__process_wake(process, result);
}

static int start_waiting(async_process *process)
{
    async_loop *loop = async__loop();
    int code;

    if (process->waited_for) return 0;
    if (process->pidfd >= 0) {
        process->watch.callback.run = on_readable;
        code = async_add_reader(loop, process->pidfd, &process->watch);
    } else {
        process->pause = FIRST_PAUSE;
        process->timer.callback.run = on_time;
        code = async_call_later(loop, &process->timer, process->pause);
    }
    if (code == 0) process->waited_for = true;
    return code;
}

int async__process_closed(const async_process *process)
{
    return async__failf(-EBADF, "the process %s has been closed", process->name);
}

static int await_failed(const async_process *process, int code)
{
    if (code == -EBADF && process->closed) return async__process_closed(process);
    return async__failf(code, "wait for %s (%d): %s", process->name, (int)process->pid,
                        async_strerror(code));
}

int async__process_await(async_process *process)
{
    int result = async__process_reap(process);
    if (result == 0) result = start_waiting(process);
    if (result < 0) return await_failed(process, result);
    if (process->ended) return 0;

    int code = async__wait_in(&process->waiters, "process", &result);
    if (!process->waiters.first) stop_waiting(process);
    if (code < 0) return code;
    return result < 0 ? await_failed(process, result) : 0;
}

/* ---- calls ---- */

static int no_process(const char *call) { return async__misuse(async__null_in(call, "process")); }

static int check_owner(const async_process *process)
{
    if (process->forks == async__forks) return 0;
    return async__failf(-ECHILD, "%s (%d) is a child of this process's parent", process->name,
                        (int)process->pid);
}

int async__process_enter_in(async_process *process, const char *call)
{
    if (!process) return no_process(call);
    process->references++;
    int code = async__checkpoint_in(call);
    if (code == 0 && process->closed) code = async__process_closed(process);
    return code == 0 ? check_owner(process) : code;
}

void async__process_free(async_process *process)
{
    if (--process->references > 0) return;
    for (int i = 0; i < 3; i++)
        async__process_stream_free(process->streams[i]);
    if (process->pidfd >= 0) async_close(process->pidfd);
    async_debug_closed(process);
    async__free(process);
}

int async__process_leave(async_process *process, int result)
{
    if (process) async__process_free(process);
    return result;
}

int async_process_wait(async_process *process, int *returncode)
{
    int code = async__process_enter(process);
    if (code == 0) code = async__process_await(process);
    if (code == 0) code = async__process_result(process, returncode);
    return async__process_leave(process, code);
}

int async_process_poll(async_process *process, int *returncode)
{
    if (!process) return no_process(__func__);
    if (process->closed) return async__process_closed(process);
    int code = check_owner(process);
    if (code == 0) code = async__process_reap(process);
    if (code == 0) return 0;
    if (code < 0) return await_failed(process, code);
    /* Tasks that wait need not wait for the loop to look. */
    async__process_wake(process, 1);
    code = async__process_result(process, returncode);
    return code < 0 ? code : 1;
}

int async_process_returncode(const async_process *process)
{
    if (process) return process->returncode;
    no_process(__func__);
    return ASYNC_RUNNING; /* an error code would look like a signal */
}

pid_t async_process_pid(const async_process *process)
{
    return process ? process->pid : async__null("process");
}

static async_stream *stream_of(const async_process *process, int i, const char *call)
{
    if (process) return process->streams[i];
    no_process(call);
    return NULL;
}

async_stream *async_process_stdin(const async_process *process)
{
    return stream_of(process, 0, __func__);
}
async_stream *async_process_stdout(const async_process *process)
{
    return stream_of(process, 1, __func__);
}
async_stream *async_process_stderr(const async_process *process)
{
    return stream_of(process, 2, __func__);
}

/* ---- signals ---- */

/* A child that has not been reaped has its number, and nothing else does. */
int async__process_signal(const async_process *process, int signal)
{
    long result = -1;

    errno = ENOSYS;
    if (process->pidfd >= 0)
        result = ASYNC__CALL(syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0L));
    if (result < 0 && errno == ENOSYS) result = ASYNC__CALL(kill(process->pid, signal));
    return result < 0 ? -errno : 0;
}

static int send_signal(async_process *process, int signal, const char *call)
{
    if (!process) return no_process(call);
    if (process->closed) return async__process_closed(process);
    int code = check_owner(process);
    if (code < 0) return code;
    code = process->ended ? -ESRCH : async__process_signal(process, signal);
    if (code < 0)
        async__failf(code, "signal %d to %s (%d): %s", signal, process->name, (int)process->pid,
                     async_strerror(code));
    return code;
}

int async_process_send_signal(async_process *process, int signal)
{
    return send_signal(process, signal, __func__);
}

int async_process_terminate(async_process *process)
{
    return send_signal(process, SIGTERM, __func__);
}

int async_process_kill(async_process *process) { return send_signal(process, SIGKILL, __func__); }
