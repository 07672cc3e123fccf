/* call_graph.c - what waits for what, as a tree (tree.h), from inside.
 *
 * A node for each task, in the order in which they were made. A task's number leads to its node: the
 * numbers ascend, so that it is found by halves. */
#include "task.h"

#include <casyncio/sync.h>
#include <stdlib.h>
#include <string.h>

static size_t node_of(const async__node *nodes, size_t count, const async_task *task)
{
    size_t low = 0, high = count;

    if (!task) return ASYNC__NO_NODE;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (nodes[middle].number < task->number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && nodes[low].number == task->number ? low : ASYNC__NO_NODE;
}

static const async_task *holder_of(const async__wait *wait)
{
    if (!wait || !wait->what || (uintptr_t)wait->interrupt != async__mark_list.function ||
        strcmp(wait->what, "lock") != 0)
        return NULL;
    const struct async__wait_list *list =
        *(struct async__wait_list *const *)((const char *)wait + async__mark_list.offset);
    return async__container(list, async_lock, waiters)->owner;
}

/* A task that is awaited and done is none of these: what waits for it is about to be woken. */
static void fill_in(async__node *nodes, size_t count, const struct async__tasks *tasks)
{
    async__node *node = nodes;

    for (const async_task *task = tasks->first; task; task = task->next, node++)
        *node = (async__node){
            .name = task->name,
            .coroutine = task->coroutine_name,
            .number = task->number,
            .what = task->wait ? (task->wait->what ? task->wait->what : "?") : NULL,
            .fd = task->wait ? task->wait->fd : -1,
            .state = task->state,
            .cancelled = task->cancelled,
        };
    node = nodes;
    for (const async_task *task = tasks->first; task; task = task->next, node++) {
        const async_task *awaiter = async__awaiter(task);
        if (!awaiter) awaiter = async__marked(task, &async__mark_wait);
        node->parent = node_of(nodes, count, awaiter);
        node->holder = node_of(nodes, count, holder_of(task->wait));
    }
    node = nodes;
    for (const async_task *task = tasks->first; task; task = task->next, node++) {
        size_t awaited = node_of(nodes, count, task->wait ? task->wait->awaited : NULL);
        if (awaited != ASYNC__NO_NODE) nodes[awaited].parent = (size_t)(node - nodes);
    }
}

static async__node *nodes_of(const struct async__tasks *tasks)
{
    return calloc(tasks->count + 1, sizeof(async__node));
}

char *async__format_call_graph(async_loop *loop)
{
    const struct async__tasks *tasks = loop->client;
    char *text = NULL;
    size_t size;
    async__node *nodes = nodes_of(tasks);
    FILE *out = nodes ? open_memstream(&text, &size) : NULL;

    if (out) {
        fill_in(nodes, tasks->count, tasks);
        async__print_tree(out, nodes, tasks->count, NULL, NULL);
    }
    free(nodes);
    if (!out) return NULL;
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

char *async_format_call_graph(void)
{
    async_loop *loop = async__loop();
    return loop && loop->client ? async__format_call_graph(loop) : NULL;
}

/* ---- as data ---- */

enum { UNNAMED = 32 }; /* bytes for "Task-<number>" */

static size_t size_of_name(const async__node *node)
{
    return node->name ? strlen(node->name) + 1 : UNNAMED;
}

/* Copies the name to `text`: the end of the copy. What else there is are literals of the program's. */
static char *copy_name(char *text, const async__node *node)
{
    if (node->name)
        memcpy(text, node->name, size_of_name(node));
    else
        snprintf(text, UNNAMED, "Task-%llu", (unsigned long long)node->number);
    return text + size_of_name(node);
}

static ptrdiff_t index_of(size_t node) { return node == ASYNC__NO_NODE ? -1 : (ptrdiff_t)node; }

/* The entries, and the names behind them; NULL: no memory. */
static async_call_graph_entry *entries_of(const async__node *nodes, size_t count)
{
    size_t size = (count + 1) * sizeof(async_call_graph_entry);

    for (size_t i = 0; i < count; i++)
        size += size_of_name(&nodes[i]);
    async_call_graph_entry *entries = malloc(size);
    if (!entries) return NULL;
    char *text = (char *)(entries + count + 1);
    for (size_t i = 0; i < count; i++) {
        entries[i] = (async_call_graph_entry){
            .name = text,
            .coroutine = nodes[i].coroutine ? nodes[i].coroutine : "",
            .waits_for = nodes[i].what,
            .fd = nodes[i].fd,
            .cancelled = nodes[i].cancelled,
            .awaited_by = index_of(nodes[i].parent),
            .held_by = index_of(nodes[i].holder),
        };
        text = copy_name(text, &nodes[i]);
    }
    return entries;
}

ssize_t async_capture_call_graph(async_call_graph_entry **entries)
{
    async_loop *loop = async__loop();
    const struct async__tasks *tasks = loop ? loop->client : NULL;

    if (!entries) return async__null("place for the entries");
    *entries = NULL;
    if (!tasks) return async__no_task();
    size_t count = tasks->count;
    async__node *nodes = nodes_of(tasks);
    if (nodes) {
        fill_in(nodes, count, tasks);
        *entries = entries_of(nodes, count);
    }
    free(nodes);
    return *entries ? (ssize_t)count : async__failf(-ENOMEM, "async_capture_call_graph: no memory");
}
