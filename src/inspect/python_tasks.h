/* python_tasks.h - the tasks of Python before 3.14, read from its objects by the description that the extension
 * exports (python/src/loop/tasks_layout.h). Nothing of the interpreter is run, so it may be a core, too. */
#ifndef CASYNCIO_INSPECT_PYTHON_TASKS_H
#define CASYNCIO_INSPECT_PYTHON_TASKS_H

#include "image.h"

struct python_frame {
    char *function, *file; /* NULL: not known; file: also of what is written in C */
    int line;              /* 0: none */
};

struct python_task {
    uint64_t address, coroutine, waiter; /* waiter: the future that it waits for, or 0 */
    char *name;
    bool running;
    size_t awaiter; /* the index of a task that waits for it, or SIZE_MAX */
    struct python_frame *frames;
    size_t frame_count;
};

struct python_tasks {
    struct python_task *tasks; /* in the order of their names */
    size_t count;
};

enum python_known {
    PYTHON_TASKS_READ,
    PYTHON_TASKS_TOLD_BY_PYTHON, /* it is 3.14 or later */
    PYTHON_TASKS_UNKNOWN,        /* the layout is another version's, or torn */
};

/* The layout at an address. What is in *tasks is to be freed by python_tasks_free, in any case. */
enum python_known python_tasks_read(const struct image *image, uint64_t layout,
                                    struct python_tasks *tasks);
void python_tasks_free(struct python_tasks *tasks);

#endif
