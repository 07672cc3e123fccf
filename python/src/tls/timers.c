/* timers.c - how long a handshake and a shutdown may take. */
#include "connection.h"

int async__py_tls_start_timer(async__py_tls *self, PyObject **handle, PyObject *seconds,
                              PyObject *name)
{
    PyObject *callback = PyObject_GetAttr((PyObject *)self, name);

    if (!callback) return -1;
    PyObject *args[] = {self->loop, seconds, callback};
    PyObject *made = PyObject_VectorcallMethod(async__py_tls_names.call_later, args, 3, NULL);
    Py_DECREF(callback);
    Py_XSETREF(*handle, made);
    return made ? 0 : -1;
}

int async__py_tls_stop_timer(PyObject **handle)
{
    PyObject *stopped = *handle, *result;

    if (!stopped) return 0;
    *handle = NULL;
    result = PyObject_CallMethodNoArgs(stopped, async__py_tls_names.cancel);
    Py_DECREF(stopped);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

PyObject *async__py_tls_check_handshake_timeout(async__py_tls *self, PyObject *unused)
{
    if (self->state != ASYNC__PY_TLS_HANDSHAKE) Py_RETURN_NONE;
    PyErr_Format(PyExc_ConnectionAbortedError,
                 "SSL handshake is taking longer than %S seconds: aborting the connection",
                 self->handshake_timeout);
    if (async__py_tls_fail(self, "Fatal error on transport") < 0) return NULL;
    Py_RETURN_NONE;
}

PyObject *async__py_tls_check_shutdown_timeout(async__py_tls *self, PyObject *unused)
{
    if (self->state == ASYNC__PY_TLS_HANDSHAKE || self->state == ASYNC__PY_TLS_WRAPPED ||
        !self->transport)
        Py_RETURN_NONE;
    PyErr_SetString(PyExc_TimeoutError, "SSL shutdown timed out");
    PyObject *exception = async__py_error_take();
    int result = async__py_tls_close_below(self, exception);
    Py_DECREF(exception);
    if (result < 0) return NULL;
    Py_RETURN_NONE;
}
