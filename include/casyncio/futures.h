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
    void *reserved[2];
} async_future;

#define ASYNC_FUTURE_INIT                                                                          \
    {                                                                                              \
        {NULL, NULL}, NULL, 0, false, { NULL, NULL }                                               \
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

/* Whether it has been set. asyncio: done */
static inline bool async_future_done(const async_future *future) { return future && future->done; }

ASYNC_END
#endif
