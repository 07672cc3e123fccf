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
#include "clock.h"
#include "handle_kind.h"

#include <pthread.h>

struct async__py_handle_kind async__py_handles, async__py_timers, async__py_shared;

static PyObject *extract_stack; /* asyncio.format_helpers.extract_stack */
static PyObject *no_args;

/* ---- making and freeing ---- */

static PyObject *take(struct async__py_handle_kind *kind)
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

static PyObject *make(struct async__py_handle_kind *kind, async__py_loop *loop, PyObject *callback,
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
    ASYNC__PY_SLOT(self, kind, callback) = Py_NewRef(callback);
    ASYNC__PY_SLOT(self, kind, args) = tuple;
    ASYNC__PY_SLOT(self, kind, context) = context;
    ASYNC__PY_SLOT(self, kind, loop) = Py_NewRef((PyObject *)loop);
    ASYNC__PY_SLOT(self, kind, cancelled) = Py_NewRef(Py_False);
    ASYNC__PY_SLOT(self, kind, source_traceback) = source;
    ASYNC__PY_SLOT(self, kind, repr) = Py_NewRef(Py_None);
    ASYNC__PY_SLOT(self, kind, weakrefs) = NULL;
    return self;
}

static void handle_run(async_callback *callback);
static void timer_run(async_callback *callback);
static void shared_run(async_callback *callback);

PyObject *async__py_handle_new(async__py_loop *loop, PyObject *callback, PyObject *const *args,
                               Py_ssize_t count, PyObject *context)
{
    PyObject *self = make(&async__py_handles, loop, callback, args, count, context);

    if (!self) return NULL;
    *ASYNC__PY_HANDLE_PART(self) =
        (struct async__py_handle_part){.callback.run = handle_run, .loop = loop};
    PyObject_GC_Track(self);
    return self;
}

PyObject *async__py_shared_handle_new(async__py_loop *loop, PyObject *callback,
                                      PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    if (!async__py_shared.type) return async__py_handle_new(loop, callback, args, count, context);
    PyObject *self = make(&async__py_shared, loop, callback, args, count, context);

    if (!self) return NULL;
    ASYNC__PY_SLOT(self, &async__py_shared, lock) = NULL;
    ASYNC__PY_SHARED_PART(self)->callback = (async_callback){.run = shared_run};
    ASYNC__PY_SHARED_PART(self)->loop = loop;
    atomic_init(&ASYNC__PY_SHARED_PART(self)->runner, 0);
    PyObject_GC_Track(self);
    return self;
}

PyObject *async__py_timer_handle_new(async__py_loop *loop, PyObject *when, PyObject *callback,
                                     PyObject *const *args, Py_ssize_t count, PyObject *context)
{
    PyObject *self = make(&async__py_timers, loop, callback, args, count, context);

    if (!self) return NULL;
    *ASYNC__PY_TIMER_PART(self) =
        (struct async__py_timer_part){.timer.callback.run = timer_run, .loop = loop};
    ASYNC__PY_SLOT(self, &async__py_timers, when) = Py_NewRef(when);
    ASYNC__PY_SLOT(self, &async__py_timers, scheduled) = Py_NewRef(Py_False);
    PyObject_GC_Track(self);
    return self;
}

int async__py_handle_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct async__py_handle_kind *kind = async__py_kind_of(self);

    Py_VISIT(ASYNC__PY_SLOT(self, kind, callback));
    Py_VISIT(ASYNC__PY_SLOT(self, kind, args));
    Py_VISIT(ASYNC__PY_SLOT(self, kind, context));
    Py_VISIT(ASYNC__PY_SLOT(self, kind, loop));
    Py_VISIT(ASYNC__PY_SLOT(self, kind, source_traceback));
    Py_VISIT(ASYNC__PY_SLOT(self, kind, repr));
    Py_VISIT(ASYNC__PY_SLOT(self, kind,
                            cancelled)); /* from outside anything may be put here, and there */
    if (kind == &async__py_timers) {
        Py_VISIT(ASYNC__PY_SLOT(self, kind, when));
        Py_VISIT(ASYNC__PY_SLOT(self, kind, scheduled));
    }
    if (kind == &async__py_shared) Py_VISIT(ASYNC__PY_SLOT(self, kind, lock));
    Py_VISIT(Py_TYPE(self));
    return 0;
}

int async__py_handle_clear(PyObject *self)
{
    struct async__py_handle_kind *kind = async__py_kind_of(self);

    Py_CLEAR(ASYNC__PY_SLOT(self, kind, callback));
    Py_CLEAR(ASYNC__PY_SLOT(self, kind, args));
    Py_CLEAR(ASYNC__PY_SLOT(self, kind, context));
    Py_CLEAR(ASYNC__PY_SLOT(self, kind, loop));
    Py_CLEAR(ASYNC__PY_SLOT(self, kind, source_traceback));
    Py_CLEAR(ASYNC__PY_SLOT(self, kind, repr));
    Py_CLEAR(ASYNC__PY_SLOT(self, kind, cancelled));
    if (kind == &async__py_timers) {
        Py_CLEAR(ASYNC__PY_SLOT(self, kind, when));
        Py_CLEAR(ASYNC__PY_SLOT(self, kind, scheduled));
    }
    if (kind == &async__py_shared) Py_CLEAR(ASYNC__PY_SLOT(self, kind, lock));
    return 0;
}

void async__py_handle_dealloc(PyObject *self)
{
    struct async__py_handle_kind *kind = async__py_kind_of(self);
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (ASYNC__PY_SLOT(self, kind, weakrefs)) PyObject_ClearWeakRefs(self);
    async__py_handle_clear(self);
    if (ASYNC__PY_GIL && kind->kept_count < ASYNC__PY_KEPT_HANDLES)
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
static void call(async__py_loop *loop, struct async__py_handle_kind *kind, PyObject *self)
{
    PyObject *callback, *args, *context;

    Py_BEGIN_CRITICAL_SECTION(self);
    callback = Py_XNewRef(ASYNC__PY_SLOT(self, kind, callback));
    args = Py_XNewRef(ASYNC__PY_SLOT(self, kind, args));
    context = Py_XNewRef(ASYNC__PY_SLOT(self, kind, context));
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

void async__py_handle_call(async__py_loop *loop, PyObject *self)
{
    call(loop, async__py_kind_of(self), self);
}

bool async__py_handle_cancelled(PyObject *self)
{
    return ASYNC__PY_SLOT(self, async__py_kind_of(self), cancelled) != Py_False;
}

void async__py_handle_run(async__py_loop *loop, PyObject *self)
{
    struct async__py_handle_kind *kind = async__py_kind_of(self);

    if (ASYNC__PY_SLOT(self, kind, cancelled) != Py_False) return;
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
    struct async__py_handle_part *part =
        async__container(callback, struct async__py_handle_part, callback);
    PyObject *self = (PyObject *)((char *)part - async__py_handles.part);

    async__py_handle_run(part->loop, self);
    Py_DECREF(self);
}

/* The timer is set again, since by the program's clock it is not due. */
static bool put_off(struct async__py_timer_part *part, PyObject *self)
{
    async__py_loop *loop = part->loop;
    int64_t ns;

    if (!loop->other_time || async__py_handle_cancelled(self) || !async__py_too_early(loop, self))
        return false;
    PyObject *when = ASYNC__PY_SLOT(self, &async__py_timers, when);
    double seconds = when ? PyFloat_AsDouble(when) : -1;
    int code = PyErr_Occurred() ? -1 : async__py_engine_time(loop, seconds, &ns);
    PyErr_Clear();                     /* the look tells of a clock that fails */
    async_loop *engine = loop->engine; /* to ask for the time is to run the program's code */
    return code == 0 && engine && async_call_at_ns(engine, &part->timer, ns) == 0;
}

static void timer_run(async_callback *callback)
{
    struct async__py_timer_part *part =
        async__container(callback, struct async__py_timer_part, timer.callback);
    PyObject *self = (PyObject *)((char *)part - async__py_timers.part);

    if (put_off(part, self)) return;
    Py_XSETREF(ASYNC__PY_SLOT(self, &async__py_timers, scheduled), Py_NewRef(Py_False));
    async__py_handle_run(part->loop, self);
    Py_DECREF(self);
}

/* ---- running what other threads may cancel ---- */

static pthread_mutex_t over_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static atomic_int waiting; /* threads that wait for `over` */

/* Either this sees the one that waits, or that one sees that the callback does not run. */
static void tell_the_end(struct async__py_shared_part *part)
{
    atomic_store(&part->runner, 0);
    if (atomic_load(&waiting) == 0) return;
    pthread_mutex_lock(&over_lock);
    pthread_cond_broadcast(&over);
    pthread_mutex_unlock(&over_lock);
}

void async__py_handle_wait(PyObject *self)
{
    struct async__py_shared_part *part = ASYNC__PY_SHARED_PART(self);
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
    struct async__py_shared_part *part =
        async__container(callback, struct async__py_shared_part, callback);
    PyObject *self = (PyObject *)((char *)part - async__py_shared.part);

    atomic_store(&part->runner, PyThread_get_thread_ident());
    async__py_handle_run(part->loop, self);
    tell_the_end(part);
    Py_DECREF(self);
}

PyObject *async__py_handle_of(async_callback *callback)
{
    if (callback->run == shared_run)
        return (
            PyObject *)((char *)async__container(callback, struct async__py_shared_part, callback) -
                        async__py_shared.part);
    if (callback->run == handle_run)
        return (
            PyObject *)((char *)async__container(callback, struct async__py_handle_part, callback) -
                        async__py_handles.part);
    if (callback->run == timer_run)
        return (PyObject *)((char *)async__container(callback, struct async__py_timer_part,
                                                     timer.callback) -
                            async__py_timers.part);
    return NULL;
}

bool async__py_is_timer_handle(PyObject *handle)
{
    return async__py_kind_of(handle) == &async__py_timers;
}

/* ---- queueing and cancelling ---- */

/* That of a handle that is no timer's. */
static async_callback *callback_of(PyObject *self)
{
    return Py_TYPE(self) == async__py_handles.type ? &ASYNC__PY_HANDLE_PART(self)->callback
                                                   : &ASYNC__PY_SHARED_PART(self)->callback;
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
    if (async_call_at_ns(loop->engine, &ASYNC__PY_TIMER_PART(self)->timer, when) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(self);
    Py_XSETREF(ASYNC__PY_SLOT(self, &async__py_timers, scheduled), Py_NewRef(Py_True));
    return 0;
}

/* One that is due already stays so. */
void async__py_timer_handle_move(async__py_loop *loop, PyObject *self, int64_t when)
{
    async_timer *timer = &ASYNC__PY_TIMER_PART(self)->timer;

    if (!timer->slot || !loop->engine) return;
    if (when == 0 || async_call_at_ns(loop->engine, timer, when) < 0) {
        async_timer_cancel(loop->engine, timer);
        async_call_soon(loop->engine, &timer->callback);
    }
}

static bool unschedule(PyObject *self, struct async__py_handle_kind *kind,
                       const async__py_loop *loop)
{
    /* Its queues are the loop's own: there it is passed over when its turn comes. */
    if (!ASYNC__PY_GIL && loop && loop->owner != PyThread_get_thread_ident()) return false;
    if (kind != &async__py_timers) return async_callback_cancel(callback_of(self));
    async_timer *timer = &ASYNC__PY_TIMER_PART(self)->timer;
    if (!timer->slot) return async_callback_cancel(&timer->callback);
    async_loop *engine =
        ASYNC__PY_TIMER_PART(self)->loop->engine; /* NULL: the loop closes, and takes it out */
    return engine && async_timer_cancel(engine, timer);
}

void async__py_handle_cancel(PyObject *self)
{
    struct async__py_handle_kind *kind = async__py_kind_of(self);
    async__py_loop *loop = async__py_handle_loop(self, kind);
    PyObject *before, *callback, *args;

    Py_BEGIN_CRITICAL_SECTION(self);
    before = ASYNC__PY_SLOT(self, kind, cancelled);
    if (before == Py_False) ASYNC__PY_SLOT(self, kind, cancelled) = Py_NewRef(Py_True);
    Py_END_CRITICAL_SECTION();
    if (before != Py_False) return;
    Py_DECREF(before);
    if (loop && loop->debug) {
        /* What a warning of a slow callback will want to print. */
        PyObject *text = PyObject_Repr(self);
        if (text)
            Py_XSETREF(ASYNC__PY_SLOT(self, kind, repr), text);
        else
            async__py_loop_ignore(loop, NULL);
    }
    bool queued = unschedule(self, kind, loop);
    if (kind == &async__py_timers)
        Py_XSETREF(ASYNC__PY_SLOT(self, kind, scheduled), Py_NewRef(Py_False));
    Py_BEGIN_CRITICAL_SECTION(self);
    callback = ASYNC__PY_SLOT(self, kind, callback);
    args = ASYNC__PY_SLOT(self, kind, args);
    ASYNC__PY_SLOT(self, kind, callback) = Py_NewRef(Py_None);
    ASYNC__PY_SLOT(self, kind, args) = Py_NewRef(Py_None);
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

int async__py_prepare_handles(void)
{
    extract_stack = async__py_import("asyncio.format_helpers", "extract_stack");
    no_args = PyTuple_New(0);
    return extract_stack && no_args ? 0 : -1;
}
