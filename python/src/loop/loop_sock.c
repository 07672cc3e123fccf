/* loop_sock.c - the loop's sock_recv, sock_sendall and their like: coroutines that try the call on the
 * user's socket first, and wait only if there is nothing to be had.
 *
 * For a socket.socket the three calls that matter (recv, recv_into, send) go to the kernel
 * directly: a socket object tells that it would block by raising an exception, and makes a buffer
 * for all that was asked for, and most of the time neither is of use. Everything else, and every
 * other kind of socket, is called by its own methods, whatever these may be.
 *
 * The descriptor stays the user's. It is watched for one event at a time and nothing is believed
 * of it in between; he may close it at any moment. A wait that is cancelled ends at once, before
 * any data is taken, so that none is lost. What waits on a descriptor gives way to the next that
 * does, as in asyncio. */
#include "../base/coroutine.h"
#include "descriptors.h"
#include "loop_type.h"
#include "socket.h"

#include <errno.h>
#include <poll.h>

enum { MOST_ARGUMENTS = 3 };

typedef struct async__py_coroutine coroutine;
typedef enum async__py_outcome outcome;

/* One of the methods. `attempt` ends with ASYNC__PY_WAITS if it would block. */
struct call {
    struct async__py_coroutine_kind kind;
    outcome (*attempt)(coroutine *c, PyObject *const *args, PyObject **result);
    bool writing;
    signed char least, most; /* arguments */
    const char *names[MOST_ARGUMENTS];
};

static const struct call *call_of(const coroutine *c)
{
    return async__container(c->kind, struct call, kind);
}

static PyObject *ssl_socket; /* NULL: this Python has no ssl */
static PyObject *zero;
static PyObject *name_connect, *name_connect_by_name, *name_accept, *name_create_future, *name_done,
    *name_fileno, *name_gettimeout, *name_recv, *name_recv_into, *name_recvfrom,
    *name_recvfrom_into, *name_send, *name_sendto, *name_set_exception, *name_set_result,
    *name_setblocking;

/* ---- the socket ---- */

/* -1: an exception is set. */
static int number_of(PyObject *sock)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, name_fileno);
    long fd = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    if (fd < 0 && !PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", fd);
    return (int)fd;
}

/* The descriptor of a plain socket; one that is closed has -1, of which the kernel is to say
 * what it is. */
static int plain_number_of(PyObject *sock)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, name_fileno);
    int fd = number ? (int)PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    PyErr_Clear();
    return fd;
}

static int check_socket(async__py_loop *loop, PyObject *sock)
{
    if (ssl_socket && !async__py_is_plain_socket(sock)) {
        int is_ssl = PyObject_IsInstance(sock, ssl_socket);
        if (is_ssl > 0) PyErr_SetString(PyExc_TypeError, "Socket cannot be of type SSLSocket");
        if (is_ssl != 0) return -1;
    }
    if (!loop->debug) return 0;
    PyObject *timeout = PyObject_CallMethodNoArgs(sock, name_gettimeout);
    int blocking = timeout ? PyObject_RichCompareBool(timeout, zero, Py_NE) : -1;
    Py_XDECREF(timeout);
    if (blocking > 0) PyErr_SetString(PyExc_ValueError, "the socket must be non-blocking");
    return blocking == 0 ? 0 : -1;
}

/* ---- attempts ---- */

static outcome from_errno(void)
{
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return ASYNC__PY_WAITS;
    PyErr_SetFromErrno(PyExc_OSError);
    return ASYNC__PY_FAILED;
}

/* By the socket's own method, whose arguments are args[0] (the socket) and those that follow. */
static outcome by_method(PyObject *name, PyObject *const *args, size_t count, PyObject **result)
{
    *result = PyObject_VectorcallMethod(name, args, count, NULL);
    if (*result) return ASYNC__PY_DONE;
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError))
        return ASYNC__PY_FAILED;
    PyErr_Clear();
    return ASYNC__PY_WAITS;
}

/* Whether a method would only raise BlockingIOError, its arguments being right: to ask costs
 * less. */
static bool would_block(PyObject *sock)
{
    if (!async__py_is_plain_socket(sock)) return false;
    struct pollfd ask = {.fd = plain_number_of(sock), .events = POLLIN};
    return ask.fd >= 0 && poll(&ask, 1, 0) == 0;
}

static outcome recv_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    Py_ssize_t size = PyLong_CheckExact(args[1]) ? PyLong_AsSsize_t(args[1]) : -1;
    if (size <= 0 || size > ASYNC__PY_BUFFER || !async__py_is_plain_socket(args[0])) {
        PyErr_Clear();
        return by_method(name_recv, args, 2, result);
    }
    char *buffer = async__py_loop_buffer((async__py_loop *)c->owner);
    if (!buffer) return ASYNC__PY_FAILED;
    ssize_t received = recv(plain_number_of(args[0]), buffer, (size_t)size, MSG_DONTWAIT);
    if (received < 0) return from_errno();
    *result = PyBytes_FromStringAndSize(buffer, received);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static outcome recv_into_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    Py_buffer view;

    (void)c;
    if (!async__py_is_plain_socket(args[0])) return by_method(name_recv_into, args, 2, result);
    if (PyObject_GetBuffer(args[1], &view, PyBUF_WRITABLE) < 0) {
        PyErr_Clear(); /* the method says it better */
        return by_method(name_recv_into, args, 2, result);
    }
    ssize_t received = 0; /* nothing is asked for nothing, as by the method */
    if (view.len > 0)
        received = recv(plain_number_of(args[0]), view.buf, (size_t)view.len, MSG_DONTWAIT);
    int error = errno;
    PyBuffer_Release(&view);
    errno = error;
    if (received < 0) return from_errno();
    *result = PyLong_FromSsize_t(received);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static outcome recvfrom_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    (void)c;
    bool right = PyLong_CheckExact(args[1]) && PyObject_RichCompareBool(args[1], zero, Py_GE) > 0;
    if (right && would_block(args[0])) return ASYNC__PY_WAITS;
    return by_method(name_recvfrom, args, 2, result);
}

/* No number of bytes, or 0, means the whole buffer. */
static outcome recvfrom_into_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    Py_buffer view;

    (void)c;
    int given = PyObject_IsTrue(args[2]);
    if (given < 0) return ASYNC__PY_FAILED;
    Py_ssize_t length = given ? 0 : PyObject_Size(args[1]);
    PyObject *size = given ? Py_NewRef(args[2]) : length < 0 ? NULL : PyLong_FromSsize_t(length);
    if (!size) return ASYNC__PY_FAILED;
    bool right = PyObject_GetBuffer(args[1], &view, PyBUF_WRITABLE) == 0;
    if (right) {
        Py_ssize_t number = PyLong_CheckExact(size) ? PyLong_AsSsize_t(size) : -1;
        right = number >= 0 && number <= view.len;
        PyBuffer_Release(&view);
    }
    PyErr_Clear();
    outcome ended = ASYNC__PY_WAITS;
    if (!right || !would_block(args[0]))
        ended = by_method(name_recvfrom_into, (PyObject *[]){args[0], args[1], size}, 3, result);
    Py_DECREF(size);
    return ended;
}

/* The bytes that were sent, which may be 0 as nothing could be; -1: an exception is set. */
static ssize_t send_some(PyObject *sock, PyObject *data, const Py_buffer *view, Py_ssize_t begin)
{
    if (async__py_is_plain_socket(sock)) {
        ssize_t sent = send(plain_number_of(sock), (char *)view->buf + begin,
                            (size_t)(view->len - begin), MSG_DONTWAIT | MSG_NOSIGNAL);
        return sent >= 0 ? sent : from_errno() == ASYNC__PY_WAITS ? 0 : -1;
    }
    PyObject *rest = begin ? PySequence_GetSlice(data, begin, view->len) : Py_NewRef(data),
             *number = NULL;
    if (!rest) return -1;
    outcome ended = by_method(name_send, (PyObject *[]){sock, rest}, 2, &number);
    Py_DECREF(rest);
    if (ended != ASYNC__PY_DONE) return ended == ASYNC__PY_WAITS ? 0 : -1;
    ssize_t sent = PyLong_AsSsize_t(number);
    Py_DECREF(number);
    return sent;
}

/* What has to wait is a view of bytes, with what of it is sent: its owner cannot make it shorter
 * then. */
static outcome keep_rest(coroutine *c, PyObject *const *args, Py_ssize_t sent)
{
    PyObject *view = c->phase ? Py_NewRef(args[1]) : PyMemoryView_FromObject(args[1]);

    if (view && !c->phase) Py_SETREF(view, async__py_call_method(view, "cast", "s", "B"));
    PyObject *rest = view ? Py_BuildValue("(OOn)", args[0], view, sent) : NULL;
    Py_XDECREF(view);
    if (!rest) return ASYNC__PY_FAILED;
    Py_SETREF(c->argument, rest);
    c->phase = 1;
    return ASYNC__PY_WAITS;
}

static outcome sendall_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    Py_ssize_t begin = c->phase ? PyLong_AsSsize_t(args[2]) : 0;
    Py_buffer view;

    if (PyObject_GetBuffer(args[1], &view, PyBUF_SIMPLE) < 0) return ASYNC__PY_FAILED;
    ssize_t sent = send_some(args[0], args[1], &view, begin);
    bool all = sent >= 0 && begin + sent >= view.len;
    PyBuffer_Release(&view);
    if (sent < 0) return ASYNC__PY_FAILED;
    if (!all) return keep_rest(c, args, begin + sent);
    *result = Py_NewRef(Py_None);
    return ASYNC__PY_DONE;
}

static outcome sendto_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    (void)c;
    return by_method(name_sendto, args, 3, result);
}

static outcome accept_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    (void)c;
    if (would_block(args[0])) return ASYNC__PY_WAITS;
    outcome ended = by_method(name_accept, args, 1, result);
    if (ended != ASYNC__PY_DONE) return ended;
    PyObject *pair = *result, *conn = PySequence_GetItem(pair, 0);
    PyObject *done = conn ? PyObject_CallMethodOneArg(conn, name_setblocking, Py_False) : NULL;
    Py_XDECREF(conn);
    Py_XDECREF(done);
    if (done) return ASYNC__PY_DONE;
    Py_DECREF(pair);
    return ASYNC__PY_FAILED;
}

static outcome attempt(coroutine *c, PyObject **result)
{
    /* It may replace its arguments. */
    PyObject *args = Py_NewRef(c->argument);
    outcome ended = call_of(c)->attempt(c, ((PyTupleObject *)args)->ob_item, result);

    Py_DECREF(args);
    return ended;
}

/* ---- waiting ---- */

static bool ready(PyObject *object);

static int watch(coroutine *c, bool again)
{
    const struct async__py_wait wait = {
        .fd = (int)c->number, .writing = call_of(c)->writing, .again = again, .ready = ready};

    return async__py_wait_fd((async__py_loop *)c->owner, (PyObject *)c, &wait);
}

/* Begun the first time; then the descriptor is writable, and knows what came of it. */
static outcome connect_attempt(coroutine *c, PyObject *const *args, PyObject **result)
{
    if (c->phase == 0) {
        c->phase = 1;
        return by_method(name_connect, args, 2, result);
    }
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(plain_number_of(args[0]), SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    if (error) {
        PyObject *text = PyUnicode_FromFormat("Connect call failed %S", args[1]);
        PyObject *exception = text ? PyObject_CallFunction(PyExc_OSError, "iN", error, text) : NULL;
        if (exception) PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
        Py_XDECREF(exception);
        return ASYNC__PY_FAILED;
    }
    *result = Py_NewRef(Py_None);
    return ASYNC__PY_DONE;
}

/* The future gets the exception that is set; those that end the loop go there, and it waits on: true. */
static bool fail(coroutine *c)
{
    async__py_loop *loop = (async__py_loop *)c->owner;

    if (async__py_ends_the_loop()) {
        async__py_loop_fail(loop, "A socket's method has ended the loop", NULL);
        if (watch(c, true) == 0) return true;
    }
    PyObject *exception = async__py_error_take();
    PyObject *set = PyObject_CallMethodOneArg(c->waiter, name_set_exception, exception);
    if (!set) async__py_loop_fail(loop, "A future refuses an exception", "future", c->waiter, NULL);
    Py_XDECREF(set);
    Py_DECREF(exception);
    return false;
}

/* The descriptor is ready. The future may have been cancelled: then nothing is taken from the
 * socket. */
static bool ready(PyObject *object)
{
    coroutine *c = (coroutine *)object;
    PyObject *result;

    if (!c->waiter) return false;
    PyObject *done = PyObject_CallMethodNoArgs(c->waiter, name_done);
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done > 0) return false;
    outcome ended = is_done == 0 ? attempt(c, &result) : ASYNC__PY_FAILED;
    if (ended == ASYNC__PY_WAITS && watch(c, true) == 0) return true;
    if (ended == ASYNC__PY_DONE) {
        done = PyObject_CallMethodOneArg(c->waiter, name_set_result, result);
        Py_DECREF(result);
        Py_XDECREF(done);
        if (done) return false;
    }
    return fail(c);
}

static outcome wait(coroutine *c)
{
    async__py_loop *loop = (async__py_loop *)c->owner;
    int fd = number_of(PyTuple_GET_ITEM(c->argument, 0));
    PyObject *number = fd >= 0 ? PyLong_FromLong(fd) : NULL;
    if (!number) return ASYNC__PY_FAILED;
    int code = async__py_check_no_transport(loop, fd, number);
    Py_DECREF(number);
    c->number = fd;
    if (code < 0) return ASYNC__PY_FAILED;
    c->waiter = PyObject_CallMethodNoArgs((PyObject *)loop, name_create_future);
    if (!c->waiter || watch(c, false) < 0) return ASYNC__PY_FAILED;
    return async__py_await(c, Py_NewRef(c->waiter));
}

static outcome begin(coroutine *c, PyObject **result)
{
    if (check_socket((async__py_loop *)c->owner, PyTuple_GET_ITEM(c->argument, 0)) < 0)
        return ASYNC__PY_FAILED;
    outcome ended = attempt(c, result);
    return ended == ASYNC__PY_WAITS ? wait(c) : ended;
}

static outcome resume(coroutine *c, PyObject *value, PyObject **result)
{
    if (value) {
        *result = Py_NewRef(value);
        return ASYNC__PY_DONE;
    }
    PyObject *error = async__py_error_take();
    async__py_wait_end((async__py_loop *)c->owner, (int)c->number, call_of(c)->writing,
                       (PyObject *)c);
    async__py_error_set(error);
    return ASYNC__PY_FAILED;
}

/* ---- the methods ---- */

#define CALL(method, attempt_, writing_, least_, most_, ...)                                       \
    static const struct call method##_call = {                                                     \
        .kind = {.qualname = "Loop.sock_" #method, .begin = begin, .resume = resume},              \
        .attempt = attempt_,                                                                       \
        .writing = writing_,                                                                       \
        .least = least_,                                                                           \
        .most = most_,                                                                             \
        .names = {__VA_ARGS__}};                                                                   \
    static PyObject *sock_##method(PyObject *self, PyObject *const *args, Py_ssize_t count,        \
                                   PyObject *names)                                                \
    {                                                                                              \
        return make(self, &method##_call, args, count, names);                                     \
    }

static int position_of(const struct call *call, PyObject *name)
{
    for (int i = 0; i < call->most; i++)
        if (PyUnicode_CompareWithASCIIString(name, call->names[i]) == 0) return i;
    return -1;
}

/* Puts the arguments in their places. -1: TypeError. */
static int arrange(const struct call *call, PyObject *const *args, Py_ssize_t count,
                   PyObject *names, PyObject **places)
{
    const char *method = call->kind.qualname;

    if (count > call->most) {
        PyErr_Format(PyExc_TypeError, "%s() takes %d positional arguments but %zd were given",
                     method, call->most, count);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        places[i] = args[i];
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++) {
        int position = position_of(call, PyTuple_GET_ITEM(names, i));
        if (position < 0 || places[position]) {
            PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", method,
                         position < 0 ? "an unexpected keyword" : "multiple values for",
                         PyTuple_GET_ITEM(names, i));
            return -1;
        }
        places[position] = args[count + i];
    }
    for (int i = 0; i < call->least; i++) {
        if (places[i]) continue;
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", method,
                     call->names[i]);
        return -1;
    }
    return 0;
}

static PyObject *make(PyObject *self, const struct call *call, PyObject *const *args,
                      Py_ssize_t count, PyObject *names)
{
    PyObject *places[MOST_ARGUMENTS] = {0};

    if (arrange(call, args, count, names, places) < 0) return NULL;
    PyObject *arguments = PyTuple_New(call->most);
    if (!arguments) return NULL;
    for (int i = 0; i < call->most; i++)
        PyTuple_SET_ITEM(arguments, i, Py_NewRef(places[i] ? places[i] : zero));
    PyObject *made = async__py_coroutine(&call->kind, self, arguments);
    Py_DECREF(arguments);
    return made;
}

CALL(recv, recv_attempt, false, 2, 2, "sock", "n")
CALL(recv_into, recv_into_attempt, false, 2, 2, "sock", "buf")
CALL(recvfrom, recvfrom_attempt, false, 2, 2, "sock", "bufsize")
CALL(recvfrom_into, recvfrom_into_attempt, false, 2, 3, "sock", "buf", "nbytes")
CALL(sendall, sendall_attempt, true, 2, 2, "sock", "data")
CALL(sendto, sendto_attempt, true, 3, 3, "sock", "data", "address")
CALL(accept, accept_attempt, false, 1, 1, "sock")
CALL(connect, connect_attempt, true, 2, 2, "sock", "address")

/* An address that is one already, as those of create_connection are, needs no resolver. */
static bool is_resolved(PyObject *sock, PyObject *address)
{
    struct sockaddr_storage parsed;
    int family = AF_UNSPEC;
    socklen_t length = sizeof family;

    if (!async__py_is_plain_socket(sock) ||
        getsockopt(plain_number_of(sock), SOL_SOCKET, SO_DOMAIN, &family, &length) < 0)
        return false;
    return (family != AF_INET && family != AF_INET6) ||
           async__py_address_parse(family, address, &parsed) > 0;
}

static PyObject *sock_connect_any(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *names)
{
    if (count == 2 && !names && is_resolved(args[0], args[1]))
        return sock_connect(self, args, count, names);
    PyObject *asyncios = PyObject_GetAttr(self, name_connect_by_name), *made = NULL;
    if (asyncios) made = PyObject_Vectorcall(asyncios, args, (size_t)count, names);
    Py_XDECREF(asyncios);
    return made;
}

#define METHOD(method, arguments, text) METHOD_BY(sock_##method, #method, arguments, text)
#define METHOD_BY(function, method, arguments, text)                                               \
    {                                                                                              \
        "sock_" method, (PyCFunction)(void (*)(void))function, METH_FASTCALL | METH_KEYWORDS,      \
            "sock_" method "($self, " arguments ")\n--\n\n" text                                   \
    }

static PyMethodDef methods[] = {
    METHOD(recv, "sock, n", "Receives up to so many bytes."),
    METHOD(recv_into, "sock, buf", "Receives into a buffer; the result is the number of bytes."),
    METHOD(recvfrom, "sock, bufsize", "Receives a datagram: (bytes, address)."),
    METHOD(recvfrom_into, "sock, buf, nbytes=0",
           "Receives a datagram into a buffer: (number, address)."),
    METHOD(sendall, "sock, data", "Sends all of the data."),
    METHOD(sendto, "sock, data, address", "Sends a datagram; the result is the number of bytes."),
    METHOD(accept, "sock", "Accepts a connection: (socket, address)."),
    METHOD_BY(sock_connect_any, "connect", "sock, address",
              "Connects to an address, which is looked up if it is a name."),
    {0},
};

int async__py_add_loop_sock(PyObject *module)
{
    static const struct async__py_name names[] = {
        {&name_accept, "accept"},
        {&name_connect, "connect"},
        {&name_connect_by_name, "_sock_connect_by_name"},
        {&name_create_future, "create_future"},
        {&name_done, "done"},
        {&name_fileno, "fileno"},
        {&name_gettimeout, "gettimeout"},
        {&name_recv, "recv"},
        {&name_recv_into, "recv_into"},
        {&name_recvfrom, "recvfrom"},
        {&name_recvfrom_into, "recvfrom_into"},
        {&name_send, "send"},
        {&name_sendto, "sendto"},
        {&name_set_exception, "set_exception"},
        {&name_set_result, "set_result"},
        {&name_setblocking, "setblocking"},
        {0},
    };

    (void)module;
    if (async__py_add_loop_methods(methods) < 0) return -1;
    zero = PyLong_FromLong(0);
    if (!zero || async__py_intern(names) < 0) return -1;
    ssl_socket = async__py_import("ssl", "SSLSocket");
    if (!ssl_socket && PyErr_ExceptionMatches(PyExc_ImportError)) PyErr_Clear();
    return PyErr_Occurred() ? -1 : 0;
}
