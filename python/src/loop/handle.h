/* handle.h - handles: what call_soon and call_later return. */
#ifndef CASYNCIO_PYTHON_HANDLE_H
#define CASYNCIO_PYTHON_HANDLE_H

#include "loop.h"

/* A new handle; `context` may be NULL or None: a copy of the current one. */
PyObject *async__py_handle_new(async__py_loop *loop, PyObject *callback, PyObject *const *args,
                               Py_ssize_t count, PyObject *context);
/* One that another thread than the loop's queues. */
PyObject *async__py_shared_handle_new(async__py_loop *loop, PyObject *callback,
                                      PyObject *const *args, Py_ssize_t count, PyObject *context);
/* `when` is the loop's time in seconds, an object that the handle keeps. */
PyObject *async__py_timer_handle_new(async__py_loop *loop, PyObject *when, PyObject *callback,
                                     PyObject *const *args, Py_ssize_t count, PyObject *context);

/* Queues the handle: the queue takes a reference. The second is for other threads, too: -1 and
 * RuntimeError, the loop was closed meanwhile. */
void async__py_handle_schedule(async__py_loop *loop, PyObject *handle);
int async__py_handle_schedule_threadsafe(async__py_loop *loop, PyObject *handle);
int async__py_timer_handle_schedule(async__py_loop *loop, PyObject *handle, int64_t when);

/* Sets a timer that is set for another time; 0: it is due now. */
void async__py_timer_handle_move(async__py_loop *loop, PyObject *handle, int64_t when);

/* Calls it in its context, now; what it raises is reported. */
void async__py_handle_run(async__py_loop *loop, PyObject *handle);
void async__py_handle_cancel(PyObject *handle);
bool async__py_handle_cancelled(PyObject *handle);
bool async__py_is_timer_handle(PyObject *handle);

/* The handle that a callback of the loop's queue belongs to (borrowed), or NULL. */
PyObject *async__py_handle_of(async_callback *callback);

/* loop.call_soon for C: `function` with one argument; `context` as for a handle. 0, or -1 and an
 * exception is set. */
int async__py_call_soon(async__py_loop *loop, PyObject *function, PyObject *argument,
                        PyObject *context);

int async__py_add_handle(PyObject *module);

#endif
