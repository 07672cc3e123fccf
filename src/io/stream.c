/* stream.c - making and closing a stream, and the names of its ends; see stream_read.c and
 * stream_write.c for the rest.
 *
 * A stream is counted, since it may be closed while tasks wait on it: one reference is the owner's,
 * and each call under way has one. async_stream_close takes the descriptor away, which wakes those
 * tasks, gives up the owner's reference, and returns; the last call to leave frees the struct. */
#include "io.h"

#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

async_stream *async__stream_new(void)
{
    async_stream *stream = async__alloc_zeroed(sizeof *stream);
    if (!stream) return NULL;
    stream->references = 1;
    stream->high = ASYNC__HIGH_WATER;
    return stream;
}

void async__stream_set_fd(async_stream *stream, int fd, bool socket, bool blocking)
{
    async__fd_wire_init(&stream->own, fd, socket, blocking);
    stream->wire = &stream->own.wire;
}

async_stream *async__stream_create(async__wire *wire)
{
    async_stream *stream = async__stream_new();
    if (!stream) {
        async__failf(-ENOMEM, "no memory for a stream");
        return NULL;
    }
    stream->wire = wire;
    async_debug_opened(stream, "stream");
    return stream;
}

void async__stream_unref(async_stream *stream)
{
    if (--stream->references > 0) return;
    async__buffer_free(&stream->received);
    async__wire_free(stream->wire);
    async_debug_closed(stream);
    async__free(stream);
}

async_stream *async_stream_from_fd(int fd)
{
    int type = 0, blocking = async__is_blocking(fd);
    socklen_t size = sizeof type;
    if (blocking < 0) {
        async__failf(blocking, "a stream of descriptor %d: %s", fd, async_strerror(blocking));
        return NULL;
    }
    bool socket = ASYNC__CALL(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) == 0;
    if (socket && type != SOCK_STREAM) {
        async__failf(-EPROTOTYPE, "descriptor %d is a socket, but not a stream socket", fd);
        return NULL;
    }
    async_stream *stream = async__stream_create(NULL);
    if (stream) async__stream_set_fd(stream, fd, socket, blocking);
    return stream;
}

/* ---- calls ---- */

int async__stream_closed(void) { return async__failf(-EBADF, "the stream has been closed"); }

int async__stream_null_in(const char *call)
{
    return async__misuse(async__null_in(call, "stream"));
}

int async__bad_buffer(const char *call, const void *buffer, size_t size)
{
    if (!buffer) return async__failf(-EINVAL, "%s: the buffer is NULL", call);
    return async__failf(-EINVAL, "%s: a buffer of %zd bytes", call, (ssize_t)size);
}

/* ---- closing ---- */

static void end_call(async_loop *loop, async__op *op)
{
    if (op) op->wire->type->cancel(op->wire, loop, op, -EBADF);
}

/* Wakes all tasks that wait on the stream. The writer that waits for its pieces takes them back; what
 * is kept goes on being sent. */
static void evict(async_loop *loop, async_stream *stream)
{
    async__outbox_take_back(stream);
    async__wake_all(&stream->writers);
    async__wake_all(&stream->starters);
    async__wake_all(&stream->drained);
    async__wake_all(&stream->settled);
    async__cancel_copies(stream);
    end_call(loop, stream->reader);
    end_call(loop, stream->sender);
    end_call(loop, stream->starter);
}

/* Gives up the owner's reference: `stream` may be freed. */
static int finish(async_stream *stream)
{
    async__outbox_drop(stream);
    int code = stream->wire->type->close(stream->wire);
    async__stream_unref(stream);
    return code;
}

static ssize_t try_finish(async__op *op) { return op->wire->type->finish(op->wire); }

static int run_finish(async__wire *wire)
{
    async__op op = {.watch = {.direction = ASYNC__WRITE}, .attempt = try_finish, .wire = wire};
    async_scope scope;
    double limit = INFINITY;
    bool finished = false;

    (void)async__wire_ask(wire, ASYNC__WIRE_FINISH_LIMIT, &limit);
    int code = async_timeout_enter(&scope, limit);
    if (code < 0) return code;
    code = (int)async__op_run(&op, "close");
    bool expired = scope.expired;
    async_scope_leave(&scope);
    /* All has been sent; that there was no answer is no loss. */
    if (code < 0 && async__wire_ask(wire, ASYNC__WIRE_FINISHED, &finished) == 0 && finished)
        return 0;
    if (code < 0 && expired)
        return async__failf(code, "close: the end could not be sent in %g s", limit);
    return code;
}

/* Exchanges with the other side what has to be before an orderly close. If it may not wait it does what
 * it can at once: all that was written has gone out. */
static int say_goodbye(async_stream *stream, int code)
{
    async__wire *wire = stream->wire;

    if (!wire->type->finish || stream->write_error < 0 || async__stream_queued(stream) > 0)
        return 0;
    if (code == 0) return run_finish(wire);
    (void)wire->type->finish(wire);
    return 0;
}

int async_stream_close(async_stream *stream)
{
    if (!stream) return 0;
    if (stream->closed)
        return async__failf(-EBADF, "async_stream_close: another call closes the stream already");
    async_loop *loop = async__loop();
    stream->closed = true;
    /* In a forked child: what the parent's loop has kept is the parent's to send. */
    if (async__outbox_is_of_parent(stream)) async__outbox_drop(stream);
    if (loop) evict(loop, stream);

    int code = async__checkpoint();
    if (code == 0 && stream->outbox) code = async__wait_in(&stream->settled, "close", NULL);
    int goodbye = say_goodbye(stream, code);
    /* Read before finish(), which drops what is kept and may free the stream. */
    bool dropped = async__stream_queued(stream) > 0;
    int error = stream->stillborn ? 0 : stream->write_error;
    bool torn = stream->torn;
    finish(stream);
    if (torn) return async__failf(error, "a write to the stream was cancelled half-way");
    if (error < 0)
        return async__failf(error, "what was written to the stream could not be sent: %s",
                            async_strerror(error));
    return dropped ? code : goodbye;
}

void async_stream_abort(async_stream *stream)
{
    if (!stream || stream->closed) return;
    async_loop *loop = async__loop();
    stream->closed = true;
    async__outbox_drop(stream);
    if (loop) evict(loop, stream);
    finish(stream);
}

/* ---- names ---- */

int async_stream_fd(const async_stream *stream)
{
    return stream ? async__wire_fd(stream->wire) : async__stream_null_in("async_stream_fd");
}

static int name_of(const async_stream *stream, char *text, size_t size, const char *what,
                   int (*ask)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    char label[64];
    int fd = -1;

    if (!async__buffer_ok(text, size))
        return async__failf(-EINVAL, "async_stream_%s: the buffer is NULL", what);
    if (size > 0) text[0] = 0;
    if (!stream) return async__failf(-EBADF, "async_stream_%s: the stream is NULL", what);
    if (async__wire_ask(stream->wire, ASYNC__WIRE_FD, &fd) < 0)
        return async__failf(-ENOTSOCK, "%s of %s: it has none", what,
                            async__wire_label(stream->wire, label, sizeof label));
    if (ASYNC__CALL(ask(fd, (struct sockaddr *)&address, &length)) < 0) {
        int code = -errno;
        return async__failf(code, "%s of descriptor %d: %s", what, fd, async_strerror(code));
    }
    async__address_text((struct sockaddr *)&address, length, text, size);
    return 0;
}

/* glibc and musl declare them with different types of pointers. */
static int ask_peer(int fd, struct sockaddr *address, socklen_t *length)
{
    return getpeername(fd, address, length);
}

static int ask_own(int fd, struct sockaddr *address, socklen_t *length)
{
    return getsockname(fd, address, length);
}

int async_stream_peername(const async_stream *stream, char *text, size_t size)
{
    return name_of(stream, text, size, "peername", ask_peer);
}

int async_stream_sockname(const async_stream *stream, char *text, size_t size)
{
    return name_of(stream, text, size, "sockname", ask_own);
}
