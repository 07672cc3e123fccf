/* transport.h - the transports, for those who make them. */
#ifndef CASYNCIO_PYTHON_TRANSPORT_H
#define CASYNCIO_PYTHON_TRANSPORT_H

#include "face.h"

/* A transport of a connected stream socket, whose protocol's connection_made is scheduled. `waiter` (a
 * future that gets None once reading has begun), `extra` (a dict) and `server` may be NULL or None. On
 * failure the socket stays its giver's. */
PyObject *async__py_socket_transport_new(async__py_loop *loop, PyObject *sock, PyObject *protocol,
                                         PyObject *waiter, PyObject *extra, PyObject *server);

/* The arguments of set_write_buffer_limits. -1: an exception is set, and nothing changed. */
int async__py_parse_limits(PyObject *args, PyObject *keywords, Py_ssize_t *high, Py_ssize_t *low);

#endif
