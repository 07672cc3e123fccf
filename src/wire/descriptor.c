/* descriptor.c - wires that are descriptors: sockets, and other files (pipes, ttys). The poller has
 * their operations and watches. */
#include "wire.h"

#include <casyncio/sockets.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static inline struct async__fd_wire *self_of(const async__wire *wire)
{
    return async__container((async__wire *)wire, struct async__fd_wire, wire);
}

static int submit(async__wire *wire, async_loop *loop, async__op *op)
{
    op->watch.fd = self_of(wire)->fd;
    return loop->poller->submit(loop, op);
}

static void cancel(async__wire *wire, async_loop *loop, async__op *op, int code)
{
    (void)wire;
    loop->poller->cancel(loop, op, code);
}

static int watch(async__wire *wire, async_loop *loop, unsigned direction, async_watch *watch)
{
    int fd = self_of(wire)->fd;

    if (fd >= 0 && async__watches(loop, watch)) {
        async__fd_not_ready(loop, fd);
        return 0;
    }
    return direction == ASYNC__READ ? async_add_reader(loop, fd, watch)
                                    : async_add_writer(loop, fd, watch);
}

static bool unwatch(async__wire *wire, async_loop *loop, async_watch *watch)
{
    (void)wire;
    return loop && async_remove_watch(loop, watch);
}

static int close_fd(async__wire *wire)
{
    struct async__fd_wire *self = self_of(wire);
    int fd = self->fd;

    self->fd = -1;
    return fd >= 0 ? async_close(fd) : 0;
}

/* ---- sockets ---- */

static ssize_t socket_recv(async__wire *wire, void *buffer, size_t size)
{
    ssize_t n = ASYNC__CALL(recv(self_of(wire)->fd, buffer, ASYNC__SIZE(size), MSG_DONTWAIT));
    return async__unlikely(n < 0) ? -errno : n;
}

static ssize_t send_pieces(int fd, const struct iovec *pieces, int count)
{
    struct msghdr message = {
        .msg_iov = (struct iovec *)pieces,
        .msg_iovlen = (size_t)(count < IOV_MAX ? count : IOV_MAX),
    };
    return ASYNC__CALL(sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static ssize_t socket_send(async__wire *wire, const struct iovec *pieces, int count)
{
    int fd = self_of(wire)->fd;
    ssize_t n;

    do {
        if (async__likely(count == 1))
            n = ASYNC__CALL(send(fd, pieces->iov_base, ASYNC__SIZE(pieces->iov_len),
                                 MSG_DONTWAIT | MSG_NOSIGNAL));
        else
            n = send_pieces(fd, pieces, count);
    } while (async__unlikely(n < 0) && errno == EINTR);
    return async__unlikely(n < 0) ? -errno : n;
}

static int socket_end(async__wire *wire)
{
    return ASYNC__CALL(shutdown(self_of(wire)->fd, SHUT_WR)) < 0 ? -errno : 0;
}

static int socket_query(const async__wire *wire, enum async__wire_query what, void *result)
{
    switch (what) {
    case ASYNC__WIRE_FD: *(int *)result = self_of(wire)->fd; return 0;
    case ASYNC__WIRE_CAN_END: *(bool *)result = true; return 0;
    case ASYNC__WIRE_DIRECT: /* sendfile and splice have no MSG_DONTWAIT */
        if (async__is_blocking(self_of(wire)->fd) != 0) return -EOPNOTSUPP;
        *(int *)result = self_of(wire)->fd;
        return 0;
    default: return -EOPNOTSUPP;
    }
}

/* ---- other files ---- */

static ssize_t file_recv(async__wire *wire, void *buffer, size_t size)
{
    struct async__fd_wire *self = self_of(wire);
    return async__try_read(self->fd, buffer, size, self->blocking);
}

static ssize_t file_send(async__wire *wire, const struct iovec *pieces, int count)
{
    struct async__fd_wire *self = self_of(wire);
    struct pollfd room = {.fd = self->fd, .events = POLLOUT};
    ssize_t n;

    /* 0, or EINTR if a signal is pending, which poll reports even with no time to wait. */
    if (self->blocking && ASYNC__CALL(poll(&room, 1, 0)) <= 0) return -EAGAIN;
    do
        n = async__try_writev(self->fd, pieces, count, self->blocking);
    while (n == -EINTR);
    return n;
}

static int file_submit(async__wire *wire, async_loop *loop, async__op *op)
{
    bool blocking = self_of(wire)->blocking;

    if (blocking) op->wait_first = true;
    if (op->opcode == ASYNC__OP_RECV) {
        op->opcode = ASYNC__OP_READ;
        op->flags = blocking;
    }
    return submit(wire, loop, op);
}

static bool can_end(int fd)
{
    struct stat status;
    return ASYNC__CALL(fstat(fd, &status)) == 0 && S_ISFIFO(status.st_mode) &&
           (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

static int file_query(const async__wire *wire, enum async__wire_query what, void *result)
{
    switch (what) {
    case ASYNC__WIRE_FD: *(int *)result = self_of(wire)->fd; return 0;
    case ASYNC__WIRE_CAN_END: *(bool *)result = can_end(self_of(wire)->fd); return 0;
    default: return -EOPNOTSUPP; /* DIRECT: a pipe's other end may be blocking, or a terminal */
    }
}

static const struct async__wire_type socket_type = {
    .name = "socket",
    .recv = socket_recv,
    .send = socket_send,
    .send_end = socket_end,
    .submit = submit,
    .cancel = cancel,
    .watch = watch,
    .unwatch = unwatch,
    .query = socket_query,
    .close = close_fd,
};

static const struct async__wire_type file_type = {
    .name = "file",
    .recv = file_recv,
    .send = file_send,
    .send_end = close_fd, /* a pipe's end is sent by closing it */
    .submit = file_submit,
    .cancel = cancel,
    .watch = watch,
    .unwatch = unwatch,
    .query = file_query,
    .close = close_fd,
};

void async__fd_wire_init(struct async__fd_wire *self, int fd, bool socket, bool blocking)
{
    self->wire = (async__wire){.type = socket ? &socket_type : &file_type};
    self->fd = fd;
    self->blocking = blocking && !socket; /* a socket's calls say MSG_DONTWAIT */
}
