/* futures.h - futures            asyncio: Futures */
#ifndef CASYNCIO_FUTURES_H
#define CASYNCIO_FUTURES_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* The tasks that wait, in the order in which they came; the library's. */
struct async__wait_list {
    struct async__waiter *first, *last;
};

/* A result that is set once, by a callback or by another task, and awaited by any number of tasks.
 * All zeros is a future that is pending. It may lie anywhere, and must outlive the tasks that wait
 * for it. Once it is done `code` and `value` may be read. Set to all zeros it can be used again,
 * when no task waits for it any more (one that has been woken waits until it has run).
 * asyncio: Future */
typedef struct async_future {
    struct async__wait_list waiters; /* the library's */
    void *value;
    int code;
    bool done;
    struct async_done_callback *callbacks; /* the library's */
    void *reserved;
} async_future;

#define ASYNC_FUTURE_INIT                                                                          \
    {                                                                                              \
        {NULL, NULL}, NULL, 0, false, NULL, NULL                                                   \
    }

/* Sets the result and wakes the tasks that wait: 0. -EALREADY if it was set before (asyncio:
 * InvalidStateError), -EBADF for NULL. `code` negative is an error; what `value` means, and which
 * side owns it, is not the library's concern. Does not block; only in the loop's thread.
 * asyncio: set_result, set_exception, cancel (a code of -ECANCELED) */
ASYNC_API int async_future_set(async_future *future, int code, void *value);

/* Waits until it is set, and gives its code; *value (`value` may be NULL) is its value. The code of
 * a cancellation if it is not set by then; the future stays as it is, and *value too. -EBADF for
 * NULL.
 * asyncio: `await future`, but that cancels the future */
ASYNC_API int async_future_wait(async_future *future, void **value);

/* Sets the code -ECANCELED; false if it was set before, or for NULL. The tasks that wait for it get
 * that code, as from a cancellation of their own. asyncio: cancel */
ASYNC_API bool async_future_cancel(async_future *future);

/* Whether it has been set; whether that was by async_future_cancel, or to -ECANCELED.
 * asyncio: done, cancelled */
static inline bool async_future_done(const async_future *future) { return future && future->done; }
static inline bool async_future_cancelled(const async_future *future)
{
    return future && future->done && future->code == -ECANCELED;
}

/* The code, and the value in *value (`value` may be NULL), without waiting: -EINPROGRESS if it is not
 * set, -EBADF for NULL, and then *value is left alone.
 * asyncio: result, exception, InvalidStateError */
ASYNC_API int async_future_result(const async_future *future, void **value);

/* Adds a callback, which runs in the loop soon after the future is set, with its code
 * (async_done_callback in tasks.h), or soon if it is set already. In the loop's thread, while the loop
 * runs. 0; -EBADF, -EINVAL and -EBUSY as for async_task_add_done_callback; -EPERM where no loop runs.
 * Removing gives true if it was there, and then it does not run.
 * asyncio: add_done_callback, remove_done_callback */
ASYNC_API int async_future_add_done_callback(async_future *future, async_done_callback *callback);
ASYNC_API bool async_future_remove_done_callback(async_future *future,
                                                 async_done_callback *callback);

ASYNC_END
#endif
