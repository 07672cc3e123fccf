/* file_close.c - closing a file, and the descriptor at the right moment.
 *
 * A descriptor must outlive every use of it: once it is closed its number may be another file's,
 * and a thread that comes to its write then writes there. Whatever uses the descriptor has the
 * file's turn (file.h): so either the file is idle, and async_file_close closes the descriptor, or
 * the end of the turn does.
 *
 * What close(2) of a file waits for can be a disk, or a server far away: a file that was written is
 * closed in a thread. */
#include "file.h"

#include <string.h>
#include <unistd.h>

static ssize_t run_close(async__op *op)
{
    async__work_of(op)->owned_fd = -1;
    return ASYNC__CLOSE(op->watch.fd) < 0 && errno != EINTR ? -errno : 0;
}

/* A job that closes the descriptor, and owns it from now on; NULL: no memory. */
static struct async__work *close_work(const async_file *file, int fd)
{
    size_t size = strlen(file->path) + 1;
    struct async__work *work = async__work_new(NULL, ASYNC__OP_CLOSE, run_close, size);
    if (!work) return NULL;
    memcpy(work->data, file->path, size);
    work->call.op.watch.fd = work->owned_fd = fd;
    work->must_run = true;
    return work;
}

/* Takes the descriptor out of the file, which must be idle. */
static int take_fd(async_file *file)
{
    async_loop *loop = async__loop();
    int fd = file->fd;

    file->fd = -1;
    if (loop && fd >= 0) async_forget_fd(loop, fd);
    return fd;
}

static bool may_block(const async_file *file) { return file->written && !file->polled; }

/* ---- at the end of a turn ---- */

/* No caller learns of an error here: the loop's exception handler does. */
static void close_after_turn(async_file *file)
{
    async_loop *loop = async__loop();
    int fd = take_fd(file);
    struct async__work *work = may_block(file) ? close_work(file, fd) : NULL;

    if (work) {
        async__work_detach(work);
        return;
    }
    int code = async_close(fd);
    if (code < 0) async__report(loop, code, file->path);
}

void async__file_end_turn(async_file *file)
{
    async__waiter *next = async__wake_first(&file->turns);

    if (next) {
        *(bool *)next->item = true; /* file->busy stays: the turn is that call's now */
        return;
    }
    file->busy = false;
    if (file->closed && file->fd >= 0) close_after_turn(file);
}

void async__file_end_turn_outside(async_file *file)
{
    file->busy = false;
    if (!file->closed || file->fd < 0) return;
    close(file->fd);
    file->fd = -1;
}

/* ---- async_file_close ---- */

static int close_idle(async_file *file)
{
    bool in_thread = async__current && may_block(file);
    int fd = take_fd(file);
    struct async__work *work = in_thread ? close_work(file, fd) : NULL;

    if (!work) return async_close(fd);
    int code = async__checkpoint_in("async_file_close");
    if (code < 0) {
        async__work_detach(work);
        return code;
    }
    code = async__work_await(work, "close");
    if (code < 0) return code;
    code = (int)work->call.op.result;
    async__free(work);
    return code;
}

int async_file_close(async_file *file)
{
    int code = 0;

    if (!file) return 0;
    if (file->closed) return async__file_closed(file);
    file->closed = true;
    async__wake_all(&file->turns); /* they find that it is closed */
    if (!file->busy || file->forks != async__forks) {
        /* After a fork the call that has the turn is the parent's, and will not end here. */
        code = close_idle(file);
    } else if (async__loop()) {
        /* A call that waits for readiness ends now, with -EBADF; a job ends when it is done. Either
         * then ends the turn, which closes the descriptor. */
        async_forget_fd(async__loop(), file->fd);
    }
    if (code < 0 && !(async__current && async__current->interrupt == code))
        async__file_failed(file, "close", code);
    async__file_unref(file);
    return code;
}
