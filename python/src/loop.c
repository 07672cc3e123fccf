/* loop.c - the loop object: the engine behind asyncio's names.
 *
 * This type is the base of casyncio.Loop (loop.py), which is a subclass of asyncio's own loop as well: what is
 * hot is here, and found first; what is cold, such as the steps of create_connection, is the interpreter's
 * asyncio, and does for each version of Python what that version's programs expect.
 *
 * Everything of the engine is touched with the GIL held, which is released only around the system call
 * that waits. So a call_soon from the wrong thread breaks nothing; it only wakes nobody, as in asyncio.
 *
 * What user code raises goes to call_exception_handler, but for SystemExit and KeyboardInterrupt: those
 * wait in `raised` while the engine's loop is left, and end run_forever. */
#include "face.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <structmember.h>
#include <sys/stat.h>
#include <time.h>

typedef async__py_loop loop_object;

enum direction { READ, WRITE };

struct watch {
    async_watch watch;
    loop_object *loop;
    PyObject *handle;
};

struct async__py_descriptor {
    struct watch watch[2];
    PyObject *transport; /* not owned */
};

PyTypeObject *async__py_loop_type;

static PyObject *name_call_exception_handler, *name_context, *name_is_closing;
static PyObject *thread_get_ident;

async__py_loop *async__py_as_loop(PyObject *object)
{
    return PyObject_TypeCheck(object, async__py_loop_type) ? (loop_object *)object : NULL;
}

/* ---- errors ---- */

PyObject *async__py_error_take(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!type) return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

void async__py_error_set(PyObject *exception)
{
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception);
#else
    PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
#endif
}

PyObject *async__py_set_oserror(int code)
{
    if (code == -ENOMEM) return PyErr_NoMemory();
    errno = -code;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* Has run_forever end with the exception, whose reference it takes. The first one wins. */
static void raise_from_run(loop_object *loop, PyObject *exception)
{
    if (loop->raised)
        Py_DECREF(exception);
    else
        loop->raised = exception;
    if (loop->engine) async_loop_interrupt(loop->engine);
}

static bool ends_the_loop(PyObject *exception)
{
    return PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
           PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
}

/* Takes the reference to the exception. */
static void report(loop_object *loop, PyObject *exception, PyObject *context)
{
    if (context && PyDict_SetItemString(context, "exception", exception) == 0) {
        PyObject *result = PyObject_CallMethodOneArg((PyObject *)loop, name_call_exception_handler, context);
        Py_XDECREF(result);
    }
    Py_XDECREF(context);
    Py_DECREF(exception);
    if (PyErr_Occurred()) raise_from_run(loop, async__py_error_take());
}

void async__py_loop_fail(async__py_loop *loop, const char *message, ...)
{
    PyObject *exception = async__py_error_take();
    if (!exception) return;
    if (ends_the_loop(exception)) {
        raise_from_run(loop, exception);
        return;
    }
    PyObject *context = Py_BuildValue("{ss}", "message", message);
    va_list pairs;
    va_start(pairs, message);
    for (const char *key; context && (key = va_arg(pairs, const char *));) {
        PyObject *value = va_arg(pairs, PyObject *);
        if (value && PyDict_SetItemString(context, key, value) < 0) Py_CLEAR(context);
    }
    va_end(pairs);
    report(loop, exception, context);
}

void async__py_handle_failed(async__py_loop *loop, PyObject *handle)
{
    PyObject *exception = async__py_error_take();
    if (!exception) return;
    if (ends_the_loop(exception)) {
        raise_from_run(loop, exception);
        return;
    }
    /* The text is asyncio's, which takes long to make: not worth being made here. */
    PyObject *context = PyObject_CallMethod((PyObject *)loop, "_failed_handle_context", "O", handle);
    report(loop, exception, context);
}

/* ---- debug mode ---- */

static int64_t monotonic(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int64_t async__py_slow_begin(async__py_loop *loop) { return loop->debug ? monotonic() : 0; }

void async__py_slow_end(async__py_loop *loop, int64_t begin, PyObject *object)
{
    if (!begin) return;
    double seconds = (double)(monotonic() - begin) / 1e9;
    if (seconds < loop->slow_callback_duration) return;
    PyObject *result = PyObject_CallMethod((PyObject *)loop, "_warn_slow", "Od", object, seconds);
    if (!result) async__py_loop_fail(loop, "Error while a slow callback was told of", NULL);
    Py_XDECREF(result);
}

static int check_open(loop_object *self)
{
    if (self->engine) return 0;
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

/* What debug mode asks of each call_soon and call_at. */
static int check_call(loop_object *self, PyObject *callback, const char *method, bool any_thread)
{
    PyObject *result = PyObject_CallMethod((PyObject *)self, "_check_callback", "Os", callback, method);
    Py_XDECREF(result);
    if (result && !any_thread) {
        result = PyObject_CallMethod((PyObject *)self, "_check_thread", NULL);
        Py_XDECREF(result);
    }
    return result ? 0 : -1;
}

/* ---- callbacks ---- */

/* The keyword argument `context` of call_soon and its like. -1: there is another. */
static int take_context(PyObject *const *args, Py_ssize_t count, PyObject *names, PyObject **context)
{
    *context = NULL;
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        if (name != name_context && PyUnicode_Compare(name, name_context) != 0) {
            PyErr_Format(PyExc_TypeError, "got an unexpected keyword argument '%U'", name);
            return -1;
        }
        *context = args[count + i];
    }
    return 0;
}

static int check_count(Py_ssize_t count, Py_ssize_t least, const char *usage)
{
    if (count >= least) return 0;
    PyErr_Format(PyExc_TypeError, "usage: %s", usage);
    return -1;
}

static PyObject *loop_call_soon(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                PyObject *names)
{
    loop_object *self = (loop_object *)object;
    PyObject *context;

    if (check_count(count, 1, "call_soon(callback, *args, context=None)") < 0 ||
        take_context(args, count, names, &context) < 0 || check_open(self) < 0)
        return NULL;
    if (self->debug && check_call(self, args[0], "call_soon", false) < 0) return NULL;
    PyObject *handle = async__py_handle_new(self, args[0], args + 1, count - 1, context);
    if (handle) async__py_handle_schedule(self, handle);
    return handle;
}

/* From the loop's own thread, and to a loop that does not run, it is call_soon: callbacks keep their
 * order, and nobody needs to be woken. */
static PyObject *loop_call_soon_threadsafe(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                           PyObject *names)
{
    loop_object *self = (loop_object *)object;
    PyObject *context;

    if (check_count(count, 1, "call_soon_threadsafe(callback, *args, context=None)") < 0 ||
        take_context(args, count, names, &context) < 0 || check_open(self) < 0)
        return NULL;
    if (self->debug && check_call(self, args[0], "call_soon_threadsafe", true) < 0) return NULL;
    PyObject *handle = async__py_handle_new(self, args[0], args + 1, count - 1, context);
    if (!handle) return NULL;
    if (self->thread == 0 || self->thread == PyThread_get_thread_ident())
        async__py_handle_schedule(self, handle);
    else
        async__py_handle_schedule_threadsafe(self, handle);
    return handle;
}

/* Rounded up, so that a timer never goes off before loop.time() says so. */
static int64_t to_ns(double seconds)
{
    double ns = ceil(seconds * 1e9);
    return ns >= 9.2e18 ? INT64_MAX : ns <= -9.2e18 ? -INT64_MAX : (int64_t)ns;
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
    if (check_open(self) < 0) return NULL;
    if (self->debug && check_call(self, args[0], method, false) < 0) return NULL;
    PyObject *handle =
        async__py_timer_handle_new(self, when, args[0], args + 1, count - 1, context);
    if (handle && async__py_timer_handle_schedule(self, handle, to_ns(seconds)) < 0)
        Py_CLEAR(handle);
    return handle;
}

static PyObject *loop_call_at(PyObject *object, PyObject *const *args, Py_ssize_t count,
                              PyObject *names)
{
    PyObject *context;

    if (check_count(count, 2, "call_at(when, callback, *args, context=None)") < 0 ||
        take_context(args, count, names, &context) < 0)
        return NULL;
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    return call_at((loop_object *)object, args[0], args + 1, count - 1, context, "call_at");
}

static double now(loop_object *self)
{
    return (double)(self->engine ? async_loop_time_ns(self->engine) : monotonic()) / 1e9;
}

static PyObject *loop_call_later(PyObject *object, PyObject *const *args, Py_ssize_t count,
                                 PyObject *names)
{
    loop_object *self = (loop_object *)object;
    PyObject *context;

    if (check_count(count, 2, "call_later(delay, callback, *args, context=None)") < 0 ||
        take_context(args, count, names, &context) < 0)
        return NULL;
    if (args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    double delay = PyFloat_AsDouble(args[0]);
    if (delay == -1 && PyErr_Occurred()) return NULL;
    PyObject *when = PyFloat_FromDouble(now(self) + delay);
    if (!when) return NULL;
    PyObject *handle = call_at(self, when, args + 1, count - 1, context, "call_later");
    Py_DECREF(when);
    return handle;
}

static PyObject *loop_time(PyObject *self, PyObject *none)
{
    (void)none;
    return PyFloat_FromDouble(now((loop_object *)self));
}

/* Wakes a loop that waits, from any thread. */
static PyObject *loop_write_to_self(PyObject *object, PyObject *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    if (!self->engine) Py_RETURN_NONE;
    PyObject *handle = async__py_handle_new(self, thread_get_ident, NULL, 0, NULL);
    if (!handle) return NULL;
    async__py_handle_schedule_threadsafe(self, handle);
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

/* ---- descriptors ---- */

static struct async__py_descriptor *find_descriptor(loop_object *self, int fd)
{
    return fd >= 0 && fd < self->descriptors_length ? self->descriptors[fd] : NULL;
}

static struct async__py_descriptor *make_descriptor(loop_object *self, int fd)
{
    if (fd >= self->descriptors_length) {
        int length = self->descriptors_length ? self->descriptors_length : 32;
        while (length <= fd)
            length *= 2;
        struct async__py_descriptor **table =
            PyMem_Realloc(self->descriptors, (size_t)length * sizeof *table);
        if (!table) goto no_memory;
        memset(table + self->descriptors_length, 0,
               (size_t)(length - self->descriptors_length) * sizeof *table);
        self->descriptors = table;
        self->descriptors_length = length;
    }
    if (!self->descriptors[fd]) self->descriptors[fd] = PyMem_Calloc(1, sizeof **self->descriptors);
    if (self->descriptors[fd]) return self->descriptors[fd];
no_memory:
    PyErr_NoMemory();
    return NULL;
}

static bool remove_watch(loop_object *self, struct watch *watch)
{
    PyObject *handle = watch->handle;

    if (self->engine) async_remove_watch(self->engine, &watch->watch);
    if (!handle) return false;
    watch->handle = NULL;
    async__py_handle_cancel(handle);
    Py_DECREF(handle);
    return true;
}

static void watch_ready(async_callback *callback)
{
    struct watch *watch = async__container(callback, struct watch, watch.callback);
    loop_object *self = watch->loop;
    PyObject *handle = watch->handle;

    if (!handle) return;
    if (async__py_handle_cancelled(handle)) {
        remove_watch(self, watch);
        return;
    }
    Py_INCREF(handle);
    async__py_handle_run(self, handle);
    Py_DECREF(handle);
}

/* epoll knows no regular files, and so asyncio refuses them. */
static int refuse_files(int fd)
{
    struct stat status;

    if (fstat(fd, &status) == 0 && !S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return 0;
    async__py_set_oserror(-(fcntl(fd, F_GETFD) < 0 ? EBADF : EPERM));
    return -1;
}

/* _add_reader and _add_writer: the user's own descriptor, so he may close it without a word to us. The new
 * handle. */
static PyObject *add_watch(loop_object *self, PyObject *const *args, Py_ssize_t count,
                           enum direction direction)
{
    if (check_count(count, 2, "add_reader(fd, callback, *args)") < 0 || check_open(self) < 0)
        return NULL;
    int fd = PyObject_AsFileDescriptor(args[0]);
    if (fd < 0 || refuse_files(fd) < 0) return NULL;
    struct async__py_descriptor *descriptor = make_descriptor(self, fd);
    if (!descriptor) return NULL;
    PyObject *handle = async__py_handle_new(self, args[1], args + 2, count - 2, NULL);
    if (!handle) return NULL;

    struct watch *watch = &descriptor->watch[direction];
    /* A watch that is there already belongs to another descriptor, perhaps, that had the number. */
    remove_watch(self, watch);
    watch->loop = self;
    watch->watch.callback.run = watch_ready;
    watch->watch.foreign = true;
    int code = direction == READ ? async_add_reader(self->engine, fd, &watch->watch)
                                 : async_add_writer(self->engine, fd, &watch->watch);
    if (code < 0) {
        Py_DECREF(handle);
        return async__py_set_oserror(code);
    }
    watch->handle = Py_NewRef(handle);
    return handle;
}

static PyObject *end_watch(loop_object *self, PyObject *number, enum direction direction)
{
    if (!self->engine) Py_RETURN_FALSE;
    int fd = PyObject_AsFileDescriptor(number);
    if (fd < 0) return NULL;
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);
    return PyBool_FromLong(descriptor && remove_watch(self, &descriptor->watch[direction]));
}

static PyObject *loop_add_reader_(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add_watch((loop_object *)self, args, count, READ);
}

static PyObject *loop_add_writer_(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add_watch((loop_object *)self, args, count, WRITE);
}

static PyObject *loop_remove_reader_(PyObject *self, PyObject *fd)
{
    return end_watch((loop_object *)self, fd, READ);
}

static PyObject *loop_remove_writer_(PyObject *self, PyObject *fd)
{
    return end_watch((loop_object *)self, fd, WRITE);
}

int async__py_set_transport(async__py_loop *self, int fd, PyObject *transport)
{
    struct async__py_descriptor *descriptor =
        transport ? make_descriptor(self, fd) : find_descriptor(self, fd);

    if (descriptor) descriptor->transport = transport;
    return descriptor || !transport ? 0 : -1;
}

int async__py_check_no_transport(async__py_loop *self, int fd, PyObject *sock)
{
    struct async__py_descriptor *descriptor = find_descriptor(self, fd);
    if (!descriptor || !descriptor->transport) return 0;

    PyObject *transport = Py_NewRef(descriptor->transport);
    PyObject *closing = PyObject_CallMethodNoArgs(transport, name_is_closing);
    int is_closing = closing ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    if (is_closing == 0)
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", sock, transport);
    Py_DECREF(transport);
    return is_closing == 1 ? 0 : -1;
}

/* A descriptor as add_reader and the like take it: a number, or an object with fileno(). -1 and ValueError. */
static int number_of(PyObject *object)
{
    int fd = PyObject_AsFileDescriptor(object);

    if (fd < 0 && (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_ValueError) ||
                   PyErr_ExceptionMatches(PyExc_AttributeError)))
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", object);
    return fd;
}

static PyObject *loop_ensure_fd_no_transport(PyObject *self, PyObject *object)
{
    int fd = number_of(object);
    if (fd < 0 || async__py_check_no_transport((loop_object *)self, fd, object) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *public_add(PyObject *object, PyObject *const *args, Py_ssize_t count,
                            enum direction direction)
{
    loop_object *self = (loop_object *)object;

    if (check_count(count, 2, "add_reader(fd, callback, *args)") < 0) return NULL;
    int fd = number_of(args[0]);
    if (fd < 0 || async__py_check_no_transport(self, fd, args[0]) < 0) return NULL;
    PyObject *handle = add_watch(self, args, count, direction);
    if (!handle) return NULL;
    Py_DECREF(handle);
    Py_RETURN_NONE;
}

static PyObject *public_remove(PyObject *object, PyObject *number, enum direction direction)
{
    loop_object *self = (loop_object *)object;
    int fd = number_of(number);

    if (fd < 0 || async__py_check_no_transport(self, fd, number) < 0) return NULL;
    return end_watch(self, number, direction);
}

static PyObject *loop_add_reader(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return public_add(self, args, count, READ);
}

static PyObject *loop_add_writer(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return public_add(self, args, count, WRITE);
}

static PyObject *loop_remove_reader(PyObject *self, PyObject *fd)
{
    return public_remove(self, fd, READ);
}

static PyObject *loop_remove_writer(PyObject *self, PyObject *fd)
{
    return public_remove(self, fd, WRITE);
}

char *async__py_loop_buffer(async__py_loop *self)
{
    if (!self->buffer) self->buffer = PyMem_Malloc(ASYNC__PY_BUFFER);
    if (!self->buffer) PyErr_NoMemory();
    return self->buffer;
}

void async__py_hold(async__py_loop *self, async__py_holder *holder)
{
    if (holder->next) return;
    Py_INCREF(holder->object);
    holder->next = &self->holders;
    holder->prev = self->holders.prev;
    holder->prev->next = holder;
    self->holders.prev = holder;
}

void async__py_let_go(async__py_holder *holder)
{
    if (!holder->next) return;
    holder->prev->next = holder->next;
    holder->next->prev = holder->prev;
    holder->next = NULL;
    Py_DECREF(holder->object);
}

/* ---- running ---- */

static void before_poll(void *data) { ((loop_object *)data)->state = PyEval_SaveThread(); }

/* A signal that has ended the wait has its Python handler run here, and may have raised. */
static void after_poll(void *data)
{
    loop_object *self = data;

    PyEval_RestoreThread(self->state);
    if (PyErr_CheckSignals() < 0) raise_from_run(self, async__py_error_take());
}

/* The engine's part of run_forever: returns after stop, or raises what a callback has raised. */
static PyObject *loop_run(PyObject *object, PyObject *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    if (check_open(self) < 0) return NULL;
    Py_INCREF(object);
    int code = PyErr_CheckSignals() < 0 ? 0 : async_loop_run(self->engine);
    PyObject *raised = self->raised;
    self->raised = NULL;
    Py_DECREF(object);
    if (PyErr_Occurred()) {
        Py_XDECREF(raised);
        return NULL;
    }
    if (raised) {
        async__py_error_set(raised);
        return NULL;
    }
    if (code == 0) Py_RETURN_NONE;
    if (code == -ECHILD)
        PyErr_SetString(PyExc_RuntimeError, "this event loop belongs to the process that forked this one: "
                                            "make a new one here (casyncio.new_event_loop)");
    else if (code == -EALREADY || code == -EBUSY)
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
    else
        async__py_set_oserror(code);
    return NULL;
}

static PyObject *loop_stop(PyObject *object, PyObject *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    if (self->engine) async_loop_stop(self->engine);
    Py_RETURN_NONE;
}

static PyObject *loop_is_running(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(((loop_object *)self)->thread != 0);
}

static PyObject *loop_is_closed(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(((loop_object *)self)->closed);
}

static PyObject *loop_get_debug(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(((loop_object *)self)->debug);
}

/* ---- making and closing ---- */

/* Everything that waits to run is dropped. Destructors may queue more: that is dropped, too. */
static void close_engine(loop_object *self)
{
    async_loop *engine = self->engine;
    async_callback *callback;
    if (!engine) return;

    for (int fd = 0; fd < self->descriptors_length; fd++) {
        struct async__py_descriptor *descriptor = self->descriptors[fd];
        if (!descriptor) continue;
        remove_watch(self, &descriptor->watch[READ]);
        remove_watch(self, &descriptor->watch[WRITE]);
    }
    while ((callback = async_loop_take(engine))) {
        PyObject *handle = async__py_handle_of(callback);
        Py_XDECREF(handle);
    }
    self->engine = NULL;
    while (self->holders.next != &self->holders)
        async__py_let_go(self->holders.next);
    Py_BEGIN_ALLOW_THREADS
    async_loop_close(engine);
    Py_END_ALLOW_THREADS
}

static PyObject *loop_close(PyObject *object, PyObject *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    self->closed = 1;
    close_engine(self);
    Py_RETURN_NONE;
}

static PyObject *loop_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static const async_loop_options options = {.turns = true};
    (void)args;
    (void)keywords;
    loop_object *self = (loop_object *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->holders.next = self->holders.prev = &self->holders;
    self->slow_callback_duration = 0.1;
    self->engine = async_loop_new(&options);
    if (!self->engine) {
        self->closed = 1;
        async__py_set_oserror(-errno);
        Py_DECREF(self);
        return NULL;
    }
    async_loop_share(self->engine);
    async_set_poll_hooks(self->engine, &(async_poll_hooks){before_poll, after_poll, self});
    return (PyObject *)self;
}

struct visit {
    visitproc visit;
    void *arg;
};

static int visit_callback(async_callback *callback, void *data)
{
    struct visit *visit = data;
    PyObject *handle = async__py_handle_of(callback);
    return handle ? visit->visit(handle, visit->arg) : 0;
}

static int loop_traverse(PyObject *object, visitproc visit, void *arg)
{
    loop_object *self = (loop_object *)object;
    struct visit data = {visit, arg};

    for (int fd = 0; fd < self->descriptors_length; fd++) {
        if (!self->descriptors[fd]) continue;
        Py_VISIT(self->descriptors[fd]->watch[READ].handle);
        Py_VISIT(self->descriptors[fd]->watch[WRITE].handle);
    }
    if (self->holders.next)
        for (async__py_holder *each = self->holders.next; each != &self->holders; each = each->next)
            Py_VISIT(each->object);
    Py_VISIT(self->raised);
    Py_VISIT(Py_TYPE(self));
    return self->engine ? async_loop_visit(self->engine, visit_callback, &data) : 0;
}

static int loop_clear(PyObject *object)
{
    loop_object *self = (loop_object *)object;

    close_engine(self);
    Py_CLEAR(self->raised);
    return 0;
}

static void loop_dealloc(PyObject *object)
{
    loop_object *self = (loop_object *)object;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(object);
    loop_clear(object);
    for (int fd = 0; fd < self->descriptors_length; fd++)
        PyMem_Free(self->descriptors[fd]);
    PyMem_Free(self->descriptors);
    PyMem_Free(self->buffer);
    type->tp_free(object);
    Py_DECREF(type);
}

/* What asyncio's loop has under these names, and what looks into it expects there: copies. */
struct collect {
    PyObject *list;
    bool timers;
};

static int collect_callback(async_callback *callback, void *data)
{
    struct collect *collect = data;
    PyObject *handle = async__py_handle_of(callback);
    if (!handle || async__py_is_timer_handle(handle) != collect->timers) return 0;
    return PyList_Append(collect->list, handle);
}

static PyObject *get_queued(PyObject *object, void *timers)
{
    loop_object *self = (loop_object *)object;
    struct collect collect = {PyList_New(0), timers != NULL};

    if (collect.list && self->engine && async_loop_visit(self->engine, collect_callback, &collect) < 0)
        Py_CLEAR(collect.list);
    return collect.list;
}

/* asyncio's own __init__ would set them. */
static int ignore(PyObject *self, PyObject *value, void *data)
{
    (void)self;
    (void)value;
    (void)data;
    return 0;
}

/* The handles of a descriptor's watches: (reader, writer). */
static PyObject *loop_watched(PyObject *object, PyObject *number)
{
    struct async__py_descriptor *descriptor;
    int fd = number_of(number);

    if (fd < 0) return NULL;
    descriptor = find_descriptor((loop_object *)object, fd);
    PyObject *reader = descriptor ? descriptor->watch[READ].handle : NULL;
    PyObject *writer = descriptor ? descriptor->watch[WRITE].handle : NULL;
    return Py_BuildValue("(OO)", reader ? reader : Py_None, writer ? writer : Py_None);
}

static PyObject *get_thread_id(PyObject *self, void *none)
{
    unsigned long thread = ((loop_object *)self)->thread;

    (void)none;
    if (!thread) Py_RETURN_NONE;
    return PyLong_FromUnsignedLong(thread);
}

static int set_thread_id(PyObject *self, PyObject *value, void *none)
{
    unsigned long thread = value && value != Py_None ? PyLong_AsUnsignedLong(value) : 0;

    (void)none;
    if (thread == (unsigned long)-1 && PyErr_Occurred()) return -1;
    ((loop_object *)self)->thread = thread;
    return 0;
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
    {"time", loop_time, METH_NOARGS, "The loop's clock, monotonic, in seconds."},
    {"add_reader", FAST(loop_add_reader), METH_FASTCALL,
     "add_reader($self, fd, callback, /, *args)\n--\n\n"
     "Has the callback run whenever the descriptor can be read from."},
    {"add_writer", FAST(loop_add_writer), METH_FASTCALL,
     "add_writer($self, fd, callback, /, *args)\n--\n\n"
     "Has the callback run whenever the descriptor can be written to."},
    {"remove_reader", loop_remove_reader, METH_O, "Ends add_reader(); says whether there was one."},
    {"remove_writer", loop_remove_writer, METH_O, "Ends add_writer(); says whether there was one."},
    {"stop", loop_stop, METH_NOARGS, "Ends run_forever() after this turn."},
    {"is_running", loop_is_running, METH_NOARGS, "Whether the loop is running."},
    {"is_closed", loop_is_closed, METH_NOARGS, "Whether the loop was closed."},
    {"get_debug", loop_get_debug, METH_NOARGS, "Whether debug mode is on."},
    {"_add_reader", FAST(loop_add_reader_), METH_FASTCALL, NULL},
    {"_add_writer", FAST(loop_add_writer_), METH_FASTCALL, NULL},
    {"_remove_reader", loop_remove_reader_, METH_O, NULL},
    {"_remove_writer", loop_remove_writer_, METH_O, NULL},
    {"_ensure_fd_no_transport", loop_ensure_fd_no_transport, METH_O, NULL},
    {"_write_to_self", loop_write_to_self, METH_NOARGS, NULL},
    {"_watched", loop_watched, METH_O, NULL},
    {"_run", loop_run, METH_NOARGS, NULL},
    {"_close", loop_close, METH_NOARGS, NULL},
    {0},
};

/* What other files add to it. */
static PyMethodDef *const more_methods[] = {async__py_accept_methods};

static PyMemberDef members[] = {
    {"_debug", T_BOOL, offsetof(loop_object, debug), 0, NULL},
    {"_closed", T_BOOL, offsetof(loop_object, closed), 0, NULL},
    {"slow_callback_duration", T_DOUBLE, offsetof(loop_object, slow_callback_duration), 0,
     "Seconds: debug mode warns of callbacks that take longer."},
    {0},
};

static PyGetSetDef getters[] = {
    {"_thread_id", get_thread_id, set_thread_id, NULL, NULL},
    {"_ready", get_queued, ignore, NULL, NULL},
    {"_scheduled", get_queued, ignore, NULL, (void *)"timers"},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, loop_new},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0},
};

static PyType_Spec spec = {
    .name = "casyncio._casyncio.Loop",
    .basicsize = sizeof(loop_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

static int add_more_methods(void)
{
    for (size_t i = 0; i < sizeof more_methods / sizeof *more_methods; i++) {
        for (PyMethodDef *each = more_methods[i]; each->ml_name; each++) {
            PyObject *method = PyDescr_NewMethod(async__py_loop_type, each);
            int code = method ? PyObject_SetAttrString((PyObject *)async__py_loop_type, each->ml_name, method)
                              : -1;
            Py_XDECREF(method);
            if (code < 0) return -1;
        }
    }
    return 0;
}

int async__py_add_loop(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_call_exception_handler, "call_exception_handler"},
        {&name_context, "context"},
        {&name_is_closing, "is_closing"},
        {0},
    };

    if (async__py_intern(names) < 0) return -1;
    thread_get_ident = async__py_import("threading", "get_ident");
    if (!thread_get_ident) return -1;
    async__py_loop_type = async__py_add_type(module, &spec, NULL);
    return async__py_loop_type ? add_more_methods() : -1;
}
