/* memory.c - malloc, by way of one set of functions, so that the fault tests can make any
 * allocation fail: see faults.h. */
#include "memory.h"
#include "faults.h"

#include <errno.h>
#include <stdlib.h>

void *async__alloc(size_t size)
{
    if (async__fault(ASYNC__FAULT_ALLOCATION)) {
        errno = ENOMEM;
        return NULL;
    }
    return malloc(size);
}

void *async__alloc_zeroed(size_t size)
{
    if (async__fault(ASYNC__FAULT_ALLOCATION)) {
        errno = ENOMEM;
        return NULL;
    }
    return calloc(1, size);
}

void *async__realloc(void *memory, size_t size)
{
    if (async__fault(ASYNC__FAULT_ALLOCATION)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(memory, size);
}

void async__free(void *memory) { free(memory); }
