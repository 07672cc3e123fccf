/* handshake.c - how a TLS connection begins.
 *
 * The course of things is asyncio.sslproto's, and so are the texts of errors, but a peer whose
 * handshake was refused is told so: the alert is sent before the end. */
#include "connection.h"

/* ---- what waits for it ---- */

int async__py_tls_wake_waiter(async__py_tls *self, PyObject *exception)
{
    PyObject *waiter = self->waiter, *result;
    int done = -1;

    if (!waiter) return 0;
    self->waiter = NULL;
    result = PyObject_CallMethodNoArgs(waiter, async__py_tls_names.cancelled);
    if (result) done = PyObject_IsTrue(result);
    if (done == 0) {
        Py_DECREF(result);
        result = PyObject_CallMethodOneArg(
            waiter, exception ? async__py_tls_names.set_exception : async__py_tls_names.set_result,
            exception ? exception : Py_None);
    }
    Py_DECREF(waiter);
    Py_XDECREF(result);
    return result && done >= 0 ? 0 : -1;
}

int async__py_tls_waiter_lost(async__py_tls *self, PyObject *exception)
{
    if (!self->waiter || exception != Py_None) return async__py_tls_wake_waiter(self, exception);
    PyErr_SetString(PyExc_ConnectionAbortedError,
                    "SSL handshake is not finished, the connection has been closed");
    exception = async__py_error_take();
    int result = async__py_tls_wake_waiter(self, exception);
    Py_DECREF(exception);
    return result;
}

/* ---- its end ---- */

int async__py_tls_handshake_failed(async__py_tls *self)
{
    PyObject *exception = async__py_error_take();
    const char *message = "SSL handshake failed";
    int result = -1;

    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (PyObject_IsInstance(exception, async__py_tls_classes.certificate_error))
        message = "SSL handshake failed on verifying the certificate";
    if (async__py_tls_stop_timer(&self->handshake_handle) == 0 &&
        (self->eof || async__py_tls_send(self, true) == 0) &&
        async__py_tls_fatal(self, exception, message) == 0)
        result = async__py_tls_wake_waiter(self, exception);
    Py_DECREF(exception);
    return result;
}

static int add_extra(async__py_tls *self, PyObject *name, PyObject *method)
{
    PyObject *sslobj = async__py_or_none(self->records.sslobj);
    PyObject *value = PyObject_CallMethodNoArgs(sslobj, method);
    Py_DECREF(sslobj);
    int result = value ? PyDict_SetItem(self->extra, name, value) : -1;

    Py_XDECREF(value);
    return result;
}

static int loop_time(async__py_tls *self, double *seconds)
{
    PyObject *now = PyObject_CallMethodNoArgs(self->loop, async__py_tls_names.time);

    if (!now) return -1;
    *seconds = PyFloat_AsDouble(now);
    Py_DECREF(now);
    return *seconds == -1.0 && PyErr_Occurred() ? -1 : 0;
}

static int log_duration(async__py_tls *self)
{
    double now;

    if (loop_time(self, &now) < 0) return -1;
    PyObject *milliseconds = PyFloat_FromDouble((now - self->handshake_start) * 1e3);
    int result = milliseconds
                     ? async__py_tls_log(self, "%r: SSL handshake took %.1f ms", milliseconds, NULL)
                     : -1;
    Py_XDECREF(milliseconds);
    return result;
}

static int app_connected(async__py_tls *self)
{
    PyObject *protocol = Py_XNewRef(self->app_protocol), *result;
    PyObject *transport = Py_XNewRef(self->app_transport);

    self->app_state = ASYNC__PY_TLS_MADE;
    async__py_tls_cork(self);
    result = PyObject_CallMethodOneArg(protocol ? protocol : Py_None,
                                       async__py_tls_names.connection_made,
                                       transport ? transport : Py_None);
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
    Py_XDECREF(result);
    return async__py_tls_uncork(self);
}

/* 1: the connection is there; 0: it is gone already; -1. */
static int handshake_done(async__py_tls *self)
{
    self->state = ASYNC__PY_TLS_WRAPPED;
    if (async__py_tls_stop_timer(&self->handshake_handle) < 0) return -1;
    if (add_extra(self, async__py_tls_names.peercert, async__py_tls_names.getpeercert) < 0)
        return async__py_tls_ordinary() ? async__py_tls_handshake_failed(self) : -1;
    if (add_extra(self, async__py_tls_names.cipher, async__py_tls_names.cipher) < 0 ||
        add_extra(self, async__py_tls_names.compression, async__py_tls_names.compression) < 0 ||
        PyDict_SetItem(self->extra, async__py_tls_names.ssl_object, self->records.sslobj) < 0 ||
        (async__py_tls_debug(self) && log_duration(self) < 0))
        return -1;
    int result = self->app_state == ASYNC__PY_TLS_NEW ? app_connected(self)
                                                      : async__py_tls_send(self, false);
    if (result == 0) result = async__py_tls_wake_waiter(self, NULL);
    return result < 0 ? -1 : self->state == ASYNC__PY_TLS_WRAPPED;
}

/* ---- its steps ---- */

int async__py_tls_handshake(async__py_tls *self)
{
    switch (async__py_records_handshake(&self->records)) {
    case ASYNC__PY_STEP_DONE:
        /* A callback of the context's (SNI, say) may have ended the connection. */
        return self->state == ASYNC__PY_TLS_HANDSHAKE ? handshake_done(self) : 0;
    case ASYNC__PY_STEP_LATER: return async__py_tls_send(self, false);
    default: break;
    }
    if (!PyErr_ExceptionMatches(async__py_tls_classes.ssl_error)) return -1;
    return async__py_tls_handshake_failed(self);
}

int async__py_tls_start_handshake(async__py_tls *self)
{
    if (async__py_tls_debug(self)) {
        if (async__py_tls_log(self, "%r starts SSL handshake", NULL, NULL) < 0 ||
            loop_time(self, &self->handshake_start) < 0)
            return -1;
    }
    self->state = ASYNC__PY_TLS_HANDSHAKE;
    return async__py_tls_start_timer(self, &self->handshake_handle, self->handshake_timeout,
                                     async__py_tls_names.check_handshake_timeout);
}
