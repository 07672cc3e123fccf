/* transport_write.c - the sending side of the transport of stream sockets.
 *
 * Writing is at once, and only what the kernel does not take is queued: bytes objects as they are,
 * of everything else a copy, so that its owner may change it. The queue goes out by sendmsg. But a
 * protocol that writes more than once for what it has read (a head, and then a body) is found out:
 * from then on its writes wait, for all that is ready now, and go out together: a send costs more
 * than the rest of an answer, and wakes the peer each time. What waits goes out as well before
 * anybody asks for the size of the queue or closes, and before the loop stops: nobody is to see
 * that it has waited. */
#include "transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { MOST_VECTORS = 64 };

typedef async__py_transport transport;

static PyObject *name_create_future, *name_done, *name_set_exception, *name_set_result;

static const char write_error[] = "Fatal write error on socket transport";

static bool not_now(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/* ---- the queue ---- */

/* Room for `count` more pieces: 0, or -1 and MemoryError. */
static int reserve(transport *self, Py_ssize_t count)
{
    if (self->first + self->length + count <= self->capacity) return 0;
    if (self->first > self->length && self->length + count <= self->capacity) {
        memmove(self->queue, self->queue + self->first, (size_t)self->length * sizeof *self->queue);
        self->first = 0;
        return 0;
    }
    Py_ssize_t capacity = self->capacity ? self->capacity * 2 : 4;
    while (capacity < self->first + self->length + count)
        capacity *= 2;
    struct async__py_piece *queue = PyMem_Realloc(self->queue, (size_t)capacity * sizeof *queue);
    if (!queue) {
        PyErr_NoMemory();
        return -1;
    }
    self->queue = queue;
    self->capacity = capacity;
    return 0;
}

/* Takes the reference to the bytes; there is room. */
static void push(transport *self, PyObject *bytes, Py_ssize_t begin)
{
    Py_ssize_t end = PyBytes_GET_SIZE(bytes);

    self->queue[self->first + self->length++] = (struct async__py_piece){bytes, begin, end};
    self->base.size += end - begin;
}

/* Queues what is left of a buffer. */
static int enqueue(transport *self, PyObject *owner, const Py_buffer *view, Py_ssize_t begin)
{
    if (reserve(self, 1) < 0) return -1;
    if (PyBytes_CheckExact(owner)) {
        push(self, Py_NewRef(owner), begin);
        return 0;
    }
    PyObject *copy = PyBytes_FromStringAndSize((char *)view->buf + begin, view->len - begin);
    if (!copy) return -1;
    push(self, copy, 0);
    return 0;
}

static void dequeue(transport *self, Py_ssize_t sent)
{
    self->base.size -= sent;
    while (sent > 0) {
        struct async__py_piece *piece = &self->queue[self->first];
        Py_ssize_t length = piece->end - piece->begin;
        if (sent < length) {
            piece->begin += sent;
            return;
        }
        sent -= length;
        self->first++;
        self->length--;
        Py_DECREF(piece->bytes);
    }
    if (self->length == 0) self->first = 0;
}

void async__py_transport_drop(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);

    while (self->length > 0) {
        self->length--;
        Py_DECREF(self->queue[self->first++].bytes);
    }
    PyMem_Free(self->queue);
    self->queue = NULL;
    self->first = self->capacity = base->size = 0;
    async__py_due_end(&self->flusher);
}

/* The bytes sent; 0 when the kernel takes none now; -1: errno says what it is. */
static ssize_t send_pieces(transport *self)
{
    struct iovec vectors[MOST_VECTORS];
    struct msghdr message = {.msg_iov = vectors};

    for (; (Py_ssize_t)message.msg_iovlen < self->length && message.msg_iovlen < MOST_VECTORS;
         message.msg_iovlen++) {
        struct async__py_piece *piece = &self->queue[self->first + (Py_ssize_t)message.msg_iovlen];
        vectors[message.msg_iovlen].iov_base = PyBytes_AS_STRING(piece->bytes) + piece->begin;
        vectors[message.msg_iovlen].iov_len = (size_t)(piece->end - piece->begin);
    }
    ssize_t sent = sendmsg(self->base.fd, &message, MSG_NOSIGNAL);
    return sent < 0 && not_now(errno) ? 0 : sent;
}

/* ---- who waits until all is out: loop.sendfile, which is lent the descriptor then ---- */

/* With an exception, or NULL. */
static void end_waiter(transport *self, PyObject *exception)
{
    PyObject *waiter = Py_XNewRef(self->empty_waiter), *result = NULL;
    if (!waiter) return;
    PyObject *done = PyObject_CallMethodNoArgs(waiter, name_done);
    int is_done = done ? PyObject_IsTrue(done) : -1;

    if (is_done == 0)
        result = PyObject_CallMethodOneArg(waiter, exception ? name_set_exception : name_set_result,
                                           exception ? exception : Py_None);
    Py_XDECREF(done);
    Py_XDECREF(result);
    Py_DECREF(waiter);
    if (PyErr_Occurred())
        async__py_loop_fail(self->base.loop, "Error after the last write", "transport",
                            ASYNC__PY_ENDPOINT_SELF(&self->base), NULL);
}

void async__py_transport_fail_waiter(transport *self, PyObject *exception)
{
    end_waiter(self, exception);
}

PyObject *async__py_transport_make_empty_waiter(PyObject *object, PyObject *none)
{
    transport *self = ASYNC__PY_TRANSPORT(object);

    (void)none;
    if (self->empty_waiter) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    async__py_transport_flush(&self->base);
    PyObject *waiter = PyObject_CallMethodNoArgs((PyObject *)self->base.loop, name_create_future);
    if (!waiter) return NULL;
    Py_XSETREF(self->empty_waiter, Py_NewRef(waiter));
    if (self->length == 0) end_waiter(self, NULL);
    return waiter;
}

/* ---- the queue goes out ---- */

/* All is out: what has waited for that. */
static void on_empty(transport *self)
{
    async__py_endpoint *base = &self->base;

    async__py_endpoint_unwatch(base, &base->writer);
    end_waiter(self, NULL);
    if (base->lost || !base->sock) return;
    if (base->closing)
        async__py_endpoint_finish(base);
    else if (self->eof)
        shutdown(base->fd, SHUT_WR);
}

static void fail(transport *self, int error)
{
    async__py_set_oserror(-error);
    PyObject *exception = async__py_error_take();
    async__py_error_set(Py_NewRef(exception));
    async__py_endpoint_fatal(&self->base, write_error);
    end_waiter(self, exception);
    Py_DECREF(exception);
}

static void write_some(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);

    /* The descriptor was closed without a word, and the number may be another's. */
    ssize_t sent = base->writer.error ? -1 : send_pieces(self);
    if (sent < 0) {
        fail(self, base->writer.error ? -base->writer.error : errno);
        return;
    }
    dequeue(self, sent);
    async__py_maybe_resume(base); /* which may write more */
    if (self->length == 0) on_empty(self);
}

void async__py_transport_write_ready(async_callback *callback)
{
    transport *self = async__container(callback, transport, base.writer.callback);

    if (self->length == 0)
        async__py_endpoint_unwatch(&self->base, &self->base.writer);
    else
        async__py_endpoint_run(&self->base, write_some);
}

/* The queue, as far as the kernel takes it; the watch does the rest. 0, or -1 and an exception. */
static int write_queue(transport *self)
{
    async__py_endpoint *base = &self->base;

    if (self->length == 0) return 0;
    if (!base->writer.armed) {
        ssize_t sent = send_pieces(self);
        if (sent < 0) {
            fail(self, errno);
            return 0;
        }
        dequeue(self, sent);
        if (self->length > 0 && async__py_endpoint_watch(base, &base->writer) < 0) return -1;
    }
    async__py_maybe_pause(base);
    return 0;
}

/* The watch of what was read at once begins; it may have begun already. */
static void watch_late(transport *self)
{
    async__py_endpoint *base = &self->base;

    if (!self->unwatched) return;
    self->unwatched = 0;
    if (base->closing || base->paused || base->lost || !base->loop->engine) return;
    if (async__py_endpoint_watch(base, &base->reader) < 0)
        async__py_endpoint_fatal(base, "Fatal read error on socket transport");
}

/* What has waited to go out together goes out. */
static void flush_together(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);

    if (self->writes < 2) self->together = 0;
    if (write_queue(self) < 0) async__py_endpoint_fatal(base, write_error);
    if (self->length == 0) on_empty(self);
}

static void flush(transport *self)
{
    PyObject *object = Py_NewRef(ASYNC__PY_ENDPOINT_SELF(&self->base));

    if (self->length > 0 && async__py_due_end(&self->flusher)) {
        flush_together(&self->base);
        if (self->unwatched) async__py_due_soon(self->base.loop, &self->flusher);
    }
    Py_DECREF(object);
}

static void settle(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);

    watch_late(self);
    if (self->length > 0) flush_together(base);
}

/* For close() and the like, which a child of fork may call, too: what its parent sends, it does
 * not. */
void async__py_transport_flush(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);

    if (self->flusher.holder.next && !async__py_loop_forked(base->loop)) flush(self);
}

void async__py_transport_flush_ready(async_callback *callback)
{
    transport *self = async__container(callback, transport, flusher.callback);
    PyObject *object = Py_NewRef(ASYNC__PY_ENDPOINT_SELF(&self->base));

    async__py_due_end(&self->flusher);
    async__py_endpoint_run(&self->base, settle);
    Py_DECREF(object);
}

/* ---- writing ---- */

/* 0, or -1 and RuntimeError. */
static int check_writable(transport *self, const char *method)
{
    if (self->eof) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
        return -1;
    }
    if (self->empty_waiter) {
        PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
        return -1;
    }
    return 0;
}

/* Queued, to go out with what else is written in this turn, unless that becomes much. */
static int write_later(transport *self, PyObject *data, const Py_buffer *view)
{
    if (enqueue(self, data, view, 0) < 0) return -1;
    if (self->base.writer.armed) {
        async__py_maybe_pause(&self->base);
    } else {
        async__py_due_soon(self->base.loop, &self->flusher);
        if (self->base.size > self->base.limits.high) flush(self);
    }
    return 0;
}

static int write_view(transport *self, PyObject *data, const Py_buffer *view)
{
    async__py_endpoint *base = &self->base;
    ssize_t sent = 0;

    if (self->writes < 2 && ++self->writes == 2) self->together = 1;
    if (self->together && base->loop->engine) return write_later(self, data, view);
    if (self->length == 0) {
        sent = send(base->fd, view->buf, (size_t)view->len, MSG_NOSIGNAL);
        if (sent == view->len) return 0;
        if (sent < 0) {
            if (!not_now(errno)) {
                async__py_endpoint_fatal_errno(base, errno, write_error);
                return 0;
            }
            sent = 0;
        }
    }
    if (async__py_endpoint_watch(base, &base->writer) < 0) return -1;
    if (enqueue(self, data, view, sent) < 0) return -1;
    async__py_maybe_pause(base);
    return 0;
}

PyObject *async__py_transport_write(PyObject *object, PyObject *data)
{
    transport *self = ASYNC__PY_TRANSPORT(object);
    Py_buffer view;

    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%s'",
                     Py_TYPE(data)->tp_name);
        return NULL;
    }
    if (check_writable(self, "write") < 0) return NULL;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return NULL;
    int code = view.len == 0     ? 0
               : self->base.lost ? async__py_endpoint_count_lost(&self->base)
                                 : write_view(self, data, &view);
    PyBuffer_Release(&view);
    if (code < 0) return NULL;
    Py_RETURN_NONE;
}

/* A list of bytes objects, made of what has a buffer. NULL: an exception is set. */
static PyObject *to_pieces(PyObject *lines)
{
    PyObject *list = PySequence_List(lines);

    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++) {
        PyObject *data = PyList_GET_ITEM(list, i);
        Py_buffer view;
        if (PyBytes_CheckExact(data)) continue;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
            Py_CLEAR(list);
            break;
        }
        PyObject *copy = PyBytes_FromStringAndSize(view.buf, view.len);
        PyBuffer_Release(&view);
        if (!copy || PyList_SetItem(list, i, copy) < 0) Py_CLEAR(list);
    }
    return list;
}

/* All into the queue, or nothing; and out by one call. */
PyObject *async__py_transport_writelines(PyObject *object, PyObject *lines)
{
    transport *self = ASYNC__PY_TRANSPORT(object);

    if (check_writable(self, "writelines") < 0) return NULL;
    PyObject *list = to_pieces(lines);
    if (!list) return NULL;
    Py_ssize_t count = PyList_GET_SIZE(list);
    int code = 0;
    if (self->base.lost) {
        if (count > 0) code = async__py_endpoint_count_lost(&self->base);
    } else if ((code = reserve(self, count)) == 0) {
        for (Py_ssize_t i = 0; i < count; i++) {
            PyObject *bytes = PyList_GET_ITEM(list, i);
            if (PyBytes_GET_SIZE(bytes) > 0) push(self, Py_NewRef(bytes), 0);
        }
        if (!self->unwatched) async__py_due_end(&self->flusher);
        code = write_queue(self);
    }
    Py_DECREF(list);
    if (code < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *async__py_transport_write_eof(PyObject *object, PyObject *none)
{
    transport *self = ASYNC__PY_TRANSPORT(object);

    (void)none;
    async__py_transport_flush(&self->base);
    if (self->base.closing || self->eof) Py_RETURN_NONE;
    self->eof = 1;
    if (self->length == 0 && shutdown(self->base.fd, SHUT_WR) < 0)
        return async__py_set_oserror(-errno);
    Py_RETURN_NONE;
}

int async__py_add_transport_write(void)
{
    static const struct async__py_name names[] = {
        {&name_create_future, "create_future"},
        {&name_done, "done"},
        {&name_set_exception, "set_exception"},
        {&name_set_result, "set_result"},
        {0},
    };

    return async__py_intern(names);
}
