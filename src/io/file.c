/* file.c - files: opening, writing, seeking, and the turns that calls take; see file_read.c for
 * reading and file_close.c for closing.
 *
 * Files on a disk have no readiness, so their system calls run in threads. Those of FIFOs, ttys and
 * devices could block a thread for ever, and the end of the loop with it; but they have readiness,
 * and wait for it like sockets. Therefore every file is opened non-blocking, which has no effect on
 * a file on a disk. open(2) of a FIFO then does not wait for the other end: a reader waits for
 * readiness before its first read, and for a writer the open is repeated.
 *
 * The file's offset is kept here and passed to each system call (pread, pwrite), so that a read that
 * is cancelled half-way does not move it. */
#include "file.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

int async__file_failed(const async_file *file, const char *what, ssize_t code)
{
    return async__failf((int)code, "%s %s: %s", what, file->path, async_strerror((int)code));
}

/* ---- calls ---- */

void async__file_unref(async_file *file)
{
    if (--file->references > 0) return;
    if (file->fd >= 0) close(file->fd);
    async__buffer_free(&file->ahead);
    async_debug_closed(file);
    async__free(file);
}

int async__file_closed(const async_file *file)
{
    return async__failf(-EBADF, "the file %s has been closed", file->path);
}

/* Waits for the turn: 0, and the call has it, or a code. */
static int await_turn(async_file *file)
{
    bool granted = false;
    int code = async__wait_in(&file->turns, "file", &granted);

    if (code == 0 && file->closed) code = async__file_closed(file);
    /* The turn may have come together with a close or a cancellation. */
    if (code < 0 && granted) async__file_end_turn(file);
    return code;
}

int async__file_enter_in(async_file *file, const char *call)
{
    if (!file) return async__misuse(async__null_in(call, "file"));
    /* Before the checkpoint, where another task may close the file. */
    file->references++;
    int code = async__checkpoint_in(call);
    if (code == 0 && file->closed) code = async__file_closed(file);
    if (code == 0 && file->busy) code = await_turn(file);
    if (code < 0)
        async__file_unref(file);
    else
        file->busy = true;
    return code;
}

ssize_t async__file_leave(async_file *file, ssize_t result)
{
    if (!file->left_to_job) async__file_end_turn(file);
    async__file_unref(file);
    return result;
}

/* ---- opening ---- */

/* The flags of open(2), or -EINVAL. */
static int parse_mode(const char *mode)
{
    int flags, more = 0;

    switch (mode ? mode[0] : 0) {
    case 'r': flags = 0; break;
    case 'w': flags = O_CREAT | O_TRUNC; break;
    case 'a': flags = O_CREAT | O_APPEND; break;
    case 'x': flags = O_CREAT | O_EXCL; break;
    default: return -EINVAL;
    }
    for (const char *c = mode + 1; *c; c++) {
        int bit = *c == '+' ? 1 : *c == 'b' ? 2 : 4;
        if (bit == 4 || (more & bit)) return -EINVAL;
        more |= bit;
    }
    return flags | (more & 1 ? O_RDWR : mode[0] == 'r' ? O_RDONLY : O_WRONLY);
}

static ssize_t run_open(async__op *op)
{
    int fd = ASYNC__CALL(open(op->buffer, op->flags, 0666));
    return fd < 0 ? -errno : fd;
}

/* ENXIO is what a FIFO without a reader gives to a writer, for whom the open is repeated; of anything
 * else it is final. */
static bool is_fifo(const char *path)
{
    struct stat status;
    return ASYNC__CALL(stat(path, &status)) == 0 && S_ISFIFO(status.st_mode);
}

/* Opens what the kernel can find without a disk (Linux 5.12): a descriptor, or a code, which says nothing
 * of the file: a thread will tell. */
static int open_cached(const char *path, int flags)
{
    struct open_how how = {.flags = (unsigned)flags, .resolve = RESOLVE_CACHED};

    if (flags & (O_CREAT | O_TRUNC)) return -EAGAIN;
    return (int)ASYNC__CALL(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
}

/* Opens the file at once, or in a thread: 0, and *fd is the result, a descriptor or a code; or a code of
 * the waiting. */
static int try_open(const char *path, size_t length, int flags, int *fd)
{
    flags |= O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    *fd = open_cached(path, flags);
    if (*fd >= 0) return 0;
    struct async__work *work = async__work_new(NULL, ASYNC__OP_OPEN, run_open, length + 1);
    if (!work) return -ENOMEM;
    memcpy(work->data, path, length + 1);
    work->call.op.flags = flags;
    int code = async__work_await(work, "open");
    if (code < 0) return code;
    *fd = (int)work->call.op.result;
    async__free(work);
    return 0;
}

static int open_with_retries(const char *path, size_t length, int flags, int *fd)
{
    double pause = 0.001;

    for (;;) {
        int code = try_open(path, length, flags, fd);
        if (code < 0) return code;
        code = *fd;
        if (code >= 0) return 0;
        if (code == -ENXIO && is_fifo(path)) {
            code = async_sleep(pause);
            if (code < 0) return code;
            if (pause < 0.1) pause *= 2;
            continue;
        }
        return async__failf(code, "open %s: %s", path, async_strerror(code));
    }
}

static int inspect(async_file *file, int flags)
{
    struct stat status;

    if (ASYNC__CALL(fstat(file->fd, &status)) < 0) return -errno;
    if (S_ISDIR(status.st_mode)) return -EISDIR;
    /* Those of /proc that have no offset are empty to look at. */
    if (status.st_size == 0) file->offset = ASYNC__CALL(lseek(file->fd, 0, SEEK_CUR));
    file->polled = !S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode);
    file->unopened = S_ISFIFO(status.st_mode) && (flags & O_ACCMODE) == O_RDONLY;
    file->positioned = !file->polled && file->offset >= 0;
    if (file->offset < 0) file->offset = 0;
    file->append = flags & O_APPEND;
    return 0;
}

static async_file *new_file(const char *path, size_t length)
{
    async_file *file = async__alloc_zeroed(sizeof *file + length + 1);
    if (!file) {
        async__failf(-ENOMEM, "open %s: out of memory", path);
        return NULL;
    }
    memcpy(file->path, path, length);
    file->fd = -1;
    file->references = 1;
    file->forks = async__forks;
    async_debug_opened(file, "file");
    return file;
}

async_file *async_file_open(const char *path, const char *mode)
{
    int flags = parse_mode(mode);
    if (!path) {
        async__misuse(async__failf(-EINVAL, "async_file_open: the path is NULL"));
        return NULL;
    }
    if (flags < 0) {
        async__misuse(async__failf(-EINVAL,
                                   "open %s: the mode %s is not one of r, w, a, x, with + and b",
                                   path, mode ? mode : "NULL"));
        return NULL;
    }
    if (async__checkpoint() < 0) return NULL;
    size_t length = strlen(path);
    async_file *file = new_file(path, length);
    if (!file) return NULL;
    int fd, code = open_with_retries(path, length, flags, &fd);
    if (code == 0) {
        file->fd = fd;
        code = inspect(file, flags);
        if (code < 0) async__failf(code, "open %s: %s", path, async_strerror(code));
    }
    if (code < 0) {
        async__file_unref(file);
        return NULL;
    }
    return file;
}

/* ---- writing ---- */

static ssize_t run_write(async__op *op)
{
    struct async__work *work = async__work_of(op);
    int fd = op->watch.fd;
    ssize_t n = 0;

    while (op->length > 0) {
        size_t size = ASYNC__SIZE(op->length);
        n = work->positioned && !work->append
                ? ASYNC__CALL(pwrite(fd, op->buffer, size, work->call.offset))
                : ASYNC__CALL(write(fd, op->buffer, size));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        op->buffer = (char *)op->buffer + n;
        op->length -= (size_t)n;
        if (work->positioned) work->call.offset += n;
    }
    ssize_t result = n < 0 ? -errno : op->length > 0 ? -EIO : 0;
    if (work->positioned && work->append) {
        int64_t end = ASYNC__CALL(lseek(fd, 0, SEEK_CUR));
        if (end >= 0) work->call.offset = end;
    }
    return result;
}

static int write_chunk(async_file *file, const char *data, size_t size)
{
    enum async__opcode opcode = file->append ? ASYNC__OP_WORK : ASYNC__OP_PWRITE;
    struct async__work *work = async__work_new(file, opcode, run_write, size);
    if (!work) return -ENOMEM;
    memcpy(work->data, data, size);
    work->moves = file->positioned;
    int code = async__work_await(work, "write");
    if (code < 0) return code;
    if (work->moves) file->offset = work->call.offset;
    code = (int)work->call.op.result;
    async__free(work);
    return code < 0 ? async__file_failed(file, "write to", code) : 0;
}

static ssize_t write_polled(async_file *file, const char *data, size_t size)
{
    async__op op = {
        .watch = {.fd = file->fd, .direction = ASYNC__WRITE},
        .opcode = ASYNC__OP_WRITE,
        .buffer = (void *)data,
        .length = size,
    };
    return async__op_run(&op, "write");
}

static int write_all(async_file *file, const char *data, size_t size)
{
    int code = 0;

    if (!file->polled) async__file_drop_block(file);
    file->written = true;
    while (size > 0) {
        size_t chunk = size < ASYNC__FILE_CHUNK ? size : ASYNC__FILE_CHUNK;
        ssize_t n = (ssize_t)chunk;
        if (file->polled)
            n = write_polled(file, data, chunk);
        else if ((code = write_chunk(file, data, chunk)) < 0)
            return code;
        if (n == -EBADF && file->closed) return async__file_closed(file);
        if (n < 0) return (int)n;
        data += n;
        size -= (size_t)n;
        if (size == 0) break;
        code = async__checkpoint_in("async_file_write");
        if (code < 0) return code;
        if (file->closed) return async__file_closed(file);
    }
    return 0;
}

int async_file_write(async_file *file, const void *data, size_t size)
{
    int code = async__file_enter(file);
    if (code < 0) return code;
    return (int)async__file_leave(file, write_all(file, data, size));
}

int async_file_printf(async_file *file, const char *format, ...)
{
    struct async__text text;
    va_list arguments;

    va_start(arguments, format);
    int code = async__format(&text, format, arguments);
    va_end(arguments);
    if (code < 0) return code;
    code = async_file_write(file, text.data, text.size);
    async__format_free(&text);
    return code;
}

/* ---- seeking ---- */

static int64_t seek(async_file *file, int64_t offset, int whence)
{
    int64_t base = 0;

    if (!file->positioned || (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END)) {
        int64_t place = ASYNC__CALL(lseek(file->fd, offset, whence));
        return place < 0 ? -errno : place;
    }
    if (whence == SEEK_CUR) base = file->offset - (int64_t)async__buffer_size(&file->ahead);
    if (whence == SEEK_END) base = ASYNC__CALL(lseek(file->fd, 0, SEEK_END));
    if (base < 0) return -errno;
    if (__builtin_add_overflow(base, offset, &base)) return -EOVERFLOW;
    return base < 0 ? -EINVAL : base;
}

int64_t async_file_seek(async_file *file, int64_t offset, int whence)
{
    if (!file) return async__null("file");
    if (file->closed) return async__file_closed(file);
    if (file->busy)
        return async__failf(-EBUSY, "seek in %s: another call is under way", file->path);
    int64_t place = seek(file, offset, whence);
    if (place < 0) return async__file_failed(file, "seek in", place);
    async__file_drop_block(file);
    if (file->positioned) file->offset = place;
    return place;
}

/* ---- what needs a thread and little else ---- */

static ssize_t run_sync(async__op *op) { return ASYNC__CALL(fsync(op->watch.fd)) < 0 ? -errno : 0; }

static ssize_t run_truncate(async__op *op)
{
    return ASYNC__CALL(ftruncate(op->watch.fd, async__work_of(op)->call.offset)) < 0 ? -errno : 0;
}

static ssize_t run_stat(async__op *op)
{
    return ASYNC__CALL(fstat(op->watch.fd, &async__work_of(op)->status)) < 0 ? -errno : 0;
}

static int run_simple(async_file *file, ssize_t (*run)(async__op *), int64_t size,
                      struct stat *status, const char *what, const char *call)
{
    int code = async__file_enter_in(file, call);
    if (code < 0) return code;
    enum async__opcode opcode = run == run_sync ? ASYNC__OP_SYNC : ASYNC__OP_WORK;
    struct async__work *work = async__work_new(file, opcode, run, 0);
    if (!work) return (int)async__file_leave(file, -ENOMEM);
    if (run == run_truncate) {
        work->call.offset = size;
        if (!file->polled) async__file_drop_block(file); /* what was read ahead may be cut off */
    }
    code = async__work_await(work, what);
    if (code < 0) return (int)async__file_leave(file, code);
    code = (int)work->call.op.result;
    if (code == 0 && status) *status = work->status;
    async__free(work);
    if (code < 0) async__file_failed(file, what, code);
    return (int)async__file_leave(file, code);
}

int async_file_sync(async_file *file)
{
    return run_simple(file, run_sync, 0, NULL, "sync", __func__);
}

int async_file_truncate(async_file *file, int64_t size)
{
    return run_simple(file, run_truncate, size, NULL, "truncate", __func__);
}

int async_file_stat(async_file *file, struct stat *status)
{
    return run_simple(file, run_stat, 0, status, "stat", __func__);
}

int async_file_fd(const async_file *file) { return file && !file->closed ? file->fd : -EBADF; }
