/* sync.h - locks, events, conditions, semaphores, barriers   asyncio: Synchronization Primitives
 *
 * These order tasks of one loop, not threads. All zeros is a lock that is free, an event that is
 * not set, a condition with a lock of its own; semaphores, barriers and latches have a number to
 * begin with, which their initialisers take. They may lie anywhere, need not be freed, and must
 * outlive the tasks that wait for them. Tasks are served in the order in which they came. NULL is
 * -EBADF; functions that have no code to give leave it alone, or give 0 or false.
 *
 * What a task waits for is handed to it when it is woken, also if it is cancelled before it runs:
 * the call then gives a success, and the task's next call the code of the cancellation. So a lock or
 * a place of a semaphore is never lost, and is free only while no task waits for it. */
#ifndef CASYNCIO_SYNC_H
#define CASYNCIO_SYNC_H

#include <casyncio/futures.h>
#include <casyncio/tasks.h>

ASYNC_BEGIN

typedef struct async_lock {
    struct async__wait_list waiters; /* the library's */
    async_task *owner;
    void *reserved;
} async_lock;

#define ASYNC_LOCK_INIT                                                                            \
    {                                                                                              \
        {NULL, NULL}, NULL, NULL                                                                   \
    }

/* Waits until the lock is free and takes it. 0 (it is held), or the code of a cancellation (it is
 * not). -EDEADLK if this task holds it already. asyncio: Lock.acquire */
ASYNC_API int async_lock_acquire(async_lock *lock);

/* Takes the lock if it is free: 0; -EBUSY if it is not, -EPERM outside a task. Never blocks. */
ASYNC_API int async_lock_try(async_lock *lock);

/* Hands it to the first task that waits, or frees it: 0. -EPERM if it is not held; any task may
 * release a lock that another one holds. Never blocks. asyncio: Lock.release, which raises
 * RuntimeError */
ASYNC_API int async_lock_release(async_lock *lock);

/* asyncio: Lock.locked */
static inline bool async_lock_locked(const async_lock *lock) { return lock && lock->owner; }

typedef struct async_event {
    struct async__wait_list waiters; /* the library's */
    bool set;
    void *reserved;
} async_event;

#define ASYNC_EVENT_INIT                                                                           \
    {                                                                                              \
        {NULL, NULL}, false, NULL                                                                  \
    }

/* Waits until it is set, also if it is cleared again before the task runs: 0, or the code of a
 * cancellation. asyncio: Event.wait */
ASYNC_API int async_event_wait(async_event *event);
/* Sets it and wakes all tasks that wait; in the loop's thread, from a callback too. Never blocks.
 * asyncio: Event.set, clear, is_set */
ASYNC_API void async_event_set(async_event *event);
static inline void async_event_clear(async_event *event)
{
    if (event) event->set = false;
}
static inline bool async_event_is_set(const async_event *event) { return event && event->set; }

/* ---- conditions ---- */

/* Tasks that wait, with a lock held, until another task that holds the lock tells them to look
 * again. Several conditions may share one lock. */
typedef struct async_condition {
    async_lock *lock;                /* set before the first use; NULL: `own` */
    struct async__wait_list waiters; /* the rest is the library's */
    async_lock own;
    void *reserved;
} async_condition;

#define ASYNC_CONDITION_INIT ASYNC_CONDITION_INIT_WITH(NULL)
/* asyncio: Condition(lock) */
#define ASYNC_CONDITION_INIT_WITH(lock)                                                            \
    {                                                                                              \
        lock, {NULL, NULL}, {{NULL, NULL}, NULL, NULL}, NULL                                       \
    }

/* The condition's lock: as async_lock_acquire, async_lock_try, async_lock_release, async_lock_locked.
 * asyncio: Condition.acquire, release, locked */
ASYNC_API int async_condition_acquire(async_condition *condition);
ASYNC_API int async_condition_try(async_condition *condition);
ASYNC_API int async_condition_release(async_condition *condition);
ASYNC_API bool async_condition_locked(const async_condition *condition);

/* Releases the lock, waits to be notified, and takes the lock again: 0, or the code of a
 * cancellation. The lock is held on return in either case, so that a cancelled wait lasts until the
 * lock is free. (Only at the end of a loop that was found in a deadlock it is given up without the
 * lock.) A task that was notified gives 0, also if it is cancelled before it has the lock. -EPERM if
 * this task does not hold the lock. asyncio: Condition.wait, which raises RuntimeError */
ASYNC_API int async_condition_wait(async_condition *condition);

/* Waits, as often as it is notified, until predicate(argument) is true: 0. The predicate is called
 * with the lock held, the first time before any wait, and must not block. Codes as above.
 * asyncio: Condition.wait_for */
ASYNC_API int async_condition_wait_for(async_condition *condition,
                                       bool (*predicate)(void *argument), void *argument);

/* Notifies the first `count` tasks that wait (1 is usual), or all of them: they go on one after
 * another as the lock comes free, behind those that wait for it already. 0; -EPERM if this task does
 * not hold the lock. Never blocks. asyncio: Condition.notify(n), notify_all, which raise
 * RuntimeError */
ASYNC_API int async_condition_notify(async_condition *condition, size_t count);
ASYNC_API int async_condition_notify_all(async_condition *condition);

/* ---- semaphores ---- */

/* A number of places. The library's, and read by async_semaphore_value. */
typedef struct async_semaphore {
    struct async__wait_list waiters;
    int value, bound;
    bool bounded;
    void *reserved;
} async_semaphore;

/* A semaphore with `value` places; the second refuses to have more than these. A negative number is
 * -EINVAL in every call. asyncio: Semaphore(value), BoundedSemaphore(value), which raise
 * ValueError */
#define ASYNC_SEMAPHORE_INIT(value)                                                                \
    {                                                                                              \
        {NULL, NULL}, value, 0, false, NULL                                                        \
    }
#define ASYNC_BOUNDED_SEMAPHORE_INIT(value)                                                        \
    {                                                                                              \
        {NULL, NULL}, value, value, true, NULL                                                     \
    }

/* Waits for a place and takes it: 0, or the code of a cancellation (none is taken).
 * asyncio: Semaphore.acquire */
ASYNC_API int async_semaphore_acquire(async_semaphore *semaphore);

/* Takes a place if one is free: 0; -EBUSY. Never blocks; from a callback of the loop too. */
ASYNC_API int async_semaphore_try(async_semaphore *semaphore);

/* Hands a place to the first task that waits, or adds it to those that are free: 0. Any task may, and
 * a callback of the loop. -EINVAL if a bounded semaphore has all its places already; -EOVERFLOW at
 * INT_MAX. Never blocks. asyncio: Semaphore.release; BoundedSemaphore's raises ValueError */
ASYNC_API int async_semaphore_release(async_semaphore *semaphore);

/* Whether no place is free; how many are. asyncio: Semaphore.locked */
static inline bool async_semaphore_locked(const async_semaphore *semaphore)
{
    return semaphore && semaphore->value <= 0;
}
static inline int async_semaphore_value(const async_semaphore *semaphore)
{
    return semaphore ? semaphore->value : 0;
}

/* ---- barriers ---- */

/* Where a number of tasks meet before they go on together; then it is ready for the next round. */
typedef struct async_barrier {
    struct async__wait_list waiters; /* the library's */
    int parties, count;
    bool broken;
    void *reserved;
} async_barrier;

#define ASYNC_BARRIER_INIT(parties)                                                                \
    {                                                                                              \
        {NULL, NULL}, parties, 0, false, NULL                                                      \
    }

/* Waits until `parties` tasks wait, and lets them go on: gives this task's number, from 0 in the
 * order of arrival to parties - 1, which did not have to wait. ASYNC_EBROKENBARRIER if the barrier
 * is broken, or is aborted or reset meanwhile; the code of a cancellation: the task is no longer
 * counted, and the others wait on. -EINVAL if parties is less than 1 (asyncio: ValueError).
 * asyncio: Barrier.wait, which does so too */
ASYNC_API int async_barrier_wait(async_barrier *barrier);

/* Has the tasks that wait get ASYNC_EBROKENBARRIER: 0. After a reset the barrier is as new, after an
 * abort it is broken: every wait gives that code until a reset. Never block; from a callback of the
 * loop too. asyncio: Barrier.reset, abort */
ASYNC_API int async_barrier_reset(async_barrier *barrier);
ASYNC_API int async_barrier_abort(async_barrier *barrier);

/* asyncio: Barrier.parties, n_waiting, broken */
static inline int async_barrier_parties(const async_barrier *barrier)
{
    return barrier ? barrier->parties : 0;
}
static inline int async_barrier_n_waiting(const async_barrier *barrier)
{
    return barrier ? barrier->count : 0;
}
static inline bool async_barrier_broken(const async_barrier *barrier)
{
    return barrier && barrier->broken;
}

/* ---- read-write locks ---- */

/* Held by any number of tasks to read, or by one to write. Served strictly in the order of arrival;
 * neighbours that want to read go on together. So a task that waits to write holds up those that come
 * to read after it (writers are preferred), and neither side can starve the other. */
typedef struct async_rwlock {
    struct async__wait_list waiters; /* the library's */
    async_task *writer;
    unsigned readers;
    void *reserved;
} async_rwlock;

#define ASYNC_RWLOCK_INIT                                                                          \
    {                                                                                              \
        {NULL, NULL}, NULL, 0, NULL                                                                \
    }

/* Waits until the lock can be taken in that way, and takes it: 0, or the code of a cancellation (it
 * is not held). -EDEADLK if this task holds it to write. A task that reads must not ask again, to
 * read or to write, before it has released it: it might wait for itself by way of a writer.
 * pthreads: pthread_rwlock_rdlock, pthread_rwlock_wrlock */
ASYNC_API int async_rwlock_acquire_read(async_rwlock *rwlock);
ASYNC_API int async_rwlock_acquire_write(async_rwlock *rwlock);

/* Take it if it can be had at once and no task that came before waits for it: 0; -EBUSY; -EPERM
 * outside a task. Never block. */
ASYNC_API int async_rwlock_try_read(async_rwlock *rwlock);
ASYNC_API int async_rwlock_try_write(async_rwlock *rwlock);

/* Gives it up, however it is held: 0; -EPERM if it is not. Never blocks. */
ASYNC_API int async_rwlock_release(async_rwlock *rwlock);

/* ---- once ---- */

/* Something that is to be done once, by the first task that needs it. */
typedef struct async_once {
    struct async__wait_list waiters; /* the library's */
    async_task *runner;
    int result;
    bool done;
    void *reserved;
} async_once;

#define ASYNC_ONCE_INIT                                                                            \
    {                                                                                              \
        {NULL, NULL}, NULL, 0, false, NULL                                                         \
    }

/* The first call runs function(argument), in its own task, and gives its result; calls that come
 * meanwhile wait for it and give the same. 0 or more is for good: later calls give that at once.
 * A failure (negative) is that of all the calls that waited for it, with its message, and the next
 * call runs the function again. If the run ends because its task is cancelled or its time is up, that
 * concerns this task alone: the first of those that wait runs the function in its place. The code of
 * a cancellation of a task that waits. -EDEADLK if the function calls this for the same `once`;
 * -EINVAL for a function that is NULL.
 * Go: sync.Once, sync.OnceValue; tokio: OnceCell::get_or_try_init */
ASYNC_API int async_once_run(async_once *once, async_coroutine function, void *argument);

/* Whether the function has succeeded. */
static inline bool async_once_done(const async_once *once) { return once && once->done; }

/* ---- latches ---- */

/* Opens, for good, when it has been counted down to 0. */
typedef struct async_latch {
    struct async__wait_list waiters; /* the library's */
    size_t left;
    void *reserved;
} async_latch;

#define ASYNC_LATCH_INIT(count)                                                                    \
    {                                                                                              \
        {NULL, NULL}, count, NULL                                                                  \
    }

/* Counts down by 1, and at 0 wakes all tasks that wait: 0; -EINVAL if it is 0 already. From a
 * callback of the loop too. Never blocks. C++: std::latch::count_down; Go: WaitGroup.Done */
ASYNC_API int async_latch_count_down(async_latch *latch);

/* Waits until it is 0: 0, or the code of a cancellation. C++: std::latch::wait; Go:
 * WaitGroup.Wait */
ASYNC_API int async_latch_wait(async_latch *latch);

/* What is left to count. */
static inline size_t async_latch_count(const async_latch *latch) { return latch ? latch->left : 0; }

ASYNC_END
#endif
