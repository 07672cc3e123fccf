/* extra.c - what get_extra_info() of a stream socket's transport knows: the socket and its two addresses.
 *
 * asyncio makes a dict of it with each connection. A server has many connections and asks few of them,
 * so that a connection keeps the peer's address as the kernel gave it, and the local address as an object
 * that all connections of one listener share. The dict is made when it is asked for; what it
 * says then is what it would have said in the beginning, also once the connection is closed. */
#include "transport.h"

#include <errno.h>
#include <string.h>

typedef async__py_transport transport;

#define PART ASYNC__PY_TRANSPORT

static PyObject *name_get, *name_getsockname, *name_getpeername, *name_socket, *name_sockname,
    *name_peername;
static PyObject *transport_socket;
static PyObject *slot; /* BaseTransport._extra, which the property of that name stands before */

/* ---- addresses ---- */

/* The address as far as it has to be kept; false: it is of another family than these two. */
static bool keep_address(union async__py_inet *kept, const struct sockaddr_storage *address)
{
    if (address->ss_family != AF_INET && address->ss_family != AF_INET6) return false;
    memset(kept, 0, sizeof *kept);
    memcpy(kept, address, address->ss_family == AF_INET ? sizeof kept->v4 : sizeof kept->v6);
    return true;
}

static PyObject *kept_address(const union async__py_inet *kept)
{
    struct sockaddr_storage address = {0};

    memcpy(&address, kept, sizeof *kept);
    return async__py_address_new(&address, sizeof *kept);
}

PyObject *async__py_sockname(async__py_loop *loop, const struct sockaddr_storage *address,
                             socklen_t length)
{
    union async__py_inet kept;

    if (!keep_address(&kept, address)) return async__py_address_new(address, length);
    if (!loop->sockname || memcmp(&kept, &loop->sockname_of, sizeof kept) != 0) {
        PyObject *made = kept_address(&kept);
        if (!made) return NULL;
        loop->sockname_of = kept;
        Py_XSETREF(loop->sockname, made);
    }
    return Py_NewRef(loop->sockname);
}

/* Of a listener on every address each connection has its own. */
static PyObject *ask_sockname(async__py_loop *loop, PyObject *sock)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    int fd = PyObject_AsFileDescriptor(sock);

    if (fd < 0) return NULL;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return async__py_set_oserror(-errno);
    return async__py_sockname(loop, &address, length);
}

/* False: it has none, or is a socket that says for itself what its addresses are. */
static bool ask_peername(PyObject *sock, struct sockaddr_storage *address)
{
    socklen_t length = sizeof *address;

    if (!async__py_is_plain_socket(sock)) return false;
    int fd = PyObject_AsFileDescriptor(sock);
    if (fd < 0) PyErr_Clear();
    return fd >= 0 && getpeername(fd, (struct sockaddr *)address, &length) == 0;
}

/* ---- the dict ---- */

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

PyObject *async__py_extra_new(PyObject *given, PyObject *sock)
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

int async__py_extra_later(PyObject *object, const struct async__py_connection *made)
{
    transport *self = PART(object);
    struct sockaddr_storage peer = {0};

    if (made->extra && made->extra != Py_None) return 0;
    if (!made->peer && !ask_peername(made->sock, &peer)) return 0;
    if (!keep_address(&self->peer, made->peer ? made->peer : &peer)) return 0;
    self->sockname =
        made->sockname ? Py_NewRef(made->sockname) : ask_sockname(self->base.loop, made->sock);
    if (!self->sockname) return -1;
    self->shown = Py_NewRef(made->sock);
    return 1;
}

static int set_slot(PyObject *object, PyObject *value)
{
    transport *self = PART(object);

    if (Py_TYPE(slot)->tp_descr_set(slot, object, value) < 0) return -1;
    Py_CLEAR(self->sockname);
    Py_CLEAR(self->shown);
    return 0;
}

/* Makes the dict that is due. To make it may run a collection, and so finalizers, which ask for it, too:
 * the first one that is made is it. */
static int make_extra(PyObject *object)
{
    transport *self = PART(object);
    PyObject *sock = Py_NewRef(self->shown), *sockname = Py_NewRef(self->sockname);
    PyObject *given = PyDict_New(), *peername = given ? kept_address(&self->peer) : NULL;
    PyObject *extra = NULL;

    if (peername && PyDict_SetItem(given, name_peername, peername) == 0 &&
        PyDict_SetItem(given, name_sockname, sockname) == 0)
        extra = async__py_extra_new(given, sock);
    int code = !extra ? -1 : self->shown ? set_slot(object, extra) : 0;
    Py_XDECREF(extra);
    Py_XDECREF(peername);
    Py_XDECREF(given);
    Py_DECREF(sockname);
    Py_DECREF(sock);
    return code;
}

PyObject *async__py_get_extra(PyObject *object, void *none)
{
    (void)none;
    if (PART(object)->shown && make_extra(object) < 0) return NULL;
    return Py_TYPE(slot)->tp_descr_get(slot, object, (PyObject *)Py_TYPE(object));
}

int async__py_set_extra(PyObject *object, PyObject *value, void *none)
{
    (void)none;
    return set_slot(object, value);
}

/* What the dict will not have needs no dict. */
static int is_there(PyObject *name)
{
    PyObject *const names[] = {name_socket, name_sockname, name_peername};
    int equal = 0;

    for (size_t i = 0; i < sizeof names / sizeof *names && equal == 0; i++)
        equal = PyObject_RichCompareBool(name, names[i], Py_EQ);
    return equal;
}

PyObject *async__py_get_extra_info(PyObject *object, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"name", "default", NULL};
    PyObject *name, *otherwise = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O|O:get_extra_info", names, &name,
                                     &otherwise))
        return NULL;
    if (PART(object)->shown && PyUnicode_CheckExact(name)) {
        int there = is_there(name);
        if (there <= 0) return there < 0 ? NULL : Py_NewRef(otherwise);
    }
    PyObject *extra = async__py_get_extra(object, NULL);
    PyObject *result =
        extra ? PyObject_CallMethodObjArgs(extra, name_get, name, otherwise, NULL) : NULL;
    Py_XDECREF(extra);
    return result;
}

int async__py_add_extra(void)
{
    static const struct async__py_name names[] = {
        {&name_get, "get"},
        {&name_getsockname, "getsockname"},
        {&name_getpeername, "getpeername"},
        {&name_socket, "socket"},
        {&name_sockname, "sockname"},
        {&name_peername, "peername"},
        {0},
    };

    transport_socket = async__py_import("asyncio.trsock", "TransportSocket");
    PyObject *base = async__py_import("asyncio.transports", "BaseTransport");
    slot = base ? PyObject_GetAttrString(base, "_extra") : NULL;
    Py_XDECREF(base);
    if (slot && (!Py_TYPE(slot)->tp_descr_get || !Py_TYPE(slot)->tp_descr_set)) {
        PyErr_SetString(PyExc_ImportError, "casyncio: BaseTransport._extra is no slot");
        return -1;
    }
    return transport_socket && slot ? async__py_intern(names) : -1;
}
