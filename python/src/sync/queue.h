/* queue.h - what the files of the queues have in common. */
#ifndef CASYNCIO_PYTHON_QUEUE_H
#define CASYNCIO_PYTHON_QUEUE_H

#include "mixins.h"

struct async__py_queue {
    struct async__py_bound bound;
    const struct async__py_order *order;
    PyObject *items; /* a deque or a list; whatever a subclass has made */
    PyObject *getters, *putters;
    PyObject *maxsize; /* the object that was given */
    double limit;      /* and its value */
    Py_ssize_t unfinished;
    PyObject *finished; /* the event that join() waits for; made by the first that needs it */
    bool is_shut_down;
};

/* How items are kept. `put` and `get` are of `items`. */
struct async__py_order {
    PyObject *(*make)(void);
    int (*put)(PyObject *items, PyObject *item);
    PyObject *(*get)(PyObject *items);
};

/* The methods that a subclass may replace. */
enum {
    ASYNC__PY_GET,
    ASYNC__PY_PUT,
    ASYNC__PY_INIT,
    ASYNC__PY_QSIZE,
    ASYNC__PY_EMPTY,
    ASYNC__PY_FULL,
    ASYNC__PY_GET_NOWAIT,
    ASYNC__PY_PUT_NOWAIT,
};

/* ---- items (queue_items.c) ---- */

extern const struct async__py_order async__py_fifo, async__py_heap, async__py_lifo;

/* `self._queue` (borrowed), or NULL and the AttributeError; and its length, or -1. */
PyObject *async__py_queue_items(struct async__py_queue *queue);
Py_ssize_t async__py_queue_size(struct async__py_queue *queue);

/* 1, 0 or -1: as our own methods say, and as a subclass does if it has replaced them. */
int async__py_queue_empty(struct async__py_queue *queue);
int async__py_queue_full(struct async__py_queue *queue);
int async__py_queue_is_empty(struct async__py_queue *queue);
int async__py_queue_is_full(struct async__py_queue *queue);

/* _get() and _put(): ours, and a subclass's if it has replaced them. */
PyObject *async__py_queue_native_take(struct async__py_queue *queue);
int async__py_queue_native_add(struct async__py_queue *queue, PyObject *item);
PyObject *async__py_queue_take(struct async__py_queue *queue);
int async__py_queue_add(struct async__py_queue *queue, PyObject *item);

int async__py_find_heapq(void);

#endif
