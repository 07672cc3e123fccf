/* transport.c - the transport of stream sockets: TCP, Unix, and what TLS stands on.
 *
 * Reading: one recv a readiness, into the loop's buffer, and then a bytes object exactly as long as what
 * came. A buffer of 256 KiB a read, as asyncio makes it, costs more than everything else of a read. A
 * BufferedProtocol's own buffer is received into directly.
 *
 * Writing: at once, and only what the kernel does not take is queued: bytes objects as they are, of
 * everything else a copy, so that its owner may change it. The queue goes out by sendmsg. But a protocol
 * that writes more than once for what it has read (a head, and then a body) is found out: from then on
 * its writes wait, for all that is ready now, and go out together: a send costs more than the rest of an
 * answer, and wakes the peer each time.
 *
 * Callbacks that the descriptor causes run in a context of the transport's own: a copy of that in which
 * it was made. The loop holds the transport while it watches the descriptor; one that is not watched
 * (reading paused, nothing to write) and that nobody knows any more is collected, with a ResourceWarning.
 *
 * It is a subclass of asyncio's _FlowControlMixin, which sendfile's fall-back asks for, but what that class
 * does is done here. */
#include "transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <structmember.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { LOG_THRESHOLD = 5, MOST_VECTORS = 64, HIGH_WATER = 64 * 1024 };

/* A piece of the write queue: from `begin` to `end` of a bytes object. */
struct piece {
    PyObject *bytes;
    Py_ssize_t begin, end;
};

struct part {
    async_watch reader, writer;
    async_callback flusher; /* queued: what is in the queue has not been tried yet */
    async__py_holder holder;
    async__py_loop *loop;
    PyObject *sock; /* NULL once closed */
    PyObject *protocol, *server, *context, *empty_waiter;
    PyObject *dict, *weakrefs;
    struct piece
        *queue; /* a block with room for `capacity`, of which `length` from `first` on are used */
    Py_ssize_t first, length, capacity;
    Py_ssize_t size; /* bytes in the queue */
    Py_ssize_t high, low;
    int fd;
    unsigned lost; /* 0: connection_lost has not been called for; more: writes since */
    int (*feed)(PyObject *protocol, const char *data, Py_ssize_t length); /* NULL: data_received */
    char buffered, connected, closing, paused, eof, protocol_paused;
    char together;        /* writes go out together */
    unsigned char writes; /* since the last read: 0, 1, 2 for more */
};

static PyTypeObject *type;
static Py_ssize_t part_offset, extra_offset;
#define PART(self) ((struct part *)((char *)(self) + part_offset))
#define SELF(part) ((PyObject *)((char *)(part)-part_offset))
#define EXTRA(self) (*(PyObject **)((char *)(self) + extra_offset))

static PyObject *name_data_received, *name_eof_received, *name_get_buffer, *name_buffer_updated,
    *name_connection_made, *name_connection_lost, *name_pause_writing, *name_resume_writing,
    *name_attach, *name_detach, *name_close, *name_fileno, *name_getsockname, *name_getpeername,
    *name_begin, *name_call_connection_lost, *name_set_result, *name_set_exception,
    *name_create_future, *name_socket, *name_sockname, *name_peername, *name_done;
static PyObject *buffered_protocol, *transport_socket, *minus_one;

static int write_queue(struct part *part);
static void flush_now(struct part *part);

/* ---- watching ---- */

static void update_hold(struct part *part)
{
    if (part->reader.armed || part->writer.armed || part->flusher.next)
        async__py_hold(part->loop, &part->holder);
    else
        async__py_let_go(&part->holder);
}

static void stop_reading(struct part *part)
{
    if (part->loop->engine) async_remove_watch(part->loop->engine, &part->reader);
    update_hold(part);
}

static void stop_writing(struct part *part)
{
    if (part->loop->engine) async_remove_watch(part->loop->engine, &part->writer);
    update_hold(part);
}

static int start(struct part *part, async_watch *watch,
                 int (*add)(async_loop *, int, async_watch *))
{
    if (!part->loop->engine) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    if (watch->armed) return 0;
    int code = add(part->loop->engine, part->fd, watch);
    if (code < 0) {
        async__py_set_oserror(code);
        return -1;
    }
    update_hold(part);
    return 0;
}

static int start_reading(struct part *part) { return start(part, &part->reader, async_add_reader); }

static int start_writing(struct part *part) { return start(part, &part->writer, async_add_writer); }

/* ---- the end ---- */

static void drop_queue(struct part *part)
{
    while (part->length > 0) {
        part->length--;
        Py_DECREF(part->queue[part->first++].bytes);
    }
    part->size = 0;
}

/* asyncio's debug mode tells what happens. */
static void debug_log(struct part *part, const char *format, PyObject *argument)
{
    if (!part->loop->debug) return;
    PyObject *error = async__py_error_take();
    PyObject *result =
        PyObject_CallMethod((PyObject *)part->loop, "_debug_log", "sOOO", format, SELF(part),
                            argument ? argument : Py_None, error ? error : Py_None);
    if (!result) PyErr_Clear();
    Py_XDECREF(result);
    if (error) async__py_error_set(error);
}

static int call_connection_lost_soon(struct part *part, PyObject *exception)
{
    part->lost++;
    PyObject *method = PyObject_GetAttr(SELF(part), name_call_connection_lost);
    int code =
        method ? async__py_call_soon(part->loop, method, exception ? exception : Py_None) : -1;
    Py_XDECREF(method);
    return code;
}

static void end_flush(struct part *part)
{
    if (async_callback_cancel(&part->flusher)) update_hold(part);
}

/* 0, or -1 and an exception: the loop is closed, or there is no memory. */
static int force_close(struct part *part, PyObject *exception)
{
    if (part->lost) return 0;
    end_flush(part);
    drop_queue(part);
    part->closing = 1;
    stop_reading(part);
    stop_writing(part);
    return call_connection_lost_soon(part, exception);
}

/* Takes the exception that is set. What the network has done is not worth a report. */
static void fatal(struct part *part, const char *message)
{
    PyObject *exception = async__py_error_take();
    if (PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
        PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt)) {
        async__py_error_set(exception);
        async__py_loop_fail(part->loop, message, NULL);
        return;
    }
    async__py_error_set(Py_NewRef(exception));
    if (PyErr_GivenExceptionMatches(exception, PyExc_OSError)) {
        PyObject *text = part->loop->debug ? PyUnicode_FromString(message) : NULL;
        if (text) debug_log(part, "%r: %s", text);
        Py_XDECREF(text);
        PyErr_Clear();
    } else {
        async__py_loop_fail(part->loop, message, "transport", SELF(part), "protocol",
                            part->protocol, NULL);
    }
    if (force_close(part, exception) < 0)
        async__py_loop_fail(part->loop, message, "transport", SELF(part), NULL);
    Py_DECREF(exception);
}

static void fatal_errno(struct part *part, int error, const char *message)
{
    async__py_set_oserror(-error);
    fatal(part, message);
}

/* Closes the descriptor; the server learns of it. */
static void release(struct part *part)
{
    PyObject *sock = part->sock, *server = part->server;

    part->sock = part->server = NULL;
    async__py_set_transport(part->loop, part->fd, NULL);
    if (part->loop->engine) async_forget_fd(part->loop->engine, part->fd);
    if (sock) {
        PyObject *result = PyObject_CallMethodNoArgs(sock, name_close);
        if (!result) PyErr_WriteUnraisable(sock);
        Py_XDECREF(result);
        Py_DECREF(sock);
    }
    if (server) {
        PyObject *result = PyObject_CallMethodOneArg(server, name_detach, SELF(part));
        if (!result) PyErr_WriteUnraisable(server);
        Py_XDECREF(result);
        Py_DECREF(server);
    }
}

static void fail_empty_waiter(struct part *part, PyObject *exception)
{
    PyObject *waiter = part->empty_waiter;
    if (!waiter) return;
    PyObject *done = PyObject_CallMethodNoArgs(waiter, name_done);
    if (done && !PyObject_IsTrue(done)) {
        PyObject *result = PyObject_CallMethodOneArg(waiter, name_set_exception, exception);
        Py_XDECREF(result);
    }
    Py_XDECREF(done);
    if (PyErr_Occurred()) PyErr_WriteUnraisable(waiter);
}

static PyObject *transport_call_connection_lost(PyObject *self, PyObject *exception)
{
    struct part *part = PART(self);
    PyObject *protocol = part->protocol, *result = Py_NewRef(Py_None);

    if (!part->sock) return result;
    if (part->connected && protocol) {
        Py_DECREF(result);
        Py_INCREF(protocol);
        result = PyObject_CallMethodOneArg(protocol, name_connection_lost, exception);
        Py_DECREF(protocol);
    }
    PyObject *error = result ? NULL : async__py_error_take();
    release(part);
    Py_CLEAR(part->protocol);
    part->connected = 0;
    if (part->empty_waiter) {
        PyObject *lost =
            PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
        if (lost) fail_empty_waiter(part, lost);
        Py_XDECREF(lost);
    }
    if (error) async__py_error_set(error);
    return result;
}

static PyObject *transport_close(PyObject *self, PyObject *none)
{
    struct part *part = PART(self);

    (void)none;
    if (part->closing) Py_RETURN_NONE;
    flush_now(part);
    if (part->closing) Py_RETURN_NONE;
    part->closing = 1;
    stop_reading(part);
    if (part->length == 0) {
        stop_writing(part);
        if (call_connection_lost_soon(part, NULL) < 0) return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *transport_abort(PyObject *self, PyObject *none)
{
    (void)none;
    flush_now(PART(self));
    if (force_close(PART(self), NULL) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *transport_force_close(PyObject *self, PyObject *exception)
{
    if (force_close(PART(self), exception) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *transport_fatal_error(PyObject *self, PyObject *args)
{
    PyObject *exception;
    const char *message = "Fatal error on transport";

    if (!PyArg_ParseTuple(args, "O|s", &exception, &message)) return NULL;
    async__py_error_set(Py_NewRef(exception));
    fatal(PART(self), message);
    Py_RETURN_NONE;
}

/* ---- reading ---- */

static void on_eof(struct part *part)
{
    debug_log(part, "%r received EOF", NULL);
    PyObject *result = PyObject_CallMethodNoArgs(part->protocol, name_eof_received);
    int keep_open = result ? PyObject_IsTrue(result) : -1;

    Py_XDECREF(result);
    if (keep_open < 0) {
        fatal(part, "Fatal error: protocol.eof_received() call failed.");
    } else if (keep_open) {
        stop_reading(part);
    } else {
        result = PyObject_CallMethodNoArgs(SELF(part), name_close);
        if (!result) fatal(part, "Fatal error on transport");
        Py_XDECREF(result);
    }
}

/* The bytes received; 0 at the end and after an error, which has been dealt with; -1: nothing there. */
static ssize_t receive(struct part *part, void *buffer, size_t size)
{
    ssize_t received = recv(part->fd, buffer, size, 0);

    if (received > 0) return received;
    if (received == 0)
        on_eof(part);
    else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return -1;
    else
        fatal_errno(part, errno, "Fatal read error on socket transport");
    return 0;
}

static void read_data(struct part *part)
{
    char *buffer = async__py_loop_buffer(part->loop);
    if (!buffer) {
        fatal(part, "Fatal read error on socket transport");
        return;
    }
    ssize_t received = receive(part, buffer, ASYNC__PY_BUFFER);
    if (received <= 0) return;
    /* Two protocols of ours take it out of the buffer themselves. */
    if (part->feed) {
        if (part->feed(part->protocol, buffer, received) < 0)
            fatal(part, "Fatal error: protocol.data_received() call failed.");
        return;
    }
    PyObject *data = PyBytes_FromStringAndSize(buffer, received);
    if (!data) {
        fatal(part, "Fatal read error on socket transport");
        return;
    }
    PyObject *result = PyObject_CallMethodOneArg(part->protocol, name_data_received, data);
    Py_DECREF(data);
    if (result)
        Py_DECREF(result);
    else
        fatal(part, "Fatal error: protocol.data_received() call failed.");
}

static void read_into(struct part *part)
{
    Py_buffer view;
    PyObject *buffer = PyObject_CallMethodOneArg(part->protocol, name_get_buffer, minus_one);
    int code = buffer ? PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE) : -1;

    Py_XDECREF(buffer);
    if (code == 0 && view.len == 0) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        code = -1;
    }
    if (code < 0) {
        fatal(part, "Fatal error: protocol.get_buffer() call failed.");
        return;
    }
    if (part->lost || part->closing) { /* get_buffer has closed the transport */
        PyBuffer_Release(&view);
        return;
    }
    ssize_t received = recv(part->fd, view.buf, (size_t)view.len, 0);
    int error = errno;
    PyBuffer_Release(&view);
    if (received == 0) {
        on_eof(part);
    } else if (received < 0) {
        if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR)
            fatal_errno(part, error, "Fatal read error on socket transport");
    } else {
        PyObject *count = PyLong_FromSsize_t(received);
        PyObject *result =
            count ? PyObject_CallMethodOneArg(part->protocol, name_buffer_updated, count) : NULL;
        Py_XDECREF(count);
        if (result)
            Py_DECREF(result);
        else
            fatal(part, "Fatal error: protocol.buffer_updated() call failed.");
    }
}

/* Both watches' callbacks: `work` in the transport's context, timed in debug mode. */
static void run(struct part *part, void (*work)(struct part *))
{
    PyObject *self = Py_NewRef(SELF(part)), *protocol = Py_XNewRef(part->protocol);
    async__py_loop *loop = (async__py_loop *)Py_NewRef((PyObject *)part->loop);
    PyObject *context = Py_NewRef(part->context);

    if (!part->lost && PyContext_Enter(context) == 0) {
        int64_t begin = async__py_slow_begin(loop);
        work(part);
        async__py_slow_end(loop, begin, self);
        PyContext_Exit(context);
    }
    if (PyErr_Occurred())
        async__py_loop_fail(loop, "Error in a transport", "transport", self, NULL);
    Py_DECREF(context);
    Py_XDECREF(protocol);
    Py_DECREF(self);
    Py_DECREF((PyObject *)loop);
}

static void read_ready(async_callback *callback)
{
    struct part *part = async__container(callback, struct part, reader.callback);

    part->writes = 0;
    run(part, part->buffered ? read_into : read_data);
}

static PyObject *transport_pause_reading(PyObject *self, PyObject *none)
{
    struct part *part = PART(self);

    (void)none;
    if (part->closing || part->paused) Py_RETURN_NONE;
    part->paused = 1;
    stop_reading(part);
    debug_log(part, "%r pauses reading", NULL);
    Py_RETURN_NONE;
}

static PyObject *transport_resume_reading(PyObject *self, PyObject *none)
{
    struct part *part = PART(self);

    (void)none;
    if (part->closing || !part->paused) Py_RETURN_NONE;
    if (start_reading(part) < 0) return NULL;
    part->paused = 0;
    debug_log(part, "%r resumes reading", NULL);
    Py_RETURN_NONE;
}

static PyObject *transport_is_reading(PyObject *self, PyObject *none)
{
    struct part *part = PART(self);

    (void)none;
    return PyBool_FromLong(!part->closing && !part->paused);
}

/* ---- flow control ---- */

static void tell_protocol(struct part *part, PyObject *name, const char *message)
{
    PyObject *result =
        part->protocol ? PyObject_CallMethodNoArgs(part->protocol, name) : Py_NewRef(Py_None);

    if (!result)
        async__py_loop_fail(part->loop, message, "transport", SELF(part), "protocol",
                            part->protocol, NULL);
    Py_XDECREF(result);
}

static void maybe_pause_protocol(struct part *part)
{
    if (part->size <= part->high || part->protocol_paused) return;
    part->protocol_paused = 1;
    tell_protocol(part, name_pause_writing, "protocol.pause_writing() failed");
}

static void maybe_resume_protocol(struct part *part)
{
    if (!part->protocol_paused || part->size > part->low) return;
    part->protocol_paused = 0;
    tell_protocol(part, name_resume_writing, "protocol.resume_writing() failed");
}

static PyObject *transport_get_write_buffer_size(PyObject *self, PyObject *none)
{
    (void)none;
    flush_now(PART(self));
    return PyLong_FromSsize_t(PART(self)->size);
}

static PyObject *transport_get_write_buffer_limits(PyObject *self, PyObject *none)
{
    (void)none;
    return Py_BuildValue("(nn)", PART(self)->low, PART(self)->high);
}

int async__py_parse_limits(PyObject *args, PyObject *keywords, Py_ssize_t *high, Py_ssize_t *low)
{
    static char *names[] = {"high", "low", NULL};
    PyObject *high_object = Py_None, *low_object = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|OO:set_write_buffer_limits", names,
                                     &high_object, &low_object))
        return -1;
    Py_ssize_t new_high = HIGH_WATER, new_low = 0;
    if (low_object != Py_None) {
        new_low = PyNumber_AsSsize_t(low_object, PyExc_OverflowError);
        if (new_low == -1 && PyErr_Occurred()) return -1;
        new_high = 4 * new_low;
    }
    if (high_object != Py_None) {
        new_high = PyNumber_AsSsize_t(high_object, PyExc_OverflowError);
        if (new_high == -1 && PyErr_Occurred()) return -1;
    }
    if (low_object == Py_None) new_low = new_high / 4;
    if (new_high < new_low || new_low < 0) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", new_high,
                     new_low);
        return -1;
    }
    *high = new_high;
    *low = new_low;
    return 0;
}

static PyObject *transport_set_write_buffer_limits(PyObject *self, PyObject *args,
                                                   PyObject *keywords)
{
    struct part *part = PART(self);

    if (async__py_parse_limits(args, keywords, &part->high, &part->low) < 0) return NULL;
    maybe_pause_protocol(part);
    Py_RETURN_NONE;
}

/* ---- writing ---- */

static int enqueue(struct part *part, PyObject *bytes, Py_ssize_t begin)
{
    if (part->first + part->length == part->capacity) {
        if (part->first > part->length) {
            memmove(part->queue, part->queue + part->first,
                    (size_t)part->length * sizeof *part->queue);
            part->first = 0;
        } else {
            Py_ssize_t capacity = part->capacity ? part->capacity * 2 : 4;
            struct piece *queue = PyMem_Realloc(part->queue, (size_t)capacity * sizeof *queue);
            if (!queue) {
                PyErr_NoMemory();
                return -1;
            }
            part->queue = queue;
            part->capacity = capacity;
        }
    }
    Py_ssize_t end = PyBytes_GET_SIZE(bytes);
    part->queue[part->first + part->length++] = (struct piece){Py_NewRef(bytes), begin, end};
    part->size += end - begin;
    return 0;
}

/* Queues what is left of a buffer. */
static int enqueue_view(struct part *part, PyObject *owner, const Py_buffer *view, Py_ssize_t begin)
{
    if (PyBytes_CheckExact(owner)) return enqueue(part, owner, begin);
    PyObject *copy = PyBytes_FromStringAndSize((char *)view->buf + begin, view->len - begin);
    if (!copy) return -1;
    int code = enqueue(part, copy, 0);
    Py_DECREF(copy);
    return code;
}

static void dequeue(struct part *part, Py_ssize_t sent)
{
    part->size -= sent;
    while (sent > 0) {
        struct piece *piece = &part->queue[part->first];
        Py_ssize_t length = piece->end - piece->begin;
        if (sent < length) {
            piece->begin += sent;
            return;
        }
        sent -= length;
        part->first++;
        part->length--;
        Py_DECREF(piece->bytes);
    }
    if (part->length == 0) part->first = 0;
}

static ssize_t send_pieces(struct part *part)
{
    struct iovec vectors[MOST_VECTORS];
    struct msghdr message = {.msg_iov = vectors};

    for (; (Py_ssize_t)message.msg_iovlen < part->length && message.msg_iovlen < MOST_VECTORS;
         message.msg_iovlen++) {
        struct piece *piece = &part->queue[part->first + (Py_ssize_t)message.msg_iovlen];
        vectors[message.msg_iovlen].iov_base = PyBytes_AS_STRING(piece->bytes) + piece->begin;
        vectors[message.msg_iovlen].iov_len = (size_t)(piece->end - piece->begin);
    }
    ssize_t sent = sendmsg(part->fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    return sent;
}

/* All is out: what has waited for that. */
static void on_empty(struct part *part)
{
    stop_writing(part);
    if (part->empty_waiter) {
        PyObject *done = PyObject_CallMethodNoArgs(part->empty_waiter, name_done), *result = NULL;
        if (done && !PyObject_IsTrue(done))
            result = PyObject_CallMethodOneArg(part->empty_waiter, name_set_result, Py_None);
        Py_XDECREF(done);
        Py_XDECREF(result);
        if (PyErr_Occurred()) async__py_loop_fail(part->loop, "Error after the last write", NULL);
    }
    if (part->closing && !part->lost) {
        part->lost++;
        PyObject *result = transport_call_connection_lost(SELF(part), Py_None);
        if (!result)
            async__py_loop_fail(part->loop, "Exception in connection_lost()", "transport",
                                SELF(part), NULL);
        Py_XDECREF(result);
    } else if (part->eof && part->sock) {
        shutdown(part->fd, SHUT_WR);
    }
}

static void flush(struct part *part)
{
    ssize_t sent = send_pieces(part);

    if (sent < 0) {
        int error = errno;
        stop_writing(part);
        drop_queue(part);
        async__py_set_oserror(-error);
        PyObject *exception = async__py_error_take();
        async__py_error_set(Py_NewRef(exception));
        fatal(part, "Fatal write error on socket transport");
        fail_empty_waiter(part, exception);
        Py_DECREF(exception);
        return;
    }
    dequeue(part, sent);
    maybe_resume_protocol(part); /* which may write more */
    if (part->length == 0) on_empty(part);
}

static void write_ready(async_callback *callback)
{
    struct part *part = async__container(callback, struct part, writer.callback);

    if (part->length == 0)
        stop_writing(part);
    else
        run(part, flush);
}

/* Whether writing is possible at all. 1: go on; 0: the data is dropped, as the connection is lost; -1. */
static int may_write(struct part *part, const char *method)
{
    if (part->eof) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
        return -1;
    }
    if (part->empty_waiter) {
        PyErr_Format(PyExc_RuntimeError, "unable to %s; sendfile is in progress", method);
        return -1;
    }
    return 1;
}

/* A write to a connection that is lost: told of when it is done again and again. 0, or -1. */
static int count_lost(struct part *part)
{
    if (part->lost++ < LOG_THRESHOLD) return 0;
    PyObject *result = PyObject_CallMethod((PyObject *)part->loop, "_warn_lost_write", NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* The queue, as far as the kernel takes it; the watch does the rest. 0, or -1 and an exception. */
static int write_queue(struct part *part)
{
    if (part->length == 0) return 0;
    if (!part->writer.armed) {
        ssize_t sent = send_pieces(part);
        if (sent < 0) {
            fatal_errno(part, errno, "Fatal write error on socket transport");
            return 0;
        }
        dequeue(part, sent);
        if (part->length > 0 && start_writing(part) < 0) return -1;
    }
    maybe_pause_protocol(part);
    return 0;
}

/* What has waited to go out together goes out. */
static void flush_together(struct part *part)
{
    if (part->writes < 2) part->together = 0;
    if (write_queue(part) < 0) fatal(part, "Fatal write error on socket transport");
    if (part->length == 0) on_empty(part);
    update_hold(part);
}

static void flush_now(struct part *part)
{
    if (!async_callback_cancel(&part->flusher)) return;
    PyObject *self = Py_NewRef(SELF(part));
    flush_together(part);
    Py_DECREF(self);
}

static void flush_ready(async_callback *callback)
{
    run(async__container(callback, struct part, flusher), flush_together);
}

/* Queued, to go out with what else is written in this turn, unless that becomes much. */
static int write_later(struct part *part, PyObject *data, const Py_buffer *view)
{
    if (enqueue_view(part, data, view, 0) < 0) return -1;
    if (part->writer.armed) {
        maybe_pause_protocol(part);
    } else {
        if (!part->flusher.next) {
            async_call_soon(part->loop->engine, &part->flusher);
            update_hold(part);
        }
        if (part->size > part->high) flush_now(part);
    }
    return 0;
}

static int write_view(struct part *part, PyObject *data, const Py_buffer *view)
{
    ssize_t sent = 0;

    if (part->writes < 2 && ++part->writes == 2) part->together = 1;
    if (part->together && part->loop->engine) return write_later(part, data, view);
    if (part->length == 0) {
        sent = send(part->fd, view->buf, (size_t)view->len, MSG_NOSIGNAL);
        if (sent == view->len) return 0;
        if (sent < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
                fatal_errno(part, errno, "Fatal write error on socket transport");
                return 0;
            }
            sent = 0;
        }
    }
    if (enqueue_view(part, data, view, sent) < 0) return -1;
    if (start_writing(part) < 0) return -1;
    maybe_pause_protocol(part);
    return 0;
}

static PyObject *transport_write(PyObject *self, PyObject *data)
{
    struct part *part = PART(self);
    Py_buffer view;

    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%s'",
                     Py_TYPE(data)->tp_name);
        return NULL;
    }
    if (may_write(part, "write") < 0) return NULL;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return NULL;
    int code = view.len == 0 ? 0 : part->lost ? count_lost(part) : write_view(part, data, &view);
    PyBuffer_Release(&view);
    if (code < 0) return NULL;
    Py_RETURN_NONE;
}

/* All into the queue, and out by one call. */
static PyObject *transport_writelines(PyObject *self, PyObject *lines)
{
    struct part *part = PART(self);

    if (may_write(part, "writelines") < 0) return NULL;
    PyObject *list = PySequence_Fast(lines, "writelines() argument must be iterable");
    if (!list) return NULL;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list); i++) {
        PyObject *data = PySequence_Fast_GET_ITEM(list, i);
        Py_buffer view;
        int code = PyObject_GetBuffer(data, &view, PyBUF_SIMPLE);
        if (code == 0) {
            if (view.len > 0 && !part->lost) code = enqueue_view(part, data, &view, 0);
            PyBuffer_Release(&view);
        }
        if (code < 0) {
            Py_DECREF(list);
            return NULL;
        }
    }
    Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
    Py_DECREF(list);
    if (part->lost) {
        if (count > 0 && count_lost(part) < 0) return NULL;
        Py_RETURN_NONE;
    }
    end_flush(part);
    if (write_queue(part) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *transport_write_eof(PyObject *self, PyObject *none)
{
    struct part *part = PART(self);

    (void)none;
    flush_now(part);
    if (part->closing || part->eof) Py_RETURN_NONE;
    part->eof = 1;
    if (part->length == 0 && shutdown(part->fd, SHUT_WR) < 0) return async__py_set_oserror(-errno);
    Py_RETURN_NONE;
}

static PyObject *transport_can_write_eof(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    Py_RETURN_TRUE;
}

/* ---- for loop.sendfile: the descriptor is lent, once the queue is empty ---- */

static PyObject *transport_make_empty_waiter(PyObject *self, PyObject *none)
{
    struct part *part = PART(self);

    (void)none;
    if (part->empty_waiter) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    flush_now(part);
    PyObject *waiter = PyObject_CallMethodNoArgs((PyObject *)part->loop, name_create_future);
    if (!waiter) return NULL;
    if (part->length == 0) {
        PyObject *result = PyObject_CallMethodOneArg(waiter, name_set_result, Py_None);
        Py_XDECREF(result);
        if (!result) {
            Py_DECREF(waiter);
            return NULL;
        }
    }
    part->empty_waiter = Py_NewRef(waiter);
    return waiter;
}

static PyObject *transport_reset_empty_waiter(PyObject *self, PyObject *none)
{
    (void)none;
    Py_CLEAR(PART(self)->empty_waiter);
    Py_RETURN_NONE;
}

static PyObject *transport_lend(PyObject *self, PyObject *lent)
{
    struct part *part = PART(self);
    int is_lent = PyObject_IsTrue(lent);

    if (is_lent < 0) return NULL;
    if (part->sock && async__py_set_transport(part->loop, part->fd, is_lent ? NULL : self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- what it is made of ---- */

static int feed_tls(PyObject *protocol, const char *data, Py_ssize_t length)
{
    return async__py_tls_feed(protocol, data, (size_t)length);
}

static PyObject *transport_set_protocol(PyObject *self, PyObject *protocol)
{
    struct part *part = PART(self);
    int buffered = PyObject_IsInstance(protocol, buffered_protocol);

    if (buffered < 0) return NULL;
    part->feed = async__py_is_stream_protocol(protocol) ? async__py_stream_feed
                 : async__py_is_tls(protocol)           ? feed_tls
                                                        : NULL;
    part->buffered = buffered && !part->feed;
    part->connected = 1;
    Py_XSETREF(part->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *or_none(PyObject *object) { return Py_NewRef(object ? object : Py_None); }

static PyObject *transport_get_protocol(PyObject *self, PyObject *none)
{
    (void)none;
    return or_none(PART(self)->protocol);
}

static PyObject *transport_is_closing(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(PART(self)->closing);
}

/* After connection_made: reading begins, and then whoever waits for the connection goes on. */
static PyObject *transport_begin(PyObject *self, PyObject *waiter)
{
    struct part *part = PART(self);

    if (!part->closing && !part->paused && start_reading(part) < 0) return NULL;
    if (waiter == Py_None) Py_RETURN_NONE;
    PyObject *done = PyObject_CallMethodNoArgs(waiter, name_done);
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done < 0) return NULL;
    if (is_done) Py_RETURN_NONE;
    return PyObject_CallMethodOneArg(waiter, name_set_result, Py_None);
}

static PyObject *transport_repr(PyObject *self)
{
    struct part *part = PART(self);
    const char *state = !part->sock ? " closed" : part->closing ? " closing" : "";

    bool open = part->loop->engine;
    return PyUnicode_FromFormat("<SocketTransport%s fd=%d read=%s write=<%s, bufsize=%zd>>", state,
                                part->fd, open && part->reader.armed ? "polling" : "idle",
                                open && part->writer.armed ? "polling" : "idle", part->size);
}

static int fill_extra(PyObject *self, PyObject *extra, PyObject *sock)
{
    const struct {
        PyObject *key, *method;
    } addresses[] = {{name_sockname, name_getsockname}, {name_peername, name_getpeername}};
    PyObject *given = extra && extra != Py_None ? PyDict_Copy(extra) : PyDict_New();
    PyObject *wrapped = PyObject_CallOneArg(transport_socket, sock);

    Py_XSETREF(EXTRA(self), given);
    int code = given && wrapped ? PyDict_SetItem(given, name_socket, wrapped) : -1;
    Py_XDECREF(wrapped);
    for (int i = 0; code == 0 && i < 2; i++) {
        if (i == 1 && PyDict_Contains(given, name_peername) == 1) break;
        PyObject *address = PyObject_CallMethodNoArgs(sock, addresses[i].method);
        if (!address && PyErr_ExceptionMatches(PyExc_OSError)) {
            PyErr_Clear();
            address = Py_NewRef(Py_None);
        }
        code = address ? PyDict_SetItem(given, addresses[i].key, address) : -1;
        Py_XDECREF(address);
    }
    return code;
}

static int schedule(struct part *part, PyObject *object, PyObject *name, PyObject *argument)
{
    PyObject *method = PyObject_GetAttr(object, name);
    int code = method ? async__py_call_soon(part->loop, method, argument) : -1;

    Py_XDECREF(method);
    return code;
}

static int open_transport(PyObject *self, PyObject *sock, PyObject *protocol, PyObject *waiter,
                          PyObject *extra, PyObject *server)
{
    struct part *part = PART(self);
    int one = 1;
    PyObject *number = PyObject_CallMethodNoArgs(sock, name_fileno);
    long fd = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    if (PyErr_Occurred()) return -1;
    if (fd < 0) {
        async__py_set_oserror(-EBADF);
        return -1;
    }
    if (async__py_check_no_transport(part->loop, (int)fd, sock) < 0) return -1;
    if (fill_extra(self, extra, sock) < 0) return -1;
    PyObject *result = transport_set_protocol(self, protocol);
    if (!result) return -1;
    Py_DECREF(result);
    part->context = PyContext_CopyCurrent();
    if (!part->context) return -1;
    part->fd = (int)fd;
    if (async__py_set_transport(part->loop, part->fd, self) < 0) return -1;
    part->sock = Py_NewRef(sock);
    if (server && server != Py_None) {
        result = PyObject_CallMethodOneArg(server, name_attach, self);
        if (!result) return -1;
        Py_DECREF(result);
        part->server = Py_NewRef(server);
    }
    /* One that was accepted has it from its listener. */
    if (!part->server) setsockopt(part->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (schedule(part, protocol, name_connection_made, self) < 0) return -1;
    return schedule(part, self, name_begin, waiter ? waiter : Py_None);
}

PyObject *async__py_socket_transport_new(async__py_loop *loop, PyObject *sock, PyObject *protocol,
                                         PyObject *waiter, PyObject *extra, PyObject *server)
{
    if (!loop->engine) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return NULL;
    }
    PyObject *self = type->tp_alloc(type, 0);
    if (!self) return NULL;
    struct part *part = PART(self);
    part->loop = (async__py_loop *)Py_NewRef((PyObject *)loop);
    part->holder.object = self;
    part->reader.callback.run = read_ready;
    part->writer.callback.run = write_ready;
    part->flusher.run = flush_ready;
    part->high = HIGH_WATER;
    part->low = HIGH_WATER / 4;
    part->fd = -1;
    if (open_transport(self, sock, protocol, waiter, extra, server) == 0) return self;
    PyObject *error = async__py_error_take();
    if (part->fd >= 0) async__py_set_transport(loop, part->fd, NULL);
    part->closing = 1;
    part->connected = 0;
    Py_CLEAR(part->sock); /* stays its giver's */
    Py_DECREF(self);
    async__py_error_set(error);
    return NULL;
}

static PyObject *transport_new(PyTypeObject *subtype, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"loop", "sock", "protocol", "waiter", "extra", "server", NULL};
    PyObject *loop, *sock, *protocol, *waiter = NULL, *extra = NULL, *server = NULL;

    (void)subtype;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!OO|OOO:SocketTransport", names,
                                     async__py_loop_type, &loop, &sock, &protocol, &waiter, &extra,
                                     &server))
        return NULL;
    return async__py_socket_transport_new((async__py_loop *)loop, sock, protocol, waiter, extra,
                                          server);
}

/* tp_new has done it all, and the base's __init__ is not to undo it. */
static int transport_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    (void)args;
    (void)keywords;
    return 0;
}

static int transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct part *part = PART(self);

    Py_VISIT(EXTRA(self));
    Py_VISIT(part->loop);
    Py_VISIT(part->sock);
    Py_VISIT(part->protocol);
    Py_VISIT(part->server);
    Py_VISIT(part->context);
    Py_VISIT(part->empty_waiter);
    Py_VISIT(part->dict);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int transport_clear(PyObject *self)
{
    struct part *part = PART(self);

    Py_CLEAR(EXTRA(self));
    Py_CLEAR(part->protocol);
    Py_CLEAR(part->server);
    Py_CLEAR(part->empty_waiter);
    Py_CLEAR(part->dict);
    return 0;
}

static void transport_finalize(PyObject *self)
{
    struct part *part = PART(self);
    if (!part->sock) return;
    PyObject *error = async__py_error_take();

    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0)
        PyErr_WriteUnraisable(self);
    part->closing = 1;
    part->lost++;
    drop_queue(part);
    release(part);
    if (error) async__py_error_set(error);
}

static void transport_dealloc(PyObject *self)
{
    struct part *part = PART(self);
    PyTypeObject *own = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
    PyObject_GC_UnTrack(self);
    if (part->weakrefs) PyObject_ClearWeakRefs(self);
    transport_clear(self);
    drop_queue(part);
    PyMem_Free(part->queue);
    Py_CLEAR(part->sock);
    Py_CLEAR(part->context);
    Py_CLEAR(part->loop);
    own->tp_free(self);
    Py_DECREF(own);
}

static PyObject *get_loop(PyObject *self, void *none)
{
    (void)none;
    return or_none((PyObject *)PART(self)->loop);
}

/* asyncio's own code, and its tests, look at these. */
static PyObject *get_sock(PyObject *self, void *none)
{
    (void)none;
    return or_none(PART(self)->sock);
}

static PyObject *get_protocol(PyObject *self, void *none)
{
    (void)none;
    return or_none(PART(self)->protocol);
}

static PyObject *get_number(PyObject *self, void *offset)
{
    return PyLong_FromSsize_t(*(Py_ssize_t *)((char *)PART(self) + (size_t)offset));
}

static PyObject *get_flag(PyObject *self, void *offset)
{
    return PyBool_FromLong(*((char *)PART(self) + (size_t)offset));
}

static PyObject *get_fd(PyObject *self, void *none)
{
    (void)none;
    return PyLong_FromLong(PART(self)->fd);
}

static PyObject *get_lost(PyObject *self, void *none)
{
    (void)none;
    return PyLong_FromUnsignedLong(PART(self)->lost);
}

#define OFFSET(field) ((void *)offsetof(struct part, field))

static PyGetSetDef getters[] = {
    {"_loop", get_loop, NULL, NULL, NULL},
    {"_sock", get_sock, NULL, NULL, NULL},
    {"_sock_fd", get_fd, NULL, NULL, NULL},
    {"_protocol", get_protocol, NULL, NULL, NULL},
    {"_conn_lost", get_lost, NULL, NULL, NULL},
    {"_closing", get_flag, NULL, NULL, OFFSET(closing)},
    {"_paused", get_flag, NULL, NULL, OFFSET(paused)},
    {"_eof", get_flag, NULL, NULL, OFFSET(eof)},
    {"_protocol_paused", get_flag, NULL, NULL, OFFSET(protocol_paused)},
    {"_high_water", get_number, NULL, NULL, OFFSET(high)},
    {"_low_water", get_number, NULL, NULL, OFFSET(low)},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {0},
};

static PyMethodDef methods[] = {
    {"write", transport_write, METH_O,
     "Writes the data, or queues what the kernel does not take now."},
    {"writelines", transport_writelines, METH_O, "Writes all of the data in one call."},
    {"write_eof", transport_write_eof, METH_NOARGS, "Ends the sending side, once all is written."},
    {"can_write_eof", transport_can_write_eof, METH_NOARGS, "True."},
    {"close", transport_close, METH_NOARGS, "Closes, once all is written."},
    {"abort", transport_abort, METH_NOARGS, "Closes at once; what is not written is lost."},
    {"is_closing", transport_is_closing, METH_NOARGS, "Whether it is closing, or closed."},
    {"is_reading", transport_is_reading, METH_NOARGS, "Whether it receives."},
    {"pause_reading", transport_pause_reading, METH_NOARGS, "Receives no more."},
    {"resume_reading", transport_resume_reading, METH_NOARGS, "Receives again."},
    {"set_protocol", transport_set_protocol, METH_O, "Changes the protocol."},
    {"get_protocol", transport_get_protocol, METH_NOARGS, "The protocol."},
    {"get_write_buffer_size", transport_get_write_buffer_size, METH_NOARGS,
     "Bytes not yet written."},
    {"get_write_buffer_limits", transport_get_write_buffer_limits, METH_NOARGS,
     "(low, high), in bytes."},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))transport_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS,
     "When the protocol's pause_writing() and resume_writing() are called."},
    {"_force_close", transport_force_close, METH_O, NULL},
    {"_fatal_error", transport_fatal_error, METH_VARARGS, NULL},
    {"_call_connection_lost", transport_call_connection_lost, METH_O, NULL},
    {"_make_empty_waiter", transport_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", transport_reset_empty_waiter, METH_NOARGS, NULL},
    {"_lend", transport_lend, METH_O, NULL},
    {"_begin", transport_begin, METH_O, NULL},
    {0},
};

/* The offsets of these two depend on the base class, and are set when the type is made. */
static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, transport_new},
    {Py_tp_init, transport_init},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_finalize, transport_finalize},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_repr, transport_repr},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0},
};

static const struct async__py_name names[] = {
    {&name_data_received, "data_received"},
    {&name_eof_received, "eof_received"},
    {&name_get_buffer, "get_buffer"},
    {&name_buffer_updated, "buffer_updated"},
    {&name_connection_made, "connection_made"},
    {&name_connection_lost, "connection_lost"},
    {&name_pause_writing, "pause_writing"},
    {&name_resume_writing, "resume_writing"},
    {&name_attach, "_attach"},
    {&name_detach, "_detach"},
    {&name_close, "close"},
    {&name_fileno, "fileno"},
    {&name_getsockname, "getsockname"},
    {&name_getpeername, "getpeername"},
    {&name_begin, "_begin"},
    {&name_call_connection_lost, "_call_connection_lost"},
    {&name_set_result, "set_result"},
    {&name_set_exception, "set_exception"},
    {&name_create_future, "create_future"},
    {&name_socket, "socket"},
    {&name_sockname, "sockname"},
    {&name_peername, "peername"},
    {&name_done, "done"},
    {0},
};

static int make_type(PyObject *module, PyTypeObject *base)
{
    part_offset = (base->tp_basicsize + 15) & ~(Py_ssize_t)15;
    members[0].offset = part_offset + (Py_ssize_t)offsetof(struct part, dict);
    members[1].offset = part_offset + (Py_ssize_t)offsetof(struct part, weakrefs);
    PyObject *extra = PyObject_GetAttrString((PyObject *)base, "_extra");
    if (!extra) return -1;
    if (Py_IS_TYPE(extra, &PyMemberDescr_Type))
        extra_offset = ((PyMemberDescrObject *)extra)->d_member->offset;
    else
        PyErr_SetString(PyExc_ImportError,
                        "casyncio: asyncio's transports have no slot _extra here");
    Py_DECREF(extra);
    if (!extra_offset) return -1;
    PyType_Spec spec = {
        .name = "casyncio._casyncio.SocketTransport",
        .basicsize = (int)(part_offset + (Py_ssize_t)sizeof(struct part)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    type = async__py_add_type(module, &spec, (PyObject *)base);
    return type ? 0 : -1;
}

int async__py_add_transport(PyObject *module)
{
    minus_one = PyLong_FromLong(-1);
    buffered_protocol = async__py_import("asyncio.protocols", "BufferedProtocol");
    transport_socket = async__py_import("asyncio.trsock", "TransportSocket");
    PyTypeObject *base =
        (PyTypeObject *)async__py_import("asyncio.transports", "_FlowControlMixin");
    PyObject *modes = async__py_import("asyncio.constants", "_SendfileMode");
    PyObject *mode = modes ? PyObject_GetAttrString(modes, "TRY_NATIVE") : NULL;
    int code = -1;

    if (minus_one && buffered_protocol && transport_socket && base && mode &&
        async__py_intern(names) == 0 && make_type(module, base) == 0 &&
        PyObject_SetAttrString((PyObject *)type, "_sendfile_compatible", mode) == 0)
        code = PyObject_SetAttrString((PyObject *)type, "_start_tls_compatible", Py_True);
    Py_XDECREF(base);
    Py_XDECREF(modes);
    Py_XDECREF(mode);
    return code;
}
