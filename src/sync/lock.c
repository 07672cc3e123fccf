/* lock.c - a lock that is handed over: a release gives it to the first task that waits, so that no
 * other can overtake it. */
#include "sync.h"

static int no_lock(const char *call) { return async__null_in(call, "lock"); }

__attribute__((always_inline)) static inline int acquire(async_lock *lock, const char *call)
{
    if (async__unlikely(!lock)) return async__misuse(no_lock(call));
    int code = async__checkpoint_in(call);
    if (async__unlikely(code < 0)) return code;
    if (async__likely(!lock->owner)) {
        lock->owner = async__current;
        return 0;
    }
    if (lock->owner == async__current)
        return async__failf(-EDEADLK, "%s: this task holds the lock already", call);
    return async__wait_in(&lock->waiters, "lock", NULL);
}

int async_lock_acquire(async_lock *lock) { return acquire(lock, __func__); }
int async__lock_acquire(async_lock *lock, const char *call) { return acquire(lock, call); }

int async_lock_try(async_lock *lock)
{
    if (async__unlikely(!lock)) return no_lock("async_lock_try");
    if (async__unlikely(!async__current)) return async__no_task();
    if (lock->owner) return async__fail_text(-EBUSY, "async_lock_try: the lock is held");
    lock->owner = async__current;
    return 0;
}

/* Out of line, so that the release of a lock for which no task waits saves no registers. */
__attribute__((cold, noinline)) static int hand_over(async_lock *lock)
{
    lock->owner = async__wake_first(&lock->waiters)->wait.task;
    return 0;
}

int async_lock_release(async_lock *lock)
{
    if (async__unlikely(!lock)) return no_lock("async_lock_release");
    if (async__unlikely(!lock->owner))
        return async__failf(-EPERM, "async_lock_release: the lock is not held");
    /* The owner changes here, not when the next task runs: it has the lock from now on. */
    async__waiter *next = lock->waiters.first;
    if (async__unlikely(next && !next->wait.task)) return hand_over(lock);
    if (async__unlikely(next != NULL)) async__wake_plain(&lock->waiters, next);
    lock->owner = next ? next->wait.task : NULL;
    return 0;
}

/* ---- async_with_lock ---- */

static void leave_lock(void *lock) { async_lock_release(lock); }

bool async__lock_enter(async__guard *guard, async_lock *lock)
{
    return async__hold(guard, acquire(lock, "async_with_lock"), leave_lock, lock);
}
