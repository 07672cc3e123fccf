/* rwlock.c - a lock for one that writes or many that read.
 *
 * One list for all that wait, in the order of arrival; whenever it may have become possible, as many
 * of the first as can hold the lock together are let in (`admit`). The lock is theirs from then on. */
#include "sync.h"

enum { TO_READ, TO_WRITE };

static const char *const names[] = {"read-write lock, to read", "read-write lock, to write"};

/* A waiter's item points to its name, which tells what it wants. */
static bool wants_to_write(const async__waiter *waiter) { return waiter->item == &names[TO_WRITE]; }

static bool is_free(const async_rwlock *rwlock, bool to_write)
{
    return !rwlock->writer && !(to_write && rwlock->readers);
}

static void take(async_rwlock *rwlock, async_task *task, bool to_write)
{
    if (to_write)
        rwlock->writer = task;
    else
        rwlock->readers++;
}

static void admit(async_rwlock *rwlock)
{
    async__waiter *first;

    while ((first = rwlock->waiters.first) && is_free(rwlock, wants_to_write(first))) {
        take(rwlock, first->wait.task, wants_to_write(first));
        async__wake_first(&rwlock->waiters);
    }
}

/* A writer that gives up may have held up readers behind it. */
static void interrupt(async__wait *wait)
{
    async__waiter *waiter = async__container(wait, async__waiter, wait);

    async__list_remove(waiter);
    async__unpark(wait);
    admit(async__container(waiter->list, async_rwlock, waiters));
}

static int acquire(async_rwlock *rwlock, bool to_write, const char *call)
{
    if (async__unlikely(!rwlock)) return async__misuse(async__null_in(call, "read-write lock"));
    int code = async__checkpoint_in(call);
    if (async__unlikely(code < 0)) return code;
    if (!rwlock->waiters.first && is_free(rwlock, to_write)) {
        take(rwlock, async__current, to_write);
        return 0;
    }
    if (rwlock->writer == async__current)
        return async__failf(-EDEADLK, "%s: this task holds the lock to write", call);
    async__waiter waiter;
    return async__wait_with(&rwlock->waiters, &waiter, names[to_write], (void *)&names[to_write],
                            interrupt);
}

int async_rwlock_acquire_read(async_rwlock *rwlock) { return acquire(rwlock, TO_READ, __func__); }
int async_rwlock_acquire_write(async_rwlock *rwlock) { return acquire(rwlock, TO_WRITE, __func__); }

static int take_now(async_rwlock *rwlock, bool to_write, const char *call)
{
    if (!rwlock) return async__null_in(call, "read-write lock");
    if (!async__current) return async__no_task_in(call);
    if (rwlock->waiters.first || !is_free(rwlock, to_write))
        return async__fail_text(-EBUSY, to_write ? "async_rwlock_try_write: the lock is held"
                                                 : "async_rwlock_try_read: the lock is held");
    take(rwlock, async__current, to_write);
    return 0;
}

int async_rwlock_try_read(async_rwlock *rwlock) { return take_now(rwlock, TO_READ, __func__); }
int async_rwlock_try_write(async_rwlock *rwlock) { return take_now(rwlock, TO_WRITE, __func__); }

int async_rwlock_release(async_rwlock *rwlock)
{
    if (async__unlikely(!rwlock)) return async__null("read-write lock");
    if (async__unlikely(!rwlock->writer && !rwlock->readers))
        return async__failf(-EPERM, "async_rwlock_release: the lock is not held");
    if (rwlock->writer)
        rwlock->writer = NULL;
    else
        rwlock->readers--;
    admit(rwlock);
    return 0;
}

static void leave_rwlock(void *rwlock) { async_rwlock_release(rwlock); }

bool async__read_enter(async__guard *guard, async_rwlock *rwlock)
{
    int code = acquire(rwlock, TO_READ, "async_with_read_lock");
    return async__hold(guard, code, leave_rwlock, rwlock);
}

bool async__write_enter(async__guard *guard, async_rwlock *rwlock)
{
    int code = acquire(rwlock, TO_WRITE, "async_with_write_lock");
    return async__hold(guard, code, leave_rwlock, rwlock);
}
