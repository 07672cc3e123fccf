/* trace.h - casyncio trace: a timeline of a process that runs, and a picture of one. */
#ifndef CASYNCIO_INSPECT_TRACE_H
#define CASYNCIO_INSPECT_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The exit status. arguments[0] is "trace". */
int trace_main(int count, char **arguments);

/* Writes a picture (SVG) of a trace (JSON; `text` need not end in a 0). NULL, or a line that says why
 * there is none, to be freed. */
char *trace_picture(const char *text, size_t size, FILE *out);

#endif
