/* memory.h - where all of the library's memory comes from: malloc, or, in a build for the fault
 * tests, a malloc whose n-th call fails. */
#ifndef CASYNCIO_MEMORY_H
#define CASYNCIO_MEMORY_H

#include <stddef.h>

void *async__alloc(size_t size); /* not cleared */
void *async__alloc_zeroed(size_t size);
void *async__realloc(void *memory, size_t size);
void async__free(void *memory);

#endif
