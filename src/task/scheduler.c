/* scheduler.c: from one task to the next.
 *
 * A task that parks takes the next ready task itself and switches straight to it; only when the
 * next callback is not a task's, or it is time to look at descriptors and timers, does it switch to
 * the loop. So a switch between tasks is one switch, not two.
 *
 * What is switched to has chores first, if there are any (`chores`): to free the stack of a task
 * that has just ended (the zombie), since a task cannot free the stack it runs on; and, in a
 * program with C++ in it, to put its own exceptions in the place of those of what ran before. */
#include "../loop/trace.h"
#include "task.h"

#include <pthread.h>

/* For prefetch(), in bytes: a task has not run yet if its stack pointer is nearer to its struct; how far
 * below it the first calls will write. */
enum { NEW = 128, DEPTH = 256 };

__thread async_task *async__current;

/* The C++ runtime keeps the exceptions that are being handled in a list of the thread's: a task
 * that awaits inside of a catch block must find its own there again. Itanium C++ ABI, 2.2.2;
 * libstdc++ and libc++abi both have it so. NULL in a program without C++. */
extern struct async__cxx *__cxa_get_globals(void) __attribute__((weak));

static void swap_exceptions(struct async__tasks *tasks)
{
    struct async__cxx *mine = async__current ? &async__current->cxx : &tasks->main_cxx;

    if (mine == tasks->cxx_owner) return;
    if (tasks->cxx_owner) *tasks->cxx_owner = *tasks->cxx;
    *tasks->cxx = *mine;
    tasks->cxx_owner = mine;
}

/* In this order: the owner of the exceptions may be the zombie. */
void async__do_chores(struct async__tasks *tasks)
{
    async_task *zombie = tasks->zombie;

    tasks->chores = tasks->cxx != NULL;
    if (tasks->cxx) swap_exceptions(tasks);
    if (!zombie) return;
    tasks->zombie = NULL;
    async__task_release(zombie);
}

static inline void arrived(struct async__tasks *tasks)
{
    tasks->budget = ASYNC__BUDGET;
    if (async__unlikely(tasks->chores)) async__do_chores(tasks);
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
    if (async__unlikely(tasks->chores)) async__do_chores(tasks);
}

/* `after` runs after the next task, and `further` after that: their lines have time to come, else they
 * would be missed one after another. Of `further` that is its struct, and the first frames, to which a
 * task returns as it ends. Of `after` it is the last frames, which are found by way of its struct, that
 * has come meanwhile; of a new one the place where its frames will be. Not more: with all of them in
 * flight a switch among 1,000 tasks is slower. (The asm: gcc drops calls of a function that only
 * prefetches. Not inlined: it would cost the switch among few a register.) */
__attribute__((noinline)) static void prefetch(const async_callback *after,
                                               const async_callback *further)
{
    __asm__ volatile("");
    for (int line = -2; line <= 1; line++)
        __builtin_prefetch((const char *)further + line * 64, 1);
    if (after->run != step) return;
    const char *frames = async__container(after, async_task, step)->fiber.sp;
    if ((const char *)after - frames < NEW) frames -= DEPTH;
    __builtin_prefetch(frames, 1);
    __builtin_prefetch(frames + 64, 1);
}

static inline async_task *next_task(async_loop *loop)
{
    async_callback *callback = async__ready_take(loop, step);
    if (!callback) return NULL;

    async_task *task = async__container(callback, async_task, step);
    async_callback *after = loop->ready.next, *further = after->next;
    if (further != &loop->ready) prefetch(after, further); /* one or two are in the cache */
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
    async__current = next; /* before the switch: the next task goes on behind its own call of it */
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

/* ---- the loop's own stack ---- */

/* Meanwhile no task runs: a wait in there is refused, as in any other callback. */
void async__call_aside(void (*function)(void *), void *argument)
{
    async_task *self = async__current;

    if (!self) {
        function(argument);
        return;
    }
    async__current = NULL;
    async__fiber_call_on(&self->tasks->main, function, argument);
    async__current = self;
}

/* ---- eager tasks ---- */

/* What made the task is to go on as soon as that parks or ends, before anything else. So it goes to
 * the front of the ready queue, under another `run` than a task's: give_way does not take that, but
 * leaves for the loop, and no seed puts it out of order. */
static void step_back(async_callback *callback)
{
    callback->run = step;
    step(callback);
}

bool async__switch_is_step(const async_callback *callback)
{
    return callback->run == step || callback->run == step_back;
}

static void back_in_callback(async_callback *callback) { (void)callback; }

/* For a trace: another step begins, within that of what makes the task; NULL: that goes on. */
static inline void trace_step(async_loop *loop, async_callback *callback)
{
    if (async__unlikely(loop->trace != NULL)) async__trace_step(loop, callback, async__clock());
}

static void run_first(async_task *task, async_task *self)
{
    struct async__tasks *tasks = task->tasks;

    trace_step(tasks->loop, &task->step);
    async__ready_unlink(&task->step);
    task->state = ASYNC__RUNNING;
    async__current = task;
    async__fiber_switch(self ? &self->fiber : &tasks->main, &task->fiber);
}

void async__switch_now(async_task *task)
{
    async_task *self = async__current;
    async_loop *loop = async__loop_of(task);

    if (async__loop() != loop) return; /* it does not run: the task is ready, as any other */
    if (self) {
        self->step.run = step_back;
        self->state = ASYNC__READY;
        async__ring_insert(loop->ready.next, &self->step);
        run_first(task, self);
        arrived(self->tasks);
        return;
    }
    /* In a callback: the loop's stack is this one, so each task that leaves comes back here. What is
     * then before the mark are tasks that have made eager ones themselves. */
    async_callback mark = {.run = back_in_callback};
    async__ring_insert(loop->ready.next, &mark);
    run_first(task, NULL);
    async__current = NULL;
    trace_step(loop, NULL);
    if (async__unlikely(task->tasks->chores)) async__do_chores(task->tasks);
    while (loop->ready.next != &mark) {
        async_callback *next = loop->ready.next;
        async__ready_unlink(next);
        next->run(next);
    }
    async__ready_unlink(&mark);
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
    struct async__tasks *tasks = loop->client;

    pthread_once(&once, watch_forks);
    loop->shuffled = step;
    loop->idle = idle;
    if (!__cxa_get_globals) return;
    tasks->cxx = __cxa_get_globals();
    tasks->cxx_owner = &tasks->main_cxx;
    tasks->chores = true;
}

/* ---- parking ---- */

#ifdef ASYNC_FAULTS
/* The task has what it waited for, and is cancelled, or its time runs out, before it runs: its next
 * wait has to notice. */
void async__fault_at_wake(async_task *task)
{
    if (async__fault(ASYNC__FAULT_WAKE)) async_cancel(task, "fault");
    async_scope *scope = task->scope;
    while (scope && !scope->timer.slot)
        scope = scope->parent;
    if (!scope || !async__fault(ASYNC__FAULT_EXPIRE)) return;
    async__timer_cancel(async__loop_of(task), &scope->timer);
    scope->timer.callback.run(&scope->timer.callback);
}
#endif

void async__park(async__wait *wait)
{
    async_task *self = async__current;

    wait->task = self;
    wait->interrupted = false;
    self->wait = wait;
    self->state = ASYNC__PARKED;
    ASYNC__PROBE3(task__park, self->number, wait->what, wait->fd);
#ifdef ASYNC_FAULTS
    if (async__fault(ASYNC__FAULT_WAIT)) async_cancel(self, "fault");
#endif
    /* The cancellation may have come after the call's checkpoint, between two of its waits. Looking
     * here means that no call that waits twice can miss it. */
    if (async__unlikely(self->interrupt != 0)) async__scope_changed(self);
    give_way(self);
}

void async__yield(async_task *self)
{
    async__make_ready(self);
    give_way(self);
}

int async__interrupted(async_task *self)
{
    /* The cancellation may have been taken back before the task could run: its wait has ended all
     * the same, without what it waited for. */
    if (!self->interrupt) return async__fail(-ECANCELED);
    if (self->interrupt != -ETIMEDOUT) return async__fail(self->interrupt);
    return async__fail_timeout(async__ran_out_after(self), self->interrupted_in);
}

int async__interrupted_in(async_task *self, const char *call)
{
    self->interrupted_in = call;
    return async__interrupted(self);
}

int async__checkpoint_slow(async_task *self, const char *call)
{
    if (!self) return async__no_task_in(call);
    if (!self->interrupt) {
        async__yield(self);
        return self->interrupt ? async__interrupted_in(self, call) : 0;
    }
    /* A call that is refused counts as one that finishes at once: a task that ignores the codes in
     * a loop must not keep the others, and signals, from running. */
    if (++self->refused == ASYNC__REFUSALS) async__report_refusals(self);
    if (--self->tasks->budget <= 0) async__yield(self);
    return async__interrupted_in(self, call);
}

int async__misuse(int code)
{
    async_task *self = async__current;

    if (self && --self->tasks->budget <= 0) async__yield(self);
    return code;
}

int async_checkpoint(void) { return async__checkpoint(); }
