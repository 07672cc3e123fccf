/* failure.c - what a TLS connection does with errors: it ends, and tells of it.
 *
 * The texts are asyncio's. */
#include "connection.h"

bool async__py_tls_debug(async__py_tls *self)
{
    PyObject *result = PyObject_CallMethodNoArgs(self->loop, async__py_tls_names.get_debug);
    int debug = result ? PyObject_IsTrue(result) : 0;

    Py_XDECREF(result);
    PyErr_Clear();
    return debug > 0;
}

/* Throws the connection away. asyncio's transports have _force_close for that, others only abort(),
 * which asyncio of before 3.11.8 and 3.12.2 calls too if there is no exception to pass on. */
static int force_close(PyObject *transport, PyObject *exception)
{
    PyObject *result = NULL, *method = NULL;

    if (exception || Py_Version >= 0x030C0200 ||
        (Py_Version >= 0x030B0800 && Py_Version < 0x030C0000)) {
        method = PyObject_GetAttr(transport, async__py_tls_names.force_close);
        if (!method && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
    }
    if (method)
        result = PyObject_CallOneArg(method, exception ? exception : Py_None);
    else
        result = PyObject_CallMethodNoArgs(transport, async__py_tls_names.abort);
    Py_XDECREF(method);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int async__py_tls_close_below(async__py_tls *self, PyObject *exception)
{
    PyObject *transport = Py_XNewRef(self->transport);
    if (!transport) return 0;
    int result = force_close(transport, exception);
    Py_DECREF(transport);
    return result;
}

int async__py_tls_log(async__py_tls *self, const char *format, PyObject *argument,
                      PyObject *exception)
{
    PyObject *args = argument ? Py_BuildValue("(sOO)", format, self, argument)
                              : Py_BuildValue("(sO)", format, self);
    PyObject *names =
        exception ? Py_BuildValue("{OO}", async__py_tls_names.exc_info, exception) : NULL;
    PyObject *result = NULL, *debug = NULL;

    if (args && (names || !exception))
        debug = PyObject_GetAttr(async__py_tls_classes.logger, async__py_tls_names.debug);
    if (debug) result = PyObject_Call(debug, args, names);
    Py_XDECREF(debug);
    Py_XDECREF(args);
    Py_XDECREF(names);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int call_handler(async__py_tls *self, const char *message, PyObject *exception,
                        PyObject *transport)
{
    PyObject *result = NULL, *context;

    context = Py_BuildValue("{sssOsOsO}", "message", message, "exception", exception, "transport",
                            transport ? transport : Py_None, "protocol", self);
    if (context)
        result = PyObject_CallMethodOneArg(self->loop, async__py_tls_names.call_exception_handler,
                                           context);
    Py_XDECREF(context);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int async__py_tls_report(async__py_tls *self, const char *message, PyObject *transport)
{
    if (async__py_ends_the_loop()) return -1;
    PyObject *exception = async__py_error_take();
    int result = call_handler(self, message, exception, transport);
    Py_DECREF(exception);
    return result;
}

int async__py_tls_fatal(async__py_tls *self, PyObject *exception, const char *message)
{
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    if (async__py_tls_close_below(self, exception) < 0) return -1;
    if (PyObject_IsInstance(exception, PyExc_OSError)) {
        if (!async__py_tls_debug(self)) return 0;
        PyObject *text = PyUnicode_FromString(message);
        int result = text ? async__py_tls_log(self, "%r: %s", text, exception) : -1;
        Py_XDECREF(text);
        return result;
    }
    if (PyObject_IsInstance(exception, async__py_tls_classes.cancelled_error)) return 0;
    return call_handler(self, message, exception, self->transport);
}

int async__py_tls_fail_always(async__py_tls *self, const char *message)
{
    PyObject *exception = async__py_error_take();
    int result = async__py_tls_fatal(self, exception, message);

    Py_DECREF(exception);
    return result;
}

int async__py_tls_fail(async__py_tls *self, const char *message)
{
    return async__py_tls_ordinary() ? async__py_tls_fail_always(self, message) : -1;
}

int async__py_tls_abort(async__py_tls *self, PyObject *exception)
{
    self->state = ASYNC__PY_TLS_UNWRAPPED;
    return async__py_tls_close_below(self, exception);
}
