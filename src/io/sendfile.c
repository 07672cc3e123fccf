/* sendfile.c - from a file to a stream.
 *
 * sendfile(2) sends what the kernel has in its cache without a copy, but waits for the disk where it
 * has not, in the loop's thread. So before a chunk is sent the kernel is asked whether it has the end
 * of it, and if not a thread of the pool reads the chunk into the cache first. What cannot be sent by
 * the kernel (to TLS, a pipe, memory; or from a file system that knows no splice) is read out of the
 * cache, and written.
 *
 * The call works on a descriptor of its own, a duplicate. So the file may be closed meanwhile, many
 * calls may send one file at once, and a thread that a cancellation leaves behind reads from nothing
 * else than the file. */
#include "file.h"

#include <casyncio/transfers.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x08
#endif

enum {
    CHUNK = 1 << 20,       /* what is made sure of at once, and sent between two checkpoints */
    COPIED = 64 * 1024,    /* what is read and written at once */
    READ_AHEAD = 16 * 1024 /* the buffer through which a thread reads */
};

struct transfer {
    async__op op;
    async_stream *to;
    const char *name; /* of the file, for messages */
    int fd, out;      /* out: the socket; -1: what is sent goes through `buffer` */
    int64_t offset, left, size;
    int64_t cached; /* the file is in the kernel's cache up to here */
    int64_t *sent;
    char *buffer;
};

static int failed(const struct transfer *self, int code)
{
    return async__failf(code, "sendfile of %s: %s", self->name, async_strerror(code));
}

/* ---- the kernel's cache ---- */

static ssize_t run_read_ahead(async__op *op)
{
    char buffer[READ_AHEAD];
    int64_t offset = async__work_of(op)->call.offset, end = offset + (int64_t)op->length;

    while (offset < end) {
        ssize_t n = ASYNC__CALL(pread(op->watch.fd, buffer, sizeof buffer, offset));
        if (n <= 0) break; /* the send will find the end, or the error */
        offset += n;
    }
    return 0;
}

/* The job owns the descriptor while it is under way: a cancellation leaves it to it. */
static int read_ahead(struct transfer *self, int64_t end)
{
    struct async__work *work = async__work_new(NULL, ASYNC__OP_WORK, run_read_ahead, 0);
    if (!work) return -ENOMEM;
    work->call.op.watch.fd = work->owned_fd = self->fd;
    work->call.op.length = (size_t)(end - self->offset);
    work->call.offset = self->offset;
    int code = async__work_await(work, "sendfile");
    if (code < 0) {
        self->fd = -1;
        return code;
    }
    work->owned_fd = -1;
    async__free(work);
    return 0;
}

static bool is_cached(const struct transfer *self, int64_t offset)
{
    char byte;
    struct iovec piece = {&byte, 1};
    long high = sizeof(long) == 8 ? 0L : (long)(offset >> 31 >> 1);
    return ASYNC__CALL(syscall(SYS_preadv2, self->fd, &piece, 1, (long)offset, high, RWF_NOWAIT)) >=
           0;
}

/* Makes sure that the next chunk can be read without waiting for the disk. */
static int fill_cache(struct transfer *self)
{
    int64_t end = self->offset + (self->left < CHUNK ? self->left : CHUNK);

    if (self->offset < self->cached) return 0;
    if (end > self->size && self->size > self->offset) end = self->size;
    int code = is_cached(self, end - 1) ? 0 : read_ahead(self, end);
    if (code == 0) self->cached = end;
    return code;
}

/* ---- sending ---- */

static size_t next_size(const struct transfer *self, int64_t most)
{
    int64_t size = self->cached - self->offset;
    if (size > most) size = most;
    return (size_t)(size < self->left ? size : self->left);
}

static void advance(struct transfer *self, ssize_t n)
{
    self->left -= n;
    *self->sent += n;
}

static ssize_t try_send(async__op *op)
{
    struct transfer *self = async__container(op, struct transfer, op);
    return async__try_sendfile(self->out, self->fd, &self->offset, next_size(self, CHUNK));
}

/* Whether it is the kernel's way that does not work. */
static bool must_buffer(const async__op *op)
{
    return op->result == -EINVAL || op->result == -ENOSYS || op->result == -EOPNOTSUPP;
}

/* How much; 0: the file ends; -EAGAIN: call again; a code. */
static ssize_t send_directly(struct transfer *self)
{
    int code = async__write_settled(self->to);
    if (code < 0) return code;
    async__op_init(&self->op, self->to->wire, ASYNC__WRITE, ASYNC__OP_CALL);
    self->op.attempt = try_send;
    ssize_t n = async__write_run(self->to, &self->op, "sendfile");
    if (n >= 0) {
        advance(self, n);
        return n;
    }
    if (must_buffer(&self->op)) {
        self->out = -1;
        return -EAGAIN;
    }
    return self->op.result == -ECANCELED || self->to->closed || self->to->write_error < 0
               ? n
               : failed(self, (int)n);
}

static ssize_t send_copied(struct transfer *self)
{
    if (!self->buffer && !(self->buffer = async__alloc(COPIED))) return failed(self, -ENOMEM);
    ssize_t n = ASYNC__CALL(
        pread(self->fd, self->buffer, ASYNC__SIZE(next_size(self, COPIED)), self->offset));
    if (n < 0) return errno == EINTR ? -EAGAIN : failed(self, -errno);
    if (n == 0) return 0;
    size_t left = (size_t)n;
    int code = async__write_bytes(self->to, self->buffer, (size_t)n, &left);
    self->offset += n - (ssize_t)left;
    advance(self, n - (ssize_t)left);
    return code < 0 ? code : n;
}

/* With the turn of the stream. */
static int send_all(struct transfer *self)
{
    self->out = async__wire_direct(self->to->wire);
    while (self->left > 0) {
        int code = fill_cache(self);
        if (code == 0 && self->to->closed) code = async__stream_closed();
        if (code < 0) return code;
        ssize_t n = self->out >= 0 ? send_directly(self) : send_copied(self);
        if (n == 0) return 0;
        if (n < 0 && n != -EAGAIN) return (int)n;
        code = async__stream_again(self->to);
        if (code < 0) return code;
    }
    return 0;
}

/* ---- the call ---- */

static int check(struct transfer *self, int64_t offset, int64_t count)
{
    struct stat status;

    if (offset < 0 || count < -1)
        return async__failf(-EINVAL, "sendfile of %s: %" PRId64 " bytes from %" PRId64, self->name,
                            count, offset);
    if (ASYNC__CALL(fstat(self->fd, &status)) < 0) return failed(self, -errno);
    if (S_ISDIR(status.st_mode)) return failed(self, -EISDIR);
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return async__failf(-ESPIPE, "sendfile of %s: it is no file with offsets", self->name);
    int flags = ASYNC__CALL(fcntl(self->fd, F_GETFL));
    if (flags < 0) return failed(self, -errno);
    if ((flags & O_ACCMODE) == O_WRONLY || (flags & O_PATH))
        return async__failf(-EBADF, "sendfile of %s: it is not open for reading", self->name);
    int64_t most = INT64_MAX - CHUNK - offset;
    self->offset = offset;
    self->left = count < 0 || count > most ? most : count;
    self->size = status.st_size;
    return 0;
}

/* In a message that has been cut off, later ones cannot be told apart from its rest; unless the
 * caller knows where it was cut. */
static void tear(struct transfer *self, bool told)
{
    if (told || *self->sent == 0 || self->to->write_error < 0 || self->to->closed) return;
    self->to->torn = true;
    self->to->write_error = -EPIPE;
}

static int transfer(struct transfer *self, int64_t offset, int64_t count, bool told)
{
    int code = check(self, offset, count);
    if (code < 0 || self->left == 0) return code;
    code = async__write_begin(self->to);
    if (code < 0) return code;
    code = send_all(self);
    if (code < 0) tear(self, told);
    async__write_end(self->to);
    async__free(self->buffer);
    return code;
}

static int64_t send_fd(async_stream *to, int fd, const char *name, int64_t offset, int64_t count,
                       int64_t *sent)
{
    int64_t total;
    struct transfer self = {.to = to, .name = name, .sent = sent ? sent : &total};

    *self.sent = 0;
    if (!to) return async__stream_null_in("async_sendfile");
    /* Before the checkpoint, where another task may close the file. */
    self.fd = ASYNC__CALL(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (self.fd < 0) return async__misuse(failed(&self, -errno));
    int code = async__stream_enter_in(to, "async_sendfile");
    if (code == 0) code = async__write_check(to);
    if (code == 0) code = transfer(&self, offset, count, sent);
    if (self.fd >= 0) close(self.fd);
    async__stream_leave(to, 0);
    return code < 0 ? code : *self.sent;
}

int64_t async_sendfile(async_stream *to, async_file *file, int64_t offset, int64_t count,
                       int64_t *sent)
{
    if (sent) *sent = 0;
    if (!file) return async__null_wait("file");
    if (file->closed) return async__misuse(async__file_closed(file));
    file->references++; /* the path is there for messages */
    int64_t result = send_fd(to, file->fd, file->path, offset, count, sent);
    async__file_unref(file);
    return result;
}

int64_t async_sendfile_fd(async_stream *to, int fd, int64_t offset, int64_t count, int64_t *sent)
{
    char name[32];
    snprintf(name, sizeof name, "descriptor %d", fd);
    return send_fd(to, fd, name, offset, count, sent);
}
