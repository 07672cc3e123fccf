/* threads.h - work in other threads            asyncio: Running in Threads */
#ifndef CASYNCIO_THREADS_H
#define CASYNCIO_THREADS_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Has a thread of the loop's pool call function(argument), waits for it, and gives its result: 0 or
 * more, or a negative code, with the message that the function raised (async_raise). A thread cannot
 * be interrupted: if the task is cancelled once the function has begun, the call waits for its end (it
 * may use what lies in the caller's frames), and gives its result; if it has not begun it never will,
 * and the code is that of the cancellation.
 * -EAGAIN: no thread can be made; -ENOMEM. The function must not call what belongs to the loop; it has
 * the task's context variables (contextvars.h), and what it sets is its own.
 * asyncio: asyncio.to_thread */
ASYNC_API int async_to_thread(int (*function)(void *argument), void *argument);

/* Has the loop make a task, from any thread, and waits in this thread for its result, whose message
 * is then async_error_message's here; in the loop's own thread it is -EDEADLK. Blocks the thread, and
 * cannot be cancelled. -ECANCELED if the main task has ended or ends first, if the loop runs no tasks,
 * or if the task was cancelled; -ENOMEM; -ECHILD in a process forked from the loop's; -EBADF for a
 * loop that is NULL, -EINVAL for a coroutine that is. The loop must be shared (async_loop_share), and
 * must not have been closed: the caller makes sure that async_run has not returned.
 * asyncio: run_coroutine_threadsafe(...).result() */
ASYNC_API int async_run_coroutine_threadsafe(async_loop *loop, async_coroutine coroutine,
                                             void *argument);

/* ---- the same, with a handle ---- */

/* The result of a coroutine that runs in another thread's loop. The functions that take one work in
 * any thread, several at once, and also when the loop has ended: then what has not come about is
 * -ECANCELED. asyncio: concurrent.futures.Future */
typedef struct async_concurrent_future async_concurrent_future;

/* Has the loop make a task, from any thread, and does not wait. `argument` must be good until the
 * task is done. In the loop's own thread it can be called as well. NULL: the codes of
 * async_run_coroutine_threadsafe. The handle is freed with async_concurrent_future_free.
 * asyncio: run_coroutine_threadsafe */
ASYNC_API async_concurrent_future *async_submit_coroutine_threadsafe(async_loop *loop,
                                                                     async_coroutine coroutine,
                                                                     void *argument);

/* Waits in this thread for at most `timeout` seconds (0 or less: does not wait; infinity: no limit)
 * and gives the task's result, whose message the first call takes over. -ETIMEDOUT: it has not come,
 * and the coroutine runs on (async_concurrent_future_done tells this from a result of -ETIMEDOUT).
 * -ECANCELED if the task was cancelled, or the loop ended first; -EDEADLK in the loop's own thread,
 * -ECHILD in a process forked from the loop's, unless it is there already; -EINVAL for NaN; -EBADF for
 * NULL. Blocks the thread, not a task: in another loop's task it stops that loop.
 * asyncio: Future.result(timeout), Future.exception */
ASYNC_API int async_concurrent_future_result(async_concurrent_future *future, double timeout);

/* Whether the result is there (true for NULL). asyncio: Future.done */
ASYNC_API bool async_concurrent_future_done(async_concurrent_future *future);

/* Asks the loop to cancel the task: true if that was sent, false if the result is there, if it was
 * asked for before, or for NULL. Does not wait: async_concurrent_future_result tells what came of it.
 * asyncio: Future.cancel */
ASYNC_API bool async_concurrent_future_cancel(async_concurrent_future *future);

/* Frees the handle; NULL is fine. A coroutine that has not ended runs on, and if it fails the loop's
 * exception handler is told. */
ASYNC_API void async_concurrent_future_free(async_concurrent_future *future);

ASYNC_END
#endif
