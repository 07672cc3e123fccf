/* connection.c - a TLS connection: what the transport below tells it, by the state that it is in.
 *
 * What goes wrong in asyncio.sslproto is mended:
 *
 * - Until the last of what the peer has sent is delivered, the connection stays as it is. When an
 *   EOF meets a paused reader, asyncio begins to close, and drops what the application writes from
 *   then on; with a BufferedProtocol it loses data too. Here the EOF waits its turn behind the
 *   data.
 * - What waits for a handshake that never ends is told when the connection goes, and a protocol
 *   that has had connection_made (start_tls) gets connection_lost. close() before the handshake
 *   began is remembered. */
#include "connection.h"

/* ---- what the application is given ---- */

int async__py_tls_set_protocol(async__py_tls *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, async__py_tls_classes.buffered_protocol);

    if (buffered < 0) return -1;
    self->app_is_buffered = buffered;
    Py_XSETREF(self->app_protocol, Py_NewRef(protocol));
    return 0;
}

PyObject *async__py_tls_extra_info(async__py_tls *self, PyObject *name, PyObject *fallback)
{
    PyObject *found = self->extra ? PyDict_GetItemWithError(self->extra, name) : NULL;

    if (found || PyErr_Occurred()) return Py_XNewRef(found);
    if (!self->transport) return Py_NewRef(fallback);
    PyObject *asked[] = {self->transport, name, fallback};
    return PyObject_VectorcallMethod(async__py_tls_names.get_extra_info, asked, 3, NULL);
}

/* ---- records that came ---- */

static int read_on(async__py_tls *self)
{
    if (self->state != ASYNC__PY_TLS_WRAPPED) return 0;
    int result = async__py_tls_deliver(self);
    if (result == 0 && self->end && !self->app_paused && self->state == ASYNC__PY_TLS_WRAPPED) {
        result = async__py_tls_app_eof(self);
        if (result == 0) result = async__py_tls_start_shutdown(self);
    }
    return result < 0 ? async__py_tls_fail(self, "Fatal error on SSL protocol") : 0;
}

int async__py_tls_resume(async__py_tls *self)
{
    if (!self->app_paused) return 0;
    self->app_paused = false;
    if (self->state != ASYNC__PY_TLS_WRAPPED || self->resume_scheduled) return 0;
    int useful = self->ssl_read_paused ? 1 : async__py_tls_readable(self);
    if (useful <= 0) return useful;
    PyObject *resumed = PyObject_GetAttr((PyObject *)self, async__py_tls_names.resumed);
    int result = async__py_tls_tell(self->loop, async__py_tls_names.call_soon, resumed);
    if (result == 0) self->resume_scheduled = true;
    return result;
}

PyObject *async__py_tls_resumed(async__py_tls *self, PyObject *unused)
{
    self->resume_scheduled = false;
    if (!self->app_paused && read_on(self) < 0) return NULL;
    Py_RETURN_NONE;
}

/* With the end of the handshake, data may have come, or been written before. */
static int go_on(async__py_tls *self)
{
    int done = async__py_tls_handshake(self);

    if (done <= 0) return done;
    int useful = self->backlog_size > 0 ? 1 : async__py_tls_readable(self);
    return useful > 0 ? read_on(self) : useful;
}

static int ignore(async__py_tls *self) { return 0; }

static int discard_and_shut(async__py_tls *self)
{
    /* unwrap() would take data for an error. */
    int any = async__py_tls_discard(self);
    if (any < 0) return async__py_tls_shut_failed(self);
    /* A peer that sends after our close_notify is not waited for: it might do so until the time-out. */
    if (any) self->eof = true;
    return self->state == ASYNC__PY_TLS_SHUTDOWN ? async__py_tls_shut(self) : 0;
}

/* What received records are to us, by state. */
static int (*const received[])(async__py_tls *) = {
    [ASYNC__PY_TLS_UNWRAPPED] = ignore,
    [ASYNC__PY_TLS_HANDSHAKE] = go_on,
    [ASYNC__PY_TLS_WRAPPED] = read_on,
    [ASYNC__PY_TLS_FLUSHING] = async__py_tls_flush_and_shut,
    [ASYNC__PY_TLS_SHUTDOWN] = discard_and_shut,
};

int async__py_tls_received(async__py_tls *self, const char *data, Py_ssize_t length)
{
    if (self->state == ASYNC__PY_TLS_UNWRAPPED) return 0;
    if (async__py_records_put(&self->records, data, length) < 0) return -1;
    Py_INCREF(self);
    int result = received[self->state](self);
    Py_DECREF(self);
    return result;
}

/* ---- the beginning and the end of the transport below ---- */

PyObject *async__py_tls_connection_made(async__py_tls *self, PyObject *transport)
{
    if (self->transport || !self->app_transport) {
        PyErr_SetString(PyExc_RuntimeError, "connection_made() was called twice");
        return NULL;
    }
    self->transport = Py_NewRef(transport);
    int result = 0;
    if (self->app_closed)
        result = async__py_tls_abort(self, NULL);
    else if ((result = async__py_tls_start_handshake(self)) == 0)
        result = go_on(self);
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

void async__py_tls_release(async__py_tls *self)
{
    if (self->app_transport || !self->closed_again) return;
    if (self->extra) PyDict_Clear(self->extra);
    Py_CLEAR(self->sslcontext);
    async__py_records_release(&self->records);
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
    self->app_closed = true;
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (app_lost(self, exception) < 0) keep_error(&error);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->app_transport);
    Py_CLEAR(self->app_protocol);
    if (async__py_tls_waiter_lost(self, exception) < 0) keep_error(&error);
    if (async__py_tls_stop_timer(&self->shutdown_handle) < 0) keep_error(&error);
    if (async__py_tls_stop_timer(&self->handshake_handle) < 0) keep_error(&error);
    async__py_tls_release(self);
    if (!error) Py_RETURN_NONE;
    async__py_error_set(error);
    return NULL;
}

static int eof_ignored(async__py_tls *self) { return 0; }

static int eof_in_handshake(async__py_tls *self)
{
    PyErr_SetNone(PyExc_ConnectionResetError);
    return async__py_tls_handshake_failed(self);
}

static int (*const had_eof[])(async__py_tls *) = {
    [ASYNC__PY_TLS_UNWRAPPED] = eof_ignored,
    [ASYNC__PY_TLS_HANDSHAKE] = eof_in_handshake,
    [ASYNC__PY_TLS_WRAPPED] = read_on,
    [ASYNC__PY_TLS_FLUSHING] = async__py_tls_flush_and_shut,
    [ASYNC__PY_TLS_SHUTDOWN] = async__py_tls_shut,
};

/* True keeps the transport below open: the application has not read all yet. */
PyObject *async__py_tls_eof_received(async__py_tls *self, PyObject *unused)
{
    int result =
        async__py_tls_debug(self) ? async__py_tls_log(self, "%r received EOF", NULL, NULL) : 0;

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
