/* endpoint.h - what the transports of sockets have in common, streams' and datagrams'. */
#ifndef CASYNCIO_PYTHON_ENDPOINT_H
#define CASYNCIO_PYTHON_ENDPOINT_H

#include "../loop/loop.h"

enum { ASYNC__PY_HIGH_WATER = 64 * 1024 };

typedef struct async__py_endpoint async__py_endpoint;

/* In what they differ. */
struct async__py_kind {
    const char *name;
    void (*read_ready)(async_callback *callback);
    void (*write_ready)(async_callback *callback);
    void (*flush)(
        async__py_endpoint *endpoint);          /* sends what has not been tried yet; may be NULL */
    void (*drop)(async__py_endpoint *endpoint); /* empties the queue, and frees it */
    /* Begins to read: 0, or -1 and an exception. NULL: the descriptor is watched. */
    int (*begin)(async__py_endpoint *endpoint);
};

/* A server's connection, in the ring of its server's (clients.c). */
typedef struct async__py_client {
    struct async__py_client *next, *prev;
    PyObject *transport; /* not owned */
    PyObject *clients;   /* the ring's owner; NULL: in none */
} async__py_client;

/* 1; 0 if the server is not one of ours; -1 and an exception. The second says whether it was the
 * last. */
int async__py_client_attach(async__py_client *client, PyObject *transport, PyObject *server);
bool async__py_client_detach(async__py_client *client);

/* Behind the slots of asyncio's _FlowControlMixin; each transport has more behind it. */
struct async__py_endpoint {
    async_watch reader, writer;
    const struct async__py_kind *kind;
    async__py_holder holder;
    async__py_loop *loop;
    PyObject *sock; /* NULL once closed */
    PyObject *protocol;
    PyObject *context;  /* the descriptor's callbacks run in it */
    bool context_given; /* connection_made and connection_lost run in it, too */
    PyObject *server;   /* that learns of the end; may be NULL */
    async__py_client client;
    PyObject *dict, *weakrefs;
    Py_ssize_t size; /* bytes that wait */
    struct async__py_limits limits;
    int fd;
    unsigned lost; /* 0: connection_lost has not been called for; more: writes since */
    char closing, paused, protocol_paused;
};

extern Py_ssize_t async__py_endpoint_offset;
#define ASYNC__PY_ENDPOINT(self)                                                                   \
    ((async__py_endpoint *)((char *)(self) + async__py_endpoint_offset))
#define ASYNC__PY_ENDPOINT_SELF(endpoint)                                                          \
    ((PyObject *)((char *)(endpoint)-async__py_endpoint_offset))

/* A method of the protocol, with an argument or NULL. The protocol is held meanwhile, since the
 * method may end the connection; without one it is None that is asked, and the answer an
 * AttributeError. */
PyObject *async__py_ask_protocol(async__py_endpoint *endpoint, PyObject *name, PyObject *argument);

/* ---- watching ---- */

/* The reader or the writer; to start it may fail: -1. */
int async__py_endpoint_watch(async__py_endpoint *endpoint, async_watch *watch);
void async__py_endpoint_unwatch(async__py_endpoint *endpoint, async_watch *watch);

/* For a watch's callback: does the work in the transport's context, timed in debug mode; unless the
 * connection is lost. What it raises is reported. */
void async__py_endpoint_run(async__py_endpoint *endpoint,
                            void (*work)(async__py_endpoint *endpoint));

/* ---- the end ---- */

/* Takes the exception that is set: it is the end. What the network has done is not worth a report.
 * */
void async__py_endpoint_fatal(async__py_endpoint *endpoint, const char *message);
void async__py_endpoint_fatal_errno(async__py_endpoint *endpoint, int error, const char *message);

/* connection_lost is called soon; by the first, after everything has been stopped. -1: an exception
 * is set; the loop is closed, or there is no memory. */
int async__py_endpoint_force_close(async__py_endpoint *endpoint, PyObject *exception);
int async__py_endpoint_lost_soon(async__py_endpoint *endpoint, PyObject *exception);

/* Closes the socket; the server learns of it. */
void async__py_endpoint_release(async__py_endpoint *endpoint);

/* Calls connection_lost, and closes the socket: what _call_connection_lost does; and the same when
 * the last byte is out. */
PyObject *async__py_endpoint_lost(PyObject *self, PyObject *exception);
void async__py_endpoint_finish(async__py_endpoint *endpoint);

/* Something is written to a connection that is lost: told of when it is done again and again. 0, or
 * -1. */
int async__py_endpoint_count_lost(async__py_endpoint *endpoint);

/* In debug mode tells what happens, in asyncio's words: "%r ..."; `argument` may be NULL. */
void async__py_endpoint_debug(async__py_endpoint *endpoint, const char *format, PyObject *argument);

/* ---- flow control ---- */

/* Told once: pause_writing when more waits than the high-water mark, resume_writing at the low one.
 * */
void async__py_tell_protocol(async__py_endpoint *endpoint, bool pause);

static inline void async__py_maybe_pause(async__py_endpoint *endpoint)
{
    if (endpoint->size > endpoint->limits.high && !endpoint->protocol_paused)
        async__py_tell_protocol(endpoint, true);
}

static inline void async__py_maybe_resume(async__py_endpoint *endpoint)
{
    if (endpoint->protocol_paused && endpoint->size <= endpoint->limits.low)
        async__py_tell_protocol(endpoint, false);
}

/* ---- making ---- */

/* A transport that has no socket yet. Then it gets one, and its protocol must be there; then it
 * begins: connection_made is called soon, reading starts, `waiter` (a future, or None) gets None.
 * -1: an exception is set, and `discard` is due: the socket stays its giver's. */
PyObject *async__py_endpoint_new(PyTypeObject *type, const struct async__py_kind *kind,
                                 async__py_loop *loop);
int async__py_endpoint_open(PyObject *self, PyObject *sock, PyObject *extra);

/* Before the transport is opened: has all of the protocol's methods called in `context`, as asyncio
 * does since Python 3.15; NULL and None change nothing. -1: it is not a context. */
int async__py_endpoint_use_context(PyObject *self, PyObject *context);
int async__py_endpoint_begin(PyObject *self, PyObject *waiter, PyObject *server);
void async__py_endpoint_discard(PyObject *self);

/* Slots of the types (endpoint_type.c). */
int async__py_endpoint_init(PyObject *self, PyObject *args, PyObject *keywords);
int async__py_endpoint_traverse(PyObject *self, visitproc visit, void *arg);
int async__py_endpoint_clear(PyObject *self);
void async__py_endpoint_dealloc(PyObject *self);

int async__py_add_endpoint_names(void);

/* A type whose instances have `size` bytes behind the base's; `also` is one more base, or NULL. */
PyTypeObject *async__py_add_endpoint_type(PyObject *module, const char *name, size_t size,
                                          PyType_Slot *slots, PyObject *also);

int async__py_add_clients(PyObject *module);
int async__py_add_endpoint(PyObject *module);

#endif
