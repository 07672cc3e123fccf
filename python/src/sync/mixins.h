/* mixins.h - what the synchronisation classes have in common, as asyncio's
 * mixins._LoopBoundMixin. */
#ifndef CASYNCIO_PYTHON_MIXINS_H
#define CASYNCIO_PYTHON_MIXINS_H

#include "../base/coroutine.h"

/* A method that others of the class call through `self`, so that a subclass may have its own. A
 * table of them ends with {0}; the position in it is the bit in `overridden`. */
struct async__py_hook {
    const char *name;
    PyObject *text;
    PyObject *native; /* the method as we have it */
};

/* Whether a call has succeeded whose result is of no interest (it is taken): 0 or -1. */
int async__py_check(PyObject *result);

/* The head of every such object. */
struct async__py_bound {
    PyObject_HEAD PyObject *dict;
    PyObject *weakrefs;
    PyObject *loop; /* the one that it first waited in, or NULL */
    struct async__py_hook *hooks;
    unsigned overridden;
};

/* The base class: a reference that is borrowed. */
PyTypeObject *async__py_bound_type(void);

/* tp_new of a class with these hooks (or NULL); looks which of them a subclass has replaced.
 * Replacing one on the instance is seen too. */
PyObject *async__py_bound_new(PyTypeObject *type, struct async__py_hook *hooks, bool subclass);
bool async__py_overrides(PyObject *self, int hook);
PyObject *async__py_call_hook(PyObject *self, int hook, PyObject *argument); /* or NULL */

/* Adds a subclass of `base` and of asyncio's class of the same name, and finds its hooks. */
PyTypeObject *async__py_add_bound_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base,
                                       struct async__py_hook *hooks);

/* For tp_traverse, tp_clear and tp_dealloc. */
int async__py_bound_traverse(PyObject *self, visitproc visit, void *arg);
int async__py_bound_clear(PyObject *self);
void async__py_bound_dealloc(PyObject *self); /* calls the type's tp_clear */

/* A new future of the running loop, to which the object is bound from now on. */
PyObject *async__py_bound_future(PyObject *self);

/* ---- waiters: a collections.deque of futures, in `_waiters` for everybody to see ---- */

/* `collections.deque()`, and its methods, fast where it is just that. */
PyObject *async__py_deque(void);
Py_ssize_t async__py_deque_length(PyObject *deque); /* of NULL and None it is 0 */
int async__py_deque_append(PyObject *deque, PyObject *item);
PyObject *async__py_deque_popleft(PyObject *deque);
int async__py_deque_remove(PyObject *deque, PyObject *item);

/* Waits for a new future that is put at the end of *waiters (made if there is none): c->waiter. */
enum async__py_outcome async__py_wait(struct async__py_coroutine *c, PyObject **waiters);

/* Takes c->waiter out of `waiters` again, whatever exception is set; -1: it was not there, and
 * that is the exception now. */
int async__py_unwait(struct async__py_coroutine *c, PyObject *waiters);

/* The answers of a future: 1, 0, or -1. cancel() is true if it was not done. */
int async__py_done(PyObject *future);
int async__py_cancelled(PyObject *future);
int async__py_cancel(PyObject *future);

/* Sets the result unless it is done: 1 if it has done so, 0, or -1. */
int async__py_wake(PyObject *future, PyObject *result);

/* Wakes up to `count` waiters from the front: how many it were, or -1. */
Py_ssize_t async__py_wake_some(PyObject *waiters, Py_ssize_t count, PyObject *result);

/* 1 if there is a waiter that is not cancelled, 0, or -1. */
int async__py_anybody(PyObject *waiters);

/* Getter and setter of such a list, which is made when it is looked at; the closure is its
 * offset. */
PyObject *async__py_get_waiters(PyObject *self, void *offset);
int async__py_set_waiters(PyObject *self, PyObject *value, void *offset);

/* ---- async with ---- */

/* `await self.acquire()`, whatever that is; the result is None. */
PyObject *async__py_enter(PyObject *self);

/* __aexit__ with `count` arguments, which are of no interest. */
PyObject *async__py_exit(const struct async__py_coroutine_kind *kind, PyObject *self,
                         Py_ssize_t count);

/* asyncio.CancelledError, borrowed. */
PyObject *async__py_cancelled_error(void);

/* ---- parts of the module ---- */

int async__py_add_mixins(PyObject *module);
int async__py_add_lock(PyObject *module);
int async__py_add_event(PyObject *module);
int async__py_add_semaphore(PyObject *module);
int async__py_add_condition(PyObject *module);
int async__py_add_queue(PyObject *module);
int async__py_add_timeout(PyObject *module);

#endif
