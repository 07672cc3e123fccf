/* queue_items.c - how a queue keeps its items, and whether it has any.
 *
 * The three classes differ in an `order`. A subclass may keep its items in a way of its own, by
 * _init, _get and _put and in any container in `_queue`. */
#include "queue.h"

static PyObject *heappush, *heappop;
static PyObject *text_pop, *text_append;

/* ---- the orders ---- */

static PyObject *make_list(void) { return PyList_New(0); }

static int list_put(PyObject *items, PyObject *item)
{
    if (PyList_CheckExact(items)) return PyList_Append(items, item);
    return async__py_check(PyObject_CallMethodOneArg(items, text_append, item));
}

static PyObject *list_get(PyObject *items)
{
    Py_ssize_t length = PyList_CheckExact(items) ? PyList_GET_SIZE(items) : 0;
    if (!length) return PyObject_CallMethodNoArgs(items, text_pop);
    PyObject *item = Py_NewRef(PyList_GET_ITEM(items, length - 1));
    if (PyList_SetSlice(items, length - 1, length, NULL) < 0) Py_CLEAR(item);
    return item;
}

static int heap_put(PyObject *items, PyObject *item)
{
    PyObject *arguments[] = {items, item};
    return async__py_check(PyObject_Vectorcall(heappush, arguments, 2, NULL));
}

static PyObject *heap_get(PyObject *items) { return PyObject_CallOneArg(heappop, items); }

const struct async__py_order async__py_fifo = {async__py_deque, async__py_deque_append,
                                               async__py_deque_popleft},
                             async__py_heap = {make_list, heap_put, heap_get},
                             async__py_lifo = {make_list, list_put, list_get};

/* ---- what is in it ---- */

/* `self._queue`, or NULL and the AttributeError. */
PyObject *async__py_queue_items(struct async__py_queue *queue)
{
    if (!queue->items) {
        PyErr_Format(PyExc_AttributeError, "'%.100s' object has no attribute '_queue'",
                     Py_TYPE(queue)->tp_name);
    }
    return queue->items;
}

Py_ssize_t async__py_queue_size(struct async__py_queue *queue)
{
    return async__py_queue_items(queue) ? async__py_deque_length(queue->items) : -1;
}

/* What the method of a subclass says: 1, 0 or -1. */
static int ask(struct async__py_queue *queue, int hook)
{
    PyObject *answer = async__py_call_hook((PyObject *)queue, hook, NULL);
    int truth = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    return truth;
}

int async__py_queue_empty(struct async__py_queue *queue)
{
    PyObject *items = async__py_queue_items(queue);
    if (!items) return -1;
    if (queue->order != &async__py_fifo && PyList_CheckExact(items)) return !PyList_GET_SIZE(items);
    Py_ssize_t length = async__py_deque_length(items);
    return length < 0 ? -1 : !length;
}

int async__py_queue_is_empty(struct async__py_queue *queue)
{
    if (async__py_overrides((PyObject *)queue, ASYNC__PY_EMPTY)) return ask(queue, ASYNC__PY_EMPTY);
    return async__py_queue_empty(queue);
}

int async__py_queue_full(struct async__py_queue *queue)
{
    if (queue->limit <= 0) return 0;
    if (!async__py_overrides((PyObject *)queue, ASYNC__PY_QSIZE)) {
        Py_ssize_t length = async__py_queue_size(queue);
        return length < 0 ? -1 : (double)length >= queue->limit;
    }
    PyObject *size = async__py_call_hook((PyObject *)queue, ASYNC__PY_QSIZE, NULL);
    int full = size ? PyObject_RichCompareBool(size, queue->maxsize, Py_GE) : -1;
    Py_XDECREF(size);
    return full;
}

int async__py_queue_is_full(struct async__py_queue *queue)
{
    if (async__py_overrides((PyObject *)queue, ASYNC__PY_FULL)) return ask(queue, ASYNC__PY_FULL);
    return async__py_queue_full(queue);
}

PyObject *async__py_queue_native_take(struct async__py_queue *queue)
{
    PyObject *items = Py_XNewRef(async__py_queue_items(queue));
    PyObject *item = items ? queue->order->get(items) : NULL;
    Py_XDECREF(items);
    return item;
}

/* The reference is held because items are compared, by methods that may replace `_queue`. */
int async__py_queue_native_add(struct async__py_queue *queue, PyObject *item)
{
    PyObject *items = Py_XNewRef(async__py_queue_items(queue));
    int result = items ? queue->order->put(items, item) : -1;
    Py_XDECREF(items);
    return result;
}

PyObject *async__py_queue_take(struct async__py_queue *queue)
{
    if (!async__py_overrides((PyObject *)queue, ASYNC__PY_GET)) {
        return async__py_queue_native_take(queue);
    }
    return async__py_call_hook((PyObject *)queue, ASYNC__PY_GET, NULL);
}

int async__py_queue_add(struct async__py_queue *queue, PyObject *item)
{
    if (!async__py_overrides((PyObject *)queue, ASYNC__PY_PUT)) {
        return async__py_queue_native_add(queue, item);
    }
    return async__py_check(async__py_call_hook((PyObject *)queue, ASYNC__PY_PUT, item));
}

int async__py_find_heapq(void)
{
    const struct async__py_name names[] = {{&text_pop, "pop"}, {&text_append, "append"}, {0}};
    heappush = async__py_import("heapq", "heappush");
    heappop = async__py_import("heapq", "heappop");
    return heappush && heappop ? async__py_intern(names) : -1;
}
