/* loop_accept.c - what a server does when connections wait: loop._accept_connection.
 *
 * asyncio makes a task for each connection that it accepts, to wait until connection_made has been
 * called. Here nothing waits for that: the protocol is made, in a context of its own, and the
 * transport goes its way. A connection costs one system call before its transport knows of it:
 * accept4. */
#include "../loop/loop_type.h"
#include "../loop/socket.h"
#include "transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static PyObject *socket_type, *name_getpeername, *name_peername, *name_sockname, *name_proto,
    *name_make_ssl_transport, *ssl_names;

struct listener {
    async__py_loop *loop;
    PyObject *factory, *sock, *sslcontext, *server, *backlog, *handshake_timeout, *shutdown_timeout;
    PyObject *context;  /* of which each connection has a copy; None: of the current one */
    PyObject *sockname; /* of all that it accepts, or NULL: each has its own */
    int fd;
    long protocol;
};

/* What is accepted on one address of this machine has that address, so that all connections share one
 * object: that saves a system call and some memory for each. Not so for a listener on every address.
 * -1: an exception is set. */
static int find_sockname(struct listener *listener)
{
    struct sockaddr_storage address = {0};
    const struct sockaddr_in *inet = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *inet6 = (const struct sockaddr_in6 *)&address;
    socklen_t length = sizeof address;

    if (getsockname(listener->fd, (struct sockaddr *)&address, &length) < 0) return 0;
    bool one = address.ss_family == AF_INET    ? inet->sin_addr.s_addr != htonl(INADDR_ANY)
               : address.ss_family == AF_INET6 ? !IN6_IS_ADDR_UNSPECIFIED(&inet6->sin6_addr)
                                               : address.ss_family == AF_UNIX;
    if (!one) return 0;
    listener->sockname = async__py_address_new(&address, length);
    return listener->sockname ? 0 : -1;
}

/* NULL: an exception is set, and the descriptor is closed. */
static PyObject *wrap(const struct listener *listener, int fd, int family)
{
    PyObject *sock = PyObject_CallFunction(socket_type, "iili", family, SOCK_STREAM | SOCK_NONBLOCK,
                                           listener->protocol, fd);
    if (!sock) close(fd);
    return sock;
}

/* What the socket module calls the address: for other families than this it knows best. */
static PyObject *peer_name(PyObject *conn, const struct sockaddr_storage *address)
{
    const struct sockaddr_in *inet = (const struct sockaddr_in *)address;
    char text[INET_ADDRSTRLEN];

    if (address->ss_family == AF_INET && inet_ntop(AF_INET, &inet->sin_addr, text, sizeof text))
        return Py_BuildValue("(si)", text, ntohs(inet->sin_port));
    PyObject *name = PyObject_CallMethodNoArgs(conn, name_getpeername);
    if (!name && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* it has gone again */
        name = Py_NewRef(Py_None);
    }
    return name;
}

/* `context` is the connection's own, or NULL: the transport makes itself one. */
static PyObject *make_transport(const struct listener *listener, PyObject *conn, PyObject *protocol,
                                PyObject *extra, PyObject *context)
{
    int tls = PyObject_IsTrue(listener->sslcontext);

    if (tls < 0) return NULL;
    if (!tls)
        return async__py_socket_transport_new(listener->loop, conn, protocol, NULL, extra,
                                              listener->server, context);
    PyObject *args[] = {
        (PyObject *)listener->loop,
        conn,
        protocol,
        listener->sslcontext,
        Py_True,
        extra,
        listener->server,
        listener->handshake_timeout,
        listener->shutdown_timeout,
        context ? context : Py_None,
    };
    return PyObject_VectorcallMethod(name_make_ssl_transport, args, 4, ssl_names);
}

static void close_conn(async__py_loop *loop, PyObject *conn)
{
    PyObject *error = async__py_error_take();
    PyObject *result = async__py_call_method(conn, "close", NULL);
    if (!result) async__py_loop_ignore(loop, conn);
    Py_XDECREF(result);
    if (error) async__py_error_set(error);
}

/* asyncio tells of it in debug mode only: a server whose protocol factory always fails then drops
 * every connection without a word. */
static void failed(const struct listener *listener, PyObject *protocol)
{
    async__py_loop_fail(listener->loop, "Error on transport creation for incoming connection",
                        "protocol", protocol, NULL);
}

static void serve(const struct listener *listener, int fd, const struct sockaddr_storage *address,
                  PyObject *context)
{
    PyObject *conn = wrap(listener, fd, address->ss_family);
    PyObject *name = conn ? peer_name(conn, address) : NULL;
    PyObject *extra = name ? PyDict_New() : NULL, *protocol = NULL;
    PyObject *transport = NULL;

    if (extra &&
        (PyDict_SetItem(extra, name_peername, name) < 0 ||
         (listener->sockname && PyDict_SetItem(extra, name_sockname, listener->sockname) < 0)))
        Py_CLEAR(extra);
    if (extra && listener->loop->debug) {
        PyObject *result = async__py_call_method((PyObject *)listener->loop, "_debug_accepted",
                                                 "OOO", listener->server, name, conn);
        if (!result) async__py_loop_ignore(listener->loop, NULL);
        Py_XDECREF(result);
    }
    if (extra) protocol = PyObject_CallNoArgs(listener->factory);
    if (protocol) transport = make_transport(listener, conn, protocol, extra, context);
    if (!transport) {
        if (conn) close_conn(listener->loop, conn);
        failed(listener, protocol);
    }
    Py_XDECREF(transport);
    Py_XDECREF(protocol);
    Py_XDECREF(extra);
    Py_XDECREF(name);
    Py_XDECREF(conn);
}

static int serve_in_context(const struct listener *listener, int fd,
                            const struct sockaddr_storage *address)
{
    bool given = listener->context != Py_None;
    PyObject *context = given ? PyContext_Copy(listener->context) : PyContext_CopyCurrent();

    if (!context || PyContext_Enter(context) < 0) {
        Py_XDECREF(context);
        close(fd);
        return -1;
    }
    serve(listener, fd, address, given ? context : NULL);
    int code = PyContext_Exit(context);
    Py_DECREF(context);
    return code;
}

/* Out of descriptors or memory. The connection stays in the backlog, and the descriptor ready: the
 * server looks away for a second. */
static PyObject *out_of_resources(const struct listener *listener, int error, PyObject *const *args,
                                  Py_ssize_t count)
{
    async__py_set_oserror(-error);
    if (error == ENOMEM) PyErr_Clear(), PyErr_SetNone(PyExc_MemoryError);
    PyObject *exception = async__py_error_take();
    PyObject *tuple = PyTuple_New(count), *result = NULL;
    for (Py_ssize_t i = 0; tuple && i < count; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    if (tuple)
        result = async__py_call_method((PyObject *)listener->loop, "_accept_later", "OOO",
                                       exception, listener->sock, tuple);
    Py_XDECREF(tuple);
    Py_DECREF(exception);
    return result;
}

static PyObject *accept_all(const struct listener *listener, long backlog, PyObject *const *args,
                            Py_ssize_t count)
{
    for (long i = 0; i < backlog; i++) {
        struct sockaddr_storage address = {0};
        socklen_t length = sizeof address;
        int fd = accept4(listener->fd, (struct sockaddr *)&address, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (serve_in_context(listener, fd, &address) < 0) return NULL;
            if (listener->loop->raised || !listener->loop->engine) break;
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR || errno == ECONNABORTED)
            break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            return out_of_resources(listener, errno, args, count);
        return async__py_set_oserror(-errno);
    }
    Py_RETURN_NONE;
}

enum { BACKLOG = 100, KNOWN = 8 };

/* loop._accept_connection(protocol_factory, sock, sslcontext=None, server=None, backlog=100,
 * ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None): Server._start_serving calls
 * it. That of asyncio calls it too, and has more arguments from version to version: those that are
 * not known here are left out. */
static PyObject *accept_connection(PyObject *loop, PyObject *const *args, Py_ssize_t count)
{
    PyObject *all[KNOWN];

    if (async__py_check_count(count, 2, "_accept_connection(protocol_factory, sock, ...)") < 0)
        return NULL;
    for (int i = 0; i < KNOWN; i++)
        all[i] = i < count ? args[i] : Py_None;
    struct listener listener = {
        .loop = (async__py_loop *)loop,
        .factory = all[0],
        .sock = all[1],
        .sslcontext = all[2],
        .server = all[3],
        .backlog = all[4],
        .handshake_timeout = all[5],
        .shutdown_timeout = all[6],
        .context = all[7],
    };
    if (listener.context != Py_None && !PyContext_CheckExact(listener.context)) {
        PyErr_SetString(PyExc_TypeError, "_accept_connection(): context is not a Context");
        return NULL;
    }
    long backlog = listener.backlog == Py_None ? BACKLOG : PyLong_AsLong(listener.backlog);
    if (backlog == -1 && PyErr_Occurred()) return NULL;
    PyObject *number = PyObject_GetAttr(args[1], name_proto);
    listener.protocol = number ? PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    if (PyErr_Occurred()) return NULL;
    listener.fd = PyObject_AsFileDescriptor(args[1]);
    if (listener.fd < 0) {
        PyErr_Clear(); /* closed by a callback before this one */
        Py_RETURN_NONE;
    }

    if (find_sockname(&listener) < 0) return NULL;
    PyObject *result = accept_all(&listener, backlog, args, count);
    Py_XDECREF(listener.sockname);
    return result;
}

static PyMethodDef methods[] = {
    {"_accept_connection", (PyCFunction)(void (*)(void))accept_connection, METH_FASTCALL, NULL},
    {0},
};

int async__py_add_loop_accept(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_getpeername, "getpeername"},
        {&name_peername, "peername"},
        {&name_sockname, "sockname"},
        {&name_proto, "proto"},
        {&name_make_ssl_transport, "_make_ssl_transport"},
        {0},
    };

    (void)module;
    socket_type = async__py_import("socket", "socket");
    ssl_names = Py_BuildValue("(ssssss)", "server_side", "extra", "server", "ssl_handshake_timeout",
                              "ssl_shutdown_timeout", "context");
    if (!socket_type || !ssl_names || async__py_intern(names) < 0) return -1;
    return async__py_add_loop_methods(methods);
}
