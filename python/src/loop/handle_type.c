/* handle_type.c - the types of handles: subclasses of asyncio's, whose slots are found here. */
#include "handle_kind.h"

#include <structmember.h>

static PyObject *handle_cancel(PyObject *self, PyObject *none)
{
    (void)none;
    if (async__py_kind_of(self) == &async__py_shared) async__py_handle_wait(self);
    async__py_handle_cancel(self);
    Py_RETURN_NONE;
}

static PyObject *handle_cancelled(PyObject *self, PyObject *none)
{
    (void)none;
    if (async__py_kind_of(self) == &async__py_shared) async__py_handle_wait(self);
    return PyBool_FromLong(async__py_handle_cancelled(self));
}

static PyObject *handle_run_method(PyObject *self, PyObject *none)
{
    async__py_loop *loop = async__py_handle_loop(self, async__py_kind_of(self));

    (void)none;
    /* Not its repr, which asks the loop. */
    if (!loop)
        return PyErr_Format(PyExc_TypeError, "this %s has no loop of casyncio's",
                            Py_TYPE(self)->tp_name);
    Py_INCREF((PyObject *)loop);
    async__py_handle_call(loop, self);
    Py_DECREF((PyObject *)loop);
    Py_RETURN_NONE;
}

/* Before 3.12 asyncio's have it not. */
static PyObject *handle_get_context(PyObject *self, PyObject *none)
{
    (void)none;
    PyObject *context = ASYNC__PY_SLOT(self, async__py_kind_of(self), context);
    return Py_NewRef(context ? context : Py_None);
}

static PyMethodDef methods[] = {
    {"get_context", handle_get_context, METH_NOARGS, "The context that the callback runs in."},
    {"cancel", handle_cancel, METH_NOARGS, "Does not run, if it has not begun to."},
    {"cancelled", handle_cancelled, METH_NOARGS, "Whether it was cancelled."},
    {"_run", handle_run_method, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot type_slots[] = {
    {Py_tp_dealloc, async__py_handle_dealloc},
    {Py_tp_traverse, async__py_handle_traverse},
    {Py_tp_clear, async__py_handle_clear},
    {Py_tp_methods, methods},
    {0},
};

/* Where the base class, or one of its bases, keeps what it calls `name`; 0 and an exception if
 * nowhere. */
static Py_ssize_t offset_of(PyTypeObject *base, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)base, name);
    Py_ssize_t offset = 0;

    if (!descriptor) return 0;
    if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type))
        offset = ((PyMemberDescrObject *)descriptor)->d_member->offset;
    else
        PyErr_Format(PyExc_ImportError, "casyncio: asyncio's %s has no slot %s in this Python",
                     base->tp_name, name);
    Py_DECREF(descriptor);
    return offset;
}

static int find_slots(struct async__py_handle_kind *kind, PyTypeObject *base)
{
    const struct {
        Py_ssize_t *where;
        const char *name;
    } slots[] = {
        {&kind->callback, "_callback"},
        {&kind->args, "_args"},
        {&kind->context, "_context"},
        {&kind->loop, "_loop"},
        {&kind->cancelled, "_cancelled"},
        {&kind->repr, "_repr"},
        {&kind->source_traceback, "_source_traceback"},
        {kind == &async__py_timers ? &kind->when : NULL, "_when"},
        {kind == &async__py_timers ? &kind->scheduled : NULL, "_scheduled"},
        {kind == &async__py_shared ? &kind->lock : NULL, "_lock"},
    };

    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        if (!slots[i].where) continue;
        *slots[i].where = offset_of(base, slots[i].name);
        if (!*slots[i].where) return -1;
    }
    kind->weakrefs = base->tp_weaklistoffset;
    kind->part = (base->tp_basicsize + 7) & ~(Py_ssize_t)7;
    return 0;
}

static int add_kind(PyObject *module, struct async__py_handle_kind *kind, const char *name,
                    const char *base_name, size_t part_size)
{
    PyTypeObject *base = (PyTypeObject *)async__py_import("asyncio.events", base_name);
    if (!base) return -1;
    if (find_slots(kind, base) == 0) {
        PyType_Spec spec = {
            .name = name,
            .basicsize = (int)(kind->part + (Py_ssize_t)part_size),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
            .slots = type_slots,
        };
        kind->type = async__py_add_type(module, &spec, (PyObject *)base);
    }
    Py_DECREF(base);
    return kind->type ? 0 : -1;
}

int async__py_add_handle(PyObject *module)
{
    if (async__py_prepare_handles() < 0) return -1;
    if (add_kind(module, &async__py_handles, "casyncio._casyncio.Handle", "Handle",
                 sizeof(struct async__py_handle_part)) < 0)
        return -1;
    if (add_kind(module, &async__py_timers, "casyncio._casyncio.TimerHandle", "TimerHandle",
                 sizeof(struct async__py_timer_part)) < 0)
        return -1;
    PyObject *base = async__py_import("asyncio.events", "_ThreadSafeHandle");
    Py_XDECREF(base);
    if (!base) {
        PyErr_Clear();
        return 0;
    }
    return add_kind(module, &async__py_shared, "casyncio._casyncio.ThreadSafeHandle",
                    "_ThreadSafeHandle", sizeof(struct async__py_shared_part));
}
