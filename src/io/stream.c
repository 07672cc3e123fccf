/* stream.c - making and closing a stream, and the names of its ends; see stream_read.c and
 * stream_write.c for the rest.
 *
 * A stream is counted, since it may be closed while tasks wait on it: one reference is the owner's,
 * and each call under way has one. async_stream_close takes the descriptor away, which wakes those
 * tasks, gives up the owner's reference, and returns; the last call to leave frees the struct. */
#include "io.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

async_stream *async__stream_new(void)
{
    async_stream *stream = async__alloc_zeroed(sizeof *stream);
    if (!stream) return NULL;
    stream->fd = -1;
    stream->references = 1;
    stream->high = ASYNC__HIGH_WATER;
    return stream;
}

void async__stream_set_fd(async_stream *stream, int fd, bool socket)
{
    stream->fd = fd;
    stream->socket = socket;
}

void async__stream_unref(async_stream *stream)
{
    if (--stream->references > 0) return;
    async__buffer_free(&stream->received);
    async__buffer_free(&stream->unsent);
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
    async_stream *stream = async__stream_new();
    if (!stream) {
        async__failf(-ENOMEM, "no memory for a stream");
        return NULL;
    }
    async__stream_set_fd(stream, fd, socket);
    stream->blocking = blocking && !socket; /* a socket's calls say MSG_DONTWAIT */
    return stream;
}

/* ---- calls ---- */

int async__stream_closed(void) { return async__failf(-EBADF, "the stream has been closed"); }

int async__stream_null(void)
{
    return async__misuse(async__failf(-EBADF, "there is no stream: it is NULL"));
}

/* ---- closing ---- */

/* Wakes all tasks that wait on the stream. The descriptor's watches go off with -EBADF when the
 * loop forgets it. The one that sends what is kept would too: it is removed before, and set
 * again. */
static void evict(async_loop *loop, async_stream *stream)
{
    stream->closed = true;
    async__wake_all(&stream->writers);
    async__wake_all(&stream->drained);
    async__wake_all(&stream->emptied);
    if (!stream->reading && !stream->writing) return; /* no call waits for the descriptor */
    bool flushing = async_remove_watch(loop, &stream->flush);
    async_forget_fd(loop, stream->fd);
    int code = flushing ? async__stream_watch_room(stream) : 0;
    if (code < 0) {
        stream->write_error = code;
        async__stream_drop_kept(stream);
    }
}

/* Gives up the owner's reference: `stream` may be freed. */
static int finish(async_stream *stream)
{
    int code = 0;

    async__stream_drop_kept(stream);
    if (stream->fd >= 0) code = async_close(stream->fd);
    stream->fd = -1;
    async__stream_unref(stream);
    return code;
}

int async_stream_close(async_stream *stream)
{
    if (!stream) return 0;
    if (stream->closed) return async__failf(-EBADF, "the stream is being closed already");
    async_loop *loop = async__loop();
    /* In a loop of a forked child: what the parent's loop has kept is the parent's to send. */
    if (loop && async__stream_kept(stream) > 0 && !async__watches(loop, &stream->flush))
        async__stream_drop_kept(stream);
    if (loop) evict(loop, stream);

    int code = async__checkpoint();
    if (code == 0 && async__stream_kept(stream) > 0)
        code = async__wait_in(&stream->emptied, "close", NULL);
    /* Read before finish(), which drops what is kept and may free the stream. */
    bool dropped = async__stream_kept(stream) > 0;
    int error = stream->write_error;
    bool torn = stream->torn;
    finish(stream);
    if (torn) return async__failf(error, "a write to the stream was cancelled half-way");
    if (error < 0)
        return async__failf(error, "what was written to the stream could not be sent: %s",
                            async_strerror(error));
    return dropped ? code : 0;
}

void async_stream_abort(async_stream *stream)
{
    if (!stream || stream->closed) return;
    async_loop *loop = async__loop();
    async__stream_drop_kept(stream);
    if (loop) evict(loop, stream);
    finish(stream);
}

/* ---- names ---- */

int async_stream_fd(const async_stream *stream) { return stream ? stream->fd : -EBADF; }

static int name_of(const async_stream *stream, char *text, size_t size, const char *what,
                   int (*ask)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;

    if (size > 0) text[0] = 0;
    int fd = stream ? stream->fd : -1;
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
