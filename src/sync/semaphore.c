/* semaphore.c - a number of places, each of which is handed over: a release gives its place to the
 * first task that waits, so that there are free places only while no task waits. */
#include "sync.h"

#include <limits.h>

/* For every call: the initialiser cannot refuse a negative number. */
static int check(const async_semaphore *semaphore, const char *call)
{
    if (!semaphore) return async__null_in(call, "semaphore");
    if (semaphore->value < 0)
        return async__failf(-EINVAL, "%s: a semaphore of %d places", call, semaphore->value);
    return 0;
}

static inline int acquire(async_semaphore *semaphore, const char *call)
{
    int code = check(semaphore, call);
    if (async__unlikely(code < 0)) return async__misuse(code);
    code = async__checkpoint_in(call);
    if (async__unlikely(code < 0)) return code;
    if (semaphore->value > 0) {
        semaphore->value--;
        return 0;
    }
    return async__wait_in(&semaphore->waiters, "semaphore", NULL);
}

int async_semaphore_acquire(async_semaphore *semaphore) { return acquire(semaphore, __func__); }

int async_semaphore_try(async_semaphore *semaphore)
{
    int code = check(semaphore, __func__);
    if (code < 0) return code;
    if (semaphore->value == 0)
        return async__fail_text(-EBUSY, "async_semaphore_try: no place is free");
    semaphore->value--;
    return 0;
}

int async_semaphore_release(async_semaphore *semaphore)
{
    int code = check(semaphore, __func__);
    if (async__unlikely(code < 0)) return code;
    if (async__wake_first(&semaphore->waiters)) return 0;
    if (semaphore->bounded && semaphore->value >= semaphore->bound)
        return async__failf(-EINVAL, "async_semaphore_release: all %d places are free already",
                            semaphore->bound);
    if (semaphore->value == INT_MAX)
        return async__failf(-EOVERFLOW, "async_semaphore_release: %d places are free already",
                            INT_MAX);
    semaphore->value++;
    return 0;
}

static void leave_semaphore(void *semaphore) { async_semaphore_release(semaphore); }

bool async__semaphore_enter(async__guard *guard, async_semaphore *semaphore)
{
    int code = acquire(semaphore, "async_with_semaphore");
    return async__hold(guard, code, leave_semaphore, semaphore);
}
