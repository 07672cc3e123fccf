/* names.h - names and classes of Python's, looked up once. */
#ifndef CASYNCIO_PYTHON_TLS_NAMES_H
#define CASYNCIO_PYTHON_TLS_NAMES_H

#include "../base/face.h"

extern struct async__py_tls_names {
    PyObject *abort, *buffer_updated, *call_exception_handler, *call_later, *call_soon, *cancel,
        *cancelled, *check_handshake_timeout, *check_hostname, *check_shutdown_timeout, *cipher,
        *close, *compression, *connection_lost, *connection_made, *create_default_context,
        *data_received, *debug, *do_handshake, *eof_received, *exc_info, *force_close, *get_buffer,
        *get_debug, *get_extra_info, *getpeercert, *is_closing, *memory, *pause_reading,
        *pause_writing, *peercert, *pending, *read, *resume_reading, *resume_writing, *resumed,
        *set_exception, *set_result, *shutdown, *ssl_object, *sslobj, *time, *unwrap, *warning,
        *wrap_bio, *write;
} async__py_tls_names;

extern struct async__py_tls_classes {
    PyObject *ssl; /* the module; NULL: this Python has none, and neither the classes of it below */
    PyObject *memory_bio, *ssl_object, *ssl_error, *want_read, *syscall_error, *zero_return,
        *certificate_error;
    PyObject *cancelled_error, *buffered_protocol, *logger;
    Py_ssize_t read_kib, write_kib, warn_after; /* asyncio.constants */
    PyObject *handshake_timeout, *shutdown_timeout;
} async__py_tls_classes;

/* 0, or -1 and an exception. A Python without ssl is no error. */
int async__py_tls_find_names(void);

/* The exception that is set is an Exception, not KeyboardInterrupt and the like, which go up. */
static inline bool async__py_tls_ordinary(void) { return PyErr_ExceptionMatches(PyExc_Exception); }

#endif
