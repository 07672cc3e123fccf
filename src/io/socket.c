/* socket.c - calls on raw descriptors: sockets.h.
 *
 * Each call consists of an attempt, which makes the system call without blocking, and a function
 * that describes it as an operation (async__op) and awaits that.
 *
 * A descriptor is a number, which after a close may be given to something else. The loop ends
 * operations that wait as it is told of the close; a call that lets other tasks run at another point
 * compares the descriptor's generation before and after (async__fd_generation). */
#include "io.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define LONGEST_PAUSE 0.04 /* seconds between attempts where no event tells that there is room */

static ssize_t code_of(ssize_t result) { return result < 0 ? -errno : result; }

static async__op operation(int fd, unsigned char direction, ssize_t (*attempt)(async__op *))
{
    return (async__op){
        .watch = {.fd = fd, .direction = direction},
        .attempt = attempt,
    };
}

/* ---- readiness ---- */

static ssize_t try_nothing(async__op *op)
{
    (void)op;
    return 0;
}

static int wait_ready(int fd, unsigned char direction, const char *what)
{
    async__op op = operation(fd, direction, try_nothing);
    op.wait_first = true;
    return (int)async__op_await(&op, what);
}

int async_wait_readable(int fd) { return wait_ready(fd, ASYNC__READ, "wait_readable"); }

int async_wait_writable(int fd) { return wait_ready(fd, ASYNC__WRITE, "wait_writable"); }

int async_socket(int domain, int type, int protocol)
{
    int fd = ASYNC__CALL(socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
    if (fd >= 0) return fd;
    int code = -errno;
    return async__failf(code, "socket of family %d: %s", domain, async_strerror(code));
}

/* ---- receiving ---- */

static ssize_t try_recv(async__op *op)
{
    return code_of(ASYNC__CALL(
        recv(op->watch.fd, op->buffer, ASYNC__SIZE(op->length), op->flags | MSG_DONTWAIT)));
}

/* recv of 0 bytes on a stream socket gives EAGAIN while there is no data, though there is nothing to
 * wait for. On a datagram socket it takes a datagram. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return ASYNC__CALL(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) == 0 &&
           type == SOCK_STREAM;
}

ssize_t async_recv(int fd, void *buffer, size_t size, int flags)
{
    if (async__unlikely(size == 0) && is_stream(fd)) return async__checkpoint();
    async__op op = operation(fd, ASYNC__READ, try_recv);
    op.buffer = buffer;
    op.length = size;
    op.flags = flags;
    return async__op_await(&op, "recv");
}

static ssize_t try_recvfrom(async__op *op)
{
    return code_of(
        ASYNC__CALL(recvfrom(op->watch.fd, op->buffer, op->length, op->flags | MSG_DONTWAIT,
                             op->address, op->address_length)));
}

ssize_t async_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                       socklen_t *length)
{
    async__op op = operation(fd, ASYNC__READ, try_recvfrom);
    op.buffer = buffer;
    op.length = size;
    op.flags = flags;
    op.address = address;
    op.address_length = length;
    return async__op_await(&op, "recvfrom");
}

static ssize_t try_read(async__op *op)
{
    return async__try_read(op->watch.fd, op->buffer, op->length, op->flags);
}

ssize_t async_read(int fd, void *buffer, size_t size)
{
    int blocking = async__is_blocking(fd);
    if (blocking < 0)
        return async__failf(blocking, "read on descriptor %d: %s", fd, async_strerror(blocking));
    async__op op = operation(fd, ASYNC__READ, try_read);
    op.buffer = buffer;
    op.length = size;
    op.flags = op.wait_first = blocking;
    return async__op_await(&op, "read");
}

/* ---- sending ---- */

static ssize_t try_send(async__op *op)
{
    return code_of(ASYNC__CALL(send(op->watch.fd, op->buffer, ASYNC__SIZE(op->length),
                                    op->flags | MSG_DONTWAIT | MSG_NOSIGNAL)));
}

static ssize_t send_some(int fd, const void *data, size_t size, int flags, bool wait_first)
{
    async__op op = operation(fd, ASYNC__WRITE, try_send);
    op.buffer = (void *)data;
    op.length = size;
    op.flags = flags;
    op.wait_first = wait_first;
    return async__op_await(&op, "send");
}

ssize_t async_send(int fd, const void *data, size_t size, int flags)
{
    return send_some(fd, data, size, flags, false);
}

int async_sendall(int fd, const void *data, size_t size, size_t *sent)
{
    size_t unused;
    if (!sent) sent = &unused;
    *sent = 0;
    if (size == 0 || !async__current) return async__checkpoint();

    uint32_t generation = async__fd_generation(async__loop(), fd);
    while (*sent < size) {
        if (async__fd_generation(async__loop(), fd) != generation)
            return async__op_closed(fd, "send");
        /* After a partial send the socket's buffer is full: wait before the next attempt. */
        ssize_t n = send_some(fd, (const char *)data + *sent, size - *sent, 0, *sent > 0);
        if (n < 0) return (int)n;
        *sent += (size_t)n;
    }
    return 0;
}

static ssize_t try_sendto(async__op *op)
{
    return code_of(ASYNC__CALL(sendto(op->watch.fd, op->buffer, op->length,
                                      op->flags | MSG_DONTWAIT | MSG_NOSIGNAL, op->address,
                                      *(socklen_t *)op->address_length)));
}

/* A Unix datagram to a receiver whose queue is full gives EAGAIN, while poll reports the sender as
 * writable, and no event reports that the queue has room. So the call is repeated, ever later. */
static ssize_t send_with_backoff(async__op *op)
{
    double pause = 0.001;
    int code = async__current ? 0 : -EPERM, fd = op->watch.fd;
    uint32_t generation = code == 0 ? async__fd_generation(async__loop(), fd) : 0;

    while (code == 0) {
        code = async__checkpoint();
        if (code < 0) return code;
        if (async__fd_generation(async__loop(), fd) != generation)
            return async__op_closed(fd, "sendto");
        ssize_t n = try_sendto(op);
        if (n >= 0) return n;
        if (n == -EINTR) continue;
        if (n != -EAGAIN)
            return async__failf((int)n, "sendto on descriptor %d: %s", fd, async_strerror((int)n));
        code = async_sleep(pause);
        if (pause < LONGEST_PAUSE) pause *= 2;
    }
    return code;
}

ssize_t async_sendto(int fd, const void *data, size_t size, int flags,
                     const struct sockaddr *address, socklen_t length)
{
    async__op op = operation(fd, ASYNC__WRITE, try_sendto);
    op.buffer = (void *)data;
    op.length = size;
    op.flags = flags;
    op.address = (void *)address;
    op.address_length = &length;
    if (address && length >= sizeof address->sa_family && address->sa_family == AF_UNIX)
        return send_with_backoff(&op);
    return async__op_await(&op, "sendto");
}

static ssize_t try_write(async__op *op)
{
    return async__try_write(op->watch.fd, op->buffer, op->length, op->flags);
}

ssize_t async_write(int fd, const void *data, size_t size)
{
    int blocking = async__is_blocking(fd);
    if (blocking < 0)
        return async__failf(blocking, "write on descriptor %d: %s", fd, async_strerror(blocking));
    async__op op = operation(fd, ASYNC__WRITE, try_write);
    op.buffer = (void *)data;
    op.length = size;
    op.flags = op.wait_first = blocking;
    return async__op_await(&op, "write");
}

/* ---- accepting ---- */

static ssize_t try_accept(async__op *op)
{
    return code_of(ASYNC__CALL(
        accept4(op->watch.fd, op->address, op->address_length, SOCK_NONBLOCK | SOCK_CLOEXEC)));
}

/* accept4 has no MSG_DONTWAIT, and would block if the connection that made the socket ready is gone.
 * So the socket is non-blocking for the time of the call. */
static ssize_t try_accept_on_blocking(async__op *op)
{
    int flags = ASYNC__CALL(fcntl(op->watch.fd, F_GETFL));
    if (flags < 0) return -errno;
    fcntl(op->watch.fd, F_SETFL, flags | O_NONBLOCK);
    ssize_t result = try_accept(op);
    fcntl(op->watch.fd, F_SETFL, flags);
    return result;
}

int async_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    int blocking = async__is_blocking(fd);
    if (blocking < 0)
        return async__failf(blocking, "accept on descriptor %d: %s", fd, async_strerror(blocking));
    async__op op = operation(fd, ASYNC__READ, blocking ? try_accept_on_blocking : try_accept);
    op.address = address;
    op.address_length = length;
    return (int)async__op_await(&op, "accept");
}

/* ---- connecting ---- */

static int start_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    int flags = ASYNC__CALL(fcntl(fd, F_GETFL));
    if (flags < 0) return -errno;
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    int code = (int)code_of(ASYNC__CALL(connect(fd, address, length)));
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags);
    return code;
}

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

static ssize_t try_connected(async__op *op) { return async__connected(op->watch.fd); }

static int connect_failed(int code, const struct sockaddr *address, socklen_t length)
{
    char text[sizeof(struct sockaddr_un) + 8];
    async__address_text(address, length, text, sizeof text);
    return async__failf(code, "connect to %s: %s", text, async_strerror(code));
}

int async_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    double pause = 0.001;
    uint32_t generation = async__current ? async__fd_generation(async__loop(), fd) : 0;
    int code = async__checkpoint();
    if (code < 0) return code;
    if (async__fd_generation(async__loop(), fd) != generation)
        return async__op_closed(fd, "connect");

    /* connect to a Unix socket whose listener's queue is full gives EAGAIN, while poll reports the
     * socket as ready, and no event reports that the queue has room. So the call is repeated. */
    while ((code = start_connect(fd, address, length)) == -EAGAIN &&
           address->sa_family == AF_UNIX) {
        code = async_sleep(pause);
        if (code < 0) return code;
        if (async__fd_generation(async__loop(), fd) != generation)
            return async__op_closed(fd, "connect");
        if (pause < LONGEST_PAUSE) pause *= 2;
    }
    if (code == 0) return 0;
    if (code != -EINPROGRESS && code != -EINTR && code != -EALREADY)
        return connect_failed(code, address, length);

    async__op op = operation(fd, ASYNC__WRITE, try_connected);
    op.wait_first = true;
    code = (int)async__op_await(&op, "connect");
    if (code < 0 && code == op.result && code != -ECANCELED)
        return connect_failed(code, address, length);
    return code;
}
