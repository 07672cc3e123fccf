/* timeout.c - Timeout, timeout() and timeout_at(), as asyncio's (those of CPython 3.13).
 *
 * A timeout is a timer that cancels the task that has entered it. On leaving, the cancellation is
 * taken back, and becomes TimeoutError, if it was the timeout's own: the task has then no more
 * requests to be cancelled than when it came in. */
#include "mixins.h"

enum state { CREATED, ENTERED, EXPIRING, EXPIRED, EXITED };

static const char *const state_names[] = {"created", "active", "expiring", "expired", "finished"};

struct timeout {
    struct async__py_bound bound;
    PyObject *when; /* a time of the loop, or None */
    PyObject *task; /* that has entered it */
    PyObject *handle;
    Py_ssize_t cancelling; /* how many requests the task had when it came in */
    enum state state;
};

static PyTypeObject *timeout_type;
static PyObject *get_running_loop, *cancelled_error, *exception_group;
static PyObject *tasks,
    *text_current_task;          /* looked up each time, as asyncio does: it may be replaced */
static PyObject *tasks_of_loops; /* before 3.12, where current_task() is not written in C */
static PyObject *text_time, *text_call_soon, *text_call_at, *text_cancel, *text_cancelling;
static PyObject *text_uncancel, *text_on_timeout, *text_exceptions;

/* ---- the timer ---- */

static int cancel_handle(struct timeout *timeout)
{
    PyObject *handle = timeout->handle;
    if (!handle) return 0;
    timeout->handle = NULL;
    PyObject *result = PyObject_CallMethodNoArgs(handle, text_cancel);
    Py_XDECREF(result);
    Py_DECREF(handle);
    return result ? 0 : -1;
}

/* At `timeout->when` _on_timeout() is called; at once, if that is over. */
static int schedule(struct timeout *timeout, PyObject *loop)
{
    if (timeout->when == Py_None) return 0;
    PyObject *now = PyObject_CallMethodNoArgs(loop, text_time);
    if (!now) return -1;
    int over = PyObject_RichCompareBool(timeout->when, now, Py_LE);
    Py_DECREF(now);
    if (over < 0) return -1;

    PyObject *callback = PyObject_GetAttr((PyObject *)timeout, text_on_timeout);
    if (!callback) return -1;
    PyObject *arguments[] = {loop, timeout->when, callback};
    if (over) {
        timeout->handle = PyObject_CallMethodOneArg(loop, text_call_soon, callback);
    } else {
        timeout->handle = PyObject_VectorcallMethod(text_call_at, arguments, 3, NULL);
    }
    Py_DECREF(callback);
    return timeout->handle ? 0 : -1;
}

static PyObject *timeout_on_timeout(PyObject *self, PyObject *unused)
{
    struct timeout *timeout = (struct timeout *)self;
    if (timeout->state != ENTERED) {
        PyErr_SetString(PyExc_AssertionError, "the timeout is not active");
        return NULL;
    }
    PyObject *cancelled = PyObject_CallMethodNoArgs(timeout->task, text_cancel);
    if (!cancelled) return NULL;
    Py_DECREF(cancelled);
    timeout->state = EXPIRING;
    Py_CLEAR(timeout->handle);
    Py_RETURN_NONE;
}

static PyObject *timeout_reschedule(PyObject *self, PyObject *arguments, PyObject *names)
{
    static char *keywords[] = {"when", NULL};
    struct timeout *timeout = (struct timeout *)self;
    PyObject *when;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "O:reschedule", keywords, &when))
        return NULL;
    if (timeout->state == CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has not been entered");
        return NULL;
    }
    if (timeout->state != ENTERED) {
        PyErr_Format(PyExc_RuntimeError, "Cannot change state of %s Timeout",
                     state_names[timeout->state]);
        return NULL;
    }
    Py_XSETREF(timeout->when, Py_NewRef(when));
    if (cancel_handle(timeout) < 0) return NULL;
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    int result = loop ? schedule(timeout, loop) : -1;
    Py_XDECREF(loop);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- entering ---- */

/* What a method of the task that counts says, or -1. */
static Py_ssize_t count_of(PyObject *task, PyObject *method)
{
    PyObject *count = PyObject_CallMethodNoArgs(task, method);
    Py_ssize_t result = count ? PyLong_AsSsize_t(count) : -1;
    Py_XDECREF(count);
    return result;
}

static PyObject *task_of(PyObject *loop)
{
    if (!tasks_of_loops) return PyObject_CallMethodOneArg(tasks, text_current_task, loop);
    PyObject *task = PyDict_GetItemWithError(tasks_of_loops, loop);
    if (!task && PyErr_Occurred()) return NULL;
    return Py_NewRef(task ? task : Py_None);
}

static int enter(struct timeout *timeout, PyObject *loop, PyObject *task)
{
    if (task == Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout should be used inside a task");
        return -1;
    }
    timeout->cancelling = count_of(task, text_cancelling);
    if (timeout->cancelling < 0) return -1;
    timeout->state = ENTERED;
    Py_XSETREF(timeout->task, Py_NewRef(task));
    return schedule(timeout, loop);
}

static enum async__py_outcome enter_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct timeout *timeout = (struct timeout *)c->owner;
    if (timeout->state != CREATED) {
        PyErr_SetString(PyExc_RuntimeError, "Timeout has already been entered");
        return ASYNC__PY_FAILED;
    }
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    PyObject *task = loop ? task_of(loop) : NULL;
    int entered = task ? enter(timeout, loop, task) : -1;
    Py_XDECREF(task);
    Py_XDECREF(loop);
    if (entered < 0) return ASYNC__PY_FAILED;
    *result = Py_NewRef(timeout);
    return ASYNC__PY_DONE;
}

static const struct async__py_coroutine_kind enter_kind = {
    .qualname = "Timeout.__aenter__",
    .begin = enter_begin,
};

static PyObject *timeout_enter(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&enter_kind, self, NULL);
}

/* ---- leaving ---- */

/* The first CancelledError among the contexts of `error` is put behind a TimeoutError. */
static int insert_timeout_error(PyObject *error)
{
    Py_INCREF(error);
    PyObject *context;
    while ((context = PyException_GetContext(error))) {
        if (PyErr_GivenExceptionMatches(context, cancelled_error)) {
            PyObject *timed_out = PyObject_CallNoArgs(PyExc_TimeoutError);
            if (timed_out) {
                PyException_SetCause(timed_out, Py_NewRef(context));
                PyException_SetContext(timed_out, Py_NewRef(context));
                PyException_SetContext(error, timed_out);
            }
            Py_DECREF(context);
            Py_DECREF(error);
            return timed_out ? 0 : -1;
        }
        Py_SETREF(error, context);
    }
    Py_DECREF(error);
    return 0;
}

/* The same in an exception, and in those of a group. */
static int insert_timeout_errors(PyObject *error)
{
    if (insert_timeout_error(error) < 0) return -1;
    int group = PyObject_IsInstance(error, exception_group);
    if (group <= 0) return group;
    PyObject *exceptions = PyObject_GetAttr(error, text_exceptions);
    PyObject *all = exceptions ? PySequence_Tuple(exceptions) : NULL;
    int result = all ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(all); i++) {
        result = insert_timeout_error(PyTuple_GET_ITEM(all, i));
    }
    Py_XDECREF(all);
    Py_XDECREF(exceptions);
    return result;
}

/* It was the timeout that has cancelled: `type` and `error` are what the block ended with. */
static int convert(PyObject *type, PyObject *error)
{
    int cancelled = PyObject_IsSubclass(type, cancelled_error);
    if (cancelled < 0) return -1;
    if (!cancelled) return error == Py_None ? 0 : insert_timeout_errors(error);
    PyErr_SetNone(PyExc_TimeoutError);
    PyObject *timed_out = async__py_error_take();
    PyException_SetCause(timed_out, error == Py_None ? NULL : Py_NewRef(error));
    async__py_error_set(timed_out);
    return -1;
}

/* `arguments` are those of __aexit__, or NULL if there was no exception. */
static int leave(struct timeout *timeout, PyObject *arguments)
{
    if (timeout->state != ENTERED && timeout->state != EXPIRING) {
        PyErr_SetString(PyExc_AssertionError, "the timeout is not active");
        return -1;
    }
    if (cancel_handle(timeout) < 0) return -1;
    if (timeout->state == ENTERED) {
        timeout->state = EXITED;
        return 0;
    }
    timeout->state = EXPIRED;
    Py_ssize_t requests = count_of(timeout->task, text_uncancel);
    if (requests < 0) return -1;
    if (requests > timeout->cancelling || !arguments) return 0;
    return convert(PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_ITEM(arguments, 1));
}

static enum async__py_outcome exit_begin(struct async__py_coroutine *c, PyObject **result)
{
    if (leave((struct timeout *)c->owner, c->argument) < 0) return ASYNC__PY_FAILED;
    *result = Py_NewRef(Py_None);
    return ASYNC__PY_DONE;
}

static const struct async__py_coroutine_kind exit_kind = {
    .qualname = "Timeout.__aexit__",
    .begin = exit_begin,
};

static PyObject *timeout_exit(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_Format(PyExc_TypeError, "__aexit__() takes 3 arguments (%zd given)", count);
        return NULL;
    }
    if (arguments[0] == Py_None) return async__py_coroutine(&exit_kind, self, NULL);
    PyObject *error = PyTuple_Pack(2, arguments[0], arguments[1]);
    PyObject *c = error ? async__py_coroutine(&exit_kind, self, error) : NULL;
    Py_XDECREF(error);
    return c;
}

/* ---- the object ---- */

static PyObject *timeout_when(PyObject *self, PyObject *unused)
{
    return Py_NewRef(((struct timeout *)self)->when);
}

static PyObject *timeout_expired(PyObject *self, PyObject *unused)
{
    enum state state = ((struct timeout *)self)->state;
    return PyBool_FromLong(state == EXPIRING || state == EXPIRED);
}

static PyObject *make(PyTypeObject *type, PyObject *when)
{
    struct timeout *timeout = (struct timeout *)async__py_bound_new(type, NULL, false);
    if (timeout) timeout->when = Py_NewRef(when);
    return (PyObject *)timeout;
}

static PyObject *timeout_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    static char *keywords[] = {"when", NULL};
    PyObject *when;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "O:Timeout", keywords, &when)) return NULL;
    return make(type, when);
}

/* tp_new has done it all; asyncio's __init__ is not to be called. */
static int timeout_init(PyObject *self, PyObject *arguments, PyObject *names) { return 0; }

static int timeout_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct timeout *timeout = (struct timeout *)self;
    Py_VISIT(timeout->when);
    Py_VISIT(timeout->task);
    Py_VISIT(timeout->handle);
    return async__py_bound_traverse(self, visit, arg);
}

static int timeout_clear(PyObject *self)
{
    struct timeout *timeout = (struct timeout *)self;
    Py_CLEAR(timeout->when);
    Py_CLEAR(timeout->task);
    Py_CLEAR(timeout->handle);
    return async__py_bound_clear(self);
}

static PyObject *timeout_repr(PyObject *self)
{
    struct timeout *timeout = (struct timeout *)self;
    const char *state = state_names[timeout->state];
    if (timeout->state != ENTERED) return PyUnicode_FromFormat("<Timeout [%s]>", state);
    PyObject *when = timeout->when == Py_None
                         ? Py_NewRef(Py_None)
                         : async__py_call_method(timeout->when, "__round__", "i", 3);
    PyObject *repr = when ? PyUnicode_FromFormat("<Timeout [%s] when=%S>", state, when) : NULL;
    Py_XDECREF(when);
    return repr;
}

static PyMethodDef timeout_methods[] = {
    {"when", timeout_when, METH_NOARGS, "when($self)\n--\n\nThe deadline, or None."},
    {"reschedule", (PyCFunction)(void (*)(void))timeout_reschedule, METH_VARARGS | METH_KEYWORDS,
     "reschedule($self, when)\n--\n\nSets another deadline, or none."},
    {"expired", timeout_expired, METH_NOARGS,
     "expired($self)\n--\n\nTrue if the deadline has passed inside the block."},
    {"_on_timeout", timeout_on_timeout, METH_NOARGS, NULL},
    {"__aenter__", timeout_enter, METH_NOARGS, NULL},
    {"__aexit__", (PyCFunction)(void (*)(void))timeout_exit, METH_FASTCALL, NULL},
    {0},
};

static PyType_Slot timeout_slots[] = {
    {Py_tp_doc, "Timeout(when)\n--\n\nCancels what is inside its block at a time of the loop."},
    {Py_tp_new, timeout_new},
    {Py_tp_init, timeout_init},
    {Py_tp_dealloc, async__py_bound_dealloc},
    {Py_tp_traverse, timeout_traverse},
    {Py_tp_clear, timeout_clear},
    {Py_tp_repr, timeout_repr},
    {Py_tp_methods, timeout_methods},
    {0},
};

static PyType_Spec timeout_spec = {
    .name = "casyncio.Timeout",
    .basicsize = sizeof(struct timeout),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = timeout_slots,
};

/* ---- the functions ---- */

static PyObject *timeout(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                         PyObject *names)
{
    static const struct async__py_parameter parameter = {"timeout", "delay", true};
    PyObject *delay = NULL;
    if (async__py_argument(&parameter, arguments, count, names, &delay) < 0) return NULL;
    PyObject *loop = PyObject_CallNoArgs(get_running_loop);
    if (!loop) return NULL;
    PyObject *when = NULL;
    if (delay == Py_None) {
        when = Py_NewRef(Py_None);
    } else {
        PyObject *now = PyObject_CallMethodNoArgs(loop, text_time);
        if (now) when = PyNumber_Add(now, delay);
        Py_XDECREF(now);
    }
    Py_DECREF(loop);
    PyObject *made = when ? make(timeout_type, when) : NULL;
    Py_XDECREF(when);
    return made;
}

static PyObject *timeout_at(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                            PyObject *names)
{
    static const struct async__py_parameter parameter = {"timeout_at", "when", true};
    PyObject *when = NULL;
    if (async__py_argument(&parameter, arguments, count, names, &when) < 0) return NULL;
    return make(timeout_type, when);
}

static PyMethodDef functions[] = {
    {"timeout", (PyCFunction)(void (*)(void))timeout, METH_FASTCALL | METH_KEYWORDS,
     "timeout($module, delay)\n--\n\nA timeout in `delay` seconds, or never if that is None."},
    {"timeout_at", (PyCFunction)(void (*)(void))timeout_at, METH_FASTCALL | METH_KEYWORDS,
     "timeout_at($module, when)\n--\n\nA timeout at a time of the loop, or never if that is None."},
    {0},
};

static int find_asyncio(void)
{
    get_running_loop = async__py_import("asyncio.events", "get_running_loop");
    cancelled_error = async__py_import("asyncio.exceptions", "CancelledError");
    exception_group = async__py_import("builtins", "ExceptionGroup");
    if (!get_running_loop || !cancelled_error || !exception_group) return -1;
#if PY_VERSION_HEX < 0x030C0000
    tasks_of_loops = async__py_import("asyncio.tasks", "_current_tasks");
    return tasks_of_loops ? 0 : -1;
#else
    tasks = PyImport_ImportModule("asyncio.tasks");
    return tasks ? 0 : -1;
#endif
}

int async__py_add_timeout(PyObject *module)
{
    const struct async__py_name names[] = {
        {&text_time, "time"},
        {&text_current_task, "current_task"},
        {&text_call_soon, "call_soon"},
        {&text_call_at, "call_at"},
        {&text_cancel, "cancel"},
        {&text_cancelling, "cancelling"},
        {&text_uncancel, "uncancel"},
        {&text_on_timeout, "_on_timeout"},
        {&text_exceptions, "exceptions"},
        {0},
    };
    if (async__py_intern(names) < 0 || find_asyncio() < 0) return -1;
    timeout_type = async__py_add_bound_type(module, &timeout_spec, async__py_bound_type(), NULL);
    if (!timeout_type) return -1;
    return PyModule_AddFunctions(module, functions);
}
