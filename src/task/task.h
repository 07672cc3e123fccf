/* task.h - tasks from the inside: for src/task and all that stands on it.
 *
 * A blocking call is written in one of two ways:
 *
 *   - it waits in a list of waiters (a lock's, a queue's): async__wait_in(list, "lock", NULL);
 *   - it waits for something else: it embeds an async__wait, parks on it, and whoever brings about
 *     what it waits for calls async__unpark(&wait). If the task is interrupted first, wait.interrupt is called,
 *     which either undoes the wait and calls async__unpark itself (a timer), or asks for its end and lets the
 *     completion call async__unpark (an operation in the kernel's hands).
 *
 * Who was woken has got what it waited for, whatever happens to the task before it runs. */
#ifndef CASYNCIO_TASK_H
#define CASYNCIO_TASK_H

#include "../base/faults.h"
#include "../fiber/fiber.h"
#include "../loop/loop_internal.h"

#include <casyncio/errors.h>
#include <casyncio/futures.h>
#include <casyncio/tasks.h>
#include <stdarg.h>

#define ASYNC__BUDGET 128 /* calls that finish at once before a task has to give way */
#define ASYNC__ARGUMENT_MAX 2048
#define ASYNC__QUARANTINE 64
#define ASYNC__CLEARANCE 192 /* bytes, between a coroutine's frames and its task's own */

/* ---- errors (error.c) ---- */

typedef struct async__error {
    int code, line;
    const char *file, *function;
    struct async__error *causes, *next_cause; /* of a group */
    size_t cause_count;
    char *chain; /* "Task-3 (fetch) <- Task-1 (main)", or NULL */
    char message[];
} async__error;

async__error *async__error_new(int code, const char *format, ...) ASYNC_PRINTF(2, 3);
void async__error_free(async__error *error);
void async__error_passed(async__error *error, const async_task *task); /* adds it to the chain */

/* ---- tasks ---- */

typedef struct async__wait async__wait;
struct async__wait {
    async_task *task;
    void (*interrupt)(async__wait *self);
    const char *what;    /* for the call graph: "sleep", "lock", "read" */
    async_task *awaited; /* for the call graph: whose end it waits for, or NULL */
    int fd;              /* for the call graph: the descriptor, or -1 */
    bool interrupted;
};

enum async__state {
    ASYNC__READY, /* in the ready queue */
    ASYNC__RUNNING,
    ASYNC__PARKED,
    ASYNC__DONE,
    ASYNC__RELEASED /* its memory is in the stack pool */
};

/* Lies at the top of its own stack, so that an idle task costs one page. The first two fields and the last frames
 * are what a switch touches. */
struct async_task {
    async_callback step;
    async__fiber fiber;
    async__wait *wait; /* what it is parked on */
    int interrupt; /* what blocking calls give: recomputed whenever a scope or a cancellation changes */
    int last_code; /* of the last call that failed */
    int pending;   /* an error that a block macro could not report and nobody has asked for */
    int result;
    unsigned char state;
    bool cancelled, forced; /* forced: shields do not hold any more, the loop is at its end */
    bool named;             /* name is the task's own memory */
    bool unclaimed;         /* done, and in the list of those that nobody has awaited yet */
    bool is_main;
    struct async__tasks *tasks;
    async_coroutine coroutine;
    void *argument;
    async_scope *scope;
    async_group *groups; /* those it has open, innermost first */
    async__error *error;
    void (*done)(async_task *);  /* called once, when it has ended; NULL: nobody awaits it yet */
    void *owner;                 /* of done */
    async_task *next, *previous; /* all tasks that are not done */
    async_task *next_sibling, *previous_sibling; /* in a group */
    const char *name;                            /* NULL: "Task-<number>" */
    const char *coroutine_name;
    uint64_t number;
    char *why; /* of a cancellation */
};

/* The task layer's part of a loop: loop->client. */
struct async__tasks {
    async_loop *loop;
    async__fiber main; /* the loop's own stack */
    async__stack_pool *stacks;
    async_task *first, *last; /* all tasks that are not done, oldest first */
    size_t count;
    async_task *unclaimed; /* done, and not awaited yet */
    async_task *zombie;    /* has left its stack, which can go back to the pool */
    uint64_t numbers;
    int budget;
    int create_failed; /* the code of the last task that could not be made, for who awaits NULL */
#ifdef ASYNC_DEBUG
    async_task *quarantine[ASYNC__QUARANTINE]; /* released, and not yet to be used again */
    uint64_t released;
#endif
    bool watches_overflow;
    bool closing;                       /* the main task is done: what is left is being cancelled */
    struct async_generator *generators; /* all there are, to be freed at the end */
};

extern __thread async_task *async__current;

static inline async_loop *async__loop_of(const async_task *task) { return task->tasks->loop; }

/* Makes and tears down the task layer of a loop. 0 or -ENOMEM. */
int async__tasks_open(async_loop *loop);
void async__tasks_close(async_loop *loop);

/* Where a task lies on the stack with this top, and back. */
#define ASYNC__TASK_ROOM ((sizeof(async_task) + 63) & ~(size_t)63)
static inline async_task *async__task_at(void *top)
{
    return (async_task *)((char *)top - ASYNC__TASK_ROOM);
}
static inline void *async__task_top(async_task *task) { return (char *)task + ASYNC__TASK_ROOM; }

/* Makes a task and makes it ready; NULL with the current task's error set. */
async_task *async__task_new(struct async__tasks *tasks, async_coroutine coroutine, void *argument,
                            const async_task_options *options);
/* Gives the task's memory back; it must be done. */
void async__task_release(async_task *task);
/* Tells the loop's exception handler of a task whose failure nobody will learn of otherwise. */
void async__task_report(async_task *task, const char *what);

/* ---- switching (switch.c) ---- */

void async__switch_open(async_loop *loop);
void async__switch_start(async_task *task);             /* makes a new task ready */
void async__switch_arrived(struct async__tasks *tasks); /* the first thing a fiber does */
void async__switch_leave(async_task *self) __attribute__((noreturn)); /* the last */
void async__reap(struct async__tasks *tasks);

/* The description for messages and graphs: "Task-3 (fetch)". */
const char *async__task_label(const async_task *task, char *buffer, size_t size);

/* ---- failing ---- */

/* Notes the code as the current task's last error (no message of its own) and gives it back. */
static inline int async__fail(int code)
{
    if (async__current) async__current->last_code = code;
    return code;
}

/* The same with a message, which should name what was wrong and with what: "connect to localhost port 1: Connection refused". */
int async__failf(int code, const char *format, ...) ASYNC_PRINTF(2, 3);

/* An error that the construct it happened in cannot return: it becomes the task's result unless somebody asks. */
void async__pend(int code);

/* For a constructor that succeeded, or a block that ended well: async_error_code() is 0. */
static inline void async__succeed(void)
{
    if (async__current) async__current->last_code = 0;
}

/* ---- parking ---- */

/* Suspends the current task until async__unpark. */
void async__park(async__wait *wait);

static inline void async__make_ready(async_task *task)
{
    task->state = ASYNC__READY;
    async__ready_push(task->tasks->loop, &task->step);
}

static inline void async__unpark(async__wait *wait)
{
    async_task *task = wait->task;

    if (async__unlikely(task->wait != wait)) return;
    task->wait = NULL;
    async__make_ready(task);
}

/* Gives way: the others run first. */
void async__yield(async_task *self);

int async__interrupted(async_task *self); /* notes and gives self->interrupt, with its message */
int async__checkpoint_slow(async_task *self);

/* The beginning of every blocking call: the code of a cancellation that is due, -EPERM outside a task, else 0, and now and then
 * a turn for the others. */
static inline int async__checkpoint(void)
{
    async_task *self = async__current;
#ifdef ASYNC_FAULTS
    if (self && async__fault(ASYNC__FAULT_AWAIT)) async_cancel(self, "fault");
#endif
    if (async__unlikely(!self || self->interrupt || --self->tasks->budget <= 0))
        return async__checkpoint_slow(self);
    return 0;
}

/* Enters a scope with no rules of its own yet. -EPERM outside a task. */
int async__scope_enter(async_scope *scope);
/* The coroutine has returned inside of scopes: forgets them. Gives the result that the task then has. */
int async__scopes_abandoned(async_task *task, int result);

/* Works out task->interrupt anew and, if the task is parked and has to know, interrupts its wait. */
void async__scope_changed(async_task *task);

/* At the end of the loop: frees the generators that nobody closed. */
void async__generators_free(struct async__tasks *tasks);

/* From when on, and until when, other threads may have the loop run a coroutine (thread.c). The end
 * answers those that still wait with -ECANCELED, and refuses all later ones. */
void async__requests_open(async_loop *loop);
void async__requests_end(async_loop *loop);

/* Who waits for what, a line a task; to be freed by free(). NULL: no memory. */
char *async__format_call_graph(async_loop *loop);

/* ---- waiting in a list (wait_list.c) ---- */

typedef struct async__waiter {
    async__wait wait;
    struct async__wait_list *list;
    struct async__waiter *next, *previous;
    void *item; /* what the waker may want to know or to fill in */
} async__waiter;

/* Joins the list and parks: 0 once woken by one of the functions below, else the code of a cancellation, out of
 * the list again. No checkpoint of its own. */
int async__wait_in(struct async__wait_list *list, const char *what, void *item);
/* Takes the first out and wakes it; NULL if there is none. It stays good until its task runs. */
static inline async__waiter *async__wake_first(struct async__wait_list *list)
{
    async__waiter *first = list->first;
    if (!first) return NULL;

    list->first = first->next;
    if (async__unlikely(first->next != NULL))
        first->next->previous = NULL;
    else
        list->last = NULL;
    async__unpark(&first->wait);
    return first;
}
void async__wake_all(struct async__wait_list *list);

/* ---- operations (src/io/op_await.c): starts it, parks until it is done, gives its result or a code ---- */

ssize_t async__op_await(async__op *op, const char *what);

#endif
