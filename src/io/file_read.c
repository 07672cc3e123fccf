/* file_read.c - reading from a file: from the kernel's cache at once, else in a thread.
 *
 * Lines come out of a block that is read ahead. async_file_read takes what is left of that first,
 * and then reads past it. */
#include "file.h"

#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x08
#endif

enum { FIRST_BLOCK = 16 * 1024 };

/* ---- from the kernel ---- */

/* A number of bytes, or -EAGAIN: not without waiting for the disk. */
static ssize_t read_cached(async_file *file, void *buffer, size_t size)
{
    struct iovec piece = {buffer, ASYNC__SIZE(size)};
    long place = file->positioned ? (long)file->offset : -1L;

    if (file->uncached) return -EAGAIN;
    /* preadv2 takes the offset as two longs; on 32 bits the fifth argument is the upper half. */
    ssize_t n =
        ASYNC__CALL(syscall(SYS_preadv2, file->fd, &piece, 1, place,
                            sizeof(long) == 8 ? 0L : (long)(file->offset >> 31 >> 1), RWF_NOWAIT));
    if (n >= 0) return n;
    if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL || errno == ESPIPE)
        file->uncached = true; /* if it is an error, the read in the thread reports it */
    return errno == EINTR || file->uncached ? -EAGAIN : -errno;
}

static ssize_t run_read(async__op *op)
{
    int64_t offset = async__work_of(op)->call.offset;
    size_t size = ASYNC__SIZE(op->length);
    ssize_t n;
    do
        n = offset >= 0 ? ASYNC__CALL(pread(op->watch.fd, op->buffer, size, offset))
                        : ASYNC__CALL(read(op->watch.fd, op->buffer, size));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static ssize_t read_in_thread(async_file *file, void *buffer, size_t size)
{
    struct async__work *work = async__work_new(file, ASYNC__OP_PREAD, run_read, size);
    if (!work) return -ENOMEM;
    int code = async__work_await(work, "read");
    if (code < 0) return code;
    ssize_t n = work->call.op.result;
    if (n > 0) memcpy(buffer, work->data, (size_t)n);
    async__free(work);
    return n < 0 && n != -EAGAIN ? async__file_failed(file, "read", n) : n;
}

struct polled_read {
    async__op op;
    async_file *file;
};

/* A file with an offset is read there: the kernel's own offset of the descriptor is another. */
static ssize_t try_read(async__op *op)
{
    const async_file *file = async__container(op, struct polled_read, op)->file;
    if (!file->positioned) return async__try_read(file->fd, op->buffer, op->length, false);
    ssize_t n =
        ASYNC__CALL(pread(file->fd, op->buffer, ASYNC__SIZE(op->length), (off_t)file->offset));
    return n < 0 ? -errno : n;
}

static ssize_t read_polled(async_file *file, void *buffer, size_t size)
{
    struct polled_read read = {
        .op =
            {
                .watch = {.fd = file->fd, .direction = ASYNC__READ},
                .attempt = try_read,
                .buffer = buffer,
                .length = size,
                .wait_first = file->unopened,
            },
        .file = file,
    };
    ssize_t n = async__op_run(&read.op, "read");
    if (n >= 0) file->unopened = false;
    return n;
}

/* Reads at the file's offset, past what has been read ahead: a number of bytes, 0 at its end. */
static ssize_t read_some(async_file *file, void *buffer, size_t size)
{
    ssize_t n = -EAGAIN;

    if (size > ASYNC__FILE_CHUNK) size = ASYNC__FILE_CHUNK;
    if (!file->polled) {
        n = read_cached(file, buffer, size);
        if (n == -EAGAIN)
            n = read_in_thread(file, buffer, size);
        else if (n < 0)
            return async__file_failed(file, "read", n);
    }
    /* Some files in /proc look regular, and still have nothing to read until something happens:
     * they are waited for like a FIFO. The thread's answer may have taken long enough for a close,
     * which has ended all waiting for the descriptor and would not end this. */
    if (n == -EAGAIN && !file->closed) n = read_polled(file, buffer, size);
    if ((n == -EAGAIN || n == -EBADF) && file->closed) return async__file_closed(file);
    if (n > 0 && file->positioned) file->offset += n;
    return n;
}

/* ---- bytes ---- */

static ssize_t read_bytes(async_file *file, void *buffer, size_t size)
{
    size_t there = async__buffer_size(&file->ahead);
    if (size == 0) return 0;
    if (there == 0) return read_some(file, buffer, size);
    if (size > there) size = there;
    memcpy(buffer, async__buffer_bytes(&file->ahead), size);
    async__buffer_consume(&file->ahead, size);
    return (ssize_t)size;
}

ssize_t async_file_read(async_file *file, void *buffer, size_t size)
{
    int code = async__file_enter(file);
    if (code < 0) return code;
    return async__file_leave(file, read_bytes(file, buffer, size));
}

/* ---- lines ---- */

void async__file_keep(async_file *file, const char *data, size_t size)
{
    /* If it fails no call is left that could return the error. */
    (void)async__buffer_append(&file->ahead, data, size);
}

static ssize_t read_ahead(async_file *file)
{
    struct async__buffer *ahead = &file->ahead;

    if (async__buffer_reserve(ahead, ahead->data ? 1 : FIRST_BLOCK) < 0)
        return async__failf(-ENOMEM, "read %s: no memory for a line of more than %zu bytes",
                            file->path, async__buffer_size(ahead));
    ssize_t n = read_some(file, ahead->data + ahead->end, async__buffer_room(ahead));
    if (n > 0) ahead->end += (size_t)n;
    return n;
}

/* Reads ahead until a whole line lies at its front: its length, \n included; 0 at the end of the
 * file; ASYNC_ELIMIT if it is longer than `limit`. */
static ssize_t find_line(async_file *file, size_t limit)
{
    size_t seen = 0;

    for (;;) {
        size_t there = async__buffer_size(&file->ahead), length = 0;
        const char *found = NULL;
        if (there > seen)
            found = memchr(async__buffer_bytes(&file->ahead) + seen, '\n', there - seen);
        if (found) length = (size_t)(found - async__buffer_bytes(&file->ahead)) + 1;
        if (length > limit || (!found && there > limit))
            return async__failf(ASYNC_ELIMIT, "a line of %s is longer than %zu bytes", file->path,
                                limit);
        if (found) return (ssize_t)length;
        seen = there;
        ssize_t n = read_ahead(file);
        if (n < 0) return n;
        if (n == 0) return (ssize_t)(async__buffer_size(&file->ahead));
        int code = async__checkpoint_in("async_file_readline");
        if (code < 0) return code;
        if (file->closed) return async__file_closed(file);
    }
}

static ssize_t read_line(async_file *file, char *line, size_t size)
{
    if (size == 0) return async__failf(-EINVAL, "readline: the buffer has a size of 0");
    ssize_t length = find_line(file, size - 1);
    if (length < 0) return length;
    if (length > 0) memcpy(line, async__buffer_bytes(&file->ahead), (size_t)length);
    line[length] = 0;
    async__buffer_consume(&file->ahead, (size_t)length);
    return length;
}

ssize_t async_file_readline(async_file *file, char *line, size_t size)
{
    int code = async__file_enter(file);
    if (code < 0) return code;
    return async__file_leave(file, read_line(file, line, size));
}

struct lines {
    async_iterator iterator;
    async_file *file;
    char *buffer;
    size_t size;
};

static ssize_t copy_line(struct lines *self)
{
    async_file *file = self->file;
    ssize_t length = find_line(file, SIZE_MAX - 1);
    if (length <= 0) return length;

    size_t size = (size_t)length;
    if (size >= self->size) {
        char *buffer = async__realloc(self->buffer, size * 2 + 1);
        if (!buffer)
            return async__failf(-ENOMEM, "read %s: no memory for a line of %zu bytes", file->path,
                                size);
        self->buffer = buffer;
        self->size = size * 2 + 1;
    }
    memcpy(self->buffer, async__buffer_bytes(&file->ahead), size);
    async__buffer_consume(&file->ahead, size);
    if (self->buffer[size - 1] == '\n') size--;
    if (size < (size_t)length && size > 0 && self->buffer[size - 1] == '\r') size--;
    self->buffer[size] = 0;
    return length;
}

static int next_line(async_iterator *iterator, void *value)
{
    struct lines *self = async__container(iterator, struct lines, iterator);
    int code = async__file_enter_in(self->file, "async_file_lines");
    if (code < 0) return code;
    ssize_t n = async__file_leave(self->file, copy_line(self));
    if (n <= 0) return (int)n;
    *(char **)value = self->buffer;
    return 1;
}

static void close_lines(async_iterator *iterator)
{
    struct lines *self = async__container(iterator, struct lines, iterator);
    async__file_unref(self->file);
    async__free(self->buffer);
    async__free(self);
}

async_iterator *async_file_lines(async_file *file)
{
    if (!file) { /* keep the error of the open that failed */
        async__fail_null("async_file_lines: the file");
        return NULL;
    }
    struct lines *self = async__alloc_zeroed(sizeof *self);
    if (!self) {
        async__failf(-ENOMEM, "no memory to read lines of %s", file->path);
        return NULL;
    }
    self->iterator =
        (async_iterator){.next = next_line, .close = close_lines, .size = sizeof(char *)};
    self->file = file;
    file->references++; /* the file may be closed during the iteration */
    return &self->iterator;
}
