/* depth.c - how deep a stack has been written to. What has not been written since it was mapped, or
 * cleared here, is 0; pages that were never touched are not looked at, so that they stay so. */
#include "fiber.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else
#define VALGRIND_MAKE_MEM_DEFINED(address, size) ((void)(address), (void)(size))
#endif

enum { PAGES = 64 }; /* asked about at once */

/* The first page from `at` on that is in memory, or `end`. */
static char *first_resident(char *at, char *end, size_t page)
{
    unsigned char resident[PAGES];

    while (at < end) {
        size_t size = (size_t)(end - at) < PAGES * page ? (size_t)(end - at) : PAGES * page;
        if (mincore(at, size, resident) != 0) return at;
        for (size_t i = 0; i * page < size; i++)
            if (resident[i] & 1) return at + i * page;
        at += (size + page - 1) / page * page;
    }
    return end;
}

size_t async__stack_depth(async__stack_pool *pool, void *top, void *bottom)
{
    size_t page = pool->page_mask + 1;
    char *base = async__stack_base(pool, top), *end = bottom;

#ifdef ASYNC__ASAN
    async__stack_lend(pool, top); /* frames that never returned have left their redzones */
#endif
    char *at = first_resident(base, end, page);
    VALGRIND_MAKE_MEM_DEFINED(at, (size_t)(end - at));
    while (at < end && *(uint64_t *)(void *)at == 0)
        at += sizeof(uint64_t);
    memset(at, 0, (size_t)(end - at));
    return (size_t)((char *)top - at);
}
