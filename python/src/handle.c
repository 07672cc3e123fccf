/* handle.c - what call_soon and call_later return: one object with the engine's callback or timer
 * in it.
 *
 * Handle and TimerHandle are subclasses of asyncio's own. The attributes (_callback, _args,
 * _context and so on) are the very slots of those classes, written here without asking by name: so
 * isinstance, repr, comparison and whatever looks into a handle work as they always do. Where the
 * slots lie is read from the base class's descriptors, at import. Python code can put anything into
 * those slots, so nothing of them is trusted: the loop that a queued handle belongs to is known by a
 * pointer of our own.
 *
 * A queued handle is referenced by the queue. The reference ends as it runs, or when it is
 * cancelled, which takes it out at once; only what another thread has queued, and the loop has not
 * yet seen, stays where it is and is passed over when its turn comes.
 *
 * Handles are made and freed for each step of each task, so those that are free are kept.
 *
 * What another thread queues is a third type where asyncio has one for that (since 3.14): cancel()
 * and cancelled() of another thread wait while the callback runs, so that afterwards it does not.
 * asyncio has a lock in each; here the handle says that it runs, and those that wait for the end
 * share one condition. */
#include "face.h"

#include <pthread.h>
#include <stdatomic.h>
#include <structmember.h>

enum { KEPT = 128 };

/* The loop holds the handle, or is kept by its slot, but need not be: `loop` is valid while the
 * handle is queued, for the queue ends with the loop. */
struct handle_part {
    async_callback callback;
    async__py_loop *loop;
};

struct timer_part {
    async_timer timer;
    async__py_loop *loop;
};

struct shared_part {
    async_callback callback;
    async__py_loop *loop;
    atomic_ulong runner; /* the thread that runs the callback; 0: none does */
};

/* One of the three types, with where its parts lie. */
static struct kind {
    PyTypeObject *type;
    Py_ssize_t callback, args, cancelled, loop, source_traceback, repr, context, scheduled, when;
    Py_ssize_t lock;
    Py_ssize_t weakrefs, part; /* part: our own, behind the base's */
    PyObject *kept[KEPT];
    int kept_count;
} handles, timers, shared; /* shared.type is NULL before 3.14 */

#define SLOT(self, kind, name) (*(PyObject **)((char *)(self) + (kind)->name))
#define HANDLE(self) ((struct handle_part *)((char *)(self) + handles.part))
#define TIMER(self) ((struct timer_part *)((char *)(self) + timers.part))
#define SHARED(self) ((struct shared_part *)((char *)(self) + shared.part))

static PyObject *extract_stack; /* asyncio.format_helpers.extract_stack */
static PyObject *no_args;

static struct kind *kind_of(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    return type == handles.type ? &handles : type == timers.type ? &timers : &shared;
}

/* ---- making and freeing ---- */

static PyObject *take(struct kind *kind)
{
    if (!ASYNC__PY_GIL || kind->kept_count == 0)
        return (PyObject *)PyObject_GC_New(PyObject, kind->type);
    return PyObject_Init(kind->kept[--kind->kept_count], kind->type);
}

/* Two file names and line numbers up the stack, as asyncio's debug mode has them. */
static PyObject *source_traceback(void)
{
    PyFrameObject *frame = PyEval_GetFrame();
    if (!frame) Py_RETURN_NONE;
    return PyObject_CallOneArg(extract_stack, (PyObject *)frame);
}

static PyObject *make(struct kind *kind, async__py_loop *loop, PyObject *callback,
                      PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    PyObject *tuple = no_args, *source = Py_None;

    if (count == 0) {
        Py_INCREF(tuple);
    } else {
        tuple = PyTuple_New(count);
        if (!tuple) return NULL;
        for (Py_ssize_t i = 0; i < count; i++)
            PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    if (!context || context == Py_None)
        context = PyContext_CopyCurrent();
    else
        Py_INCREF(context);
    if (loop->debug)
        source = source_traceback();
    else
        Py_INCREF(source);
    PyObject *self = context && source ? take(kind) : NULL;
    if (!self) {
        Py_DECREF(tuple);
        Py_XDECREF(context);
        Py_XDECREF(source);
        return NULL;
    }
    SLOT(self, kind, callback) = Py_NewRef(callback);
    SLOT(self, kind, args) = tuple;
    SLOT(self, kind, context) = context;
    SLOT(self, kind, loop) = Py_NewRef((PyObject *)loop);
    SLOT(self, kind, cancelled) = Py_NewRef(Py_False);
    SLOT(self, kind, source_traceback) = source;
    SLOT(self, kind, repr) = Py_NewRef(Py_None);
    SLOT(self, kind, weakrefs) = NULL;
    return self;
}

static void handle_run(async_callback *callback);
static void timer_run(async_callback *callback);
static void shared_run(async_callback *callback);

PyObject *async__py_handle_new(async__py_loop *loop, PyObject *callback, PyObject *const *args,
                               Py_ssize_t count, PyObject *context)
{
    PyObject *self = make(&handles, loop, callback, args, count, context);

    if (!self) return NULL;
    *HANDLE(self) = (struct handle_part){.callback.run = handle_run, .loop = loop};
    PyObject_GC_Track(self);
    return self;
}

PyObject *async__py_shared_handle_new(async__py_loop *loop, PyObject *callback,
                                      PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    if (!shared.type) return async__py_handle_new(loop, callback, args, count, context);
    PyObject *self = make(&shared, loop, callback, args, count, context);

    if (!self) return NULL;
    SLOT(self, &shared, lock) = NULL;
    SHARED(self)->callback = (async_callback){.run = shared_run};
    SHARED(self)->loop = loop;
    atomic_init(&SHARED(self)->runner, 0);
    PyObject_GC_Track(self);
    return self;
}

PyObject *async__py_timer_handle_new(async__py_loop *loop, PyObject *when, PyObject *callback,
                                     PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    PyObject *self = make(&timers, loop, callback, args, count, context);

    if (!self) return NULL;
    *TIMER(self) = (struct timer_part){.timer.callback.run = timer_run, .loop = loop};
    SLOT(self, &timers, when) = Py_NewRef(when);
    SLOT(self, &timers, scheduled) = Py_NewRef(Py_False);
    PyObject_GC_Track(self);
    return self;
}

static int handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct kind *kind = kind_of(self);

    Py_VISIT(SLOT(self, kind, callback));
    Py_VISIT(SLOT(self, kind, args));
    Py_VISIT(SLOT(self, kind, context));
    Py_VISIT(SLOT(self, kind, loop));
    Py_VISIT(SLOT(self, kind, source_traceback));
    Py_VISIT(SLOT(self, kind, repr));
    Py_VISIT(SLOT(self, kind, cancelled)); /* from outside anything may be put here, and there */
    if (kind == &timers) {
        Py_VISIT(SLOT(self, kind, when));
        Py_VISIT(SLOT(self, kind, scheduled));
    }
    if (kind == &shared) Py_VISIT(SLOT(self, kind, lock));
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int handle_clear(PyObject *self)
{
    struct kind *kind = kind_of(self);

    Py_CLEAR(SLOT(self, kind, callback));
    Py_CLEAR(SLOT(self, kind, args));
    Py_CLEAR(SLOT(self, kind, context));
    Py_CLEAR(SLOT(self, kind, loop));
    Py_CLEAR(SLOT(self, kind, source_traceback));
    Py_CLEAR(SLOT(self, kind, repr));
    Py_CLEAR(SLOT(self, kind, cancelled));
    if (kind == &timers) {
        Py_CLEAR(SLOT(self, kind, when));
        Py_CLEAR(SLOT(self, kind, scheduled));
    }
    if (kind == &shared) Py_CLEAR(SLOT(self, kind, lock));
    return 0;
}

static void handle_dealloc(PyObject *self)
{
    struct kind *kind = kind_of(self);
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (SLOT(self, kind, weakrefs)) PyObject_ClearWeakRefs(self);
    handle_clear(self);
    if (ASYNC__PY_GIL && kind->kept_count < KEPT)
        kind->kept[kind->kept_count++] = self;
    else
        PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* ---- running ---- */

/* An exception may have been set before: it is kept, and wins. */
static int leave(PyObject *context)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    int code = PyContext_Exit(context);
    if (type) PyErr_Restore(type, value, traceback);
    return type ? -1 : code;
}

/* The callback may cancel its own handle, which drops what the handle has. */
static void call(async__py_loop *loop, struct kind *kind, PyObject *self)
{
    PyObject *callback, *args, *context;

    Py_BEGIN_CRITICAL_SECTION(self);
    callback = Py_XNewRef(SLOT(self, kind, callback));
    args = Py_XNewRef(SLOT(self, kind, args));
    context = Py_XNewRef(SLOT(self, kind, context));
    Py_END_CRITICAL_SECTION();
    if (!callback || !context || !args || !PyTuple_Check(args)) {
        /* cleared, or tampered with */
    } else if (PyContext_Enter(context) < 0) {
        async__py_handle_failed(loop, self);
    } else {
        PyObject *result = PyObject_Vectorcall(callback, ((PyTupleObject *)args)->ob_item,
                                               (size_t)PyTuple_GET_SIZE(args), NULL);
        int code;
        if (result) {
            code = PyContext_Exit(context);
            Py_DECREF(result);
        } else {
            code = leave(context);
        }
        if (code < 0) async__py_handle_failed(loop, self);
    }
    Py_XDECREF(context);
    Py_XDECREF(args);
    Py_XDECREF(callback);
}

bool async__py_handle_cancelled(PyObject *self)
{
    return SLOT(self, kind_of(self), cancelled) != Py_False;
}

void async__py_handle_run(async__py_loop *loop, PyObject *self)
{
    struct kind *kind = kind_of(self);

    if (SLOT(self, kind, cancelled) != Py_False) return;
    if (loop->other_time) async__py_look_at_clock(loop); /* which the callback may move */
    if (!loop->debug) {
        call(loop, kind, self);
        return;
    }
    int64_t begin = async__py_slow_begin(loop);
    call(loop, kind, self);
    async__py_slow_end(loop, begin, self);
}

/* The queue's reference is ours now. */
static void handle_run(async_callback *callback)
{
    struct handle_part *part = async__container(callback, struct handle_part, callback);
    PyObject *self = (PyObject *)((char *)part - handles.part);

    async__py_handle_run(part->loop, self);
    Py_DECREF(self);
}

/* The timer is set again, since by the program's clock it is not due. */
static bool put_off(struct timer_part *part, PyObject *self)
{
    int64_t when;

    if (!part->loop->other_time || async__py_handle_cancelled(self) ||
        !async__py_too_early(part->loop, self) ||
        async__py_engine_time(part->loop, PyFloat_AsDouble(SLOT(self, &timers, when)), &when) < 0) {
        PyErr_Clear();
        return false;
    }
    async_loop *engine =
        part->loop->engine; /* the clock was the program's code, and may close it */
    return engine && async_call_at_ns(engine, &part->timer, when) == 0;
}

static void timer_run(async_callback *callback)
{
    struct timer_part *part = async__container(callback, struct timer_part, timer.callback);
    PyObject *self = (PyObject *)((char *)part - timers.part);

    if (put_off(part, self)) return;
    Py_XSETREF(SLOT(self, &timers, scheduled), Py_NewRef(Py_False));
    async__py_handle_run(part->loop, self);
    Py_DECREF(self);
}

/* ---- running what other threads may cancel ---- */

static pthread_mutex_t over_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static atomic_int waiting; /* threads that wait for `over` */

/* Either this sees the one that waits, or that one sees that the callback does not run. */
static void tell_the_end(struct shared_part *part)
{
    atomic_store(&part->runner, 0);
    if (atomic_load(&waiting) == 0) return;
    pthread_mutex_lock(&over_lock);
    pthread_cond_broadcast(&over);
    pthread_mutex_unlock(&over_lock);
}

/* For another thread than the loop's: until the callback, if it runs, has ended. */
static void wait_for_the_end(PyObject *self)
{
    struct shared_part *part = SHARED(self);
    unsigned long runner = atomic_load(&part->runner);

    if (!runner || runner == PyThread_get_thread_ident()) return;
    Py_BEGIN_ALLOW_THREADS;
    pthread_mutex_lock(&over_lock);
    atomic_fetch_add(&waiting, 1);
    while (atomic_load(&part->runner))
        pthread_cond_wait(&over, &over_lock);
    atomic_fetch_sub(&waiting, 1);
    pthread_mutex_unlock(&over_lock);
    Py_END_ALLOW_THREADS;
}

static void shared_run(async_callback *callback)
{
    struct shared_part *part = async__container(callback, struct shared_part, callback);
    PyObject *self = (PyObject *)((char *)part - shared.part);

    atomic_store(&part->runner, PyThread_get_thread_ident());
    async__py_handle_run(part->loop, self);
    tell_the_end(part);
    Py_DECREF(self);
}

PyObject *async__py_handle_of(async_callback *callback)
{
    if (callback->run == shared_run)
        return (PyObject *)((char *)async__container(callback, struct shared_part, callback) -
                            shared.part);
    if (callback->run == handle_run)
        return (PyObject *)((char *)async__container(callback, struct handle_part, callback) -
                            handles.part);
    if (callback->run == timer_run)
        return (PyObject *)((char *)async__container(callback, struct timer_part, timer.callback) -
                            timers.part);
    return NULL;
}

bool async__py_is_timer_handle(PyObject *handle) { return kind_of(handle) == &timers; }

/* ---- queueing and cancelling ---- */

/* That of a handle that is no timer's. */
static async_callback *callback_of(PyObject *self)
{
    return Py_TYPE(self) == handles.type ? &HANDLE(self)->callback : &SHARED(self)->callback;
}

/* Making the handle may have collected garbage, whose finalizers may have closed the loop: then the
 * handle never runs, like all that the loop had. */
void async__py_handle_schedule(async__py_loop *loop, PyObject *self)
{
    if (loop->engine) async_call_soon(loop->engine, callback_of(Py_NewRef(self)));
}

int async__py_handle_schedule_threadsafe(async__py_loop *loop, PyObject *self)
{
    bool open;

    Py_BEGIN_CRITICAL_SECTION(loop);
    open = loop->engine;
    if (open) async_call_soon_threadsafe(loop->engine, callback_of(Py_NewRef(self)));
    Py_END_CRITICAL_SECTION();
    if (!open) PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return open ? 0 : -1;
}

int async__py_timer_handle_schedule(async__py_loop *loop, PyObject *self, int64_t when)
{
    if (!loop->engine) return 0;
    if (async_call_at_ns(loop->engine, &TIMER(self)->timer, when) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(self);
    Py_XSETREF(SLOT(self, &timers, scheduled), Py_NewRef(Py_True));
    return 0;
}

/* One that is due already stays so. */
void async__py_timer_handle_move(async__py_loop *loop, PyObject *self, int64_t when)
{
    async_timer *timer = &TIMER(self)->timer;

    if (!timer->slot || !loop->engine) return;
    if (when == 0 || async_call_at_ns(loop->engine, timer, when) < 0) {
        async_timer_cancel(loop->engine, timer);
        async_call_soon(loop->engine, &timer->callback);
    }
}

static bool unschedule(PyObject *self, struct kind *kind, const async__py_loop *loop)
{
    /* Its queues are the loop's own: there it is passed over when its turn comes. */
    if (!ASYNC__PY_GIL && loop && loop->owner != PyThread_get_thread_ident()) return false;
    if (kind != &timers) return async_callback_cancel(callback_of(self));
    async_timer *timer = &TIMER(self)->timer;
    if (!timer->slot) return async_callback_cancel(&timer->callback);
    async_loop *engine = TIMER(self)->loop->engine; /* NULL: the loop closes, and takes it out */
    return engine && async_timer_cancel(engine, timer);
}

static async__py_loop *loop_slot(PyObject *self, struct kind *kind)
{
    PyObject *loop = SLOT(self, kind, loop);
    return loop ? async__py_as_loop(loop) : NULL;
}

void async__py_handle_cancel(PyObject *self)
{
    struct kind *kind = kind_of(self);
    async__py_loop *loop = loop_slot(self, kind);
    PyObject *before, *callback, *args;

    Py_BEGIN_CRITICAL_SECTION(self);
    before = SLOT(self, kind, cancelled);
    if (before == Py_False) SLOT(self, kind, cancelled) = Py_NewRef(Py_True);
    Py_END_CRITICAL_SECTION();
    if (before != Py_False) return;
    Py_DECREF(before);
    if (loop && loop->debug) {
        /* What a warning of a slow callback will want to print. */
        PyObject *text = PyObject_Repr(self);
        if (text)
            Py_XSETREF(SLOT(self, kind, repr), text);
        else
            async__py_loop_ignore(loop, NULL);
    }
    bool queued = unschedule(self, kind, loop);
    if (kind == &timers) Py_XSETREF(SLOT(self, kind, scheduled), Py_NewRef(Py_False));
    Py_BEGIN_CRITICAL_SECTION(self);
    callback = SLOT(self, kind, callback);
    args = SLOT(self, kind, args);
    SLOT(self, kind, callback) = Py_NewRef(Py_None);
    SLOT(self, kind, args) = Py_NewRef(Py_None);
    Py_END_CRITICAL_SECTION();
    Py_XDECREF(callback);
    Py_XDECREF(args);
    if (queued) Py_DECREF(self);
}

int async__py_call_soon(async__py_loop *loop, PyObject *function, PyObject *argument,
                        PyObject *context)
{
    if (async__py_check_open(loop) < 0) return -1;
    PyObject *handle = async__py_handle_new(loop, function, &argument, argument ? 1 : 0, context);
    if (!handle) return -1;
    async__py_handle_schedule(loop, handle);
    Py_DECREF(handle);
    return 0;
}

/* ---- the types ---- */

static PyObject *handle_cancel(PyObject *self, PyObject *none)
{
    (void)none;
    if (kind_of(self) == &shared) wait_for_the_end(self);
    async__py_handle_cancel(self);
    Py_RETURN_NONE;
}

static PyObject *handle_cancelled(PyObject *self, PyObject *none)
{
    (void)none;
    if (kind_of(self) == &shared) wait_for_the_end(self);
    return PyBool_FromLong(async__py_handle_cancelled(self));
}

static PyObject *handle_run_method(PyObject *self, PyObject *none)
{
    async__py_loop *loop = loop_slot(self, kind_of(self));

    (void)none;
    /* Not its repr, which asks the loop. */
    if (!loop)
        return PyErr_Format(PyExc_TypeError, "this %s has no loop of casyncio's",
                            Py_TYPE(self)->tp_name);
    Py_INCREF((PyObject *)loop);
    call(loop, kind_of(self), self);
    Py_DECREF((PyObject *)loop);
    Py_RETURN_NONE;
}

/* Before 3.12 asyncio's have it not. */
static PyObject *handle_get_context(PyObject *self, PyObject *none)
{
    (void)none;
    PyObject *context = SLOT(self, kind_of(self), context);
    return Py_NewRef(context ? context : Py_None);
}

static PyMethodDef methods[] = {
    {"get_context", handle_get_context, METH_NOARGS, "The context that the callback runs in."},
    {"cancel", handle_cancel, METH_NOARGS, "Does not run, if it has not begun to."},
    {"cancelled", handle_cancelled, METH_NOARGS, "Whether it was cancelled."},
    {"_run", handle_run_method, METH_NOARGS, NULL},
    {0},
};

static PyType_Slot type_slots[] = {
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_methods, methods},
    {0},
};

/* Where the base class, or one of its bases, keeps what it calls `name`; 0 and an exception if
 * nowhere. */
static Py_ssize_t offset_of(PyTypeObject *base, const char *name)
{
    PyObject *descriptor = PyObject_GetAttrString((PyObject *)base, name);
    Py_ssize_t offset = 0;

    if (!descriptor) return 0;
    if (Py_IS_TYPE(descriptor, &PyMemberDescr_Type))
        offset = ((PyMemberDescrObject *)descriptor)->d_member->offset;
    else
        PyErr_Format(PyExc_ImportError, "casyncio: asyncio's %s has no slot %s in this Python",
                     base->tp_name, name);
    Py_DECREF(descriptor);
    return offset;
}

static int find_slots(struct kind *kind, PyTypeObject *base)
{
    const struct {
        Py_ssize_t *where;
        const char *name;
    } slots[] = {
        {&kind->callback, "_callback"},
        {&kind->args, "_args"},
        {&kind->context, "_context"},
        {&kind->loop, "_loop"},
        {&kind->cancelled, "_cancelled"},
        {&kind->repr, "_repr"},
        {&kind->source_traceback, "_source_traceback"},
        {kind == &timers ? &kind->when : NULL, "_when"},
        {kind == &timers ? &kind->scheduled : NULL, "_scheduled"},
        {kind == &shared ? &kind->lock : NULL, "_lock"},
    };

    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        if (!slots[i].where) continue;
        *slots[i].where = offset_of(base, slots[i].name);
        if (!*slots[i].where) return -1;
    }
    kind->weakrefs = base->tp_weaklistoffset;
    kind->part = (base->tp_basicsize + 7) & ~(Py_ssize_t)7;
    return 0;
}

static int add_kind(PyObject *module, struct kind *kind, const char *name, const char *base_name,
                    size_t part_size)
{
    PyTypeObject *base = (PyTypeObject *)async__py_import("asyncio.events", base_name);
    if (!base) return -1;
    if (find_slots(kind, base) == 0) {
        PyType_Spec spec = {
            .name = name,
            .basicsize = (int)(kind->part + (Py_ssize_t)part_size),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
            .slots = type_slots,
        };
        kind->type = async__py_add_type(module, &spec, (PyObject *)base);
    }
    Py_DECREF(base);
    return kind->type ? 0 : -1;
}

int async__py_add_handle(PyObject *module)
{
    extract_stack = async__py_import("asyncio.format_helpers", "extract_stack");
    no_args = PyTuple_New(0);
    if (!extract_stack || !no_args) return -1;
    if (add_kind(module, &handles, "casyncio._casyncio.Handle", "Handle",
                 sizeof(struct handle_part)) < 0)
        return -1;
    if (add_kind(module, &timers, "casyncio._casyncio.TimerHandle", "TimerHandle",
                 sizeof(struct timer_part)) < 0)
        return -1;
    PyObject *base = async__py_import("asyncio.events", "_ThreadSafeHandle");
    Py_XDECREF(base);
    if (!base) {
        PyErr_Clear();
        return 0;
    }
    return add_kind(module, &shared, "casyncio._casyncio.ThreadSafeHandle", "_ThreadSafeHandle",
                    sizeof(struct shared_part));
}
