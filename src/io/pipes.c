/* pipes.c - streams over pipes and terminals, and over this process's own standard streams.
 *
 * Standard streams are often shared: with the shell, and with what else it has started. O_NONBLOCK
 * would be set for all of them, since it belongs to what was opened and not to the descriptor; so it
 * is left alone, as async_stream_from_fd says. A stream of one has a descriptor of its own (by
 * dup(2)): it can be closed without giving number 0, 1 or 2 away to the file that is opened next. */
#include "io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static async_stream *refuse(const char *what, int fd, int code, const char *why)
{
    async__failf(code, "%s: descriptor %d: %s", what, fd, why);
    return NULL;
}

static async_stream *connect_pipe(int fd, int wrong_mode, const char *what, const char *why)
{
    struct stat status;
    int flags = ASYNC__CALL(fcntl(fd, F_GETFL));
    if (flags < 0 || ASYNC__CALL(fstat(fd, &status)) < 0)
        return refuse(what, fd, -errno, async_strerror(-errno));
    if (!S_ISFIFO(status.st_mode) && !S_ISSOCK(status.st_mode) && !S_ISCHR(status.st_mode))
        return refuse(what, fd, -EINVAL, "is no pipe, socket or terminal");
    if ((flags & O_ACCMODE) == wrong_mode) return refuse(what, fd, -EINVAL, why);
    return async_stream_from_fd(fd);
}

async_stream *async_connect_read_pipe(int fd)
{
    return connect_pipe(fd, O_WRONLY, "async_connect_read_pipe", "is not open for reading");
}

async_stream *async_connect_write_pipe(int fd)
{
    return connect_pipe(fd, O_RDONLY, "async_connect_write_pipe", "is not open for writing");
}

/* In a program that was started without it, the number may be something of the library's own, such as
 * an epoll instance. */
static bool is_standard(mode_t mode)
{
    return S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode) || S_ISBLK(mode);
}

static async_stream *standard(int fd, const char *what)
{
    struct stat status;
    if (ASYNC__CALL(fstat(fd, &status)) < 0)
        return refuse(what, fd, -errno, async_strerror(-errno));
    if (S_ISDIR(status.st_mode)) return refuse(what, fd, -EISDIR, "is a directory");
    if (!is_standard(status.st_mode)) return refuse(what, fd, -EBADF, "is no standard stream");
    int own = ASYNC__CALL(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (own < 0) return refuse(what, fd, -errno, async_strerror(-errno));
    async_stream *stream = async_stream_from_fd(own);
    if (!stream) close(own);
    return stream;
}

async_stream *async_stdin(void) { return standard(STDIN_FILENO, "standard input"); }
async_stream *async_stdout(void) { return standard(STDOUT_FILENO, "standard output"); }
async_stream *async_stderr(void) { return standard(STDERR_FILENO, "standard error"); }
