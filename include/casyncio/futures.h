/* futures.h - futures            asyncio: Futures */
#ifndef CASYNCIO_FUTURES_H
#define CASYNCIO_FUTURES_H

#include <casyncio/tasks.h>

ASYNC_BEGIN

/* Who waits, in the order of coming; the library's. */
struct async__wait_list {
    struct async__waiter *first, *last;
};

/* A result that is set once, by a callback or by another task, and awaited by any number of tasks.
 * All zeros is a future that is pending. Embed it where you like; it must outlive those who wait
 * for it. Once it is done `code` and `value` may be read. Set to all zeros, with nobody waiting, it
 * can be used again. asyncio: Future */
typedef struct async_future {
    struct async__wait_list waiters; /* the library's */
    void *value;
    int code;
    bool done;
} async_future;

#define ASYNC_FUTURE_INIT                                                                          \
    {                                                                                              \
        .done = false                                                                              \
    }

/* Sets the result and wakes who waits: 0. -EALREADY if it was set before (asyncio:
 * InvalidStateError). `code` negative is an error; `value` is whatever the two sides agree on, and
 * who owns it with it. Does not block; only in the loop's thread.
 * asyncio: set_result, set_exception, cancel (a code of -ECANCELED) */
ASYNC_API int async_future_set(async_future *future, int code, void *value);

/* Waits until it is set, and gives its code; *value (`value` may be NULL) is its value. The code of
 * a cancellation if it is not set by then; the future stays as it is, and *value too.
 * asyncio: `await future`, but that cancels the future */
ASYNC_API int async_future_wait(async_future *future, void **value);

static inline bool async_future_done(const async_future *future) { return future->done; }

ASYNC_END
#endif
