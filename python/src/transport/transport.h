/* transport.h - the transport of stream sockets: for those who make one, and what its files
 * share. */
#ifndef CASYNCIO_PYTHON_TRANSPORT_H
#define CASYNCIO_PYTHON_TRANSPORT_H

#include "endpoint.h"

/* A transport of a connected stream socket, whose protocol's connection_made is scheduled. `waiter`
 * (a future that gets None once reading has begun), `extra` (a dict), `server` and `context` (see
 * async__py_endpoint_use_context) may be NULL or None. On failure the socket stays its giver's. */
PyObject *async__py_socket_transport_new(async__py_loop *loop, PyObject *sock, PyObject *protocol,
                                         PyObject *waiter, PyObject *extra, PyObject *server,
                                         PyObject *context);

/* A piece of the write queue: from `begin` to `end` of a bytes object. */
struct async__py_piece {
    PyObject *bytes;
    Py_ssize_t begin, end;
};

typedef struct async__py_transport {
    async__py_endpoint base;
    async__py_due flusher; /* queued: what is in the queue has not been tried yet, or `unwatched` */
    PyObject *empty_waiter;
    struct async__py_piece *queue; /* room for `capacity`, `length` from `first` on are used */
    Py_ssize_t first, length, capacity;
    int (*feed)(PyObject *protocol, const char *data, Py_ssize_t length); /* NULL: data_received */
    Py_ssize_t expected; /* of the next read, by the length of the last */
    char buffered, eof;
    char unwatched;       /* the first read was done at once: the watch begins a turn later */
    char empty;           /* the last read has found nothing */
    char together;        /* writes go out together */
    unsigned char writes; /* since the last read: 0, 1, 2 for more */
} async__py_transport;

#define ASYNC__PY_TRANSPORT(self)                                                                  \
    async__container(ASYNC__PY_ENDPOINT(self), async__py_transport, base)

/* ---- its receiving side (transport_read.c) ---- */

void async__py_transport_read_ready(async_callback *callback);
int async__py_transport_use(async__py_transport *self, PyObject *protocol);
int async__py_transport_begin(async__py_endpoint *base);
int async__py_add_transport_read(void);

/* ---- its sending side (transport_write.c) ---- */

void async__py_transport_write_ready(async_callback *callback);
void async__py_transport_flush_ready(async_callback *callback);
void async__py_transport_flush(async__py_endpoint *base);
void async__py_transport_drop(async__py_endpoint *base);
void async__py_transport_fail_waiter(async__py_transport *self, PyObject *exception);
PyObject *async__py_transport_write(PyObject *object, PyObject *data);
PyObject *async__py_transport_writelines(PyObject *object, PyObject *lines);
PyObject *async__py_transport_write_eof(PyObject *object, PyObject *none);
PyObject *async__py_transport_make_empty_waiter(PyObject *object, PyObject *none);
int async__py_add_transport_write(void);

int async__py_add_transport(PyObject *module);
int async__py_add_loop_accept(PyObject *module);

#endif
