/* loop_type.h - the loop's type, and what its methods have in common. */
#ifndef CASYNCIO_PYTHON_LOOP_TYPE_H
#define CASYNCIO_PYTHON_LOOP_TYPE_H

#include "loop.h"

/* The engine's run: returns None after stop, or NULL and what a callback has raised. */
PyObject *async__py_loop_run(async__py_loop *loop);

/* Adds methods, and getters, to the loop's type: each file loop_*.c has some. An array ends with {0}.
 * 0, or -1 and an exception. */
int async__py_add_loop_methods(PyMethodDef *methods);
int async__py_add_loop_getters(PyGetSetDef *getters);

/* The watchdog that the program wants, or $CASYNCIO_WATCHDOG, is there while the loop runs. 0, or -1 and an
 * exception. */
int async__py_watchdog_begin(async__py_loop *loop);
void async__py_watchdog_end(async__py_loop *loop);

/* ---- parts of the module ---- */

int async__py_add_loop(PyObject *module);
int async__py_add_loop_schedule(PyObject *module);
int async__py_add_loop_descriptors(PyObject *module);
int async__py_add_loop_watchdog(PyObject *module);
int async__py_add_loop_run(PyObject *module);
int async__py_add_loop_tasks(PyObject *module);
int async__py_add_loop_sock(PyObject *module);
int async__py_add_loop_names(PyObject *module);
int async__py_add_tasks_layout(PyObject *module);

#endif
