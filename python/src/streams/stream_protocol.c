/* stream_protocol.c - asyncio's StreamReaderProtocol, in C: what stands between a transport and the
 * reader and writer of a stream.
 *
 * The reader is known by a weak reference only, as in asyncio: a program that drops it is not kept
 * from that by the connection. Our own transports hand over what they have received without making
 * an object for it, see async__py_stream_feed(). What the protocol does not do is to keep the
 * writer alive: a writer that is dropped closes its connection, as since Python 3.13. */
#include "stream.h"

typedef struct protocol {
    async__py_flow flow;
    PyObject *reader; /* a weak reference */
    PyObject *strong_reader, *source_traceback, *task, *transport, *client_connected, *closed;
    char reject, over_ssl;
} protocol;

static PyTypeObject *protocol_type;
static PyObject *iscoroutine;
static PyObject *name_abort, *name_add_done_callback, *name_call_exception_handler, *name_cancelled,
    *name_close, *name_create_future, *name_create_task, *name_done, *name_exception,
    *name_feed_data, *name_feed_eof, *name_get_extra_info, *name_set_exception, *name_set_transport,
    *name_source_traceback, *name_transport, *text_sslcontext;

/* ---- the protocol ---- */

static int protocol_clear(protocol *self)
{
    Py_CLEAR(self->reader);
    Py_CLEAR(self->strong_reader);
    Py_CLEAR(self->source_traceback);
    Py_CLEAR(self->task);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->client_connected);
    Py_CLEAR(self->closed);
    return async__py_flow_clear(&self->flow);
}

static int protocol_traverse(protocol *self, visitproc visit, void *arg)
{
    Py_VISIT(self->reader);
    Py_VISIT(self->strong_reader);
    Py_VISIT(self->source_traceback);
    Py_VISIT(self->task);
    Py_VISIT(self->transport);
    Py_VISIT(self->client_connected);
    Py_VISIT(self->closed);
    return async__py_flow_traverse(&self->flow, visit, arg);
}

static void protocol_dealloc(PyObject *self)
{
    if (!async__py_stream_dies(self)) return;
    protocol_clear((protocol *)self);
    async__py_stream_free(self);
}

static int protocol_init(protocol *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"stream_reader", "client_connected_cb", "loop", NULL};
    PyObject *reader, *client_connected = Py_None, *loop = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, named, "O|OO:StreamReaderProtocol", names, &reader,
                                     &client_connected, &loop))
        return -1;
    Py_XSETREF(self->flow.loop, async__py_stream_loop(loop));
    if (!self->flow.loop) return -1;
    if (reader != Py_None) {
        Py_XSETREF(self->reader, PyWeakref_NewRef(reader, NULL));
        Py_XSETREF(self->source_traceback, PyObject_GetAttr(reader, name_source_traceback));
        if (!self->reader || !self->source_traceback) return -1;
    }
    if (client_connected != Py_None) {
        Py_XSETREF(self->client_connected, Py_NewRef(client_connected));
        /* A connection of a server: until it is made, nobody else holds the reader. */
        Py_XSETREF(self->strong_reader, reader == Py_None ? NULL : Py_NewRef(reader));
    }
    Py_XSETREF(self->closed, async__py_ask(self->flow.loop, name_create_future));
    return self->closed ? 0 : -1;
}

/* The reader (a new reference) if it is still there: NULL without an exception if not. */
static PyObject *get_reader(protocol *self)
{
    PyObject *reader = NULL;

    if (!self->reader) return NULL;
    if (!PyWeakref_CheckRef(self->reader)) {
        reader = PyObject_CallNoArgs(self->reader);
        if (reader == Py_None) Py_CLEAR(reader);
        return reader;
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyWeakref_GetRef(self->reader, &reader);
    return reader;
#else
    reader = PyWeakref_GetObject(self->reader);
    return reader == Py_None ? NULL : Py_NewRef(reader);
#endif
}

/* Tells the reader, if there is one. */
static int tell_reader(protocol *self, PyObject *method, PyObject *argument)
{
    PyObject *reader = get_reader(self);

    if (!reader) return PyErr_Occurred() ? -1 : 0;
    int status = async__py_tell(reader, method, argument);
    Py_DECREF(reader);
    return status;
}

static PyObject *data_received(protocol *self, PyObject *data)
{
    PyObject *reader = get_reader(self);
    int status = 0;

    if (reader && async__py_reader_plain(reader))
        status = async__py_reader_feed_object((async__py_reader *)reader, data);
    else if (reader)
        status = async__py_tell(reader, name_feed_data, data);
    else if (PyErr_Occurred())
        status = -1;
    Py_XDECREF(reader);
    if (status < 0) return NULL;
    Py_RETURN_NONE;
}

bool async__py_protocol_flows(PyObject *object)
{
    if (!async__py_stream_plain(object, protocol_type) &&
        !async__py_stream_plain(object, async__py_flow_type))
        return false;
    return !((async__py_flow *)object)->paused && !((async__py_flow *)object)->lost;
}

bool async__py_is_stream_protocol(PyObject *object)
{
    return async__py_stream_plain(object, protocol_type);
}

int async__py_stream_feed(PyObject *object, const char *data, Py_ssize_t length)
{
    protocol *self = (protocol *)object;
    PyObject *reader = get_reader(self);
    int status = -1;

    if (!reader) return PyErr_Occurred() ? -1 : 0;
    if (async__py_reader_plain(reader)) {
        status = async__py_reader_feed((async__py_reader *)reader, data, length);
    } else {
        PyObject *bytes = PyBytes_FromStringAndSize(data, length);
        if (bytes) status = async__py_tell(reader, name_feed_data, bytes);
        Py_XDECREF(bytes);
    }
    Py_DECREF(reader);
    return status;
}

static PyObject *eof_received(protocol *self, PyObject *Py_UNUSED(ignored))
{
    if (tell_reader(self, name_feed_eof, NULL) < 0) return NULL;
    /* TLS cannot stay half open, and warns of those who ask for it. */
    return PyBool_FromLong(!self->over_ssl);
}

static int use_transport(protocol *self, PyObject *transport)
{
    async__py_stream_set((PyObject *)self, transport, (void *)offsetof(protocol, transport));
    PyObject *context = PyObject_CallMethodOneArg(transport, name_get_extra_info, text_sslcontext);
    if (!context) return -1;
    self->over_ssl = context != Py_None;
    Py_DECREF(context);
    return 0;
}

static PyObject *replace_transport(protocol *self, PyObject *transport)
{
    if (use_transport(self, transport) < 0) return NULL;
    PyObject *reader = get_reader(self);
    if (!reader && PyErr_Occurred()) return NULL;
    int status =
        reader && reader != Py_None ? PyObject_SetAttrString(reader, "_transport", transport) : 0;
    Py_XDECREF(reader);
    if (status < 0) return NULL;
    Py_RETURN_NONE;
}

/* What Python 3.12 and before have instead. */
static PyObject *replace_writer(protocol *self, PyObject *writer)
{
    PyObject *transport = PyObject_GetAttr(writer, name_transport);
    PyObject *result = transport ? replace_transport(self, transport) : NULL;

    Py_XDECREF(transport);
    return result;
}

/* The reader was collected before there was a connection. */
static PyObject *reject(protocol *self, PyObject *transport)
{
    PyObject *context = Py_BuildValue(
        "{ss}", "message",
        "An open stream was garbage collected prior to establishing network connection; "
        "call \"stream.close()\" explicitly.");
    int status = context ? 0 : -1;

    if (status == 0 && self->source_traceback && self->source_traceback != Py_None)
        status = PyDict_SetItemString(context, "source_traceback", self->source_traceback);
    if (status == 0) status = async__py_tell(self->flow.loop, name_call_exception_handler, context);
    Py_XDECREF(context);
    if (status < 0 || async__py_tell(transport, name_abort, NULL) < 0) return NULL;
    Py_RETURN_NONE;
}

/* The connection is at its end, too. */
static int client_failed(PyObject *loop, PyObject *transport, PyObject *exception)
{
    PyObject *context =
        Py_BuildValue("{sssOsO}", "message", "Unhandled exception in client_connected_cb",
                      "exception", exception, "transport", transport);
    int status = context ? async__py_tell(loop, name_call_exception_handler, context) : -1;

    Py_XDECREF(context);
    return status < 0 ? -1 : async__py_tell(transport, name_close, NULL);
}

/* The done callback of the task that serves a client; `about` is the loop and the transport. */
static PyObject *client_done(PyObject *about, PyObject *task)
{
    PyObject *loop = PyTuple_GET_ITEM(about, 0), *transport = PyTuple_GET_ITEM(about, 1);
    int cancelled = async__py_ask_bool(task, name_cancelled);

    if (cancelled < 0) return NULL;
    if (cancelled) return PyObject_CallMethodNoArgs(transport, name_close);
    PyObject *exception = PyObject_CallMethodNoArgs(task, name_exception);
    if (!exception || exception == Py_None) return exception;
    int status = client_failed(loop, transport, exception);
    Py_DECREF(exception);
    if (status < 0) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef client_done_method = {"client_done", client_done, METH_O, NULL};

/* What the callback returned, if that is a coroutine, becomes a task. */
static int serve(protocol *self, PyObject *served, PyObject *transport)
{
    if (!PyCoro_CheckExact(served)) {
        PyObject *is = PyObject_CallOneArg(iscoroutine, served);
        int truth = is ? PyObject_IsTrue(is) : -1;
        Py_XDECREF(is);
        if (truth <= 0) return truth;
    }
    PyObject *task = PyObject_CallMethodOneArg(self->flow.loop, name_create_task, served);
    if (!task) return -1;
    Py_XSETREF(self->task, Py_NewRef(task));
    PyObject *about = PyTuple_Pack(2, self->flow.loop, transport);
    PyObject *callback = about ? PyCFunction_New(&client_done_method, about) : NULL;
    int status = callback ? async__py_tell(task, name_add_done_callback, callback) : -1;
    Py_XDECREF(callback);
    Py_XDECREF(about);
    Py_DECREF(task);
    return status;
}

static int call_client_connected(protocol *self, PyObject *reader, PyObject *transport)
{
    PyObject *writer = async__py_writer_new(transport, (PyObject *)self, reader, self->flow.loop);
    if (!writer) return -1;
    PyObject *callback = Py_NewRef(self->client_connected);
    PyObject *served = PyObject_CallFunctionObjArgs(callback, reader, writer, NULL);
    Py_DECREF(callback);
    Py_DECREF(writer);
    if (!served) {
        if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
        PyObject *exception = async__py_error_take();
        int told = client_failed(self->flow.loop, transport, exception);
        Py_DECREF(exception);
        Py_CLEAR(self->strong_reader);
        return told;
    }
    int status = serve(self, served, transport);
    Py_DECREF(served);
    if (status == 0) Py_CLEAR(self->strong_reader);
    return status;
}

static PyObject *connection_made(protocol *self, PyObject *transport)
{
    if (self->reject) return reject(self, transport);
    PyObject *reader = get_reader(self);
    if (!reader && PyErr_Occurred()) return NULL;
    if (!reader) reader = Py_NewRef(Py_None);
    int status = 0;
    if (reader != Py_None) status = async__py_tell(reader, name_set_transport, transport);
    if (status == 0) status = use_transport(self, transport);
    if (status == 0 && self->client_connected)
        status = call_client_connected(self, reader, transport);
    Py_DECREF(reader);
    if (status < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *connection_lost(protocol *self, PyObject *exception)
{
    PyObject *error = exception == Py_None ? NULL : exception;
    int status = error ? tell_reader(self, name_set_exception, error)
                       : tell_reader(self, name_feed_eof, NULL);

    if (status < 0 || (self->closed && async__py_future_end(self->closed, error) < 0)) return NULL;
    PyObject *result = async__py_flow_lost(&self->flow, exception);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->task);
    Py_CLEAR(self->transport);
    return result;
}

static PyObject *get_close_waiter(protocol *self, PyObject *Py_UNUSED(stream))
{
    return Py_NewRef(self->closed ? self->closed : Py_None);
}

/* A lost connection that nobody waits for is no error: the future is told that somebody has
 * looked. */
static void protocol_finalize(PyObject *object)
{
    protocol *self = (protocol *)object;

    if (!self->closed) return;
    PyObject *saved = PyErr_Occurred() ? async__py_error_take() : NULL;
    int looked = async__py_ask_bool(self->closed, name_done);
    if (looked > 0) {
        int cancelled = async__py_ask_bool(self->closed, name_cancelled);
        looked = cancelled ? cancelled : async__py_tell(self->closed, name_exception, NULL);
    }
    if (looked < 0) PyErr_WriteUnraisable(object);
    if (saved) async__py_error_set(saved);
}

static PyObject *stream_reader(protocol *self, void *Py_UNUSED(closure))
{
    PyObject *reader = get_reader(self);

    if (reader || PyErr_Occurred()) return reader;
    Py_RETURN_NONE;
}

/* ---- the type ---- */

static PyMethodDef protocol_methods[] = {
    {"connection_made", (PyCFunction)connection_made, METH_O, NULL},
    {"connection_lost", (PyCFunction)connection_lost, METH_O, NULL},
    {"data_received", (PyCFunction)data_received, METH_O, NULL},
    {"eof_received", (PyCFunction)eof_received, METH_NOARGS, NULL},
    {"_get_close_waiter", (PyCFunction)get_close_waiter, METH_O, NULL},
    {"_replace_transport", (PyCFunction)replace_transport, METH_O, NULL},
    {"_replace_writer", (PyCFunction)replace_writer, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef protocol_attributes[] = {
    ASYNC__PY_OBJECT("_stream_reader_wr", protocol, reader),
    ASYNC__PY_OBJECT("_strong_reader", protocol, strong_reader),
    ASYNC__PY_OBJECT("_source_traceback", protocol, source_traceback),
    ASYNC__PY_OBJECT("_task", protocol, task),
    ASYNC__PY_OBJECT("_transport", protocol, transport),
    ASYNC__PY_OBJECT("_client_connected_cb", protocol, client_connected),
    ASYNC__PY_OBJECT("_closed", protocol, closed),
    {"_stream_reader", (getter)stream_reader, NULL, NULL, NULL},
    ASYNC__PY_FLAG("_reject_connection", protocol, reject),
    ASYNC__PY_FLAG("_over_ssl", protocol, over_ssl),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, "Feeds a StreamReader from a transport: asyncio.StreamReaderProtocol in C."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, protocol_init},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, protocol_clear},
    {Py_tp_finalize, protocol_finalize},
    {Py_tp_methods, protocol_methods},
    {Py_tp_getset, protocol_attributes},
    {0, NULL},
};

static PyType_Spec protocol_spec = {
    .name = "casyncio.StreamReaderProtocol",
    .basicsize = sizeof(protocol),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = protocol_slots,
};

int async__py_add_stream_protocol(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_abort, "abort"},
        {&name_add_done_callback, "add_done_callback"},
        {&name_call_exception_handler, "call_exception_handler"},
        {&name_cancelled, "cancelled"},
        {&name_close, "close"},
        {&name_create_future, "create_future"},
        {&name_create_task, "create_task"},
        {&name_done, "done"},
        {&name_exception, "exception"},
        {&name_feed_data, "feed_data"},
        {&name_feed_eof, "feed_eof"},
        {&name_get_extra_info, "get_extra_info"},
        {&name_set_exception, "set_exception"},
        {&name_set_transport, "set_transport"},
        {&name_source_traceback, "_source_traceback"},
        {&name_transport, "transport"},
        {&text_sslcontext, "sslcontext"},
        {0},
    };

    if (async__py_intern(names) < 0) return -1;
    iscoroutine = async__py_import("asyncio.coroutines", "iscoroutine");
    if (!iscoroutine) return -1;
    protocol_type = async__py_add_stream_type(module, &protocol_spec, async__py_flow_type);
    return protocol_type ? 0 : -1;
}
