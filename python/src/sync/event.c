/* event.c - Event, as asyncio.Event: a flag that tasks wait for.
 *
 * set() wakes everybody who waits at that moment. A waiter that was woken returns True although the
 * flag may have been cleared again before it runs. */
#include "mixins.h"

struct event {
    struct async__py_bound bound;
    PyObject *waiters;
    bool value;
};

/* ---- wait ---- */

static enum async__py_outcome wait_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct event *event = (struct event *)c->owner;
    if (!event->value) return async__py_wait(c, &event->waiters);
    *result = Py_NewRef(Py_True);
    return ASYNC__PY_DONE;
}

static enum async__py_outcome wait_resume(struct async__py_coroutine *c, PyObject *value,
                                          PyObject **result)
{
    struct event *event = (struct event *)c->owner;
    if (async__py_unwait(c, event->waiters) < 0 || !value) return ASYNC__PY_FAILED;
    *result = Py_NewRef(Py_True);
    return ASYNC__PY_DONE;
}

static const struct async__py_coroutine_kind wait_kind = {
    .qualname = "Event.wait",
    .begin = wait_begin,
    .resume = wait_resume,
};

static PyObject *event_wait(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&wait_kind, self, NULL);
}

/* ---- the flag ---- */

static PyObject *event_is_set(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(((struct event *)self)->value);
}

static PyObject *event_set(PyObject *self, PyObject *unused)
{
    struct event *event = (struct event *)self;
    if (!event->value) {
        event->value = true;
        if (async__py_wake_some(event->waiters, PY_SSIZE_T_MAX, Py_True) < 0) return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *event_unset(PyObject *self, PyObject *unused)
{
    ((struct event *)self)->value = false;
    Py_RETURN_NONE;
}

/* ---- the object ---- */

static PyObject *event_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return async__py_bound_new(type, NULL, false);
}

static int event_init(PyObject *self, PyObject *arguments, PyObject *names)
{
    if (async__py_init_argument("Event", NULL, arguments, names, NULL) < 0) return -1;
    struct event *event = (struct event *)self;
    event->value = false;
    Py_CLEAR(event->waiters);
    return 0;
}

static int event_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct event *)self)->waiters);
    return async__py_bound_traverse(self, visit, arg);
}

static int event_clear(PyObject *self)
{
    Py_CLEAR(((struct event *)self)->waiters);
    return async__py_bound_clear(self);
}

static PyMethodDef event_methods[] = {
    {"is_set", event_is_set, METH_NOARGS, "is_set($self)\n--\n\nThe flag."},
    {"set", event_set, METH_NOARGS,
     "set($self)\n--\n\nSets the flag, and wakes all that wait for it."},
    {"clear", event_unset, METH_NOARGS, "clear($self)\n--\n\nResets the flag."},
    {"wait", event_wait, METH_NOARGS,
     "wait($self)\n--\n\nWaits until the flag is set, and returns True. A coroutine."},
    {0},
};

static PyGetSetDef event_attributes[] = {
    {"_waiters", async__py_get_waiters, async__py_set_waiters, NULL,
     (void *)offsetof(struct event, waiters)},
    ASYNC__PY_FLAG("_value", struct event, value),
    {0},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "Event()\n--\n\nA flag that tasks can wait for, as asyncio.Event."},
    {Py_tp_new, event_new},
    {Py_tp_init, event_init},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, event_traverse},
    {Py_tp_clear, event_clear},
    {Py_tp_methods, event_methods},
    {Py_tp_getset, event_attributes},
    {0},
};

static PyType_Spec event_spec = {
    .name = "casyncio.Event",
    .basicsize = sizeof(struct event),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = event_slots,
};

int async__py_add_event(PyObject *module)
{
    PyTypeObject *type =
        async__py_add_bound_type(module, &event_spec, async__py_bound_type(), NULL);
    Py_XDECREF(type);
    return type ? 0 : -1;
}
