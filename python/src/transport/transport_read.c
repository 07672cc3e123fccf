/* transport_read.c - the receiving side of the transport of stream sockets.
 *
 * One recv a readiness, into the loop's buffer, and then a bytes object exactly as long as what
 * came. A buffer of 256 KiB a read, as asyncio makes it, costs more than everything else of a read.
 * Two protocols of ours, streams and TLS, take it out of the loop's buffer themselves. A
 * BufferedProtocol's own buffer is received into directly.
 *
 * Large reads are not copied: when the last one was large, a bytes object of its length comes
 * first, and the loop's buffer takes what is more than that. */
#include "../streams/stream.h"
#include "../tls/tls.h"
#include "transport.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

typedef async__py_transport transport;

static PyObject *name_data_received, *name_eof_received, *name_get_buffer, *name_buffer_updated,
    *name_close;
static PyObject *buffered_protocol, *minus_one;

static const char read_error[] = "Fatal read error on socket transport";

static void on_eof(transport *self)
{
    self->unwatched = 0;
    async__py_endpoint_debug(&self->base, "%r received EOF", NULL);
    PyObject *result = async__py_ask_protocol(&self->base, name_eof_received, NULL);
    int keep_open = result ? PyObject_IsTrue(result) : -1;

    Py_XDECREF(result);
    if (keep_open < 0) {
        async__py_endpoint_fatal(&self->base, "Fatal error: protocol.eof_received() call failed.");
    } else if (keep_open) {
        async__py_endpoint_unwatch(&self->base, &self->base.reader);
    } else {
        result = PyObject_CallMethodNoArgs(ASYNC__PY_ENDPOINT_SELF(&self->base), name_close);
        if (!result) async__py_endpoint_fatal(&self->base, "Fatal error on transport");
        Py_XDECREF(result);
    }
}

/* The number of bytes, if there are any; the end and errors are dealt with. */
static ssize_t received(transport *self, ssize_t count, int error)
{
    if (count > 0) return count;
    if (count == 0)
        on_eof(self);
    else if (error != EAGAIN && error != EWOULDBLOCK && error != EINTR)
        async__py_endpoint_fatal_errno(&self->base, error, read_error);
    else
        self->empty = 1;
    return 0;
}

/* The last thing of a read: what the protocol was told with, which it has taken or not. */
static void told(transport *self, PyObject *result, const char *message)
{
    if (result)
        Py_DECREF(result);
    else
        async__py_endpoint_fatal(&self->base, message);
}

enum { LARGE = 16 * 1024 };

/* What was received, as bytes; NULL: *count (and errno) tell, or there is no memory. */
static PyObject *receive_large(transport *self, char *buffer, ssize_t *count)
{
    Py_ssize_t expected = self->expected;
    PyObject *data = PyBytes_FromStringAndSize(NULL, expected);
    struct iovec pieces[] = {{data ? PyBytes_AS_STRING(data) : NULL, (size_t)expected},
                             {buffer, (size_t)(ASYNC__PY_BUFFER - expected)}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    *count = 1;
    if (!data) return NULL;
    *count = recvmsg(self->base.fd, &message, 0);
    if (*count <= 0) {
        Py_DECREF(data);
        return NULL;
    }
    if (*count < expected) {
        _PyBytes_Resize(&data, *count);
    } else if (*count > expected) {
        PyObject *whole = PyBytes_FromStringAndSize(NULL, *count);
        if (whole) {
            memcpy(PyBytes_AS_STRING(whole), PyBytes_AS_STRING(data), (size_t)expected);
            memcpy(PyBytes_AS_STRING(whole) + expected, buffer, (size_t)(*count - expected));
        }
        Py_SETREF(data, whole);
    }
    return data;
}

static PyObject *receive_small(transport *self, char *buffer, ssize_t *count)
{
    *count = recv(self->base.fd, buffer, ASYNC__PY_BUFFER, 0);
    return *count > 0 ? PyBytes_FromStringAndSize(buffer, *count) : NULL;
}

/* The protocol's class was looked at when it was set; it is held, as it may be replaced now. */
static void feed_protocol(transport *self, const char *data, ssize_t count)
{
    PyObject *protocol = Py_NewRef(self->base.protocol);

    if (self->feed(protocol, data, count) < 0)
        async__py_endpoint_fatal(&self->base, "Fatal error: protocol.data_received() call failed.");
    Py_DECREF(protocol);
}

static void read_and_feed(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);
    char *buffer = async__py_loop_buffer(base->loop);
    if (!buffer) {
        async__py_endpoint_fatal(base, read_error);
        return;
    }
    ssize_t count = recv(base->fd, buffer, ASYNC__PY_BUFFER, 0);
    if (count <= 0)
        received(self, count, errno);
    else
        feed_protocol(self, buffer, count);
}

static void read_data(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);
    char *buffer = async__py_loop_buffer(base->loop);
    if (!buffer) {
        async__py_endpoint_fatal(base, read_error);
        return;
    }
    ssize_t count;
    PyObject *data = self->expected >= LARGE ? receive_large(self, buffer, &count)
                                             : receive_small(self, buffer, &count);
    if (count <= 0) {
        received(self, count, errno);
        return;
    }
    self->expected = count;
    if (!data) {
        async__py_endpoint_fatal(base, read_error);
        return;
    }
    PyObject *result = async__py_ask_protocol(base, name_data_received, data);
    Py_DECREF(data);
    told(self, result, "Fatal error: protocol.data_received() call failed.");
}

/* The protocol's buffer; -1: an exception is set. */
static int get_buffer(async__py_endpoint *base, Py_buffer *view)
{
    PyObject *buffer = async__py_ask_protocol(base, name_get_buffer, minus_one);
    int code = buffer ? PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) : -1;

    Py_XDECREF(buffer);
    if (code == 0 && view->len == 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        code = -1;
    }
    return code;
}

static void read_into(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);
    Py_buffer view;

    if (get_buffer(base, &view) < 0) {
        async__py_endpoint_fatal(base, "Fatal error: protocol.get_buffer() call failed.");
        return;
    }
    if (base->lost || base->closing) { /* get_buffer has closed the transport */
        PyBuffer_Release(&view);
        return;
    }
    ssize_t count = recv(base->fd, view.buf, (size_t)view.len, 0);
    int error = errno;
    PyBuffer_Release(&view);
    if (received(self, count, error) == 0) return;
    PyObject *number = PyLong_FromSsize_t(count);
    PyObject *result = number ? async__py_ask_protocol(base, name_buffer_updated, number) : NULL;
    Py_XDECREF(number);
    told(self, result, "Fatal error: protocol.buffer_updated() call failed.");
}

void async__py_transport_read_ready(async_callback *callback)
{
    transport *self = async__container(callback, transport, base.reader.callback);

    self->writes = 0;
    async__py_endpoint_run(&self->base, self->buffered ? read_into
                                        : self->feed   ? read_and_feed
                                                       : read_data);
}

/* The peer of a connection that was accepted has often sent its request by now: it is read at once,
 * and the descriptor watched a turn later, if the connection is still open then. One that is answered
 * and closed in that turn is never watched, which saves two system calls. Whoever waits for a
 * connection is to have it before its data, so that is for servers only. */
int async__py_transport_begin(async__py_endpoint *base)
{
    transport *self = async__container(base, transport, base);

    if (!base->server) return async__py_endpoint_watch(base, &base->reader);
    self->unwatched = 1;
    self->empty = 0;
    async__py_transport_read_ready(&base->reader.callback);
    if (!self->unwatched || base->closing || base->paused) {
        self->unwatched = 0;
        return 0;
    }
    if (!self->empty) {
        async__py_due_soon(base->loop, &self->flusher);
        return 0;
    }
    self->unwatched = 0;
    return async__py_endpoint_watch(base, &base->reader);
}

/* ---- protocols that take what was received out of the loop's buffer ---- */

/* Its data_received may have been replaced, once it was connected. */
static int feed_stream(PyObject *protocol, const char *data, Py_ssize_t length)
{
    if (async__py_is_stream_protocol(protocol))
        return async__py_stream_feed(protocol, data, length);
    PyObject *bytes = PyBytes_FromStringAndSize(data, length);
    PyObject *result =
        bytes ? PyObject_CallMethodOneArg(protocol, name_data_received, bytes) : NULL;
    Py_XDECREF(bytes);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int async__py_transport_use(transport *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, buffered_protocol);

    if (buffered < 0) return -1;
    self->feed = async__py_is_stream_protocol(protocol) ? feed_stream
                 : async__py_is_tls(protocol)           ? async__py_tls_feed
                                                        : NULL;
    self->buffered = buffered && !self->feed;
    Py_XSETREF(self->base.protocol, Py_NewRef(protocol));
    return 0;
}

int async__py_add_transport_read(void)
{
    static const struct async__py_name names[] = {
        {&name_data_received, "data_received"},
        {&name_eof_received, "eof_received"},
        {&name_get_buffer, "get_buffer"},
        {&name_buffer_updated, "buffer_updated"},
        {&name_close, "close"},
        {0},
    };

    minus_one = PyLong_FromLong(-1);
    buffered_protocol = async__py_import("asyncio.protocols", "BufferedProtocol");
    return minus_one && buffered_protocol ? async__py_intern(names) : -1;
}
