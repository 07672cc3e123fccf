/* stream_flow.c - asyncio's FlowControlMixin, in C: what StreamWriter.drain() waits for. */
#include "stream.h"

typedef struct async__py_coroutine coroutine;
typedef enum async__py_outcome outcome;
typedef async__py_flow flow;

PyTypeObject *async__py_flow_type;

static PyObject *logger;
static PyObject *name_create_future, *name_get_debug;

static int flow_init(flow *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"loop", NULL};
    PyObject *loop = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, named, "|O:FlowControlMixin", names, &loop)) return -1;
    Py_XSETREF(self->loop, async__py_stream_loop(loop));
    return self->loop ? 0 : -1;
}

int async__py_flow_clear(flow *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->waiters);
    Py_CLEAR(self->base.dict);
    return 0;
}

int async__py_flow_traverse(flow *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->base.dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->waiters);
    return 0;
}

static void flow_dealloc(PyObject *self)
{
    if (!async__py_stream_dies(self)) return;
    async__py_flow_clear((flow *)self);
    async__py_stream_free(self);
}

/* Sets `paused`, which has to change; in debug mode says so. */
static PyObject *set_paused(flow *self, bool paused, const char *message)
{
    if (self->paused == paused) {
        PyErr_SetString(PyExc_AssertionError,
                        paused ? "writing is paused already" : "writing is not paused");
        return NULL;
    }
    self->paused = paused;
    int debug = async__py_ask_bool(self->loop, name_get_debug);
    if (debug < 0) return NULL;
    if (debug == 0) Py_RETURN_NONE;
    return async__py_call_method(logger, "debug", "sO", message, self);
}

/* Ends the waits of all who wait in drain(). */
static int wake(flow *self, PyObject *exception)
{
    int status = 0;

    for (Py_ssize_t i = 0; self->waiters && i < PyList_GET_SIZE(self->waiters) && status == 0;
         i++) {
        PyObject *waiter = Py_NewRef(PyList_GET_ITEM(self->waiters, i));
        status = async__py_future_end(waiter, exception);
        Py_DECREF(waiter);
    }
    return status;
}

static PyObject *pause_writing(flow *self, PyObject *Py_UNUSED(ignored))
{
    return set_paused(self, true, "%r pauses writing");
}

static PyObject *resume_writing(flow *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *result = set_paused(self, false, "%r resumes writing");

    if (result && wake(self, NULL) < 0) Py_CLEAR(result);
    return result;
}

PyObject *async__py_flow_lost(flow *self, PyObject *exception)
{
    self->lost = true;
    if (self->paused && wake(self, exception == Py_None ? NULL : exception) < 0) return NULL;
    Py_RETURN_NONE;
}

static outcome drain_begin(coroutine *c, PyObject **result)
{
    flow *self = (flow *)c->owner;

    if (self->lost) {
        PyErr_SetString(PyExc_ConnectionResetError, "Connection lost");
        return ASYNC__PY_FAILED;
    }
    if (!self->paused) {
        *result = Py_NewRef(Py_None);
        return ASYNC__PY_DONE;
    }
    if (!self->waiters && !(self->waiters = PyList_New(0))) return ASYNC__PY_FAILED;
    c->waiter = async__py_ask(self->loop, name_create_future);
    if (!c->waiter) return ASYNC__PY_FAILED;
    outcome what = async__py_await(c, Py_NewRef(c->waiter));
    if (what == ASYNC__PY_WAITS && PyList_Append(self->waiters, c->waiter) < 0)
        return ASYNC__PY_FAILED;
    return what;
}

static outcome drain_resume(coroutine *c, PyObject *value, PyObject **result)
{
    PyObject *waiters = ((flow *)c->owner)->waiters, *error = value ? NULL : async__py_error_take();
    int status = 0;

    for (Py_ssize_t i = 0; waiters && i < PyList_GET_SIZE(waiters); i++) {
        if (PyList_GET_ITEM(waiters, i) != c->waiter) continue;
        status = PyList_SetSlice(waiters, i, i + 1, NULL);
        break;
    }
    if (error) async__py_error_set(error);
    if (error || status < 0) return ASYNC__PY_FAILED;
    *result = Py_NewRef(Py_None);
    return ASYNC__PY_DONE;
}

static const struct async__py_coroutine_kind drain_kind = {
    .qualname = "FlowControlMixin._drain_helper", .begin = drain_begin, .resume = drain_resume};

static PyObject *drain_helper(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_coroutine(&drain_kind, self, NULL);
}

static PyObject *no_close_waiter(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(stream))
{
    PyErr_SetNone(PyExc_NotImplementedError);
    return NULL;
}

static PyObject *get_waiters(flow *self, void *Py_UNUSED(closure))
{
    if (!self->waiters) self->waiters = PyList_New(0);
    return Py_XNewRef(self->waiters);
}

/* ---- the type ---- */

static PyMethodDef methods[] = {
    {"pause_writing", (PyCFunction)pause_writing, METH_NOARGS, NULL},
    {"resume_writing", (PyCFunction)resume_writing, METH_NOARGS, NULL},
    {"connection_lost", (PyCFunction)async__py_flow_lost, METH_O, NULL},
    {"_drain_helper", drain_helper, METH_NOARGS, NULL},
    {"_get_close_waiter", no_close_waiter, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    ASYNC__PY_OBJECT("_loop", flow, loop),
    {"_drain_waiters", (getter)get_waiters, NULL, NULL, NULL},
    ASYNC__PY_FLAG("_paused", flow, paused),
    ASYNC__PY_FLAG("_connection_lost", flow, lost),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What drain() waits for: asyncio.streams.FlowControlMixin in C."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, flow_init},
    {Py_tp_dealloc, flow_dealloc},
    {Py_tp_traverse, async__py_flow_traverse},
    {Py_tp_clear, async__py_flow_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "casyncio.FlowControlMixin",
    .basicsize = sizeof(flow),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int async__py_add_stream_flow(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_create_future, "create_future"}, {&name_get_debug, "get_debug"}, {0}};

    if (async__py_intern(names) < 0) return -1;
    logger = async__py_import("asyncio.log", "logger");
    if (!logger) return -1;
    async__py_flow_type = async__py_add_stream_type(module, &spec, NULL);
    return async__py_flow_type ? 0 : -1;
}
