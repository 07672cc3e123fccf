/* queue.c - Queue, PriorityQueue and LifoQueue, as asyncio's, with shutdown() on every Python.
 *
 * put() and get() of a queue that has room or an item end in their first step. Those who wait
 * are only woken, not given the item: a get_nowait() may come first, then they wait again, at
 * the end. */
#include "queue.h"

#include <structmember.h>

#define HOOKS                                                                                      \
    {                                                                                              \
        [ASYNC__PY_GET] = {.name = "_get"}, [ASYNC__PY_PUT] = {.name = "_put"},                    \
        [ASYNC__PY_INIT] = {.name = "_init"}, [ASYNC__PY_QSIZE] = {.name = "qsize"},               \
        [ASYNC__PY_EMPTY] = {.name = "empty"}, [ASYNC__PY_FULL] = {.name = "full"},                \
        [ASYNC__PY_GET_NOWAIT] = {.name = "get_nowait"},                                           \
        [ASYNC__PY_PUT_NOWAIT] = {.name = "put_nowait"}, {0},                                      \
    }

static struct async__py_hook queue_hooks[] = HOOKS, priority_hooks[] = HOOKS, lifo_hooks[] = HOOKS;

static PyTypeObject *queue_type, *priority_type, *lifo_type;
static PyObject *queue_empty_error, *queue_full_error, *queue_shut_down_error;
static PyObject *event_class;
static PyObject *text_set, *text_clear, *text_wait;

/* ---- waiters ---- */

/* The first of them that is not done, if any, looks again; or all of them do. */
static int wake(PyObject *waiters, bool all)
{
    int woken = 0;
    Py_XINCREF(waiters);
    while ((all ? woken >= 0 : woken == 0) && async__py_deque_length(waiters) > 0) {
        PyObject *waiter = async__py_deque_popleft(waiters);
        woken = waiter ? async__py_wake(waiter, Py_None) : -1;
        Py_XDECREF(waiter);
    }
    Py_XDECREF(waiters);
    return woken < 0 ? -1 : 0;
}

static int wake_next(PyObject *waiters) { return wake(waiters, false); }

/* A wait has failed with the exception `error`: the waiter leaves, and if it was woken, and what it
 * was woken for (`queue` is not empty, or not full) is still there, the next one is woken. */
static int leave(struct async__py_coroutine *c, PyObject *waiters,
                 int (*nothing)(struct async__py_queue *))
{
    struct async__py_queue *queue = (struct async__py_queue *)c->owner;
    if (async__py_cancel(c->waiter) < 0) return -1;
    if (async__py_deque_remove(waiters, c->waiter) < 0) {
        /* Who woke it has taken it out. */
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) return -1;
        PyErr_Clear();
    }
    int unable = nothing(queue);
    if (unable != 0) return unable < 0 ? -1 : 0;
    int cancelled = async__py_cancelled(c->waiter);
    if (cancelled != 0) return cancelled < 0 ? -1 : 0;
    return wake_next(waiters);
}

/* The same around the exception that is set; it goes on, unless leaving fails itself. */
static enum async__py_outcome fail(struct async__py_coroutine *c, PyObject *waiters,
                                   int (*nothing)(struct async__py_queue *))
{
    PyObject *error = async__py_error_take();
    Py_XINCREF(waiters);
    if (leave(c, waiters, nothing) < 0) {
        Py_DECREF(error);
    } else {
        async__py_error_set(error);
    }
    Py_XDECREF(waiters);
    return ASYNC__PY_FAILED;
}

/* ---- put ---- */

static int finished_is(struct async__py_queue *queue, PyObject *method)
{
    return queue->finished ? async__py_check(PyObject_CallMethodNoArgs(queue->finished, method))
                           : 0;
}

static PyObject *native_put_nowait(struct async__py_queue *queue, PyObject *item)
{
    if (queue->is_shut_down) {
        PyErr_SetNone(queue_shut_down_error);
        return NULL;
    }
    int full = async__py_queue_is_full(queue);
    if (full != 0) {
        if (full > 0) PyErr_SetNone(queue_full_error);
        return NULL;
    }
    if (async__py_queue_add(queue, item) < 0) return NULL;
    if (queue->unfinished++ == 0 && finished_is(queue, text_clear) < 0) return NULL;
    if (wake_next(queue->getters) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *queue_put_nowait(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                                  PyObject *names)
{
    static const struct async__py_parameter parameter = {"put_nowait", "item", true};
    PyObject *item = NULL;
    if (async__py_argument(&parameter, arguments, count, names, &item) < 0) return NULL;
    return native_put_nowait((struct async__py_queue *)self, item);
}

static enum async__py_outcome put_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct async__py_queue *queue = (struct async__py_queue *)c->owner;
    int full = async__py_queue_is_full(queue);
    if (full < 0) return ASYNC__PY_FAILED;
    if (full) {
        if (!queue->is_shut_down) return async__py_wait(c, &queue->putters);
        PyErr_SetNone(queue_shut_down_error);
        return ASYNC__PY_FAILED;
    }
    *result = async__py_overrides(c->owner, ASYNC__PY_PUT_NOWAIT)
                  ? async__py_call_hook(c->owner, ASYNC__PY_PUT_NOWAIT, c->argument)
                  : native_put_nowait(queue, c->argument);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static enum async__py_outcome put_resume(struct async__py_coroutine *c, PyObject *value,
                                         PyObject **result)
{
    if (!value)
        return fail(c, ((struct async__py_queue *)c->owner)->putters, async__py_queue_is_full);
    return put_begin(c, result);
}

static const struct async__py_coroutine_kind put_kind = {
    .qualname = "Queue.put",
    .begin = put_begin,
    .resume = put_resume,
};

static PyObject *queue_put(PyObject *self, PyObject *const *arguments, Py_ssize_t count,
                           PyObject *names)
{
    static const struct async__py_parameter parameter = {"put", "item", true};
    PyObject *item = NULL;
    if (async__py_argument(&parameter, arguments, count, names, &item) < 0) return NULL;
    return async__py_coroutine(&put_kind, self, item);
}

/* ---- get ---- */

static PyObject *native_get_nowait(struct async__py_queue *queue)
{
    int empty = async__py_queue_is_empty(queue);
    if (empty != 0) {
        if (empty > 0) {
            PyErr_SetNone(queue->is_shut_down ? queue_shut_down_error : queue_empty_error);
        }
        return NULL;
    }
    PyObject *item = async__py_queue_take(queue);
    if (item && wake_next(queue->putters) < 0) Py_CLEAR(item);
    return item;
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused)
{
    return native_get_nowait((struct async__py_queue *)self);
}

static enum async__py_outcome get_begin(struct async__py_coroutine *c, PyObject **result)
{
    struct async__py_queue *queue = (struct async__py_queue *)c->owner;
    int empty = async__py_queue_is_empty(queue);
    if (empty < 0) return ASYNC__PY_FAILED;
    if (empty) {
        if (!queue->is_shut_down) return async__py_wait(c, &queue->getters);
        PyErr_SetNone(queue_shut_down_error);
        return ASYNC__PY_FAILED;
    }
    *result = async__py_overrides(c->owner, ASYNC__PY_GET_NOWAIT)
                  ? async__py_call_hook(c->owner, ASYNC__PY_GET_NOWAIT, NULL)
                  : native_get_nowait(queue);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static enum async__py_outcome get_resume(struct async__py_coroutine *c, PyObject *value,
                                         PyObject **result)
{
    if (!value)
        return fail(c, ((struct async__py_queue *)c->owner)->getters, async__py_queue_is_empty);
    return get_begin(c, result);
}

static const struct async__py_coroutine_kind get_kind = {
    .qualname = "Queue.get",
    .begin = get_begin,
    .resume = get_resume,
};

static PyObject *queue_get(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&get_kind, self, NULL);
}

/* ---- join ---- */

static PyObject *queue_get_finished(PyObject *self, void *unused)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    if (!queue->finished) {
        queue->finished = PyObject_CallNoArgs(event_class);
        if (queue->finished && queue->unfinished == 0 && finished_is(queue, text_set) < 0) {
            return NULL;
        }
    }
    return Py_XNewRef(queue->finished);
}

static PyObject *queue_task_done(PyObject *self, PyObject *unused)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    if (queue->unfinished <= 0) {
        PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
        return NULL;
    }
    if (--queue->unfinished == 0 && finished_is(queue, text_set) < 0) return NULL;
    Py_RETURN_NONE;
}

static enum async__py_outcome join_begin(struct async__py_coroutine *c, PyObject **result)
{
    if (((struct async__py_queue *)c->owner)->unfinished <= 0) {
        *result = Py_NewRef(Py_None);
        return ASYNC__PY_DONE;
    }
    PyObject *finished = queue_get_finished(c->owner, NULL);
    if (!finished) return ASYNC__PY_FAILED;
    PyObject *wait = PyObject_CallMethodNoArgs(finished, text_wait);
    Py_DECREF(finished);
    return async__py_await(c, wait);
}

static enum async__py_outcome join_resume(struct async__py_coroutine *c, PyObject *value,
                                          PyObject **result)
{
    *result = Py_XNewRef(value);
    return value ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind join_kind = {
    .qualname = "Queue.join",
    .begin = join_begin,
    .resume = join_resume,
    .returns_none = true,
};

static PyObject *queue_join(PyObject *self, PyObject *unused)
{
    return async__py_coroutine(&join_kind, self, NULL);
}

/* ---- shutdown ---- */

static int drop_items(struct async__py_queue *queue)
{
    int empty;
    while ((empty = async__py_queue_is_empty(queue)) == 0) {
        if (async__py_check(async__py_queue_take(queue)) < 0) return -1;
        if (queue->unfinished > 0) queue->unfinished--;
    }
    if (empty < 0) return -1;
    return queue->unfinished == 0 ? finished_is(queue, text_set) : 0;
}

static PyObject *queue_shutdown(PyObject *self, PyObject *arguments, PyObject *names)
{
    static char *keywords[] = {"immediate", NULL};
    int immediate = false;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "|p:shutdown", keywords, &immediate)) {
        return NULL;
    }
    struct async__py_queue *queue = (struct async__py_queue *)self;
    queue->is_shut_down = true;
    if (immediate && drop_items(queue) < 0) return NULL;
    if (wake(queue->getters, true) < 0 || wake(queue->putters, true) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- looking at it ---- */

static PyObject *queue_qsize(PyObject *self, PyObject *unused)
{
    Py_ssize_t length = async__py_queue_size((struct async__py_queue *)self);
    return length < 0 ? NULL : PyLong_FromSsize_t(length);
}

static PyObject *queue_empty(PyObject *self, PyObject *unused)
{
    int empty = async__py_queue_empty((struct async__py_queue *)self);
    return empty < 0 ? NULL : PyBool_FromLong(empty);
}

static PyObject *queue_full(PyObject *self, PyObject *unused)
{
    int full = async__py_queue_full((struct async__py_queue *)self);
    return full < 0 ? NULL : PyBool_FromLong(full);
}

/* ---- what subclasses replace ---- */

static PyObject *queue_make(PyObject *self, PyObject *unused)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    PyObject *items = queue->order->make();
    if (!items) return NULL;
    Py_XSETREF(queue->items, items);
    Py_RETURN_NONE;
}

static PyObject *queue_take(PyObject *self, PyObject *unused)
{
    return async__py_queue_native_take((struct async__py_queue *)self);
}

static PyObject *queue_add(PyObject *self, PyObject *item)
{
    if (async__py_queue_native_add((struct async__py_queue *)self, item) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- the object ---- */

static PyObject *make(PyTypeObject *type, const struct async__py_order *order,
                      struct async__py_hook *hooks, bool subclass)
{
    struct async__py_queue *queue =
        (struct async__py_queue *)async__py_bound_new(type, hooks, subclass);
    if (queue) queue->order = order;
    return (PyObject *)queue;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return make(type, &async__py_fifo, queue_hooks, type != queue_type);
}

static PyObject *priority_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return make(type, &async__py_heap, priority_hooks, type != priority_type);
}

static PyObject *lifo_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    return make(type, &async__py_lifo, lifo_hooks, type != lifo_type);
}

static int queue_set_maxsize(PyObject *self, PyObject *maxsize, void *unused)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    double limit = maxsize ? PyFloat_AsDouble(maxsize) : 0;
    if (limit == -1 && PyErr_Occurred()) return -1;
    queue->limit = limit;
    Py_XSETREF(queue->maxsize, Py_XNewRef(maxsize));
    return 0;
}

static PyObject *queue_get_maxsize(PyObject *self, void *unused)
{
    PyObject *maxsize = ((struct async__py_queue *)self)->maxsize;
    return maxsize ? Py_NewRef(maxsize) : PyLong_FromLong(0);
}

static int queue_init(PyObject *self, PyObject *arguments, PyObject *names)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    PyObject *maxsize = NULL;
    if (async__py_init_argument("Queue", "maxsize", arguments, names, &maxsize) < 0) return -1;
    maxsize = maxsize ? Py_NewRef(maxsize) : PyLong_FromLong(0);
    if (!maxsize) return -1;
    int result = queue_set_maxsize(self, maxsize, NULL);
    if (result == 0) {
        Py_CLEAR(queue->getters);
        Py_CLEAR(queue->putters);
        Py_CLEAR(queue->finished);
        queue->unfinished = 0;
        queue->is_shut_down = false;
        result = async__py_check(async__py_overrides(self, ASYNC__PY_INIT)
                                     ? async__py_call_hook(self, ASYNC__PY_INIT, maxsize)
                                     : queue_make(self, NULL));
    }
    Py_DECREF(maxsize);
    return result;
}

static int queue_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    Py_VISIT(queue->items);
    Py_VISIT(queue->getters);
    Py_VISIT(queue->putters);
    Py_VISIT(queue->maxsize);
    Py_VISIT(queue->finished);
    return async__py_bound_traverse(self, visit, arg);
}

static int queue_clear(PyObject *self)
{
    struct async__py_queue *queue = (struct async__py_queue *)self;
    Py_CLEAR(queue->items);
    Py_CLEAR(queue->getters);
    Py_CLEAR(queue->putters);
    Py_CLEAR(queue->maxsize);
    Py_CLEAR(queue->finished);
    return async__py_bound_clear(self);
}

static PyMethodDef queue_methods[] = {
    {"qsize", queue_qsize, METH_NOARGS, "qsize($self)\n--\n\nThe number of items."},
    {"empty", queue_empty, METH_NOARGS, "empty($self)\n--\n\nTrue if there is no item."},
    {"full", queue_full, METH_NOARGS, "full($self)\n--\n\nTrue if there are maxsize items."},
    {"put", (PyCFunction)(void (*)(void))queue_put, METH_FASTCALL | METH_KEYWORDS,
     "put($self, item)\n--\n\nPuts an item in, when there is room. A coroutine."},
    {"put_nowait", (PyCFunction)(void (*)(void))queue_put_nowait, METH_FASTCALL | METH_KEYWORDS,
     "put_nowait($self, item)\n--\n\nPuts an item in, or raises QueueFull."},
    {"get", queue_get, METH_NOARGS,
     "get($self)\n--\n\nTakes an item out, when there is one. A coroutine."},
    {"get_nowait", queue_get_nowait, METH_NOARGS,
     "get_nowait($self)\n--\n\nTakes an item out, or raises QueueEmpty."},
    {"task_done", queue_task_done, METH_NOARGS,
     "task_done($self)\n--\n\nSays that an item that was taken has been dealt with."},
    {"join", queue_join, METH_NOARGS,
     "join($self)\n--\n\nWaits until all items have been dealt with. A coroutine."},
    {"shutdown", (PyCFunction)(void (*)(void))queue_shutdown, METH_VARARGS | METH_KEYWORDS,
     "shutdown($self, immediate=False)\n--\n\n"
     "From now on put() raises QueueShutDown, and get() when the queue is empty."},
    {"_init", queue_make, METH_O, NULL},
    {"_get", queue_take, METH_NOARGS, NULL},
    {"_put", queue_add, METH_O, NULL},
    {0},
};

/* The subclasses have methods of their own, because a class may inherit from both: what it calls is
 * then decided by its order of bases, as in Python. */
static PyMethodDef order_methods[] = {
    {"_init", queue_make, METH_O, NULL},
    {"_get", queue_take, METH_NOARGS, NULL},
    {"_put", queue_add, METH_O, NULL},
    {0},
};

static PyGetSetDef queue_attributes[] = {
    {"maxsize", queue_get_maxsize, NULL, "The number of items that it has room for.", NULL},
    {"_maxsize", queue_get_maxsize, queue_set_maxsize, NULL, NULL},
    {"_getters", async__py_get_waiters, async__py_set_waiters, NULL,
     (void *)offsetof(struct async__py_queue, getters)},
    {"_putters", async__py_get_waiters, async__py_set_waiters, NULL,
     (void *)offsetof(struct async__py_queue, putters)},
    {"_finished", queue_get_finished, NULL, NULL, NULL},
    ASYNC__PY_FLAG("_is_shutdown", struct async__py_queue, is_shut_down),
    {0},
};

static PyMemberDef queue_members[] = {
    {"_queue", T_OBJECT_EX, offsetof(struct async__py_queue, items), 0, NULL},
    {"_unfinished_tasks", T_PYSSIZET, offsetof(struct async__py_queue, unfinished), 0, NULL},
    {0},
};

#define QUEUE_SLOTS(documentation, create)                                                         \
    {Py_tp_doc, documentation}, {Py_tp_new, create}, {Py_tp_dealloc, async__py_bound_dealloc},     \
        {Py_tp_traverse, queue_traverse},                                                          \
    {                                                                                              \
        Py_tp_clear, queue_clear                                                                   \
    }

static PyType_Slot queue_slots[] = {
    QUEUE_SLOTS("Queue(maxsize=0)\n--\n\nA queue between tasks, as asyncio.Queue.", queue_new),
    {Py_tp_init, queue_init},
    {Py_tp_methods, queue_methods},
    {Py_tp_getset, queue_attributes},
    {Py_tp_members, queue_members},
    {0},
};

static PyType_Slot priority_slots[] = {
    QUEUE_SLOTS("PriorityQueue(maxsize=0)\n--\n\nA queue whose smallest item comes first.",
                priority_new),
    {Py_tp_methods, order_methods},
    {0},
};

static PyType_Slot lifo_slots[] = {
    QUEUE_SLOTS("LifoQueue(maxsize=0)\n--\n\nA queue whose youngest item comes first.", lifo_new),
    {Py_tp_methods, order_methods},
    {0},
};

#define QUEUE_SPEC(title, its_slots)                                                               \
    {                                                                                              \
        .name = title, .basicsize = sizeof(struct async__py_queue),                                \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,                    \
        .slots = its_slots,                                                                        \
    }

static PyType_Spec queue_spec = QUEUE_SPEC("casyncio.Queue", queue_slots);
static PyType_Spec priority_spec = QUEUE_SPEC("casyncio.PriorityQueue", priority_slots);
static PyType_Spec lifo_spec = QUEUE_SPEC("casyncio.LifoQueue", lifo_slots);

/* asyncio's own exceptions: what it does not have (QueueShutDown, before 3.13) is ours. */
static int find_exceptions(PyObject *module)
{
    queue_empty_error = async__py_import("asyncio", "QueueEmpty");
    queue_full_error = async__py_import("asyncio", "QueueFull");
    if (!queue_empty_error || !queue_full_error) return -1;
    queue_shut_down_error = async__py_import("asyncio", "QueueShutDown");
    if (!queue_shut_down_error) {
        PyErr_Clear();
        queue_shut_down_error = PyErr_NewExceptionWithDoc(
            "casyncio.QueueShutDown", "Raised by a queue that has been shut down.", NULL, NULL);
        if (!queue_shut_down_error) return -1;
    }
    return PyModule_AddObjectRef(module, "QueueShutDown", queue_shut_down_error);
}

int async__py_add_queue(PyObject *module)
{
    const struct async__py_name names[] = {
        {&text_set, "set"},
        {&text_clear, "clear"},
        {&text_wait, "wait"},
        {0},
    };
    if (async__py_intern(names) < 0 || find_exceptions(module) < 0) return -1;
    event_class = PyObject_GetAttrString(module, "Event");
    if (!event_class || async__py_find_heapq() < 0) return -1;
    queue_type = async__py_add_bound_type(module, &queue_spec, async__py_bound_type(), queue_hooks);
    if (!queue_type) return -1;
    priority_type = async__py_add_bound_type(module, &priority_spec, queue_type, priority_hooks);
    if (!priority_type) return -1;
    lifo_type = async__py_add_bound_type(module, &lifo_spec, queue_type, lifo_hooks);
    return lifo_type ? 0 : -1;
}
