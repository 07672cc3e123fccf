/* nonblocking.c - system calls that neither block the thread nor raise SIGPIPE.
 *
 * A write to a pipe without a reader raises SIGPIPE. Sockets have MSG_NOSIGNAL; other files have
 * RWF_NOSIGNAL since Linux 6.18. On older kernels the signal is blocked during the write, and taken
 * from the pending set afterwards. The program's own disposition of SIGPIPE is never changed.
 *
 * A blocking descriptor is often shared with other processes (a terminal, a pipe of the shell), for
 * which O_NONBLOCK would be an unexpected change. So it stays blocking, is read and written only
 * when it is ready, and a write is limited to PIPE_BUF, which a pipe that is ready always takes. */
#include "../base/faults.h"
#include "loop_internal.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x08
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100
#endif

int async__is_blocking(int fd)
{
    int flags = ASYNC__CALL(fcntl(fd, F_GETFL));
    return flags < 0 ? -errno : !(flags & O_NONBLOCK);
}

ssize_t async__try_read(int fd, void *buffer, size_t size, bool blocking)
{
    ssize_t result;

    if (blocking) { /* it was reported ready, but another process may have read the data */
        struct iovec piece = {buffer, ASYNC__SIZE(size)};
        result = ASYNC__CALL(syscall(SYS_preadv2, fd, &piece, 1, -1L, -1L, RWF_NOWAIT));
        if (result >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
            return result < 0 ? -errno : result;
    }
    result = ASYNC__CALL(read(fd, buffer, ASYNC__SIZE(size)));
    return result < 0 ? -errno : result;
}

/* SIGPIPE is blocked in this thread between the two. */
struct blocked {
    sigset_t before;
    bool pending_before;
};

static struct blocked block_sigpipe(void)
{
    struct blocked self = {.pending_before = false};
    sigset_t pipe_signal, pending;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &self.before);
    /* One that is pending already was blocked before, and stays. */
    if (sigismember(&self.before, SIGPIPE) != 1) return self;
    sigpending(&pending);
    self.pending_before = sigismember(&pending, SIGPIPE) == 1;
    return self;
}

/* `raised`: one may have been raised meanwhile. */
static void unblock_sigpipe(const struct blocked *self, bool raised)
{
    sigset_t pipe_signal;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    if (raised && !self->pending_before)
        while (sigtimedwait(&pipe_signal, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &self->before, NULL);
}

static ssize_t write_with_signal_blocked(int fd, const struct iovec *pieces, int count)
{
    struct blocked blocked = block_sigpipe();
    ssize_t result = ASYNC__CALL(writev(fd, pieces, count));
    if (result < 0) result = -errno;
    unblock_sigpipe(&blocked, result == -EPIPE);
    return result;
}

/* These send piece by piece: after a part has gone out, -EPIPE is the number of its bytes, and the
 * signal has been raised all the same. */
static bool may_have_raised(ssize_t result, size_t size)
{
    return result == -EPIPE || (result >= 0 && (size_t)result < size);
}

ssize_t async__try_sendfile(int socket, int file, int64_t *offset, size_t size)
{
    off_t at = (off_t)*offset;
    struct blocked blocked = block_sigpipe();
    ssize_t result = ASYNC__CALL(sendfile(socket, file, &at, ASYNC__SIZE(size)));
    if (result < 0) result = -errno;
    unblock_sigpipe(&blocked, may_have_raised(result, size));
    if (result > 0) *offset += result;
    return result;
}

ssize_t async__try_splice_in(int socket, int pipe, size_t size)
{
    ssize_t result = ASYNC__CALL(
        splice(socket, NULL, pipe, NULL, ASYNC__SIZE(size), SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
    return result < 0 ? -errno : result;
}

ssize_t async__try_splice_out(int pipe, int socket, size_t size)
{
    struct blocked blocked = block_sigpipe();
    ssize_t result = async__try_splice_in(pipe, socket, size);
    unblock_sigpipe(&blocked, may_have_raised(result, size));
    return result;
}

static ssize_t write_without_sigpipe(int fd, const struct iovec *pieces, int count)
{
    enum { UNKNOWN, WORKS, MISSING };
    static atomic_int flag;
    int known = atomic_load_explicit(&flag, memory_order_relaxed);

    if (known != MISSING) {
        ssize_t result =
            ASYNC__CALL(syscall(SYS_pwritev2, fd, pieces, count, -1L, -1L, RWF_NOSIGNAL));
        if (result >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) {
            if (known == UNKNOWN) atomic_store_explicit(&flag, WORKS, memory_order_relaxed);
            return result < 0 ? -errno : result;
        }
        /* EINVAL may come from the file (eventfds take no flags under any kernel): it does not say
         * that the kernel lacks RWF_NOSIGNAL. */
        if (known == UNKNOWN && errno != EINVAL)
            atomic_store_explicit(&flag, MISSING, memory_order_relaxed);
    }
    return write_with_signal_blocked(fd, pieces, count);
}

static bool always_ready(int fd)
{
    async_loop *loop = async__loop();
    return loop && fd >= 0 && fd < loop->fds_length && loop->fds[fd].regular;
}

ssize_t async__try_write(int fd, const void *data, size_t size, bool blocking)
{
    if (blocking && size > PIPE_BUF && !always_ready(fd)) size = PIPE_BUF;
    struct iovec piece = {(void *)data, ASYNC__SIZE(size)};
    return write_without_sigpipe(fd, &piece, 1);
}

ssize_t async__try_writev(int fd, const struct iovec *pieces, int count, bool blocking)
{
    while (count > 1 && pieces->iov_len == 0)
        pieces++, count--;
    /* Of a blocking descriptor's pieces one at a time, since together they may be too large. */
    if (count == 1 || blocking || ASYNC__SIZE(2) < 2)
        return async__try_write(fd, pieces->iov_base, pieces->iov_len, blocking);
    return write_without_sigpipe(fd, pieces, count < IOV_MAX ? count : IOV_MAX);
}

/* ---- connecting ---- */

/* 0: connected. -EINPROGRESS: neither connected nor failed. */
static int ask_connected(int fd)
{
    struct sockaddr_storage peer;
    int error = 0;
    socklen_t size = sizeof error, length = sizeof peer;

    if (ASYNC__CALL(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size)) < 0) return -errno;
    if (error) return -error;
    if (ASYNC__CALL(getpeername(fd, (struct sockaddr *)&peer, &length)) == 0) return 0;
    return errno == ENOTCONN ? -EINPROGRESS : -errno;
}

int async__connected(int fd)
{
    struct pollfd now = {.fd = fd, .events = POLLOUT};
    int code = ask_connected(fd);

    /* The socket has neither connected nor failed: it was reported for another reason, such as an
     * entry in its error queue. Or the connect has ended between the two calls above: then poll says
     * so, and they are repeated. If they still say neither, another call has taken the error. */
    if (code != -EINPROGRESS) return code;
    if (poll(&now, 1, 0) <= 0 || !(now.revents & (POLLOUT | POLLHUP))) return -EAGAIN;
    code = ask_connected(fd);
    return code == -EINPROGRESS ? -ENOTCONN : code;
}
