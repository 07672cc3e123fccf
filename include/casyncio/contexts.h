/* contexts.h - blocks with an exit            asyncio: `async with`
 *
 * Each of these is a statement followed by a block. However the block is left (its end, break,
 * return, goto; in C++ an exception too) the exit runs. It is the compiler's cleanup attribute:
 * exit() and longjmp do not run it. Underneath the macros are `for` statements: break and continue
 * leave the block, not a loop around it.
 *
 * A block whose entry fails is skipped. That error, and one that the exit finds (a group whose task
 * failed, a file that could not be written out), is what async_block_error() gives; if it is not
 * asked for, and the coroutine in the end returns success, it becomes the result of the task. An
 * error of a call in the block, which the block has dealt with, does not. Unless the exit has such
 * an error the last error (async_error_code) is after it what it was before.
 *
 * The names in lower case are C's; C++ has the upper-case ones only (see base.h). */
#ifndef CASYNCIO_CONTEXTS_H
#define CASYNCIO_CONTEXTS_H

#include <casyncio/files.h>
#include <casyncio/streams.h>
#include <casyncio/sync.h>
#include <casyncio/tasks.h>

ASYNC_BEGIN

/* async_with (type, name, enter, exit) { ... }: declares `type name = enter`, runs the block, and
 * calls exit. A pointer that is NULL says that the entry failed (exit is not called). exit is a
 * function that takes the pointer, or, if `type` is no pointer, one to it, or a void *; it returns
 * nothing, or a number that is ignored. A function of another type does not compile. It does not
 * learn how the block was left.
 *
 * The exit runs in a shield, so that it may await although the task has been cancelled. The shield
 * holds for at most 10 s (async_run_options.exit_timeout) from when a cancellation or a timeout
 * would have reached the exit; then the exit's calls give the code.
 * asyncio: async with, __aenter__, __aexit__ */
#define ASYNC_WITH(type, name, enter, exit)                                                        \
    ASYNC__WITH(type, name, enter, ASYNC__EXIT(name, exit), ASYNC__EXIT_SHIELDED,                  \
                ASYNC__JOIN(async__once_, __COUNTER__), ASYNC__JOIN(async__with_, __COUNTER__))
/* The guard lies inside of the name's scope, so that the exit still finds it. */
#define ASYNC__WITH(type, name, enter, leave, kind, once, guard)                                   \
    for (struct async__once once = async__block_begin(); once.live; once.live = 0)                 \
        for (type name = enter; once.live; once.live = 0)                                          \
            for (async__guard guard ASYNC_CLEANUP(async__guard_leave) = async__guard_enter(        \
                     &once, &name, __builtin_classify_type(name) == 5, leave, kind);               \
                 guard.live; guard.live = 0)

/* async_with_stream (name, enter) { ... }, async_with_file (name, enter) { ... }: declares
 * `async_stream *name = enter` (`async_file *`), and closes it when the block is left, not in a
 * shield: a close that waits for the peer ends with a cancellation or a timeout, as
 * async_stream_close says. An error of the close is the block's.
 * asyncio: contextlib.aclosing(stream); Python: with open(...) */
#define ASYNC_WITH_STREAM(name, enter)                                                             \
    ASYNC__WITH(async_stream *, name, enter, async__close_stream, ASYNC__EXIT_CLOSE,               \
                ASYNC__JOIN(async__once_, __COUNTER__), ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC_WITH_FILE(name, enter)                                                               \
    ASYNC__WITH(async_file *, name, enter, async__close_file, ASYNC__EXIT_CLOSE,                   \
                ASYNC__JOIN(async__once_, __COUNTER__), ASYNC__JOIN(async__with_, __COUNTER__))

/* async_with_lock (&lock) { ... }: holds the lock in the block. If the task is cancelled while it
 * waits for the lock the block is skipped. The others do the same with a semaphore, with the lock of
 * a condition, and with a read-write lock, for reading and for writing.
 * asyncio: async with lock, async with semaphore, async with condition */
#define ASYNC_WITH_LOCK(lock)                                                                      \
    ASYNC__WITH_HELD(async__lock_enter, lock, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC_WITH_SEMAPHORE(semaphore)                                                            \
    ASYNC__WITH_HELD(async__semaphore_enter, semaphore, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC_WITH_CONDITION(condition)                                                            \
    ASYNC__WITH_HELD(async__condition_enter, condition, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC_WITH_READ_LOCK(rwlock)                                                               \
    ASYNC__WITH_HELD(async__read_enter, rwlock, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC_WITH_WRITE_LOCK(rwlock)                                                              \
    ASYNC__WITH_HELD(async__write_enter, rwlock, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC__WITH_HELD(enter, object, guard)                                                     \
    for (async__guard guard ASYNC_CLEANUP(async__guard_leave) = {0, 0, 1, 0, 0};                   \
         guard.live && enter(&guard, object); guard.live = 0)

/* async_with_group (group) { ... }: declares `async_group *group`, and waits for its tasks when the
 * block is left, not in a shield: see async_group_leave. A return from the block does not cancel
 * them; that is what async_group_cancel and async_group_fail are for.
 * asyncio: async with asyncio.TaskGroup() as group */
#define ASYNC_WITH_GROUP(group) ASYNC__WITH_GROUP(group, ASYNC__JOIN(async__with_, __COUNTER__))
#define ASYNC__WITH_GROUP(group, guard)                                                            \
    for (async__guard guard ASYNC_CLEANUP(async__guard_leave) = {0, 0, 1, 0, 0}; guard.live;       \
         guard.live = 0)                                                                           \
        for (async_group *group = async_group_enter(); async__group_enter(&guard, group);)

/* async_timeout (2.5) { ... }: blocking calls in the block give -ETIMEDOUT once 2.5 seconds have
 * gone. That the time has run out is no error of the block: the calls in it give that code.
 * asyncio: async with asyncio.timeout(2.5) */
#define ASYNC_TIMEOUT(delay) ASYNC_TIMEOUT_SCOPE(ASYNC__JOIN(async__scope_, __COUNTER__), delay)

/* The same, with a name for the async_scope, so that the block can reschedule it or ask whether it
 * has expired. asyncio: async with asyncio.timeout(2.5) as scope */
#define ASYNC_TIMEOUT_SCOPE(scope, delay)                                                          \
    for (async_scope scope ASYNC_CLEANUP(async_scope_leave) = ASYNC__ZERO;                         \
         async__timeout_once(&scope, delay);)

/* async_timeout_at (when) { ... }, async_timeout_at_scope (scope, when) { ... }: the same, until a time
 * of the loop's clock (async_now). asyncio: async with asyncio.timeout_at(when) */
#define ASYNC_TIMEOUT_AT(when) ASYNC_TIMEOUT_AT_SCOPE(ASYNC__JOIN(async__scope_, __COUNTER__), when)
#define ASYNC_TIMEOUT_AT_SCOPE(scope, when)                                                        \
    for (async_scope scope ASYNC_CLEANUP(async_scope_leave) = ASYNC__ZERO;                         \
         async__timeout_at_once(&scope, when);)

/* async_shield () { ... }: cancellations and timeouts from outside do not reach the block, however
 * long it takes: put a timeout inside of it. They are due again when it is left.
 * asyncio: shield, but of code, not of a task */
#define ASYNC_SHIELD() ASYNC__SHIELD(ASYNC__JOIN(async__scope_, __COUNTER__), 0)
#define ASYNC__SHIELD(scope, nothing)                                                              \
    for (async_scope scope ASYNC_CLEANUP(async_scope_leave) = ASYNC__ZERO;                         \
         async__shield_once(&scope + (nothing));)

#ifndef __cplusplus
#define async_with(type, name, enter, exit) ASYNC_WITH(type, name, enter, exit)
#define async_with_stream(name, enter) ASYNC_WITH_STREAM(name, enter)
#define async_with_file(name, enter) ASYNC_WITH_FILE(name, enter)
#define async_with_lock(lock) ASYNC_WITH_LOCK(lock)
#define async_with_semaphore(semaphore) ASYNC_WITH_SEMAPHORE(semaphore)
#define async_with_condition(condition) ASYNC_WITH_CONDITION(condition)
#define async_with_read_lock(rwlock) ASYNC_WITH_READ_LOCK(rwlock)
#define async_with_write_lock(rwlock) ASYNC_WITH_WRITE_LOCK(rwlock)
#define async_with_group(group) ASYNC_WITH_GROUP(group)
#define async_timeout(delay) ASYNC_TIMEOUT(delay)
#define async_timeout_scope(scope, delay) ASYNC_TIMEOUT_SCOPE(scope, delay)
#define async_timeout_at(when) ASYNC_TIMEOUT_AT(when)
#define async_timeout_at_scope(scope, when) ASYNC_TIMEOUT_AT_SCOPE(scope, when)
#define async_shield(...)                                                                          \
    ASYNC__SHIELD(ASYNC__JOIN(async__scope_, __COUNTER__),                                         \
                  ASYNC__ASSERT(sizeof(#__VA_ARGS__) == 1,                                         \
                                "async_shield () { ... } is a block; `await shield(task)` "        \
                                "is async_wait(&task, 1, INFINITY, ASYNC_ALL_COMPLETED)"))
#endif

/* ---- what the macros expand to ---- */

struct async__once {
    int live;
    unsigned failures; /* the task's, when the entry began */
};

enum async__exit_kind {
    ASYNC__EXIT_BARE,     /* has rules of its own for cancellation, or never waits */
    ASYNC__EXIT_SHIELDED, /* what it returns does not matter */
    ASYNC__EXIT_CLOSE     /* takes a void *, returns a code that is the block's error */
};

typedef struct async__guard {
    void (*leave)(void *);
    void *context;
    int live;
    int kind;
    void *reserved;
} async__guard;

ASYNC_API struct async__once async__block_begin(void);
ASYNC_API async__guard async__guard_enter(const struct async__once *once, void *name, bool pointer,
                                          void (*leave)(void *), int kind);
ASYNC_API void async__close_stream(void *stream);
ASYNC_API void async__close_file(void *file);
ASYNC_API bool async__lock_enter(async__guard *guard, async_lock *lock);
ASYNC_API bool async__semaphore_enter(async__guard *guard, async_semaphore *semaphore);
ASYNC_API bool async__condition_enter(async__guard *guard, async_condition *condition);
ASYNC_API bool async__read_enter(async__guard *guard, async_rwlock *rwlock);
ASYNC_API bool async__write_enter(async__guard *guard, async_rwlock *rwlock);
ASYNC_API bool async__group_enter(async__guard *guard, async_group *group);
ASYNC_API void async__guard_leave(async__guard *guard);
ASYNC_API bool async__timeout_once(async_scope *scope, double delay);
ASYNC_API bool async__timeout_at_once(async_scope *scope, double when);
ASYNC_API bool async__shield_once(async_scope *scope);

#ifndef __cplusplus
struct async__no;
#define ASYNC__ZERO                                                                                \
    {                                                                                              \
        0                                                                                          \
    }
/* What the exit takes: the pointer, or one to the value; or a void *, unless that is the same. */
#define ASYNC__EXIT_TAKES(name)                                                                    \
    __typeof__(__builtin_choose_expr(__builtin_classify_type(name) == 5, (name), &(name)))
#define ASYNC__EXIT_ANY(name)                                                                      \
    __typeof__(*_Generic((ASYNC__EXIT_TAKES(name))0, void * : (struct async__no **)0, default      \
                         : (void **)0))
/* An exit of another type matches none of these, and does not compile. */
#define ASYNC__EXIT(name, leave)                                                                   \
    ((void (*)(void *))(void (*)(void)) _Generic((leave), void (*)(ASYNC__EXIT_TAKES(name))        \
                                                 : (leave), int (*)(ASYNC__EXIT_TAKES(name))       \
                                                 : (leave), bool (*)(ASYNC__EXIT_TAKES(name))      \
                                                 : (leave), ssize_t (*)(ASYNC__EXIT_TAKES(name))   \
                                                 : (leave), void (*)(ASYNC__EXIT_ANY(name))        \
                                                 : (leave), int (*)(ASYNC__EXIT_ANY(name))         \
                                                 : (leave)))
#endif

ASYNC_END

#ifdef __cplusplus
#define ASYNC__ZERO                                                                                \
    {                                                                                              \
    }
#define ASYNC__EXIT(name, leave) async__exit(name, leave)
template <class Value, class Result>
inline void (*async__exit(Value *&, Result (*leave)(Value *)))(void *)
{
    return (void (*)(void *))(void (*)(void))leave;
}
template <class Value, class Result>
inline void (*async__exit(Value &, Result (*leave)(Value *)))(void *)
{
    return (void (*)(void *))(void (*)(void))leave;
}
template <class Value, class Result>
inline void (*async__exit(Value &, Result (*leave)(void *)))(void *)
{
    return (void (*)(void *))(void (*)(void))leave;
}
#endif
#endif
