/* tasks: what waiting for several tasks, eager tasks and context variables cost, in ns. The limit is Go's figure for
 * what is nearest to it there (support/tasks.go, on one processor): see peer.h. */
#include "peer.h"

#include <casyncio.h>
#include <math.h>

enum { MANY = 1000000, ALIVE = 1000, TIMES = MANY / ALIVE };

static double since(double start, int count) { return (bench_cpu() - start) / count; }

static int nothing(void *unused) { return (void)unused, 0; }

/* ---- several at once: 1,000 tasks are made, run and waited for, over and over ---- */

static async_task *tasks[ALIVE];

static void make_tasks(void)
{
    for (int i = 0; i < ALIVE; i++)
        tasks[i] = async_create_task(nothing, NULL);
}

static double wait_for_all(void)
{
    double start = bench_cpu();
    for (int times = 0; times < TIMES; times++) {
        make_tasks();
        async_wait(tasks, ALIVE, INFINITY, ASYNC_ALL_COMPLETED);
        for (int i = 0; i < ALIVE; i++)
            async_await(tasks[i]);
    }
    return since(start, MANY);
}

static double as_completed(void)
{
    double start = bench_cpu();
    for (int times = 0; times < TIMES; times++) {
        make_tasks();
        async_for (async_task *, task, async_as_completed(tasks, ALIVE, INFINITY))
            async_await(task);
    }
    return since(start, MANY);
}

static double gather_all(void)
{
    static int codes[ALIVE];
    double start = bench_cpu();
    for (int times = 0; times < TIMES; times++) {
        make_tasks();
        async_gather_all(tasks, ALIVE, codes);
    }
    return since(start, MANY);
}

static double group(void)
{
    double start = bench_cpu();
    for (int times = 0; times < TIMES; times++)
        async_with_group (owner)
            for (int i = 0; i < ALIVE; i++)
                async_group_create_task(owner, nothing, NULL);
    return since(start, MANY);
}

/* ---- one at a time ---- */

static double eager(void)
{
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++)
        async_await(async_create_task_eager(nothing, NULL));
    return since(start, MANY);
}

static double one_after_another(void)
{
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++)
        async_await(async_create_task(nothing, NULL));
    return since(start, MANY);
}

/* ---- context variables, of which three are set ---- */

static async_context_var variables[3];
static int values[3];

/* In a task of its own, so that what it sets ends with it. */
static double in_a_task(async_coroutine measures)
{
    double each = 0;
    async_await(async_create_task(measures, &each));
    return each;
}

static void set_variables(void)
{
    for (int i = 0; i < 3; i++)
        async_context_var_set(&variables[i], &values[i], NULL);
}

static int gets(void *each)
{
    void *value;
    set_variables();
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++)
        async_context_var_get(&variables[0], &value);
    *(double *)each = since(start, MANY);
    return 0;
}

static int sets(void *each)
{
    async_context_token token;
    set_variables();
    double start = bench_cpu();
    for (int i = 0; i < MANY; i++) {
        async_context_var_set(&variables[0], &values[1], &token);
        async_context_var_reset(&token);
    }
    *(double *)each = since(start, MANY);
    return 0;
}

/* What a task costs that has them from the one that makes it. */
static int inherits(void *each)
{
    set_variables();
    *(double *)each = one_after_another();
    return 0;
}

static double variable_get(void) { return in_a_task(gets); }
static double variable_set(void) { return in_a_task(sets); }
static double variables_inherited(void) { return in_a_task(inherits); }

/* ---- the table ---- */

static struct peer_row rows[] = {
    {"wait for all of 1,000, a task", "ratio 1", wait_for_all, 0, 0},
    {"as completed, 1,000, a task", "ratio 1", as_completed, 0, 0},
    {"gather_all of 1,000, a task", "ratio 1", gather_all, 0, 0},
    {"group of 1,000, a task", "ratio 1", group, 0, 0},
    {"create + await, one at a time", "ratio 1", one_after_another, 0, 0},
    {"eager task that does not wait", "ratio 1", eager, 0, 0},
    {"context variable, get", "ratio 1", variable_get, 0, 0},
    {"context variable, set + reset", "ratio 1", variable_set, 0, 0},
    {"create + await, with context variables", "-", variables_inherited, 0, 0},
};

#define ROWS (sizeof rows / sizeof *rows)

static int main_task(void *unused)
{
    (void)unused;
    peer_measure(rows, ROWS);
    return 0;
}

int main(void)
{
    if (async_run(main_task, NULL) < 0) return 1;
    peer_ask_go(rows, ROWS, "tasks.go");
    peer_table(rows, ROWS);
    return 0;
}
