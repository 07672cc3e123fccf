/* loop_schedule.c - call_soon, call_later and their like, and the clock.
 *
 * A call makes one object: the handle, which has the engine's callback or timer in it. */
#include "clock.h"
#include "handle.h"
#include "loop_type.h"

#include <math.h>

typedef async__py_loop loop_object;

static PyObject *thread_get_ident;

/* What debug mode asks of each call_soon and call_at. */
static int check_call(loop_object *self, PyObject *callback, const char *method, bool any_thread)
{
    PyObject *result =
        async__py_call_method((PyObject *)self, "_check_callback", "Os", callback, method);
    Py_XDECREF(result);
    if (result && !any_thread) {
        result = async__py_call_method((PyObject *)self, "_check_thread", NULL);
        Py_XDECREF(result);
    }
    return result ? 0 : -1;
}

/* ---- callbacks ---- */

/* The type of the callback by which a task of C's does its next step: a bare yield, sleep(0), queues
 * one, and so does the start of a task. NULL until there was one. */
static PyTypeObject *step_type;

/* The type has no public name. */
static void learn_step_type(PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');

    if (type == step_type) return;
    if (strcmp(dot ? dot + 1 : type->tp_name, "TaskStepMethWrapper") == 0)
        step_type = (PyTypeObject *)Py_NewRef((PyObject *)type);
}

static PyObject *loop_call_soon(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                PyObject *names)
{
    loop_object *self = (loop_object *)object;
    PyObject *context;

    if (async__py_check_count(count, 1, "call_soon(callback, *args, context=None)") < 0 ||
        async__py_take_context(args, count, names, &context) < 0 || async__py_check_open(self) < 0)
        return NULL;
    if (self->debug && check_call(self, args[0], "call_soon", false) < 0) return NULL;
    PyObject *handle = async__py_handle_new(self, args[0], args + 1, count - 1, context);
    if (handle) async__py_handle_schedule(self, handle);
    if (self->starting)
        learn_step_type(Py_TYPE(args[0]));
    else if (Py_TYPE(args[0]) == step_type && self->engine)
        async_loop_yielded(self->engine);
    return handle;
}

/* From the loop's own thread, and to a loop that does not run, it is call_soon: callbacks keep
 * their order, and nobody needs to be woken. */
static PyObject *loop_call_soon_threadsafe(PyObject *object, PyObject *const *args,
                                           Py_ssize_t count, PyObject *names)
{
    loop_object *self = (loop_object *)object;
    PyObject *context;
    unsigned long thread = PyThread_get_thread_ident();
    bool here = self->thread == thread;
    /* A loop that does not run is anybody's under the GIL. */
    bool idle = self->thread == 0 && (ASYNC__PY_GIL || self->owner == thread);

    if (async__py_check_count(count, 1, "call_soon_threadsafe(callback, *args, context=None)") <
            0 ||
        async__py_take_context(args, count, names, &context) < 0 ||
        ((here || idle) && async__py_check_open(self) < 0))
        return NULL;
    if (self->debug && check_call(self, args[0], "call_soon_threadsafe", true) < 0) return NULL;
    PyObject *handle =
        here ? async__py_handle_new(self, args[0], args + 1, count - 1, context)
             : async__py_shared_handle_new(self, args[0], args + 1, count - 1, context);
    if (!handle) return NULL;
    if (here || idle)
        async__py_handle_schedule(self, handle);
    else if (async__py_handle_schedule_threadsafe(self, handle) < 0)
        Py_CLEAR(handle);
    return handle;
}

static PyObject *call_at(loop_object *self, PyObject *when, PyObject *const *args, Py_ssize_t count,
                         PyObject *context, const char *method)
{
    double seconds = PyFloat_AsDouble(when);
    if (seconds == -1 && PyErr_Occurred()) return NULL;
    if (isnan(seconds)) {
        PyErr_Format(PyExc_ValueError, "%s: the time is not a number (nan)", method);
        return NULL;
    }
    if (async__py_check_open(self) < 0) return NULL;
    if (self->debug && check_call(self, args[0], method, false) < 0) return NULL;
    int64_t ns;
    if (async__py_engine_time(self, seconds, &ns) < 0) return NULL;
    PyObject *handle =
        async__py_timer_handle_new(self, when, args[0], args + 1, count - 1, context);
    if (handle && async__py_timer_handle_schedule(self, handle, ns) < 0) Py_CLEAR(handle);
    return handle;
}

static PyObject *loop_call_at(PyObject *object, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    PyObject *context;

    if (async__py_check_count(count, 2, "call_at(when, callback, *args, context=None)") < 0 ||
        async__py_take_context(args, count, names, &context) < 0)
        return NULL;
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    return call_at((loop_object *)object, args[0], args + 1, count - 1, context, "call_at");
}

static PyObject *loop_call_later(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    loop_object *self = (loop_object *)object;
    PyObject *context;

    if (async__py_check_count(count, 2, "call_later(delay, callback, *args, context=None)") < 0 ||
        async__py_take_context(args, count, names, &context) < 0)
        return NULL;
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    double delay = PyFloat_AsDouble(args[0]);
    if (delay == -1 && PyErr_Occurred()) return NULL;
    double time = async__py_now(self);
    if (time == -1 && PyErr_Occurred()) return NULL;
    PyObject *when = PyFloat_FromDouble(time + delay);
    if (!when) return NULL;
    PyObject *handle = call_at(self, when, args + 1, count - 1, context, "call_later");
    Py_DECREF(when);
    return handle;
}

static PyObject *loop_time(PyObject *self, PyObject *none)
{
    (void)none;
    return PyFloat_FromDouble((double)async__py_loop_ns((loop_object *)self) / 1e9);
}

static PyMethodDef time_method = {"time", loop_time, METH_NOARGS,
                                  "The loop's clock, monotonic, in seconds."};

/* A data descriptor, so that we hear of it when it is replaced on an instance. */
static PyObject *get_time(PyObject *object, void *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    if (!self->time) self->time = PyCFunction_New(&time_method, object);
    return Py_XNewRef(self->time);
}

static int set_time(PyObject *object, PyObject *value, void *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    self->other_time = value != NULL;
    Py_XSETREF(self->time, Py_XNewRef(value));
    async__py_look_at_clock(self);
    return 0;
}

/* Wakes a loop that waits, from any thread. */
static PyObject *loop_write_to_self(PyObject *object, PyObject *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    if (!self->engine) Py_RETURN_NONE;
    PyObject *handle = async__py_handle_new(self, thread_get_ident, NULL, 0, NULL);
    if (!handle) return NULL;
    if (async__py_handle_schedule_threadsafe(self, handle) < 0)
        PyErr_Clear(); /* closed meanwhile */
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

#define FAST(function) ((PyCFunction)(void (*)(void))(function))

static PyMethodDef methods[] = {
    {"call_soon", FAST(loop_call_soon), METH_FASTCALL | METH_KEYWORDS,
     "call_soon($self, callback, *args, context=None)\n--\n\n"
     "Has the callback run in the next turn of the loop."},
    {"call_soon_threadsafe", FAST(loop_call_soon_threadsafe), METH_FASTCALL | METH_KEYWORDS,
     "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
     "Like call_soon(), from any thread."},
    {"call_later", FAST(loop_call_later), METH_FASTCALL | METH_KEYWORDS,
     "call_later($self, delay, callback, *args, context=None)\n--\n\n"
     "Has the callback run after so many seconds."},
    {"call_at", FAST(loop_call_at), METH_FASTCALL | METH_KEYWORDS,
     "call_at($self, when, callback, *args, context=None)\n--\n\n"
     "Like call_later(), at a time of loop.time()."},
    {"_write_to_self", loop_write_to_self, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef getters[] = {
    {"time", get_time, set_time, "The loop's clock, monotonic, in seconds.", NULL},
    {0},
};

int async__py_add_loop_schedule(PyObject *module)
{
    (void)module;
    if (async__py_add_loop_methods(methods) < 0 || async__py_add_loop_getters(getters) < 0)
        return -1;
    thread_get_ident = async__py_import("threading", "get_ident");
    return thread_get_ident ? 0 : -1;
}
