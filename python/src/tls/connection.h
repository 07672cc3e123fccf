/* connection.h - a TLS connection between the transport below and the application's protocol above.
 *
 * Its files, from below: failure.c (what errors do), timers.c, memory.c, sending.c, receiving.c,
 * shutdown.c, handshake.c, and connection.c, which knows in which state it does what. A function
 * gives 0, or -1 and an exception, unless it says something else. */
#ifndef CASYNCIO_PYTHON_TLS_CONNECTION_H
#define CASYNCIO_PYTHON_TLS_CONNECTION_H

#include "names.h"
#include "records.h"

/* Of the connection. asyncio's states of the same names, with FLUSHING only for the rare close()
 * that has to wait until the peer lets us write. */
enum async__py_tls_state {
    ASYNC__PY_TLS_UNWRAPPED,
    ASYNC__PY_TLS_HANDSHAKE,
    ASYNC__PY_TLS_WRAPPED,
    ASYNC__PY_TLS_FLUSHING,
    ASYNC__PY_TLS_SHUTDOWN,
};

/* Which callbacks the application's protocol has had. */
enum async__py_tls_app {
    ASYNC__PY_TLS_NEW,
    ASYNC__PY_TLS_MADE,
    ASYNC__PY_TLS_EOF,
    ASYNC__PY_TLS_LOST
};

typedef struct async__py_tls {
    PyObject_HEAD char *memory; /* the loop's, for what is received */
    PyObject *weakrefs;
    PyObject *loop;
    PyObject *transport;     /* below: carries the records; NULL while there is no connection */
    PyObject *app_transport; /* above: the application's; NULL once the connection is lost */
    PyObject *app_protocol;
    PyObject *waiter; /* the future that the handshake ends; NULL: none, or it has */
    PyObject *sslcontext, *server_hostname, *extra;
    PyObject *handshake_timeout, *shutdown_timeout; /* seconds, as they were given */
    PyObject *handshake_handle, *shutdown_handle;
    double handshake_start;

    async__py_records records;
    PyObject *storage; /* the owner of that memory */

    PyObject *backlog; /* a list of bytes: plaintext that could not be written yet, or NULL */
    Py_ssize_t backlog_size;
    struct async__py_limits incoming_limits, outgoing_limits;
    Py_ssize_t corked_size;
    int corked; /* > 0: the application is being called; what it writes is sent when it returns */
    unsigned conn_lost;

    unsigned char state, app_state;
    bool server_side;
    bool app_is_buffered;  /* the application's protocol is an asyncio.BufferedProtocol */
    bool app_made;         /* _get_app_transport() has made one */
    bool app_closed;       /* by the application, or since the connection is lost */
    bool app_paused;       /* the application reads no more for now */
    bool app_write_paused; /* the application has been told to write no more for now */
    bool ssl_read_paused;  /* so has the transport below been told of reading */
    bool ssl_write_paused; /* so are we, by it */
    bool writing;          /* within a write: another, from pause_writing(), has to queue */
    bool resume_scheduled;
    bool closed_again; /* the application has closed what was closed: it asks for nothing more */
    bool eof;          /* the transport below has had its EOF */
    bool end;          /* all that the peer has sent has been read */
} async__py_tls;

enum { ASYNC__PY_TLS_MEMORY = 256 * 1024 };

/* Calls a method with one argument, which is taken; its result does not matter. The object is held
 * meanwhile, since the method may end the connection. */
static inline int async__py_tls_tell(PyObject *object, PyObject *method, PyObject *argument)
{
    if (!argument) return -1;
    Py_INCREF(object);
    PyObject *result = PyObject_CallMethodOneArg(object, method, argument);
    Py_DECREF(object);
    Py_DECREF(argument);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- errors (failure.c) ---- */

/* loop.get_debug(), for messages only: an error is none. */
bool async__py_tls_debug(async__py_tls *self);

/* logger.debug(format, self[, argument]), with the exception's traceback if there is one. */
int async__py_tls_log(async__py_tls *self, const char *format, PyObject *argument,
                      PyObject *exception);

/* loop.call_exception_handler for an exception of a callback, which is taken. */
int async__py_tls_report(async__py_tls *self, const char *message, PyObject *transport);

/* Throws the transport below away, if there is one; `exception` may be NULL. The second says that
 * the connection has ended, too. */
int async__py_tls_close_below(async__py_tls *self, PyObject *exception);
int async__py_tls_abort(async__py_tls *self, PyObject *exception);

/* Ends the connection and reports `exception` (any object), which stays the caller's. */
int async__py_tls_fatal(async__py_tls *self, PyObject *exception, const char *message);

/* The same for the exception that is set; of the first, one that is to go up stays set: -1. */
int async__py_tls_fail(async__py_tls *self, const char *message);
int async__py_tls_fail_always(async__py_tls *self, const char *message);

/* ---- how long it may take (timers.c) ---- */

/* `name` is the method that is called after so many seconds. */
int async__py_tls_start_timer(async__py_tls *self, PyObject **handle, PyObject *seconds,
                              PyObject *name);
int async__py_tls_stop_timer(PyObject **handle);
PyObject *async__py_tls_check_handshake_timeout(async__py_tls *self, PyObject *unused);
PyObject *async__py_tls_check_shutdown_timeout(async__py_tls *self, PyObject *unused);

/* ---- memory to receive into (memory.c) ---- */

int async__py_tls_take_memory(async__py_tls *self);
int async__py_add_tls_memory(PyObject *module);

/* ---- sending (sending.c) ---- */

/* The application's data. */
int async__py_tls_write(async__py_tls *self, PyObject *data);
int async__py_tls_write_backlog(async__py_tls *self);
int async__py_tls_append_backlog(async__py_tls *self, PyObject *data);
void async__py_tls_drop_backlog(async__py_tls *self);

/* Passes the records that are ready to the transport; if it has paused us, only when `all` is
 * said. */
int async__py_tls_send(async__py_tls *self, bool all);

/* From cork to uncork, what the application writes is gathered. With an exception set, uncork
 * leaves it so and gives -1. */
static inline void async__py_tls_cork(async__py_tls *self) { self->corked++; }
int async__py_tls_uncork(async__py_tls *self);

/* Tells the application to pause or to resume, by what waits. */
int async__py_tls_control_writing(async__py_tls *self);

/* ---- receiving (receiving.c) ---- */

/* Gives the application what can be decrypted and it wants to have, and sends what it writes
 * thereupon. */
int async__py_tls_deliver(async__py_tls *self);

/* Reads all that there is and drops it: 1 if there was any data, 0, or -1. */
int async__py_tls_discard(async__py_tls *self);

/* There may be more for the application: 1, 0, or -1. */
int async__py_tls_readable(async__py_tls *self);

/* Tells the transport below to pause or to resume, by what waits. */
int async__py_tls_control_reading(async__py_tls *self);

/* ---- the end (shutdown.c) ---- */

/* Tells the application that the peer has ended, once. */
int async__py_tls_app_eof(async__py_tls *self);

/* The steps: what is written has to go out, and then the peer is told. */
int async__py_tls_start_shutdown(async__py_tls *self);
int async__py_tls_flush_and_shut(async__py_tls *self);
int async__py_tls_shut(async__py_tls *self);

/* Takes the exception that is set, if it is one of ssl's: it is the end. */
int async__py_tls_shut_failed(async__py_tls *self);

/* ---- the handshake (handshake.c) ---- */

int async__py_tls_start_handshake(async__py_tls *self);

/* A step of it: 1 if it has just ended well, and the connection is there; 0; -1. */
int async__py_tls_handshake(async__py_tls *self);

/* Takes the exception that is set: the handshake has failed by it. */
int async__py_tls_handshake_failed(async__py_tls *self);

/* What waits for the handshake is told, by an exception or (NULL) that all is well. The second is
 * for the end of the connection, whose `exception` may be None. */
int async__py_tls_wake_waiter(async__py_tls *self, PyObject *exception);
int async__py_tls_waiter_lost(async__py_tls *self, PyObject *exception);

/* ---- the connection (connection.c) ---- */

/* Records that were received: on with them, as the state has it. */
int async__py_tls_received(async__py_tls *self, const char *data, Py_ssize_t length);

/* transport.resume_reading(), and what it queues. */
int async__py_tls_resume(async__py_tls *self);
PyObject *async__py_tls_resumed(async__py_tls *self, PyObject *unused);

/* What the transport below calls. */
PyObject *async__py_tls_connection_made(async__py_tls *self, PyObject *transport);
PyObject *async__py_tls_connection_lost(async__py_tls *self, PyObject *exception);
PyObject *async__py_tls_eof_received(async__py_tls *self, PyObject *unused);

/* The application's protocol, from now on. */
int async__py_tls_set_protocol(async__py_tls *self, PyObject *protocol);

PyObject *async__py_tls_extra_info(async__py_tls *self, PyObject *name, PyObject *fallback);

/* Lets go of the context and all that belongs to it, when the connection is lost and
 * closed_again. */
void async__py_tls_release(async__py_tls *self);

#endif
