/* wait.c - waiting for some of several tasks: async_wait, and async_as_completed.
 *
 * Both claim the tasks by their hook (task->done), so that each that ends costs the same, however
 * many there are. async_wait gives them back as it returns: it can be given up, since nothing of it
 * stays behind. async_as_completed takes the tasks over until it hands them out, and ends those that
 * it has not handed out as it is closed. */
#include "task.h"

#include <casyncio/iterators.h>

/* ---- one wait ---- */

struct waiting {
    async__wait wait;
    async_timer timer;
    size_t ended, count;
    int return_when;
    bool parked, met; /* what is waited for has come about */
};

static bool failed(const async_task *task)
{
    return task->result < 0 && task->result != -ECANCELED; /* as in asyncio, and in groups */
}

/* A NULL is a task that could not be made: it has ended, and failed. */
static void count_ended(struct waiting *waiting, const async_task *task)
{
    waiting->ended++;
    if (waiting->ended == waiting->count || waiting->return_when == ASYNC_FIRST_COMPLETED ||
        (waiting->return_when == ASYNC_FIRST_EXCEPTION && (!task || failed(task))))
        waiting->met = true;
}

/* Not parked: the waiter is still in its checkpoint. */
static void ended_in_wait(async_task *task)
{
    struct waiting *waiting = task->owner;

    count_ended(waiting, task);
    if (waiting->met && waiting->parked) async__unpark(&waiting->wait);
}

static void on_timeout(async_callback *callback)
{
    async__unpark(&async__container(callback, struct waiting, timer.callback)->wait);
}

const async__mark async__mark_wait = {ASYNC__FUNCTION(ended_in_wait),
                                      offsetof(struct waiting, wait.task)};
const async__claim async__claim_wait = {ASYNC__FUNCTION(ended_in_wait), "is waited for"};

static void interrupt_wait(async__wait *wait) { async__unpark(wait); }

/* Until it is met, the time is over, or the task is interrupted: 0 or -ENOMEM. */
static int wait_until_met(struct waiting *waiting, double timeout)
{
    async_loop *loop = async__loop();

    if (waiting->met || timeout <= 0) return 0;
    if (async_call_later(loop, &waiting->timer, timeout) < 0)
        return async__failf(-ENOMEM, "async_wait: no memory for a timer");
    waiting->parked = true;
    async__park(&waiting->wait);
    async__timer_cancel(loop, &waiting->timer);
    return 0;
}

static int check_wait(size_t count, double timeout, int return_when)
{
    if (count == 0) return async__failf(-EINVAL, "async_wait: there is no task to wait for");
    if (timeout != timeout) return async__failf(-EINVAL, "async_wait: the timeout is not a number");
    if (return_when < ASYNC_ALL_COMPLETED || return_when > ASYNC_FIRST_EXCEPTION)
        return async__failf(-EINVAL, "async_wait: return_when is %d", return_when);
    return 0;
}

ssize_t async_wait(async_task *const *tasks, size_t count, double timeout, int return_when)
{
    if (!async__current) return async__no_task();
    int code = check_wait(count, timeout, return_when);
    if (code < 0) return async__misuse(code);
    struct waiting waiting = {
        .wait = {.interrupt = interrupt_wait, .what = "wait", .fd = -1},
        .timer = {.callback = {.run = on_timeout}},
        .count = count,
        .return_when = return_when,
    };
    code = async__tasks_claim(tasks, count, ended_in_wait, &waiting, "async_wait");
    if (code < 0) return code;

    for (size_t i = 0; i < count; i++)
        if (async_task_done(tasks[i])) count_ended(&waiting, tasks[i]);
    if (count == 1) waiting.wait.awaited = tasks[0];
    code = async__checkpoint();
    if (code == 0) code = wait_until_met(&waiting, timeout);
    for (size_t i = 0; i < count; i++)
        if (tasks[i]) async__task_unclaim(tasks[i]);
    if (code < 0) return code;
    if (waiting.wait.interrupted && !waiting.met) return async__interrupted(async__current);
    return (ssize_t)waiting.ended;
}

/* ---- one after another, as they end ---- */

/* Tasks in a list, by the links that a group's tasks have: none of these is in a group. */
struct list {
    async_task *first, *last;
};

static void append(struct list *list, async_task *task)
{
    task->next_sibling = NULL;
    task->previous_sibling = list->last;
    if (list->last)
        list->last->next_sibling = task;
    else
        list->first = task;
    list->last = task;
}

static void take_out(struct list *list, async_task *task)
{
    if (task->previous_sibling)
        task->previous_sibling->next_sibling = task->next_sibling;
    else
        list->first = task->next_sibling;
    if (task->next_sibling)
        task->next_sibling->previous_sibling = task->previous_sibling;
    else
        list->last = task->previous_sibling;
    task->next_sibling = task->previous_sibling = NULL;
}

struct completions {
    async_iterator iterator;
    async__unclosed unclosed;
    struct async__tasks *tasks;
    struct list pending, ended;
    size_t missing; /* handles that were NULL, to be handed out first */
    double timeout, when;
    async__wait wait;
    async_timer timer;
    bool waiting; /* a task is parked on `wait` */
};

static void wake(struct completions *self)
{
    if (!self->waiting) return;
    self->waiting = false;
    async__unpark(&self->wait);
}

static void ended_in_turn(async_task *task)
{
    struct completions *self = task->owner;

    take_out(&self->pending, task);
    append(&self->ended, task);
    wake(self);
}

const async__claim async__claim_as_completed = {ASYNC__FUNCTION(ended_in_turn),
                                                "was given to async_as_completed"};

static void on_deadline(async_callback *callback)
{
    wake(async__container(callback, struct completions, timer.callback));
}

static void give_up(async__wait *wait) { wake(async__container(wait, struct completions, wait)); }

/* Until a task has ended, the time is over, or the waiter is interrupted: 0 or -ENOMEM. */
static int wait_for_one(struct completions *self)
{
    async_loop *loop = self->tasks->loop;

    self->timer.callback.run = on_deadline;
    if (async_call_at(loop, &self->timer, self->when) < 0)
        return async__failf(-ENOMEM, "async_as_completed: no memory for a timer");
    self->wait = (async__wait){.interrupt = give_up, .what = "as_completed", .fd = -1};
    self->waiting = true;
    async__park(&self->wait);
    async__timer_cancel(loop, &self->timer);
    return 0;
}

static int time_over(const struct completions *self)
{
    return async__failf(-ETIMEDOUT, "async_as_completed: not all tasks have ended within %g s",
                        self->timeout);
}

static int next_completed(async_iterator *iterator, void *value)
{
    struct completions *self = async__container(iterator, struct completions, iterator);
    async_task *task = NULL;
    int code = async__checkpoint_in("async_as_completed");

    if (code < 0) return code;
    if (self->waiting)
        return async__failf(-EBUSY, "async_as_completed: another task waits for the next one");
    while (!self->missing && !self->ended.first) {
        if (!self->pending.first) return 0;
        if (async_now() >= self->when) return time_over(self);
        code = wait_for_one(self);
        if (code < 0) return code;
        if (self->wait.interrupted && !self->ended.first) return async__interrupted(async__current);
    }
    if (self->missing) {
        self->missing--;
    } else {
        task = self->ended.first;
        take_out(&self->ended, task);
        async__task_unclaim(task);
    }
    *(async_task **)value = task;
    return 1;
}

static void release_ended(struct completions *self)
{
    while (self->ended.first) {
        async_task *task = self->ended.first;
        take_out(&self->ended, task);
        async__task_report(task, "failed and was never awaited");
        async__task_release(task);
    }
}

/* All that it has not handed out have ended. */
static void free_completions(async__unclosed *unclosed)
{
    struct completions *self = async__container(unclosed, struct completions, unclosed);

    release_ended(self);
    async__unclosed_remove(self->tasks, &self->unclosed);
    async__free(self);
}

static void stay(async__wait *wait) { (void)wait; }

static void close_completions(async_iterator *iterator)
{
    struct completions *self = async__container(iterator, struct completions, iterator);

    for (async_task *task = self->pending.first; task; task = task->next_sibling)
        async_cancel(task, NULL);
    /* Where they cannot be waited for it is freed at the end of the loop, as a generator is. */
    if (self->pending.first && (self->waiting || !async__current)) return;
    while (self->pending.first) {
        self->wait = (async__wait){.interrupt = stay, .what = "as_completed", .fd = -1};
        self->waiting = true;
        async__park(&self->wait);
    }
    free_completions(&self->unclosed);
}

/* For tasks that cannot be taken over after all, and that the caller gives up all the same. */
static void end_all(async_task *const *tasks, size_t count)
{
    struct async__record failure = async__record_save();

    for (size_t i = 0; i < count; i++)
        async_cancel(tasks[i], NULL);
    async_gather_results(tasks, count, NULL);
    async__record_restore(&failure, true);
}

static struct completions *new_completions(double timeout)
{
    if (timeout != timeout) {
        async__failf(-EINVAL, "async_as_completed: the timeout is not a number");
        return NULL;
    }
    struct completions *self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__fail_text(-ENOMEM, "async_as_completed: no memory");
        return NULL;
    }
    self->iterator = (async_iterator){
        .next = next_completed, .close = close_completions, .size = sizeof(async_task *)};
    self->tasks = async__current->tasks;
    self->timeout = timeout;
    self->when = async_now() + timeout;
    return self;
}

async_iterator *async_as_completed(async_task *const *tasks, size_t count, double timeout)
{
    if (!async__current) {
        async__no_task();
        return NULL;
    }
    /* First it is seen whether they can be taken over, and then by what: an address that is none of
     * another waiter's will do until then. */
    int code = async__tasks_claim(tasks, count, ended_in_turn, &code, "async_as_completed");
    if (code < 0) return NULL;
    struct completions *self = new_completions(timeout);
    for (size_t i = 0; i < count; i++) {
        async_task *task = tasks[i];
        if (!self && task) {
            async__task_unclaim(task);
        } else if (!task) {
            if (self) self->missing++;
        } else {
            task->owner = self;
            append(task->state == ASYNC__DONE ? &self->ended : &self->pending, task);
        }
    }
    if (!self) {
        end_all(tasks, count);
        return NULL;
    }
    async__unclosed_add(self->tasks, &self->unclosed, free_completions);
    return &self->iterator;
}
