/* memory.c - malloc, behind one door, so that the fault tests can make any call of it fail. The build
 * for those tests defines ASYNC_FAULTS; then the allocation whose number is async__fault_at fails (and
 * every later one too, with async__fault_on), and so does the system call whose number is
 * async__fault_call_at: see faults.h. */
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

void async__free(void *memory)
{
    free(memory);
}
