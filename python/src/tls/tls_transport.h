/* tls_transport.h - the application's transport of a TLS connection. */
#ifndef CASYNCIO_PYTHON_TLS_TRANSPORT_H
#define CASYNCIO_PYTHON_TLS_TRANSPORT_H

#include "connection.h"

PyObject *async__py_tls_transport_new(async__py_tls *self);
int async__py_add_tls_transport(PyObject *module);

#endif
