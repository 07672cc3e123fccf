/* nonblocking.c - read(2) and writev(2) that neither block the thread nor raise SIGPIPE.
 *
 * A write to a pipe without a reader raises SIGPIPE. Sockets have MSG_NOSIGNAL; other files have
 * RWF_NOSIGNAL since Linux 6.18. On older kernels the signal is blocked during the write, and taken
 * from the pending set afterwards. The program's own disposition of SIGPIPE is never changed.
 *
 * A blocking descriptor is often shared with other processes (a terminal, a pipe of the shell), for
 * which O_NONBLOCK would be an unexpected change. So it stays blocking, is read and written only
 * when it is ready, and a write is limited to PIPE_BUF, which a pipe that is ready always takes. */
#include "wire.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
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

static ssize_t write_with_signal_blocked(int fd, const struct iovec *pieces, int count)
{
    sigset_t pipe_signal, before, pending;

    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    bool pending_before = sigismember(&pending, SIGPIPE) == 1;
    if (!pending_before) pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);

    ssize_t result = ASYNC__CALL(writev(fd, pieces, count));
    if (result < 0) result = -errno;

    if (pending_before) return result;
    if (result == -EPIPE)
        while (sigtimedwait(&pipe_signal, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
            ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
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
