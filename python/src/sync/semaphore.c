/* semaphore.c - Semaphore and BoundedSemaphore, as asyncio's (those of CPython 3.13, whose order
 * is strictly first come, first served).
 *
 * release() gives the unit to the first waiter at once: it is woken, and the value is what it
 * was. A woken waiter that is cancelled before it runs gives its unit to the next.
 *
 * The value is a double because asyncio takes any number: math.inf is a semaphore without a
 * limit. Whole numbers are exact up to 2^53. */
#include "mixins.h"

#include <math.h>
#include <structmember.h>

struct semaphore {
    struct async__py_bound bound;
    PyObject *waiters;
    double value;
    PyObject *limit; /* of a bounded one: the value that it began with */
};

enum { LOCKED, ACQUIRE, RELEASE };

#define HOOKS                                                                                      \
    {                                                                                              \
        [LOCKED] = {.name = "locked"}, [ACQUIRE] = {.name = "acquire"},                            \
        [RELEASE] = {.name = "release"}, {0},                                                      \
    }

static struct async__py_hook hooks[] = HOOKS, bounded_hooks[] = HOOKS;

static PyTypeObject *semaphore_type, *bounded_type;

/* ---- waking ---- */

/* Gives a unit to the first waiter that has none: 1, 0 if there is nobody, or -1. */
static int give(struct semaphore *semaphore)
{
    int woken = (int)async__py_wake_some(semaphore->waiters, 1, Py_True);
    if (woken > 0) semaphore->value--;
    return woken;
}

/* Waiters may have come while others had to go first: as many as there are units for. */
static int give_all(struct semaphore *semaphore)
{
    int woken = 1;
    while (semaphore->value > 0 && woken > 0) {
        woken = give(semaphore);
    }
    return woken < 0 ? -1 : 0;
}

/* ---- acquire ---- */

/* Whether acquire() has to wait: 1, 0, or -1. */
static int is_locked(struct semaphore *semaphore)
{
    return semaphore->value == 0 ? 1 : async__py_anybody(semaphore->waiters);
}

static PyObject *semaphore_locked(PyObject *self, PyObject *unused)
{
    int locked = is_locked((struct semaphore *)self);
    return locked < 0 ? NULL : PyBool_FromLong(locked);
}

static int ask_locked(PyObject *self)
{
    if (!async__py_overrides(self, LOCKED)) return is_locked((struct semaphore *)self);
    PyObject *answer = async__py_call_hook(self, LOCKED, NULL);
    int locked = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return locked;
}

static enum async__py_outcome acquire_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct semaphore *semaphore = (struct semaphore *)c->owner;
    int locked = ask_locked(c->owner);
    if (locked < 0) return ASYNC__PY_FAILED;
    if (locked) return async__py_wait(c, &semaphore->waiters);
    semaphore->value--;
    *result = Py_NewRef(Py_True);
    return ASYNC__PY_DONE;
}

/* The exception that is set came out of the wait: a unit that was given goes back. */
static int give_back(struct semaphore *semaphore, PyObject *waiter)
{
    PyObject *error = async__py_error_take();
    int failed = 0;
    if (PyErr_GivenExceptionMatches(error, async__py_cancelled_error())) {
        int done = async__py_done(waiter);
        int cancelled = done > 0 ? async__py_cancelled(waiter) : 0;
        if (done > 0 && cancelled == 0) semaphore->value++;
        failed = done < 0 || cancelled < 0;
    }
    if (failed || give_all(semaphore) < 0) {
        Py_DECREF(error);
        return -1;
    }
    async__py_error_set(error);
    return 0;
}

static enum async__py_outcome acquire_resume(struct async__py_coroutine *c, PyObject *value,
                                             PyObject **result)
{
    struct semaphore *semaphore = (struct semaphore *)c->owner;
    if (async__py_unwait(c, semaphore->waiters) < 0) return ASYNC__PY_FAILED;
    if (!value) {
        give_back(semaphore, c->waiter);
        return ASYNC__PY_FAILED;
    }
    if (give_all(semaphore) < 0) return ASYNC__PY_FAILED;
    *result = Py_NewRef(Py_True);
    return ASYNC__PY_DONE;
}

static const struct async__py_coroutine_kind acquire_kind = {
    .qualname = "Semaphore.acquire",
    .begin = acquire_begin,
    .resume = acquire_resume,
};

static PyObject *semaphore_acquire(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&acquire_kind, self, NULL);
}

/* ---- release ---- */

static PyObject *semaphore_release(PyObject *self, PyObject *unused)
{
    struct semaphore *semaphore = (struct semaphore *)self;
    semaphore->value++;
    if (give(semaphore) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *bounded_release(PyObject *self, PyObject *unused)
{
    struct semaphore *semaphore = (struct semaphore *)self;
    double limit = semaphore->limit ? PyFloat_AsDouble(semaphore->limit) : INFINITY;
    if (limit == -1 && PyErr_Occurred()) return NULL;
    if (semaphore->value >= limit) {
        PyErr_SetString(PyExc_ValueError, "BoundedSemaphore released too many times");
        return NULL;
    }
    return semaphore_release(self, unused);
}

/* ---- async with ---- */

static const struct async__py_coroutine_kind enter_kind = {
    .qualname = "Semaphore.__aenter__",
    .begin = acquire_begin,
    .resume = acquire_resume,
    .returns_none = true,
};

static PyObject *semaphore_enter(PyObject *self, PyObject *unused)
{
    if (async__py_overrides(self, ACQUIRE)) return async__py_enter(self);
    return async__py_coroutine(&enter_kind, self, NULL);
}

static enum async__py_outcome exit_begin(struct async__py_coroutine *c, PyObject **result)
{
    bool bounded = ((struct async__py_bound *)c->owner)->hooks == bounded_hooks;
    *result = async__py_overrides(c->owner, RELEASE) ? async__py_call_hook(c->owner, RELEASE, NULL)
              : bounded                              ? bounded_release(c->owner, NULL)
                                                     : semaphore_release(c->owner, NULL);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind exit_kind = {
    .qualname = "Semaphore.__aexit__",
    .begin = exit_begin,
    .returns_none = true,
};

static PyObject *semaphore_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    return async__py_exit(&exit_kind, self, count);
}

/* ---- the object ---- */

static PyObject *semaphore_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return async__py_bound_new(type, hooks, type != semaphore_type);
}

static PyObject *bounded_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return async__py_bound_new(type, bounded_hooks, type != bounded_type);
}

static PyObject *number(double value)
{
    return value == floor(value) && !isinf(value) ? PyLong_FromDouble(value)
                                                  : PyFloat_FromDouble(value);
}

static int init(struct semaphore *semaphore, const char *class, PyObject *arguments,
                PyObject *names)
{
    PyObject *given = NULL;
    if (async__py_init_argument(class, "value", arguments, names, &given) < 0) return -1;
    double value = given ? PyFloat_AsDouble(given) : 1;
    if (value == -1 && PyErr_Occurred()) return -1;
    if (value < 0) {
        PyErr_SetString(PyExc_ValueError, "Semaphore initial value must be >= 0");
        return -1;
    }
    semaphore->value = value;
    Py_CLEAR(semaphore->waiters);
    return 0;
}

static int semaphore_init(PyObject *self, PyObject *arguments, PyObject *names)
{
    return init((struct semaphore *)self, "Semaphore", arguments, names);
}

static int bounded_init(PyObject *self, PyObject *arguments, PyObject *names)
{
    struct semaphore *semaphore = (struct semaphore *)self;
    if (init(semaphore, "BoundedSemaphore", arguments, names) < 0) return -1;
    PyObject *limit = number(semaphore->value);
    if (!limit) return -1;
    Py_XSETREF(semaphore->limit, limit);
    return 0;
}

static int semaphore_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct semaphore *)self)->waiters);
    Py_VISIT(((struct semaphore *)self)->limit);
    return async__py_bound_traverse(self, visit, arg);
}

static int semaphore_clear(PyObject *self)
{
    Py_CLEAR(((struct semaphore *)self)->waiters);
    Py_CLEAR(((struct semaphore *)self)->limit);
    return async__py_bound_clear(self);
}

static PyObject *semaphore_get_value(PyObject *self, void *unused)
{
    return number(((struct semaphore *)self)->value);
}

static int semaphore_set_value(PyObject *self, PyObject *value, void *unused)
{
    double number = value ? PyFloat_AsDouble(value) : 0;
    if (number == -1 && PyErr_Occurred()) return -1;
    ((struct semaphore *)self)->value = number;
    return 0;
}

static PyMethodDef semaphore_methods[] = {
    {"locked", semaphore_locked, METH_NOARGS,
     "locked($self)\n--\n\nTrue if acquire() would have to wait."},
    {"acquire", semaphore_acquire, METH_NOARGS,
     "acquire($self)\n--\n\nWaits for a unit, takes it and returns True. A coroutine."},
    {"release", semaphore_release, METH_NOARGS,
     "release($self)\n--\n\nGives a unit back, to the first that waits for one."},
    {"__aenter__", semaphore_enter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))semaphore_exit, METH_FASTCALL, NULL},
    {0},
};

static PyMethodDef bounded_methods[] = {
    {"release", bounded_release, METH_NOARGS,
     "release($self)\n--\n\nGives a unit back; more than were taken are a ValueError."},
    {0},
};

static PyGetSetDef semaphore_attributes[] = {
    {"_value", semaphore_get_value, semaphore_set_value, NULL, NULL},
    {0},
};

static PyMemberDef semaphore_members[] = {
    {"_waiters", T_OBJECT, offsetof(struct semaphore, waiters), 0, NULL},
    {0},
};

static PyMemberDef bounded_members[] = {
    {"_bound_value", T_OBJECT, offsetof(struct semaphore, limit), 0, NULL},
    {0},
};

static PyType_Slot semaphore_slots[] = {
    {Py_tp_doc, "Semaphore(value=1)\n--\n\nA counter of units, as asyncio.Semaphore."},
    {Py_tp_new, semaphore_new},
    {Py_tp_init, semaphore_init},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, semaphore_traverse},
    {Py_tp_clear, semaphore_clear},
    {Py_tp_methods, semaphore_methods},
    {Py_tp_getset, semaphore_attributes},
    {Py_tp_members, semaphore_members},
    {0},
};

static PyType_Slot bounded_slots[] = {
    {Py_tp_doc, "BoundedSemaphore(value=1)\n--\n\nA semaphore with at most `value` units."},
    {Py_tp_new, bounded_new},
    {Py_tp_init, bounded_init},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, semaphore_traverse},
    {Py_tp_clear, semaphore_clear},
    {Py_tp_methods, bounded_methods},
    {Py_tp_members, bounded_members},
    {0},
};

static PyType_Spec semaphore_spec = {
    .name = "casyncio.Semaphore",
    .basicsize = sizeof(struct semaphore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = semaphore_slots,
};

static PyType_Spec bounded_spec = {
    .name = "casyncio.BoundedSemaphore",
    .basicsize = sizeof(struct semaphore),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = bounded_slots,
};

int async__py_add_semaphore(PyObject *module)
{
    semaphore_type =
        async__py_add_bound_type(module, &semaphore_spec, async__py_bound_type(), hooks);
    if (!semaphore_type) return -1;
    bounded_type = async__py_add_bound_type(module, &bounded_spec, semaphore_type, bounded_hooks);
    return bounded_type ? 0 : -1;
}
