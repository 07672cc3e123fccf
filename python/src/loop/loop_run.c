/* loop_run.c - run_forever: what stands around the engine's run.
 *
 * asyncio keeps four things of a thread while a loop runs in it: which loop that is, the hooks of
 * asynchronous generators, whether coroutines note where they were made (debug mode), and, in the
 * main thread, the descriptor that signals are written to. All are put back however the run ends;
 * even where there is no memory for that at the moment, or the thread would have a running loop for
 * ever.
 *
 * Ctrl-C may arrive at any instant, and is noticed wherever code of Python's runs. So what has to be
 * put back is noted before it is changed; the wake-up descriptor is set and restored by C alone; and
 * what the steps of the end raise ends the run. */
#include "loop_type.h"

typedef async__py_loop loop_object;

static PyObject *events, *name_get_running_loop, *name_set_running_loop;
static PyObject *get_hooks, *set_hooks, *hook_names;
static PyObject *set_wakeup_fd, *wakeup_names, *get_depth, *set_depth;
static PyObject *name_track, *name_firstiter, *name_finalizer, *name_csock, *name_fileno,
    *name_signal_handlers;

/* What was there before. */
struct saved {
    PyObject *set_running_loop; /* asyncio's, which tests replace */
    PyObject *hooks;            /* a pair */
    PyObject *depth;            /* of the tracking of coroutines' origins */
    bool wakeup;                /* the loop has set the wake-up descriptor */
    bool tracks;
    PyObject *error; /* that ends the run */
};

/* A step of the end has failed. Ctrl-C is what the run ends with, unless there is something already;
 * other errors are told of, for there is nobody left to go on with them. */
static void step_failed(struct saved *saved, PyObject *where)
{
    if (!saved->error && async__py_ends_the_loop())
        saved->error = async__py_error_take();
    else
        PyErr_WriteUnraisable(where);
}

/* Calls, and when memory is what lacks, or Ctrl-C came in between, tries again. */
static void call_firmly(struct saved *saved, PyObject *function, PyObject *const *args,
                        size_t count)
{
    for (int i = 0; i < 100; i++) {
        PyObject *result = PyObject_Vectorcall(function, args, count, NULL);
        if (result) {
            Py_DECREF(result);
            return;
        }
        bool again = PyErr_ExceptionMatches(PyExc_MemoryError) ||
                     PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
        if (!again || i == 99 || !PyErr_ExceptionMatches(PyExc_MemoryError))
            step_failed(saved, function);
        else
            PyErr_Clear();
        if (!again) return;
    }
}

/* ---- signals: Python's own, whose wake-up descriptor tells the loop ---- */

/* The descriptor that is the loop's, or -1. No exception. */
static int wakeup_of(PyObject *self)
{
    PyObject *sock = PyObject_GetAttr(self, name_csock);
    PyObject *number =
        sock && sock != Py_None ? PyObject_CallMethodNoArgs(sock, name_fileno) : NULL;
    int fd = number ? (int)PyLong_AsLong(number) : -1;

    Py_XDECREF(sock);
    Py_XDECREF(number);
    PyErr_Clear();
    return fd;
}

/* The descriptor of before; -2: this is not the main thread, or not the main interpreter. */
static long set_wakeup(int fd, PyObject *warns)
{
    PyObject *args[] = {PyLong_FromLong(fd), warns};
    PyObject *previous = args[0] ? PyObject_Vectorcall(set_wakeup_fd, args, 1, wakeup_names) : NULL;
    long was = previous ? PyLong_AsLong(previous) : -2;

    Py_XDECREF(args[0]);
    Py_XDECREF(previous);
    PyErr_Clear();
    return was;
}

/* A signal right before the loop waits must end the wait, handler of asyncio's or not. A wake-up
 * descriptor that the program has set, or asyncio's add_signal_handler(), stays. */
static int begin_wakeups(PyObject *self, struct saved *saved)
{
    PyObject *sock = PyObject_GetAttr(self, name_csock);
    bool made = sock && sock != Py_None;
    if (sock && !made)
        PyErr_SetString(PyExc_RuntimeError, "__init__() of the loop has not been called");
    Py_XDECREF(sock);
    if (!made) return -1;
    int fd = wakeup_of(self);
    if (fd < 0) return 0;
    long previous = set_wakeup(fd, Py_False);

    if (previous == -1)
        saved->wakeup = true;
    else if (previous >= 0)
        set_wakeup((int)previous, Py_True);
    return 0;
}

/* The loop's is unset; another stays. */
static void end_wakeups(PyObject *self)
{
    int fd = wakeup_of(self);
    long previous = set_wakeup(-1, Py_True);

    if (previous >= 0 && previous != fd) set_wakeup((int)previous, Py_True);
}

/* asyncio's own handlers need it between two runs as well. */
static bool handles_signals(PyObject *self)
{
    PyObject *handlers = PyObject_GetAttr(self, name_signal_handlers);
    bool any = handlers && PyDict_Check(handlers) && PyDict_GET_SIZE(handlers) > 0;

    Py_XDECREF(handlers);
    PyErr_Clear();
    return any;
}

static PyObject *loop_end_wakeups(PyObject *self, PyObject *none)
{
    (void)none;
    end_wakeups(self);
    Py_RETURN_NONE;
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
        saved->depth = PyObject_CallNoArgs(get_depth);
        if (!saved->depth) return -1;
        saved->tracks = true;
        if (track(self, Py_True) < 0) return -1;
    }
    saved->hooks = PyObject_CallNoArgs(get_hooks);
    if (!saved->hooks || set_generator_hooks(self) < 0) return -1;
    if (begin_wakeups(self, saved) < 0) return -1;
    saved->set_running_loop = PyObject_GetAttr(events, name_set_running_loop);
    if (!saved->set_running_loop) return -1;
    PyObject *result = PyObject_CallOneArg(saved->set_running_loop, self);
    Py_XDECREF(result);
    return result ? async__py_watchdog_begin((loop_object *)self) : -1;
}

static void leave(PyObject *self, struct saved *saved)
{
    PyObject *none = Py_None;

    saved->error = async__py_error_take();
    async__py_watchdog_end((loop_object *)self);
    ((loop_object *)self)->thread = 0;
    if (saved->set_running_loop) {
        call_firmly(saved, saved->set_running_loop, &none, 1);
        Py_DECREF(saved->set_running_loop);
    }
    if (saved->wakeup && !handles_signals(self)) end_wakeups(self);
    if (saved->hooks) {
        call_firmly(saved, set_hooks, ((PyTupleObject *)saved->hooks)->ob_item, 2);
        Py_DECREF(saved->hooks);
    }
    /* Debug mode may have been switched on or off meanwhile. */
    if ((saved->tracks || ((loop_object *)self)->debug) && track(self, Py_False) < 0) {
        bool interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
        step_failed(saved, self);
        if (interrupted && track(self, Py_False) < 0) step_failed(saved, self);
    }
    if (saved->depth) {
        call_firmly(saved, set_depth, &saved->depth, 1);
        Py_DECREF(saved->depth);
    }
    if (saved->error) async__py_error_set(saved->error);
}

static PyObject *run_forever(PyObject *self, PyObject *none)
{
    struct saved saved = {0};

    (void)none;
    if (refuse((loop_object *)self) < 0) return NULL;
    ((loop_object *)self)->owner = ((loop_object *)self)->thread = PyThread_get_thread_ident();
    PyObject *result = enter(self, &saved) < 0 ? NULL : async__py_loop_run((loop_object *)self);
    leave(self, &saved);
    if (PyErr_Occurred()) Py_CLEAR(result);
    return result;
}

static PyMethodDef methods[] = {
    {"run_forever", run_forever, METH_NOARGS, "Run until stop() is called."},
    {"_end_wakeups", loop_end_wakeups, METH_NOARGS, NULL},
    {0},
};

int async__py_add_loop_run(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_get_running_loop, "_get_running_loop"},
        {&name_set_running_loop, "_set_running_loop"},
        {&name_track, "_set_coroutine_origin_tracking"},
        {&name_firstiter, "_asyncgen_firstiter_hook"},
        {&name_finalizer, "_asyncgen_finalizer_hook"},
        {&name_csock, "_csock"},
        {&name_fileno, "fileno"},
        {&name_signal_handlers, "_signal_handlers"},
        {0},
    };

    (void)module;
    events = PyImport_ImportModule("asyncio.events");
    get_hooks = async__py_import("sys", "get_asyncgen_hooks");
    set_hooks = async__py_import("sys", "set_asyncgen_hooks");
    set_wakeup_fd = async__py_import("signal", "set_wakeup_fd");
    get_depth = async__py_import("sys", "get_coroutine_origin_tracking_depth");
    set_depth = async__py_import("sys", "set_coroutine_origin_tracking_depth");
    wakeup_names = Py_BuildValue("(s)", "warn_on_full_buffer");
    hook_names = Py_BuildValue("(ss)", "firstiter", "finalizer");
    if (!set_wakeup_fd || !get_depth || !set_depth || !wakeup_names || !events || !get_hooks ||
        !set_hooks || !hook_names)
        return -1;
    return async__py_intern(names) < 0 ? -1 : async__py_add_loop_methods(methods);
}
