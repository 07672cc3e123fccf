/* coroutine.h - coroutines written in C: what `queue.get()` and `lock.acquire()` return.
 *
 * A method makes one with async__py_coroutine(); nothing runs before it is awaited. Its kind has
 * two functions. `begin` is the first step; `resume` is called when what it waited for has
 * ended, with the value, or with NULL and the exception set (which it passes on by returning
 * ASYNC__PY_FAILED). Both either have a result, or wait for something by ending with `return
 * async__py_await(c, what)`. */
#ifndef CASYNCIO_PYTHON_COROUTINE_H
#define CASYNCIO_PYTHON_COROUTINE_H

#include "face.h"

enum async__py_outcome { ASYNC__PY_FAILED = -1, ASYNC__PY_WAITS, ASYNC__PY_DONE };

struct async__py_coroutine;

struct async__py_coroutine_kind {
    const char *qualname; /* what repr() and tracebacks of tasks call it: "Queue.get" */
    enum async__py_outcome (*begin)(struct async__py_coroutine *c, PyObject **result);
    enum async__py_outcome (*resume)(struct async__py_coroutine *c, PyObject *value,
                                     PyObject **result);
    bool returns_none; /* whatever `result` is: __aenter__ of a lock is its acquire() */
};

struct async__py_coroutine {
    PyObject_HEAD const struct async__py_coroutine_kind *kind;
    PyObject *owner;    /* the object whose method it is */
    PyObject *argument; /* what the method was given, or NULL */
    PyObject *waiter;   /* for the kind: the future that it has shown to others */
    PyObject *error;    /* for the kind: an exception to raise later */
    Py_ssize_t number;  /* for the kind */
    PyObject *awaited;  /* the iterator of what it waits for */
    PyObject *weakrefs;
    unsigned char state; /* coroutine.c's */
    bool has_raised;     /* coroutine.c's: its result, by an exception */
    unsigned char phase; /* for the kind; 0 at the beginning */
};

/* A new coroutine; takes references of its own. */
PyObject *async__py_coroutine(const struct async__py_coroutine_kind *kind, PyObject *owner,
                              PyObject *argument);

/* The coroutine goes on when `awaitable` (any object that can be awaited; a reference that is
 * taken, or NULL with the exception set) has ended. */
enum async__py_outcome async__py_await(struct async__py_coroutine *c, PyObject *awaitable);

/* For those that look in from outside: the address of the type, and two states. */
void async__py_coroutine_layout(uint64_t *type, uint32_t *running, uint32_t *done);

int async__py_add_coroutine(PyObject *module);

#endif
