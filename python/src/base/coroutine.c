/* coroutine.c - coroutines written in C.
 *
 * Most awaits of a lock or a queue do not wait at all: the lock is free, the queue has an item.
 * A coroutine of Python's costs a frame and several calls there; these cost one small object,
 * from a free list, whose first step is its last.
 *
 * To everybody else they are coroutines: asyncio.iscoroutine() is true
 * (collections.abc.Coroutine recognises their four methods), a task steps them through am_send,
 * `await` iterates over them, and send(), throw() and close() do what they do to Python's own,
 * the messages included. A coroutine that was never awaited warns, and one that is dropped while
 * it waits is closed, so that its waiter does not stay in its lock's list. What they do not have
 * is a frame: cr_frame and cr_code are None.
 *
 * Waiting means to be the iterator of what is awaited, as `yield from` does: the future itself
 * comes out at the top, marked by its own iterator as the task wants it. */
#include "coroutine.h"

#include <structmember.h>

enum state { CREATED, SUSPENDED, RUNNING, DONE };

#define KEPT 64 /* coroutines in the free list; a program rarely has more on their way at once */

static PyTypeObject *coroutine_type;
static PyObject *text_close, *text_throw;
static struct async__py_coroutine *kept[KEPT];
static int kept_count;

/* ---- the end of an iterator ---- */

/* `yield from` of an iterator that has no am_send: its return value, of which it says with
 * StopIteration. NULL when the exception is another one. */
static PyObject *stop_value(void)
{
    if (!PyErr_Occurred()) return Py_NewRef(Py_None);
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) return NULL;
    PyObject *stop = async__py_error_take();
    PyObject *value = ((PyStopIterationObject *)stop)->value;
    Py_XINCREF(value);
    Py_DECREF(stop);
    return value ? value : Py_NewRef(Py_None);
}

/* The other direction. Takes the reference to `value`. */
static void raise_stop(PyObject *value)
{
    if (value == Py_None) {
        PyErr_SetNone(PyExc_StopIteration);
    } else if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
        /* These PyErr_SetObject() would take for the arguments, or for the exception itself. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
        if (stop) async__py_error_set(stop);
    } else {
        PyErr_SetObject(PyExc_StopIteration, value);
    }
    Py_DECREF(value);
}

#if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
/* Since 3.12 `await` does not use am_send but asks for the next item, and takes the result from
 * a StopIteration, which costs more than all the rest. So one is kept and raised again as long
 * as nobody else has it; `await` has not. It lets go of the value when the coroutine goes, which
 * is at once. */
static PyStopIterationObject *spare;

static bool is_spare(void)
{
    return spare && Py_REFCNT(spare) == 1 && !spare->traceback && !spare->context &&
           !spare->cause && !spare->dict;
}

static void raise_stop_again(struct async__py_coroutine *c, PyObject *value)
{
    if (!is_spare()) {
        Py_CLEAR(spare);
        spare = (PyStopIterationObject *)PyObject_CallNoArgs(PyExc_StopIteration);
        if (!spare) {
            Py_DECREF(value);
            return;
        }
    }
    Py_XSETREF(spare->value, value);
    c->has_raised = true;
    async__py_error_set(Py_NewRef(spare));
}

static void forget_value(struct async__py_coroutine *c)
{
    if (!c->has_raised || !spare || Py_REFCNT(spare) != 1) return;
    if (is_spare()) {
        Py_CLEAR(spare->value);
    } else {
        Py_CLEAR(spare);
    }
}
#else
static void raise_stop_again(struct async__py_coroutine *c, PyObject *value) { raise_stop(value); }

static void forget_value(struct async__py_coroutine *c) {}
#endif

/* ---- from one step to the next ---- */

/* What `await` asks an awaitable for; Python's own coroutines are their own iterators. */
static PyObject *iterator_of(PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable)) return Py_NewRef(awaitable);
    PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    if (methods && methods->am_await) return methods->am_await(awaitable);
    PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression",
                 Py_TYPE(awaitable)->tp_name);
    return NULL;
}

enum async__py_outcome async__py_await(struct async__py_coroutine *c, PyObject *awaitable)
{
    if (!awaitable) return ASYNC__PY_FAILED;
    c->awaited = iterator_of(awaitable);
    Py_DECREF(awaitable);
    return c->awaited ? ASYNC__PY_WAITS : ASYNC__PY_FAILED;
}

/* It holds nothing any more, although a task may hold it. */
static void finish(struct async__py_coroutine *c)
{
    c->state = DONE;
    Py_CLEAR(c->owner);
    Py_CLEAR(c->argument);
    Py_CLEAR(c->waiter);
    Py_CLEAR(c->error);
    Py_CLEAR(c->awaited);
}

/* What it waited for has ended, with `value` (taken) or with the exception that is set. */
static enum async__py_outcome resume(struct async__py_coroutine *c, PyObject *value,
                                     PyObject **result)
{
    Py_CLEAR(c->awaited);
    enum async__py_outcome outcome = c->kind->resume(c, value, result);
    Py_XDECREF(value);
    return outcome;
}

/* A step of the kind had this outcome: goes on until something really waits, or it has ended. */
static PySendResult settle(struct async__py_coroutine *c, enum async__py_outcome outcome,
                           PyObject **result)
{
    while (outcome == ASYNC__PY_WAITS) {
        PySendResult sent = PyIter_Send(c->awaited, Py_None, result);
        if (sent == PYGEN_NEXT) {
            c->state = SUSPENDED;
            return PYGEN_NEXT;
        }
        outcome = resume(c, sent == PYGEN_RETURN ? *result : NULL, result);
    }
    finish(c);
    if (outcome == ASYNC__PY_FAILED) {
        *result = NULL;
        return PYGEN_ERROR;
    }
    if (c->kind->returns_none) Py_SETREF(*result, Py_NewRef(Py_None));
    return PYGEN_RETURN;
}

/* 0 when it can go on. */
static int refuse(struct async__py_coroutine *c)
{
    if (c->state == DONE) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return -1;
    }
    if (c->state == RUNNING) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
        return -1;
    }
    return 0;
}

static PySendResult coroutine_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    *result = NULL;
    if (c->state == CREATED) {
        if (value != Py_None) {
            PyErr_SetString(PyExc_TypeError,
                            "can't send non-None value to a just-started coroutine");
            return PYGEN_ERROR;
        }
        c->state = RUNNING;
        return settle(c, c->kind->begin(c, result), result);
    }
    if (refuse(c) < 0) return PYGEN_ERROR;
    c->state = RUNNING;
    PySendResult sent = PyIter_Send(c->awaited, value, result);
    if (sent == PYGEN_NEXT) {
        c->state = SUSPENDED;
        return PYGEN_NEXT;
    }
    return settle(c, resume(c, sent == PYGEN_RETURN ? *result : NULL, result), result);
}

/* What a step gave, in the way of a Python function. */
static PyObject *deliver(PySendResult sent, PyObject **result)
{
    if (sent == PYGEN_NEXT) return *result;
    if (sent == PYGEN_RETURN) raise_stop(*result);
    return NULL;
}

static PyObject *coroutine_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    return deliver(coroutine_am_send(self, value, &result), &result);
}

static PyObject *coroutine_iternext(PyObject *self)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    PyObject *result;
    PySendResult sent = coroutine_am_send(self, Py_None, &result);
    if (sent == PYGEN_NEXT) return result;
    if (sent == PYGEN_RETURN && result != Py_None) raise_stop_again(c, result);
    /* None may be returned without an exception. */
    if (result == Py_None) Py_DECREF(result);
    return NULL;
}

static PyObject *coroutine_await(PyObject *self)
{
    if (((struct async__py_coroutine *)self)->state == SUSPENDED) {
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
        return NULL;
    }
    return Py_NewRef(self);
}

/* ---- throw and close ---- */

/* The exception that throw()'s arguments mean is set. -1: they mean none. */
static int set_thrown(PyObject *const *arguments, Py_ssize_t count)
{
    PyObject *type = arguments[0];
    PyObject *value = count > 1 && arguments[1] != Py_None ? arguments[1] : NULL;
    PyObject *traceback = count > 2 && arguments[2] != Py_None ? arguments[2] : NULL;
    if (traceback && !PyTraceBack_Check(traceback)) {
        PyErr_SetString(PyExc_TypeError, "throw() third argument must be a traceback object");
        return -1;
    }
    if (PyExceptionInstance_Check(type)) {
        if (value) {
            PyErr_SetString(PyExc_TypeError, "instance exception may not have a separate value");
            return -1;
        }
        value = type;
        type = (PyObject *)Py_TYPE(value);
        PyObject *own = !traceback ? PyException_GetTraceback(value) : NULL;
        PyErr_Restore(Py_NewRef(type), Py_NewRef(value), own ? own : Py_XNewRef(traceback));
        return 0;
    }
    if (PyExceptionClass_Check(type)) {
        PyErr_Restore(Py_NewRef(type), Py_XNewRef(value), Py_XNewRef(traceback));
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "exceptions must be classes or instances deriving from BaseException, not %s",
                 Py_TYPE(type)->tp_name);
    return -1;
}

/* What it waits for is told that nobody waits any more: close(), where it has that. */
static int close_awaited(struct async__py_coroutine *c)
{
    PyObject *close = PyObject_GetAttr(c->awaited, text_close);
    if (!close) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
        return 0;
    }
    PyObject *closed = PyObject_CallNoArgs(close);
    Py_DECREF(close);
    Py_XDECREF(closed);
    return closed ? 0 : -1;
}

static PyObject *coroutine_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    PyObject *result = NULL;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    if (refuse(c) < 0 || set_thrown(arguments, count) < 0) return NULL;
    if (c->state == CREATED) {
        finish(c);
        return NULL;
    }

    c->state = RUNNING;
    PyObject *error = async__py_error_take();
    if (PyErr_GivenExceptionMatches(error, PyExc_GeneratorExit)) {
        if (close_awaited(c) == 0) {
            async__py_error_set(error);
        } else {
            Py_DECREF(error);
        }
        return deliver(settle(c, resume(c, NULL, &result), &result), &result);
    }

    PyObject *throw = PyObject_GetAttr(c->awaited, text_throw);
    PyObject *value = NULL;
    if (throw) {
        PyObject *yielded = PyObject_CallOneArg(throw, error);
        Py_DECREF(throw);
        Py_DECREF(error);
        if (yielded) {
            c->state = SUSPENDED;
            return yielded;
        }
        value = stop_value();
    } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        async__py_error_set(error);
    } else {
        Py_DECREF(error);
    }
    return deliver(settle(c, resume(c, value, &result), &result), &result);
}

static PyObject *coroutine_close(PyObject *self, PyObject *unused)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    if (c->state == CREATED) finish(c);
    if (c->state == DONE) Py_RETURN_NONE;
    PyObject *yielded = coroutine_throw(self, &PyExc_GeneratorExit, 1);
    if (yielded) {
        Py_DECREF(yielded);
        PyErr_SetString(PyExc_RuntimeError, "coroutine ignored GeneratorExit");
        return NULL;
    }
    if (!PyErr_ExceptionMatches(PyExc_StopIteration) &&
        !PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
        return NULL;
    }
    PyErr_Clear();
    Py_RETURN_NONE;
}

/* ---- the object ---- */

PyObject *async__py_coroutine(const struct async__py_coroutine_kind *kind, PyObject *owner,
                              PyObject *argument)
{
    struct async__py_coroutine *c;
    if (ASYNC__PY_GIL && kept_count > 0) {
        c = kept[--kept_count];
        PyObject_Init((PyObject *)c, coroutine_type);
    } else {
        c = PyObject_GC_New(struct async__py_coroutine, coroutine_type);
        if (!c) return NULL;
        c->waiter = c->error = c->awaited = c->weakrefs = NULL;
    }
    c->kind = kind;
    c->owner = Py_NewRef(owner);
    c->argument = Py_XNewRef(argument);
    c->state = CREATED;
    c->phase = 0;
    c->has_raised = false;
    PyObject_GC_Track(c);
    return (PyObject *)c;
}

static int coroutine_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->owner);
    Py_VISIT(c->argument);
    Py_VISIT(c->waiter);
    Py_VISIT(c->error);
    Py_VISIT(c->awaited);
    return 0;
}

/* As for Python's own coroutines there is no tp_clear: the finaliser closes it, which drops all. */
static void coroutine_finalize(PyObject *self)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    if (c->state == DONE) return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (c->state == CREATED) {
        if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                             c->kind->qualname) < 0) {
            PyErr_WriteUnraisable(self);
        }
    }
    PyObject *closed = coroutine_close(self, NULL);
    if (!closed) PyErr_WriteUnraisable(self);
    Py_XDECREF(closed);
    PyErr_Restore(type, value, traceback);
}

static void coroutine_dealloc(PyObject *self)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    if (c->state != DONE && PyObject_CallFinalizerFromDealloc(self) < 0) return;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (c->weakrefs) PyObject_ClearWeakRefs(self);
    finish(c);
    forget_value(c);
    /* An object is finalised once in its life, and this one's life would go on. */
    if (ASYNC__PY_GIL && kept_count < KEPT && !PyObject_GC_IsFinalized(self)) {
        kept[kept_count++] = c;
    } else {
        PyObject_GC_Del(c);
    }
    Py_DECREF(type);
}

static PyObject *coroutine_repr(PyObject *self)
{
    struct async__py_coroutine *c = (struct async__py_coroutine *)self;
    return PyUnicode_FromFormat("<coroutine object %s at %p>", c->kind->qualname, c);
}

static PyObject *coroutine_qualname(PyObject *self, void *unused)
{
    return PyUnicode_FromString(((struct async__py_coroutine *)self)->kind->qualname);
}

static PyObject *coroutine_name(PyObject *self, void *unused)
{
    const char *qualname = ((struct async__py_coroutine *)self)->kind->qualname;
    const char *dot = strrchr(qualname, '.');
    return PyUnicode_FromString(dot ? dot + 1 : qualname);
}

static PyObject *coroutine_in_state(PyObject *self, void *state)
{
    return PyBool_FromLong(((struct async__py_coroutine *)self)->state == (uintptr_t)state);
}

/* What inspect.getcoroutinestate() asks since Python 3.15. */
static PyObject *coroutine_cr_state(PyObject *self, void *unused)
{
    static const char *const names[] = {"CORO_CREATED", "CORO_SUSPENDED", "CORO_RUNNING",
                                        "CORO_CLOSED"};
    return PyUnicode_InternFromString(names[((struct async__py_coroutine *)self)->state]);
}

static PyObject *coroutine_cr_await(PyObject *self, void *unused)
{
    PyObject *awaited = ((struct async__py_coroutine *)self)->awaited;
    return Py_NewRef(awaited ? awaited : Py_None);
}

static PyObject *coroutine_none(PyObject *self, void *unused) { Py_RETURN_NONE; }

static PyMethodDef coroutine_methods[] = {
    {"send", coroutine_send, METH_O, "Runs it until it waits again, or raises StopIteration."},
    {"throw", (PyCFunction)(void (*)(void))coroutine_throw, METH_FASTCALL,
     "Raises an exception where it waits."},
    {"close", coroutine_close, METH_NOARGS, "Raises GeneratorExit where it waits."},
    {0},
};

static PyGetSetDef coroutine_attributes[] = {
    {"__name__", coroutine_name, NULL, NULL, NULL},
    {"__qualname__", coroutine_qualname, NULL, NULL, NULL},
    {"cr_await", coroutine_cr_await, NULL, NULL, NULL},
    {"cr_running", coroutine_in_state, NULL, NULL, (void *)RUNNING},
    {"cr_suspended", coroutine_in_state, NULL, NULL, (void *)SUSPENDED},
    {"cr_state", coroutine_cr_state, NULL, NULL, NULL},
    {"cr_frame", coroutine_none, NULL, NULL, NULL},
    {"cr_code", coroutine_none, NULL, NULL, NULL},
    {"cr_origin", coroutine_none, NULL, NULL, NULL},
    {0},
};

static PyMemberDef coroutine_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct async__py_coroutine, weakrefs), READONLY,
     NULL},
    {0},
};

static PyType_Slot coroutine_slots[] = {
    {Py_tp_doc, "A coroutine written in C."},
    {Py_tp_dealloc, coroutine_dealloc},
    {Py_tp_finalize, coroutine_finalize},
    {Py_tp_traverse, coroutine_traverse},
    {Py_tp_repr, coroutine_repr},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, coroutine_iternext},
    {Py_am_await, coroutine_await},
    {Py_am_send, coroutine_am_send},
    {Py_tp_methods, coroutine_methods},
    {Py_tp_getset, coroutine_attributes},
    {Py_tp_members, coroutine_members},
    {0},
};

static PyType_Spec coroutine_spec = {
    .name = "casyncio._casyncio.coroutine",
    .basicsize = sizeof(struct async__py_coroutine),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = coroutine_slots,
};

void async__py_coroutine_layout(uint64_t *type, uint32_t *running, uint32_t *done)
{
    *type = (uintptr_t)coroutine_type;
    *running = RUNNING;
    *done = DONE;
}

int async__py_add_coroutine(PyObject *module)
{
    const struct async__py_name names[] = {{&text_close, "close"}, {&text_throw, "throw"}, {0}};
    if (async__py_intern(names) < 0) return -1;
    coroutine_type = async__py_add_type(module, &coroutine_spec, NULL);
    return coroutine_type ? 0 : -1;
}
