/* tls.h - what the files of TLS have in common: tls.c is the type and its attributes, tls_state.c
 * how a connection begins and ends, tls_data.c how data goes through, tls_transport.c what the user
 * holds. */
#ifndef CASYNCIO_PYTHON_TLS_H
#define CASYNCIO_PYTHON_TLS_H

#include "../base/face.h"
#include "../streams/stream.h"

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

struct async__py_tls_limits {
    Py_ssize_t high, low;
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

    PyObject *incoming, *outgoing, *sslobj; /* the MemoryBIOs and the SSLObject */
    PyObject *incoming_write, *outgoing_read, *ssl_read, *ssl_write, *ssl_shutdown;
    PyObject *storage; /* the owner of that memory */

    PyObject *backlog; /* a list of bytes: plaintext that could not be written yet, or NULL */
    Py_ssize_t backlog_size;
    struct async__py_tls_limits incoming_limits, outgoing_limits;
    Py_ssize_t corked_size;
    int corked; /* > 0: the application is being called; what it writes is sent when it returns */
    unsigned conn_lost;

    unsigned char state, app_state;
    bool server_side;
    bool direct;           /* sslobj is an ssl.SSLObject: the object within it is called */
    bool app_is_buffered;  /* the application's protocol is an asyncio.BufferedProtocol */
    bool app_made;         /* _get_app_transport() has made one */
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

/* ---- names and classes of Python's (tls.c) ---- */

extern struct async__py_tls_names {
    PyObject *abort, *buffer_updated, *call_exception_handler, *call_later, *call_soon, *cancel,
        *cancelled, *cipher, *close, *compression, *connection_lost, *connection_made,
        *create_default_context, *check_hostname, *data_received, *debug, *do_handshake,
        *eof_received, *exc_info, *force_close, *get_buffer, *get_debug, *get_extra_info,
        *getpeercert, *is_closing, *memory, *pause_reading, *pause_writing, *pending, *read,
        *resume_reading, *resume_writing, *set_exception, *set_result, *shutdown, *sslobj, *time,
        *unwrap, *warning, *wrap_bio, *write;
} async__py_tls_names;

extern struct async__py_tls_classes {
    PyObject *ssl; /* the module; NULL: this Python has none, and neither the classes of it below */
    PyObject *memory_bio, *ssl_object, *ssl_error, *want_read, *syscall_error, *zero_return,
        *certificate_error;
    PyObject *cancelled_error, *buffered_protocol, *logger;
    Py_ssize_t read_kib, write_kib, warn_after; /* asyncio.constants */
    PyObject *handshake_timeout, *shutdown_timeout;
} async__py_tls_classes;

extern PyTypeObject *async__py_tls_type;

/* The SSLObject that the records go through from now on. */
int async__py_tls_set_sslobj(async__py_tls *self, PyObject *sslobj);

/* The application's protocol, from now on. */
int async__py_tls_set_protocol(async__py_tls *self, PyObject *protocol);

PyObject *async__py_tls_extra_info(async__py_tls *self, PyObject *name, PyObject *fallback);

/* asyncio's arithmetic of the two limits; None stands for a default of `kib`. */
int async__py_tls_limits(PyObject *high, PyObject *low, Py_ssize_t kib,
                         struct async__py_tls_limits *limits);

/* loop.get_debug(), for messages only: an error is none. */
bool async__py_tls_debug(async__py_tls *self);

/* The exception that is set is an Exception, not KeyboardInterrupt and the like, which go up. */
static inline bool async__py_tls_ordinary(void) { return PyErr_ExceptionMatches(PyExc_Exception); }

/* ---- beginning and end (tls_state.c). All give 0, or -1 and an exception ---- */

int async__py_tls_handshake(async__py_tls *self);
int async__py_tls_start_shutdown(async__py_tls *self);
int async__py_tls_flush_and_shut(async__py_tls *self);
int async__py_tls_shut(async__py_tls *self);
int async__py_tls_shut_failed(async__py_tls *self);
int async__py_tls_app_eof(async__py_tls *self);
int async__py_tls_abort(async__py_tls *self, PyObject *exception);

/* Closes the connection and reports `exception` (any object), which stays the caller's. */
int async__py_tls_fatal(async__py_tls *self, PyObject *exception, const char *message);

/* The same for the exception that is set; one that is to go up (-1) stays set. */
int async__py_tls_fail(async__py_tls *self, const char *message);

/* loop.call_exception_handler for an exception of a callback, which is taken. */
int async__py_tls_report(async__py_tls *self, const char *message, PyObject *transport);

/* Methods of the type; the first three are what the transport below calls. */
PyObject *async__py_tls_connection_made(async__py_tls *self, PyObject *transport);
PyObject *async__py_tls_connection_lost(async__py_tls *self, PyObject *exception);
PyObject *async__py_tls_eof_received(async__py_tls *self, PyObject *unused);
PyObject *async__py_tls_check_handshake_timeout(async__py_tls *self, PyObject *unused);
PyObject *async__py_tls_check_shutdown_timeout(async__py_tls *self, PyObject *unused);
PyObject *async__py_tls_fatal_error(async__py_tls *self, PyObject *args, PyObject *names);
PyObject *async__py_tls_wakeup_waiter(async__py_tls *self, PyObject *args, PyObject *names);

/* Lets go of the context and all that belongs to it, when the connection is lost and
 * closed_again. */
void async__py_tls_release(async__py_tls *self);

/* ---- data (tls_data.c). All give 0, or -1 and an exception ---- */

/* The received records lie in the incoming BIO: on with them, as the state has it. */
int async__py_tls_received(async__py_tls *self, const char *data, Py_ssize_t length);

/* Gives the application what can be decrypted and it wants to have. */
int async__py_tls_read(async__py_tls *self);

/* The exception that is set means "later": it is set no more. */
bool async__py_tls_again(void);

/* Reads all that there is and drops it: 1 if there was any data, 0, or -1. */
int async__py_tls_discard(async__py_tls *self);

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

/* There may be more for the application: 1 or 0. */
int async__py_tls_readable(async__py_tls *self);

/* transport.resume_reading(), and what it queues. */
int async__py_tls_resume(async__py_tls *self);
PyObject *async__py_tls_resumed(async__py_tls *self, PyObject *unused);

int async__py_tls_control_writing(async__py_tls *self);
int async__py_tls_control_reading(async__py_tls *self);
Py_ssize_t async__py_tls_pending(PyObject *bio); /* -1: an exception is set */

int async__py_tls_add_window(PyObject *module);

/* ---- the application's transport (tls_transport.c) ---- */

PyObject *async__py_tls_transport_new(async__py_tls *self);
void async__py_tls_transport_close(PyObject *transport); /* marks it: nothing happens */
bool async__py_tls_transport_closed(PyObject *transport);
int async__py_tls_add_transport(PyObject *module);

bool async__py_is_tls(PyObject *protocol);
int async__py_tls_feed(PyObject *protocol, const char *data, Py_ssize_t length);
int async__py_add_tls(PyObject *module);

#endif
