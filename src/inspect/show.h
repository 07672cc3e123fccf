/* show.h - what the program writes: rows, a tree, JSON. */
#ifndef CASYNCIO_INSPECT_SHOW_H
#define CASYNCIO_INSPECT_SHOW_H

#include "unwind.h"

#include <stdio.h>

struct options {
    bool stop, json, all, frames, internal;
};

void show_rows(FILE *out, const struct snapshot *snapshot, const struct options *options);
void show_tree(FILE *out, const struct snapshot *snapshot, const struct options *options);
/* The members of one process's object; `frames`: of each task. */
void show_json(FILE *out, const struct snapshot *snapshot, const struct options *options);

/* "lock, held by Task-3 (main)"; "sleep, 1.5 s left". */
void show_wait(FILE *out, const struct loop *loop, size_t index);
/* A line about each. */
void show_process(FILE *out, const struct snapshot *snapshot);
void show_loop(FILE *out, const struct snapshot *snapshot, size_t index);
void show_frame(FILE *out, const struct place_in_code *frame);
extern const char *const task_states[]; /* by task->state */
/* The task's name, "Task-3", or "-" for none; to be freed. */
char *label_of(const struct loop *loop, size_t index);
/* Bytes of its stack in use; 0: not known. */
uint64_t task_depth(const struct task *task);
/* `, "name": "value"`; NULL is null. */
void json_member(FILE *out, const char *name, const char *value);
void json_text(FILE *out, const char *text); /* the value alone */
void show_frames(FILE *out, struct unwinder *unwinder, const struct loop *loop, size_t index,
                 int indent, bool internal);

#endif
