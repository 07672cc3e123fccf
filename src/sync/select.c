/* select.c - waiting for one of several things.
 *
 * A task that waits has a waiter in the list of each of them, and parks once. The first to be woken
 * is the choice: at that moment, before anything else can run, all the other waiters are taken out of
 * their lists (async__choose). So a second item, lock or place can never be handed to it, and what
 * wakes a waiter needs to know nothing of this: it finds a waiter whose wait has no task, and calls
 * `woken` (async__wake_first). */
#include "select.h"

#include <limits.h>
#include <math.h>

#define FEW 8 /* cases that need no memory of their own */

struct selection {
    async__wait wait;
    async_case *cases;
    struct async__choice *choices, *chosen;
    size_t count;
};

/* ---- waiting ---- */

static void begin_in_list(struct async__choice *choice)
{
    choice->waiter.item = &choice->exchange;
    async__list_append(choice->about.type->list(&choice->about), &choice->waiter);
}

static void end(struct async__choice *choice)
{
    const struct async__case_type *type = choice->about.type;

    if (!type) return;
    if (type->end)
        type->end(choice);
    else
        async__list_remove(&choice->waiter);
}

static void end_first(struct selection *selection, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (&selection->choices[i] != selection->chosen) end(&selection->choices[i]);
}

void async__choose(struct async__choice *choice)
{
    struct selection *selection = choice->selection;

    selection->chosen = choice;
    end_first(selection, selection->count);
    choice->waiter.wait.task = selection->wait.task; /* the waker hands over to it */
    async__resume(selection->wait.task);
}

static void woken(async__waiter *waiter)
{
    async__choose(async__container(waiter, struct async__choice, waiter));
}

static void interrupt(async__wait *wait)
{
    struct selection *selection = async__container(wait, struct selection, wait);
    end_first(selection, selection->count);
    async__unpark(wait);
}

static int begin(struct selection *selection, size_t at)
{
    struct async__choice *choice = &selection->choices[at];
    const struct async__case_type *type = selection->cases[at].type;

    choice->waiter.wait.task = NULL; /* its waker calls `woken` */
    choice->waiter.woken = woken;
    choice->about = selection->cases[at];
    choice->selection = selection;
    choice->exchange = (struct async__exchange){.item = choice->about.item};
    choice->timer = (async_timer){0};
    if (type && type->begin) return type->begin(choice);
    if (type) begin_in_list(choice);
    return 0;
}

static int begin_all(struct selection *selection)
{
    for (size_t i = 0; i < selection->count; i++) {
        int code = begin(selection, i);
        if (code == 0) continue;
        end_first(selection, i);
        return code;
    }
    return 0;
}

static const struct async__refusals refusals = ASYNC__REFUSALS_OF("async_select", "busy");

static int fail_case(async_case *which, int code)
{
    which->code = code;
    return async__core_refuse(code, &refusals);
}

/* The cases are registered in order, and none can be chosen before the task has parked. */
static int wait_for_one(struct selection *selection)
{
    int code = begin_all(selection);
    if (code < 0) return code;
    async__park(&selection->wait);
    const struct async__choice *chosen = selection->chosen;
    if (!chosen) return async__interrupted(async__current);
    ptrdiff_t which = chosen - selection->choices;
    if (chosen->exchange.code < 0)
        return fail_case(&selection->cases[which], chosen->exchange.code);
    return (int)which;
}

static int wait_for_any(async_case *cases, size_t count)
{
    struct async__choice few[FEW];
    struct selection selection = {
        .wait = {.interrupt = interrupt, .what = "select", .fd = -1},
        .cases = cases,
        .choices = count <= FEW ? few : async__alloc(count * sizeof *few),
        .count = count,
    };

    if (!selection.choices) return async__failf(-ENOMEM, "async_select: no memory for the cases");
    int result = wait_for_one(&selection);
    if (selection.choices != few) async__free(selection.choices);
    return result;
}

/* ---- the call ---- */

static const struct async__case_type after;

/* A mistake is found whichever case would be chosen. */
static int check(async_case *cases, size_t count)
{
    size_t able = 0;

    if (!cases && count) return async__failf(-EINVAL, "async_select: the cases are NULL");
    if (count > INT_MAX) return async__failf(-EINVAL, "async_select: too many cases");
    for (size_t i = 0; i < count; i++) {
        const struct async__case_type *type = cases[i].type;
        int code = type ? type->check(&cases[i]) : 0;
        if (code < 0) return code;
        cases[i].code = 0;
        if (type && !(type == &after && cases[i].seconds == INFINITY)) able++;
    }
    return able ? 0 : async__failf(-EINVAL, "async_select: no case that could ever be ready");
}

static size_t draw(size_t count)
{
    struct async__tasks *tasks = async__current->tasks;

    if (count == 1) return 0;
    if (!tasks->chances) tasks->chances = tasks->loop->seed ? tasks->loop->seed : ASYNC__SEED;
    return (size_t)((async__draw(&tasks->chances) >> 32) * count >> 32);
}

/* Carries out one case that needs no waiting. -EAGAIN: there is none. */
static int attempt_any(async_case *cases, size_t count)
{
    for (size_t left = count, i = draw(count); left > 0; left--, i = i + 1 < count ? i + 1 : 0) {
        int done = cases[i].type ? cases[i].type->attempt(&cases[i]) : 0;
        if (done < 0) return fail_case(&cases[i], done);
        if (done) return (int)i;
    }
    for (size_t i = 0; i < count; i++)
        if (cases[i].type == &after && cases[i].seconds <= 0) return (int)i;
    return -EAGAIN;
}

int async_select(async_case *cases, size_t count)
{
    int code = async__checkpoint();
    if (code < 0) return code;
    code = check(cases, count); /* behind the checkpoint: nothing runs between this and the wait */
    if (code < 0) return code;
    int result = attempt_any(cases, count);
    return result == -EAGAIN ? wait_for_any(cases, count) : result;
}

/* ---- the kinds of cases ---- */

static int check_object(const async_case *self, const char *what)
{
    return self->object ? 0 : async__failf(-EBADF, "async_select: the %s is NULL", what);
}

static async_case make(const struct async__case_type *type, void *object)
{
    return (async_case){.type = type, .object = object};
}

static int event_check(const async_case *self) { return check_object(self, "event"); }
static int event_attempt(const async_case *self) { return ((async_event *)self->object)->set; }
static struct async__wait_list *event_list(const async_case *self)
{
    return &((async_event *)self->object)->waiters;
}
static const struct async__case_type event_case = {event_check, event_attempt, event_list, NULL,
                                                   NULL};
async_case async_case_event(async_event *object) { return make(&event_case, object); }

static int future_check(const async_case *self) { return check_object(self, "future"); }
static int future_attempt(const async_case *self) { return ((async_future *)self->object)->done; }
static struct async__wait_list *future_list(const async_case *self)
{
    return &((async_future *)self->object)->waiters;
}
static const struct async__case_type future_case = {future_check, future_attempt, future_list, NULL,
                                                    NULL};
async_case async_case_future(async_future *object) { return make(&future_case, object); }

static int latch_check(const async_case *self) { return check_object(self, "latch"); }
static int latch_attempt(const async_case *self)
{
    return ((async_latch *)self->object)->left == 0;
}
static struct async__wait_list *latch_list(const async_case *self)
{
    return &((async_latch *)self->object)->waiters;
}
static const struct async__case_type latch_case = {latch_check, latch_attempt, latch_list, NULL,
                                                   NULL};
async_case async_case_latch(async_latch *object) { return make(&latch_case, object); }

static int lock_check(const async_case *self)
{
    const async_lock *lock = self->object;
    if (lock && lock->owner == async__current)
        return async__failf(-EDEADLK, "async_select: this task holds the lock already");
    return check_object(self, "lock");
}
static int lock_attempt(const async_case *self)
{
    async_lock *lock = self->object;
    if (lock->owner) return 0;
    lock->owner = async__current;
    return 1;
}
static struct async__wait_list *lock_list(const async_case *self)
{
    return &((async_lock *)self->object)->waiters;
}
static const struct async__case_type lock_case = {lock_check, lock_attempt, lock_list, NULL, NULL};
async_case async_case_lock(async_lock *object) { return make(&lock_case, object); }

static int semaphore_check(const async_case *self)
{
    const async_semaphore *semaphore = self->object;
    if (semaphore && semaphore->value < 0)
        return async__failf(-EINVAL, "async_select: a semaphore of %d places", semaphore->value);
    return check_object(self, "semaphore");
}
static int semaphore_attempt(const async_case *self)
{
    async_semaphore *semaphore = self->object;
    if (semaphore->value == 0) return 0;
    semaphore->value--;
    return 1;
}
static struct async__wait_list *semaphore_list(const async_case *self)
{
    return &((async_semaphore *)self->object)->waiters;
}
static const struct async__case_type semaphore_case = {semaphore_check, semaphore_attempt,
                                                       semaphore_list, NULL, NULL};
async_case async_case_semaphore(async_semaphore *object) { return make(&semaphore_case, object); }

/* A task has one hook for its end, which is this case's for as long as it waits. */
static void task_ended(async_task *task)
{
    async__task_unclaim(task);
    async__choose(task->owner);
}
static int task_check(const async_case *self)
{
    return async__task_claimable(self->object, "async_select");
}
static int task_attempt(const async_case *self) { return async_task_done(self->object); }
static int task_begin(struct async__choice *choice)
{
    async_task *task = choice->about.object;
    if (task->done) return async__failf(-EBUSY, "async_select: the task is there twice");
    task->done = task_ended;
    task->owner = choice;
    return 0;
}
static void task_end(struct async__choice *choice) { async__task_unclaim(choice->about.object); }
static const struct async__case_type task_case = {task_check, task_attempt, NULL, task_begin,
                                                  task_end};
async_case async_case_task(async_task *task) { return make(&task_case, task); }

static void time_is_up(async_callback *callback)
{
    async__choose(async__container(callback, struct async__choice, timer.callback));
}
static int after_check(const async_case *self)
{
    return isnan(self->seconds)
               ? async__failf(-EINVAL, "async_select: the seconds are not a number")
               : 0;
}
static int after_attempt(const async_case *self)
{
    (void)self;
    return 0;
}
static int after_begin(struct async__choice *choice)
{
    choice->timer.callback.run = time_is_up;
    int code = async_call_later(async__loop(), &choice->timer, choice->about.seconds);
    return code < 0 ? async__failf(code, "async_select: no memory for a timer") : 0;
}
static void after_end(struct async__choice *choice)
{
    async__timer_cancel(async__loop_of(choice->selection->wait.task), &choice->timer);
}
static const struct async__case_type after = {after_check, after_attempt, NULL, after_begin,
                                              after_end};
async_case async_case_after(double seconds)
{
    return (async_case){.type = &after, .seconds = seconds};
}
