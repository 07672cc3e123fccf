/* trace.c - what a trace of the loop tells of its tasks: see src/loop/trace.h. */
#include "../loop/trace.h"
#include "task.h"

static bool view_of(const async_loop *loop, const async_callback *step,
                    struct async__trace_view *view)
{
    static const unsigned char states[] = {
        [ASYNC__READY] = ASYNC__VIEW_READY,    [ASYNC__RUNNING] = ASYNC__VIEW_READY,
        [ASYNC__PARKED] = ASYNC__VIEW_PARKED,  [ASYNC__DONE] = ASYNC__VIEW_ENDED,
        [ASYNC__RELEASED] = ASYNC__VIEW_ENDED,
    };
    const struct async__tasks *tasks = loop->client;
    const async_task *task = step ? async__container(step, async_task, step) : async__current;

    *view = (struct async__trace_view){.newest = tasks->numbers, .fd = -1};
    if (step && !async__switch_is_step(step)) return false;
    if (!task || task->tasks != tasks) return false;
    view->number = task->number;
    view->step = &task->step;
    view->state = states[task->state];
    view->name = task->name;
    view->coroutine = task->coroutine_name;
    view->result = task->result;
    if (task->state != ASYNC__PARKED || !task->wait) return true;
    view->what = task->wait->what;
    view->fd = task->wait->fd;
    if (task->wait->awaited) view->awaited = task->wait->awaited->number;
    return true;
}

static size_t count(const async_loop *loop)
{
    const struct async__tasks *tasks = loop->client;
    return tasks->count;
}

static void list(const async_loop *loop, struct async__trace_task *tasks)
{
    const struct async__tasks *all = loop->client;

    for (const async_task *task = all->first; task; task = task->next) {
        bool parked = task->state == ASYNC__PARKED;
        *tasks++ = (struct async__trace_task){
            .number = task->number,
            .name = task->name,
            .coroutine = task->coroutine_name,
            .what = parked && task->wait ? task->wait->what : NULL,
            .parked = parked,
        };
    }
}

const struct async__trace_views async__trace_views = {view_of, count, list};
