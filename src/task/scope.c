/* scope.c - cancellation, timeouts and shields.
 *
 * What a task's blocking calls give is one int, task->interrupt, so that a checkpoint is one
 * comparison. It is worked out anew whenever something changes: from the innermost scope outwards
 * up to a shield, the outermost code wins, since it is the one that ends the most; the task's own
 * cancellation stands outside all scopes. If the task is parked and there is a code now, its wait
 * is interrupted.
 *
 * The shield around a block's exit is limited: when something outside of it is due, a timer is set,
 * and when that goes off the shield ends. */
#include "task.h"

#include <math.h>
#include <string.h>

/* What is due to code that runs in `scope`; *shield is the shield that keeps out what is outside,
 * if there is one. */
static int due_in(const async_task *task, async_scope *scope, async_scope **shield)
{
    int code = 0;

    *shield = NULL;
    for (; scope; scope = scope->parent) {
        if (scope->code) code = scope->code;
        if (scope->shield && !task->forced) {
            *shield = scope;
            return code;
        }
    }
    return task->cancelled ? -ECANCELED : code;
}

static void end_shield(async_callback *callback)
{
    async_scope *scope = async__container(callback, async_scope, timer.callback);

    scope->shield = false;
    async__scope_changed(scope->task);
}

/* Whether something outside of the scope wants to reach into it. Limited shields in between keep it
 * out for a while only; another shield for good. */
static bool due_beyond(const async_task *task, const async_scope *scope)
{
    while ((scope = scope->parent)) {
        if (scope->code) return true;
        if (scope->shield && !scope->limited) return false;
    }
    return task->cancelled;
}

/* Exits nest: the limits of all of them run from when something is due, and end if it is taken back.
 * Without memory for a timer the shield goes on to hold: better late than cut short. */
static void limit_shields(async_task *task, async_scope *scope)
{
    async_loop *loop = async__loop_of(task);
    int64_t limit = task->tasks->exit_timeout;

    if (limit == ASYNC__NEVER) return;
    for (; scope && !(scope->shield && !scope->limited); scope = scope->parent) {
        if (!scope->shield) continue;
        bool set = scope->timer.slot || scope->timer.callback.next, due = due_beyond(task, scope);
        scope->timer.callback.run = end_shield;
        if (set && !due) async_timer_cancel(loop, &scope->timer);
        if (!set && due)
            async_call_at_ns(loop, &scope->timer, async__deadline(async_loop_time_ns(loop), limit));
    }
}

void async__scope_changed(async_task *task)
{
    async_scope *shield;

    task->interrupt = due_in(task, task->scope, &shield);
    task->refused = 0; /* each new cancellation that is ignored is reported once */
    if (shield && shield->limited) limit_shields(task, shield);
    async__wait *wait = task->wait;
    if (!task->interrupt || !wait || wait->interrupted) return;
    wait->interrupted = true; /* before the call, which may end the wait */
    wait->interrupt(wait);
}

/* ---- a task's own cancellation ---- */

static void note_why(async_task *task, const char *why)
{
    if (!why) return;
    size_t size = strlen(why) + 1;
    char *copy = async__alloc(size);
    if (copy)
        task->why = memcpy(copy, why, size); /* without memory: cancelled, without a message */
}

bool async_cancel(async_task *task, const char *why)
{
    if (!task || async__stale(task, "async_cancel")) return false;
    if (async__wrong_thread(async__loop_of(task), "async_cancel")) return false;
    if (task->state >= ASYNC__DONE || task->cancelled) return false;
    task->cancelled = true;
    note_why(task, why);
    async__scope_changed(task);
    return true;
}

bool async_uncancel(async_task *task)
{
    if (!task || async__stale(task, "async_uncancel")) return false;
    if (task->state >= ASYNC__DONE || !task->cancelled) return false;
    task->cancelled = false;
    async__free(task->why);
    task->why = NULL;
    async__scope_changed(task);
    return true;
}

/* ---- scopes ---- */

int async__scope_enter(async_scope *scope)
{
    async_task *self = async__current;
    if (!self) return async__no_task();
    if (!scope) return async__failf(-EBADF, "the scope is NULL");

    scope->parent = self->scope;
    scope->task = self;
    scope->timer = (async_timer){0};
    scope->when = INFINITY;
    scope->code = 0;
    scope->shield = scope->expired = scope->limited = false;
    scope->entered = true;
    self->scope = scope;
    return 0;
}

static void on_deadline(async_callback *callback)
{
    async_scope *scope = async__container(callback, async_scope, timer.callback);

    scope->expired = true;
    if (!scope->code) scope->code = -ETIMEDOUT;
    async__scope_changed(scope->task);
}

static int set_deadline(async_scope *scope, double when)
{
    async_loop *loop = async__loop_of(scope->task);
    int64_t ns;

    if (async__seconds_to_ns(when, &ns) < 0)
        return async__failf(-EINVAL, "a timeout's time is not a number");
    scope->when = when;
    if (ns == ASYNC__NEVER) {
        async_timer_cancel(loop, &scope->timer);
        return 0;
    }
    if (ns <= async_loop_time_ns(loop)) {
        async_timer_cancel(loop, &scope->timer);
        on_deadline(&scope->timer.callback);
        return 0;
    }
    scope->timer.callback.run = on_deadline;
    return async_call_at_ns(loop, &scope->timer, ns) < 0 ? async__fail(-ENOMEM) : 0;
}

int async_timeout_enter_at(async_scope *scope, double when)
{
    int code = async__scope_enter(scope);
    if (code < 0) return code;
    code = set_deadline(scope, when);
    if (code < 0) async_scope_leave(scope);
    return code;
}

int async_timeout_enter(async_scope *scope, double delay)
{
    return async_timeout_enter_at(scope, async_now() + delay);
}

int async_shield_enter(async_scope *scope)
{
    int code = async__scope_enter(scope);
    if (code < 0) return code;
    scope->shield = true;
    async__scope_changed(scope->task);
    return 0;
}

void async__exit_shield_enter(async_scope *scope)
{
    if (!async__current) return; /* a callback's or a thread's block: nothing to shield from */
    async__scope_enter(scope);
    scope->shield = scope->limited = true;
    async__scope_changed(scope->task);
}

void async_scope_leave(async_scope *scope)
{
    if (!scope || !scope->entered) return;
    async_task *task = scope->task;

    scope->entered = false;
    async_timer_cancel(async__loop_of(task), &scope->timer);
    task->scope = scope->parent;
    if (scope->code || scope->shield || scope->limited) async__scope_changed(task);
}

int async_scope_reschedule(async_scope *scope, double when)
{
    if (!scope) return async__failf(-EBADF, "async_scope_reschedule: the scope is NULL");
    if (!scope->entered) return async__failf(-EINVAL, "the timeout scope has been left");
    if (scope->expired) return async__failf(-EINVAL, "the timeout has expired already");
    return set_deadline(scope, when);
}

double async_scope_when(const async_scope *scope) { return scope ? scope->when : 0; }

bool async_scope_expired(const async_scope *scope) { return scope && scope->expired; }

void async_scope_cancel(async_scope *scope)
{
    if (!scope || !scope->entered || scope->code) return;
    scope->code = -ECANCELED;
    async__scope_changed(scope->task);
}

/* ---- a coroutine that returned inside of scopes it had entered ---- */

/* valgrind takes what lies below the stack pointer for undefined. */
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define ASYNC__DEFINED(memory, size) (void)VALGRIND_MAKE_MEM_DEFINED(memory, size)
#else
#define ASYNC__DEFINED(memory, size) (void)0
#endif

/* The scopes lie in frames that are gone, but that nothing has overwritten yet: this is the first
 * call after the coroutine's return, its own frame lies in the clearance that call_coroutine has
 * left, and the frames of what it calls are kept clear of the scopes by `clearance`. */
__attribute__((noinline, no_sanitize("address"))) int async__scopes_abandoned(async_task *task,
                                                                              int result)
{
    async_loop *loop = async__loop_of(task);
    struct async__timers *timers = &loop->timers;
    volatile char clearance[4096];

    clearance[0] = 0;
    (void)clearance[0];
    for (async_scope *scope = task->scope, *parent; scope; scope = parent) {
        ASYNC__DEFINED(scope, sizeof *scope);
        parent = scope->parent;
        uint32_t slot = scope->timer.slot;
        async_callback *callback = &scope->timer.callback;
        /* Checked against the loop's own tables, in case the frame has been damaged all the
         * same. */
        if (slot && slot <= timers->slots_used && timers->slots[slot] == &scope->timer)
            async__timers_remove(timers, slot);
        else if (!slot && callback->next && callback->next->prev == callback)
            async__ready_unlink(callback);
        scope->entered = false;
    }
    task->scope = NULL;
    async__scope_changed(task);
    if (result < 0) return result;
    return async__failf(-EINVAL, "%s returned inside of a timeout, shield or group it had entered",
                        task->coroutine_name ? task->coroutine_name : "the coroutine");
}
