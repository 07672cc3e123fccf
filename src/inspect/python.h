/* python.h - the tasks of a program that runs the Python face, which are Python's. */
#ifndef CASYNCIO_INSPECT_PYTHON_H
#define CASYNCIO_INSPECT_PYTHON_H

#include "show.h"

/* Whether the image is of a process with the Python face in it. */
bool is_python(const struct snapshot *snapshot);
/* Writes its tasks: "ps", rows; "pstree", a tree with the frames of their coroutines; "json", an array.
 * Or a line that says why they are not known (of JSON: null). */
void show_python(FILE *out, const struct snapshot *snapshot, const char *what, bool frames);

#endif
