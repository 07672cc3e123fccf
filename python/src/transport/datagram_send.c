/* datagram_send.c - the sending side of the datagram transport.
 *
 * A datagram goes out at once; only what the kernel refuses for now is queued, and the protocol
 * told when that becomes much. An address that is made of numbers, as those of received
 * datagrams are, is given to the kernel directly. To any other the socket's own methods send,
 * which resolve names, and know all that can be wrong. */
#include "../loop/socket.h"
#include "datagram.h"

#include <errno.h>

enum { HEADER = 8 };

#define PART ASYNC__PY_DATAGRAM

static PyObject *name_error_received, *name_send, *name_sendto;

static const char write_error[] = "Fatal write error on datagram transport";

int async__py_datagram_error(async__py_datagram *part, const char *message)
{
    if (async__py_ends_the_loop()) return -1;
    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        async__py_endpoint_fatal(&part->base, message);
        return 0;
    }
    PyObject *exception = async__py_error_take(), *protocol = Py_XNewRef(part->base.protocol);
    PyObject *result = protocol
                           ? PyObject_CallMethodOneArg(protocol, name_error_received, exception)
                           : Py_NewRef(Py_None);
    Py_XDECREF(protocol);
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- the queue ---- */

static void drop_first(async__py_datagram *part)
{
    struct async__py_queued *datagram = part->first;

    part->first = datagram->next;
    if (!part->first) part->last = &part->first;
    part->base.size -= PyBytes_GET_SIZE(datagram->data) + HEADER;
    Py_DECREF(datagram->data);
    Py_DECREF(datagram->address);
    PyMem_Free(datagram);
}

void async__py_datagram_drop(async__py_endpoint *base)
{
    async__py_datagram *part = async__container(base, async__py_datagram, base);

    while (part->first)
        drop_first(part);
}

static int enqueue(async__py_datagram *part, PyObject *data, PyObject *address)
{
    PyObject *bytes = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    struct async__py_queued *datagram = bytes ? PyMem_Malloc(sizeof *datagram) : NULL;

    if (!datagram) {
        if (bytes) PyErr_NoMemory();
        Py_XDECREF(bytes);
        return -1;
    }
    *datagram = (struct async__py_queued){NULL, bytes, Py_NewRef(address)};
    *part->last = datagram;
    part->last = &datagram->next;
    part->base.size += PyBytes_GET_SIZE(bytes) + HEADER;
    return 0;
}

/* ---- writing ---- */

static int sent_or_not(ssize_t sent)
{
    if (sent >= 0) return 1;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
    PyErr_SetFromErrno(PyExc_OSError);
    return -1;
}

static int send_by_method(async__py_datagram *part, PyObject *data, PyObject *address)
{
    PyObject *args[] = {async__py_or_none(part->base.sock), data, address};
    PyObject *result = part->has_peer ? PyObject_VectorcallMethod(name_send, args, 2, NULL)
                                      : PyObject_VectorcallMethod(name_sendto, args, 3, NULL);

    Py_DECREF(args[0]);
    if (result) {
        Py_DECREF(result);
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return -1;
    PyErr_Clear();
    return 0;
}

/* 1: it is sent; 0: not now; -1: an exception is set. */
static int send_one(async__py_datagram *part, PyObject *data, PyObject *address)
{
    struct sockaddr_storage to;
    socklen_t length = 0;
    Py_buffer view;

    if (!part->has_peer && part->family)
        length = async__py_address_parse(part->family, address, &to);
    if (!part->family || (!part->has_peer && !length)) return send_by_method(part, data, address);
    if (length && PySys_Audit("socket.sendto", "OO", part->base.sock, address) < 0) return -1;
    if (!part->base.sock) return 1; /* the audit hook has closed it */
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return -1;
    ssize_t sent = sendto(part->base.fd, view.buf, (size_t)view.len, MSG_DONTWAIT | MSG_NOSIGNAL,
                          length ? (struct sockaddr *)&to : NULL, length);
    int error = errno;
    PyBuffer_Release(&view);
    errno = error;
    return sent_or_not(sent);
}

/* The address to send to: borrowed; NULL: it is not the one that the transport is for. */
static PyObject *choose_address(async__py_datagram *part, PyObject *address)
{
    int fixed = PyObject_IsTrue(part->address);

    if (fixed <= 0) return fixed < 0 ? NULL : address;
    int same = address == Py_None ? 1 : PyObject_RichCompareBool(part->address, address, Py_EQ);
    if (same == 0)
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", part->address);
    return same == 1 ? part->address : NULL;
}

static int send_or_queue(async__py_datagram *part, PyObject *data, PyObject *address)
{
    if (!part->first) {
        int sent = send_one(part, data, address);
        if (sent < 0) return async__py_datagram_error(part, write_error);
        if (sent > 0) return 0;
        if (async__py_endpoint_watch(&part->base, &part->base.writer) < 0) return -1;
    }
    if (enqueue(part, data, address) < 0) return -1;
    async__py_maybe_pause(&part->base);
    return 0;
}

/* The argument `addr` of sendto, the second or by name. NULL: an exception is set. */
static PyObject *address_argument(PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;

    if (count + named >= 1 && count + named <= 2 && count >= 1) {
        if (!named) return count == 2 ? args[1] : Py_None;
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "addr") == 0)
            return args[1];
    }
    PyErr_SetString(PyExc_TypeError, "usage: sendto(data, addr=None)");
    return NULL;
}

PyObject *async__py_datagram_sendto(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                    PyObject *names)
{
    async__py_datagram *part = PART(self);
    PyObject *address = address_argument(args, count, names);

    if (!address) return NULL;
    PyObject *data = args[0];
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%s'",
                     Py_TYPE(data)->tp_name);
        return NULL;
    }
    address = choose_address(part, address);
    if (!address) return NULL;
    bool dropped = !part->base.sock || (part->base.lost && address == part->address);
    if ((dropped ? async__py_endpoint_count_lost(&part->base)
                 : send_or_queue(part, data, address)) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static void send_queued(async__py_endpoint *base)
{
    async__py_datagram *part = async__container(base, async__py_datagram, base);

    while (part->first) {
        PyObject *data = Py_NewRef(part->first->data), *address = Py_NewRef(part->first->address);
        int sent = send_one(part, data, address);
        /* A method of a socket that is not one of Python's may have ended the transport. */
        if (sent != 0 && part->first && part->first->data == data) drop_first(part);
        Py_DECREF(data);
        Py_DECREF(address);
        if (sent < 0 && async__py_datagram_error(part, write_error) < 0) return;
        if (sent <= 0) break;
    }
    if (base->lost) return;
    async__py_maybe_resume(base); /* which may send more */
    if (part->first || base->lost) return;
    async__py_endpoint_unwatch(base, &base->writer);
    if (base->closing) async__py_endpoint_finish(base);
}

void async__py_datagram_write_ready(async_callback *callback)
{
    async__py_endpoint_run(async__container(callback, async__py_endpoint, writer.callback),
                           send_queued);
}

int async__py_add_datagram_send(void)
{
    static const struct async__py_name names[] = {
        {&name_error_received, "error_received"},
        {&name_send, "send"},
        {&name_sendto, "sendto"},
        {0},
    };

    return async__py_intern(names);
}
