/* future.c - a result that is set once and awaited by any number of tasks. */
#include "task.h"

int async_future_set(async_future *future, int code, void *value)
{
    if (!future) return async__failf(-EBADF, "async_future_set: the future is NULL");
    if (future->done)
        return async__fail_text(-EALREADY, "async_future_set: it has been set already");
    future->done = true;
    future->code = code;
    future->value = value;
    async__done_callbacks_run(future->callbacks, code);
    future->callbacks = NULL;
    async__wake_all(&future->waiters);
    return 0;
}

/* The library knows no more of a failure than its code. */
static int outcome(const async_future *future, const char *call)
{
    int code = future->code;

    if (code >= 0) return code;
    if (code == -ECANCELED) return async__failf(code, "%s: the future was cancelled", call);
    return async__failf(code, "%s: the future was set to an error: %s", call, async_strerror(code));
}

bool async_future_cancel(async_future *future)
{
    return future && !future->done && async_future_set(future, -ECANCELED, NULL) == 0;
}

int async_future_result(const async_future *future, void **value)
{
    if (!future) return async__failf(-EBADF, "async_future_result: the future is NULL");
    if (!future->done)
        return async__fail_text(-EINPROGRESS, "async_future_result: it has not been set yet");
    if (value) *value = future->value;
    return outcome(future, __func__);
}

int async_future_add_done_callback(async_future *future, async_done_callback *callback)
{
    static const char call[] = "async_future_add_done_callback";
    if (!future) return async__null_in(call, "future");
    if (!async__loop()) return async__failf(-EPERM, "%s: no loop runs in this thread", call);
    int code = async__done_callback_add(&future->callbacks, callback, async__loop(), call);
    if (code < 0 || !future->done) return code;
    async__done_callbacks_run(future->callbacks, future->code);
    future->callbacks = NULL;
    return 0;
}

bool async_future_remove_done_callback(async_future *future, async_done_callback *callback)
{
    if (!callback) return false;
    if (async_callback_cancel(&callback->callback)) return true;
    return future && callback->loop && async__done_callback_remove(&future->callbacks, callback);
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
    return outcome(future, __func__);
}
