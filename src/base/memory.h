/* memory.h - where all of the library's memory comes from: malloc, or, in a build for the fault
 * tests, a malloc whose n-th call fails. */
#ifndef CASYNCIO_MEMORY_H
#define CASYNCIO_MEMORY_H

#include <stddef.h>

void *async__alloc(size_t size); /* not cleared */
void *async__alloc_zeroed(size_t size);
void *async__realloc(void *memory, size_t size);
void async__free(void *memory);

/* One more, all 0, at the end of an array of `*count` elements of a size, for which there is room for `*room`. NULL: no
 * memory, and the array is as it was. */
void *async__one_more(void **array, size_t *count, size_t *room, size_t size);

#endif
