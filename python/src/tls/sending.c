/* sending.c - what the application writes: encrypted, kept back, sent; and when it is told to wait.
 *
 * What is written while the application's callback runs is encrypted at once, but sent as one piece
 * when the callback returns. */
#include "connection.h"

/* As much is encrypted before it is sent: a write of many MB is not to lie there three times. */
enum { CHUNK = 256 * 1024 };

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
    Py_ssize_t size = async__py_records_pending(self->records.outgoing);

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

/* ---- records ---- */

int async__py_tls_send(async__py_tls *self, bool all)
{
    self->corked_size = 0;
    if (self->transport && (all || !self->ssl_write_paused)) {
        PyObject *data = async__py_records_take(&self->records);
        if (!data) return -1;
        if (PyObject_Length(data) == 0)
            Py_DECREF(data);
        else if (async__py_tls_tell(self->transport, async__py_tls_names.write, data) < 0)
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
        Py_ssize_t count =
            async__py_records_write(&self->records, data + *done, Py_MIN(length - *done, CHUNK));
        if (count < 0) {
            result = async__py_records_again() ? 0 : -1;
            break;
        }
        *done += count;
        self->corked_size += count;
        if (self->corked_size >= CHUNK) result = async__py_tls_send(self, false);
    }
    self->writing = false;
    return result;
}

/* ---- the backlog ---- */

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

/* ---- writing ---- */

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
        return async__py_tls_tell(async__py_tls_classes.logger, async__py_tls_names.warning, text);
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
