/* endpoint.c - the transport of a socket, as far as streams and datagrams are alike.
 *
 * Callbacks that the descriptor causes run in a context of the transport's own: the one that it was
 * given, in which then all of the protocol's methods are called, or a copy of that in which it was
 * made. The loop holds the transport while it watches the descriptor; one that is not
 * watched (reading paused, nothing to write) and that nobody knows any more is collected, with a
 * ResourceWarning.
 *
 * The end comes in two steps, as in asyncio: nothing is read or written any more, and a turn later
 * connection_lost is called and the socket closed. Meanwhile its owner may have closed it, and the
 * number may be another transport's: so each looks first whether the number is still its own. */
#include "../loop/descriptors.h"
#include "../loop/handle.h"
#include "endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

enum { LOG_THRESHOLD = 5, SMALL = 4096 };

typedef async__py_endpoint endpoint;

Py_ssize_t async__py_endpoint_offset;

#define ENDPOINT ASYNC__PY_ENDPOINT
#define SELF ASYNC__PY_ENDPOINT_SELF

static PyObject *name_wake_if_over, *name_attach, *name_begin, *name_call_connection_lost,
    *name_close, *name_connection_lost, *name_connection_made, *name_detach, *name_extra,
    *name_fileno, *name_pause_writing, *name_resume_writing;

/* ---- watching ---- */

static void update_hold(endpoint *self)
{
    if (self->reader.armed || self->writer.armed)
        async__py_hold(self->loop, &self->holder);
    else
        async__py_let_go(&self->holder);
}

void async__py_endpoint_unwatch(endpoint *self, async_watch *watch)
{
    if (self->loop->engine) async_remove_watch(self->loop->engine, watch);
    update_hold(self);
}

int async__py_endpoint_watch(endpoint *self, async_watch *watch)
{
    if (async__py_check_open(self->loop) < 0) return -1;
    if (watch->armed) return 0;
    int code = watch == &self->reader ? async_add_reader(self->loop->engine, self->fd, watch)
                                      : async_add_writer(self->loop->engine, self->fd, watch);
    if (code < 0) {
        async__py_set_oserror(code);
        return -1;
    }
    update_hold(self);
    return 0;
}

static void stop_watching(endpoint *self)
{
    if (self->reader.armed) async__py_endpoint_unwatch(self, &self->reader);
    if (self->writer.armed) async__py_endpoint_unwatch(self, &self->writer);
}

void async__py_endpoint_run(endpoint *self, void (*work)(endpoint *self))
{
    PyObject *object = Py_NewRef(SELF(self)), *protocol = Py_XNewRef(self->protocol);
    async__py_loop *loop = (async__py_loop *)Py_NewRef((PyObject *)self->loop);
    PyObject *context = Py_NewRef(self->context);
    bool entered = !self->lost && PyContext_Enter(context) == 0;
    /* A context that was given is the one that connection_made() is called in, which may read. */
    bool inside = !entered && !self->lost && self->context_given &&
                  PyErr_ExceptionMatches(PyExc_RuntimeError);

    if (inside) PyErr_Clear();
    if (inside || entered) {
        int64_t begin = async__py_slow_begin(loop);
        work(self);
        PyObject *error = async__py_error_take();
        async__py_slow_end(loop, begin, object);
        if (entered) PyContext_Exit(context);
        if (error) async__py_error_set(error);
    }
    if (PyErr_Occurred())
        async__py_loop_fail(loop, "Exception in a callback of a transport", "transport", object,
                            "protocol", protocol, NULL);
    Py_DECREF(context);
    Py_XDECREF(protocol);
    Py_DECREF(object);
    Py_DECREF((PyObject *)loop);
}

/* ---- the end ---- */

void async__py_endpoint_debug(endpoint *self, const char *format, PyObject *argument)
{
    if (!self->loop->debug) return;
    PyObject *error = async__py_error_take();
    PyObject *result =
        async__py_call_method((PyObject *)self->loop, "_debug_log", "sOOO", format, SELF(self),
                              argument ? argument : Py_None, error ? error : Py_None);
    if (!result) async__py_loop_ignore(self->loop, NULL);
    Py_XDECREF(result);
    if (error) async__py_error_set(error);
}

static PyObject *given_context(endpoint *self)
{
    return self->context_given ? self->context : NULL;
}

int async__py_endpoint_lost_soon(endpoint *self, PyObject *exception)
{
    self->lost++;
    PyObject *method = PyObject_GetAttr(SELF(self), name_call_connection_lost);
    int code = method ? async__py_call_soon(self->loop, method, exception ? exception : Py_None,
                                            given_context(self))
                      : -1;
    Py_XDECREF(method);
    return code;
}

int async__py_endpoint_force_close(endpoint *self, PyObject *exception)
{
    if (self->lost) return 0;
    self->closing = 1;
    self->kind->drop(self);
    async__py_endpoint_unwatch(self, &self->reader);
    async__py_endpoint_unwatch(self, &self->writer);
    return async__py_endpoint_lost_soon(self, exception);
}

void async__py_endpoint_fatal(endpoint *self, const char *message)
{
    if (async__py_ends_the_loop()) {
        async__py_loop_fail(self->loop, message, NULL);
        return;
    }
    PyObject *exception = async__py_error_take();
    async__py_error_set(Py_NewRef(exception));
    if (PyErr_GivenExceptionMatches(exception, PyExc_OSError)) {
        PyObject *text = self->loop->debug ? PyUnicode_FromString(message) : NULL;
        if (text) async__py_endpoint_debug(self, "%r: %s", text);
        Py_XDECREF(text);
        PyErr_Clear();
    } else {
        async__py_loop_fail(self->loop, message, "transport", SELF(self), "protocol",
                            self->protocol, NULL);
    }
    if (async__py_endpoint_force_close(self, exception) < 0)
        async__py_loop_fail(self->loop, message, "transport", SELF(self), NULL);
    Py_DECREF(exception);
}

void async__py_endpoint_fatal_errno(endpoint *self, int error, const char *message)
{
    async__py_set_oserror(-error);
    async__py_endpoint_fatal(self, message);
}

/* A method of an object that goes or stays; no caller learns what it raises. */
static void tell_the_end(async__py_loop *loop, PyObject *object, PyObject *name, PyObject *argument)
{
    PyObject *error = async__py_error_take();
    PyObject *args[] = {object, argument};
    PyObject *result = PyObject_VectorcallMethod(name, args, argument ? 2 : 1, NULL);

    if (!result) async__py_loop_ignore(loop, object);
    Py_XDECREF(result);
    Py_DECREF(object);
    if (error) async__py_error_set(error);
}

/* Takes the reference to the server. */
static void detach(endpoint *self, PyObject *server)
{
    if (!self->client.clients)
        tell_the_end(self->loop, server, name_detach, SELF(self));
    else if (async__py_client_detach(&self->client))
        tell_the_end(self->loop, server, name_wake_if_over, NULL);
    else
        Py_DECREF(server);
}

void async__py_endpoint_release(endpoint *self)
{
    PyObject *sock = self->sock, *server = self->server;

    if (!sock) return;
    self->sock = self->server = NULL;
    /* As a rule all is stopped by now; not so if the end was called for by its private name. */
    self->closing = 1;
    if (!self->lost) self->lost = 1;
    self->kind->drop(self);
    stop_watching(self);
    if (async__py_end_transport(self->loop, self->fd, SELF(self)) && self->loop->engine)
        async_forget_fd(self->loop->engine, self->fd);
    tell_the_end(self->loop, sock, name_close, NULL);
    if (server) detach(self, server);
}

PyObject *async__py_endpoint_lost(PyObject *object, PyObject *exception)
{
    endpoint *self = ENDPOINT(object);
    PyObject *protocol = Py_XNewRef(self->protocol);

    self->closing = 1;
    stop_watching(self);
    if (!self->sock || !protocol) {
        async__py_endpoint_release(self);
        Py_XDECREF(protocol);
        Py_RETURN_NONE;
    }
    PyObject *result = PyObject_CallMethodOneArg(protocol, name_connection_lost, exception);
    PyObject *error = result ? NULL : async__py_error_take();
    async__py_endpoint_release(self);
    Py_CLEAR(self->protocol);
    Py_DECREF(protocol);
    if (error) async__py_error_set(error);
    return result;
}

void async__py_endpoint_finish(endpoint *self)
{
    self->lost++;
    PyObject *result = PyObject_CallMethodOneArg(SELF(self), name_call_connection_lost, Py_None);
    if (!result)
        async__py_loop_fail(self->loop, "Exception in connection_lost()", "transport", SELF(self),
                            NULL);
    Py_XDECREF(result);
}

int async__py_endpoint_count_lost(endpoint *self)
{
    if (self->lost++ < LOG_THRESHOLD) return 0;
    PyObject *result = async__py_call_method((PyObject *)self->loop, "_warn_lost_write", NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

PyObject *async__py_ask_protocol(endpoint *self, PyObject *name, PyObject *argument)
{
    PyObject *protocol = async__py_or_none(self->protocol);
    PyObject *args[] = {protocol, argument};
    PyObject *result = PyObject_VectorcallMethod(name, args, argument ? 2 : 1, NULL);

    Py_DECREF(protocol);
    return result;
}

/* ---- flow control ---- */

void async__py_tell_protocol(endpoint *self, bool pause)
{
    PyObject *protocol = Py_XNewRef(self->protocol);

    self->protocol_paused = pause;
    if (!protocol) return;
    PyObject *result =
        PyObject_CallMethodNoArgs(protocol, pause ? name_pause_writing : name_resume_writing);
    if (!result)
        async__py_loop_fail(self->loop,
                            pause ? "protocol.pause_writing() failed"
                                  : "protocol.resume_writing() failed",
                            "transport", SELF(self), "protocol", protocol, NULL);
    Py_XDECREF(result);
    Py_DECREF(protocol);
}

/* ---- making ---- */

PyObject *async__py_endpoint_new(PyTypeObject *type, const struct async__py_kind *kind,
                                 async__py_loop *loop)
{
    if (async__py_check_open(loop) < 0) return NULL;
    PyObject *object = type->tp_alloc(type, 0);
    if (!object) return NULL;
    endpoint *self = ENDPOINT(object);
    self->kind = kind;
    self->loop = (async__py_loop *)Py_NewRef((PyObject *)loop);
    self->holder.object = object;
    self->reader.callback.run = kind->read_ready;
    self->writer.callback.run = kind->write_ready;
    self->limits = async__py_limits_of(ASYNC__PY_HIGH_WATER);
    self->fd = -1;
    return object;
}

void async__py_endpoint_discard(PyObject *object)
{
    endpoint *self = ENDPOINT(object);
    PyObject *error = async__py_error_take();

    if (self->sock) async__py_end_transport(self->loop, self->fd, object);
    self->closing = 1;
    self->lost = 1;
    Py_CLEAR(self->sock);
    PyObject *server = self->server;
    self->server = NULL;
    if (server) detach(self, server);
    Py_DECREF(object);
    if (error) async__py_error_set(error);
}

/* -1: an exception is set. A large number for which the loop has no room yet must be a descriptor,
 * and not one that an object has made up: the loop would make the room. Small ones do no harm. */
static int descriptor_of(async__py_loop *loop, PyObject *sock)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, name_fileno);
    long fd = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    if (PyErr_Occurred()) return -1;
    if (fd < 0 || fd > INT_MAX ||
        (fd >= loop->descriptors_length && fd > SMALL && fcntl((int)fd, F_GETFD) < 0)) {
        async__py_set_oserror(-EBADF);
        return -1;
    }
    return (int)fd;
}

int async__py_endpoint_use_context(PyObject *object, PyObject *context)
{
    if (!context || context == Py_None) return 0;
    if (!PyContext_CheckExact(context)) {
        PyErr_Format(PyExc_TypeError, "context: a contextvars.Context is expected, not %R",
                     (PyObject *)Py_TYPE(context));
        return -1;
    }
    ENDPOINT(object)->context = Py_NewRef(context);
    ENDPOINT(object)->context_given = true;
    return 0;
}

int async__py_endpoint_open(PyObject *object, PyObject *sock, PyObject *extra)
{
    endpoint *self = ENDPOINT(object);
    int fd = descriptor_of(self->loop, sock);

    if (fd < 0 || async__py_check_no_transport(self->loop, fd, sock) < 0 ||
        async__py_check_open(self->loop) < 0 || PyObject_SetAttr(object, name_extra, extra) < 0)
        return -1;
    if (!self->context) self->context = PyContext_CopyCurrent();
    if (!self->context || async__py_set_transport(self->loop, fd, object) < 0) return -1;
    self->fd = fd;
    self->sock = Py_NewRef(sock);
    /* What watched the number before was dropped, which may have closed the loop. */
    if (async__py_check_open(self->loop) < 0) return -1;
    /* The number may have been another descriptor's, which was closed without a word. */
    async_forget_fd(self->loop->engine, fd);
    return 0;
}

static PyObject *method_handle(endpoint *self, PyObject *object, PyObject *name, PyObject *argument)
{
    PyObject *method = PyObject_GetAttr(object, name);
    PyObject *handle =
        method ? async__py_handle_new(self->loop, method, &argument, 1, given_context(self)) : NULL;

    Py_XDECREF(method);
    return handle;
}

static int attach(PyObject *object, PyObject *server)
{
    if (!server || server == Py_None) return 0;
    int attached = async__py_client_attach(&ENDPOINT(object)->client, object, server);
    if (attached < 0) return -1;
    if (!attached) {
        PyObject *result = PyObject_CallMethodOneArg(server, name_attach, object);
        if (!result) return -1;
        Py_DECREF(result);
    }
    ENDPOINT(object)->server = Py_NewRef(server);
    return 0;
}

int async__py_endpoint_begin(PyObject *object, PyObject *waiter, PyObject *server)
{
    endpoint *self = ENDPOINT(object);
    PyObject *made = method_handle(self, self->protocol, name_connection_made, object);
    PyObject *begin =
        made ? method_handle(self, object, name_begin, waiter ? waiter : Py_None) : NULL;
    int code = begin ? attach(object, server) : -1;

    if (code == 0 && async__py_check_open(self->loop) < 0) code = -1;
    if (code == 0) {
        async__py_handle_schedule(self->loop, made);
        async__py_handle_schedule(self->loop, begin);
    }
    Py_XDECREF(made);
    Py_XDECREF(begin);
    return code;
}

int async__py_add_endpoint_names(void)
{
    static const struct async__py_name names[] = {
        {&name_attach, "_attach"},
        {&name_wake_if_over, "_wake_if_over"},
        {&name_begin, "_begin"},
        {&name_call_connection_lost, "_call_connection_lost"},
        {&name_close, "close"},
        {&name_connection_lost, "connection_lost"},
        {&name_connection_made, "connection_made"},
        {&name_detach, "_detach"},
        {&name_extra, "_extra"},
        {&name_fileno, "fileno"},
        {&name_pause_writing, "pause_writing"},
        {&name_resume_writing, "resume_writing"},
        {0},
    };

    return async__py_intern(names);
}
