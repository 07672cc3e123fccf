/* tree.h - tasks as a tree of what awaits what, in words: for the call graph, and for the program that
 * shows those of another process (src/inspect). Knows no task: each fills in what is to be seen. */
#ifndef CASYNCIO_TREE_H
#define CASYNCIO_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define ASYNC__NO_NODE SIZE_MAX

enum async__state {
    ASYNC__READY, /* in the ready queue */
    ASYNC__RUNNING,
    ASYNC__PARKED,
    ASYNC__DONE,
    ASYNC__RELEASED /* its memory is in the stack pool */
};

typedef struct async__node {
    const char *name, *coroutine; /* of the task; either may be NULL */
    uint64_t number;
    const char *what; /* it waits for; NULL: it does not wait */
    int fd;           /* or -1 */
    unsigned char state;
    bool cancelled;
    bool printed; /* set by async__print_tree, as are the next three */
    size_t child, last_child, sibling;
    size_t holder; /* of the lock that it waits for; or ASYNC__NO_NODE */
    size_t parent; /* what awaits it, or ASYNC__NO_NODE */
} async__node;

/* "Task-3 (fetch)". */
void async__print_label(FILE *out, const async__node *node);
/* "parked", or "waits: lock, held by Task-3 (fetch)". */
void async__print_state(FILE *out, const async__node *nodes, size_t index);

/* Writes all of them, a line each, below what awaits them. O(count). `more`, if it is not NULL, may write
 * further lines below one, `indent` blanks in. */
void async__print_tree(FILE *out, async__node *nodes, size_t count,
                       void (*more)(FILE *out, size_t index, int indent, void *data), void *data);

#endif
