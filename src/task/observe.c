/* observe.c - what debug mode and ASYNC_MEASURE_STACKS do with tasks: handles stay recognisable after
 * their release, stacks are measured when they come back, and a task can be described in a signal
 * handler. A layer with neither has `watched` not set, and comes here for descriptions alone. */
#include "observe.h"

#include <stdlib.h>
#include <string.h>

/* ---- describing: no function of the C library is called, since it may be that which was interrupted ---- */

struct text {
    char *at, *end; /* the last byte is kept for the 0 */
};

static void add(struct text *text, const char *more)
{
    while (*more && text->at < text->end)
        *text->at++ = *more++;
    *text->at = 0;
}

static void add_number(struct text *text, uint64_t number)
{
    char digits[24], *digit = digits + sizeof digits - 1;

    *digit = 0;
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    add(text, digit);
}

static void add_task(struct text *text, const async_task *task)
{
    if (task->name) {
        add(text, task->name);
    } else {
        add(text, "Task-");
        add_number(text, task->number);
    }
    if (task->coroutine_name) {
        add(text, " (");
        add(text, task->coroutine_name);
        add(text, ")");
    }
}

static void add_place(struct text *text, const async_task *task)
{
    if (!task->where) return;
    add(text, ", made at ");
    add(text, task->where);
}

void async__describe_task(const async_task *task, char *buffer, size_t size)
{
    struct text text = {buffer, buffer + size - 1};
    *buffer = 0;
    add_task(&text, task);
    add_place(&text, task);
}

/* loop->describe. The links from a task to that which awaits it do not change while it runs. */
static void describe(const async_callback *step, bool chain, char *buffer, size_t size)
{
    const async_task *task = step ? async__container(step, async_task, step) : async__current;

    *buffer = 0;
    if (!task) return;
    async__describe_task(task, buffer, size);
    if (!chain || task->state != ASYNC__RUNNING) return;
    struct text text = {buffer + strlen(buffer), buffer + size - 1};
    for (int steps = 0; steps < 32 && (task = async__awaiter(task)); steps++) {
        add(&text, " <- ");
        add_task(&text, task);
    }
}

const char *async__describe_current(void)
{
    static __thread char label[96];
    struct text text = {label, label + sizeof label - 1};

    if (!async__current) return "the loop";
    add_task(&text, async__current);
    return label;
}

/* ---- handles that have been released ---- */

/* Until ASYNC__QUARANTINE others have been released after it a task's memory does not go back to the
 * pool, where another one might get it: so its handle is known to be stale. */
static void hold_back(struct async__tasks *tasks, async_task *task)
{
    async_task **place = &tasks->quarantine[tasks->released++ % ASYNC__QUARANTINE];

    if (*place) async__stack_put(tasks->stacks, async__task_top(*place));
    *place = task;
}

static void end_quarantine(struct async__tasks *tasks)
{
    for (int i = 0; tasks->quarantine && i < ASYNC__QUARANTINE; i++)
        if (tasks->quarantine[i])
            async__stack_put(tasks->stacks, async__task_top(tasks->quarantine[i]));
    async__free(tasks->quarantine);
}

/* ---- how deep stacks have been, by the place that makes the tasks ---- */

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0); /* a literal may be there more than once */
}

/* The entry for the task's place; NULL: no memory. There are few places, the last is often the next. */
static async_stack_depth *entry_for(struct async__depths *depths, const async_task *task)
{
    for (size_t i = depths->count; i-- > 0;) {
        async_stack_depth *entry = &depths->entries[i];
        if (same(entry->where, task->where) && same(entry->coroutine, task->coroutine_name))
            return entry;
    }
    if (depths->count == depths->capacity) {
        size_t capacity = depths->capacity ? 2 * depths->capacity : 16;
        void *entries = async__realloc(depths->entries, capacity * sizeof *depths->entries);
        if (!entries) return NULL;
        depths->entries = entries;
        depths->capacity = capacity;
    }
    async_stack_depth *entry = &depths->entries[depths->count++];
    *entry = (async_stack_depth){.coroutine = task->coroutine_name, .where = task->where};
    return entry;
}

static void measure(struct async__tasks *tasks, async_task *task)
{
    size_t depth = async__stack_depth(tasks->stacks, async__task_top(task), task);
    async_stack_depth *entry = entry_for(tasks->depths, task);

    if (!entry) return;
    entry->tasks++;
    if (depth > entry->deepest) entry->deepest = depth;
}

/* ---- the layer ---- */

/* loop->stepped. Of a task that has ended the memory is still there. */
static void stepped(async_callback *step, int64_t end, int64_t took)
{
    async_task *task = async__container(step, async_task, step);
    task->since = end;
    task->ran += took;
}

int async__observe_open(struct async__tasks *tasks)
{
    async_loop *loop = tasks->loop;

    loop->describe = describe;
    loop->views = &async__trace_views;
    loop->stepped = stepped;
    if (loop->debug)
        tasks->quarantine = async__alloc_zeroed(ASYNC__QUARANTINE * sizeof *tasks->quarantine);
    if (loop->measure & ASYNC_MEASURE_STACKS)
        tasks->depths = async__alloc_zeroed(sizeof *tasks->depths);
    tasks->watched = tasks->quarantine || tasks->depths;
    if (tasks->watched) tasks->special_births = true;
    if ((!loop->debug || tasks->quarantine) &&
        (!(loop->measure & ASYNC_MEASURE_STACKS) || tasks->depths))
        return 0;
    async__observe_close(tasks);
    return -ENOMEM;
}

void async__observe_close(struct async__tasks *tasks)
{
    tasks->loop->describe = NULL;
    tasks->loop->views = NULL;
    tasks->loop->stepped = NULL;
    end_quarantine(tasks);
    if (tasks->depths) async__free(tasks->depths->entries);
    async__free(tasks->depths);
}

bool async__observe_release(async_task *task)
{
    struct async__tasks *tasks = task->tasks;

    if (tasks->depths) measure(tasks, task);
    if (tasks->quarantine) hold_back(tasks, task);
    return !tasks->quarantine;
}
