/* sync.h - what the files of src/sync share. */
#ifndef CASYNCIO_SYNC_INTERNAL_H
#define CASYNCIO_SYNC_INTERNAL_H

#include "../task/task.h"

#include <casyncio/contexts.h>
#include <casyncio/sync.h>

/* async_lock_acquire, for a call that takes a lock of its own. */
int async__lock_acquire(async_lock *lock, const char *call);

/* The entry of a block: `code` is what taking the object gave. */
static inline bool async__hold(async__guard *guard, int code, void (*leave)(void *), void *object)
{
    if (async__unlikely(code < 0)) {
        async__pend(code);
        return false;
    }
    guard->leave = leave;
    guard->context = object;
    return true;
}

#endif
