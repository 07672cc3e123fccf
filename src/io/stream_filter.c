/* stream_filter.c - filters on streams: src/wire/filter.c is the wire.
 *
 * A filter that has been put on a stream has still to start, which may need to wait (a handshake). The
 * first call on the stream that can wait does that, and others wait for it: so a server's streams are
 * there as soon as they are accepted, and each handshake runs in the task that serves its client. If the
 * call is cancelled, the next one goes on with it. If it fails, or takes too long, the stream is
 * broken for good. */
#include "io.h"

#include <math.h>

static int stop(async_stream *stream, int code)
{
    stream->read_error = stream->write_error = code;
    stream->unready = false;
    stream->stillborn = true;
    return code;
}

/* ---- the start ---- */

static ssize_t try_start(async__op *op) { return async__filter_start(op->wire); }

static int run_start(async_stream *stream)
{
    async__wire *wire = stream->wire;
    const char *what = async__filter_name(wire);
    async__op op = {.watch = {.direction = ASYNC__WRITE}, .attempt = try_start, .wire = wire};
    double limit = async__filter_start_limit(wire);
    async_scope scope;

    int code = async_timeout_enter(&scope, limit);
    if (code < 0) return code;
    stream->starter = &op;
    code = (int)async__op_run(&op, what);
    stream->starter = NULL;
    bool expired = code == -ETIMEDOUT && scope.expired, interrupted = async__current->interrupt;
    async_scope_leave(&scope);
    if (code == 0) {
        stream->unready = false;
        return 0;
    }
    if (stream->closed) return interrupted ? code : async__stream_closed();
    if (expired) {
        char on[64];
        return stop(stream, async__failf(code, "%s on %s: it was not done within %g s", what,
                                         async__wire_label(wire, on, sizeof on), limit));
    }
    return interrupted ? code : stop(stream, code);
}

static int start(async_stream *stream)
{
    int code = run_start(stream);
    if (stream->closed) return code; /* the close has woken all */
    if (stream->unready)
        async__wake_first(&stream->starters); /* it was cancelled: another call goes on */
    else
        async__wake_all(&stream->starters);
    async__stream_end_if_due(stream);
    return code;
}

int async__stream_not_ready(async_stream *stream)
{
    while (!stream->closed && stream->unready) {
        if (!stream->starter) return start(stream);
        int code = async__wait_in(&stream->starters, async__filter_name(stream->wire), NULL);
        if (code < 0) return code;
    }
    return stream->closed ? async__stream_closed() : 0;
}

int async_stream_handshake(async_stream *stream)
{
    int code = async__stream_enter(stream);
    if (code == 0 && stream->write_error < 0)
        code = async__failf(stream->write_error, "the stream is broken: %s",
                            async__wire_strerror(stream->wire, stream->write_error));
    return (int)async__stream_leave(stream, code);
}

/* ---- putting it on ---- */

static int check(const async_filter_options *options)
{
    const async_filter_type *type = options->type;

    if (!type || type->size < offsetof(async_filter_type, protocol))
        return async__failf(-EINVAL, "async_stream_filter: there is no type");
    if (isnan(options->start_timeout) || isnan(options->close_timeout))
        return async__failf(-EINVAL, "async_stream_filter: a time-out is not a number");
    return 0;
}

/* Waits until what has been written has gone out: 0, and the stream is quiet. */
static int quiet(async_stream *stream)
{
    char on[64];

    if (stream->reading || stream->writing)
        return async__failf(-EBUSY, "another task reads from or writes to %s",
                            async__wire_label(stream->wire, on, sizeof on));
    if (stream->eof_wanted || stream->write_error < 0)
        return async__failf(stream->write_error < 0 ? stream->write_error : -EPIPE,
                            "%s takes no more data",
                            async__wire_label(stream->wire, on, sizeof on));
    return 0;
}

static async_filter *put_on(async_stream *stream, const async_filter_options *options)
{
    async_filter *filter = async__filter_new(stream->wire, options, &stream->received);

    if (!filter) {
        async__failf(-ENOMEM, "no memory for a filter");
        return NULL;
    }
    stream->wire = async__filter_wire(filter);
    stream->unready = true;
    stream->wait_first = stream->eof = false;
    stream->full_reads = 0;
    return filter;
}

/* Keeps others out until what was written has gone out and the filter is there. What they write goes
 * through it. */
static async_filter *put_on_later(async_stream *stream, const async_filter_options *options)
{
    async_filter *filter = NULL;
    int code = async__stream_enter(stream);

    if (code == 0) code = quiet(stream);
    if (code == 0) {
        stream->reading = stream->writing = true;
        if (stream->outbox) code = async__wait_in(&stream->settled, options->type->name, NULL);
        stream->reading = stream->writing = false;
        if (code == 0) code = stream->closed ? async__stream_closed() : quiet(stream);
        if (code == 0) filter = put_on(stream, options);
        if (!stream->closed) {
            stream->writing = true;
            async__stream_give_turn(stream);
        }
    }
    async__stream_leave(stream, 0);
    return filter;
}

async_filter *async__stream_filter(async_stream *stream, const async_filter_options *given,
                                   size_t size)
{
    async_filter_options options;

    if (!stream) {
        async__stream_null_in("async_stream_filter");
        return NULL;
    }
    if (async__options(&options, sizeof options, given, size) < 0) {
        async__failf(-EINVAL, "async_stream_filter: an option of a newer version");
        return NULL;
    }
    if (check(&options) < 0) return NULL;
    if (stream->outbox || stream->unready) return put_on_later(stream, &options);
    if (stream->closed) {
        async__stream_closed();
        return NULL;
    }
    return quiet(stream) < 0 ? NULL : put_on(stream, &options);
}

void *async_stream_filter_state(const async_stream *stream, const async_filter_type *type)
{
    struct async__wire_state state = {.type = type};

    if (!stream || async__wire_ask(stream->wire, ASYNC__WIRE_STATE, &state) < 0) return NULL;
    return state.self;
}

const char *async_stream_protocol(const async_stream *stream)
{
    const char *protocol;

    if (!stream || async__wire_ask(stream->wire, ASYNC__WIRE_PROTOCOL, &protocol) < 0) return "";
    return protocol;
}
