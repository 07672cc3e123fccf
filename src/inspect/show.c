/* show.c - see show.h. */
#include "python.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const task_states[] = {"ready", "running", "parked"};

/* ---- parts of lines ---- */

void show_process(FILE *out, const struct snapshot *snapshot)
{
    const struct image *image = snapshot->image;

    fputs(image->title, out);
    if (snapshot->layout_count > 0) fprintf(out, ", casyncio %s", snapshot->layouts[0].library);
    if (image->stopped > 0) fprintf(out, ", stopped for %.1f ms", image->stopped);
    if (snapshot->loop_count == 0) fputs(": it has no loop", out);
    if (snapshot->problem) fprintf(out, "; of another part: %s", snapshot->problem);
    fputc('\n', out);
}

static const char *doing(const struct loop *loop)
{
    if (!loop->running) return "does not run";
    if (loop->sleeping) return "sleeps";
    for (size_t i = 0; i < loop->task_count; i++)
        if (loop->tasks[i].state == ASYNC__RUNNING) return "runs a task";
    return "runs a callback, or looks outside";
}

void show_loop(FILE *out, const struct snapshot *snapshot, size_t index)
{
    const struct loop *loop = &snapshot->loops[index];

    fprintf(out, "loop %zu of %zu: %s; ", index + 1, snapshot->loop_count, doing(loop));
    if (loop->has_tasks)
        fprintf(out, "%zu tasks, ", loop->task_count);
    else if (loop->client)
        fputs("tasks that this program does not know, ", out);
    else
        fputs("no tasks of C, ", out);
    fprintf(out,
            "%" PRIu32 " timers, %" PRIu64 " watches, %" PRIu64 " jobs in threads, %" PRIu64
            " callbacks run%s",
            loop->timers, loop->watches, loop->jobs, loop->callbacks,
            loop->virtual_clock ? ", virtual clock" : "");
    if (loop->incomplete)
        fputs("; the tasks changed too fast to be read all (--stop holds the process)", out);
    fputc('\n', out);
}

void show_wait(FILE *out, const struct loop *loop, size_t index)
{
    const struct task *task = &loop->tasks[index];
    const struct async__node *node = &loop->nodes[index];

    fputs(task->what ? task->what : "-", out);
    if (task->fd >= 0) fprintf(out, ", descriptor %d", task->fd);
    if (task->left != INT64_MIN) fprintf(out, ", %.1f s left", (double)task->left * 1e-9);
    if (task->list && task->what && strcmp(task->what, "sleep") != 0)
        fprintf(out, " %#" PRIx64, task->list);
    if (node->holder == ASYNC__NO_NODE) return;
    fputs(", held by ", out);
    async__print_label(out, &loop->nodes[node->holder]);
}

void show_frame(FILE *out, const struct place_in_code *frame)
{
    const char *slash = frame->file ? strrchr(frame->file, '/') : NULL;

    if (frame->function) /* without what the compiler adds: ".constprop.0" */
        fprintf(out, "%.*s", (int)strcspn(frame->function, "."), frame->function);
    else
        fprintf(out, "%#" PRIx64, frame->pc);
    if (frame->file) {
        fprintf(out, " (%s:%d)", slash ? slash + 1 : frame->file, frame->line);
    } else if (frame->module) {
        slash = strrchr(frame->module, '/');
        fprintf(out, " (%s+%#" PRIx64 ")", slash ? slash + 1 : frame->module, frame->offset);
    }
}

/* ---- rows ---- */

char *label_of(const struct loop *loop, size_t index)
{
    if (index == ASYNC__NO_NODE) return text_of("-");
    const struct async__node *node = &loop->nodes[index];
    return node->name ? text_of("%s", node->name) : text_of("Task-%" PRIu64, node->number);
}

/* Of time that is counted where steps are timed, in seconds. */
static void print_time(FILE *out, int64_t time, bool counted)
{
    if (counted)
        fprintf(out, " %9.3f", (double)time * 1e-9);
    else
        fprintf(out, " %9s", "-");
}

uint64_t task_depth(const struct task *task)
{
    return task->state != ASYNC__RUNNING && task->sp >= task->base && task->sp < task->top
               ? task->top - task->sp
               : 0;
}

static void show_row(FILE *out, const struct loop *loop, size_t index)
{
    const struct task *task = &loop->tasks[index];
    char *name = label_of(loop, index), *awaiter = label_of(loop, loop->nodes[index].parent);
    bool waits = task->state == ASYNC__PARKED && task->since && !loop->virtual_clock;

    fprintf(out, "%7" PRIu64 " %-16s %-20s %-8s", task->number, name,
            task->coroutine_name ? task->coroutine_name : "-",
            task->moved ? "moves" : task_states[task->state]);
    print_time(out, (int64_t)((uint64_t)loop->clock - (uint64_t)task->since), waits);
    print_time(out, task->ran, loop->timed);
    if (task_depth(task))
        fprintf(out, " %6" PRIu64, task_depth(task));
    else
        fprintf(out, " %6s", "-");
    if (task->group)
        fprintf(out, " %14" PRIx64, task->group);
    else
        fprintf(out, " %14s", "-");
    fprintf(out, " %-16s ", awaiter);
    show_wait(out, loop, index);
    fputs(task->cancelled ? ", cancelled\n" : "\n", out);
    free(name);
    free(awaiter);
}

void show_rows(FILE *out, const struct snapshot *snapshot, const struct options *options)
{
    (void)options;
    for (size_t i = 0; i < snapshot->loop_count; i++) {
        const struct loop *loop = &snapshot->loops[i];
        show_loop(out, snapshot, i);
        if (loop->task_count == 0) continue;
        fprintf(out, "%7s %-16s %-20s %-8s %9s %9s %6s %14s %-16s %s\n", "ID", "NAME", "COROUTINE",
                "STATE", "SINCE", "CPU", "STACK", "GROUP", "AWAITED BY", "WAITS FOR");
        for (size_t k = 0; k < loop->task_count; k++)
            show_row(out, loop, k);
    }
    if (is_python(snapshot)) show_python(out, snapshot, "ps", false);
}

/* ---- the tree ---- */

struct tree {
    const struct loop *loop;
    struct unwinder *unwinder;
    bool internal;
};

void show_frames(FILE *out, struct unwinder *unwinder, const struct loop *loop, size_t index,
                 int indent, bool internal)
{
    const struct task *task = &loop->tasks[index];
    const struct place_in_code *frames[FRAMES];
    bool cut;
    size_t count = task_frames(unwinder, loop, task, internal, frames, &cut);

    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%*sat ", indent, "");
        show_frame(out, frames[i]);
        fputc('\n', out);
    }
    if (count == 0 && task->state == ASYNC__RUNNING)
        fprintf(out, "%*sat what cannot be told while it runs (--stop tells)\n", indent, "");
    else if (count == 0)
        fprintf(out, "%*sat another place by now\n", indent, "");
    else if (cut)
        fprintf(out, "%*sat ...\n", indent, "");
}

static void show_node_frames(FILE *out, size_t index, int indent, void *data)
{
    const struct tree *tree = data;
    show_frames(out, tree->unwinder, tree->loop, index, indent, tree->internal);
}

void show_tree(FILE *out, const struct snapshot *snapshot, const struct options *options)
{
    struct unwinder *unwinder = options->frames ? unwinder_new(snapshot) : NULL;

    for (size_t i = 0; i < snapshot->loop_count; i++) {
        struct loop *loop = &snapshot->loops[i];
        struct tree tree = {loop, unwinder, options->internal};
        show_loop(out, snapshot, i);
        async__print_tree(out, loop->nodes, loop->task_count, unwinder ? show_node_frames : NULL,
                          &tree);
    }
    if (is_python(snapshot)) show_python(out, snapshot, "pstree", options->frames);
    unwinder_free(unwinder);
}
