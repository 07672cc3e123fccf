/* socket.c - calls on raw descriptors: sockets.h.
 *
 * Each call describes one system call as an operation (async__op), and awaits that.
 *
 * A descriptor is a number, which after a close may be given to something else. The loop ends
 * operations that wait as it is told of the close; a call that lets other tasks run at another point
 * compares the descriptor's generation before and after (async__fd_generation). */
#include "io.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define LONGEST_PAUSE 0.04 /* seconds between attempts where no event tells that there is room */

static async__op operation(int fd, unsigned char direction, enum async__opcode opcode)
{
    return (async__op){
        .watch = {.fd = fd, .direction = direction},
        .opcode = (unsigned char)opcode,
    };
}

/* ---- readiness ---- */

static int wait_ready(int fd, unsigned char direction, const char *what)
{
    async__op op = operation(fd, direction, ASYNC__OP_POLL);
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

/* recv of 0 bytes on a stream socket gives EAGAIN while there is no data, though there is nothing to
 * wait for. On a datagram socket it takes a datagram. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    return ASYNC__CALL(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) == 0 &&
           type == SOCK_STREAM;
}

/* Whether the last receive has emptied the socket's buffer: a call would find nothing, as a rule, so it
 * waits first. If there is data the next look outside says so. */
static bool was_drained(int fd)
{
    const async_loop *loop = async__loop();
    return loop && (unsigned)fd < (unsigned)loop->fds_length && loop->fds[fd].drained;
}

ssize_t async_recv(int fd, void *buffer, size_t size, int flags)
{
    if (async__unlikely(size == 0) && is_stream(fd)) return async__checkpoint();
    async__op op;
    async__op_init(&op, NULL, ASYNC__READ, ASYNC__OP_RECV);
    op.watch.fd = fd;
    op.buffer = buffer;
    op.length = size;
    op.flags = flags;
    op.then = NULL;
    op.wait_first = flags == 0 && was_drained(fd);
    return async__op_await(&op, "recv");
}

ssize_t async_recvfrom(int fd, void *buffer, size_t size, int flags, struct sockaddr *address,
                       socklen_t *length)
{
    async__op op = operation(fd, ASYNC__READ, ASYNC__OP_RECVFROM);
    op.buffer = buffer;
    op.length = size;
    op.flags = flags;
    op.address = address;
    op.address_length = length;
    return async__op_await(&op, "recvfrom");
}

ssize_t async_read(int fd, void *buffer, size_t size)
{
    int blocking = async__is_blocking(fd);
    if (blocking < 0)
        return async__failf(blocking, "read on descriptor %d: %s", fd, async_strerror(blocking));
    async__op op = operation(fd, ASYNC__READ, ASYNC__OP_READ);
    op.buffer = buffer;
    op.length = size;
    op.flags = op.wait_first = blocking;
    return async__op_await(&op, "read");
}

/* ---- sending ---- */

static ssize_t send_some(int fd, const void *data, size_t size, int flags, bool wait_first)
{
    async__op op;
    async__op_init(&op, NULL, ASYNC__WRITE, ASYNC__OP_SEND);
    op.watch.fd = fd;
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
    for (;;) {
        /* After a partial send the socket's buffer is full: wait before the next attempt. */
        ssize_t n = send_some(fd, (const char *)data + *sent, size - *sent, 0, *sent > 0);
        if (n < 0) return (int)n;
        *sent += (size_t)n;
        if (async__likely(*sent == size)) return 0;
        if (async__fd_generation(async__loop(), fd) != generation)
            return async__op_closed(fd, "send");
    }
}

/* A Unix datagram to a receiver whose queue is full gives EAGAIN, while poll reports the sender as
 * writable, and no event reports that the queue has room. So the call is repeated, ever later. */
static ssize_t send_with_backoff(async__op *op)
{
    double pause = 0.001;
    int code = async__current ? 0 : -EPERM, fd = op->watch.fd;
    uint32_t generation = code == 0 ? async__fd_generation(async__loop(), fd) : 0;

    while (code == 0) {
        code = async__checkpoint_in("send");
        if (code < 0) return code;
        if (async__fd_generation(async__loop(), fd) != generation)
            return async__op_closed(fd, "sendto");
        ssize_t n = async__op_call(op);
        if (n >= 0) return n;
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
    async__op op = operation(fd, ASYNC__WRITE, ASYNC__OP_SENDTO);
    op.buffer = (void *)data;
    op.length = size;
    op.flags = flags;
    op.address = (void *)address;
    op.address_length = &length;
    if (address && length >= sizeof address->sa_family && address->sa_family == AF_UNIX)
        return send_with_backoff(&op);
    return async__op_await(&op, "sendto");
}

ssize_t async_write(int fd, const void *data, size_t size)
{
    int blocking = async__is_blocking(fd);
    if (blocking < 0)
        return async__failf(blocking, "write on descriptor %d: %s", fd, async_strerror(blocking));
    async__op op = operation(fd, ASYNC__WRITE, ASYNC__OP_WRITE);
    op.buffer = (void *)data;
    op.length = size;
    op.flags = op.wait_first = blocking;
    return async__op_await(&op, "write");
}

/* ---- accepting ---- */

int async_accept(int fd, struct sockaddr *address, socklen_t *length)
{
    int blocking = async__is_blocking(fd);
    if (blocking < 0)
        return async__failf(blocking, "accept on descriptor %d: %s", fd, async_strerror(blocking));
    async__op op = operation(fd, ASYNC__READ, ASYNC__OP_ACCEPT);
    op.flags = blocking;
    op.address = address;
    op.address_length = length;
    return (int)async__op_await(&op, "accept");
}

/* ---- connecting ---- */

static int connect_failed(int code, const struct sockaddr *address, socklen_t length)
{
    char text[sizeof(struct sockaddr_un) + 8];
    async__address_text(address, length, text, sizeof text);
    return async__failf(code, "connect to %s: %s", text, async_strerror(code));
}

/* connect to a Unix socket whose listener's queue is full (EXFULL) is repeated, ever later. */
int async_connect(int fd, const struct sockaddr *address, socklen_t length)
{
    double pause = 0.001;
    uint32_t generation = async__current ? async__fd_generation(async__loop(), fd) : 0;

    for (;;) {
        async__op op = operation(fd, ASYNC__WRITE, ASYNC__OP_CONNECT);
        op.address = (void *)address;
        op.length = length;
        int code = (int)async__op_await(&op, "connect");
        if (code == 0 || op.result == 0 || op.result == -ECANCELED) return code;
        if (code != op.result) return code;
        if (code != -EXFULL) return connect_failed(code, address, length);
        if (address->sa_family != AF_UNIX) return connect_failed(-EAGAIN, address, length);
        code = async_sleep(pause);
        if (code < 0) return code;
        if (async__fd_generation(async__loop(), fd) != generation)
            return async__op_closed(fd, "connect");
        if (pause < LONGEST_PAUSE) pause *= 2;
    }
}
