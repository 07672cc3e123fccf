/* datagram.h - the transport of datagram sockets: what its two files have in common. */
#ifndef CASYNCIO_PYTHON_DATAGRAM_H
#define CASYNCIO_PYTHON_DATAGRAM_H

#include "transport.h"

/* A datagram that waits to be sent; it counts as 8 bytes more than it has. */
struct async__py_queued {
    struct async__py_queued *next;
    PyObject *data, *address;
};

/* Behind what the base classes have. */
typedef struct async__py_datagram {
    async_watch reader, writer;
    async__py_holder holder;
    async__py_loop *loop;
    PyObject *sock; /* NULL once closed */
    PyObject *protocol, *context;
    PyObject *address; /* the only one to send to, or None */
    PyObject *dict, *weakrefs;
    struct async__py_queued *first, **last;
    Py_ssize_t size, high, low; /* bytes that wait; and when the protocol is told */
    int fd, family;             /* family 0: all goes through the socket's methods */
    unsigned lost; /* 0: connection_lost has not been called for; more: datagrams since */
    bool has_peer, closing, paused, protocol_paused;
} async__py_datagram;

/* ---- the transport (datagram.c) ---- */

extern Py_ssize_t async__py_datagram_offset;
#define ASYNC__PY_DATAGRAM(self)                                                                   \
    ((async__py_datagram *)((char *)(self) + async__py_datagram_offset))
#define ASYNC__PY_DATAGRAM_SELF(part) ((PyObject *)((char *)(part)-async__py_datagram_offset))

/* The reader or the writer; to start may fail: -1. */
int async__py_datagram_start(async__py_datagram *part, async_watch *watch);
void async__py_datagram_stop(async__py_datagram *part, async_watch *watch);

/* For a watch's callback: does the work in the transport's context, timed in debug mode. */
void async__py_datagram_run(async__py_datagram *part, void (*work)(async__py_datagram *part));

/* Takes the exception that is set: OSError goes to the protocol, others are the end. -1, and an
 * exception is set: it ends the loop, or the protocol has failed. */
int async__py_datagram_error(async__py_datagram *part, const char *message);

/* Calls connection_lost, and closes the socket. */
PyObject *async__py_datagram_lost(PyObject *self, PyObject *exception);

/* ---- its sending side (datagram_send.c) ---- */

void async__py_datagram_drop_all(async__py_datagram *part);
void async__py_datagram_write_ready(async_callback *callback);
PyObject *async__py_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names);
PyObject *async__py_datagram_size(PyObject *self, PyObject *none);
PyObject *async__py_datagram_limits(PyObject *self, PyObject *none);
PyObject *async__py_datagram_set_limits(PyObject *self, PyObject *args, PyObject *keywords);
int async__py_add_datagram_send(void);

#endif
