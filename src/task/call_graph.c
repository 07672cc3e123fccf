/* call_graph.c - what waits for what, as a tree: a task that another one awaits stands below it.
 *
 * Three passes over the tasks, however many: one marks those that are awaited, one prints the
 * others with what they await below them, and the last prints what has not been reached, since it
 * waits in a circle. */
#include "group.h"
#include "task.h"

#include <stdio.h>
#include <stdlib.h>

enum { DEPTH = 64 }; /* of indentation */
enum { UNSEEN, AWAITED, PRINTED };

static void print_state(FILE *out, const async_task *task)
{
    static const char *const states[] = {"ready", "running", "parked", "done", "released"};
    const async__wait *wait = task->wait;

    if (!wait)
        fprintf(out, "%s", states[task->state]);
    else if (wait->fd >= 0)
        fprintf(out, "waits: %s, descriptor %d", wait->what, wait->fd);
    else
        fprintf(out, "waits: %s", wait->what ? wait->what : "?");
    if (task->cancelled) fprintf(out, ", cancelled");
}

/* The task and what it awaits, and so on. */
static void print_chain(FILE *out, async_task *task)
{
    char label[128];

    for (int depth = 0; task; depth++) {
        int indent = 2 * (depth < DEPTH ? depth : DEPTH);
        fprintf(out, "%*s%s: ", indent, "", async__task_label(task, label, sizeof label));
        if (task->shown == PRINTED) {
            fprintf(out, "see above\n");
            return;
        }
        print_state(out, task);
        fputc('\n', out);
        task->shown = PRINTED;
        task = task->wait ? task->wait->awaited : NULL;
    }
}

static void print_all(FILE *out, struct async__tasks *tasks)
{
    for (async_task *task = tasks->first; task; task = task->next)
        task->shown = UNSEEN;
    for (async_task *task = tasks->first; task; task = task->next)
        if (task->wait && task->wait->awaited) task->wait->awaited->shown = AWAITED;
    for (async_task *task = tasks->first; task; task = task->next)
        if (task->shown == UNSEEN) print_chain(out, task);
    for (async_task *task = tasks->first; task; task = task->next)
        if (task->shown == AWAITED) print_chain(out, task);
}

char *async__format_call_graph(async_loop *loop)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out) return NULL;
    print_all(out, loop->client);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

char *async_format_call_graph(void)
{
    async_loop *loop = async__loop();
    return loop && loop->client ? async__format_call_graph(loop) : NULL;
}
