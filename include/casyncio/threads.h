/* threads.h - work in other threads            asyncio: Running in Threads */
#ifndef CASYNCIO_THREADS_H
#define CASYNCIO_THREADS_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Has a thread of the loop's pool call function(argument), and waits for what it returns. A thread cannot be interrupted: if the task is
 * cancelled, the call still waits for the function to end if that has begun (`argument` is the caller's), and then gives the function's result;
 * if it has not begun it never will, and the code is that of the cancellation. -EAGAIN: no thread can be made.
 * asyncio: asyncio.to_thread */
ASYNC_API int async_to_thread(int (*function)(void *argument), void *argument);

/* Has the loop make a detached task, from any thread, and waits in this thread (not in a task of that loop) for its
 * result. -ECANCELED if the loop ends first. The loop must be shared (async_get_running_loop does that).
 * asyncio: run_coroutine_threadsafe(...).result() */
ASYNC_API int async_run_coroutine_threadsafe(async_loop *loop, async_coroutine coroutine,
                                             void *argument);

ASYNC_END
#endif
