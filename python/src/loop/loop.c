/* loop.c - the loop object: the engine behind asyncio's names.
 *
 * This type is the base of casyncio.Loop (loop.py), which is a subclass of asyncio's own loop as
 * well: what is hot is here, and found first; what is cold, such as the steps of create_connection,
 * is the interpreter's asyncio, and does for each version of Python what that version's programs
 * expect.
 *
 * Everything of the engine is touched with the GIL held, which is released only around the system
 * call that waits. So a call_soon from the wrong thread breaks nothing; it only wakes nobody, as in
 * asyncio.
 *
 * Its other methods are in the files loop_*.c, each of which adds some to the type. */
#include "descriptors.h"
#include "handle.h"
#include "loop_type.h"

#include <errno.h>
#include <structmember.h>
#include <unistd.h>

typedef async__py_loop loop_object;

static PyObject *name_time;

/* Whether a subclass has a time() of its own. */
static bool replaces_time(PyTypeObject *type)
{
    PyObject *time = PyObject_GetAttr((PyObject *)type, name_time);
    bool replaced = time && !Py_IS_TYPE(time, &PyGetSetDescr_Type);

    Py_XDECREF(time);
    PyErr_Clear();
    return replaced;
}

static void run_dues(loop_object *self)
{
    while (self->dues.next != &self->dues) {
        async__py_due *due = async__container(self->dues.next, async__py_due, holder);
        due->callback.run(&due->callback);
    }
}

/* ---- running ---- */

static void before_poll(void *data) { ((loop_object *)data)->state = PyEval_SaveThread(); }

/* A signal that has ended the wait has its Python handler run here, and may have raised. */
static void after_poll(void *data)
{
    loop_object *self = data;

    PyEval_RestoreThread(self->state);
    if (PyErr_CheckSignals() < 0) async__py_loop_raise(self, async__py_error_take());
    if (self->raised) async_loop_interrupt(self->engine); /* by what was there before the run */
}

PyObject *async__py_loop_run(async__py_loop *self)
{
    if (async__py_check_open(self) < 0) return NULL;
    Py_INCREF((PyObject *)self);
    /* A signal of before the wake-up descriptor was set would not end the wait. The loop runs all the
     * same, as far as to its first look, so that a stop() of before is forgotten. */
    if (PyErr_CheckSignals() < 0) async__py_loop_raise(self, async__py_error_take());
    if (self->raised) async_loop_stop(self->engine);
    int code = async_loop_run(self->engine);
    if (code == 0 && !PyErr_Occurred()) run_dues(self);
    PyObject *raised = self->raised;
    self->raised = NULL;
    Py_DECREF((PyObject *)self);
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
        PyErr_SetString(PyExc_RuntimeError,
                        "this event loop belongs to the process that forked this one: "
                        "make a new one here (casyncio.new_event_loop)");
    else if (code == -EALREADY || code == -EBUSY)
        PyErr_SetString(PyExc_RuntimeError,
                        "Cannot run the event loop while another loop is running");
    else
        async__py_set_oserror(code);
    return NULL;
}

static PyObject *loop_run(PyObject *self, PyObject *none)
{
    (void)none;
    return async__py_loop_run((loop_object *)self);
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

/* Everything that waits to run is dropped. Each reference that is dropped may run a finalizer, which
 * finds the loop closed: it can queue nothing more, nor close it again. So the engine's queue is
 * emptied before the first one goes, for what is in it may be part of an object that does; until
 * then the handles are chained through `prev`. */
static void close_engine(loop_object *self)
{
    async_loop *engine = self->engine;
    async_callback *callback, *handles = NULL, *lookups = NULL;
    if (!engine) return;

    Py_BEGIN_CRITICAL_SECTION(self);
    self->engine = NULL; /* no other thread queues anything from here on */
    Py_END_CRITICAL_SECTION();
    while ((callback = async_loop_take(engine))) {
        async_callback **chain = async__py_handle_of(callback) ? &handles
                                 : async_is_lookup(callback)   ? &lookups
                                                               : NULL;
        if (!chain) continue;
        callback->prev = *chain;
        *chain = callback;
    }
    while ((callback = lookups)) {
        lookups = callback->prev;
        async_call_soon(engine, callback);
    }
    while (self->dues.next != &self->dues)
        async__py_due_end(async__container(self->dues.next, async__py_due, holder));
    async__py_close_descriptors(self);
    while ((callback = handles)) {
        handles = callback->prev;
        Py_DECREF(async__py_handle_of(callback));
    }
    while (self->holders.next != &self->holders)
        async__py_let_go(self->holders.next);
    Py_BEGIN_ALLOW_THREADS async_loop_close(engine);
    Py_END_ALLOW_THREADS
}

static PyObject *loop_close(PyObject *object, PyObject *none)
{
    loop_object *self = (loop_object *)object;

    (void)none;
    if (self->engine && !async__py_loop_forked(self)) {
        if (async_loop_is_running(self->engine)) {
            PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
            return NULL;
        }
        run_dues(self);
    }
    self->closed = 1;
    close_engine(self);
    if (!self->other_time) Py_CLEAR(self->time); /* it refers to the loop */
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
    self->dues.next = self->dues.prev = &self->dues;
    self->process = getpid();
    self->owner = PyThread_get_thread_ident();
    self->slow_callback_duration = 0.1;
    self->other_time = replaces_time(type);
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

    int code = async__py_visit_descriptors(self, visit, arg);
    if (code) return code;
    async__py_holder *rings[] = {&self->holders, &self->dues};
    for (int i = 0; i < 2 && rings[i]->next; i++)
        for (async__py_holder *each = rings[i]->next; each != rings[i]; each = each->next)
            Py_VISIT(each->object);
    Py_VISIT(self->raised);
    Py_VISIT(self->time);
    Py_VISIT(self->task_factory);
    Py_VISIT(Py_TYPE(self));
    return self->engine ? async_loop_visit(self->engine, visit_callback, &data) : 0;
}

static int loop_clear(PyObject *object)
{
    loop_object *self = (loop_object *)object;

    close_engine(self);
    Py_CLEAR(self->raised);
    Py_CLEAR(self->time);
    Py_CLEAR(self->task_factory);
    return 0;
}

static void loop_dealloc(PyObject *object)
{
    loop_object *self = (loop_object *)object;
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(object);
    loop_clear(object);
    async__py_free_descriptors(self);
    PyMem_Free(self->buffer);
    type->tp_free(object);
    Py_DECREF(type);
}

/* What asyncio's loop has under these names, and what looks into it expects there: copies. They are
 * counted first, since to make the list may collect garbage, and so change the queue. */
struct collect {
    PyObject *list; /* NULL: only count */
    Py_ssize_t count, room;
    bool timers;
};

static int collect_callback(async_callback *callback, void *data)
{
    struct collect *collect = data;
    PyObject *handle = async__py_handle_of(callback);
    if (!handle || async__py_is_timer_handle(handle) != collect->timers) return 0;
    if (collect->list) {
        if (collect->count == collect->room) return 1;
        PyList_SET_ITEM(collect->list, collect->count, Py_NewRef(handle));
    }
    collect->count++;
    return 0;
}

static PyObject *get_queued(PyObject *object, void *timers)
{
    loop_object *self = (loop_object *)object;
    struct collect collect = {.timers = timers != NULL};

    if (self->engine) async_loop_visit(self->engine, collect_callback, &collect);
    Py_ssize_t room = collect.room = collect.count;
    collect.list = PyList_New(room);
    if (!collect.list) return NULL;
    collect.count = 0;
    if (self->engine) async_loop_visit(self->engine, collect_callback, &collect);
    if (collect.count < room && PyList_SetSlice(collect.list, collect.count, room, NULL) < 0)
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
    if (thread) ((loop_object *)self)->owner = thread;
    return 0;
}

static PyMethodDef methods[] = {
    {"stop", loop_stop, METH_NOARGS, "Ends run_forever() after this turn."},
    {"is_running", loop_is_running, METH_NOARGS, "Whether the loop is running."},
    {"is_closed", loop_is_closed, METH_NOARGS, "Whether the loop was closed."},
    {"get_debug", loop_get_debug, METH_NOARGS, "Whether debug mode is on."},
    {"_run", loop_run, METH_NOARGS, NULL},
    {"_close", loop_close, METH_NOARGS, NULL},
    {0},
};

static PyMemberDef members[] = {
    {"_task_factory", T_OBJECT, offsetof(loop_object, task_factory), 0, NULL},
    {"slow_callback_duration", T_DOUBLE, offsetof(loop_object, slow_callback_duration), 0,
     "Seconds: debug mode warns of callbacks that take longer."},
    {0},
};

static PyGetSetDef getters[] = {
    ASYNC__PY_FLAG("_debug", loop_object, debug),
    ASYNC__PY_FLAG("_closed", loop_object, closed),
    {"_thread_id", get_thread_id, set_thread_id, NULL, NULL},
    {"_ready", get_queued, ignore, NULL, NULL},
    {"_scheduled", get_queued, ignore, NULL, (void *)"timers"},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, loop_new},           {Py_tp_dealloc, loop_dealloc},
    {Py_tp_traverse, loop_traverse}, {Py_tp_clear, loop_clear},
    {Py_tp_methods, methods},        {Py_tp_members, members},
    {Py_tp_getset, getters},         {0},
};

static PyType_Spec spec = {
    .name = "casyncio._casyncio.Loop",
    .basicsize = sizeof(loop_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

static int set_attribute(const char *name, PyObject *descriptor)
{
    if (!descriptor) return -1;
    int code = PyObject_SetAttrString((PyObject *)async__py_loop_type, name, descriptor);
    Py_DECREF(descriptor);
    return code;
}

int async__py_add_loop_methods(PyMethodDef *each)
{
    for (; each->ml_name; each++) {
        if (set_attribute(each->ml_name, PyDescr_NewMethod(async__py_loop_type, each)) < 0)
            return -1;
    }
    return 0;
}

int async__py_add_loop_getters(PyGetSetDef *each)
{
    for (; each->name; each++) {
        if (set_attribute(each->name, PyDescr_NewGetSet(async__py_loop_type, each)) < 0) return -1;
    }
    return 0;
}

int async__py_add_loop(PyObject *module)
{
    static const struct async__py_name names[] = {{&name_time, "time"}, {0}};

    if (async__py_intern(names) < 0) return -1;
    async__py_loop_type = async__py_add_type(module, &spec, NULL);
    return async__py_loop_type ? 0 : -1;
}
