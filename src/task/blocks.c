/* blocks.c - what the block macros of contexts.h call.
 *
 * A block's exit runs by the compiler's cleanup attribute. A block cannot return a code to the
 * function that it stands in, so one that fails leaves its error with the task (async__pend).
 * Whatever the exit does, the last error is afterwards what it was before, since the program may
 * yet look at it. */
#include "task.h"

#include <casyncio/contexts.h>
#include <string.h>

struct async__once async__block_begin(void)
{
    return (struct async__once){.live = 1, .failures = async__record()->failures};
}

/* The entry gave NULL. If nothing has failed in it, the last error is about something else. */
static int entry_error(const struct async__once *once)
{
    const struct async__record *record = async__record();

    if (record->failures != once->failures && record->code < 0) return record->code;
    return async__failf(-EINVAL, "the entry of a block gave NULL, and no error");
}

async__guard async__guard_enter(const struct async__once *once, void *name, bool pointer,
                                void (*leave)(void *), int kind)
{
    void *context = name;
    if (pointer) memcpy(&context, name, sizeof context);
    if (context) return (async__guard){.leave = leave, .context = context, .live = 1, .kind = kind};
    async__pend(async__misuse(entry_error(once)));
    return (async__guard){.live = 0};
}

void async__close_stream(void *stream)
{
    int code = async_stream_close(stream);
    if (code < 0) async__pend(code);
}

void async__close_file(void *file)
{
    int code = async_file_close(file);
    if (code < 0) async__pend(code);
}

/* The exit is a function of any type that takes one pointer. */
ASYNC__ANY_FUNCTION static void call_exit(async__guard *guard) { guard->leave(guard->context); }

void async__guard_leave(async__guard *guard)
{
    if (!guard->leave) return;
    if (guard->kind == ASYNC__EXIT_BARE) {
        guard->leave(guard->context);
        return;
    }
    struct async__record before = async__record_save();
    if (guard->kind == ASYNC__EXIT_SHIELDED) {
        async_scope shield = {0};
        async__exit_shield_enter(&shield);
        call_exit(guard);
        async_scope_leave(&shield);
    } else {
        call_exit(guard);
    }
    /* An error that the exit leaves to async_block_error() is the last one then. */
    async__record_restore(&before, before.pending || !async__record()->pending);
}

static void leave_group(void *group)
{
    int code = async_group_leave(group);
    if (code < 0) async__pend(code);
}

bool async__group_enter(async__guard *guard, async_group *group)
{
    if (guard->leave) return false; /* the block has run */
    if (!group) {
        async__pend(async_error_code());
        return false;
    }
    guard->leave = leave_group;
    guard->context = group;
    return true;
}

static bool entered(int code)
{
    if (code < 0) async__pend(async__misuse(code));
    return code == 0;
}

static inline bool entered_timeout(int code, const char *call)
{
    return async__likely(code == 0) || entered(async__timeout_refused(code, call));
}

bool async__timeout_once(async_scope *scope, double delay)
{
    if (scope->task) return false; /* the block has run */
    return entered_timeout(async__timeout_enter_after(scope, delay), "async_timeout");
}

bool async__timeout_at_once(async_scope *scope, double when)
{
    if (scope->task) return false;
    return entered_timeout(async__timeout_enter(scope, async_now(), when), "async_timeout_at");
}

bool async__shield_once(async_scope *scope)
{
    if (scope->task) return false;
    return entered(async_shield_enter(scope));
}
