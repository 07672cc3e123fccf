/* observe.h - what observe.c and metrics.c share. */
#ifndef CASYNCIO_OBSERVE_H
#define CASYNCIO_OBSERVE_H

#include "task.h"

#include <casyncio/metrics.h>

struct async__depths {
    async_stack_depth *entries;
    size_t count, capacity;
};

#endif
