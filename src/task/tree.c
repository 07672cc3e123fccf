/* tree.c - see tree.h. Chains of tasks may be as long as there are tasks, so nothing here recurs. */
#include "tree.h"

enum { DEPTH = 64 }; /* of indentation */

void async__print_label(FILE *out, const async__node *node)
{
    if (node->name)
        fputs(node->name, out);
    else
        fprintf(out, "Task-%llu", (unsigned long long)node->number);
    if (node->coroutine) fprintf(out, " (%s)", node->coroutine);
}

void async__print_state(FILE *out, const async__node *nodes, size_t index)
{
    static const char *const states[] = {"ready", "running", "parked", "done", "released"};
    const async__node *node = &nodes[index];

    if (!node->what)
        fputs(node->state <= ASYNC__RELEASED ? states[node->state] : "?", out);
    else
        fprintf(out, "waits: %s", node->what);
    if (node->what && node->fd >= 0) fprintf(out, ", descriptor %d", node->fd);
    if (node->holder != ASYNC__NO_NODE) {
        fputs(", held by ", out);
        async__print_label(out, &nodes[node->holder]);
    }
    if (node->cancelled) fputs(", cancelled", out);
}

/* Children in the order of the nodes, which is that in which the tasks were made. */
static void link_children(async__node *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        nodes[i].child = nodes[i].last_child = nodes[i].sibling = ASYNC__NO_NODE;
        nodes[i].printed = false;
    }
    for (size_t i = 0; i < count; i++) {
        if (nodes[i].parent == ASYNC__NO_NODE) continue;
        async__node *parent = &nodes[nodes[i].parent];
        if (parent->child == ASYNC__NO_NODE)
            parent->child = i;
        else
            nodes[parent->last_child].sibling = i;
        parent->last_child = i;
    }
}

struct printer {
    FILE *out;
    async__node *nodes;
    void (*more)(FILE *out, size_t index, int indent, void *data);
    void *data;
};

/* False: it has been printed before, since the tasks wait in a circle. */
static bool print_node(const struct printer *printer, size_t index, size_t depth)
{
    async__node *node = &printer->nodes[index];
    int indent = 2 * (int)(depth < DEPTH ? depth : DEPTH);
    bool again = node->printed;

    fprintf(printer->out, "%*s", indent, "");
    async__print_label(printer->out, node);
    fputs(": ", printer->out);
    if (again)
        fputs("see above", printer->out);
    else
        async__print_state(printer->out, printer->nodes, index);
    fputc('\n', printer->out);
    if (!again && printer->more) printer->more(printer->out, index, indent + 2, printer->data);
    node->printed = true;
    return !again;
}

static void print_below(const struct printer *printer, size_t root)
{
    const async__node *nodes = printer->nodes;
    size_t at = root, depth = 0;
    bool down = print_node(printer, at, depth);

    for (;;) {
        if (down && nodes[at].child != ASYNC__NO_NODE) {
            at = nodes[at].child;
            depth++;
        } else {
            while (at != root && nodes[at].sibling == ASYNC__NO_NODE) {
                at = nodes[at].parent;
                depth--;
            }
            if (at == root) return;
            at = nodes[at].sibling;
        }
        down = print_node(printer, at, depth);
        if (at == root) return; /* the circle is closed */
    }
}

void async__print_tree(FILE *out, async__node *nodes, size_t count,
                       void (*more)(FILE *out, size_t index, int indent, void *data), void *data)
{
    struct printer printer = {out, nodes, more, data};

    link_children(nodes, count);
    for (size_t i = 0; i < count; i++)
        if (nodes[i].parent == ASYNC__NO_NODE) print_below(&printer, i);
    for (size_t i = 0; i < count; i++)
        if (!nodes[i].printed) print_below(&printer, i);
}
