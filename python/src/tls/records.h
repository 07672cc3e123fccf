/* records.h - the records of a TLS connection: two MemoryBIOs, and the SSL object between them. */
#ifndef CASYNCIO_PYTHON_TLS_RECORDS_H
#define CASYNCIO_PYTHON_TLS_RECORDS_H

#include "../base/face.h"

typedef struct async__py_records {
    PyObject *incoming, *outgoing, *sslobj; /* the MemoryBIOs and the SSLObject */
    PyObject *incoming_write, *outgoing_read, *read, *write, *shutdown; /* their methods */
    bool direct; /* sslobj is an ssl.SSLObject: the object within it is called */
} async__py_records;

/* Makes the BIOs, and wraps them by the context: 0, or -1 and an exception. */
int async__py_records_wrap(async__py_records *records, PyObject *context, bool server_side,
                           PyObject *server_hostname);

/* The SSLObject that the records go through from now on: 0, or -1 and an exception. */
int async__py_records_set_sslobj(async__py_records *records, PyObject *sslobj);

/* Lets go of the SSLObject, and so of the context. */
void async__py_records_release(async__py_records *records);

/* ---- ciphertext ---- */

/* The bytes in a BIO; -1: an exception is set. */
Py_ssize_t async__py_records_pending(PyObject *bio);

/* Puts what was received into the incoming BIO: 0, or -1 and an exception. */
int async__py_records_put(async__py_records *records, const char *data, Py_ssize_t length);

/* All that the outgoing BIO has, as bytes; NULL: an exception is set. */
PyObject *async__py_records_take(async__py_records *records);

/* ---- plaintext ---- */

enum async__py_reading {
    ASYNC__PY_READ_ALL,  /* there is no more for now */
    ASYNC__PY_READ_FULL, /* there may be more than there was room for */
    ASYNC__PY_READ_END,  /* the peer has said that there is no more */
    ASYNC__PY_READ_FAILED
};

/* Decrypts what there is, as long as there is room. ASYNC__PY_READ_FAILED: *error is the exception,
 * taken away, and still *count bytes have come before it. */
enum async__py_reading async__py_records_read(async__py_records *records, char *to, Py_ssize_t room,
                                              Py_ssize_t *count, PyObject **error);

/* Encrypts: how many bytes were taken, or -1 and an exception. */
Py_ssize_t async__py_records_write(async__py_records *records, const char *data, Py_ssize_t length);

/* A read may find something: 1 or 0; -1: an exception is set. */
int async__py_records_readable(async__py_records *records);

/* The exception that is set means "later": it is set no more. */
bool async__py_records_again(void);

/* ---- the beginning and the end ---- */

/* A step of either. FAILED: an exception is set. LATER: when the peer has answered what lies in the
 * outgoing BIO. */
enum async__py_step { ASYNC__PY_STEP_FAILED = -1, ASYNC__PY_STEP_LATER, ASYNC__PY_STEP_DONE };
enum async__py_step async__py_records_handshake(async__py_records *records);
enum async__py_step async__py_records_shutdown(async__py_records *records);

int async__py_add_records(PyObject *module);

#endif
