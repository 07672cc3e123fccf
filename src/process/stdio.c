/* stdio.c - what a child has as descriptors 0, 1 and 2, and the streams at the other ends of its pipes.
 *
 * If this process runs without some of 0 to 2, the kernel gives these numbers to what is opened next.
 * In the child they are overwritten in some order, so nothing that is opened for it may lie there. */
#include "process.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- descriptors above 2 ---- */

static int lift(int *fd)
{
    if (*fd > 2) return 0;
    int higher = ASYNC__CALL(fcntl(*fd, F_DUPFD_CLOEXEC, 3));
    if (higher < 0) return -errno;
    close(*fd);
    *fd = higher;
    return 0;
}

int async__open_pipe(int ends[2])
{
    if (ASYNC__CALL(pipe2(ends, O_CLOEXEC)) < 0) return -errno;
    int code = lift(&ends[0]);
    if (code == 0) code = lift(&ends[1]);
    if (code < 0) {
        close(ends[0]);
        close(ends[1]);
    }
    return code;
}

/* ---- one of the three ---- */

static int open_pipe(struct async__stdio *stdio, int i)
{
    int ends[2] = {-1, -1};
    int code = async__open_pipe(ends);
    if (code < 0) return code;

    stdio->child[i] = stdio->opened[i] = ends[i == 0 ? 0 : 1];
    stdio->parent[i] = ends[i == 0 ? 1 : 0];
    /* Its flags are its own: the child's end stays blocking. */
    return ASYNC__CALL(fcntl(stdio->parent[i], F_SETFL, O_NONBLOCK)) < 0 ? -errno : 0;
}

static int open_null(struct async__stdio *stdio, int i)
{
    int fd = ASYNC__CALL(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (fd < 0) return -errno;
    int code = lift(&fd);
    if (code < 0) {
        close(fd);
        return code;
    }
    stdio->child[i] = stdio->opened[i] = fd;
    return 0;
}

static int open_one(struct async__stdio *stdio, int i, int kind, int fd)
{
    switch (kind) {
    case ASYNC_INHERIT: return 0;
    case ASYNC_PIPE: return open_pipe(stdio, i);
    case ASYNC_DEVNULL: return open_null(stdio, i);
    case ASYNC_STDOUT:
        if (i != 2) return -EINVAL;
        stdio->child[i] = ASYNC__DUP_STDOUT;
        return 0;
    case ASYNC_FD:
        if (ASYNC__CALL(fcntl(fd, F_GETFD)) < 0) return -errno;
        stdio->child[i] = fd;
        return 0;
    default: return -EINVAL;
    }
}

int async__stdio_open(struct async__stdio *stdio, const async_subprocess_options *options,
                      const char *name)
{
    static const char *const names[] = {"input", "output", "error"};
    const int kinds[] = {options->in, options->out, options->err};
    const int fds[] = {options->in_fd, options->out_fd, options->err_fd};

    memset(stdio, -1, sizeof *stdio);
    for (int i = 0; i < 3; i++) {
        int code = open_one(stdio, i, kinds[i], fds[i]);
        if (code == 0) continue;
        async__stdio_close(stdio);
        if (kinds[i] == ASYNC_FD)
            return async__failf(code, "the standard %s of %s, descriptor %d: %s", names[i], name,
                                fds[i], async_strerror(code));
        return async__failf(code, "the standard %s of %s: %s", names[i], name,
                            async_strerror(code));
    }
    return 0;
}

static void close_all(int fds[3])
{
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0) close(fds[i]);
    memset(fds, -1, 3 * sizeof *fds);
}

void async__stdio_close_child(struct async__stdio *stdio) { close_all(stdio->opened); }

void async__stdio_close(struct async__stdio *stdio)
{
    close_all(stdio->opened);
    close_all(stdio->parent);
}

/* ---- streams ---- */

async_stream *async__process_stream(int fd)
{
    async_stream *stream = async_stream_from_fd(fd);
    if (stream)
        stream->references++;
    else
        close(fd);
    return stream;
}

/* Outside of a loop, where no call is under way, a close is seen by the owner's reference alone. */
bool async__process_stream_closed(const async_stream *stream)
{
    return stream->closed || stream->references == 1;
}

void async__process_stream_abort(async_stream *stream)
{
    if (stream && !async__process_stream_closed(stream)) async_stream_abort(stream);
}

void async__process_stream_free(async_stream *stream)
{
    async__process_stream_abort(stream);
    if (stream) async__stream_unref(stream);
}
