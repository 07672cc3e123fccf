/* uring.c - the back end of completions: io_uring, by liburing. It is there in builds with
 * CASYNCIO_URING, and CASYNCIO_BACKEND=io_uring chooses it.
 *
 * Sockets and files are operated by the ring: recv, send, accept, open, pread, pwrite, fsync and close
 * are the kernel's (KERNEL); for what it has no operation for, the ring is asked when the socket is
 * ready (POLLED), and then the call is made as op.c does. A turn's operations are submitted by the
 * call that waits, so that they share one system call.
 *
 * Below it is epoll, whose descriptor the ring polls. It serves watches, which are promised
 * level-triggering; operations on what is no socket (a tty, a pipe, whose blocking descriptors need
 * the care of nonblocking.c); those on a descriptor that epoll watches in that direction already; and
 * whatever the ring refuses. So nothing is lost if a kernel lacks something: an operation that it ends
 * with EAGAIN is WATCHED from then on, and a file's runs in a thread.
 *
 * An operation belongs to the kernel until its completion has come, cancelled or not, and so does its
 * buffer. `watch.fd` is not to be relied on after a cancel: the number may be another file's. */
#include "uring_ring.h"

#ifdef ASYNC_URING

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a completion belongs to, if not to an operation. */
enum { OF_CANCEL = 0, OF_EPOLL = 1 };

/* op->back_end: what the operation waits for, and whether its end has been asked for. */
enum { KERNEL = 1, POLLED, WATCHED, IN_THREAD, STATE = 0x7, CANCELLED = 0x80 };

static struct uring *self_of(const async_loop *loop) { return loop->back_end; }

/* ---- operations on sockets ---- */

static unsigned length_of(size_t length) { return length > INT_MAX ? INT_MAX : (unsigned)length; }

/* Whether the kernel makes the call. Flags of the caller's own may mean what only a call means:
 * MSG_DONTWAIT, MSG_ERRQUEUE. With an error queue that is not empty, as datagram sockets may have, the
 * kernel would try some hundred times, and then wait in a thread of its own. */
static bool is_kernels(async_loop *loop, const async__op *op)
{
    switch (op->opcode) {
    case ASYNC__OP_RECV:
        if (op->then) return op->flags == 0;
        /* fall through */
    case ASYNC__OP_SEND:
        return op->flags == 0 &&
               async__fd_kind(&loop->fds[op->watch.fd], op->watch.fd) == ASYNC__STREAM;
    case ASYNC__OP_ACCEPT: return true;
    default: return false;
    }
}

static void prepare(struct io_uring_sqe *sqe, async__op *op)
{
    int fd = op->watch.fd;

    if (op->back_end == POLLED) {
        io_uring_prep_poll_add(sqe, fd,
                               op->watch.direction == ASYNC__READ ? POLLIN | POLLRDHUP : POLLOUT);
    } else if (op->opcode == ASYNC__OP_RECV && !op->buffer) {
        io_uring_prep_recv(sqe, fd, NULL, ASYNC__SIZE(ASYNC__BUFFER_SIZE), 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = ASYNC__BUFFER_GROUP;
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    } else if (op->opcode == ASYNC__OP_RECV) {
        io_uring_prep_recv(sqe, fd, op->buffer, ASYNC__SIZE(length_of(op->length)), 0);
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    } else if (op->opcode == ASYNC__OP_SEND) {
        io_uring_prep_send(sqe, fd, op->buffer, ASYNC__SIZE(length_of(op->length)), MSG_NOSIGNAL);
        sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
    } else {
        io_uring_prep_accept(sqe, fd, op->address, op->address_length,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
}

/* Whether the ring takes it: what is known to be a socket, and has no interest of epoll's, which would
 * tell of it as well. */
static bool fits_ring(struct async__fd *entry, const async__op *op)
{
    if (entry->interest & 1u << op->watch.direction) return false;
    switch (op->opcode) {
    case ASYNC__OP_READ:
    case ASYNC__OP_WRITE: return false;
    case ASYNC__OP_CALL:
    case ASYNC__OP_POLL: return async__fd_kind(entry, op->watch.fd) != ASYNC__NO_SOCKET;
    default: return true;
    }
}

/* Hands an operation that hangs in its descriptor's entry to the ring, or to epoll: 0 or a code. */
static int begin(async_loop *loop, async__op *op)
{
    struct uring *self = self_of(loop);
    int fd = op->watch.fd;
    struct io_uring_sqe *sqe = fits_ring(&loop->fds[fd], op) ? async__uring_sqe(self) : NULL;

    if (!sqe) {
        op->back_end = WATCHED;
        return async__fd_want(loop, fd, &op->watch, op->watch.direction);
    }
    op->back_end = is_kernels(loop, op) ? KERNEL : POLLED;
    prepare(sqe, op);
    io_uring_sqe_set_data(sqe, op);
    self->under_way++;
    return 0;
}

static ssize_t take(struct uring *self, async__op *op, int result, unsigned flags)
{
    const void *data = op->buffer;

    /* At the end of the stream, and with an error, there is no buffer, and nothing is looked at. */
    if (op->opcode != ASYNC__OP_RECV || !op->then) return result;
    if (flags & IORING_CQE_F_BUFFER)
        data = async__uring_buffer(self, (int)(flags >> IORING_CQE_BUFFER_SHIFT));
    return op->then(op, data, result);
}

/* -EAGAIN: it has to wait. (A read that the kernel will make is a call that can fail.) */
static ssize_t first_try(struct uring *self, async__op *op)
{
    if (!op->wait_first) return async__op_call(op);
    if (op->opcode == ASYNC__OP_RECV && ASYNC__CALL(0) < 0) return take(self, op, -errno, 0);
    return -EAGAIN;
}

static int submit_file(async_loop *loop, async__op *op);

static int uring_submit(async_loop *loop, async__op *op)
{
    if (async__unlikely(op->opcode >= ASYNC__OP_WORK)) return submit_file(loop, op);
    op->result = first_try(self_of(loop), op);
    if (op->result != -EAGAIN) return 1;
    op->watch.callback.run = loop->poller->ready;
    op->watch.once = false;
    int code = async__fd_hang(loop, op->watch.fd, &op->watch, op->watch.direction);
    if (code == 0 && (code = begin(loop, op)) < 0) async__disarm(loop, &op->watch);
    op->under_way = code == 0;
    if (async__likely(code == 0)) return 0;
    op->result = code;
    return 1;
}

/* An event of epoll's. One with an error or a hang-up is told to both directions, and the ring tells
 * its own operations. */
static void uring_ready(async_callback *callback)
{
    async__op *op = async__container(callback, async__op, watch.callback);

    if ((op->back_end & STATE) == WATCHED) async__op_ready(callback);
}

/* ---- the end of an operation ---- */

static async__op **next_of(async__op *op) { return (async__op **)&op->watch.reserved; }

static void add_cancelled(struct uring *self, async__op *op)
{
    *next_of(op) = NULL;
    *self->last_cancelled = op;
    self->last_cancelled = next_of(op);
}

/* They end in their order, as a rule: it is the first. */
static void remove_cancelled(struct uring *self, async__op *op)
{
    async__op **link = &self->cancelled;

    while (*link != op)
        link = next_of(*link);
    *link = *next_of(op);
    if (!*link) self->last_cancelled = link;
}

static void end(async_loop *loop, async__op *op)
{
    if (async__unlikely(op->back_end & CANCELLED) && op->opcode < ASYNC__OP_WORK) {
        remove_cancelled(self_of(loop), op);
        loop->jobs--;
    }
    async_callback_cancel(&op->watch.callback);
    if (async__likely(op->watch.armed)) async__disarm(loop, &op->watch);
    op->under_way = false;
    op->done(op);
}

/* What a cancelled receive has brought is dropped if its descriptor was closed meanwhile, as is what
 * epoll's would have found. */
static bool is_cancelled(const async__op *op, int result)
{
    if (!(op->back_end & CANCELLED)) return false;
    if (op->opcode == ASYNC__OP_RECV && !op->watch.armed) return true;
    return result == -ECANCELED || result == -EINTR || result == -EAGAIN || result == -ENOBUFS;
}

/* Goes on in another way: the descriptor is watched if `watched`, or else whatever begin() finds. */
static void go_on(async_loop *loop, async__op *op, bool watched)
{
    int code;

    if (watched) {
        op->back_end = WATCHED;
        code = async__fd_want(loop, op->watch.fd, &op->watch, op->watch.direction);
        self_of(loop)->epoll_ready = true; /* it may be so now, and this look has to tell */
    } else {
        code = begin(loop, op);
    }
    if (async__likely(code == 0)) return;
    op->result = code;
    end(loop, op);
}

static void on_kernels_end(async_loop *loop, async__op *op, int result, unsigned flags)
{
    struct uring *self = self_of(loop);

    if (is_cancelled(op, result)) {
        end(loop, op);
    } else if (async__unlikely(result == -ENOBUFS && op->opcode == ASYNC__OP_RECV && !op->buffer)) {
        bool more = self->buffer_count < ASYNC__BUFFERS;
        async__uring_add_buffers(self);
        go_on(loop, op, !more);
    } else if (async__unlikely(result == -EAGAIN)) {
        go_on(loop, op, true);
    } else {
        op->result = take(self, op, result, flags);
        end(loop, op);
    }
}

static void on_polled(async_loop *loop, async__op *op, int result)
{
    if (op->back_end & CANCELLED) {
        end(loop, op);
        return;
    }
    /* An error alone may last, and is no readiness then: fd.c knows. */
    bool unsure = result < 0 || (result == POLLERR && op->opcode == ASYNC__OP_POLL);
    ssize_t called = unsure ? -EAGAIN : async__op_call(op);
    if (called == -EAGAIN) {
        go_on(loop, op, true);
        return;
    }
    op->result = called;
    end(loop, op);
}

/* ---- operations on files ---- */

static void prepare_file(struct io_uring_sqe *sqe, async__op *op)
{
    int fd = op->watch.fd;
    unsigned length = length_of(op->length);
    uint64_t offset = (uint64_t)async__container(op, struct async__work_op, op)->offset;

    switch (op->opcode) {
    case ASYNC__OP_OPEN: io_uring_prep_openat(sqe, AT_FDCWD, op->buffer, op->flags, 0666); break;
    case ASYNC__OP_PREAD:
        io_uring_prep_read(sqe, fd, op->buffer, ASYNC__SIZE(length), offset);
        break;
    case ASYNC__OP_PWRITE:
        io_uring_prep_write(sqe, fd, op->buffer, ASYNC__SIZE(length), offset);
        break;
    case ASYNC__OP_SYNC: io_uring_prep_fsync(sqe, fd, 0); break;
    default: /* CLOSE: what it may wait for is not the loop's */
        io_uring_prep_close(sqe, fd);
        sqe->flags |= IOSQE_ASYNC;
    }
}

/* False: the ring does not take it. */
static bool begin_file(async_loop *loop, async__op *op)
{
    struct uring *self = self_of(loop);
    struct io_uring_sqe *sqe = op->opcode == ASYNC__OP_WORK ? NULL : async__uring_sqe(self);

    if (!sqe) return false;
    op->back_end = (unsigned char)(KERNEL | (op->back_end & CANCELLED));
    prepare_file(sqe, op);
    io_uring_sqe_set_data(sqe, op);
    self->under_way++;
    loop->jobs++;
    return true;
}

static int begin_in_thread(async_loop *loop, async__op *op)
{
    op->back_end = IN_THREAD;
    return async__op_try(loop, op);
}

static int submit_file(async_loop *loop, async__op *op)
{
    op->back_end = 0;
    op->under_way = true;
    return begin_file(loop, op) ? 0 : begin_in_thread(loop, op);
}

/* Of a write that is not over: true if the ring goes on with it. */
static bool write_on(async_loop *loop, async__op *op, int result)
{
    struct async__work_op *self = async__container(op, struct async__work_op, op);

    if (op->opcode != ASYNC__OP_PWRITE || result <= 0) return false;
    op->buffer = (char *)op->buffer + result;
    op->length -= (size_t)result;
    if (self->offset >= 0) self->offset += result;
    if (op->length == 0) return false;
    if (!begin_file(loop, op) && begin_in_thread(loop, op) == 1) end(loop, op);
    return true;
}

static bool needs_thread(int result)
{
    return result == -EAGAIN || result == -EOPNOTSUPP || result == -EINVAL;
}

static void on_file_end(async_loop *loop, async__op *op, int result)
{
    loop->jobs--;
    if (is_cancelled(op, result)) {
        end(loop, op);
    } else if (async__unlikely(needs_thread(result))) {
        if (begin_in_thread(loop, op) == 1) end(loop, op);
    } else if (!write_on(loop, op, result)) {
        if (op->opcode == ASYNC__OP_PWRITE && result >= 0) result = op->length > 0 ? -EIO : 0;
        if (op->opcode == ASYNC__OP_CLOSE && result == -EINTR) result = 0;
        op->result = result;
        end(loop, op);
    }
}

/* ---- cancelling ---- */

static bool ask_for_end(struct uring *self, async__op *op)
{
    struct io_uring_sqe *sqe = async__uring_sqe(self);

    if (!sqe) return false;
    io_uring_prep_cancel(sqe, op, 0);
    io_uring_sqe_set_data64(sqe, OF_CANCEL);
    return true;
}

/* The kernel does not find a request that is on its way from one of its lists to another. */
static void ask_again(struct uring *self)
{
    self->ask_again = false;
    for (async__op *op = self->cancelled; op && !self->ask_again; op = *next_of(op))
        self->ask_again = !ask_for_end(self, op);
}

static void uring_cancel(async_loop *loop, async__op *op, int code)
{
    struct uring *self = self_of(loop);
    unsigned state = op->back_end & STATE;

    if (!op->under_way || async__is_forked(loop)) return;
    if (state == WATCHED || state == IN_THREAD) {
        async__op_abandon(loop, op, code);
        return;
    }
    if (!(op->back_end & CANCELLED)) {
        /* In a child of a fork: one of its parent's. */
        if (op->opcode < ASYNC__OP_WORK && !async__watches(loop, &op->watch)) return;
        bool asked = ask_for_end(self, op);
        op->back_end |= CANCELLED;
        op->result = code;
        if (op->opcode < ASYNC__OP_WORK) {
            loop->jobs++; /* the end will come, whatever it waits for */
            add_cancelled(self, op);
            if (!asked) self->ask_again = true;
        }
    }
    /* The descriptor is about to be closed. An operation holds the file, so a socket would be neither
     * shut down nor its port free until the next look: the operation goes now, and its completion
     * waits for the look. */
    if (code == -EBADF) (void)async__uring_submit(self);
}

/* ---- looking outside ---- */

static void complete(async_loop *loop, const struct io_uring_cqe *cqe)
{
    struct uring *self = self_of(loop);

    if (cqe->user_data == OF_CANCEL) {
        if (cqe->res == -ENOENT && self->cancelled) self->ask_again = true;
        return;
    }
    if (cqe->user_data == OF_EPOLL) {
        self->polls_epoll = false;
        self->epoll_ready = true;
        return;
    }
    async__op *op = io_uring_cqe_get_data(cqe);
    self->under_way--;
    if (async__unlikely(op->opcode >= ASYNC__OP_WORK))
        on_file_end(loop, op, cqe->res);
    else if ((op->back_end & STATE) == KERNEL)
        on_kernels_end(loop, op, cqe->res, cqe->flags);
    else
        on_polled(loop, op, cqe->res);
    async__uring_give_back(self, cqe->flags);
}

/* Those that have come by now: what they begin may end at once, and is for the next look. */
static void reap(async_loop *loop)
{
    struct io_uring *ring = &self_of(loop)->ring;

    for (unsigned left = io_uring_cq_ready(ring); left > 0; left--) {
        struct io_uring_cqe *next;
        if (io_uring_peek_cqe(ring, &next) < 0) return;
        struct io_uring_cqe cqe = {
            .user_data = next->user_data, .res = next->res, .flags = next->flags};
        io_uring_cqe_seen(ring, next);
        complete(loop, &cqe);
    }
}

/* The poll is renewed for each look after one that found something: so it tells of what is still
 * ready, too. */
static void poll_epoll(struct uring *self)
{
    if (async__likely(self->polls_epoll)) return;
    struct io_uring_sqe *sqe = async__uring_sqe(self);
    if (!sqe) return;
    io_uring_prep_poll_add(sqe, self->epoll.fd, POLLIN);
    io_uring_sqe_set_data64(sqe, OF_EPOLL);
    self->polls_epoll = true;
}

/* Whether a look would find anything: the kernel raises a flag when it has work for the thread. */
static bool has_news(struct uring *self)
{
    struct io_uring *ring = &self->ring;

    return io_uring_sq_ready(ring) > 0 || io_uring_cq_ready(ring) > 0 ||
           IO_URING_READ_ONCE(*ring->sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static int sleep_for(struct uring *self, int64_t timeout)
{
    struct io_uring_cqe *cqe;
#ifdef ASYNC_FAULTS
    if (timeout != ASYNC__NEVER) timeout /= async__fault_speed;
#endif
    struct __kernel_timespec limit = {timeout / ASYNC__SECOND, timeout % ASYNC__SECOND};
    if (ASYNC__CALL(0) < 0) return -errno;
    return io_uring_submit_and_wait_timeout(&self->ring, &cqe, 1,
                                            timeout == ASYNC__NEVER ? NULL : &limit, NULL);
}

/* EAGAIN and EBUSY: the kernel lacks memory for requests, or keeps completions until they are
 * fetched. */
static bool passes(int code)
{
    return code == -EINTR || code == -ETIME || code == -EAGAIN || code == -EBUSY;
}

static int look(async_loop *loop, int64_t timeout)
{
    struct uring *self = self_of(loop);
    async_poll_hooks hooks = {0};
    int code = async__uring_check_thread(self);

    if (code < 0) return code;
    if (async__unlikely(self->ask_again)) ask_again(self);
    poll_epoll(self);
    /* What could not be asked for is asked again soon. */
    if (async__unlikely(self->ask_again || !self->polls_epoll)) timeout = 0;
    if (timeout == 0) {
        code = has_news(self) ? async__uring_submit(self) : 0;
    } else {
        hooks = loop->hooks;
        if (hooks.before) hooks.before(hooks.data);
        code = sleep_for(self, timeout);
        if (hooks.after) hooks.after(hooks.data);
    }
    if (code < 0 && !passes(code)) return code;
    reap(loop);
    return 0;
}

static int uring_wait(async_loop *loop, int64_t timeout)
{
    struct uring *self = self_of(loop);

    if (async__unlikely(async__is_forked(loop))) return -ECHILD;
    int code = look(loop, timeout);
    if (code < 0 || (!self->epoll_ready && self->event_fd < 0)) return code;
    self->epoll_ready = false;
    return async__epoll.wait(loop, 0);
}

/* The loop is left: its descriptor has to tell of what was begun since the last look. */
static void uring_rest(async_loop *loop)
{
    struct uring *self = self_of(loop);

    if (async__is_forked(loop)) return;
    poll_epoll(self);
    if (io_uring_sq_ready(&self->ring) > 0) (void)async__uring_submit(self);
}

static int uring_interest(async_loop *loop, int fd, struct async__fd *entry, unsigned interest)
{
    return async__epoll.interest(loop, fd, entry, interest);
}

/* The ring's own descriptor becomes readable only when a completion has been written, which needs the
 * loop's thread. An eventfd is told before that. It is in epoll's set, edge-triggered and never read,
 * under a number that is no descriptor's: so epoll's descriptor tells of both. */
static int add_event_fd(struct uring *self)
{
    struct epoll_event event = {.events = EPOLLIN | (uint32_t)EPOLLET, .data.u64 = INT_MAX};
    int fd = ASYNC__CALL(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

    if (fd < 0) return -errno;
    int code = ASYNC__CALL(epoll_ctl(self->epoll.fd, EPOLL_CTL_ADD, fd, &event)) < 0 ? -errno : 0;
    if (code == 0) code = io_uring_register_eventfd(&self->ring, fd);
    if (code < 0)
        close(fd);
    else
        self->event_fd = fd;
    return code;
}

static int uring_fd(const async_loop *loop)
{
    struct uring *self = self_of(loop);

    if (self->event_fd < 0 && (async__uring_check_thread(self) < 0 || add_event_fd(self) < 0))
        return self->ring.ring_fd;
    if (!loop->running) uring_rest((async_loop *)loop);
    return self->epoll.fd;
}

/* ---- opening and closing ---- */

/* Where there can be no ring the loop has epoll, whose state is at the front of this one's. */
static int uring_open(async_loop *loop)
{
    int code = async__epoll.open(loop);
    if (code < 0) return code;
    struct uring *self = async__realloc(loop->back_end, sizeof *self);
    if (!self) {
        loop->poller = &async__epoll;
        return 0;
    }
    loop->back_end = self;
    memset((char *)self + sizeof self->epoll, 0, sizeof *self - sizeof self->epoll);
    self->event_fd = -1;
    self->last_cancelled = &self->cancelled;
    if (async__uring_map(self)) {
        if (async__uring_set_up(self) == 0) return 0;
        async__uring_unmap(self);
    }
    loop->poller = &async__epoll;
    return 0;
}

/* Has the kernel end all that is under way, and waits until it has. Owners of operations are told, as
 * they may free what waits for them; jobs are dropped, as a pool's are. */
static void end_all(async_loop *loop)
{
    struct uring *self = self_of(loop);
    struct io_uring_sqe *sqe = async__uring_sqe(self);

    if (sqe) {
        io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
        io_uring_sqe_set_data64(sqe, OF_CANCEL);
    }
    while (self->under_way > 0) {
        struct io_uring_cqe *cqe;
        int code = io_uring_submit_and_wait_timeout(&self->ring, &cqe, 1, NULL, NULL);
        if (code < 0 && !passes(code)) return; /* what is left belongs to the kernel for good */
        while (io_uring_peek_cqe(&self->ring, &cqe) == 0) {
            async__op *op =
                cqe->user_data == OF_EPOLL ? NULL : (async__op *)io_uring_cqe_get_data(cqe);
            int result = cqe->res;
            io_uring_cqe_seen(&self->ring, cqe);
            if (!op) continue;
            self->under_way--;
            op->result = result;
            if (op->opcode >= ASYNC__OP_WORK) {
                struct async__work_op *work = async__container(op, struct async__work_op, op);
                op->under_way = false;
                if (work->job.drop) work->job.drop(&work->job);
            } else {
                end(loop, op);
            }
        }
    }
}

/* What another thread has begun is the kernel's for good, with its memory. */
static void uring_close(async_loop *loop)
{
    struct uring *self = self_of(loop);
    bool forked = async__is_forked(loop);

    if (!forked && self->under_way > 0 && async__uring_check_thread(self) == 0) end_all(loop);
    bool idle = self->under_way == 0;
    async__uring_take_down(self, forked);
    if (idle || forked) async__uring_unmap(self);
    if (self->event_fd >= 0) close(self->event_fd);
    async__epoll.close(loop);
}

const async__poller async__uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .interest = uring_interest,
    .wait = uring_wait,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .ready = uring_ready,
    .fd = uring_fd,
    .rest = uring_rest,
};

#endif
