/* run.c - run_forever: what stands around the engine's run.
 *
 * asyncio keeps four things of a thread while a loop runs in it: which loop that is, the hooks of
 * asynchronous generators, whether coroutines note where they were made (debug mode), and, in the
 * main thread, the descriptor that signals are written to. All are put back however the run ends;
 * even where there is no memory for that at the moment, or the thread would have a running loop for
 * ever. */
#include "face.h"

typedef async__py_loop loop_object;

static PyObject *events, *name_get_running_loop, *name_set_running_loop;
static PyObject *get_hooks, *set_hooks, *hook_names;
static PyObject *set_wakeup_fd, *minus_one;
static PyObject *name_track, *name_firstiter, *name_finalizer, *name_begin_wakeups;

/* What was there before. */
struct saved {
    PyObject *set_running_loop; /* asyncio's, which tests replace */
    PyObject *hooks;            /* a pair */
    long wakeup;                /* the descriptor that is the loop's, or -1 */
    bool tracks;
};

/* Calls, and when memory is what lacks, tries again: a little later there may be some. Other errors
 * are told of, for there is nobody left to go on with them. */
static void call_firmly(PyObject *function, PyObject *const *args, size_t count)
{
    for (int i = 0; i < 100; i++) {
        PyObject *result = PyObject_Vectorcall(function, args, count, NULL);
        if (result) {
            Py_DECREF(result);
            return;
        }
        if (!PyErr_ExceptionMatches(PyExc_MemoryError)) break;
        if (i < 99) PyErr_Clear();
    }
    PyErr_WriteUnraisable(function);
}

static int refuse(loop_object *self)
{
    if (async__py_check_open(self) < 0) return -1;
    if (self->thread) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return -1;
    }
    PyObject *running = PyObject_CallMethodNoArgs(events, name_get_running_loop);
    if (!running) return -1;
    bool other = running != Py_None;
    Py_DECREF(running);
    if (other)
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
    return other ? -1 : 0;
}

static int set_generator_hooks(PyObject *self)
{
    PyObject *args[2] = {PyObject_GetAttr(self, name_firstiter),
                         PyObject_GetAttr(self, name_finalizer)};
    PyObject *result =
        args[0] && args[1] ? PyObject_Vectorcall(set_hooks, args, 0, hook_names) : NULL;

    Py_XDECREF(args[0]);
    Py_XDECREF(args[1]);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int track(PyObject *self, PyObject *enabled)
{
    PyObject *result = PyObject_CallMethodOneArg(self, name_track, enabled);

    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int enter(PyObject *self, struct saved *saved)
{
    if (((loop_object *)self)->debug) {
        if (track(self, Py_True) < 0) return -1;
        saved->tracks = true;
    }
    saved->hooks = PyObject_CallNoArgs(get_hooks);
    if (!saved->hooks || set_generator_hooks(self) < 0) return -1;
    PyObject *wakeup = PyObject_CallMethodNoArgs(self, name_begin_wakeups);
    if (!wakeup) return -1;
    saved->wakeup = PyLong_AsLong(wakeup);
    Py_DECREF(wakeup);
    saved->set_running_loop = PyObject_GetAttr(events, name_set_running_loop);
    if (!saved->set_running_loop) return -1;
    PyObject *result = PyObject_CallOneArg(saved->set_running_loop, self);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static void leave(PyObject *self, struct saved *saved)
{
    PyObject *error = async__py_error_take(), *none = Py_None;

    ((loop_object *)self)->thread = 0;
    if (saved->set_running_loop) {
        call_firmly(saved->set_running_loop, &none, 1);
        Py_DECREF(saved->set_running_loop);
    }
    if (saved->wakeup != -1) call_firmly(set_wakeup_fd, &minus_one, 1);
    if (saved->hooks) {
        call_firmly(set_hooks, ((PyTupleObject *)saved->hooks)->ob_item, 2);
        Py_DECREF(saved->hooks);
    }
    /* Debug mode may have been switched on or off meanwhile. */
    if ((saved->tracks || ((loop_object *)self)->debug) && track(self, Py_False) < 0)
        PyErr_WriteUnraisable(self);
    if (error) async__py_error_set(error);
}

static PyObject *run_forever(PyObject *self, PyObject *none)
{
    struct saved saved = {.wakeup = -1};

    (void)none;
    if (refuse((loop_object *)self) < 0) return NULL;
    ((loop_object *)self)->owner = ((loop_object *)self)->thread = PyThread_get_thread_ident();
    PyObject *result = enter(self, &saved) < 0 ? NULL : async__py_loop_run((loop_object *)self);
    leave(self, &saved);
    return result;
}

PyMethodDef async__py_run_methods[] = {
    {"run_forever", run_forever, METH_NOARGS, "Run until stop() is called."},
    {0},
};

int async__py_add_run(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_get_running_loop, "_get_running_loop"},
        {&name_set_running_loop, "_set_running_loop"},
        {&name_track, "_set_coroutine_origin_tracking"},
        {&name_firstiter, "_asyncgen_firstiter_hook"},
        {&name_finalizer, "_asyncgen_finalizer_hook"},
        {&name_begin_wakeups, "_begin_wakeups"},
        {0},
    };

    (void)module;
    events = PyImport_ImportModule("asyncio.events");
    get_hooks = async__py_import("sys", "get_asyncgen_hooks");
    set_hooks = async__py_import("sys", "set_asyncgen_hooks");
    set_wakeup_fd = async__py_import("signal", "set_wakeup_fd");
    minus_one = PyLong_FromLong(-1);
    hook_names = Py_BuildValue("(ss)", "firstiter", "finalizer");
    if (!set_wakeup_fd || !minus_one || !events || !get_hooks || !set_hooks || !hook_names)
        return -1;
    return async__py_intern(names);
}
