/* top_view.c - what casyncio top shows of a picture: some lines about the process and its loops, and the
 * tasks, of which a filter chooses and an order decides. */
#include "top.h"

#include "terminal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the rows: which, and in what order ---- */

struct row {
    size_t loop, index;
    const struct task *task;
    char *name;
    double waits;  /* seconds; less than 0: it does not */
    double share;  /* of the interval that it ran; less than 0: not counted */
    bool at_least; /* waits: how long it was seen there, since times are not counted */
};

static enum sort order;
static bool reversed;

bool top_sort_named(const char *name, enum sort *sort)
{
    static const char *const names[] = {
        [SORT_WAIT] = "wait", [SORT_CPU] = "cpu",   [SORT_TOTAL] = "total",
        [SORT_ID] = "id",     [SORT_NAME] = "name", [SORT_STACK] = "stack"};

    for (size_t i = SORT_WAIT; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) {
            *sort = (enum sort)i;
            return true;
        }
    return false;
}

static int compare_numbers(double left, double right) { return left < right ? -1 : left > right; }

/* The largest first, and names and numbers from the first on; what is equal as it was made. */
static int compare_rows(const void *a, const void *b)
{
    const struct row *left = a, *right = b;
    int result = 0;

    switch (order) {
    case SORT_CPU: result = compare_numbers(right->share, left->share); break;
    case SORT_TOTAL:
        result = compare_numbers((double)right->task->ran, (double)left->task->ran);
        break;
    case SORT_NAME: result = strcmp(left->name, right->name); break;
    case SORT_STACK:
        result = compare_numbers((double)task_depth(right->task), (double)task_depth(left->task));
        break;
    case SORT_ID: break;
    default: break;
    }
    if (result == 0 && (order == SORT_CPU || order == SORT_WAIT))
        result = compare_numbers(right->waits, left->waits);
    if (result == 0) result = left->loop < right->loop ? -1 : left->loop > right->loop;
    if (result == 0)
        result = compare_numbers((double)left->task->number, (double)right->task->number);
    return reversed ? -result : result;
}

static bool has(const char *text, const char *filter) { return text && strcasestr(text, filter); }

static struct row row_of(const struct top *top, size_t loop_index, size_t index)
{
    const struct loop *loop = &top->snapshot->loops[loop_index];
    const struct task *task = &loop->tasks[index];
    const struct seen *seen = &top->loops[loop_index].seen[index];
    struct row row = {loop_index, index, task, label_of(loop, index), -1, seen->share, false};

    if (task->state != ASYNC__PARKED || task->moved) return row;
    row.at_least = !task->since || loop->virtual_clock;
    row.waits = row.at_least ? (double)(top->taken - seen->since) * 1e-9
                             : (double)(loop->clock - task->since) * 1e-9;
    return row;
}

static bool any_timed(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->loop_count; i++)
        if (snapshot->loops[i].timed) return true;
    return false;
}

static struct row *make_rows(const struct top *top, size_t *count)
{
    const char *filter = top->options->filter;
    size_t all = 0;

    for (size_t i = 0; i < top->loop_count; i++)
        all += top->snapshot->loops[i].task_count;
    struct row *rows = must(malloc((all + 1) * sizeof *rows));
    *count = 0;
    for (size_t i = 0; i < top->loop_count; i++) {
        for (size_t k = 0; k < top->snapshot->loops[i].task_count; k++) {
            struct row row = row_of(top, i, k);
            if (!*filter || has(row.name, filter) || has(row.task->coroutine_name, filter) ||
                has(row.task->what, filter))
                rows[(*count)++] = row;
            else
                free(row.name);
        }
    }
    order = top->options->sort;
    if (order == SORT_BEST) order = any_timed(top->snapshot) ? SORT_CPU : SORT_WAIT;
    reversed = top->options->reverse;
    qsort(rows, *count, sizeof *rows, compare_rows);
    return rows;
}

static void free_rows(struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(rows[i].name);
    free(rows);
}

/* ---- lines about the process ---- */

static void print_rate(FILE *out, double rate, const char *what)
{
    if (rate < 0)
        fprintf(out, "- %s/s", what);
    else
        fprintf(out, "%.0f %s/s", rate, what);
}

static void print_ms(FILE *out, double seconds)
{
    if (seconds < 0)
        fputs("-", out);
    else if (seconds < 10)
        fprintf(out, "%.1f ms", seconds * 1e3);
    else
        fprintf(out, "%.1f s", seconds);
}

static size_t count_state(const struct loop *loop, unsigned char state)
{
    size_t count = 0;

    for (size_t i = 0; i < loop->task_count; i++)
        count += loop->tasks[i].state == state;
    return count;
}

/* Seconds that one callback has kept the loop for, as far as was seen. */
static double blocked(const struct top *top, size_t index)
{
    const struct top_loop *now = &top->loops[index];
    return now->since ? (double)(top->taken - now->since) * 1e-9 : 0;
}

static void show_doing(FILE *out, const struct top *top, size_t index)
{
    const struct loop *loop = &top->snapshot->loops[index];
    const struct top_loop *now = &top->loops[index];

    fprintf(out, "loop %zu of %zu: ", index + 1, top->loop_count);
    if (!loop->running) {
        fputs("does not run\n", out);
        return;
    }
    if (now->busy_share >= 0) fprintf(out, "%.0f %% busy, ", now->busy_share * 100);
    print_rate(out, now->callbacks_rate, "callbacks");
    fputs(", ", out);
    print_rate(out, now->polls_rate, "looks outside");
    fputs("; longest step ", out);
    print_ms(out, now->longest_step);
    fputs(", timer lag at most ", out);
    print_ms(out, (double)loop->timer_lag * 1e-9);
    fputc('\n', out);
    if (blocked(top, index) < 0.1) return;
    fprintf(out, "  BLOCKED for %.1f s by ", blocked(top, index));
    for (size_t i = 0; i < loop->task_count; i++)
        if (loop->tasks[i].state == ASYNC__RUNNING) {
            async__print_label(out, &loop->nodes[i]);
            fputc('\n', out);
            return;
        }
    fputs("a callback\n", out);
}

static void show_counts(FILE *out, const struct top *top, size_t index)
{
    const struct loop *loop = &top->snapshot->loops[index];
    const struct top_loop *now = &top->loops[index];
    const struct pool_counts *pools = &loop->pools;

    if (loop->has_tasks) {
        fprintf(out, "  %zu tasks: %zu ready, %zu run, %zu parked; ", loop->task_count,
                count_state(loop, ASYNC__READY), count_state(loop, ASYNC__RUNNING),
                count_state(loop, ASYNC__PARKED));
        print_rate(out, now->made_rate, "made");
        fprintf(out, "; stacks: %" PRIu64 " used, %" PRIu64 " spare\n", loop->stacks_used,
                loop->stacks_pooled);
    }
    fprintf(out,
            "  %" PRIu32 " timers, %" PRIu64 " watches, %" PRIu64 " descriptors of the kernel's; ",
            loop->timers, loop->watches, loop->descriptors);
    fprintf(out, "threads: %" PRIu64 " of %" PRIu64 " work, %" PRIu64 " jobs wait, ",
            pools->working, pools->threads, pools->queued);
    print_rate(out, now->begun_rate, "jobs");
    if (now->job_wait >= 0) {
        fputs(", each waited ", out);
        print_ms(out, now->job_wait);
    }
    if (loop->incomplete) fputs("; the tasks changed too fast to be read all", out);
    fputc('\n', out);
}

static void show_head(FILE *out, const struct top *top)
{
    char now[16];
    time_t seconds = time(NULL);

    strftime(now, sizeof now, "%H:%M:%S", localtime(&seconds));
    fprintf(out, "%s: %s", now, top->snapshot->image->title);
    if (top->snapshot->layout_count > 0)
        fprintf(out, ", casyncio %s", top->snapshot->layouts[0].library);
    if (top->descriptors_open)
        fprintf(out, "; %" PRIu64 " of %" PRIu64 " descriptors open", top->descriptors_open,
                top->descriptors_limit);
    if (top->loop_count == 0) fputs(": it has no loop", out);
    if (top->snapshot->problem) fprintf(out, "; of another part: %s", top->snapshot->problem);
    fputc('\n', out);
    for (size_t i = 0; i < top->loop_count; i++) {
        show_doing(out, top, i);
        show_counts(out, top, i);
    }
}

/* ---- the table ---- */

/* Of another process's text, as it comes out: filled up to the width, and one blank. */
static void column(FILE *out, const char *text, int width)
{
    write_columns(out, text ? text : "-", strlen(text ? text : "-"), width, width);
    fputc(' ', out);
}

static void show_row(FILE *out, const struct top *top, const struct row *row, bool narrow)
{
    const struct loop *loop = &top->snapshot->loops[row->loop];

    if (top->loop_count > 1) fprintf(out, "%4zu ", row->loop + 1);
    fprintf(out, "%7" PRIu64 " ", row->task->number);
    column(out, row->name, narrow ? 12 : 18);
    if (!narrow) column(out, row->task->coroutine_name, 18);
    column(out, row->task->moved ? "moves" : task_states[row->task->state], 7);
    if (any_timed(top->snapshot)) {
        if (row->share >= 0)
            fprintf(out, "%5.1f ", row->share * 100);
        else
            fprintf(out, "%5s ", "-");
        fprintf(out, "%8.3f ", (double)row->task->ran * 1e-9);
    }
    if (row->waits >= 0)
        fprintf(out, "%9.1f%c ", row->waits, row->at_least ? '+' : ' ');
    else
        fprintf(out, "%9s  ", "-");
    if (!narrow) fprintf(out, "%6" PRIu64 " ", task_depth(row->task));
    show_wait(out, loop, row->index);
    fputc('\n', out);
}

static void show_titles(FILE *out, const struct top *top, bool narrow)
{
    if (top->loop_count > 1) fprintf(out, "%4s ", "LOOP");
    fprintf(out, "%7s %-*s ", "ID", narrow ? 12 : 18, "NAME");
    if (!narrow) fprintf(out, "%-18s ", "COROUTINE");
    fprintf(out, "%-7s ", "STATE");
    if (any_timed(top->snapshot)) fprintf(out, "%5s %8s ", "CPU %", "CPU s");
    fprintf(out, "%9s  ", "WAITS s");
    if (!narrow) fprintf(out, "%6s ", "STACK");
    fputs("FOR\n", out);
}

size_t top_show(FILE *out, const struct top *top, int columns, unsigned rows, size_t *offset)
{
    bool narrow = columns > 0 && columns < 90;
    size_t count;
    struct row *all = make_rows(top, &count);

    show_head(out, top);
    if (!any_timed(top->snapshot))
        fputs("CPU time of tasks is not counted here (CASYNCIO_DEBUG=1 or ASYNC_MEASURE_STEPS: it "
              "is); "
              "12.0+: seen there so long\n",
              out);
    fputc('\n', out);
    show_titles(out, top, narrow);
    if (*offset > count || count - *offset < rows) *offset = count > rows ? count - rows : 0;
    for (size_t i = *offset; i < count && i < *offset + rows; i++)
        show_row(out, top, &all[i], narrow);
    if (columns == 0 && count > rows) fprintf(out, "(%zu more)\n", count - rows);
    free_rows(all, count);
    return count;
}

/* ---- JSON ---- */

static void number(FILE *out, const char *name, double value)
{
    if (value < 0)
        fprintf(out, ", \"%s\": null", name);
    else
        fprintf(out, ", \"%s\": %.9g", name, value);
}

static void count_of(FILE *out, const char *name, uint64_t value)
{
    fprintf(out, ", \"%s\": %" PRIu64, name, value);
}

static void json_loop(FILE *out, const struct top *top, size_t index)
{
    const struct loop *loop = &top->snapshot->loops[index];
    const struct top_loop *now = &top->loops[index];

    fprintf(out, "{\"address\": \"%#" PRIx64 "\", \"running\": %s, \"timed\": %s", loop->address,
            loop->running ? "true" : "false", loop->timed ? "true" : "false");
    number(out, "busy", now->busy_share);
    number(out, "blocked", blocked(top, index));
    number(out, "longest_step", now->longest_step);
    number(out, "timer_lag", (double)loop->timer_lag * 1e-9);
    number(out, "callbacks_per_second", now->callbacks_rate);
    number(out, "looks_per_second", now->polls_rate);
    number(out, "tasks_made_per_second", now->made_rate);
    number(out, "jobs_per_second", now->begun_rate);
    number(out, "job_wait", now->job_wait);
    count_of(out, "callbacks", loop->callbacks);
    count_of(out, "tasks", loop->task_count);
    count_of(out, "ready", count_state(loop, ASYNC__READY));
    count_of(out, "parked", count_state(loop, ASYNC__PARKED));
    count_of(out, "tasks_made", loop->tasks_made);
    count_of(out, "timers", loop->timers);
    count_of(out, "watches", loop->watches);
    count_of(out, "descriptors", loop->descriptors);
    count_of(out, "threads", loop->pools.threads);
    count_of(out, "threads_most", loop->pools.max_threads);
    count_of(out, "jobs_running", loop->pools.working);
    count_of(out, "jobs_queued", loop->pools.queued);
    count_of(out, "jobs_begun", loop->pools.begun);
    number(out, "jobs_waited", (double)loop->pools.waited * 1e-9);
    number(out, "jobs_waited_most", (double)loop->pools.waited_most * 1e-9);
    count_of(out, "stacks_used", loop->stacks_used);
    count_of(out, "stacks_pooled", loop->stacks_pooled);
    fputc('}', out);
}

static void json_row(FILE *out, const struct top *top, const struct row *row)
{
    const struct loop *loop = &top->snapshot->loops[row->loop];

    fprintf(out, "{\"loop\": %zu, \"id\": %" PRIu64, row->loop + 1, row->task->number);
    json_member(out, "name", row->name);
    json_member(out, "coroutine", row->task->coroutine_name);
    json_member(out, "state", task_states[row->task->state]);
    number(out, "cpu_share", row->share);
    number(out, "cpu", loop->timed ? (double)row->task->ran * 1e-9 : -1);
    number(out, "waits", row->waits);
    fprintf(out, ", \"waits_at_least\": %s", row->at_least ? "true" : "false");
    count_of(out, "stack", task_depth(row->task));
    json_member(out, "waits_for", row->task->what);
    if (row->task->fd >= 0) fprintf(out, ", \"descriptor\": %d", row->task->fd);
    fputc('}', out);
}

/* One line. */
void top_show_json(FILE *out, const struct top *top)
{
    size_t count, most = top->options->rows ? top->options->rows : SIZE_MAX;
    struct row *rows = make_rows(top, &count);

    fprintf(out, "{\"pid\": %d", top->pid);
    json_member(out, "process", top->snapshot->image->title);
    number(out, "interval", top->interval);
    fprintf(out, ", \"time\": %lld", (long long)time(NULL));
    count_of(out, "descriptors_open", top->descriptors_open);
    count_of(out, "descriptors_limit", top->descriptors_limit);
    fputs(", \"loops\": [", out);
    for (size_t i = 0; i < top->loop_count; i++) {
        if (i > 0) fputs(", ", out);
        json_loop(out, top, i);
    }
    fputs("]", out);
    count_of(out, "tasks_chosen", count);
    fputs(", \"tasks\": [", out);
    for (size_t i = 0; i < count && i < most; i++) {
        if (i > 0) fputs(", ", out);
        json_row(out, top, &rows[i]);
    }
    fputs("]}\n", out);
    free_rows(rows, count);
}
