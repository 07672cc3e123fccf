/* transport.h - the transport of stream sockets: for those who make one, and what its files
 * share. */
#ifndef CASYNCIO_PYTHON_TRANSPORT_H
#define CASYNCIO_PYTHON_TRANSPORT_H

#include "endpoint.h"

/* A connected stream socket. What may be NULL may be None, too. */
struct async__py_connection {
    PyObject *sock, *protocol;
    PyObject *waiter;   /* a future that gets None once reading has begun; or NULL */
    PyObject *extra;    /* a dict, what get_extra_info() knows beside the socket's own; or NULL */
    PyObject *server;   /* or NULL */
    PyObject *context;  /* see async__py_endpoint_use_context; or NULL */
    PyObject *sockname; /* NULL: the socket is asked */
    const struct sockaddr_storage *peer; /* NULL: the socket is asked */
};

/* A transport of it, whose protocol's connection_made is scheduled. On failure the socket stays its
 * giver's. */
PyObject *async__py_socket_transport_new(async__py_loop *loop,
                                         const struct async__py_connection *connection);

/* A piece of the write queue: from `begin` to `end` of a bytes object. */
struct async__py_piece {
    PyObject *bytes;
    Py_ssize_t begin, end;
};

typedef struct async__py_transport {
    async__py_endpoint base;
    async__py_due flusher; /* queued: what is in the queue has not been tried yet, or `unwatched` */
    PyObject *empty_waiter;
    PyObject *shown,
        *sockname; /* the socket and its address, while `_extra` is not made; or NULL */
    union async__py_inet peer;
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

/* ---- what get_extra_info() knows (extra.c) ---- */

/* The address as an object. All that have the same as the one before share it. */
PyObject *async__py_sockname(async__py_loop *loop, const struct sockaddr_storage *address,
                             socklen_t length);

/* The dict, made now: what is given, which may be NULL or None, and what the socket says. */
PyObject *async__py_extra_new(PyObject *given, PyObject *sock);

/* The dict is made when it is asked for: 1. 0: not that of this connection. -1: an exception is set. */
int async__py_extra_later(PyObject *self, const struct async__py_connection *connection);

PyObject *async__py_get_extra(PyObject *self, void *none);
int async__py_set_extra(PyObject *self, PyObject *value, void *none);
PyObject *async__py_get_extra_info(PyObject *self, PyObject *args, PyObject *keywords);
int async__py_add_extra(void);

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
