/* backtrace.c - see backtrace.h. */
#include "backtrace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<execinfo.h>)
#include <execinfo.h>

__attribute__((noinline)) int async__backtrace(void **frames, int capacity)
{
    int count = backtrace(frames, capacity);
    if (count <= 0) return 0;
    memmove(frames, frames + 1, (size_t)(count - 1) * sizeof *frames);
    return count - 1;
}

void async__describe_frames(void *const *frames, int count, const char *between, char *text,
                            size_t size)
{
    char **names = count > 0 ? backtrace_symbols(frames, count) : NULL;
    size_t used = 0;

    if (size > 0) text[0] = 0;
    for (int i = 0; names && i < count && used < size; i++) {
        size_t length = strcspn(names[i], " ");
        int written = snprintf(text + used, size - used, "%s%.*s", i > 0 ? between : "",
                               (int)length, names[i]);
        if (written < 0) break;
        used += (size_t)written;
    }
    free(names);
}
#else
int async__backtrace(void **frames, int capacity)
{
    (void)frames;
    (void)capacity;
    return 0;
}

void async__describe_frames(void *const *frames, int count, const char *between, char *text,
                            size_t size)
{
    (void)frames;
    (void)count;
    (void)between;
    if (size > 0) text[0] = 0;
}
#endif
