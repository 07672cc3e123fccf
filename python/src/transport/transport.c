/* transport.c - the transport of stream sockets: TCP, Unix, and what TLS stands on.
 *
 * What it shares with that of datagrams is in endpoint.c, its two directions in transport_read.c
 * and transport_write.c. */
#include "../loop/descriptors.h"
#include "transport.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

typedef async__py_transport transport;

static PyTypeObject *type;
#define PART ASYNC__PY_TRANSPORT

static PyObject *name_getsockname, *name_getpeername, *name_socket, *name_sockname, *name_peername;
static PyObject *transport_socket;

static const struct async__py_kind kind = {
    "SocketTransport",         async__py_transport_read_ready, async__py_transport_write_ready,
    async__py_transport_flush, async__py_transport_drop,       async__py_transport_begin,
};

/* ---- making ---- */

/* An address that the socket does not have is None. */
static int add_address(PyObject *extra, PyObject *key, PyObject *sock, PyObject *method)
{
    PyObject *address = PyObject_CallMethodNoArgs(sock, method);

    if (!address && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear();
        address = Py_NewRef(Py_None);
    }
    int code = address ? PyDict_SetItem(extra, key, address) : -1;
    Py_XDECREF(address);
    return code;
}

/* What get_extra_info knows: what is given, which may be NULL or None, and what the socket says. */
static PyObject *make_extra(PyObject *given, PyObject *sock)
{
    PyObject *extra = PyDict_New();
    PyObject *wrapped = extra ? PyObject_CallOneArg(transport_socket, sock) : NULL;
    int code = wrapped ? 0 : -1;

    if (code == 0 && given && given != Py_None) code = PyDict_Update(extra, given);
    if (code == 0) code = PyDict_SetItem(extra, name_socket, wrapped);
    if (code == 0 && !PyDict_Contains(extra, name_sockname))
        code = add_address(extra, name_sockname, sock, name_getsockname);
    if (code == 0 && !PyDict_Contains(extra, name_peername))
        code = add_address(extra, name_peername, sock, name_getpeername);
    Py_XDECREF(wrapped);
    if (code < 0) Py_CLEAR(extra);
    return extra;
}

static int open_transport(PyObject *object, PyObject *sock, PyObject *protocol, PyObject *extra)
{
    PyObject *all = make_extra(extra, sock);
    int code = all ? async__py_endpoint_open(object, sock, all) : -1;

    Py_XDECREF(all);
    return code < 0 ? -1 : async__py_transport_use(PART(object), protocol);
}

PyObject *async__py_socket_transport_new(async__py_loop *loop, PyObject *sock, PyObject *protocol,
                                         PyObject *waiter, PyObject *extra, PyObject *server,
                                         PyObject *context)
{
    PyObject *object = async__py_endpoint_new(type, &kind, loop);
    if (!object) return NULL;
    transport *self = PART(object);
    int one = 1;

    self->flusher.callback.run = async__py_transport_flush_ready;
    self->flusher.holder.object = object;
    if (async__py_endpoint_use_context(object, context) < 0 ||
        open_transport(object, sock, protocol, extra) < 0 ||
        async__py_endpoint_begin(object, waiter, server) < 0) {
        async__py_endpoint_discard(object);
        return NULL;
    }
    /* One that was accepted has it from its listener. */
    if (!self->base.server) setsockopt(self->base.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return object;
}

static PyObject *transport_new(PyTypeObject *subtype, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"loop",  "sock",   "protocol", "waiter",
                            "extra", "server", "context",  NULL};
    PyObject *loop, *sock, *protocol, *waiter = NULL, *extra = NULL, *server = NULL;
    PyObject *context = NULL;

    (void)subtype;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!OO|OOOO:SocketTransport", names,
                                     async__py_loop_type, &loop, &sock, &protocol, &waiter, &extra,
                                     &server, &context))
        return NULL;
    return async__py_socket_transport_new((async__py_loop *)loop, sock, protocol, waiter, extra,
                                          server, context);
}

/* ---- the end ---- */

static PyObject *transport_call_connection_lost(PyObject *object, PyObject *exception)
{
    transport *self = PART(object);
    PyObject *result = async__py_endpoint_lost(object, exception);
    if (!self->empty_waiter) return result;
    PyObject *error = result ? NULL : async__py_error_take();
    PyObject *lost =
        PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");

    if (lost)
        async__py_transport_fail_waiter(self, lost);
    else
        PyErr_Clear();
    Py_XDECREF(lost);
    if (error) async__py_error_set(error);
    return result;
}

static int transport_traverse(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(PART(object)->empty_waiter);
    return async__py_endpoint_traverse(object, visit, arg);
}

static int transport_clear(PyObject *object)
{
    Py_CLEAR(PART(object)->empty_waiter);
    return async__py_endpoint_clear(object);
}

/* ---- what Python sees ---- */

static PyObject *transport_set_protocol(PyObject *object, PyObject *protocol)
{
    if (async__py_transport_use(PART(object), protocol) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *transport_can_write_eof(PyObject *object, PyObject *none)
{
    (void)object;
    (void)none;
    Py_RETURN_TRUE;
}

static PyObject *transport_reset_empty_waiter(PyObject *object, PyObject *none)
{
    (void)none;
    Py_CLEAR(PART(object)->empty_waiter);
    Py_RETURN_NONE;
}

/* The descriptor is lent to loop.sendfile, which waits for it as for one of the user's. */
static PyObject *transport_lend(PyObject *object, PyObject *lent)
{
    async__py_endpoint *base = &PART(object)->base;
    int is_lent = PyObject_IsTrue(lent);

    if (is_lent < 0) return NULL;
    if (base->sock && async__py_set_transport(base->loop, base->fd, is_lent ? NULL : object) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *get_eof(PyObject *object, void *none)
{
    (void)none;
    return PyBool_FromLong(PART(object)->eof);
}

static PyGetSetDef getters[] = {{"_eof", get_eof, NULL, NULL, NULL}, {0}};

static PyMethodDef methods[] = {
    {"write", async__py_transport_write, METH_O,
     "Writes the data, or queues what the kernel does not take now."},
    {"writelines", async__py_transport_writelines, METH_O, "Writes all of the data in one call."},
    {"write_eof", async__py_transport_write_eof, METH_NOARGS,
     "Ends the sending side, once all is written."},
    {"can_write_eof", transport_can_write_eof, METH_NOARGS, "True."},
    {"set_protocol", transport_set_protocol, METH_O, "Changes the protocol."},
    {"_call_connection_lost", transport_call_connection_lost, METH_O, NULL},
    {"_make_empty_waiter", async__py_transport_make_empty_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", transport_reset_empty_waiter, METH_NOARGS, NULL},
    {"_lend", transport_lend, METH_O, NULL},
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

/* What asyncio asks of a transport's class. */
static int add_marks(void)
{
    PyObject *modes = async__py_import("asyncio.constants", "_SendfileMode");
    PyObject *mode = modes ? PyObject_GetAttrString(modes, "TRY_NATIVE") : NULL;
    int code = mode ? PyObject_SetAttrString((PyObject *)type, "_sendfile_compatible", mode) : -1;

    if (code == 0)
        code = PyObject_SetAttrString((PyObject *)type, "_start_tls_compatible", Py_True);
    Py_XDECREF(modes);
    Py_XDECREF(mode);
    return code;
}

int async__py_add_transport(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_getsockname, "getsockname"}, {&name_getpeername, "getpeername"},
        {&name_socket, "socket"},           {&name_sockname, "sockname"},
        {&name_peername, "peername"},       {0},
    };

    transport_socket = async__py_import("asyncio.trsock", "TransportSocket");
    if (!transport_socket || async__py_intern(names) < 0 || async__py_add_transport_read() < 0 ||
        async__py_add_transport_write() < 0)
        return -1;
    type = async__py_add_endpoint_type(module, "casyncio._casyncio.SocketTransport",
                                       sizeof(transport), slots, NULL);
    return type ? add_marks() : -1;
}
