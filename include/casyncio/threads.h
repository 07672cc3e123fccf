/* threads.h - work in other threads            asyncio: Running in Threads */
#ifndef CASYNCIO_THREADS_H
#define CASYNCIO_THREADS_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Has a thread of the loop's pool call function(argument), waits for it, and gives its result: 0 or
 * more, or a negative code. A thread cannot be interrupted: if the task is cancelled once the
 * function has begun, the call waits for its end (it may use what lies in the caller's frames), and
 * gives its result; if it has not begun it never will, and the code is that of the cancellation.
 * -EAGAIN: no thread can be made; -ENOMEM. The function must not call what belongs to the loop; it has
 * the task's context variables (contextvars.h), and what it sets is its own.
 * asyncio: asyncio.to_thread */
ASYNC_API int async_to_thread(int (*function)(void *argument), void *argument);

/* Has the loop make a detached task, from any thread, and waits in this thread for its result; in
 * the loop's own thread it is -EDEADLK. Blocks the thread, and cannot be cancelled. -ECANCELED if
 * the main task has ended or ends first, if the loop runs no tasks, or if the task was cancelled;
 * -ENOMEM; -ECHILD in a process forked from the loop's; -EBADF for a loop that is NULL. The loop must
 * be shared (async_loop_share), and must not have been closed: it is for the caller to know that
 * async_run has not returned.
 * asyncio: run_coroutine_threadsafe(...).result() */
ASYNC_API int async_run_coroutine_threadsafe(async_loop *loop, async_coroutine coroutine,
                                             void *argument);

ASYNC_END
#endif
