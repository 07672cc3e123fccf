/* lock.c - a lock that is handed over: who releases it gives it to the first who waits, so that nobody
 * can overtake. */
#include "../task/task.h"

#include <casyncio/sync.h>

int async_lock_acquire(async_lock *lock)
{
    int code = async__checkpoint();
    if (async__unlikely(code < 0)) return code;
    if (async__likely(!lock->owner)) {
        lock->owner = async__current;
        return 0;
    }
    if (lock->owner == async__current)
        return async__failf(-EDEADLK, "async_lock_acquire: this task holds the lock already");
    return async__wait_in(&lock->waiters, "lock", NULL);
}

int async_lock_try(async_lock *lock)
{
    if (lock->owner) return async__fail(-EBUSY);
    lock->owner = async__current;
    return lock->owner ? 0 : -EPERM;
}

int async_lock_release(async_lock *lock)
{
    if (async__unlikely(!lock->owner))
        return async__failf(-EPERM, "async_lock_release: the lock is not held");
    async__waiter *next =
        async__unlikely(lock->waiters.first != NULL) ? async__wake_first(&lock->waiters) : NULL;
    lock->owner = next ? next->wait.task : NULL;
    return 0;
}
