/* receiving.c - what the peer has sent: decrypted, and given to the application.
 *
 * It is read into one piece of memory that all connections of a loop use (memory.c), and copied out
 * exactly as long as it is. */
#include "../streams/stream.h"
#include "connection.h"

/* ---- flow control ---- */

int async__py_tls_control_reading(async__py_tls *self)
{
    Py_ssize_t size = async__py_records_pending(self->records.incoming);
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

/* ---- reading ---- */

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
    return async__py_tls_tell(self->app_protocol, async__py_tls_names.data_received,
                              PyBytes_FromStringAndSize(self->memory, count));
}

static int read_copied(async__py_tls *self, enum async__py_reading *outcome)
{
    Py_ssize_t count;
    PyObject *error;
    int result = 0;

    *outcome =
        async__py_records_read(&self->records, self->memory, ASYNC__PY_TLS_MEMORY, &count, &error);
    if (count > 0) result = give_copy(self, count);
    return end_reading(result, error);
}

/* The buffer that the application gives. */
static int get_buffer(async__py_tls *self, Py_buffer *view)
{
    Py_ssize_t hint = async__py_records_pending(self->records.incoming);
    PyObject *buffer = NULL, *argument = NULL;

    if (hint >= 0) argument = PyLong_FromSsize_t(hint > 0 ? hint : -1);
    if (argument) {
        PyObject *protocol = async__py_or_none(self->app_protocol);
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

static int read_buffered(async__py_tls *self, enum async__py_reading *outcome)
{
    Py_buffer view;
    Py_ssize_t count;
    PyObject *error;
    int result = 0;

    if (get_buffer(self, &view) < 0) return -1;
    *outcome = async__py_records_read(&self->records, view.buf, view.len, &count, &error);
    PyBuffer_Release(&view);
    if (count > 0 && self->app_protocol)
        result = async__py_tls_tell(self->app_protocol, async__py_tls_names.buffer_updated,
                                    PyLong_FromSsize_t(count));
    return end_reading(result, error);
}

static int read_all(async__py_tls *self)
{
    enum async__py_reading outcome;

    do {
        if ((self->app_is_buffered ? read_buffered : read_copied)(self, &outcome) < 0) return -1;
    } while (outcome == ASYNC__PY_READ_FULL && self->state == ASYNC__PY_TLS_WRAPPED &&
             !self->app_paused);
    if (outcome == ASYNC__PY_READ_END || (outcome == ASYNC__PY_READ_ALL && self->eof))
        self->end = true;
    return 0;
}

int async__py_tls_deliver(async__py_tls *self)
{
    int result = 0;

    async__py_tls_cork(self);
    if (!self->app_paused && !self->end) result = read_all(self);
    if (result == 0 && self->backlog_size > 0 && self->state == ASYNC__PY_TLS_WRAPPED)
        result = async__py_tls_write_backlog(self);
    if (async__py_tls_uncork(self) < 0) return -1;
    /* Of an application that is not paused nothing is left in the BIO. */
    if (self->app_paused || self->ssl_read_paused) return async__py_tls_control_reading(self);
    return result;
}

int async__py_tls_discard(async__py_tls *self)
{
    enum async__py_reading outcome;
    Py_ssize_t count;
    bool any = false;
    PyObject *error;

    do {
        outcome = async__py_records_read(&self->records, self->memory, ASYNC__PY_TLS_MEMORY, &count,
                                         &error);
        any = any || count > 0;
    } while (outcome == ASYNC__PY_READ_FULL);
    if (error) return end_reading(0, error);
    if (outcome == ASYNC__PY_READ_END) self->end = true;
    if (self->ssl_read_paused && async__py_tls_control_reading(self) < 0) return -1;
    return any;
}

int async__py_tls_readable(async__py_tls *self)
{
    return self->end || self->eof ? 1 : async__py_records_readable(&self->records);
}
