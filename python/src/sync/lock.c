/* lock.c - Lock, as asyncio.Lock: fair, first come, first served.
 *
 * A free lock nobody waits for is taken in the first step of acquire()'s coroutine. release() wakes
 * the first waiter, which takes the lock when it runs; until then the lock is free, but its list of
 * waiters is not empty, so nobody jumps the queue. A waiter that is cancelled after it was woken
 * wakes the next. */
#include "mixins.h"

#include <structmember.h>

struct lock {
    struct async__py_bound bound;
    PyObject *waiters;
    bool locked;
};

enum { ACQUIRE, RELEASE };

static struct async__py_hook hooks[] = {
    [ACQUIRE] = {.name = "acquire"}, [RELEASE] = {.name = "release"}, {0}};

static PyTypeObject *lock_type;

/* ---- acquire ---- */

static enum async__py_outcome acquire_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct lock *lock = (struct lock *)c->owner;
    int taken = lock->locked ? 1 : async__py_anybody(lock->waiters);
    if (taken < 0) return ASYNC__PY_FAILED;
    if (taken) return async__py_wait(c, &lock->waiters);
    lock->locked = true;
    *result = Py_NewRef(Py_True);
    return ASYNC__PY_DONE;
}

static int wake_first(struct lock *lock)
{
    if (async__py_deque_length(lock->waiters) <= 0) return 0;
    PyObject *first = PySequence_GetItem(lock->waiters, 0);
    if (!first) return -1;
    int woken = async__py_wake(first, Py_True);
    Py_DECREF(first);
    return woken;
}

static enum async__py_outcome acquire_resume(struct async__py_coroutine *c, PyObject *value,
                                             PyObject **result)
{
    struct lock *lock = (struct lock *)c->owner;
    if (async__py_unwait(c, lock->waiters) < 0) return ASYNC__PY_FAILED;
    if (value) {
        lock->locked = true;
        *result = Py_NewRef(Py_True);
        return ASYNC__PY_DONE;
    }
    if (!lock->locked && PyErr_ExceptionMatches(async__py_cancelled_error())) {
        PyObject *error = async__py_error_take();
        if (wake_first(lock) < 0) {
            Py_DECREF(error);
        } else {
            async__py_error_set(error);
        }
    }
    return ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind acquire_kind = {
    .qualname = "Lock.acquire",
    .begin = acquire_begin,
    .resume = acquire_resume,
};

static PyObject *lock_acquire(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&acquire_kind, self, NULL);
}

/* ---- release ---- */

static PyObject *lock_release(PyObject *self, PyObject *unused)
{
    struct lock *lock = (struct lock *)self;
    if (!lock->locked) {
        PyErr_SetString(PyExc_RuntimeError, "Lock is not acquired.");
        return NULL;
    }
    lock->locked = false;
    if (wake_first(lock) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- async with ---- */

static const struct async__py_coroutine_kind enter_kind = {
    .qualname = "Lock.__aenter__",
    .begin = acquire_begin,
    .resume = acquire_resume,
    .returns_none = true,
};

static PyObject *lock_enter(PyObject *self, PyObject *unused)
{
    if (async__py_overrides(self, ACQUIRE)) return async__py_enter(self);
    return async__py_coroutine(&enter_kind, self, NULL);
}

static enum async__py_outcome exit_begin(struct async__py_coroutine *c, PyObject **result)
{
    *result = async__py_overrides(c->owner, RELEASE) ? async__py_call_hook(c->owner, RELEASE, NULL)
                                                     : lock_release(c->owner, NULL);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind exit_kind = {
    .qualname = "Lock.__aexit__",
    .begin = exit_begin,
    .returns_none = true,
};

static PyObject *lock_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    return async__py_exit(&exit_kind, self, count);
}

/* ---- the object ---- */

static PyObject *lock_locked(PyObject *self, PyObject *unused)
{
    return PyBool_FromLong(((struct lock *)self)->locked);
}

static PyObject *lock_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return async__py_bound_new(type, hooks, type != lock_type);
}

static int lock_init(PyObject *self, PyObject *arguments, PyObject *names)
{
    if (async__py_init_argument("Lock", NULL, arguments, names, NULL) < 0) return -1;
    struct lock *lock = (struct lock *)self;
    lock->locked = false;
    Py_CLEAR(lock->waiters);
    return 0;
}

static int lock_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((struct lock *)self)->waiters);
    return async__py_bound_traverse(self, visit, arg);
}

static int lock_clear(PyObject *self)
{
    Py_CLEAR(((struct lock *)self)->waiters);
    return async__py_bound_clear(self);
}

static PyMethodDef lock_methods[] = {
    {"locked", lock_locked, METH_NOARGS, "locked($self)\n--\n\nTrue if the lock is acquired."},
    {"acquire", lock_acquire, METH_NOARGS,
     "acquire($self)\n--\n\nWaits until the lock is free, takes it and returns True. A coroutine."},
    {"release", lock_release, METH_NOARGS,
     "release($self)\n--\n\nFrees the lock, and wakes the first that waits for it."},
    {"__aenter__", lock_enter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))lock_exit, METH_FASTCALL, NULL},
    {0},
};

static PyMemberDef lock_members[] = {
    {"_waiters", T_OBJECT, offsetof(struct lock, waiters), 0, NULL},
    {0},
};

static PyGetSetDef lock_attributes[] = {ASYNC__PY_FLAG("_locked", struct lock, locked), {0}};

static PyType_Slot lock_slots[] = {
    {Py_tp_doc, "Lock()\n--\n\nA mutual exclusion lock for tasks, as asyncio.Lock."},
    {Py_tp_new, lock_new},
    {Py_tp_init, lock_init},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, lock_traverse},
    {Py_tp_clear, lock_clear},
    {Py_tp_methods, lock_methods},
    {Py_tp_members, lock_members},
    {Py_tp_getset, lock_attributes},
    {0},
};

static PyType_Spec lock_spec = {
    .name = "casyncio.Lock",
    .basicsize = sizeof(struct lock),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = lock_slots,
};

int async__py_add_lock(PyObject *module)
{
    lock_type = async__py_add_bound_type(module, &lock_spec, async__py_bound_type(), hooks);
    return lock_type ? 0 : -1;
}
