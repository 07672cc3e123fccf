/* leaks.h - tasks that nothing can ever wake. */
#ifndef CASYNCIO_INSPECT_LEAKS_H
#define CASYNCIO_INSPECT_LEAKS_H

#include "show.h"

/* A row for each of them, or a line that there are none. */
void show_leaks(FILE *out, const struct snapshot *snapshot, const struct options *options);

#endif
