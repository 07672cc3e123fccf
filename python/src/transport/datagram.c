/* datagram.c - the transport of datagram sockets: UDP and AF_UNIX.
 *
 * A datagram is received into the loop's buffer, and its address made here (address.c), since a
 * socket's own recvfrom makes a bytes object of 256 KiB first and raises an exception when there is
 * nothing left. Up to sixteen are taken a readiness: one poll for all that came meanwhile, and
 * still others get their turn. Families that are not known here, and objects that are not a
 * socket.socket, are asked by their own methods.
 *
 * An error of the network is no end of it: it is told to the protocol's error_received. The rest
 * is what all transports share (endpoint.c). */
#include "../loop/loop_type.h"
#include "../loop/socket.h"
#include "datagram.h"

#include <errno.h>
#include <stddef.h>

enum { MOST_A_READINESS = 16 };

static PyTypeObject *type;
#define PART ASYNC__PY_DATAGRAM

static PyObject *name_datagram_received, *name_recvfrom;
static PyObject *buffer_size;

/* ---- reading ---- */

/* 1: a datagram; 0: there is none; -1: an exception is set. */
static int receive(async__py_datagram *part, PyObject **data, PyObject **address)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    char *buffer = async__py_loop_buffer(part->base.loop);

    if (!buffer) return -1;
    ssize_t received = recvfrom(part->base.fd, buffer, ASYNC__PY_BUFFER, MSG_DONTWAIT,
                                (struct sockaddr *)&from, &length);
    if (received < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    *data = PyBytes_FromStringAndSize(buffer, received);
    *address = *data ? async__py_address_new(&from, length) : NULL;
    if (*address) return 1;
    Py_XDECREF(*data);
    return -1;
}

static int receive_by_method(async__py_datagram *part, PyObject **data, PyObject **address)
{
    PyObject *sock = async__py_or_none(part->base.sock);
    PyObject *pair = PyObject_CallMethodOneArg(sock, name_recvfrom, buffer_size);

    Py_DECREF(sock);
    if (!pair) {
        if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
            !PyErr_ExceptionMatches(PyExc_InterruptedError))
            return -1;
        PyErr_Clear();
        return 0;
    }
    int code = PyArg_ParseTuple(pair, "OO", data, address) ? 1 : -1;
    if (code == 1) {
        Py_INCREF(*data);
        Py_INCREF(*address);
    }
    Py_DECREF(pair);
    return code;
}

/* 1: a datagram, which the protocol has taken; 0: there is none; -1: an exception may be set. */
static int read_one(async__py_datagram *part)
{
    PyObject *data, *address;
    int got =
        part->family ? receive(part, &data, &address) : receive_by_method(part, &data, &address);

    if (got < 0) async__py_datagram_error(part, "Fatal read error on datagram transport");
    if (got <= 0) return got;
    PyObject *protocol = async__py_or_none(part->base.protocol);
    PyObject *result = PyObject_VectorcallMethod(name_datagram_received,
                                                 (PyObject *[]){protocol, data, address}, 3, NULL);
    Py_DECREF(protocol);
    Py_DECREF(data);
    Py_DECREF(address);
    Py_XDECREF(result);
    return result ? 1 : -1;
}

/* A socket that was shut down for reading is ready for ever, and has nothing: then only new events are
 * reported, each once, and what is left has to be remembered here. */
static void read_some(async__py_endpoint *base)
{
    int got = 1, count = 0;

    while (got == 1 && count < MOST_A_READINESS && base->reader.armed) {
        got = read_one(async__container(base, async__py_datagram, base));
        if (got == 1) count++;
    }
    if (!base->reader.armed || !base->loop->engine) return;
    if (got == 0 && count == 0) async_watch_not_ready(base->loop->engine, &base->reader);
    if (got != 0 && base->reader.edge) async_call_soon(base->loop->engine, &base->reader.callback);
}

static void read_ready(async_callback *callback)
{
    async__py_endpoint_run(async__container(callback, async__py_endpoint, reader.callback),
                           read_some);
}

/* ---- what it is made of ---- */

static const struct async__py_kind kind = {
    "DatagramTransport",     read_ready, async__py_datagram_write_ready, NULL,
    async__py_datagram_drop, NULL,
};

static int family_of(PyObject *sock, int fd)
{
    int family = 0;
    socklen_t length = sizeof family;

    if (!async__py_is_plain_socket(sock)) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) < 0) return 0;
    return async__py_address_known(family) ? family : 0;
}

static PyObject *transport_new(PyTypeObject *subtype, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"loop", "sock", "protocol", "extra", "address", "waiter", NULL};
    PyObject *loop, *sock, *protocol, *extra, *address = Py_None, *waiter = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!OOO!|OO:DatagramTransport", names,
                                     async__py_loop_type, &loop, &sock, &protocol, &PyDict_Type,
                                     &extra, &address, &waiter))
        return NULL;
    PyObject *object = async__py_endpoint_new(subtype, &kind, (async__py_loop *)loop);
    if (!object) return NULL;
    async__py_datagram *part = PART(object);
    part->base.protocol = Py_NewRef(protocol);
    part->address = Py_NewRef(address);
    part->last = &part->first;
    PyObject *peer = PyDict_GetItemString(extra, "peername");
    part->has_peer = peer && peer != Py_None;
    if (async__py_endpoint_open(object, sock, extra) < 0) goto fail;
    part->family = family_of(sock, part->base.fd);
    if (async__py_endpoint_begin(object, waiter, NULL) == 0) return object;
fail:
    async__py_endpoint_discard(object);
    return NULL;
}

static int transport_traverse(PyObject *object, visitproc visit, void *arg)
{
    async__py_datagram *part = PART(object);

    for (struct async__py_queued *each = part->first; each; each = each->next)
        Py_VISIT(each->address);
    Py_VISIT(part->address);
    return async__py_endpoint_traverse(object, visit, arg);
}

static int transport_clear(PyObject *object)
{
    Py_CLEAR(PART(object)->address);
    return async__py_endpoint_clear(object);
}

static PyObject *get_address(PyObject *object, void *none)
{
    (void)none;
    return async__py_or_none(PART(object)->address);
}

static PyGetSetDef getters[] = {{"_address", get_address, NULL, NULL, NULL}, {0}};

static PyMethodDef methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))async__py_datagram_sendto,
     METH_FASTCALL | METH_KEYWORDS,
     "sendto($self, data, addr=None)\n--\n\n"
     "Sends the datagram, or queues it if the kernel does not take it now."},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, transport_new},
    {Py_tp_init, async__py_endpoint_init},
    {Py_tp_dealloc, async__py_endpoint_dealloc},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {0},
};

int async__py_add_datagram(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_datagram_received, "datagram_received"},
        {&name_recvfrom, "recvfrom"},
        {0},
    };

    buffer_size = PyLong_FromLong(ASYNC__PY_BUFFER);
    if (!buffer_size || async__py_intern(names) < 0 || async__py_add_datagram_send() < 0) return -1;
    PyObject *also = async__py_import("asyncio", "DatagramTransport");
    if (!also) return -1;
    type = async__py_add_endpoint_type(module, "casyncio._casyncio.DatagramTransport",
                                       sizeof(async__py_datagram), slots, also);
    Py_DECREF(also);
    return type ? 0 : -1;
}
