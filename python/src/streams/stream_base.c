/* stream_base.c - what the classes of the streams are made of: a __dict__, weak references,
 * attributes that hold objects, and questions to loops, transports and futures, which may be
 * anybody's.
 *
 * Each class has two bases: one of ours, which decides how it lies in memory (the layout of
 * asyncio's own classes differs between versions of Python), and asyncio's class of the same
 * name. */
#include "stream.h"

#include <structmember.h>

static PyTypeObject *base_type;
static PyObject *get_event_loop;
static PyObject *name_done, *name_set_result, *name_set_exception;

bool async__py_stream_dies(PyObject *self)
{
    if (PyObject_CallFinalizerFromDealloc(self) < 0) return false;
    PyObject_GC_UnTrack(self);
    if (((async__py_stream *)self)->weak_references) PyObject_ClearWeakRefs(self);
    return true;
}

void async__py_stream_free(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    Py_CLEAR(((async__py_stream *)self)->dict);
    type->tp_free(self);
    Py_DECREF(type);
}

static void base_dealloc(PyObject *self)
{
    if (async__py_stream_dies(self)) async__py_stream_free(self);
}

static int base_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((async__py_stream *)self)->dict);
    return 0;
}

static int base_clear(PyObject *self)
{
    Py_CLEAR(((async__py_stream *)self)->dict);
    return 0;
}

static PyMemberDef base_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(async__py_stream, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(async__py_stream, weak_references), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef base_getset[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot base_slots[] = {
    {Py_tp_dealloc, base_dealloc}, {Py_tp_traverse, base_traverse}, {Py_tp_clear, base_clear},
    {Py_tp_members, base_members}, {Py_tp_getset, base_getset},     {0, NULL},
};

static PyType_Spec base_spec = {
    .name = "casyncio._casyncio.StreamBase",
    .basicsize = sizeof(async__py_stream),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = base_slots,
};

PyTypeObject *async__py_add_stream_type(PyObject *module, PyType_Spec *spec, PyTypeObject *parent)
{
    PyObject *theirs = async__py_import("asyncio.streams", strrchr(spec->name, '.') + 1);
    if (!theirs) return NULL;
    PyObject *bases = PyTuple_Pack(2, parent ? parent : base_type, theirs);
    Py_DECREF(theirs);
    if (!bases) return NULL;
    PyTypeObject *type = async__py_add_type(module, spec, bases);
    Py_DECREF(bases);
    return type;
}

/* ---- attributes ---- */

PyObject *async__py_stream_get(PyObject *self, void *offset)
{
    PyObject *value = *(PyObject **)((char *)self + (Py_ssize_t)offset);

    return Py_NewRef(value ? value : Py_None);
}

int async__py_stream_set(PyObject *self, PyObject *value, void *offset)
{
    PyObject **where = (PyObject **)((char *)self + (Py_ssize_t)offset);

    Py_XSETREF(*where, value == Py_None ? NULL : Py_XNewRef(value));
    return 0;
}

/* ---- questions ---- */

int async__py_ask_bool(PyObject *object, PyObject *method)
{
    PyObject *result = async__py_ask(object, method);
    if (!result) return -1;
    int truth = PyObject_IsTrue(result);
    Py_DECREF(result);
    return truth;
}

int async__py_tell(PyObject *object, PyObject *method, PyObject *argument)
{
    PyObject *args[] = {object ? object : Py_None, argument};
    PyObject *result = PyObject_VectorcallMethod(method, args, argument ? 2 : 1, NULL);

    Py_XDECREF(result);
    return result ? 0 : -1;
}

int async__py_future_end(PyObject *future, PyObject *exception)
{
    int done = async__py_ask_bool(future, name_done);

    if (done) return done < 0 ? -1 : 0;
    if (exception) return async__py_tell(future, name_set_exception, exception);
    return async__py_tell(future, name_set_result, Py_None);
}

enum async__py_outcome async__py_stored_error(PyObject *exception)
{
    if (!PyExceptionInstance_Check(exception) && !PyExceptionClass_Check(exception)) {
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    } else if (PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)) {
        /* Whoever awaits would take that for a result. */
        PyErr_SetString(PyExc_RuntimeError, "coroutine raised StopIteration");
    } else if (PyExceptionInstance_Check(exception)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    } else {
        PyErr_SetNone(exception);
    }
    return ASYNC__PY_FAILED;
}

PyObject *async__py_stream_loop(PyObject *loop)
{
    if (loop && loop != Py_None) return Py_NewRef(loop);
    return PyObject_CallNoArgs(get_event_loop);
}

int async__py_add_stream_base(PyObject *module)
{
    static const struct async__py_name names[] = {{&name_done, "done"},
                                                  {&name_set_result, "set_result"},
                                                  {&name_set_exception, "set_exception"},
                                                  {0}};

    if (async__py_intern(names) < 0) return -1;
    get_event_loop = async__py_import("asyncio.events", "get_event_loop");
    if (!get_event_loop) return -1;
    base_type = async__py_add_type(module, &base_spec, NULL);
    return base_type ? 0 : -1;
}
