/* condition.c - Condition, as asyncio.Condition (that of CPython 3.13).
 *
 * The lock is any object with locked(), acquire() and release(); the condition has them as its own
 * attributes, as in asyncio. A wait has two phases: until it is notified, and until it has the lock
 * again, which it takes whatever has happened, and however often it is cancelled meanwhile. A wait
 * that fails may have been notified already: it notifies another one instead. */
#include "mixins.h"

#include <structmember.h>

struct condition {
    struct async__py_bound bound;
    PyObject *waiters;
    PyObject *lock;
    PyObject *locked, *acquire, *release; /* the methods of the lock */
};

enum { WAITING, ACQUIRING }; /* the phases of wait() */

static PyObject *lock_class;
static PyObject *text_locked, *text_acquire, *text_release, *text_wait;

/* Calls a method of the lock; there is none if a subclass's __init__ has not called ours. */
static PyObject *call(PyObject *method)
{
    if (method) return PyObject_CallNoArgs(method);
    PyErr_SetString(PyExc_AttributeError, "the condition has no lock");
    return NULL;
}

/* 0 if the lock is held, or -1. */
static int check_locked(struct condition *condition, const char *message)
{
    PyObject *answer = call(condition->locked);
    int locked = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (locked == 0) PyErr_SetString(PyExc_RuntimeError, message);
    return locked > 0 ? 0 : -1;
}

/* ---- wait ---- */

static enum async__py_outcome wait_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct condition *condition = (struct condition *)c->owner;
    if (check_locked(condition, "cannot wait on un-acquired lock") < 0) return ASYNC__PY_FAILED;
    enum async__py_outcome outcome = async__py_wait(c, &condition->waiters);
    if (outcome == ASYNC__PY_FAILED) return ASYNC__PY_FAILED;
    if (async__py_check(call(condition->release)) == 0) return outcome;
    async__py_unwait(c, condition->waiters);
    return ASYNC__PY_FAILED;
}

/* The exception that is set goes out, and another waiter is notified in the place of this one. */
static enum async__py_outcome pass_on(struct condition *condition)
{
    PyObject *error = async__py_error_take();
    if (async__py_wake_some(condition->waiters, 1, Py_False) < 0) {
        Py_DECREF(error);
    } else {
        async__py_error_set(error);
    }
    return ASYNC__PY_FAILED;
}

static enum async__py_outcome reacquire(struct async__py_coroutine *c)
{
    struct condition *condition = (struct condition *)c->owner;
    c->phase = ACQUIRING;
    enum async__py_outcome outcome = async__py_await(c, call(condition->acquire));
    return outcome == ASYNC__PY_FAILED ? pass_on(condition) : outcome;
}

static enum async__py_outcome wait_resume(struct async__py_coroutine *c, PyObject *value,
                                          PyObject **result)
{
    struct condition *condition = (struct condition *)c->owner;
    if (c->phase == WAITING) {
        if (async__py_unwait(c, condition->waiters) < 0 || !value) {
            c->error = async__py_error_take();
        }
        return reacquire(c);
    }
    if (!value) {
        if (!PyErr_ExceptionMatches(async__py_cancelled_error())) return pass_on(condition);
        Py_XSETREF(c->error, async__py_error_take());
        return reacquire(c);
    }
    if (c->error) {
        async__py_error_set(c->error);
        c->error = NULL;
        return pass_on(condition);
    }
    *result = Py_NewRef(Py_True);
    return ASYNC__PY_DONE;
}

static const struct async__py_coroutine_kind wait_kind = {
    .qualname = "Condition.wait",
    .begin = wait_begin,
    .resume = wait_resume,
};

static PyObject *condition_wait(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&wait_kind, self, NULL);
}

/* ---- wait_for ---- */

static enum async__py_outcome wait_for_begin(struct async__py_coroutine *c, PyObject **result)
{
    PyObject *holds = PyObject_CallNoArgs(c->argument);
    int truth = holds ? PyObject_IsTrue(holds) : -1;
    if (truth > 0) {
        *result = holds;
        return ASYNC__PY_DONE;
    }
    Py_XDECREF(holds);
    if (truth < 0) return ASYNC__PY_FAILED;
    return async__py_await(c, PyObject_CallMethodNoArgs(c->owner, text_wait));
}

static enum async__py_outcome wait_for_resume(struct async__py_coroutine *c, PyObject *value,
                                              PyObject **result)
{
    return value ? wait_for_begin(c, result) : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind wait_for_kind = {
    .qualname = "Condition.wait_for",
    .begin = wait_for_begin,
    .resume = wait_for_resume,
};

static PyObject *condition_wait_for(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                    PyObject *names)
{
    static const struct async__py_parameter parameter = {"wait_for", "predicate", true};
    PyObject *predicate = NULL;
    if (async__py_argument(&parameter, arguments, count, names, &predicate) < 0) return NULL;
    return async__py_coroutine(&wait_for_kind, self, predicate);
}

/* ---- notify ---- */

static PyObject *notify(PyObject *self, Py_ssize_t count)
{
    struct condition *condition = (struct condition *)self;
    if (check_locked(condition, "cannot notify on un-acquired lock") < 0) return NULL;
    if (async__py_wake_some(condition->waiters, count, Py_False) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *condition_notify(PyObject *self, PyObject *arguments, PyObject *names)
{
    static char *keywords[] = {"n", NULL};
    Py_ssize_t count = 1;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "|n:notify", keywords, &count)) return NULL;
    return notify(self, count);
}

static PyObject *condition_notify_all(PyObject *self, PyObject *unused)
{
    return notify(self, PY_SSIZE_T_MAX);
}

/* ---- async with ---- */

static PyObject *condition_enter(PyObject *self, PyObject *unused) { return async__py_enter(self); }

static enum async__py_outcome exit_begin(struct async__py_coroutine *c, PyObject **result)
{
    *result = PyObject_CallMethodNoArgs(c->owner, text_release);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind exit_kind = {
    .qualname = "Condition.__aexit__",
    .begin = exit_begin,
    .returns_none = true,
};

static PyObject *condition_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    return async__py_exit(&exit_kind, self, count);
}

/* ---- the object ---- */

static PyObject *condition_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return async__py_bound_new(type, NULL, false);
}

static int condition_init(PyObject *self, PyObject *arguments, PyObject *names)
{
    struct condition *condition = (struct condition *)self;
    PyObject *lock = Py_None;
    if (async__py_init_argument("Condition", "lock", arguments, names, &lock) < 0) return -1;
    lock = lock == Py_None ? PyObject_CallNoArgs(lock_class) : Py_NewRef(lock);
    if (!lock) return -1;
    Py_XSETREF(condition->lock, lock);
    Py_XSETREF(condition->locked, PyObject_GetAttr(lock, text_locked));
    if (!condition->locked) return -1;
    Py_XSETREF(condition->acquire, PyObject_GetAttr(lock, text_acquire));
    if (!condition->acquire) return -1;
    Py_XSETREF(condition->release, PyObject_GetAttr(lock, text_release));
    if (!condition->release) return -1;
    Py_CLEAR(condition->waiters);
    return 0;
}

static int condition_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct condition *condition = (struct condition *)self;
    Py_VISIT(condition->waiters);
    Py_VISIT(condition->lock);
    Py_VISIT(condition->locked);
    Py_VISIT(condition->acquire);
    Py_VISIT(condition->release);
    return async__py_bound_traverse(self, visit, arg);
}

static int condition_clear(PyObject *self)
{
    struct condition *condition = (struct condition *)self;
    Py_CLEAR(condition->waiters);
    Py_CLEAR(condition->lock);
    Py_CLEAR(condition->locked);
    Py_CLEAR(condition->acquire);
    Py_CLEAR(condition->release);
    return async__py_bound_clear(self);
}

static PyMethodDef condition_methods[] = {
    {"wait", condition_wait, METH_NOARGS,
     "wait($self)\n--\n\nFrees the lock, waits to be notified, and takes the lock again. A "
     "coroutine."},
    {"wait_for", (PyCFunction)(void (*)(void))condition_wait_for, METH_FASTCALL | METH_KEYWORDS,
     "wait_for($self, predicate)\n--\n\nWaits until predicate() is true; its value. A coroutine."},
    {"notify", (PyCFunction)(void (*)(void))condition_notify, METH_VARARGS | METH_KEYWORDS,
     "notify($self, n=1)\n--\n\nWakes n of those that wait."},
    {"notify_all", condition_notify_all, METH_NOARGS,
     "notify_all($self)\n--\n\nWakes all that wait."},
    {"__aenter__", condition_enter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))condition_exit, METH_FASTCALL, NULL},
    {0},
};

static PyGetSetDef condition_attributes[] = {
    {"_waiters", async__py_get_waiters, async__py_set_waiters, NULL,
     (void *)offsetof(struct condition, waiters)},
    {0},
};

static PyMemberDef condition_members[] = {
    {"_lock", T_OBJECT_EX, offsetof(struct condition, lock), 0, NULL},
    {"locked", T_OBJECT_EX, offsetof(struct condition, locked), 0, NULL},
    {"acquire", T_OBJECT_EX, offsetof(struct condition, acquire), 0, NULL},
    {"release", T_OBJECT_EX, offsetof(struct condition, release), 0, NULL},
    {0},
};

static PyType_Slot condition_slots[] = {
    {Py_tp_doc,
     "Condition(lock=None)\n--\n\nA condition variable for tasks, as asyncio.Condition."},
    {Py_tp_new, condition_new},
    {Py_tp_init, condition_init},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, condition_traverse},
    {Py_tp_clear, condition_clear},
    {Py_tp_methods, condition_methods},
    {Py_tp_getset, condition_attributes},
    {Py_tp_members, condition_members},
    {0},
};

static PyType_Spec condition_spec = {
    .name = "casyncio.Condition",
    .basicsize = sizeof(struct condition),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = condition_slots,
};

int async__py_add_condition(PyObject *module)
{
    const struct async__py_name names[] = {
        {&text_locked, "locked"},
        {&text_acquire, "acquire"},
        {&text_release, "release"},
        {&text_wait, "wait"},
        {0},
    };
    if (async__py_intern(names) < 0) return -1;
    lock_class = PyObject_GetAttrString(module, "Lock");
    if (!lock_class) return -1;
    PyTypeObject *type =
        async__py_add_bound_type(module, &condition_spec, async__py_bound_type(), NULL);
    Py_XDECREF(type);
    return type ? 0 : -1;
}
