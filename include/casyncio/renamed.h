/* renamed.h - names of casyncio 0.1 that have changed: they still work, with a warning at compile
 * time, until 0.3. */
#ifndef CASYNCIO_RENAMED_H
#define CASYNCIO_RENAMED_H

#include <casyncio/files.h>
#include <casyncio/loop.h>
#include <casyncio/streams.h>

#define ASYNC__RENAMED(name) __attribute__((deprecated("it is called " name " now")))

ASYNC__RENAMED("async_file_open")
static inline async_file *async_open(const char *path, const char *mode)
{
    return async_file_open(path, mode);
}

ASYNC__RENAMED("async_stream_set_high_water")
static inline void async_stream_set_limit(async_stream *stream, size_t high)
{
    async_stream_set_high_water(stream, high);
}

ASYNC__RENAMED("async_get_running_loop")
static inline async_loop *async_current_loop(void) { return async_get_running_loop(); }

#undef ASYNC__RENAMED
#endif
