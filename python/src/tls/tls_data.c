/* tls_data.c - data through TLS, in both directions, and who is told to wait.
 *
 * What is slow about TLS in asyncio is not the cryptography. Reading until there is nothing left
 * ends each time with an SSLWantReadError, an exception made to be thrown away; here the incoming
 * BIO is asked first: when a read was not full and the BIO is empty, another read has nothing to
 * find. It is read into one piece of memory that all connections of a loop use, and copied out
 * exactly as long as it is. And what the application writes while its callback runs is encrypted at
 * once, but sent as one piece when the callback returns.
 *
 * _ssl takes and fills anything that has a buffer, so it is shown a window: one object that is set
 * to a piece of memory before each call. That is safe with _ssl's own object only, which lets go of
 * it before it returns; an SSLObject of somebody's own class gets and gives bytes. */
#include "tls.h"

/* As much is encrypted before it is sent: a write of many MB is not to lie there three times. */
enum { CHUNK = 256 * 1024 };

static struct window {
    PyObject_HEAD char *data;
    Py_ssize_t length;
} * window;

static PyObject *read_args; /* for SSLObject.read: as much as the window takes, the window */

/* A method of the SSL object, which is held while it is called: callbacks of the context's may end
 * the connection, and that lets go of it. */
static PyObject *call_ssl(PyObject *method, PyObject *args)
{
    if (!method) {
        PyErr_SetString(PyExc_ConnectionAbortedError, "SSL connection is closed");
        return NULL;
    }
    Py_INCREF(method);
    PyObject *result = PyObject_Call(method, args, NULL);
    Py_DECREF(method);
    return result;
}

/* ---- the window ---- */

static int window_getbuffer(struct window *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)self, self->data, self->length, 0, flags);
}

static void window_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot window_slots[] = {
    {Py_bf_getbuffer, window_getbuffer},
    {Py_tp_dealloc, window_dealloc},
    {0, NULL},
};

static PyType_Spec window_spec = {
    .name = "casyncio._casyncio._TLSWindow",
    .basicsize = sizeof(struct window),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = window_slots,
};

int async__py_tls_add_window(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &window_spec, NULL);

    if (!type) return -1;
    window = (struct window *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    Py_DECREF(type);
    if (!window) return -1;
    read_args = Py_BuildValue("iO", ASYNC__PY_TLS_MEMORY, window);
    return read_args ? 0 : -1;
}

static PyObject *show(const void *data, Py_ssize_t length)
{
    window->data = (char *)data;
    window->length = length;
    return (PyObject *)window;
}

/* ---- BIOs and the SSLObject ---- */

Py_ssize_t async__py_tls_pending(PyObject *bio)
{
    PyObject *pending = PyObject_GetAttr(bio, async__py_tls_names.pending);

    if (!pending) return -1;
    Py_ssize_t count = PyLong_AsSsize_t(pending);
    Py_DECREF(pending);
    return count;
}

/* A number that was returned; -1 and an exception, also for a negative one. */
static Py_ssize_t number(PyObject *result)
{
    if (!result) return -1;
    Py_ssize_t count = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (count < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "an SSLObject told a negative number of bytes");
    return count;
}

static Py_ssize_t read_bytes(async__py_tls *self, char *to, Py_ssize_t room)
{
    Py_buffer view;
    PyObject *args = Py_BuildValue("(n)", room);
    PyObject *data = args ? call_ssl(self->ssl_read, args) : NULL;

    Py_XDECREF(args);
    if (!data) return -1;
    int failed = PyObject_GetBuffer(data, &view, PyBUF_SIMPLE);
    Py_DECREF(data);
    if (failed) return -1;
    Py_ssize_t count = view.len;
    if (count > room) {
        PyErr_SetString(PyExc_ValueError, "an SSLObject gave more bytes than it was asked for");
        count = -1;
    } else {
        memcpy(to, view.buf, count);
    }
    PyBuffer_Release(&view);
    return count;
}

/* At most a record: how many bytes, 0 when the peer has said that it ends, -1 and an exception. */
static Py_ssize_t read_record(async__py_tls *self, char *to, Py_ssize_t room)
{
    Py_ssize_t count;

    room = Py_MIN(room, INT_MAX);
    if (self->direct) {
        show(to, room);
        count = number(call_ssl(self->ssl_read, read_args));
    } else {
        count = read_bytes(self, to, room);
    }
    if (count < 0 && PyErr_ExceptionMatches(async__py_tls_classes.zero_return)) {
        PyErr_Clear();
        return 0;
    }
    return count;
}

static Py_ssize_t write_record(async__py_tls *self, const char *data, Py_ssize_t length)
{
    PyObject *piece;

    if (self->direct)
        piece = Py_NewRef(show(data, length));
    else
        piece = PyBytes_FromStringAndSize(data, length);
    PyObject *args = piece ? PyTuple_Pack(1, piece) : NULL;
    Py_ssize_t count = args ? number(call_ssl(self->ssl_write, args)) : -1;
    Py_XDECREF(args);
    Py_XDECREF(piece);
    return count;
}

bool async__py_tls_again(void)
{
    if (!PyErr_ExceptionMatches(async__py_tls_classes.want_read) &&
        !PyErr_ExceptionMatches(async__py_tls_classes.syscall_error))
        return false;
    PyErr_Clear();
    return true;
}

/* ---- receiving ---- */

enum outcome { READ_ALL, READ_FULL, READ_END, READ_FAILED };

/* Reads what there is, as long as there is room. READ_FAILED: *error is the exception, taken away,
 * and still *count bytes have come before it. */
static enum outcome fill(async__py_tls *self, char *to, Py_ssize_t room, Py_ssize_t *count,
                         PyObject **error)
{
    *error = NULL;
    for (*count = 0; *count < room;) {
        Py_ssize_t pending, got = read_record(self, to + *count, room - *count);
        if (got == 0) return READ_END;
        if (got < 0 && async__py_tls_again()) return READ_ALL;
        if (got > 0) *count += got;
        if (*count == room) break;
        pending = got < 0 ? -1 : async__py_tls_pending(self->incoming);
        if (pending == 0) return READ_ALL;
        if (pending < 0) {
            *error = async__py_error_take();
            return READ_FAILED;
        }
    }
    return READ_FULL;
}

/* Calls a method with one argument, which is taken; its result does not matter. */
static int tell(PyObject *object, PyObject *method, PyObject *argument)
{
    if (!argument) return -1;
    Py_INCREF(object);
    PyObject *result = PyObject_CallMethodOneArg(object, method, argument);
    Py_DECREF(object);
    Py_DECREF(argument);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* What the application has raised counts more than the `error` that ended the reading. */
static int end_reading(int result, PyObject *error)
{
    if (!error) return result;
    if (result < 0)
        Py_DECREF(error);
    else
        async__py_error_set(error);
    return -1;
}

static int give_copy(async__py_tls *self, Py_ssize_t count)
{
    if (!self->app_protocol) return 0; /* the connection was lost in the SSL object's read */
    if (async__py_is_stream_protocol(self->app_protocol)) {
        PyObject *protocol = Py_NewRef(self->app_protocol);
        int result = async__py_stream_feed(protocol, self->memory, count);
        Py_DECREF(protocol);
        return result;
    }
    return tell(self->app_protocol, async__py_tls_names.data_received,
                PyBytes_FromStringAndSize(self->memory, count));
}

static int read_copied(async__py_tls *self, enum outcome *outcome)
{
    Py_ssize_t count;
    PyObject *error;
    int result = 0;

    *outcome = fill(self, self->memory, ASYNC__PY_TLS_MEMORY, &count, &error);
    if (count > 0) result = give_copy(self, count);
    return end_reading(result, error);
}

/* The buffer that the application gives. */
static int get_buffer(async__py_tls *self, Py_buffer *view)
{
    Py_ssize_t hint = async__py_tls_pending(self->incoming);
    PyObject *buffer = NULL, *argument = NULL;

    if (hint >= 0) argument = PyLong_FromSsize_t(hint > 0 ? hint : -1);
    if (argument) {
        PyObject *protocol = Py_NewRef(self->app_protocol ? self->app_protocol : Py_None);
        buffer = PyObject_CallMethodOneArg(protocol, async__py_tls_names.get_buffer, argument);
        Py_DECREF(protocol);
    }
    Py_XDECREF(argument);
    if (!buffer) return -1;
    int result = PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE);
    Py_DECREF(buffer);
    if (result == 0 && view->len == 0) {
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        PyBuffer_Release(view);
        return -1;
    }
    return result;
}

static int read_buffered(async__py_tls *self, enum outcome *outcome)
{
    Py_buffer view;
    Py_ssize_t count;
    PyObject *error;
    int result = 0;

    if (get_buffer(self, &view) < 0) return -1;
    *outcome = fill(self, view.buf, view.len, &count, &error);
    PyBuffer_Release(&view);
    if (count > 0 && self->app_protocol)
        result =
            tell(self->app_protocol, async__py_tls_names.buffer_updated, PyLong_FromSsize_t(count));
    return end_reading(result, error);
}

static int deliver(async__py_tls *self)
{
    enum outcome outcome;

    do {
        if ((self->app_is_buffered ? read_buffered : read_copied)(self, &outcome) < 0) return -1;
    } while (outcome == READ_FULL && self->state == ASYNC__PY_TLS_WRAPPED && !self->app_paused);
    if (outcome == READ_END || (outcome == READ_ALL && self->eof)) self->end = true;
    return 0;
}

static int read_and_write(async__py_tls *self)
{
    int result = 0;

    async__py_tls_cork(self);
    if (!self->app_paused && !self->end) result = deliver(self);
    if (result == 0 && self->backlog_size > 0 && self->state == ASYNC__PY_TLS_WRAPPED)
        result = async__py_tls_write_backlog(self);
    if (async__py_tls_uncork(self) < 0) return -1;
    /* Of an application that is not paused nothing is left in the BIO. */
    if (self->app_paused || self->ssl_read_paused) return async__py_tls_control_reading(self);
    return result;
}

int async__py_tls_read(async__py_tls *self)
{
    if (self->state != ASYNC__PY_TLS_WRAPPED) return 0;
    int result = read_and_write(self);
    if (result == 0 && self->end && !self->app_paused && self->state == ASYNC__PY_TLS_WRAPPED) {
        result = async__py_tls_app_eof(self);
        if (result == 0) result = async__py_tls_start_shutdown(self);
    }
    return result < 0 ? async__py_tls_fail(self, "Fatal error on SSL protocol") : 0;
}

int async__py_tls_discard(async__py_tls *self)
{
    enum outcome outcome;
    Py_ssize_t count;
    bool any = false;
    PyObject *error;

    do {
        outcome = fill(self, self->memory, ASYNC__PY_TLS_MEMORY, &count, &error);
        any = any || count > 0;
    } while (outcome == READ_FULL);
    if (error) return end_reading(0, error);
    if (outcome == READ_END) self->end = true;
    if (self->ssl_read_paused && async__py_tls_control_reading(self) < 0) return -1;
    return any;
}

int async__py_tls_readable(async__py_tls *self)
{
    if (self->end || self->eof) return 1;
    Py_ssize_t pending = async__py_tls_pending(self->incoming);
    if (pending != 0) return pending < 0 ? -1 : 1;
    if (!self->direct || !self->sslobj) return 1;
    pending = number(PyObject_CallMethodNoArgs(self->sslobj, async__py_tls_names.pending));
    return pending < 0 ? -1 : pending > 0;
}

int async__py_tls_resume(async__py_tls *self)
{
    if (!self->app_paused) return 0;
    self->app_paused = false;
    if (self->state != ASYNC__PY_TLS_WRAPPED || self->resume_scheduled) return 0;
    int useful = self->ssl_read_paused ? 1 : async__py_tls_readable(self);
    if (useful <= 0) return useful;
    PyObject *resumed = PyObject_GetAttrString((PyObject *)self, "_resumed");
    int result = tell(self->loop, async__py_tls_names.call_soon, resumed);
    if (result == 0) self->resume_scheduled = true;
    return result;
}

PyObject *async__py_tls_resumed(async__py_tls *self, PyObject *unused)
{
    self->resume_scheduled = false;
    if (!self->app_paused && async__py_tls_read(self) < 0) return NULL;
    Py_RETURN_NONE;
}

static int ignore(async__py_tls *self) { return 0; }

static int discard_and_shut(async__py_tls *self)
{
    /* unwrap() would take data for an error. */
    int any = async__py_tls_discard(self);
    if (any < 0) return async__py_tls_shut_failed(self);
    /* Who talks on after our close_notify is not waited for: he could do so until the time-out. */
    if (any) self->eof = true;
    return self->state == ASYNC__PY_TLS_SHUTDOWN ? async__py_tls_shut(self) : 0;
}

/* What received records are to us, by state. */
static int (*const received[])(async__py_tls *) = {
    [ASYNC__PY_TLS_UNWRAPPED] = ignore,
    [ASYNC__PY_TLS_HANDSHAKE] = async__py_tls_handshake,
    [ASYNC__PY_TLS_WRAPPED] = async__py_tls_read,
    [ASYNC__PY_TLS_FLUSHING] = async__py_tls_flush_and_shut,
    [ASYNC__PY_TLS_SHUTDOWN] = discard_and_shut,
};

int async__py_tls_received(async__py_tls *self, const char *data, Py_ssize_t length)
{
    if (self->state == ASYNC__PY_TLS_UNWRAPPED) return 0;
    PyObject *written = PyObject_CallOneArg(self->incoming_write, show(data, length));
    if (!written) return -1;
    Py_DECREF(written);
    Py_INCREF(self);
    int result = received[self->state](self);
    Py_DECREF(self);
    return result;
}

/* ---- sending ---- */

int async__py_tls_send(async__py_tls *self, bool all)
{
    self->corked_size = 0;
    if (self->transport && (all || !self->ssl_write_paused)) {
        PyObject *data = PyObject_CallNoArgs(self->outgoing_read);
        if (!data) return -1;
        if (PyObject_Length(data) == 0)
            Py_DECREF(data);
        else if (tell(self->transport, async__py_tls_names.write, data) < 0)
            return -1;
    }
    return async__py_tls_control_writing(self);
}

int async__py_tls_uncork(async__py_tls *self)
{
    PyObject *error = PyErr_Occurred() ? async__py_error_take() : NULL;
    int result = --self->corked == 0 ? async__py_tls_send(self, false) : 0;

    if (!error) return result;
    if (result < 0) {
        if (async__py_ends_the_loop()) {
            Py_DECREF(error);
            return -1;
        }
        PyErr_Clear();
    }
    async__py_error_set(error);
    return -1;
}

/* Encrypts as much as can be now; *done tells. The caller sends what is left over of a chunk. */
static int encrypt(async__py_tls *self, const char *data, Py_ssize_t length, Py_ssize_t *done)
{
    int result = 0;

    self->writing = true;
    *done = 0;
    /* Sending can pause the application, and that can abort the connection. */
    while (*done < length && result == 0 && self->state != ASYNC__PY_TLS_UNWRAPPED) {
        Py_ssize_t count = write_record(self, data + *done, Py_MIN(length - *done, CHUNK));
        if (count < 0) {
            result = async__py_tls_again() ? 0 : -1;
            break;
        }
        *done += count;
        self->corked_size += count;
        if (self->corked_size >= CHUNK) result = async__py_tls_send(self, false);
    }
    self->writing = false;
    return result;
}

void async__py_tls_drop_backlog(async__py_tls *self)
{
    Py_CLEAR(self->backlog);
    self->backlog_size = 0;
}

int async__py_tls_append_backlog(async__py_tls *self, PyObject *data)
{
    if (!self->backlog) self->backlog = PyList_New(0);
    PyObject *bytes = self->backlog ? PyBytes_FromObject(data) : NULL;
    if (!bytes) return -1;
    int result = PyList_Append(self->backlog, bytes);
    if (result == 0) self->backlog_size += PyBytes_GET_SIZE(bytes);
    Py_DECREF(bytes);
    return result;
}

/* The first of the backlog, of which `done` bytes have gone. -1: an exception is set. */
static int shorten_backlog(async__py_tls *self, PyObject *first, Py_ssize_t done)
{
    Py_ssize_t left = PyBytes_GET_SIZE(first) - done;

    if (!self->backlog || PyList_GET_SIZE(self->backlog) == 0 ||
        PyList_GET_ITEM(self->backlog, 0) != first)
        return 0; /* it was dropped */
    self->backlog_size -= done;
    if (left == 0) return PySequence_DelItem(self->backlog, 0);
    PyObject *rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(first) + done, left);
    return rest ? PyList_SetItem(self->backlog, 0, rest) : -1;
}

int async__py_tls_write_backlog(async__py_tls *self)
{
    bool stuck = false;

    while (self->backlog_size > 0 && !stuck) {
        Py_ssize_t done;
        PyObject *first = Py_NewRef(PyList_GET_ITEM(self->backlog, 0));
        int result = encrypt(self, PyBytes_AS_STRING(first), PyBytes_GET_SIZE(first), &done);
        stuck = done < PyBytes_GET_SIZE(first);
        if (result == 0) result = shorten_backlog(self, first, done);
        Py_DECREF(first);
        if (result < 0) return -1;
    }
    return self->corked ? 0 : async__py_tls_send(self, false);
}

/* Writes it now, and keeps what cannot be. */
static int write_now(async__py_tls *self, PyObject *data)
{
    Py_buffer view;
    Py_ssize_t done;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return -1;
    int result = encrypt(self, view.buf, view.len, &done);
    if (result == 0 && done < view.len) {
        PyObject *rest = PyBytes_FromStringAndSize((char *)view.buf + done, view.len - done);
        result = rest ? async__py_tls_append_backlog(self, rest) : -1;
        Py_XDECREF(rest);
    }
    PyBuffer_Release(&view);
    /* There is one if pause_writing() has written: that came later. */
    if (result == 0 && self->backlog_size > 0) return async__py_tls_write_backlog(self);
    return result < 0 || self->corked ? result : async__py_tls_send(self, false);
}

/* Data that is laid out with gaps is made to have none. */
static PyObject *without_gaps(PyObject *data)
{
    if (PyMemoryView_Check(data) && !PyBuffer_IsContiguous(PyMemoryView_GET_BUFFER(data), 'C'))
        return PyBytes_FromObject(data);
    return Py_NewRef(data);
}

int async__py_tls_write(async__py_tls *self, PyObject *data)
{
    int result;

    if (self->state != ASYNC__PY_TLS_WRAPPED && self->state != ASYNC__PY_TLS_HANDSHAKE) {
        if (self->conn_lost++ < async__py_tls_classes.warn_after) return 0;
        PyObject *text = PyUnicode_FromString("SSL connection is closed");
        return tell(async__py_tls_classes.logger, async__py_tls_names.warning, text);
    }
    data = without_gaps(data);
    if (!data) return -1;
    if (self->state == ASYNC__PY_TLS_WRAPPED && self->backlog_size == 0 && !self->writing) {
        result = write_now(self, data);
    } else {
        result = async__py_tls_append_backlog(self, data);
        if (result == 0) result = async__py_tls_control_writing(self);
    }
    Py_DECREF(data);
    return result < 0 ? async__py_tls_fail(self, "Fatal error on SSL protocol") : 0;
}

/* ---- flow control ---- */

static int tell_app(async__py_tls *self, PyObject *method, const char *message)
{
    PyObject *protocol = Py_XNewRef(self->app_protocol);

    if (!protocol) return 0;
    PyObject *result = PyObject_CallMethodNoArgs(protocol, method);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return result ? 0 : async__py_tls_report(self, message, self->app_transport);
}

int async__py_tls_control_writing(async__py_tls *self)
{
    Py_ssize_t size = async__py_tls_pending(self->outgoing);

    if (size < 0) return -1;
    size += self->backlog_size;
    if (size > self->outgoing_limits.high && !self->app_write_paused) {
        self->app_write_paused = true;
        return tell_app(self, async__py_tls_names.pause_writing, "protocol.pause_writing() failed");
    }
    if (size <= self->outgoing_limits.low && self->app_write_paused) {
        self->app_write_paused = false;
        return tell_app(self, async__py_tls_names.resume_writing,
                        "protocol.resume_writing() failed");
    }
    return 0;
}

int async__py_tls_control_reading(async__py_tls *self)
{
    Py_ssize_t size = async__py_tls_pending(self->incoming);
    PyObject *method = NULL, *result;

    if (size < 0) return -1;
    if (size > self->incoming_limits.high && !self->ssl_read_paused)
        method = async__py_tls_names.pause_reading;
    else if (size <= self->incoming_limits.low && self->ssl_read_paused)
        method = async__py_tls_names.resume_reading;
    if (!method || !self->transport) return 0;
    self->ssl_read_paused = !self->ssl_read_paused;
    PyObject *transport = Py_NewRef(self->transport);
    result = PyObject_CallMethodNoArgs(transport, method);
    Py_DECREF(transport);
    Py_XDECREF(result);
    return result ? 0 : -1;
}
