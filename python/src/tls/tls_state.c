/* tls_state.c - how a TLS connection begins and ends.
 *
 * The course of things is asyncio.sslproto's, and so are the texts of errors, but what goes wrong
 * there is mended:
 *
 * - Until the last of what the peer has sent is delivered, the connection stays as it is. When an
 *   EOF meets a paused reader, asyncio begins to close, and drops what the application writes from
 *   then on; with a BufferedProtocol it loses data too. Here the EOF waits its turn behind the
 *   data.
 * - Who closes no longer cares for what the peer still sends. It is read and dropped, where asyncio
 *   ends with an SSLError (APPLICATION_DATA_AFTER_CLOSE_NOTIFY), or, if the transport below is
 *   paused, waits for the peer's answer until the time-out.
 * - A peer whose handshake or record was refused is told so: the alert is sent before the end.
 * - Whoever waits for a handshake that never ends is told when the connection goes, and a protocol
 *   that has had connection_made (start_tls) gets connection_lost. close() before the handshake
 *   began is remembered. */
#include "tls.h"

/* ---- errors ---- */

/* Throws the connection away. asyncio's transports have _force_close for that, others only abort(),
 * which asyncio of before 3.11.8 and 3.12.2 calls too if there is no exception to pass on. */
static int force_close(PyObject *transport, PyObject *exception)
{
    PyObject *result = NULL, *method = NULL;

    if (exception || Py_Version >= 0x030C0200 ||
        (Py_Version >= 0x030B0800 && Py_Version < 0x030C0000)) {
        method = PyObject_GetAttr(transport, async__py_tls_names.force_close);
        if (!method && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
    }
    if (method)
        result = PyObject_CallOneArg(method, exception ? exception : Py_None);
    else
        result = PyObject_CallMethodNoArgs(transport, async__py_tls_names.abort);
    Py_XDECREF(method);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int close_transport(async__py_tls *self, PyObject *exception)
{
    PyObject *transport = Py_XNewRef(self->transport);
    if (!transport) return 0;
    int result = force_close(transport, exception);
    Py_DECREF(transport);
    return result;
}

/* logger.debug(format, self[, argument]), with the exception's traceback if there is one. */
static int log_debug(async__py_tls *self, const char *format, PyObject *argument,
                     PyObject *exception)
{
    PyObject *args = argument ? Py_BuildValue("(sOO)", format, self, argument)
                              : Py_BuildValue("(sO)", format, self);
    PyObject *names =
        exception ? Py_BuildValue("{OO}", async__py_tls_names.exc_info, exception) : NULL;
    PyObject *result = NULL, *debug = NULL;

    if (args && (names || !exception))
        debug = PyObject_GetAttr(async__py_tls_classes.logger, async__py_tls_names.debug);
    if (debug) result = PyObject_Call(debug, args, names);
    Py_XDECREF(debug);
    Py_XDECREF(args);
    Py_XDECREF(names);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int call_handler(async__py_tls *self, const char *message, PyObject *exception,
                        PyObject *transport)
{
    PyObject *result = NULL, *context;

    context = Py_BuildValue("{sssOsOsO}", "message", message, "exception", exception, "transport",
                            transport ? transport : Py_None, "protocol", self);
    if (context)
        result = PyObject_CallMethodOneArg(self->loop, async__py_tls_names.call_exception_handler,
                                           context);
    Py_XDECREF(context);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int async__py_tls_report(async__py_tls *self, const char *message, PyObject *transport)
{
    if (async__py_ends_the_loop()) return -1;
    PyObject *exception = async__py_error_take();
    int result = call_handler(self, message, exception, transport);
    Py_DECREF(exception);
    return result;
}

int async__py_tls_fatal(async__py_tls *self, PyObject *exception, const char *message)
{
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (close_transport(self, exception) < 0) return -1;
    if (PyObject_IsInstance(exception, PyExc_OSError)) {
        if (!async__py_tls_debug(self)) return 0;
        PyObject *text = PyUnicode_FromString(message);
        int result = text ? log_debug(self, "%r: %s", text, exception) : -1;
        Py_XDECREF(text);
        return result;
    }
    if (PyObject_IsInstance(exception, async__py_tls_classes.cancelled_error)) return 0;
    return call_handler(self, message, exception, self->transport);
}

/* Takes the exception that is set. */
static int fail(async__py_tls *self, const char *message)
{
    PyObject *exception = async__py_error_take();
    int result = async__py_tls_fatal(self, exception, message);

    Py_DECREF(exception);
    return result;
}

int async__py_tls_fail(async__py_tls *self, const char *message)
{
    return async__py_tls_ordinary() ? fail(self, message) : -1;
}

int async__py_tls_abort(async__py_tls *self, PyObject *exception)
{
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    return close_transport(self, exception);
}

/* ---- timers ---- */

static int start_timer(async__py_tls *self, PyObject **handle, PyObject *seconds, const char *name)
{
    PyObject *callback = PyObject_GetAttrString((PyObject *)self, name);

    if (!callback) return -1;
    PyObject *args[] = {self->loop, seconds, callback};
    PyObject *made = PyObject_VectorcallMethod(async__py_tls_names.call_later, args, 3, NULL);
    Py_DECREF(callback);
    Py_XSETREF(*handle, made);
    return made ? 0 : -1;
}

static int stop_timer(PyObject **handle)
{
    PyObject *stopped = *handle, *result;

    if (!stopped) return 0;
    *handle = NULL;
    result = PyObject_CallMethodNoArgs(stopped, async__py_tls_names.cancel);
    Py_DECREF(stopped);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

PyObject *async__py_tls_check_handshake_timeout(async__py_tls *self, PyObject *unused)
{
    if (self->state != ASYNC__PY_TLS_HANDSHAKE) Py_RETURN_NONE;
    PyErr_Format(PyExc_ConnectionAbortedError,
                 "SSL handshake is taking longer than %S seconds: aborting the connection",
                 self->handshake_timeout);
    if (async__py_tls_fail(self, "Fatal error on transport") < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *async__py_tls_check_shutdown_timeout(async__py_tls *self, PyObject *unused)
{
    if (self->state == ASYNC__PY_TLS_HANDSHAKE || self->state == ASYNC__PY_TLS_WRAPPED ||
        !self->transport)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_TimeoutError, "SSL shutdown timed out");
    PyObject *exception = async__py_error_take();
    int result = close_transport(self, exception);
    Py_DECREF(exception);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- the handshake ---- */

/* `exception` may be NULL: all is well. */
static int wake_waiter(async__py_tls *self, PyObject *exception)
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

/* Takes the exception that is set. */
static int handshake_failed(async__py_tls *self)
{
    PyObject *exception = async__py_error_take();
    const char *message = "SSL handshake failed";
    int result = -1;

    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (PyObject_IsInstance(exception, async__py_tls_classes.certificate_error))
        message = "SSL handshake failed on verifying the certificate";
    if (stop_timer(&self->handshake_handle) == 0 &&
        (self->eof || async__py_tls_send(self, true) == 0) &&
        async__py_tls_fatal(self, exception, message) == 0)
        result = wake_waiter(self, exception);
    Py_DECREF(exception);
    return result;
}

static int add_extra(async__py_tls *self, const char *name, PyObject *method)
{
    PyObject *sslobj = Py_NewRef(self->sslobj ? self->sslobj : Py_None);
    PyObject *value = PyObject_CallMethodNoArgs(sslobj, method);
    Py_DECREF(sslobj);
    int result = value ? PyDict_SetItemString(self->extra, name, value) : -1;

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
    int result =
        milliseconds ? log_debug(self, "%r: SSL handshake took %.1f ms", milliseconds, NULL) : -1;
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

static int handshake_done(async__py_tls *self)
{
    self->state = ASYNC__PY_TLS_WRAPPED;
    if (stop_timer(&self->handshake_handle) < 0) return -1;
    if (add_extra(self, "peercert", async__py_tls_names.getpeercert) < 0)
        return async__py_tls_ordinary() ? handshake_failed(self) : -1;
    if (add_extra(self, "cipher", async__py_tls_names.cipher) < 0 ||
        add_extra(self, "compression", async__py_tls_names.compression) < 0 ||
        PyDict_SetItemString(self->extra, "ssl_object", self->sslobj) < 0 ||
        (async__py_tls_debug(self) && log_duration(self) < 0))
        return -1;
    int result = self->app_state == ASYNC__PY_TLS_NEW ? app_connected(self)
                                                      : async__py_tls_send(self, false);
    if (result == 0) result = wake_waiter(self, NULL);
    if (result < 0 || self->state != ASYNC__PY_TLS_WRAPPED) return result;
    result = self->backlog_size > 0 ? 1 : async__py_tls_readable(self);
    return result > 0 ? async__py_tls_read(self) : result;
}

int async__py_tls_handshake(async__py_tls *self)
{
    PyObject *sslobj = Py_NewRef(self->sslobj ? self->sslobj : Py_None);
    PyObject *result = PyObject_CallMethodNoArgs(sslobj, async__py_tls_names.do_handshake);

    Py_DECREF(sslobj);
    if (result) {
        Py_DECREF(result);
        /* A callback of the context's (SNI, say) may have ended the connection. */
        return self->state == ASYNC__PY_TLS_HANDSHAKE ? handshake_done(self) : 0;
    }
    if (async__py_tls_again()) return async__py_tls_send(self, false);
    return PyErr_ExceptionMatches(async__py_tls_classes.ssl_error) ? handshake_failed(self) : -1;
}

static int start_handshake(async__py_tls *self)
{
    if (async__py_tls_debug(self)) {
        if (log_debug(self, "%r starts SSL handshake", NULL, NULL) < 0 ||
            loop_time(self, &self->handshake_start) < 0)
            return -1;
    }
    self->state = ASYNC__PY_TLS_HANDSHAKE;
    if (start_timer(self, &self->handshake_handle, self->handshake_timeout,
                    "_check_handshake_timeout") < 0)
        return -1;
    return async__py_tls_handshake(self);
}

/* ---- the end ---- */

int async__py_tls_app_eof(async__py_tls *self)
{
    if (self->app_state != ASYNC__PY_TLS_MADE) return 0;
    self->app_state = ASYNC__PY_TLS_EOF;
    PyObject *protocol = Py_NewRef(self->app_protocol ? self->app_protocol : Py_None);
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
    return async__py_ends_the_loop() ? -1 : fail(self, "Error calling eof_received()");
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
        result = stop_timer(&self->shutdown_handle);
        if (result == 0) result = async__py_tls_fatal(self, exception, "Fatal error on transport");
        Py_DECREF(exception);
        return result;
    }
    if (!self->transport) return stop_timer(&self->shutdown_handle);
    if (!self->shutdown_handle && has_unsent(self))
        result = start_timer(self, &self->shutdown_handle, self->shutdown_timeout,
                             "_check_shutdown_timeout");
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
    if (!self->eof && self->ssl_shutdown) {
        PyObject *shutdown = Py_NewRef(self->ssl_shutdown);
        PyObject *result = PyObject_CallNoArgs(shutdown);
        Py_DECREF(shutdown);
        if (!result)
            return async__py_tls_again() ? async__py_tls_send(self, false)
                                         : async__py_tls_shut_failed(self);
        Py_DECREF(result);
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
    if (self->app_transport) async__py_tls_transport_close(self->app_transport);
    self->state = ASYNC__PY_TLS_FLUSHING;
    if (async__py_tls_flush_and_shut(self) < 0) return -1;
    if (self->state == ASYNC__PY_TLS_UNWRAPPED) return 0;
    return start_timer(self, &self->shutdown_handle, self->shutdown_timeout,
                       "_check_shutdown_timeout");
}

/* ---- what the transport below calls ---- */

PyObject *async__py_tls_connection_made(async__py_tls *self, PyObject *transport)
{
    if (self->transport || !self->app_transport) {
        PyErr_SetString(PyExc_RuntimeError, "connection_made() was called twice");
        return NULL;
    }
    self->transport = Py_NewRef(transport);
    int result = async__py_tls_transport_closed(self->app_transport)
                     ? async__py_tls_abort(self, NULL)
                     : start_handshake(self);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

/* Tells the application, at the next turn. */
static int app_lost(async__py_tls *self, PyObject *exception)
{
    if (self->app_state != ASYNC__PY_TLS_MADE && self->app_state != ASYNC__PY_TLS_EOF) return 0;
    self->app_state = ASYNC__PY_TLS_LOST;
    PyObject *lost = PyObject_GetAttr(self->app_protocol ? self->app_protocol : Py_None,
                                      async__py_tls_names.connection_lost);
    if (!lost) return -1;
    PyObject *args[] = {self->loop, lost, exception};
    PyObject *handle = PyObject_VectorcallMethod(async__py_tls_names.call_soon, args, 3, NULL);
    Py_DECREF(lost);
    Py_XDECREF(handle);
    return handle ? 0 : -1;
}

/* Wakes who waits for the handshake: it will not come. */
static int waiter_lost(async__py_tls *self, PyObject *exception)
{
    if (!self->waiter || exception != Py_None) return wake_waiter(self, exception);
    PyErr_SetString(PyExc_ConnectionAbortedError,
                    "SSL handshake is not finished, the connection has been closed");
    exception = async__py_error_take();
    int result = wake_waiter(self, exception);
    Py_DECREF(exception);
    return result;
}

void async__py_tls_release(async__py_tls *self)
{
    if (self->app_transport || !self->closed_again) return;
    if (self->extra) PyDict_Clear(self->extra);
    Py_CLEAR(self->sslcontext);
    Py_CLEAR(self->ssl_read);
    Py_CLEAR(self->ssl_write);
    Py_CLEAR(self->ssl_shutdown);
    Py_CLEAR(self->sslobj);
}

/* Takes the exception that is set, and keeps one of two: SystemExit and KeyboardInterrupt, which end
 * the loop, or else the last. */
static void keep_error(PyObject **error)
{
    PyObject *other = async__py_error_take();

    if (*error && !PyErr_GivenExceptionMatches(*error, PyExc_Exception))
        Py_DECREF(other);
    else
        Py_XSETREF(*error, other);
}

PyObject *async__py_tls_connection_lost(async__py_tls *self, PyObject *exception)
{
    PyObject *error = NULL;

    async__py_tls_drop_backlog(self);
    self->conn_lost++;
    if (self->app_transport) async__py_tls_transport_close(self->app_transport);
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (app_lost(self, exception) < 0) keep_error(&error);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->app_transport);
    Py_CLEAR(self->app_protocol);
    if (waiter_lost(self, exception) < 0) keep_error(&error);
    if (stop_timer(&self->shutdown_handle) < 0) keep_error(&error);
    if (stop_timer(&self->handshake_handle) < 0) keep_error(&error);
    async__py_tls_release(self);
    if (!error) Py_RETURN_NONE;
    async__py_error_set(error);
    return NULL;
}

static int eof_ignored(async__py_tls *self) { return 0; }

static int eof_in_handshake(async__py_tls *self)
{
    PyErr_SetNone(PyExc_ConnectionResetError);
    return handshake_failed(self);
}

static int (*const had_eof[])(async__py_tls *) = {
    [ASYNC__PY_TLS_UNWRAPPED] = eof_ignored,
    [ASYNC__PY_TLS_HANDSHAKE] = eof_in_handshake,
    [ASYNC__PY_TLS_WRAPPED] = async__py_tls_read,
    [ASYNC__PY_TLS_FLUSHING] = async__py_tls_flush_and_shut,
    [ASYNC__PY_TLS_SHUTDOWN] = async__py_tls_shut,
};

/* True keeps the transport below open: the application has not read all yet. */
PyObject *async__py_tls_eof_received(async__py_tls *self, PyObject *unused)
{
    int result = async__py_tls_debug(self) ? log_debug(self, "%r received EOF", NULL, NULL) : 0;

    self->eof = true;
    if (result == 0) result = had_eof[self->state](self);
    if (result == 0) return PyBool_FromLong(self->state == ASYNC__PY_TLS_WRAPPED);
    if (!async__py_tls_ordinary() || !self->transport) return NULL;
    PyObject *error = async__py_error_take();
    PyObject *closed = PyObject_CallMethodNoArgs(self->transport, async__py_tls_names.close);
    if (!closed) keep_error(&error);
    Py_XDECREF(closed);
    async__py_error_set(error);
    return NULL;
}

/* ---- names of asyncio's, called by its users and tests ---- */

PyObject *async__py_tls_fatal_error(async__py_tls *self, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"exc", "message", NULL};
    PyObject *exception;
    const char *message = "Fatal error on transport";

    if (!PyArg_ParseTupleAndKeywords(args, names, "O|s", keywords, &exception, &message))
        return NULL;
    if (async__py_tls_fatal(self, exception, message) < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *async__py_tls_wakeup_waiter(async__py_tls *self, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"exc", NULL};
    PyObject *exception = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, names, "|O", keywords, &exception)) return NULL;
    if (wake_waiter(self, exception == Py_None ? NULL : exception) < 0) return NULL;
    Py_RETURN_NONE;
}
