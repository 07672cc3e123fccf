/* call_graph.c - who waits for what, as a tree: a task that another one awaits stands below it. */
#include "group.h"
#include "task.h"

#include <stdio.h>
#include <stdlib.h>

static const async_task *awaited_by(const struct async__tasks *tasks, const async_task *task)
{
    for (const async_task *other = tasks->first; other; other = other->next)
        if (other->wait && other->wait->awaited == task) return other;
    return NULL;
}

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

static void print_task(FILE *out, const async_task *task, int depth)
{
    char label[128];

    for (; task && depth < 64; depth++) {
        fprintf(out, "%*s%s: ", depth * 2, "", async__task_label(task, label, sizeof label));
        print_state(out, task);
        fputc('\n', out);
        task = task->wait ? task->wait->awaited : NULL;
    }
}

char *async__format_call_graph(async_loop *loop)
{
    const struct async__tasks *tasks = loop->client;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out) return NULL;
    for (const async_task *task = tasks->first; task; task = task->next)
        if (!awaited_by(tasks, task)) print_task(out, task, 0);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

char *async_format_call_graph(void)
{
    async_loop *loop = async__loop();
    return loop && loop->client ? async__format_call_graph(loop) : NULL;
}
