/* tasks.h - the part of a snapshot that reads a loop's tasks; the snapshot's own. */
#ifndef CASYNCIO_INSPECT_TASKS_H
#define CASYNCIO_INSPECT_TASKS_H

#include "snapshot.h"

/* Fills in what a loop knows of its tasks; snapshot->problem says why, where it cannot. */
void loop_read_tasks(struct snapshot *snapshot, struct loop *loop);

/* NULL, or why a description is none that this program knows: to be freed. */
char *layout_problem(const struct async__layout_head *head, const char *magic, size_t size);

#endif
