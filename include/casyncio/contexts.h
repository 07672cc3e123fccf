/* contexts.h - blocks with an exit            asyncio: `async with`
 *
 * Each of these is a statement followed by a block. However the block is left (its end, break,
 * return, goto) the exit runs; it runs in a shield, so that it may itself await in a task that has
 * been cancelled. It is the compiler's cleanup attribute: exit() and longjmp do not run it.
 * Underneath the macros are `for` statements: break and continue leave the block, not a loop around
 * it.
 *
 * A block whose entry fails is skipped. That error, and one that the exit finds (a group whose task
 * failed), goes to async_error_code(); if nobody asks for it there, and the coroutine in the end
 * returns success, it becomes the result of the task: like an exception that nobody caught, it is
 * late, but not lost. */
#ifndef CASYNCIO_CONTEXTS_H
#define CASYNCIO_CONTEXTS_H

#include <casyncio/sync.h>
#include <casyncio/tasks.h>

ASYNC_BEGIN

/* async_with (type, name, enter, exit) { ... }: declares `type name = enter`, runs the block, and
 * calls exit. A pointer that is NULL says that the entry failed (exit is not called). exit is a
 * function that takes the pointer, or, if `type` is a struct, a pointer to it; what it returns does
 * not matter. It is not told how the block was left, and should not wait for ever: a cancellation
 * does not reach it.
 * asyncio: async with, __aenter__, __aexit__ */
#define async_with(type, name, enter, exit)                                                        \
    ASYNC__WITH(type, name, enter, exit, ASYNC__JOIN(async__once_, __COUNTER__),                   \
                ASYNC__JOIN(async__with_, __COUNTER__))
/* The guard lies inside of the name's scope, so that the exit still finds it. */
#define ASYNC__WITH(type, name, enter, leave, once, guard)                                         \
    for (int once = 1; once; once = 0)                                                             \
        for (type name = enter; once; once = 0)                                                    \
            for (async__guard guard ASYNC_CLEANUP(async__guard_leave) =                            \
                     async__guard_enter(&name, __builtin_classify_type(name) == 5,                 \
                                        (void (*)(void *))(void (*)(void))(leave));                \
                 guard.live; guard.live = 0)

/* async_with_lock (&lock) { ... }: holds the lock in the block. If it is cancelled while it waits
 * for the lock the block is skipped. asyncio: async with lock */
#define async_with_lock(lock) ASYNC__WITH_LOCK(lock, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC__WITH_LOCK(lock, guard)                                                              \
    for (async__guard guard ASYNC_CLEANUP(async__guard_leave) = {.live = 1};                       \
         guard.live && async__lock_enter(&guard, lock); guard.live = 0)

/* async_with_group (group) { ... }: declares `async_group *group`, and waits for its tasks when the
 * block is left, not in a shield: see async_group_leave. A return from the block does not cancel
 * them; that is what async_group_cancel is for.
 * asyncio: async with asyncio.TaskGroup() as group */
#define async_with_group(group) ASYNC__WITH_GROUP(group, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC__WITH_GROUP(group, guard)                                                            \
    for (async__guard guard ASYNC_CLEANUP(async__guard_leave) = {.live = 1}; guard.live;           \
         guard.live = 0)                                                                           \
        for (async_group *group = async_group_enter(); async__group_enter(&guard, group);)

/* async_timeout (2.5) { ... }: blocking calls in the block give -ETIMEDOUT once 2.5 seconds have
 * gone. That it has run out is no error of the block's own: the calls tell. asyncio: async with
 * asyncio.timeout(2.5) */
#define async_timeout(delay) async_timeout_scope (ASYNC__JOIN(async__scope_, __COUNTER__), delay)

/* The same, with a name for the async_scope, so that the block can reschedule it or ask whether it
 * has expired. asyncio: async with asyncio.timeout(2.5) as scope */
#define async_timeout_scope(scope, delay)                                                          \
    for (async_scope scope ASYNC_CLEANUP(async_scope_leave) = {0};                                 \
         async__timeout_once(&scope, delay);)

/* async_shield () { ... }: cancellations and timeouts from outside do not reach the block; put a
 * timeout inside of it. They are due again when it is left. */
#define async_shield() ASYNC__SHIELD(ASYNC__JOIN(async__scope_, __COUNTER__))
#define ASYNC__SHIELD(scope)                                                                       \
    for (async_scope scope ASYNC_CLEANUP(async_scope_leave) = {0}; async__shield_once(&scope);)

/* What the macros expand to. */
typedef struct async__guard {
    void (*leave)(void *);
    void *context;
    int live;
    bool unshielded; /* the exit has rules of its own for cancellation */
} async__guard;

ASYNC_API async__guard async__guard_enter(void *name, bool pointer, void (*leave)(void *));
ASYNC_API bool async__lock_enter(async__guard *guard, async_lock *lock);
ASYNC_API bool async__group_enter(async__guard *guard, async_group *group);
ASYNC_API void async__guard_leave(async__guard *guard);
ASYNC_API bool async__timeout_once(async_scope *scope, double delay);
ASYNC_API bool async__shield_once(async_scope *scope);

ASYNC_END
#endif
