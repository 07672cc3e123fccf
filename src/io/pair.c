/* pair.c - two streams that are connected in memory: src/wire/memory.c carries the bytes. */
#include "io.h"

#include <math.h>

static int check(const async_pair_options *options)
{
    if (!(options->latency >= 0) || isinf(options->latency))
        return async__failf(-EINVAL, "async_stream_pair: a latency of %g seconds",
                            options->latency);
    if (options->cut_error > 0 || options->fail_error > 0)
        return async__failf(-EINVAL, "async_stream_pair: errors are negative codes");
    return 0;
}

static void drop(async__wire *wire)
{
    wire->type->close(wire);
    async__wire_free(wire);
}

int async__stream_pair(async_stream *ends[2], const async_pair_options *given, size_t size)
{
    async_pair_options options;
    async__wire *wires[2];

    if (!ends) return async__failf(-EINVAL, "async_stream_pair: the place for the ends is NULL");
    ends[0] = ends[1] = NULL;
    if (async__options(&options, sizeof options, given, size) < 0)
        return async__failf(-EINVAL, "async_stream_pair: an option of a newer version");
    int code = check(&options);
    if (code < 0) return code;
    code = async__memory_pair(wires, &options);
    if (code < 0) return async__failf(code, "async_stream_pair: no memory");
    ends[0] = async__stream_create(wires[0]);
    ends[1] = ends[0] ? async__stream_create(wires[1]) : NULL;
    if (ends[1]) return 0;
    if (ends[0])
        async_stream_abort(ends[0]);
    else
        drop(wires[0]);
    drop(wires[1]);
    ends[0] = NULL;
    return -ENOMEM;
}
