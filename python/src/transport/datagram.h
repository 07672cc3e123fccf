/* datagram.h - the transport of datagram sockets: what its two files have in common. */
#ifndef CASYNCIO_PYTHON_DATAGRAM_H
#define CASYNCIO_PYTHON_DATAGRAM_H

#include "endpoint.h"

/* A datagram that waits to be sent; it counts as 8 bytes more than it has. */
struct async__py_queued {
    struct async__py_queued *next;
    PyObject *data, *address;
};

typedef struct async__py_datagram {
    async__py_endpoint base;
    PyObject *address; /* the only one to send to, or None */
    struct async__py_queued *first, **last;
    int family; /* 0: all goes through the socket's methods */
    bool has_peer;
} async__py_datagram;

#define ASYNC__PY_DATAGRAM(self)                                                                   \
    async__container(ASYNC__PY_ENDPOINT(self), async__py_datagram, base)

/* Takes the exception that is set: OSError goes to the protocol, others are the end. -1, and an
 * exception is set: it ends the loop, or the protocol has failed. */
int async__py_datagram_error(async__py_datagram *part, const char *message);

/* ---- its sending side (datagram_send.c) ---- */

void async__py_datagram_drop(async__py_endpoint *base);
void async__py_datagram_write_ready(async_callback *callback);
PyObject *async__py_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names);
int async__py_add_datagram_send(void);

int async__py_add_datagram(PyObject *module);

#endif
