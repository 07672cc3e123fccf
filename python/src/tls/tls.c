/* tls.c - asyncio.sslproto.SSLProtocol in C: the type, what it is made of, and its attributes.
 *
 * A TLS connection is a protocol to the transport below, which carries records, and a transport to
 * the application's protocol above. The cryptography is Python's ssl module: the user's SSLContext
 * wraps two MemoryBIOs, so whatever a context can (ALPN, client certificates, SNI callbacks, a
 * class of its own for SSL objects) works. Constructor, methods and the attributes that other code
 * reaches for have asyncio's names, so that this class can stand in for asyncio's wherever a loop
 * makes one.
 *
 * Where asyncio's gives each connection 256 KiB to receive into, all connections of a loop have one
 * such piece here, kept as an attribute of the loop: what lies in it is copied before anything else
 * runs. */
#include "tls.h"

#include <structmember.h>

struct async__py_tls_names async__py_tls_names;
struct async__py_tls_classes async__py_tls_classes;
PyTypeObject *async__py_tls_type;

static const struct async__py_name names[] = {
    {&async__py_tls_names.abort, "abort"},
    {&async__py_tls_names.buffer_updated, "buffer_updated"},
    {&async__py_tls_names.call_exception_handler, "call_exception_handler"},
    {&async__py_tls_names.call_later, "call_later"},
    {&async__py_tls_names.call_soon, "call_soon"},
    {&async__py_tls_names.cancel, "cancel"},
    {&async__py_tls_names.cancelled, "cancelled"},
    {&async__py_tls_names.check_hostname, "check_hostname"},
    {&async__py_tls_names.cipher, "cipher"},
    {&async__py_tls_names.close, "close"},
    {&async__py_tls_names.compression, "compression"},
    {&async__py_tls_names.connection_lost, "connection_lost"},
    {&async__py_tls_names.connection_made, "connection_made"},
    {&async__py_tls_names.create_default_context, "create_default_context"},
    {&async__py_tls_names.data_received, "data_received"},
    {&async__py_tls_names.debug, "debug"},
    {&async__py_tls_names.do_handshake, "do_handshake"},
    {&async__py_tls_names.eof_received, "eof_received"},
    {&async__py_tls_names.exc_info, "exc_info"},
    {&async__py_tls_names.force_close, "_force_close"},
    {&async__py_tls_names.get_buffer, "get_buffer"},
    {&async__py_tls_names.get_debug, "get_debug"},
    {&async__py_tls_names.get_extra_info, "get_extra_info"},
    {&async__py_tls_names.getpeercert, "getpeercert"},
    {&async__py_tls_names.is_closing, "is_closing"},
    {&async__py_tls_names.memory, "_casyncio_tls_memory"},
    {&async__py_tls_names.pause_reading, "pause_reading"},
    {&async__py_tls_names.pause_writing, "pause_writing"},
    {&async__py_tls_names.pending, "pending"},
    {&async__py_tls_names.read, "read"},
    {&async__py_tls_names.resume_reading, "resume_reading"},
    {&async__py_tls_names.resume_writing, "resume_writing"},
    {&async__py_tls_names.set_exception, "set_exception"},
    {&async__py_tls_names.set_result, "set_result"},
    {&async__py_tls_names.shutdown, "shutdown"},
    {&async__py_tls_names.sslobj, "_sslobj"},
    {&async__py_tls_names.time, "time"},
    {&async__py_tls_names.unwrap, "unwrap"},
    {&async__py_tls_names.warning, "warning"},
    {&async__py_tls_names.wrap_bio, "wrap_bio"},
    {&async__py_tls_names.write, "write"},
    {NULL},
};

static const struct {
    PyObject **where;
    const char *module, *name;
} asyncio_classes[] =
    {
        {&async__py_tls_classes.cancelled_error, "asyncio", "CancelledError"},
        {&async__py_tls_classes.buffered_protocol, "asyncio", "BufferedProtocol"},
        {&async__py_tls_classes.logger, "asyncio.log", "logger"},
        {&async__py_tls_classes.handshake_timeout, "asyncio.constants", "SSL_HANDSHAKE_TIMEOUT"},
        {&async__py_tls_classes.shutdown_timeout, "asyncio.constants", "SSL_SHUTDOWN_TIMEOUT"},
        {NULL},
},
  ssl_classes[] = {
      {&async__py_tls_classes.memory_bio, "ssl", "MemoryBIO"},
      {&async__py_tls_classes.ssl_object, "ssl", "SSLObject"},
      {&async__py_tls_classes.ssl_error, "ssl", "SSLError"},
      {&async__py_tls_classes.want_read, "ssl", "SSLWantReadError"},
      {&async__py_tls_classes.syscall_error, "ssl", "SSLSyscallError"},
      {&async__py_tls_classes.zero_return, "ssl", "SSLZeroReturnError"},
      {&async__py_tls_classes.certificate_error, "ssl", "CertificateError"},
      {NULL},
};

static const struct {
    Py_ssize_t *where;
    const char *name;
} asyncio_numbers[] = {
    {&async__py_tls_classes.read_kib, "FLOW_CONTROL_HIGH_WATER_SSL_READ"},
    {&async__py_tls_classes.write_kib, "FLOW_CONTROL_HIGH_WATER_SSL_WRITE"},
    {&async__py_tls_classes.warn_after, "LOG_THRESHOLD_FOR_CONNLOST_WRITES"},
    {NULL},
};

bool async__py_tls_debug(async__py_tls *self)
{
    PyObject *result = PyObject_CallMethodNoArgs(self->loop, async__py_tls_names.get_debug);
    int debug = result ? PyObject_IsTrue(result) : 0;

    Py_XDECREF(result);
    PyErr_Clear();
    return debug > 0;
}

int async__py_tls_limits(PyObject *high, PyObject *low, Py_ssize_t kib,
                         struct async__py_tls_limits *limits)
{
    struct async__py_tls_limits made = {.high = kib * 1024};

    if (low != Py_None) {
        made.low = PyNumber_AsSsize_t(low, NULL);
        if (made.low == -1 && PyErr_Occurred()) return -1;
        made.high = made.low > PY_SSIZE_T_MAX / 4 ? PY_SSIZE_T_MAX : made.low * 4;
    }
    if (high != Py_None) {
        made.high = PyNumber_AsSsize_t(high, NULL);
        if (made.high == -1 && PyErr_Occurred()) return -1;
    }
    if (low == Py_None) made.low = made.high / 4;
    if (made.high < made.low || made.low < 0) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", made.high,
                     made.low);
        return -1;
    }
    *limits = made;
    return 0;
}

/* ---- making one ---- */

int async__py_tls_set_sslobj(async__py_tls *self, PyObject *sslobj)
{
    bool direct = (PyObject *)Py_TYPE(sslobj) == async__py_tls_classes.ssl_object;
    PyObject *read = NULL, *write = NULL, *shutdown = NULL, *target;

    target = direct ? PyObject_GetAttr(sslobj, async__py_tls_names.sslobj) : Py_NewRef(sslobj);
    if (target) read = PyObject_GetAttr(target, async__py_tls_names.read);
    if (read) write = PyObject_GetAttr(target, async__py_tls_names.write);
    if (write)
        shutdown = PyObject_GetAttr(target, direct ? async__py_tls_names.shutdown
                                                   : async__py_tls_names.unwrap);
    Py_XDECREF(target);
    if (!shutdown) {
        Py_XDECREF(read);
        Py_XDECREF(write);
        return -1;
    }
    self->direct = direct;
    Py_XSETREF(self->sslobj, Py_NewRef(sslobj));
    Py_XSETREF(self->ssl_read, read);
    Py_XSETREF(self->ssl_write, write);
    Py_XSETREF(self->ssl_shutdown, shutdown);
    return 0;
}

/* A type of its own: a bytearray could be made shorter by a program that finds it. */
struct memory {
    PyObject_HEAD char data[ASYNC__PY_TLS_MEMORY];
};

static PyTypeObject *memory_type;

static int memory_getbuffer(struct memory *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)self, self->data, sizeof self->data, 0, flags);
}

static void memory_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_Free(self);
    Py_DECREF(type);
}

static PyType_Slot memory_slots[] = {
    {Py_bf_getbuffer, memory_getbuffer},
    {Py_tp_dealloc, memory_dealloc},
    {0, NULL},
};

static PyType_Spec memory_spec = {
    .name = "casyncio._casyncio._TLSMemory",
    .basicsize = sizeof(struct memory),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = memory_slots,
};

/* The memory of the loop, which is made at its first connection. A loop that takes no attributes
 * has none: then the connection has its own. What lies in it is never read before it is written, so
 * it is not cleared: what nobody uses is no memory. */
static PyObject *loop_memory(PyObject *loop)
{
    PyObject *memory = PyObject_GetAttr(loop, async__py_tls_names.memory);

    if (memory && Py_IS_TYPE(memory, memory_type)) return memory;
    PyErr_Clear();
    Py_XDECREF(memory);
    memory = (PyObject *)PyObject_New(struct memory, memory_type);
    if (memory && PyObject_SetAttr(loop, async__py_tls_names.memory, memory) < 0) PyErr_Clear();
    return memory;
}

static int take_memory(async__py_tls *self)
{
    self->storage = loop_memory(self->loop);
    if (!self->storage) return -1;
    self->memory = ((struct memory *)self->storage)->data;
    return 0;
}

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

/* The two BIOs, and the SSL object between them. */
static int wrap(async__py_tls *self)
{
    self->incoming = PyObject_CallNoArgs(async__py_tls_classes.memory_bio);
    self->outgoing = PyObject_CallNoArgs(async__py_tls_classes.memory_bio);
    if (!self->incoming || !self->outgoing) return -1;
    self->incoming_write = PyObject_GetAttr(self->incoming, async__py_tls_names.write);
    self->outgoing_read = PyObject_GetAttr(self->outgoing, async__py_tls_names.read);
    if (!self->incoming_write || !self->outgoing_read) return -1;
    PyObject *wrap_bio = PyObject_GetAttr(self->sslcontext, async__py_tls_names.wrap_bio);
    PyObject *args = Py_BuildValue("(OO)", self->incoming, self->outgoing);
    PyObject *options =
        Py_BuildValue("{sOsO}", "server_side", self->server_side ? Py_True : Py_False,
                      "server_hostname", self->server_hostname);
    PyObject *sslobj = wrap_bio && args && options ? PyObject_Call(wrap_bio, args, options) : NULL;
    Py_XDECREF(wrap_bio);
    Py_XDECREF(args);
    Py_XDECREF(options);
    int result = sslobj ? async__py_tls_set_sslobj(self, sslobj) : -1;
    Py_XDECREF(sslobj);
    return result;
}

int async__py_tls_set_protocol(async__py_tls *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, async__py_tls_classes.buffered_protocol);

    if (buffered < 0) return -1;
    self->app_is_buffered = buffered;
    Py_XSETREF(self->app_protocol, Py_NewRef(protocol));
    return 0;
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
    self->app_state = call_made ? ASYNC__PY_TLS_NEW : ASYNC__PY_TLS_MADE;
    self->handshake_timeout = take_timeout(handshake_timeout, "ssl_handshake_timeout",
                                           async__py_tls_classes.handshake_timeout);
    if (self->handshake_timeout)
        self->shutdown_timeout = take_timeout(shutdown_timeout, "ssl_shutdown_timeout",
                                              async__py_tls_classes.shutdown_timeout);
    if (self->shutdown_timeout && take_context(self, context, hostname) == 0 &&
        async__py_tls_set_protocol(self, protocol) == 0 && wrap(self) == 0 &&
        take_memory(self) == 0 &&
        async__py_tls_limits(Py_None, Py_None, async__py_tls_classes.read_kib,
                             &self->incoming_limits) == 0 &&
        async__py_tls_limits(Py_None, Py_None, async__py_tls_classes.write_kib,
                             &self->outgoing_limits) == 0)
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
    offsetof(async__py_tls, sslobj),
    offsetof(async__py_tls, ssl_read),
    offsetof(async__py_tls, ssl_write),
    offsetof(async__py_tls, ssl_shutdown),
    offsetof(async__py_tls, extra),
    offsetof(async__py_tls, loop),
    offsetof(async__py_tls, server_hostname),
    offsetof(async__py_tls, handshake_timeout),
    offsetof(async__py_tls, shutdown_timeout),
    offsetof(async__py_tls, incoming),
    offsetof(async__py_tls, outgoing),
    offsetof(async__py_tls, incoming_write),
    offsetof(async__py_tls, outgoing_read),
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

bool async__py_is_tls(PyObject *protocol) { return Py_IS_TYPE(protocol, async__py_tls_type); }

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

PyObject *async__py_tls_extra_info(async__py_tls *self, PyObject *name, PyObject *fallback)
{
    PyObject *found = self->extra ? PyDict_GetItemWithError(self->extra, name) : NULL;

    if (found || PyErr_Occurred()) return Py_XNewRef(found);
    if (!self->transport) return Py_NewRef(fallback);
    PyObject *asked[] = {self->transport, name, fallback};
    return PyObject_VectorcallMethod(async__py_tls_names.get_extra_info, asked, 3, NULL);
}

static PyObject *get_extra_info(async__py_tls *self, PyObject *args)
{
    PyObject *name, *fallback = Py_None;

    if (!PyArg_ParseTuple(args, "O|O", &name, &fallback)) return NULL;
    return async__py_tls_extra_info(self, name, fallback);
}

static PyObject *get_sslobj(async__py_tls *self, void *unused)
{
    return Py_NewRef(self->sslobj ? self->sslobj : Py_None);
}

static int set_sslobj(async__py_tls *self, PyObject *value, void *unused)
{
    if (value) return async__py_tls_set_sslobj(self, value);
    PyErr_SetString(PyExc_AttributeError, "_sslobj cannot be deleted");
    return -1;
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
    METHOD("_fatal_error", async__py_tls_fatal_error, METH_VARARGS | METH_KEYWORDS),
    METHOD("_wakeup_waiter", async__py_tls_wakeup_waiter, METH_VARARGS | METH_KEYWORDS),
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
    OBJECT("_incoming", incoming),
    OBJECT("_outgoing", outgoing),
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

static int find_asyncio(void)
{
    for (size_t i = 0; asyncio_classes[i].where; i++) {
        *asyncio_classes[i].where =
            async__py_import(asyncio_classes[i].module, asyncio_classes[i].name);
        if (!*asyncio_classes[i].where) return -1;
    }
    for (size_t i = 0; asyncio_numbers[i].where; i++) {
        PyObject *number = async__py_import("asyncio.constants", asyncio_numbers[i].name);
        if (!number) return -1;
        *asyncio_numbers[i].where = PyNumber_AsSsize_t(number, NULL);
        Py_DECREF(number);
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* A Python without ssl is no error, until somebody wants TLS. */
static int find_ssl(void)
{
    async__py_tls_classes.ssl = PyImport_ImportModule("ssl");
    if (!async__py_tls_classes.ssl && PyErr_ExceptionMatches(PyExc_ImportError)) {
        PyErr_Clear();
        return 0;
    }
    for (size_t i = 0; async__py_tls_classes.ssl && ssl_classes[i].where; i++) {
        *ssl_classes[i].where = async__py_import(ssl_classes[i].module, ssl_classes[i].name);
        if (!*ssl_classes[i].where) return -1;
    }
    return async__py_tls_classes.ssl ? 0 : -1;
}

int async__py_add_tls(PyObject *module)
{
    if (async__py_intern(names) < 0 || find_asyncio() < 0 || find_ssl() < 0 ||
        async__py_tls_add_window(module) < 0 || async__py_tls_add_transport(module) < 0)
        return -1;
    memory_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &memory_spec, NULL);
    if (!memory_type) return -1;
    async__py_tls_type = async__py_add_type(module, &spec, async__py_tls_classes.buffered_protocol);
    if (!async__py_tls_type) return -1;
    return 0;
}
