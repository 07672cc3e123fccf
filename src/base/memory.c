/* memory.c - malloc, by way of one set of functions, so that the fault tests can make any
 * allocation fail: see faults.h. */
#include "memory.h"
#include "faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

void *async__one_more(void **array, size_t *count, size_t *room, size_t size)
{
    if (*count == *room) {
        size_t larger = *room ? 2 * *room : 64;
        void *moved = async__realloc(*array, larger * size);
        if (!moved) return NULL;
        *array = moved;
        *room = larger;
    }
    void *one = (char *)*array + (*count)++ * size;
    memset(one, 0, size);
    return one;
}
