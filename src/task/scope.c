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

/* What is due to the code that the task runs. */
struct due {
    int code;
    const async_scope
        *scope;          /* whose code that is; NULL: it is the task's own cancellation, or 0 */
    async_scope *shield; /* that keeps out what is outside of it, or NULL */
};

static struct due find_due(const async_task *task)
{
    struct due due = {0};

    for (async_scope *scope = task->scope; scope; scope = scope->parent) {
        if (scope->code) {
            due.code = scope->code;
            due.scope = scope;
        }
        if (scope->shield && !task->forced) {
            due.shield = scope;
            return due;
        }
    }
    if (task->cancelled) due = (struct due){.code = -ECANCELED};
    return due;
}

double async__ran_out_after(const async_task *task)
{
    const async_scope *scope = find_due(task).scope;
    double after = scope ? scope->when - scope->began : 0;
    return after > 0 ? after : 0;
}

bool async__ran_out(const async_scope *scope)
{
    return scope->expired && find_due(scope->task).scope == scope;
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
        if (set && !due) async__timer_cancel(loop, &scope->timer);
        if (!set && due)
            async__call_at(loop, &scope->timer, async__deadline(async_loop_time_ns(loop), limit));
    }
}

void async__scope_changed(async_task *task)
{
    struct due due = find_due(task);

    task->interrupt = due.code;
    task->refused = 0; /* each new cancellation that is ignored is reported once */
    if (due.shield && due.shield->limited) limit_shields(task, due.shield);
    async__wait *wait = task->wait;
    if (!task->interrupt || !wait || wait->interrupted) return;
    wait->interrupted = true; /* before the call, which may end the wait */
    task->interrupted_in = wait->what;
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

static inline void enter(async_scope *scope, async_task *self)
{
    scope->parent = self->scope;
    scope->task = self;
    scope->timer = (async_timer){0};
    scope->when = INFINITY;
    scope->code = 0;
    scope->shield = scope->expired = scope->limited = false;
    scope->entered = true;
    self->scope = scope;
}

int async__scope_enter(async_scope *scope, const char *call)
{
    async_task *self = async__current;
    if (!self) return async__no_task_in(call);
    if (!scope) return async__null_in(call, "scope");
    enter(scope, self);
    return 0;
}

static void on_deadline(async_callback *callback)
{
    async_scope *scope = async__container(callback, async_scope, timer.callback);

    scope->expired = true;
    if (!scope->code) scope->code = -ETIMEDOUT;
    async__scope_changed(scope->task);
}

__attribute__((cold, noinline)) int async__timeout_refused(int code, const char *call)
{
    if (code == -EPERM) return async__no_task_in(call);
    return async__failf(code, "%s: %s", call,
                        code == -EBADF    ? "the scope is NULL"
                        : code == -EINVAL ? "the time is not a number"
                                          : "no memory for a timer");
}

static int set_deadline(async_scope *scope, double when)
{
    async_loop *loop = async__loop_of(scope->task);
    int64_t ns;

    if (async__seconds_to_ns(when, &ns) < 0) return -EINVAL;
    scope->when = when;
    if (ns == ASYNC__NEVER) {
        async__timer_cancel(loop, &scope->timer);
        return 0;
    }
    if (ns <= async_loop_time_ns(loop)) {
        async__timer_cancel(loop, &scope->timer);
        on_deadline(&scope->timer.callback);
        return 0;
    }
    scope->timer.callback.run = on_deadline;
    return async__call_at(loop, &scope->timer, ns) < 0 ? -ENOMEM : 0;
}

int async__timeout_enter(async_scope *scope, double now, double when)
{
    async_task *self = async__current;
    if (!self) return -EPERM;
    if (!scope) return -EBADF;
    enter(scope, self);
    scope->began = now;
    int code = set_deadline(scope, when);
    if (code < 0) async_scope_leave(scope);
    return code;
}

int async_timeout_enter_at(async_scope *scope, double when)
{
    int code = async__timeout_enter(scope, async_now(), when);
    return async__unlikely(code < 0) ? async__timeout_refused(code, __func__) : 0;
}

int async_timeout_enter(async_scope *scope, double delay)
{
    int code = async__timeout_enter_after(scope, delay);
    return async__unlikely(code < 0) ? async__timeout_refused(code, __func__) : 0;
}

int async_shield_enter(async_scope *scope)
{
    int code = async__scope_enter(scope, __func__);
    if (code < 0) return code;
    scope->shield = true;
    async__scope_changed(scope->task);
    return 0;
}

void async__exit_shield_enter(async_scope *scope)
{
    if (!async__current) return; /* a callback's or a thread's block: nothing to shield from */
    async__scope_enter(scope, __func__);
    scope->shield = scope->limited = true;
    async__scope_changed(scope->task);
}

void async_scope_leave(async_scope *scope)
{
    if (!scope || !scope->entered) return;
    async_task *task = scope->task;
    async_loop *loop = async__loop_of(task);

    if (async__wrong_thread(loop, "async_scope_leave")) return;
    scope->entered = false;
    async__timer_cancel(loop, &scope->timer);
    task->scope = scope->parent;
    if (scope->code || scope->shield || scope->limited) async__scope_changed(task);
}

int async_scope_reschedule(async_scope *scope, double when)
{
    if (!scope) return async__failf(-EBADF, "async_scope_reschedule: the scope is NULL");
    if (!scope->entered)
        return async__failf(-EINVAL, "async_scope_reschedule: the scope has been left");
    if (scope->expired)
        return async__failf(-EINVAL, "async_scope_reschedule: the timeout has expired already");
    if (async__wrong_thread(async__loop_of(scope->task), "async_scope_reschedule")) return -EPERM;
    int code = set_deadline(scope, when);
    return code < 0 ? async__timeout_refused(code, __func__) : 0;
}

double async_scope_when(const async_scope *scope) { return scope ? scope->when : 0; }

bool async_scope_expired(const async_scope *scope) { return scope && scope->expired; }

void async_scope_cancel(async_scope *scope)
{
    if (!scope || !scope->entered || scope->code) return;
    if (async__wrong_thread(async__loop_of(scope->task), "async_scope_cancel")) return;
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
