/* future.c - a result that is set once and awaited by any number of tasks. */
#include "task.h"

int async_future_set(async_future *future, int code, void *value)
{
    if (!future) return async__failf(-EBADF, "async_future_set: the future is NULL");
    if (future->done) return async__fail(-EALREADY);
    future->done = true;
    future->code = code;
    future->value = value;
    async__wake_all(&future->waiters);
    return 0;
}

int async_future_wait(async_future *future, void **value)
{
    if (!future)
        return async__misuse(async__failf(-EBADF, "async_future_wait: the future is NULL"));
    int code = async__checkpoint();
    /* A result that is there is given although a cancellation is due: the next call gives that. */
    if (code < 0 && !(future->done && async__current)) return code;
    if (!future->done) {
        code = async__wait_in(&future->waiters, "future", NULL);
        if (code < 0) return code;
    }
    if (value) *value = future->value;
    return future->code < 0 ? async__fail(future->code) : future->code;
}
