/* tls.h - TLS, for a transport whose protocol is an SSLProtocol. */
#ifndef CASYNCIO_PYTHON_TLS_H
#define CASYNCIO_PYTHON_TLS_H

#include "../base/face.h"

/* Whether it is one; and then, instead of get_buffer and buffer_updated, what was received can be
 * given to it directly. It is copied at once, so `data` may be the loop's buffer. The caller holds a
 * reference to the protocol. 0, or -1 and an exception, as buffer_updated raises it. */
bool async__py_is_tls(PyObject *protocol);
int async__py_tls_feed(PyObject *protocol, const char *data, Py_ssize_t length);

int async__py_add_tls(PyObject *module);

#endif
