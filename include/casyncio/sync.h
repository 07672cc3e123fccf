/* sync.h - locks and events            asyncio: Synchronization Primitives
 *
 * These order tasks of one loop, not threads. All zeros is a lock that is free, an event that is
 * not set. They may lie anywhere, need not be freed, and must outlive the tasks that wait for them.
 * Tasks are served in the order in which they came. NULL is -EBADF; async_event_set and _clear
 * leave it alone. */
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

ASYNC_END
#endif
