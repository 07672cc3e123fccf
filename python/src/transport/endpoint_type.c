/* endpoint_type.c - the base of the transports' types: what Python sees of an endpoint.
 *
 * It is a subclass of asyncio's _FlowControlMixin, which sendfile's fall-back asks for; but what
 * that class does is done in endpoint.c. Of its slots only `_extra` is used; the others are looked
 * after all the same, as somebody may put something there. */
#include "../loop/handle.h"
#include "endpoint.h"

#include <stddef.h>
#include <structmember.h>

typedef async__py_endpoint endpoint;

static PyTypeObject *base_type;

#define ENDPOINT ASYNC__PY_ENDPOINT

static PyObject *name_done, *name_set_result;

/* ---- closing ---- */

static void flush(endpoint *self)
{
    if (self->kind->flush) self->kind->flush(self);
}

static PyObject *endpoint_close(PyObject *object, PyObject *none)
{
    endpoint *self = ENDPOINT(object);

    (void)none;
    if (!self->closing) flush(self);
    if (self->closing) Py_RETURN_NONE;
    self->closing = 1;
    async__py_endpoint_unwatch(self, &self->reader);
    if (self->size == 0) {
        async__py_endpoint_unwatch(self, &self->writer);
        if (async__py_endpoint_lost_soon(self, NULL) < 0) return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *endpoint_abort(PyObject *object, PyObject *none)
{
    (void)none;
    flush(ENDPOINT(object));
    if (async__py_endpoint_force_close(ENDPOINT(object), NULL) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *endpoint_force_close(PyObject *object, PyObject *exception)
{
    if (async__py_endpoint_force_close(ENDPOINT(object), exception) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *endpoint_fatal_error(PyObject *object, PyObject *args)
{
    PyObject *exception;
    const char *message = "Fatal error on transport";

    if (!PyArg_ParseTuple(args, "O!|s", PyExc_BaseException, &exception, &message)) return NULL;
    async__py_error_set(Py_NewRef(exception));
    async__py_endpoint_fatal(ENDPOINT(object), message);
    Py_RETURN_NONE;
}

/* ---- reading, or not ---- */

static PyObject *endpoint_pause_reading(PyObject *object, PyObject *none)
{
    endpoint *self = ENDPOINT(object);

    (void)none;
    if (self->closing || self->paused) Py_RETURN_NONE;
    self->paused = 1;
    async__py_endpoint_unwatch(self, &self->reader);
    async__py_endpoint_debug(self, "%r pauses reading", NULL);
    Py_RETURN_NONE;
}

static PyObject *endpoint_resume_reading(PyObject *object, PyObject *none)
{
    endpoint *self = ENDPOINT(object);

    (void)none;
    if (self->closing || !self->paused) Py_RETURN_NONE;
    if (async__py_endpoint_watch(self, &self->reader) < 0) return NULL;
    self->paused = 0;
    async__py_endpoint_debug(self, "%r resumes reading", NULL);
    Py_RETURN_NONE;
}

static PyObject *endpoint_is_reading(PyObject *object, PyObject *none)
{
    endpoint *self = ENDPOINT(object);

    (void)none;
    return PyBool_FromLong(!self->closing && !self->paused);
}

/* ---- flow control ---- */

static PyObject *endpoint_get_write_buffer_size(PyObject *object, PyObject *none)
{
    (void)none;
    flush(ENDPOINT(object));
    return PyLong_FromSsize_t(ENDPOINT(object)->size);
}

static PyObject *endpoint_get_write_buffer_limits(PyObject *object, PyObject *none)
{
    (void)none;
    return Py_BuildValue("(nn)", ENDPOINT(object)->limits.low, ENDPOINT(object)->limits.high);
}

static PyObject *endpoint_set_write_buffer_limits(PyObject *object, PyObject *args,
                                                  PyObject *keywords)
{
    endpoint *self = ENDPOINT(object);

    if (async__py_parse_limits(args, keywords, ASYNC__PY_HIGH_WATER, &self->limits) < 0)
        return NULL;
    async__py_maybe_pause(self);
    Py_RETURN_NONE;
}

/* ---- what it is made of ---- */

static PyObject *endpoint_set_protocol(PyObject *object, PyObject *protocol)
{
    Py_XSETREF(ENDPOINT(object)->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *endpoint_get_protocol(PyObject *object, PyObject *none)
{
    (void)none;
    return async__py_or_none(ENDPOINT(object)->protocol);
}

static PyObject *endpoint_is_closing(PyObject *object, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(ENDPOINT(object)->closing);
}

static PyObject *endpoint_repr(PyObject *object)
{
    endpoint *self = ENDPOINT(object);
    const char *state = !self->sock ? " closed" : self->closing ? " closing" : "";
    bool open = self->loop->engine;

    return PyUnicode_FromFormat("<%s%s fd=%d read=%s write=<%s, bufsize=%zd>>", self->kind->name,
                                state, self->fd, open && self->reader.armed ? "polling" : "idle",
                                open && self->writer.armed ? "polling" : "idle", self->size);
}

/* After connection_made: reading begins, and whoever waits for the connection goes on, be it in
 * vain. */
static PyObject *endpoint_begin(PyObject *object, PyObject *waiter)
{
    endpoint *self = ENDPOINT(object);
    PyObject *error = NULL, *result = Py_NewRef(Py_None);

    if (!self->closing && !self->paused &&
        (self->kind->begin ? self->kind->begin(self)
                           : async__py_endpoint_watch(self, &self->reader)) < 0)
        error = async__py_error_take();
    if (waiter != Py_None) {
        PyObject *done = PyObject_CallMethodNoArgs(waiter, name_done);
        int is_done = done ? PyObject_IsTrue(done) : -1;
        Py_XDECREF(done);
        if (is_done == 0)
            Py_SETREF(result, PyObject_CallMethodOneArg(waiter, name_set_result, Py_None));
        else if (is_done < 0)
            Py_CLEAR(result);
    }
    if (!error) return result;
    Py_XDECREF(result);
    async__py_error_set(error);
    return NULL;
}

/* tp_new has done it all, and the base's __init__ is not to undo it. */
int async__py_endpoint_init(PyObject *object, PyObject *args, PyObject *keywords)
{
    (void)object;
    (void)args;
    (void)keywords;
    return 0;
}

/* ---- unmaking ---- */

int async__py_endpoint_traverse(PyObject *object, visitproc visit, void *arg)
{
    endpoint *self = ENDPOINT(object);

    int code = async__py_transport_base_traverse(object, visit, arg);
    if (code) return code;
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->protocol);
    Py_VISIT(self->server);
    Py_VISIT(self->context);
    Py_VISIT(self->dict);
    Py_VISIT(Py_TYPE(object));
    return 0;
}

/* Not the loop, the context, nor the socket: the others of a cycle take care of themselves. */
int async__py_endpoint_clear(PyObject *object)
{
    endpoint *self = ENDPOINT(object);

    async__py_transport_base_clear(object);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->server);
    Py_CLEAR(self->dict);
    return 0;
}

/* Without the GIL the collector of any thread may find it, but the loop's thread alone may touch the
 * loop: it is handed over, alive again, and ends there. False: that cannot be. */
static bool hand_over(PyObject *object)
{
    async__py_loop *loop = ENDPOINT(object)->loop;
    PyObject *method = PyObject_GetAttrString(object, "abort");
    PyObject *handle = method ? async__py_shared_handle_new(loop, method, NULL, 0, NULL) : NULL;
    bool done = handle && async__py_handle_schedule_threadsafe(loop, handle) == 0;

    if (!done) PyErr_Clear();
    Py_XDECREF(handle);
    Py_XDECREF(method);
    return done;
}

static void finalize(PyObject *object)
{
    endpoint *self = ENDPOINT(object);
    if (!self->sock) return;
    PyObject *error = async__py_error_take();

    if (!ASYNC__PY_GIL && async__py_elsewhere(self->loop) && hand_over(object)) {
        if (PyErr_ResourceWarning(object, 1, "unclosed transport %R", object) < 0)
            PyErr_WriteUnraisable(object);
        if (error) async__py_error_set(error);
        return;
    }
    flush(self);
    if (PyErr_ResourceWarning(object, 1, "unclosed transport %R", object) < 0)
        async__py_loop_ignore(self->loop, object);
    self->lost++;
    async__py_endpoint_release(self);
    if (error) async__py_error_set(error);
}

void async__py_endpoint_dealloc(PyObject *object)
{
    endpoint *self = ENDPOINT(object);
    PyTypeObject *own = Py_TYPE(object);

    if (PyObject_CallFinalizerFromDealloc(object) < 0) return;
    PyObject_GC_UnTrack(object);
    if (self->weakrefs) PyObject_ClearWeakRefs(object);
    own->tp_clear(object);
    self->kind->drop(self);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->context);
    Py_CLEAR(self->loop);
    own->tp_free(object);
    Py_DECREF(own);
}

/* ---- the type ---- */

/* asyncio's own code, and its tests, look at these; and so may programs. */
static PyObject *get_object(PyObject *object, void *offset)
{
    return async__py_or_none(*(PyObject **)((char *)ENDPOINT(object) + (size_t)offset));
}

static PyObject *get_size(PyObject *object, void *offset)
{
    return PyLong_FromSsize_t(*(Py_ssize_t *)((char *)ENDPOINT(object) + (size_t)offset));
}

static PyObject *get_flag(PyObject *object, void *offset)
{
    return PyBool_FromLong(*((char *)ENDPOINT(object) + (size_t)offset));
}

static PyObject *get_fd(PyObject *object, void *none)
{
    (void)none;
    return PyLong_FromLong(ENDPOINT(object)->fd);
}

static PyObject *get_lost(PyObject *object, void *none)
{
    (void)none;
    return PyLong_FromUnsignedLong(ENDPOINT(object)->lost);
}

#define OFFSET(field) ((void *)offsetof(endpoint, field))

static PyGetSetDef getters[] = {
    {"_loop", get_object, NULL, NULL, OFFSET(loop)},
    {"_sock", get_object, NULL, NULL, OFFSET(sock)},
    {"_sock_fd", get_fd, NULL, NULL, NULL},
    {"_protocol", get_object, NULL, NULL, OFFSET(protocol)},
    {"_conn_lost", get_lost, NULL, NULL, NULL},
    {"_closing", get_flag, NULL, NULL, OFFSET(closing)},
    {"_paused", get_flag, NULL, NULL, OFFSET(paused)},
    {"_protocol_paused", get_flag, NULL, NULL, OFFSET(protocol_paused)},
    {"_high_water", get_size, NULL, NULL, OFFSET(limits.high)},
    {"_low_water", get_size, NULL, NULL, OFFSET(limits.low)},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {0},
};

static PyMethodDef methods[] = {
    {"close", endpoint_close, METH_NOARGS, "Closes, once all is written."},
    {"abort", endpoint_abort, METH_NOARGS, "Closes at once; what is not written is lost."},
    {"is_closing", endpoint_is_closing, METH_NOARGS, "Whether it is closing, or closed."},
    {"is_reading", endpoint_is_reading, METH_NOARGS, "Whether it receives."},
    {"pause_reading", endpoint_pause_reading, METH_NOARGS, "Receives no more."},
    {"resume_reading", endpoint_resume_reading, METH_NOARGS, "Receives again."},
    {"set_protocol", endpoint_set_protocol, METH_O, "Changes the protocol."},
    {"get_protocol", endpoint_get_protocol, METH_NOARGS, "The protocol."},
    {"get_write_buffer_size", endpoint_get_write_buffer_size, METH_NOARGS,
     "Bytes not yet written; and 8 for each datagram."},
    {"get_write_buffer_limits", endpoint_get_write_buffer_limits, METH_NOARGS,
     "(low, high), in bytes."},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))endpoint_set_write_buffer_limits,
     METH_VARARGS | METH_KEYWORDS,
     "When the protocol's pause_writing() and resume_writing() are called."},
    {"_force_close", endpoint_force_close, METH_O, NULL},
    {"_fatal_error", endpoint_fatal_error, METH_VARARGS, NULL},
    {"_call_connection_lost", async__py_endpoint_lost, METH_O, NULL},
    {"_begin", endpoint_begin, METH_O, NULL},
    {0},
};

/* The offsets of these two depend on the base class, and are set when the type is made. */
static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {0},
};

static PyType_Slot base_slots[] = {
    {Py_tp_dealloc, async__py_endpoint_dealloc},
    {Py_tp_finalize, finalize},
    {Py_tp_traverse, async__py_endpoint_traverse},
    {Py_tp_clear, async__py_endpoint_clear},
    {Py_tp_repr, endpoint_repr},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0},
};

PyTypeObject *async__py_add_endpoint_type(PyObject *module, const char *name, size_t size,
                                          PyType_Slot *slots, PyObject *also)
{
    PyObject *bases =
        also ? PyTuple_Pack(2, base_type, also) : PyTuple_Pack(1, (PyObject *)base_type);
    PyType_Spec spec = {
        .name = name,
        .basicsize = (int)(async__py_endpoint_offset + (Py_ssize_t)size),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
        .slots = slots,
    };
    PyTypeObject *type = bases ? async__py_add_type(module, &spec, bases) : NULL;

    Py_XDECREF(bases);
    return type;
}

static int make_base(PyObject *module)
{
    async__py_endpoint_offset = (async__py_transport_base_size + 15) & ~(Py_ssize_t)15;
    members[0].offset = async__py_endpoint_offset + (Py_ssize_t)offsetof(endpoint, dict);
    members[1].offset = async__py_endpoint_offset + (Py_ssize_t)offsetof(endpoint, weakrefs);
    PyType_Spec spec = {
        .name = "casyncio._casyncio.Endpoint",
        .basicsize = (int)(async__py_endpoint_offset + (Py_ssize_t)sizeof(endpoint)),
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
                 Py_TPFLAGS_DISALLOW_INSTANTIATION,
        .slots = base_slots,
    };
    base_type = async__py_add_type(module, &spec, (PyObject *)async__py_transport_base);
    return base_type ? 0 : -1;
}

int async__py_add_endpoint(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_done, "done"},
        {&name_set_result, "set_result"},
        {0},
    };

    if (async__py_intern(names) < 0 || async__py_add_endpoint_names() < 0) return -1;
    return make_base(module);
}
