/* switch.c - from one task to the next.
 *
 * A task that parks takes the next ready task itself and switches straight to it; only when the next
 * callback is not a task's, or it is time to look at the world outside, does it switch to the loop. So
 * a switch between tasks is one switch, not two.
 *
 * Everybody that is switched to first puts away the stack of a task that has just left its own for
 * ever (the zombie): a task cannot give back the ground it stands on. */
#include "task.h"

#include <pthread.h>

/* Of the next task's last frames, which would be missed one after another. */
#define PREFETCH_LINES 4

__thread async_task *async__current;

void async__reap(struct async__tasks *tasks)
{
    async_task *zombie = tasks->zombie;
    if (!zombie) return;
    tasks->zombie = NULL;
    async__task_release(zombie);
}

static inline void arrived(struct async__tasks *tasks)
{
    tasks->budget = ASYNC__BUDGET;
    if (async__unlikely(tasks->zombie != NULL)) async__reap(tasks);
}

void async__switch_arrived(struct async__tasks *tasks) { arrived(tasks); }

/* Runs in the loop: the callback of a task that is ready. */
static void step(async_callback *callback)
{
    async_task *task = async__container(callback, async_task, step);
    struct async__tasks *tasks = task->tasks;

    task->state = ASYNC__RUNNING;
    async__current = task;
    async__fiber_switch(&tasks->main, &task->fiber);
    async__current = NULL;
    async__reap(tasks);
}

static inline async_task *next_task(async_loop *loop)
{
    async_callback *callback = async__ready_take(loop, step);
    if (!callback) return NULL;

    async_task *task = async__container(callback, async_task, step);
    async_callback *after = loop->ready.next;
    if (after != &loop->ready)
        for (int line = 0; line < PREFETCH_LINES; line++)
            __builtin_prefetch((char *)after - line * 64);
    task->state = ASYNC__RUNNING;
    return task;
}

static inline void give_way(async_task *self)
{
    struct async__tasks *tasks = self->tasks;
    async_task *next = next_task(tasks->loop);

    if (next == self) {
        tasks->budget = ASYNC__BUDGET;
        return;
    }
    async__current = next;
    async__fiber_switch(&self->fiber, next ? &next->fiber : &tasks->main);
    arrived(tasks);
}

void async__switch_leave(async_task *self)
{
    struct async__tasks *tasks = self->tasks;
    async_task *next = next_task(tasks->loop);

    async__current = next;
    async__fiber_leave(&self->fiber, next ? &next->fiber : &tasks->main);
    __builtin_unreachable();
}

void async__switch_start(async_task *task)
{
    task->step.run = step;
    async__make_ready(task);
}

static bool idle(async_loop *loop)
{
    struct async__tasks *tasks = loop->client;
    return async__stack_trim(tasks->stacks);
}

/* In a child that a task has forked no task runs: what would block the task is refused there, and
 * does not go on to the parent's other tasks. */
static void after_fork(void) { async__current = NULL; }
static void watch_forks(void) { pthread_atfork(NULL, NULL, after_fork); }

void async__switch_open(async_loop *loop)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, watch_forks);
    loop->shuffled = step;
    loop->idle = idle;
}

/* ---- parking ---- */

void async__park(async__wait *wait)
{
    async_task *self = async__current;

    wait->task = self;
    wait->interrupted = false;
    self->wait = wait;
    self->state = ASYNC__PARKED;
#ifdef ASYNC_FAULTS
    if (async__fault(ASYNC__FAULT_WAIT)) async_cancel(self, "fault");
#endif
    give_way(self);
}

void async__yield(async_task *self)
{
    async__make_ready(self);
    give_way(self);
}

int async__interrupted(async_task *self)
{
    /* The cancellation may have been taken back before the task could run: its wait has ended all the
     * same, without what it waited for. */
    self->last_code = self->interrupt ? self->interrupt : -ECANCELED;
    return self->last_code;
}

int async__checkpoint_slow(async_task *self)
{
    if (!self) return -EPERM;
    if (!self->interrupt && self->tasks->budget <= 0) async__yield(self);
    return self->interrupt ? async__interrupted(self) : 0;
}

int async_checkpoint(void) { return async__checkpoint(); }
