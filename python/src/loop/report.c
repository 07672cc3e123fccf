/* report.c - what becomes of an exception that no caller learns of.
 *
 * What user code raises goes to call_exception_handler, but for SystemExit and KeyboardInterrupt:
 * those wait in `raised` while the engine's loop is left, and end run_forever. */
#include "loop.h"

#include <stdarg.h>

static PyObject *name_call_exception_handler;

void async__py_loop_raise(async__py_loop *loop, PyObject *exception)
{
    if (loop->raised)
        Py_DECREF(exception);
    else
        loop->raised = exception;
    if (loop->engine) async_loop_interrupt(loop->engine);
}

/* Takes the reference to the exception. */
static void report(async__py_loop *loop, PyObject *exception, PyObject *context)
{
    if (context && PyDict_SetItemString(context, "exception", exception) == 0) {
        PyObject *result =
            PyObject_CallMethodOneArg((PyObject *)loop, name_call_exception_handler, context);
        Py_XDECREF(result);
    }
    Py_XDECREF(context);
    Py_DECREF(exception);
    if (PyErr_Occurred()) async__py_loop_raise(loop, async__py_error_take());
}

void async__py_loop_fail(async__py_loop *loop, const char *message, ...)
{
    if (!PyErr_Occurred()) return;
    bool ends = async__py_ends_the_loop();
    PyObject *exception = async__py_error_take();
    if (ends) {
        async__py_loop_raise(loop, exception);
        return;
    }
    PyObject *context = Py_BuildValue("{ss}", "message", message);
    va_list pairs;
    va_start(pairs, message);
    for (const char *key; context && (key = va_arg(pairs, const char *));) {
        PyObject *value = va_arg(pairs, PyObject *);
        if (value && PyDict_SetItemString(context, key, value) < 0) Py_CLEAR(context);
    }
    va_end(pairs);
    report(loop, exception, context);
}

void async__py_loop_ignore(async__py_loop *loop, PyObject *object)
{
    if (!PyErr_Occurred()) return;
    if (loop->engine && async_loop_is_running(loop->engine) && async__py_ends_the_loop())
        async__py_loop_raise(loop, async__py_error_take());
    else if (object)
        PyErr_WriteUnraisable(object);
    else
        PyErr_Clear();
}

void async__py_handle_failed(async__py_loop *loop, PyObject *handle)
{
    if (!PyErr_Occurred()) return;
    bool ends = async__py_ends_the_loop();
    PyObject *exception = async__py_error_take();
    if (ends) {
        async__py_loop_raise(loop, exception);
        return;
    }
    /* The text is asyncio's, which takes long to make: not worth being made here. */
    PyObject *context =
        async__py_call_method((PyObject *)loop, "_failed_handle_context", "O", handle);
    report(loop, exception, context);
}

int async__py_add_report(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_call_exception_handler, "call_exception_handler"},
        {0},
    };

    (void)module;
    return async__py_intern(names);
}
