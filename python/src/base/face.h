/* face.h - the Python face from the inside: what its files have in common.
 *
 * The extension module casyncio._casyncio is a client of <casyncio/loop.h>, as any C program is.
 * Each file is one concept with its types, and has one function that adds them to the module
 * (module.c has the list). What the files share of Python's objects is kept in static variables:
 * the module refuses to be imported into a second interpreter.
 *
 * Each folder may use some of the others, and each file of a folder what lies below it there:
 * tests/python/test_layers.py has the list, and reads the includes and the symbols of the objects. */
#ifndef CASYNCIO_PYTHON_FACE_H
#define CASYNCIO_PYTHON_FACE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stddef.h>

/* Interpreters without the GIL. A loop and what belongs to it is one thread's, as always: what only
 * that thread calls has no lock, and says RuntimeError to another while the loop runs. Others may
 * call call_soon_threadsafe() and cancel what it returned; close() may come between. These have
 * critical sections, which cost nothing where there is the GIL. What is kept for reuse is kept only
 * under it. */
#ifdef Py_GIL_DISABLED
enum { ASYNC__PY_GIL = false };
#else
enum { ASYNC__PY_GIL = true };
#endif
#if PY_VERSION_HEX < 0x030D0000
#define Py_BEGIN_CRITICAL_SECTION(object) {
#define Py_END_CRITICAL_SECTION() }
#endif

#define async__container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- names, calls and types (help.c) ---- */

/* Names that a file looks up often, made once: an array that ends with {0}. */
struct async__py_name {
    PyObject **where;
    const char *text;
};
int async__py_intern(const struct async__py_name *names);

/* A new reference to what `module` has under `name`. */
PyObject *async__py_import(const char *module, const char *name);

/* PyObject_CallMethod, but for names that are made anew each time: CPython's cache of methods would
 * keep one string for each call. For what is seldom called; what is often has an interned name of
 * its own. */
PyObject *async__py_call_method(PyObject *object, const char *name, const char *format, ...);

/* Makes the type and puts it into the module, under the part of its name behind the last dot;
 * `bases` may be NULL, a type or a tuple of them. A new reference. */
PyTypeObject *async__py_add_type(PyObject *module, PyType_Spec *spec, PyObject *bases);

/* For a PyGetSetDef: a `bool` or a `char` of the object that is read as a bool, and set by anything
 * that has a truth value, as an attribute of asyncio's classes is. (A T_BOOL member takes nothing
 * but True and False.) */
PyObject *async__py_get_flag(PyObject *self, void *offset);
int async__py_set_flag(PyObject *self, PyObject *value, void *offset);
#define ASYNC__PY_FLAG(name, type, member)                                                         \
    {                                                                                              \
        name, async__py_get_flag, async__py_set_flag, NULL, (void *)offsetof(type, member)         \
    }

/* Py_NewRef, of None for NULL. */
static inline PyObject *async__py_or_none(PyObject *object)
{
    return Py_NewRef(object ? object : Py_None);
}

/* ---- exceptions (errors.c) ---- */

/* The exception that is set, taken away; and given back (which takes the reference). */
PyObject *async__py_error_take(void);
void async__py_error_set(PyObject *exception);

/* The exception that is set is SystemExit or KeyboardInterrupt, which run_forever raises. */
bool async__py_ends_the_loop(void);

/* Sets OSError, of the subclass that belongs to the code: a negated errno. NULL. */
PyObject *async__py_set_oserror(int code);

/* ---- arguments (arguments.c) ---- */

/* 0, or -1 and TypeError: fewer arguments than that. */
int async__py_check_count(Py_ssize_t count, Py_ssize_t least, const char *usage);

/* The keyword argument `context` of call_soon and its like, NULL if it is not there. -1: there is
 * another. */
int async__py_take_context(PyObject *const *args, Py_ssize_t count, PyObject *names,
                           PyObject **context);

/* For __init__ of `class`: the one argument that it may have (borrowed; *value stays as it is
 * without), or none, if `name` is NULL. 0 or -1. */
int async__py_init_argument(const char *class, const char *name, PyObject *arguments,
                            PyObject *names, PyObject **value);

/* The one argument that a method has, by position or by name: *value (borrowed), which stays as it
 * is without. 0, or -1 and TypeError. */
struct async__py_parameter {
    const char *method, *name;
    bool required;
};
int async__py_argument(const struct async__py_parameter *parameter, PyObject *const *args,
                       Py_ssize_t count, PyObject *names, PyObject **value);

/* ---- what all transports are derived from (transport_base.c) ---- */

/* asyncio's _FlowControlMixin, which loop.sendfile() asks for. Its slots lie before what a transport
 * of ours has, from async__py_transport_base_size on. They are not used, but a program may put
 * something there, so the collector sees and clears them. */
extern PyTypeObject *async__py_transport_base;
extern Py_ssize_t async__py_transport_base_size;
int async__py_transport_base_traverse(PyObject *self, visitproc visit, void *arg);
void async__py_transport_base_clear(PyObject *self);

/* How many bytes may wait before the sender is told to pause, and how few when it may go on. */
struct async__py_limits {
    Py_ssize_t high, low;
};

/* asyncio's rule: the low limit is a quarter of the high one. */
static inline struct async__py_limits async__py_limits_of(Py_ssize_t high)
{
    return (struct async__py_limits){.high = high, .low = high / 4};
}

/* The arguments (high=None, low=None) of set_write_buffer_limits() and its like; `usual` is the
 * high limit without any. 0; -1 and an exception: *limits is as it was. */
int async__py_parse_limits(PyObject *args, PyObject *keywords, Py_ssize_t usual,
                           struct async__py_limits *limits);

/* ---- parts of the module ---- */

int async__py_add_arguments(PyObject *module);
int async__py_add_transport_base(PyObject *module);

#endif
