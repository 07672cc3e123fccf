/* tls_transport.c - what the application holds of a TLS connection: its transport.
 *
 * All is asked of the SSLProtocol. asyncio's transport forgets that at a second close(), so that
 * who keeps a transport does not keep a context, and raises AttributeError from then on; here the
 * protocol stays and lets go of the context, and that only when the connection is lost.
 *
 * The type is a subclass of asyncio's _FlowControlMixin, as asyncio's own is, because
 * loop.sendfile() insists on that. The base's slots lie before our part; they are not used, but
 * somebody may put something there, so they are looked after. */
#include "tls_transport.h"

#include <structmember.h>

struct part {
    PyObject *dict, *weakrefs;
    async__py_tls *tls; /* NULL only after the garbage collector */
};

static PyTypeObject *type;
static PyObject *no_bytes;

#define PART(self) ((struct part *)((char *)(self) + async__py_transport_base_size))

PyObject *async__py_tls_transport_new(async__py_tls *tls)
{
    PyObject *self = type->tp_alloc(type, 0);

    if (self) PART(self)->tls = (async__py_tls *)Py_NewRef((PyObject *)tls);
    return self;
}

static async__py_tls *tls_of(PyObject *self)
{
    async__py_tls *tls = PART(self)->tls;

    if (!tls) PyErr_SetString(PyExc_RuntimeError, "the transport is garbage");
    return tls;
}

/* ---- unmaking ---- */

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    int code = async__py_transport_base_traverse(self, visit, arg);
    if (code) return code;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(PART(self)->dict);
    Py_VISIT(PART(self)->tls);
    return 0;
}

static int clear(PyObject *self)
{
    async__py_transport_base_clear(self);
    Py_CLEAR(PART(self)->dict);
    Py_CLEAR(PART(self)->tls);
    return 0;
}

static void finalize(PyObject *self)
{
    async__py_tls *tls = PART(self)->tls;
    if (!tls || tls->app_closed) return;
    PyObject *error = PyErr_Occurred() ? async__py_error_take() : NULL;
    tls->app_closed = true;
    if (PyErr_ResourceWarning(self, 1,
                              "unclosed transport <asyncio._SSLProtocolTransport object>") < 0)
        PyErr_WriteUnraisable(self);
    if (error) async__py_error_set(error);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *of = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
    PyObject_GC_UnTrack(self);
    if (PART(self)->weakrefs) PyObject_ClearWeakRefs(self);
    clear(self);
    of->tp_free(self);
    Py_DECREF(of);
}

/* ---- writing ---- */

static PyObject *do_write(PyObject *self, PyObject *data)
{
    async__py_tls *tls = tls_of(self);

    if (!tls) return NULL;
    Py_INCREF(tls);
    int result = async__py_tls_write(tls, data);
    Py_DECREF(tls);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_write(PyObject *self, PyObject *data)
{
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data))
        return PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %s",
                            Py_TYPE(data)->tp_name);
    Py_ssize_t length = PyObject_Length(data);
    if (length < 0) return NULL;
    if (length == 0) Py_RETURN_NONE;
    return do_write(self, data);
}

/* As one piece: fewer records, and one packet. */
static PyObject *writelines(PyObject *self, PyObject *pieces)
{
    PyObject *data = async__py_call_method(no_bytes, "join", "O", pieces), *result;

    if (!data) return NULL;
    result = PyBytes_GET_SIZE(data) > 0 ? do_write(self, data) : Py_NewRef(Py_None);
    Py_DECREF(data);
    return result;
}

static PyObject *write_eof(PyObject *self, PyObject *unused)
{
    PyErr_SetNone(PyExc_NotImplementedError);
    return NULL;
}

static PyObject *can_write_eof(PyObject *self, PyObject *unused) { Py_RETURN_FALSE; }

static PyObject *append_write_backlog(PyObject *self, PyObject *data)
{
    async__py_tls *tls = tls_of(self);

    if (!tls || async__py_tls_append_backlog(tls, data) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- closing ---- */

static PyObject *py_close(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);

    if (!tls) return NULL;
    if (tls->app_closed) {
        tls->closed_again = true;
        async__py_tls_release(tls);
        Py_RETURN_NONE;
    }
    tls->app_closed = true;
    Py_INCREF(tls);
    int result = async__py_tls_start_shutdown(tls);
    Py_DECREF(tls);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *force_close(PyObject *self, PyObject *exception)
{
    async__py_tls *tls = tls_of(self);

    if (!tls) return NULL;
    tls->app_closed = true;
    Py_INCREF(tls);
    int result = async__py_tls_abort(tls, exception == Py_None ? NULL : exception);
    Py_DECREF(tls);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *py_abort(PyObject *self, PyObject *unused) { return force_close(self, Py_None); }

/* When the transport below closes, by an error of the network or because somebody has closed it,
 * nothing that is written will arrive, and connection_lost() is on its way. A StreamWriter's drain()
 * gives way to it only if it knows. Until 3.12 asyncio's does not. */
static PyObject *is_closing(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = PART(self)->tls;

    if (!tls || tls->app_closed || !tls->transport) return PyBool_FromLong(!tls || tls->app_closed);
    PyObject *below = Py_NewRef(tls->transport);
    PyObject *closing = PyObject_CallMethodNoArgs(below, async__py_tls_names.is_closing);
    Py_DECREF(below);
    if (closing || (!PyErr_ExceptionMatches(PyExc_AttributeError) &&
                    !PyErr_ExceptionMatches(PyExc_NotImplementedError)))
        return closing;
    PyErr_Clear(); /* a transport that does not say */
    Py_RETURN_FALSE;
}

/* ---- reading ---- */

static PyObject *is_reading(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);
    return tls ? PyBool_FromLong(!tls->app_paused) : NULL;
}

static PyObject *pause_reading(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);

    if (!tls) return NULL;
    tls->app_paused = true;
    Py_RETURN_NONE;
}

static PyObject *resume_reading(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);

    if (!tls || async__py_tls_resume(tls) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- limits ---- */

static PyObject *set_write_buffer_limits(PyObject *self, PyObject *args, PyObject *names)
{
    async__py_tls *tls = tls_of(self);

    if (!tls ||
        async__py_parse_limits(args, names, async__py_tls_classes.write_kib * 1024,
                               &tls->outgoing_limits) < 0 ||
        async__py_tls_control_writing(tls) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *set_read_buffer_limits(PyObject *self, PyObject *args, PyObject *names)
{
    async__py_tls *tls = tls_of(self);

    if (!tls ||
        async__py_parse_limits(args, names, async__py_tls_classes.read_kib * 1024,
                               &tls->incoming_limits) < 0 ||
        async__py_tls_control_reading(tls) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *get_write_buffer_limits(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);
    return tls ? Py_BuildValue("(nn)", tls->outgoing_limits.low, tls->outgoing_limits.high) : NULL;
}

static PyObject *get_read_buffer_limits(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);
    return tls ? Py_BuildValue("(nn)", tls->incoming_limits.low, tls->incoming_limits.high) : NULL;
}

static PyObject *get_write_buffer_size(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);
    Py_ssize_t size = tls ? async__py_records_pending(tls->records.outgoing) : -1;
    return size >= 0 ? PyLong_FromSsize_t(size + tls->backlog_size) : NULL;
}

static PyObject *get_read_buffer_size(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);
    Py_ssize_t size = tls ? async__py_records_pending(tls->records.incoming) : -1;
    return size >= 0 ? PyLong_FromSsize_t(size) : NULL;
}

/* ---- the rest ---- */

static PyObject *get_extra_info(PyObject *self, PyObject *args, PyObject *names)
{
    static char *keywords[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;
    async__py_tls *tls = tls_of(self);

    if (!tls || !PyArg_ParseTupleAndKeywords(args, names, "O|O", keywords, &name, &fallback))
        return NULL;
    return async__py_tls_extra_info(tls, name, fallback);
}

static PyObject *set_protocol(PyObject *self, PyObject *protocol)
{
    async__py_tls *tls = tls_of(self);

    if (!tls || async__py_tls_set_protocol(tls, protocol) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *get_protocol(PyObject *self, PyObject *unused)
{
    async__py_tls *tls = tls_of(self);

    if (!tls) return NULL;
    return async__py_or_none(tls->app_protocol);
}

static PyObject *get_loop(PyObject *self, void *unused)
{
    async__py_tls *tls = tls_of(self);
    return tls ? Py_NewRef(tls->loop) : NULL;
}

static PyObject *get_ssl_protocol(PyObject *self, void *unused)
{
    return Py_XNewRef((PyObject *)tls_of(self));
}

static PyObject *get_protocol_paused(PyObject *self, void *unused)
{
    async__py_tls *tls = tls_of(self);
    return tls ? PyBool_FromLong(tls->app_write_paused) : NULL;
}

static PyObject *get_closed(PyObject *self, void *unused)
{
    async__py_tls *tls = PART(self)->tls;

    return PyBool_FromLong(!tls || tls->app_closed);
}

#define METHOD(name, function, flags)                                                              \
    {                                                                                              \
        name, (PyCFunction)(void (*)(void))(function), flags, NULL                                 \
    }

static PyMethodDef methods[] = {
    METHOD("write", py_write, METH_O),
    METHOD("writelines", writelines, METH_O),
    METHOD("write_eof", write_eof, METH_NOARGS),
    METHOD("can_write_eof", can_write_eof, METH_NOARGS),
    METHOD("close", py_close, METH_NOARGS),
    METHOD("abort", py_abort, METH_NOARGS),
    METHOD("is_closing", is_closing, METH_NOARGS),
    METHOD("is_reading", is_reading, METH_NOARGS),
    METHOD("pause_reading", pause_reading, METH_NOARGS),
    METHOD("resume_reading", resume_reading, METH_NOARGS),
    METHOD("set_write_buffer_limits", set_write_buffer_limits, METH_VARARGS | METH_KEYWORDS),
    METHOD("get_write_buffer_limits", get_write_buffer_limits, METH_NOARGS),
    METHOD("get_write_buffer_size", get_write_buffer_size, METH_NOARGS),
    METHOD("set_read_buffer_limits", set_read_buffer_limits, METH_VARARGS | METH_KEYWORDS),
    METHOD("get_read_buffer_limits", get_read_buffer_limits, METH_NOARGS),
    METHOD("get_read_buffer_size", get_read_buffer_size, METH_NOARGS),
    METHOD("get_extra_info", get_extra_info, METH_VARARGS | METH_KEYWORDS),
    METHOD("set_protocol", set_protocol, METH_O),
    METHOD("get_protocol", get_protocol, METH_NOARGS),
    METHOD("_force_close", force_close, METH_O),
    METHOD("_test__append_write_backlog", append_write_backlog, METH_O),
    {NULL},
};

static PyGetSetDef attributes[] = {
    {"_loop", get_loop, NULL, NULL, NULL},
    {"_ssl_protocol", get_ssl_protocol, NULL, NULL, NULL},
    {"_protocol_paused", get_protocol_paused, NULL, NULL, NULL},
    {"_closed", get_closed, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL},
};

static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct part, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct part, weakrefs), READONLY, NULL},
    {NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The transport of an application whose connection has TLS."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_finalize, finalize},
    {Py_tp_traverse, traverse},
    {Py_tp_clear, clear},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "casyncio._casyncio._SSLProtocolTransport",
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

/* What asyncio asks of a transport's class. */
static int add_marks(void)
{
    PyObject *modes = async__py_import("asyncio.constants", "_SendfileMode");
    PyObject *fallback = modes ? PyObject_GetAttrString(modes, "FALLBACK") : NULL;
    int result = -1;

    if (fallback)
        result = PyObject_SetAttrString((PyObject *)type, "_sendfile_compatible", fallback);
    if (result == 0)
        result = PyObject_SetAttrString((PyObject *)type, "_start_tls_compatible", Py_True);
    Py_XDECREF(modes);
    Py_XDECREF(fallback);
    return result;
}

int async__py_add_tls_transport(PyObject *module)
{
    spec.basicsize = (int)(async__py_transport_base_size + (Py_ssize_t)sizeof(struct part));
    for (PyMemberDef *member = members; member->name; member++)
        member->offset += async__py_transport_base_size;
    no_bytes = PyBytes_FromStringAndSize(NULL, 0);
    if (!no_bytes) return -1;
    type = async__py_add_type(module, &spec, (PyObject *)async__py_transport_base);
    return type ? add_marks() : -1;
}
