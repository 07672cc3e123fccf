/* tls.c - asyncio.sslproto.SSLProtocol in C: the type, how one is made, and its attributes.
 *
 * A TLS connection is a protocol to the transport below, which carries records, and a transport to
 * the application's protocol above. The cryptography is Python's ssl module: the user's SSLContext
 * wraps two MemoryBIOs, so whatever a context can (ALPN, client certificates, SNI callbacks, a
 * class of its own for SSL objects) works. Constructor, methods and the attributes that other code
 * reaches for have asyncio's names, so that this class can stand in for asyncio's wherever a loop
 * makes one.
 *
 * From below, a layer calling only what is under it: the records (records.c), the connection
 * (connection.h has its files), the application's transport (tls_transport.c), the type. */
#include "tls.h"

#include "tls_transport.h"

#include <structmember.h>

static PyTypeObject *tls_type;

/* ---- making one ---- */

/* What a client has that gives no context: ssl=True. */
static PyObject *default_context(bool server_side, bool has_hostname)
{
    if (server_side) {
        PyErr_SetString(PyExc_ValueError, "Server side SSL needs a valid SSLContext");
        return NULL;
    }
    PyObject *context = PyObject_CallMethodNoArgs(async__py_tls_classes.ssl,
                                                  async__py_tls_names.create_default_context);
    if (context && !has_hostname &&
        PyObject_SetAttr(context, async__py_tls_names.check_hostname, Py_False) < 0)
        Py_CLEAR(context);
    return context;
}

static int take_context(async__py_tls *self, PyObject *context, PyObject *server_hostname)
{
    int given = PyObject_IsTrue(context), has_hostname = PyObject_IsTrue(server_hostname);

    if (given < 0 || has_hostname < 0) return -1;
    self->sslcontext =
        given ? Py_NewRef(context) : default_context(self->server_side, has_hostname);
    if (!self->sslcontext) return -1;
    self->server_hostname =
        Py_NewRef(has_hostname && !self->server_side ? server_hostname : Py_None);
    self->extra = Py_BuildValue("{sO}", "sslcontext", self->sslcontext);
    return self->extra ? 0 : -1;
}

static PyObject *take_timeout(PyObject *seconds, const char *name, PyObject *usual)
{
    if (seconds == Py_None) return Py_NewRef(usual);
    PyObject *zero = PyLong_FromLong(0);
    int bad = zero ? PyObject_RichCompareBool(seconds, zero, Py_LE) : -1;
    Py_XDECREF(zero);
    if (bad > 0)
        PyErr_Format(PyExc_ValueError, "%s should be a positive number, got %S", name, seconds);
    return bad == 0 ? Py_NewRef(seconds) : NULL;
}

static PyObject *get_app_transport(async__py_tls *self, PyObject *unused)
{
    if (self->app_transport) return Py_NewRef(self->app_transport);
    if (self->app_made) {
        PyErr_SetString(PyExc_RuntimeError, "Creating _SSLProtocolTransport twice");
        return NULL;
    }
    self->app_transport = async__py_tls_transport_new(self);
    self->app_made = self->app_transport;
    return Py_XNewRef(self->app_transport);
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    /* clang-format off */
    static char *parameters[] = {
        "loop", "app_protocol", "sslcontext", "waiter", "server_side", "server_hostname",
        "call_connection_made", "ssl_handshake_timeout", "ssl_shutdown_timeout", NULL,
    };
    /* clang-format on */
    PyObject *loop, *protocol, *context, *waiter, *hostname = Py_None, *transport = NULL;
    PyObject *handshake_timeout = Py_None, *shutdown_timeout = Py_None;
    int server_side = 0, call_made = 1;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OOOO|pOpOO:SSLProtocol", parameters, &loop,
                                     &protocol, &context, &waiter, &server_side, &hostname,
                                     &call_made, &handshake_timeout, &shutdown_timeout))
        return NULL;
    if (!async__py_tls_classes.ssl) {
        PyErr_SetString(PyExc_RuntimeError, "stdlib ssl module not available");
        return NULL;
    }
    async__py_tls *self = (async__py_tls *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->loop = Py_NewRef(loop);
    self->waiter = waiter == Py_None ? NULL : Py_NewRef(waiter);
    self->server_side = server_side;
    self->incoming_limits = async__py_limits_of(async__py_tls_classes.read_kib * 1024);
    self->outgoing_limits = async__py_limits_of(async__py_tls_classes.write_kib * 1024);
    self->app_state = call_made ? ASYNC__PY_TLS_NEW : ASYNC__PY_TLS_MADE;
    self->handshake_timeout = take_timeout(handshake_timeout, "ssl_handshake_timeout",
                                           async__py_tls_classes.handshake_timeout);
    if (self->handshake_timeout)
        self->shutdown_timeout = take_timeout(shutdown_timeout, "ssl_shutdown_timeout",
                                              async__py_tls_classes.shutdown_timeout);
    if (self->shutdown_timeout && take_context(self, context, hostname) == 0 &&
        async__py_tls_set_protocol(self, protocol) == 0 &&
        async__py_records_wrap(&self->records, self->sslcontext, self->server_side,
                               self->server_hostname) == 0 &&
        async__py_tls_take_memory(self) == 0)
        transport = get_app_transport(self, NULL);
    if (!transport) Py_CLEAR(self);
    Py_XDECREF(transport);
    return (PyObject *)self;
}

/* ---- unmaking ---- */

/* What the collector clears comes first. The rest can be in no cycle by itself, and methods need
 * it. */
static const size_t references[] = {
    offsetof(async__py_tls, transport),
    offsetof(async__py_tls, app_transport),
    offsetof(async__py_tls, app_protocol),
    offsetof(async__py_tls, waiter),
    offsetof(async__py_tls, handshake_handle),
    offsetof(async__py_tls, shutdown_handle),
    offsetof(async__py_tls, sslcontext),
    offsetof(async__py_tls, records.sslobj),
    offsetof(async__py_tls, records.read),
    offsetof(async__py_tls, records.write),
    offsetof(async__py_tls, records.shutdown),
    offsetof(async__py_tls, extra),
    offsetof(async__py_tls, loop),
    offsetof(async__py_tls, server_hostname),
    offsetof(async__py_tls, handshake_timeout),
    offsetof(async__py_tls, shutdown_timeout),
    offsetof(async__py_tls, records.incoming),
    offsetof(async__py_tls, records.outgoing),
    offsetof(async__py_tls, records.incoming_write),
    offsetof(async__py_tls, records.outgoing_read),
    offsetof(async__py_tls, storage),
    offsetof(async__py_tls, backlog),
};

enum { REFERENCES = sizeof references / sizeof *references, CLEARED = 12 };

#define REFERENCE(self, i) (*(PyObject **)((char *)(self) + references[i]))

static int traverse(async__py_tls *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    for (int i = 0; i < REFERENCES; i++)
        Py_VISIT(REFERENCE(self, i));
    return 0;
}

static int clear(async__py_tls *self)
{
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    for (int i = 0; i < CLEARED; i++)
        Py_CLEAR(REFERENCE(self, i));
    return 0;
}

static void dealloc(async__py_tls *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weakrefs) PyObject_ClearWeakRefs((PyObject *)self);
    for (int i = 0; i < REFERENCES; i++)
        Py_CLEAR(REFERENCE(self, i));
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- methods and attributes ---- */

static PyObject *get_buffer(async__py_tls *self, PyObject *hint)
{
    return PyMemoryView_FromObject(self->storage);
}

static PyObject *buffer_updated(async__py_tls *self, PyObject *count)
{
    Py_ssize_t length = PyLong_AsSsize_t(count);

    if (length == -1 && PyErr_Occurred()) return NULL;
    if (length < 0 || length > ASYNC__PY_TLS_MEMORY) {
        PyErr_Format(PyExc_ValueError, "%zd bytes are not what get_buffer() has room for", length);
        return NULL;
    }
    if (async__py_tls_received(self, self->memory, length) < 0) return NULL;
    Py_RETURN_NONE;
}

bool async__py_is_tls(PyObject *protocol) { return Py_IS_TYPE(protocol, tls_type); }

int async__py_tls_feed(PyObject *protocol, const char *data, Py_ssize_t length)
{
    return async__py_tls_received((async__py_tls *)protocol, data, length);
}

static PyObject *pause_writing(async__py_tls *self, PyObject *unused)
{
    self->ssl_write_paused = true;
    Py_RETURN_NONE;
}

static PyObject *resume_writing(async__py_tls *self, PyObject *unused)
{
    self->ssl_write_paused = false;
    if (async__py_tls_send(self, false) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_set_app_protocol(async__py_tls *self, PyObject *protocol)
{
    if (async__py_tls_set_protocol(self, protocol) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *get_extra_info(async__py_tls *self, PyObject *args)
{
    PyObject *name, *fallback = Py_None;

    if (!PyArg_ParseTuple(args, "O|O", &name, &fallback)) return NULL;
    return async__py_tls_extra_info(self, name, fallback);
}

static PyObject *get_sslobj(async__py_tls *self, void *unused)
{
    return async__py_or_none(self->records.sslobj);
}

static int set_sslobj(async__py_tls *self, PyObject *value, void *unused)
{
    if (value) return async__py_records_set_sslobj(&self->records, value);
    PyErr_SetString(PyExc_AttributeError, "_sslobj cannot be deleted");
    return -1;
}

static PyObject *fatal_error(async__py_tls *self, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"exc", "message", NULL};
    PyObject *exception;
    const char *message = "Fatal error on transport";

    if (!PyArg_ParseTupleAndKeywords(args, names, "O|s", keywords, &exception, &message))
        return NULL;
    if (async__py_tls_fatal(self, exception, message) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *wakeup_waiter(async__py_tls *self, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"exc", NULL};
    PyObject *exception = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, names, "|O", keywords, &exception)) return NULL;
    if (async__py_tls_wake_waiter(self, exception == Py_None ? NULL : exception) < 0) return NULL;
    Py_RETURN_NONE;
}

#define METHOD(name, function, flags)                                                              \
    {                                                                                              \
        name, (PyCFunction)(void (*)(void))(function), flags, NULL                                 \
    }

static PyMethodDef methods[] = {
    METHOD("connection_made", async__py_tls_connection_made, METH_O),
    METHOD("connection_lost", async__py_tls_connection_lost, METH_O),
    METHOD("get_buffer", get_buffer, METH_O),
    METHOD("buffer_updated", buffer_updated, METH_O),
    METHOD("eof_received", async__py_tls_eof_received, METH_NOARGS),
    METHOD("pause_writing", pause_writing, METH_NOARGS),
    METHOD("resume_writing", resume_writing, METH_NOARGS),
    METHOD("_set_app_protocol", py_set_app_protocol, METH_O),
    METHOD("_get_app_transport", get_app_transport, METH_NOARGS),
    METHOD("_get_extra_info", get_extra_info, METH_VARARGS),
    METHOD("_check_handshake_timeout", async__py_tls_check_handshake_timeout, METH_NOARGS),
    METHOD("_check_shutdown_timeout", async__py_tls_check_shutdown_timeout, METH_NOARGS),
    METHOD("_resumed", async__py_tls_resumed, METH_NOARGS),
    METHOD("_fatal_error", fatal_error, METH_VARARGS | METH_KEYWORDS),
    METHOD("_wakeup_waiter", wakeup_waiter, METH_VARARGS | METH_KEYWORDS),
    {NULL},
};

static PyGetSetDef attributes[] = {
    {"_sslobj", (getter)get_sslobj, (setter)set_sslobj, NULL, NULL},
    {NULL},
};

#define OBJECT(name, member)                                                                       \
    {                                                                                              \
        name, T_OBJECT, offsetof(async__py_tls, member), READONLY, NULL                            \
    }
#define FLAG(name, member)                                                                         \
    {                                                                                              \
        name, T_BOOL, offsetof(async__py_tls, member), READONLY, NULL                              \
    }

static PyMemberDef members[] = {
    OBJECT("_loop", loop),
    OBJECT("_transport", transport),
    OBJECT("_app_transport", app_transport),
    OBJECT("_app_protocol", app_protocol),
    OBJECT("_waiter", waiter),
    OBJECT("_sslcontext", sslcontext),
    OBJECT("_server_hostname", server_hostname),
    OBJECT("_extra", extra),
    OBJECT("_incoming", records.incoming),
    OBJECT("_outgoing", records.outgoing),
    OBJECT("_ssl_handshake_timeout", handshake_timeout),
    OBJECT("_ssl_shutdown_timeout", shutdown_timeout),
    FLAG("_server_side", server_side),
    FLAG("_app_reading_paused", app_paused),
    FLAG("_app_writing_paused", app_write_paused),
    FLAG("_ssl_reading_paused", ssl_read_paused),
    FLAG("_ssl_writing_paused", ssl_write_paused),
    FLAG("_eof_received", eof),
    {"__weaklistoffset__", T_PYSSIZET, offsetof(async__py_tls, weakrefs), READONLY, NULL},
    {NULL},
};

PyDoc_STRVAR(documentation,
             "SSLProtocol(loop, app_protocol, sslcontext, waiter, server_side=False,\n"
             "            server_hostname=None, call_connection_made=True,\n"
             "            ssl_handshake_timeout=None, ssl_shutdown_timeout=None)\n\n"
             "TLS between a transport and an application's protocol.");

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)documentation}, {Py_tp_new, make},          {Py_tp_dealloc, dealloc},
    {Py_tp_traverse, traverse},         {Py_tp_clear, clear},       {Py_tp_methods, methods},
    {Py_tp_members, members},           {Py_tp_getset, attributes}, {0, NULL},
};

static PyType_Spec spec = {
    .name = "casyncio._casyncio.SSLProtocol",
    .basicsize = sizeof(async__py_tls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

/* ---- the part of the module ---- */

int async__py_add_tls(PyObject *module)
{
    if (async__py_tls_find_names() < 0 || async__py_add_records(module) < 0 ||
        async__py_add_tls_memory(module) < 0 || async__py_add_tls_transport(module) < 0)
        return -1;
    tls_type = async__py_add_type(module, &spec, async__py_tls_classes.buffered_protocol);
    return tls_type ? 0 : -1;
}
