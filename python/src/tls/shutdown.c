/* shutdown.c - how a TLS connection ends: what is written goes out, the peer is told, and the
 * transport below closes.
 *
 * The course of things is asyncio.sslproto's, but once this side has closed, what the peer still sends
 * no longer matters. It is read and dropped, where asyncio ends with an SSLError
 * (APPLICATION_DATA_AFTER_CLOSE_NOTIFY), or, if the transport below is paused, waits for the peer's
 * answer until the time-out. */
#include "connection.h"

int async__py_tls_app_eof(async__py_tls *self)
{
    if (self->app_state != ASYNC__PY_TLS_MADE) return 0;
    self->app_state = ASYNC__PY_TLS_EOF;
    PyObject *protocol = async__py_or_none(self->app_protocol);
    PyObject *result = PyObject_CallMethodNoArgs(protocol, async__py_tls_names.eof_received);
    Py_DECREF(protocol);
    int keep_open = result ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    if (keep_open > 0) {
        result = async__py_call_method(async__py_tls_classes.logger, "warning", "s",
                                       "returning true from eof_received() has no effect "
                                       "when using ssl");
        Py_XDECREF(result);
        if (!result) keep_open = -1;
    }
    if (keep_open >= 0) return 0;
    return async__py_ends_the_loop()
               ? -1
               : async__py_tls_fail_always(self, "Error calling eof_received()");
}

/* The transport below still has something to send. One that cannot say how much may have. */
static bool has_unsent(async__py_tls *self)
{
    PyObject *size = async__py_call_method(self->transport, "get_write_buffer_size", NULL);
    int is_some = size ? PyObject_IsTrue(size) : -1;

    Py_XDECREF(size);
    if (is_some < 0) PyErr_Clear();
    return is_some != 0;
}

/* Takes `exception`, which may be NULL. Without one the transport is closed, which sends what it has
 * first: the time for the shutdown goes on, for a peer that does not read delays that for ever. */
static int shut_done(async__py_tls *self, PyObject *exception)
{
    int result = 0;

    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (exception) {
        result = async__py_tls_stop_timer(&self->shutdown_handle);
        if (result == 0) result = async__py_tls_fatal(self, exception, "Fatal error on transport");
        Py_DECREF(exception);
        return result;
    }
    if (!self->transport) return async__py_tls_stop_timer(&self->shutdown_handle);
    if (!self->shutdown_handle && has_unsent(self))
        result = async__py_tls_start_timer(self, &self->shutdown_handle, self->shutdown_timeout,
                                           async__py_tls_names.check_shutdown_timeout);
    if (result < 0) return result;
    PyObject *close = PyObject_GetAttr(self->transport, async__py_tls_names.close);
    if (!close) return -1;
    PyObject *handle = PyObject_CallMethodOneArg(self->loop, async__py_tls_names.call_soon, close);
    Py_DECREF(close);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

int async__py_tls_shut_failed(async__py_tls *self)
{
    if (!PyErr_ExceptionMatches(async__py_tls_classes.ssl_error)) return -1;
    return shut_done(self, async__py_error_take());
}

int async__py_tls_shut(async__py_tls *self)
{
    if (!self->eof) {
        enum async__py_step step = async__py_records_shutdown(&self->records);
        if (step == ASYNC__PY_STEP_FAILED) return async__py_tls_shut_failed(self);
        if (step == ASYNC__PY_STEP_LATER) return async__py_tls_send(self, false);
    }
    /* The transport sends what it has before it closes: nothing is to wait for it here. */
    if (async__py_tls_send(self, true) < 0 || async__py_tls_app_eof(self) < 0) return -1;
    return shut_done(self, NULL);
}

int async__py_tls_flush_and_shut(async__py_tls *self)
{
    if (async__py_tls_discard(self) < 0) return async__py_tls_shut_failed(self);
    if (self->backlog_size > 0) {
        if (async__py_tls_write_backlog(self) < 0) return async__py_tls_shut_failed(self);
        if (self->backlog_size > 0 && !self->eof && !self->end) return 0;
    }
    if (self->state != ASYNC__PY_TLS_FLUSHING) return 0; /* the transport below is gone meanwhile */
    self->state = ASYNC__PY_TLS_SHUTDOWN;
    return async__py_tls_shut(self);
}

int async__py_tls_start_shutdown(async__py_tls *self)
{
    if (self->state == ASYNC__PY_TLS_HANDSHAKE) return async__py_tls_abort(self, NULL);
    if (self->state != ASYNC__PY_TLS_WRAPPED) return 0;
    self->app_closed = true;
    self->state = ASYNC__PY_TLS_FLUSHING;
    if (async__py_tls_flush_and_shut(self) < 0) return -1;
    if (self->state == ASYNC__PY_TLS_UNWRAPPED) return 0;
    return async__py_tls_start_timer(self, &self->shutdown_handle, self->shutdown_timeout,
                                     async__py_tls_names.check_shutdown_timeout);
}
