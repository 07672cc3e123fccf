/* stream_writer.c - asyncio's StreamWriter, in C.
 *
 * Almost all of it is a call of the transport's method of the same name. drain() asks whether the
 * reader has failed, the transport is closing or the protocol is paused; mostly nothing of that is
 * so, and then it is one step of a C coroutine. */
#include "stream.h"

typedef struct async__py_coroutine coroutine;
typedef enum async__py_outcome outcome;

typedef struct writer {
    async__py_stream base;
    PyObject *transport, *protocol, *reader, *loop;
} writer;

static PyTypeObject *writer_type;
static PyObject *stock_reader; /* asyncio's class */
static PyObject *sleep_function;
static PyObject *name_can_write_eof, *name_client_connected, *name_close, *name_drain,
    *name_drain_helper, *name_exception, *name_get_close_waiter, *name_get_extra_info,
    *name_is_closed, *name_is_closing, *name_replace_transport, *name_replace_writer,
    *name_start_tls, *name_write, *name_write_eof, *name_writelines;

static writer *writer_of(coroutine *c) { return (writer *)c->owner; }

/* An object that is not initialised is no reason to crash. */
static PyObject *or_none(PyObject *object) { return object ? object : Py_None; }

static outcome done(PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return ASYNC__PY_DONE;
}

/* ---- the transport's methods ---- */

static PyObject *forward(writer *self, PyObject *method, PyObject *argument)
{
    if (async__py_tell(self->transport, method, argument) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *write_method(writer *self, PyObject *data)
{
    return forward(self, name_write, data);
}

static PyObject *writelines(writer *self, PyObject *data)
{
    return forward(self, name_writelines, data);
}

static PyObject *write_eof(writer *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_ask(self->transport, name_write_eof);
}

static PyObject *can_write_eof(writer *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_ask(self->transport, name_can_write_eof);
}

static PyObject *close_method(writer *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_ask(self->transport, name_close);
}

static PyObject *is_closing(writer *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_ask(self->transport, name_is_closing);
}

static PyObject *get_extra_info(writer *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, named, "O|O:get_extra_info", names, &name, &fallback))
        return NULL;
    return PyObject_CallMethodObjArgs(or_none(self->transport), name_get_extra_info, name, fallback,
                                      NULL);
}

/* ---- drain ---- */

/* The reader's exception is raised here too: -1. */
static int check_reader(PyObject *reader)
{
    PyObject *exception;

    if (!reader) return 0;
    if (async__py_reader_plain(reader))
        exception = Py_XNewRef(((async__py_reader *)reader)->exception);
    else if (!(exception = PyObject_CallMethodNoArgs(reader, name_exception)))
        return -1;
    bool any = exception && exception != Py_None;
    if (any) async__py_stored_error(exception);
    Py_XDECREF(exception);
    return any ? -1 : 0;
}

enum { CLOSING = 1, PAUSED };

static outcome drain_protocol(coroutine *c, PyObject **result)
{
    PyObject *protocol = writer_of(c)->protocol;

    if (protocol && async__py_protocol_flows(protocol)) return done(result);
    c->phase = PAUSED;
    return async__py_await(c, async__py_ask(protocol, name_drain_helper));
}

static outcome drain_begin(coroutine *c, PyObject **result)
{
    writer *self = writer_of(c);

    if (check_reader(self->reader) < 0) return ASYNC__PY_FAILED;
    int closing = async__py_ask_bool(self->transport, name_is_closing);
    if (closing < 0) return ASYNC__PY_FAILED;
    if (!closing) return drain_protocol(c, result);
    /* A turn of the loop, in which connection_lost() may be called: who writes and drains for ever
     * must learn that the connection is gone. */
    c->phase = CLOSING;
    return async__py_await(c, PyObject_CallFunction(sleep_function, "i", 0));
}

static outcome drain_resume(coroutine *c, PyObject *value, PyObject **result)
{
    if (!value) return ASYNC__PY_FAILED;
    return c->phase == CLOSING ? drain_protocol(c, result) : done(result);
}

static const struct async__py_coroutine_kind drain_kind = {
    .qualname = "StreamWriter.drain", .begin = drain_begin, .resume = drain_resume};

static PyObject *drain(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_coroutine(&drain_kind, self, NULL);
}

/* ---- wait_closed ---- */

static outcome closed_begin(coroutine *c, PyObject **Py_UNUSED(result))
{
    PyObject *protocol = writer_of(c)->protocol;

    return async__py_await(
        c, PyObject_CallMethodOneArg(or_none(protocol), name_get_close_waiter, c->owner));
}

static outcome closed_resume(coroutine *Py_UNUSED(c), PyObject *value, PyObject **result)
{
    return value ? done(result) : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind closed_kind = {
    .qualname = "StreamWriter.wait_closed", .begin = closed_begin, .resume = closed_resume};

static PyObject *wait_closed(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_coroutine(&closed_kind, self, NULL);
}

/* ---- start_tls ---- */

enum { DRAINING = 1, HANDSHAKE };

/* c->argument: the SSLContext, and a dict of the other arguments for loop.start_tls(). */
static outcome tls_begin(coroutine *c, PyObject **Py_UNUSED(result))
{
    PyObject *protocol = writer_of(c)->protocol, *options = PyTuple_GET_ITEM(c->argument, 1);
    PyObject *callback = PyObject_GetAttr(or_none(protocol), name_client_connected);

    if (!callback) return ASYNC__PY_FAILED;
    int status =
        PyDict_SetItemString(options, "server_side", callback == Py_None ? Py_False : Py_True);
    Py_DECREF(callback);
    if (status < 0) return ASYNC__PY_FAILED;
    c->phase = DRAINING;
    return async__py_await(c, PyObject_CallMethodNoArgs(c->owner, name_drain));
}

static outcome handshake(coroutine *c)
{
    writer *self = writer_of(c);
    PyObject *args = PyTuple_Pack(3, or_none(self->transport), or_none(self->protocol),
                                  PyTuple_GET_ITEM(c->argument, 0));
    PyObject *method = PyObject_GetAttr(or_none(self->loop), name_start_tls);
    PyObject *awaitable = NULL;

    if (args && method) awaitable = PyObject_Call(method, args, PyTuple_GET_ITEM(c->argument, 1));
    Py_XDECREF(args);
    Py_XDECREF(method);
    c->phase = HANDSHAKE;
    return async__py_await(c, awaitable);
}

static outcome tls_resume(coroutine *c, PyObject *value, PyObject **result)
{
    writer *self = writer_of(c);

    if (!value) return ASYNC__PY_FAILED;
    if (c->phase == DRAINING) return handshake(c);
    async__py_stream_set(c->owner, value, (void *)offsetof(writer, transport));
    /* asyncio's own protocol of Python 3.12 and before has the other method. */
    int status = PyObject_HasAttr(or_none(self->protocol), name_replace_transport)
                     ? async__py_tell(self->protocol, name_replace_transport, value)
                     : async__py_tell(self->protocol, name_replace_writer, c->owner);
    return status < 0 ? ASYNC__PY_FAILED : done(result);
}

static const struct async__py_coroutine_kind tls_kind = {
    .qualname = "StreamWriter.start_tls", .begin = tls_begin, .resume = tls_resume};

static PyObject *start_tls(PyObject *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"sslcontext", "server_hostname", "ssl_handshake_timeout",
                            "ssl_shutdown_timeout", NULL};
    PyObject *context, *hostname = Py_None, *handshake = Py_None, *shutdown = Py_None, *c = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, named, "O|$OOO:start_tls", names, &context, &hostname,
                                     &handshake, &shutdown))
        return NULL;
    PyObject *argument = Py_BuildValue("(O{sOsOsO})", context, names[1], hostname, names[2],
                                       handshake, names[3], shutdown);
    if (argument) c = async__py_coroutine(&tls_kind, self, argument);
    Py_XDECREF(argument);
    return c;
}

/* ---- the object ---- */

static int writer_init(writer *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"transport", "protocol", "reader", "loop", NULL};
    PyObject *transport, *protocol, *reader, *loop;

    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOO:StreamWriter", names, &transport, &protocol,
                                     &reader, &loop))
        return -1;
    int is_reader = reader == Py_None || PyObject_IsInstance(reader, stock_reader);
    if (is_reader <= 0) {
        if (is_reader == 0)
            PyErr_SetString(PyExc_AssertionError, "reader is to be a StreamReader or None");
        return -1;
    }
    Py_XSETREF(self->transport, Py_NewRef(transport));
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    Py_XSETREF(self->reader, reader == Py_None ? NULL : Py_NewRef(reader));
    Py_XSETREF(self->loop, Py_NewRef(loop));
    return 0;
}

PyObject *async__py_writer_new(PyObject *transport, PyObject *protocol, PyObject *reader,
                               PyObject *loop)
{
    return PyObject_CallFunctionObjArgs((PyObject *)writer_type, transport, protocol, reader, loop,
                                        NULL);
}

static int writer_clear(writer *self)
{
    Py_CLEAR(self->transport);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->base.dict);
    return 0;
}

static int writer_traverse(writer *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->base.dict);
    Py_VISIT(self->transport);
    Py_VISIT(self->protocol);
    Py_VISIT(self->reader);
    Py_VISIT(self->loop);
    return 0;
}

/* A writer that is dropped closes its connection, and says that somebody has forgotten to. */
static int close_dropped(writer *self)
{
    int closing = async__py_ask_bool(self->transport, name_is_closing);
    if (closing) return closing;
    int closed = async__py_ask_bool(self->loop, name_is_closed);
    if (closed < 0) return -1;
    if (closed) return PyErr_WarnEx(PyExc_ResourceWarning, "loop is closed", 1);
    if (async__py_tell((PyObject *)self, name_close, NULL) < 0) return -1;
    return PyErr_WarnFormat(PyExc_ResourceWarning, 1, "unclosed %R", self);
}

static void writer_finalize(PyObject *self)
{
    if (!((writer *)self)->transport) return;
    PyObject *saved = PyErr_Occurred() ? async__py_error_take() : NULL;
    if (close_dropped((writer *)self) < 0) PyErr_WriteUnraisable(self);
    if (saved) async__py_error_set(saved);
}

static void writer_dealloc(PyObject *self)
{
    if (!async__py_stream_dies(self)) return;
    writer_clear((writer *)self);
    async__py_stream_free(self);
}

static PyObject *writer_repr(writer *self)
{
    PyObject *name = PyType_GetName(Py_TYPE(self)), *text = NULL;

    if (!name) return NULL;
    if (self->reader)
        text = PyUnicode_FromFormat("<%U transport=%R reader=%R>", name, or_none(self->transport),
                                    self->reader);
    else
        text = PyUnicode_FromFormat("<%U transport=%R>", name, or_none(self->transport));
    Py_DECREF(name);
    return text;
}

#define KEYWORDS_METHOD(function) (PyCFunction)(void (*)(void)) function

static PyMethodDef methods[] = {
    {"write", (PyCFunction)write_method, METH_O, NULL},
    {"writelines", (PyCFunction)writelines, METH_O, NULL},
    {"write_eof", (PyCFunction)write_eof, METH_NOARGS, NULL},
    {"can_write_eof", (PyCFunction)can_write_eof, METH_NOARGS, NULL},
    {"close", (PyCFunction)close_method, METH_NOARGS, NULL},
    {"is_closing", (PyCFunction)is_closing, METH_NOARGS, NULL},
    {"get_extra_info", KEYWORDS_METHOD(get_extra_info), METH_VARARGS | METH_KEYWORDS, NULL},
    {"drain", drain, METH_NOARGS,
     "Flush the write buffer.\n\nThe intended use is to write\n\n  w.write(data)\n  await "
     "w.drain()"},
    {"wait_closed", wait_closed, METH_NOARGS, NULL},
    {"start_tls", KEYWORDS_METHOD(start_tls), METH_VARARGS | METH_KEYWORDS,
     "Upgrade an existing stream-based connection to TLS."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    ASYNC__PY_OBJECT("_transport", writer, transport),
    ASYNC__PY_OBJECT("_protocol", writer, protocol),
    ASYNC__PY_OBJECT("_reader", writer, reader),
    ASYNC__PY_OBJECT("_loop", writer, loop),
    {"transport", async__py_stream_get, NULL, NULL, (void *)offsetof(writer, transport)},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The writing side of a stream: asyncio.StreamWriter in C."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, writer_init},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_finalize, writer_finalize},
    {Py_tp_repr, writer_repr},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "casyncio.StreamWriter",
    .basicsize = sizeof(writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int async__py_add_stream_writer(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_can_write_eof, "can_write_eof"},
        {&name_client_connected, "_client_connected_cb"},
        {&name_close, "close"},
        {&name_drain, "drain"},
        {&name_drain_helper, "_drain_helper"},
        {&name_exception, "exception"},
        {&name_get_close_waiter, "_get_close_waiter"},
        {&name_get_extra_info, "get_extra_info"},
        {&name_is_closed, "is_closed"},
        {&name_is_closing, "is_closing"},
        {&name_replace_transport, "_replace_transport"},
        {&name_replace_writer, "_replace_writer"},
        {&name_start_tls, "start_tls"},
        {&name_write, "write"},
        {&name_write_eof, "write_eof"},
        {&name_writelines, "writelines"},
        {0},
    };

    if (async__py_intern(names) < 0) return -1;
    stock_reader = async__py_import("asyncio.streams", "StreamReader");
    sleep_function = async__py_import("asyncio.tasks", "sleep");
    if (!stock_reader || !sleep_function) return -1;
    writer_type = async__py_add_stream_type(module, &spec, NULL);
    return writer_type ? 0 : -1;
}
