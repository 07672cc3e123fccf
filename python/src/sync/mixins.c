/* mixins.c - what the synchronisation classes have in common: the loop that they are bound to,
 * their lists of waiters, and subclasses that replace some of their methods.
 *
 * asyncio's classes are written in Python, so a subclass may replace anything, and the rest goes
 * through it: Queue.get() calls self.empty(), self.get_nowait(), self._get(). Ours call their
 * own C functions, as long as the class or the object has not replaced the method: that is
 * looked up once, when the object is made. Changing our own classes later is not seen.
 *
 * Each class has two bases: ours, which decides how it lies in memory, and asyncio's class of
 * the same name: isinstance holds, and what is not worth C is inherited, such as __repr__. That
 * works because the attributes that asyncio's code uses (_waiters, _locked, _queue and so on)
 * exist here, too.
 *
 * The waiters are futures in a collections.deque, which is asyncio's way of keeping them, and
 * programs look into it. A method of an exact deque is called without going through its
 * attributes. */
#include "mixins.h"

#include <structmember.h>

static PyTypeObject *bound_type;
static PyTypeObject *deque_type;
static PyObject *get_running_loop, *cancelled_error;
static PyObject *text_create_future, *text_done, *text_cancel, *text_cancelled, *text_set_result;
static PyObject *text_append, *text_popleft, *text_remove, *text_acquire;
static PyCFunction deque_append, deque_popleft, deque_remove;

int async__py_check(PyObject *result)
{
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- the deque ---- */

PyObject *async__py_deque(void) { return PyObject_CallNoArgs((PyObject *)deque_type); }

Py_ssize_t async__py_deque_length(PyObject *deque)
{
    if (!deque || deque == Py_None) return 0;
    if (Py_IS_TYPE(deque, deque_type)) return Py_SIZE(deque);
    return PyObject_Size(deque);
}

/* `method` of a deque in C, or by its name where it is something else, or where the method's way of
 * taking its argument is not known. */
static PyObject *deque_call(PyObject *deque, PyCFunction method, PyObject *name, PyObject *item)
{
    if (!deque) deque = Py_None; /* somebody has deleted the attribute */
    Py_INCREF(deque);            /* or does so now: items are compared */
    PyObject *result;
    if (method && Py_IS_TYPE(deque, deque_type)) {
        result = method(deque, item);
    } else if (item) {
        result = PyObject_CallMethodOneArg(deque, name, item);
    } else {
        result = PyObject_CallMethodNoArgs(deque, name);
    }
    Py_DECREF(deque);
    return result;
}

int async__py_deque_append(PyObject *deque, PyObject *item)
{
    return async__py_check(deque_call(deque, deque_append, text_append, item));
}

PyObject *async__py_deque_popleft(PyObject *deque)
{
    return deque_call(deque, deque_popleft, text_popleft, NULL);
}

int async__py_deque_remove(PyObject *deque, PyObject *item)
{
    return async__py_check(deque_call(deque, deque_remove, text_remove, item));
}

/* The C function of deque's method, if it is called with `flags`, or NULL. */
static PyCFunction deque_method(PyObject *name, int flags)
{
    PyObject *method = PyObject_GetAttr((PyObject *)deque_type, name);
    PyCFunction function = NULL;
    if (!method) {
        PyErr_Clear();
    } else if (Py_IS_TYPE(method, &PyMethodDescr_Type)) {
        PyMethodDef *definition = ((PyMethodDescrObject *)method)->d_method;
        if (definition->ml_flags == flags) function = definition->ml_meth;
    }
    Py_XDECREF(method);
    return function;
}

/* ---- waiters ---- */

static int is_true(PyObject *truth)
{
    int result = truth ? PyObject_IsTrue(truth) : -1;
    Py_XDECREF(truth);
    return result;
}

int async__py_done(PyObject *future)
{
    return is_true(PyObject_CallMethodNoArgs(future, text_done));
}

int async__py_cancelled(PyObject *future)
{
    return is_true(PyObject_CallMethodNoArgs(future, text_cancelled));
}

int async__py_cancel(PyObject *future)
{
    return is_true(PyObject_CallMethodNoArgs(future, text_cancel));
}

int async__py_wake(PyObject *future, PyObject *result)
{
    int done = async__py_done(future);
    if (done != 0) return done < 0 ? -1 : 0;
    return async__py_check(PyObject_CallMethodOneArg(future, text_set_result, result)) < 0 ? -1 : 1;
}

Py_ssize_t async__py_wake_some(PyObject *waiters, Py_ssize_t count, PyObject *result)
{
    Py_ssize_t length = async__py_deque_length(waiters);
    if (length <= 0 || count <= 0) return length < 0 ? -1 : 0;
    PyObject *iterator = PyObject_GetIter(waiters);
    if (!iterator) return -1;
    Py_ssize_t woken = 0;
    PyObject *future;
    while (woken < count && (future = PyIter_Next(iterator)) != NULL) {
        int woke = async__py_wake(future, result);
        Py_DECREF(future);
        if (woke < 0) break;
        woken += woke;
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : woken;
}

int async__py_anybody(PyObject *waiters)
{
    Py_ssize_t length = async__py_deque_length(waiters);
    if (length <= 0) return (int)length;
    PyObject *iterator = PyObject_GetIter(waiters);
    if (!iterator) return -1;
    int cancelled = 1;
    PyObject *future;
    while (cancelled == 1 && (future = PyIter_Next(iterator)) != NULL) {
        cancelled = async__py_cancelled(future);
        Py_DECREF(future);
    }
    Py_DECREF(iterator);
    return PyErr_Occurred() ? -1 : !cancelled;
}

enum async__py_outcome async__py_wait(struct async__py_coroutine *c, PyObject **waiters)
{
    PyObject *future = async__py_bound_future(c->owner);
    if (!future) return ASYNC__PY_FAILED;
    Py_XSETREF(c->waiter, future);
    if (!*waiters || *waiters == Py_None) {
        PyObject *deque = async__py_deque();
        if (!deque) return ASYNC__PY_FAILED;
        Py_XSETREF(*waiters, deque);
    }
    if (async__py_deque_append(*waiters, future) < 0) return ASYNC__PY_FAILED;
    return async__py_await(c, Py_NewRef(future));
}

int async__py_unwait(struct async__py_coroutine *c, PyObject *waiters)
{
    if (!PyErr_Occurred()) return async__py_deque_remove(waiters, c->waiter);
    PyObject *error = async__py_error_take();
    if (async__py_deque_remove(waiters, c->waiter) < 0) {
        Py_DECREF(error);
        return -1;
    }
    async__py_error_set(error);
    return 0;
}

/* ---- the loop ---- */

/* The running loop, borrowed from the object, or NULL with an exception. Without a running loop
 * it is None, as in asyncio. */
static PyObject *loop_of(struct async__py_bound *bound)
{
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    if (!loop) return NULL;
    if (!bound->loop || bound->loop == Py_None) Py_XSETREF(bound->loop, Py_NewRef(loop));
    Py_DECREF(loop);
    if (bound->loop == loop) return loop;
    PyErr_Format(PyExc_RuntimeError, "%R is bound to a different event loop", bound);
    return NULL;
}

PyObject *async__py_bound_future(PyObject *self)
{
    PyObject *loop = loop_of((struct async__py_bound *)self);
    if (!loop) return NULL;
    Py_INCREF(loop);
    PyObject *future = PyObject_CallMethodNoArgs(loop, text_create_future);
    Py_DECREF(loop);
    return future;
}

/* ---- methods that are replaced ---- */

bool async__py_overrides(PyObject *self, int hook)
{
    return ((struct async__py_bound *)self)->overridden & 1u << hook;
}

PyObject *async__py_call_hook(PyObject *self, int hook, PyObject *argument)
{
    PyObject *name = ((struct async__py_bound *)self)->hooks[hook].text;
    return argument ? PyObject_CallMethodOneArg(self, name, argument)
                    : PyObject_CallMethodNoArgs(self, name);
}

PyObject *async__py_bound_new(PyTypeObject *type, struct async__py_hook *hooks, bool subclass)
{
    struct async__py_bound *bound = (struct async__py_bound *)type->tp_alloc(type, 0);
    if (!bound) return NULL;
    bound->hooks = hooks;
    for (int i = 0; subclass && hooks[i].name; i++) {
        PyObject *method = PyObject_GetAttr((PyObject *)type, hooks[i].text);
        if (!method) PyErr_Clear();
        if (method != hooks[i].native) bound->overridden |= 1u << i;
        Py_XDECREF(method);
    }
    return (PyObject *)bound;
}

static int bound_setattro(PyObject *self, PyObject *name, PyObject *value)
{
    struct async__py_bound *bound = (struct async__py_bound *)self;
    if (PyObject_GenericSetAttr(self, name, value) < 0) return -1;
    for (int i = 0; bound->hooks && bound->hooks[i].name; i++) {
        if (PyUnicode_Compare(name, bound->hooks[i].text) == 0) bound->overridden |= 1u << i;
    }
    return 0;
}

/* ---- the base class ---- */

PyTypeObject *async__py_bound_type(void) { return bound_type; }

int async__py_bound_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct async__py_bound *bound = (struct async__py_bound *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(bound->dict);
    Py_VISIT(bound->loop);
    return 0;
}

int async__py_bound_clear(PyObject *self)
{
    struct async__py_bound *bound = (struct async__py_bound *)self;
    Py_CLEAR(bound->dict);
    Py_CLEAR(bound->loop);
    return 0;
}

void async__py_bound_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (((struct async__py_bound *)self)->weakrefs) PyObject_ClearWeakRefs(self);
    type->tp_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *bound_get_loop(PyObject *self, PyObject *unused)
{
    return Py_XNewRef(loop_of((struct async__py_bound *)self));
}

static PyMethodDef bound_methods[] = {
    {"_get_loop", bound_get_loop, METH_NOARGS, "The running loop, if the object is bound to it."},
    {0},
};

static PyGetSetDef bound_attributes[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {0},
};

static PyMemberDef bound_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(struct async__py_bound, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct async__py_bound, weakrefs), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(struct async__py_bound, loop), 0, NULL},
    {0},
};

static PyType_Slot bound_slots[] = {
    {Py_tp_doc, "Base of the classes whose objects belong to the loop that they first wait in."},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, async__py_bound_traverse},
    {Py_tp_clear, async__py_bound_clear},
    {Py_tp_setattro, bound_setattro},
    {Py_tp_methods, bound_methods},
    {Py_tp_getset, bound_attributes},
    {Py_tp_members, bound_members},
    {0},
};

static PyType_Spec bound_spec = {
    .name = "casyncio._casyncio._LoopBoundMixin",
    .basicsize = sizeof(struct async__py_bound),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = bound_slots,
};

PyTypeObject *async__py_add_bound_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                                       struct async__py_hook *hooks)
{
    PyObject *theirs = async__py_import("asyncio", strrchr(spec->name, '.') + 1);
    PyObject *bases = theirs ? PyTuple_Pack(2, base, theirs) : NULL;
    Py_XDECREF(theirs);
    if (!bases) return NULL;
    PyTypeObject *type = async__py_add_type(module, spec, bases);
    Py_DECREF(bases);
    /* In messages a Python class is called by its name alone. */
    if (type) type->tp_name = strrchr(type->tp_name, '.') + 1;
    for (int i = 0; type && hooks && hooks[i].name; i++) {
        hooks[i].text = PyUnicode_InternFromString(hooks[i].name);
        if (!hooks[i].text) return NULL;
        hooks[i].native = PyObject_GetAttr((PyObject *)type, hooks[i].text);
        if (!hooks[i].native) return NULL;
    }
    return type;
}

/* ---- lists of waiters that are made when they are looked at ---- */

PyObject *async__py_get_waiters(PyObject *self, void *offset)
{
    PyObject **waiters = (PyObject **)((char *)self + (uintptr_t)offset);
    if (!*waiters) *waiters = async__py_deque();
    return Py_XNewRef(*waiters);
}

int async__py_set_waiters(PyObject *self, PyObject *value, void *offset)
{
    PyObject **waiters = (PyObject **)((char *)self + (uintptr_t)offset);
    Py_XSETREF(*waiters, Py_XNewRef(value));
    return 0;
}

/* ---- async with ---- */

static enum async__py_outcome enter_begin(struct async__py_coroutine *c, PyObject **result)
{
    return async__py_await(c, PyObject_CallMethodNoArgs(c->owner, text_acquire));
}

static enum async__py_outcome enter_resume(struct async__py_coroutine *c, PyObject *value,
                                           PyObject **result)
{
    *result = Py_XNewRef(value);
    return value ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind enter_kind = {
    .qualname = "__aenter__",
    .begin = enter_begin,
    .resume = enter_resume,
    .returns_none = true,
};

PyObject *async__py_enter(PyObject *self) { return async__py_coroutine(&enter_kind, self, NULL); }

PyObject *async__py_exit(const struct async__py_coroutine_kind *kind, PyObject *self,
                         Py_ssize_t count)
{
    if (count == 3) return async__py_coroutine(kind, self, NULL);
    PyErr_Format(PyExc_TypeError, "__aexit__() takes 3 arguments (%zd given)", count);
    return NULL;
}

PyObject *async__py_cancelled_error(void) { return cancelled_error; }

int async__py_add_mixins(PyObject *module)
{
    const struct async__py_name names[] = {
        {&text_create_future, "create_future"},
        {&text_done, "done"},
        {&text_cancel, "cancel"},
        {&text_cancelled, "cancelled"},
        {&text_set_result, "set_result"},
        {&text_append, "append"},
        {&text_popleft, "popleft"},
        {&text_remove, "remove"},
        {&text_acquire, "acquire"},
        {0},
    };
    if (async__py_intern(names) < 0) return -1;
    deque_type = (PyTypeObject *)async__py_import("collections", "deque");
    get_running_loop = async__py_import("asyncio.events", "_get_running_loop");
    cancelled_error = async__py_import("asyncio.exceptions", "CancelledError");
    if (!deque_type || !get_running_loop || !cancelled_error) return -1;
    deque_append = deque_method(text_append, METH_O);
    deque_popleft = deque_method(text_popleft, METH_NOARGS);
    deque_remove = deque_method(text_remove, METH_O);
    bound_type = async__py_add_type(module, &bound_spec, NULL);
    return bound_type ? 0 : -1;
}
