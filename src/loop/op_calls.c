/* op_calls.c - the system calls of operations, by opcode; none of them blocks.
 *
 * A back end of completions has a table of its own in this one's place, and needs these for what its
 * kernel cannot do. */
#include "../base/faults.h"
#include "loop_internal.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

static inline ssize_t code_of(ssize_t result)
{
    return async__unlikely(result < 0) ? -errno : result;
}

/* ---- receiving ---- */

/* Where the data goes if the operation has no buffer; NULL: no memory. */
static inline void *take_scratch(size_t *size)
{
    *size = ASYNC__SCRATCH;
    return async__scratch_of(async__loop());
}

/* A stream socket that gave less than there was room for is empty, and the next receive waits first. */
__attribute__((noinline)) static void note_drained(const async__op *op, bool drained)
{
    async_loop *loop = async__loop();
    int fd = op->watch.fd;

    if (op->flags || fd >= loop->fds_length) return;
    struct async__fd *entry = &loop->fds[fd];
    entry->drained = drained && async__fd_kind(entry, fd) == ASYNC__STREAM;
}

static ssize_t call_recv(async__op *op)
{
    size_t size = op->length;
    void *data = op->buffer;

    if (!data && !(data = take_scratch(&size))) return -ENOMEM;
    ssize_t n = ASYNC__CALL(recv(op->watch.fd, data, ASYNC__SIZE(size), op->flags | MSG_DONTWAIT));
    if (async__unlikely(n < 0) && (n = -errno) == -EINTR) return n;
    if (op->then) return op->then(op, data, n);
    bool drained = (size_t)n < size;
    if (async__unlikely(drained != op->wait_first) && n > 0) note_drained(op, drained);
    return n;
}

static ssize_t call_read(async__op *op)
{
    size_t size = op->length;
    void *data = op->buffer;

    if (!data && !(data = take_scratch(&size))) return -ENOMEM;
    ssize_t n = async__try_read(op->watch.fd, data, size, op->flags);
    return op->then && n != -EINTR ? op->then(op, data, n) : n;
}

static ssize_t call_recvfrom(async__op *op)
{
    return code_of(
        ASYNC__CALL(recvfrom(op->watch.fd, op->buffer, op->length, op->flags | MSG_DONTWAIT,
                             op->address, op->address_length)));
}

/* ---- sending ---- */

static ssize_t call_send(async__op *op)
{
    return code_of(ASYNC__CALL(send(op->watch.fd, op->buffer, ASYNC__SIZE(op->length),
                                    op->flags | MSG_DONTWAIT | MSG_NOSIGNAL)));
}

static ssize_t call_sendto(async__op *op)
{
    return code_of(ASYNC__CALL(sendto(op->watch.fd, op->buffer, op->length,
                                      op->flags | MSG_DONTWAIT | MSG_NOSIGNAL, op->address,
                                      *(socklen_t *)op->address_length)));
}

static ssize_t call_write(async__op *op)
{
    return async__try_write(op->watch.fd, op->buffer, op->length, op->flags);
}

/* ---- connections ---- */

static ssize_t accept_one(async__op *op)
{
    return code_of(ASYNC__CALL(
        accept4(op->watch.fd, op->address, op->address_length, SOCK_NONBLOCK | SOCK_CLOEXEC)));
}

/* accept4 has no MSG_DONTWAIT, and would block if the connection that made the socket ready is gone.
 * So a blocking socket is non-blocking for the time of the call. */
static ssize_t call_accept(async__op *op)
{
    if (async__likely(!op->flags)) return accept_one(op);
    int flags = ASYNC__CALL(fcntl(op->watch.fd, F_GETFL));
    if (flags < 0) return -errno;
    fcntl(op->watch.fd, F_SETFL, flags | O_NONBLOCK);
    ssize_t result = accept_one(op);
    fcntl(op->watch.fd, F_SETFL, flags);
    return result;
}

static ssize_t begin_connect(async__op *op)
{
    int fd = op->watch.fd, flags = ASYNC__CALL(fcntl(fd, F_GETFL));

    if (flags < 0) return -errno;
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    ssize_t code = code_of(ASYNC__CALL(connect(fd, op->address, (socklen_t)op->length)));
    if (!(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags);
    return code;
}

/* Interrupted by a signal it goes on, too. EAGAIN is what a Unix socket gives whose listener's queue
 * is full. No readiness will tell that there is room, so it becomes a code of its own. */
static ssize_t call_connect(async__op *op)
{
    if (op->flags) return async__connected(op->watch.fd);
    ssize_t code = begin_connect(op);
    if (code == -EAGAIN) return -EXFULL;
    if (code != -EINPROGRESS && code != -EINTR && code != -EALREADY) return code;
    op->flags = 1;
    return -EAGAIN;
}

/* ---- the table ---- */

static ssize_t call_nothing(async__op *op)
{
    (void)op;
    return 0;
}

static ssize_t call_attempt(async__op *op) { return op->attempt(op); }

ssize_t (*const async__op_calls[])(async__op *) = {
    [ASYNC__OP_CALL] = call_attempt,      [ASYNC__OP_POLL] = call_nothing,
    [ASYNC__OP_RECV] = call_recv,         [ASYNC__OP_READ] = call_read,
    [ASYNC__OP_RECVFROM] = call_recvfrom, [ASYNC__OP_SEND] = call_send,
    [ASYNC__OP_SENDTO] = call_sendto,     [ASYNC__OP_WRITE] = call_write,
    [ASYNC__OP_ACCEPT] = call_accept,     [ASYNC__OP_CONNECT] = call_connect,
};
