/* metrics.c - async_loop_metrics. Nothing is counted here: the loop's counters are those that it needs
 * anyway, and the rest is what there is at the time of asking. */
#include "../loop/trace.h"
#include "observe.h"

#include <stdlib.h>
#include <string.h>

static double seconds(int64_t ns) { return (double)ns * 1e-9; }

static void of_the_loop(const async_loop *loop, async_metrics *metrics)
{
    const struct async__stats *stats = &loop->stats;
    int64_t ran = stats->ran + (stats->run_since ? async__clock() - stats->run_since : 0);

    metrics->looks = stats->looks;
    metrics->sleeps = (stats->sleeps + 1) / 2;
    metrics->callbacks = async__callbacks_run(loop);
    if (loop->measure & ASYNC_MEASURE_SLEEPS) {
        metrics->asleep = seconds(stats->asleep);
        metrics->busy = seconds(ran - stats->asleep);
    }
    metrics->longest_step = seconds(stats->longest_step);
    metrics->timer_lag = seconds(stats->timer_lag);
    metrics->timers = loop->timers.length - loop->timers.cancelled;
    for (const async_callback *each = loop->ready.next; each != &loop->ready; each = each->next)
        metrics->ready += each != &loop->turn_mark && !(loop->trace && each == &loop->trace->mark);
    metrics->watches = loop->watches;
    for (int fd = 0; fd < loop->fds_length; fd++)
        metrics->descriptors += loop->fds[fd].registered && fd != loop->wake_fd;
}

static void of_tasks(const struct async__tasks *tasks, async_metrics *metrics)
{
    if (!tasks) return;
    metrics->tasks_made = tasks->numbers;
    metrics->tasks = tasks->count;
    metrics->stacks_used = async__stack_pool_used(tasks->stacks);
    metrics->stacks_pooled = async__stack_pool_total(tasks->stacks) - metrics->stacks_used;
}

int async__loop_metrics(async_loop *loop, async_metrics *metrics, size_t size)
{
    async_metrics all = {0};

    if (!loop || !metrics) return -EBADF;
    of_the_loop(loop, &all);
    of_tasks(loop->client, &all);
    async__pool_metrics(loop->executor, &all);
    async__pool_metrics(loop->resolver, &all);
    memset(metrics, 0, size); /* of a later library's caller: what this one does not know is 0 */
    memcpy(metrics, &all, size < sizeof all ? size : sizeof all);
    return 0;
}

static int deepest_first(const void *a, const void *b)
{
    const async_stack_depth *one = a, *other = b;
    return one->deepest < other->deepest ? 1 : one->deepest > other->deepest ? -1 : 0;
}

size_t async_loop_stack_depths(async_loop *loop, async_stack_depth *list, size_t capacity)
{
    struct async__tasks *tasks = loop ? loop->client : NULL;
    struct async__depths *depths = tasks ? tasks->depths : NULL;
    if (!depths || depths->count == 0) return 0;

    qsort(depths->entries, depths->count, sizeof *depths->entries, deepest_first);
    for (size_t i = 0; i < depths->count && i < capacity; i++) {
        list[i] = depths->entries[i];
        if (!list[i].coroutine) list[i].coroutine = "";
        if (!list[i].where) list[i].where = "";
        list[i].size = tasks->stacks->usable;
    }
    return depths->count;
}
