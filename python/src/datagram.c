/* datagram.c - the transport of datagram sockets: UDP and AF_UNIX.
 *
 * A datagram is received into the loop's buffer, and its address made here (address.c), since a
 * socket's own recvfrom makes a bytes object of 256 KiB first and raises an exception when there is
 * nothing left. Up to sixteen are taken a readiness: one poll for all that came meanwhile, and
 * still others get their turn. Families that are not known here, and objects that are not a
 * socket.socket, are asked by their own methods.
 *
 * An error of the network is no end of it: it is told to the protocol's error_received. The rest
 * is as in transport.c: callbacks that the descriptor causes run in the context in which the
 * transport was made, and the loop holds the transport while it watches the descriptor. */
#include "datagram.h"

#include <errno.h>
#include <stddef.h>
#include <structmember.h>

enum { HIGH_WATER = 64 * 1024, MOST_A_READINESS = 16 };

Py_ssize_t async__py_datagram_offset;
static PyTypeObject *type;
static Py_ssize_t extra_offset;
#define PART ASYNC__PY_DATAGRAM
#define SELF ASYNC__PY_DATAGRAM_SELF
#define EXTRA(self) (*(PyObject **)((char *)(self) + extra_offset))

static PyObject *name_begin, *name_call_connection_lost, *name_close, *name_connection_lost,
    *name_connection_made, *name_datagram_received, *name_error_received, *name_fileno,
    *name_recvfrom;
static PyObject *buffer_size, *set_result_unless_cancelled;

/* ---- watching ---- */

static void update_hold(async__py_datagram *part)
{
    if (part->reader.armed || part->writer.armed)
        async__py_hold(part->loop, &part->holder);
    else
        async__py_let_go(&part->holder);
}

void async__py_datagram_stop(async__py_datagram *part, async_watch *watch)
{
    if (part->loop->engine) async_remove_watch(part->loop->engine, watch);
    update_hold(part);
}

static int check_open(async__py_datagram *part)
{
    if (part->loop->engine) return 0;
    PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
    return -1;
}

int async__py_datagram_start(async__py_datagram *part, async_watch *watch)
{
    if (check_open(part) < 0) return -1;
    if (watch->armed) return 0;
    int code = watch == &part->reader ? async_add_reader(part->loop->engine, part->fd, watch)
                                      : async_add_writer(part->loop->engine, part->fd, watch);
    if (code < 0) {
        async__py_set_oserror(code);
        return -1;
    }
    update_hold(part);
    return 0;
}

/* ---- the end ---- */

static int call_soon(async__py_datagram *part, PyObject *object, PyObject *name, PyObject *argument)
{
    if (check_open(part) < 0) return -1;
    PyObject *method = PyObject_GetAttr(object, name);
    int code = method ? async__py_call_soon(part->loop, method, argument) : -1;
    Py_XDECREF(method);
    return code;
}

static int force_close(async__py_datagram *part, PyObject *exception)
{
    if (part->lost) return 0;
    async__py_datagram_drop_all(part);
    part->closing = true;
    part->lost = 1;
    int code =
        call_soon(part, SELF(part), name_call_connection_lost, exception ? exception : Py_None);
    async__py_datagram_stop(part, &part->reader);
    async__py_datagram_stop(part, &part->writer);
    return code;
}

/* The exception that is set is an error of the program's own, and the end. -1: it ends the loop. */
static int fatal(async__py_datagram *part, const char *message)
{
    if (PyErr_ExceptionMatches(PyExc_SystemExit) || PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
        return -1;
    PyObject *exception = async__py_error_take();
    async__py_error_set(Py_NewRef(exception));
    async__py_loop_fail(part->loop, message, "transport", SELF(part), "protocol", part->protocol,
                        NULL);
    int code = force_close(part, exception);
    Py_DECREF(exception);
    return code;
}

/* The exception that is set: OSError goes to the protocol. -1: it ends the loop, or the protocol
 * failed. */
int async__py_datagram_error(async__py_datagram *part, const char *message)
{
    if (!PyErr_ExceptionMatches(PyExc_OSError)) return fatal(part, message);
    PyObject *exception = async__py_error_take();
    PyObject *result = PyObject_CallMethodOneArg(part->protocol, name_error_received, exception);
    Py_DECREF(exception);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static void release(async__py_datagram *part)
{
    PyObject *sock = part->sock;

    part->sock = NULL;
    if (!sock) return;
    async__py_set_transport(part->loop, part->fd, NULL);
    if (part->loop->engine) async_forget_fd(part->loop->engine, part->fd);
    PyObject *result = PyObject_CallMethodNoArgs(sock, name_close);
    if (!result) PyErr_WriteUnraisable(sock);
    Py_XDECREF(result);
    Py_DECREF(sock);
}

PyObject *async__py_datagram_lost(PyObject *self, PyObject *exception)
{
    async__py_datagram *part = PART(self);

    if (!part->sock) Py_RETURN_NONE;
    PyObject *result = PyObject_CallMethodOneArg(part->protocol, name_connection_lost, exception);
    PyObject *error = async__py_error_take();
    release(part);
    Py_CLEAR(part->protocol);
    if (error) async__py_error_set(error);
    return result;
}

static PyObject *transport_close(PyObject *self, PyObject *none)
{
    async__py_datagram *part = PART(self);

    (void)none;
    if (part->closing) Py_RETURN_NONE;
    part->closing = true;
    int code = 0;
    if (!part->first) {
        part->lost++;
        code = call_soon(part, self, name_call_connection_lost, Py_None);
    }
    async__py_datagram_stop(part, &part->reader);
    if (code < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *transport_abort(PyObject *self, PyObject *none)
{
    (void)none;
    if (force_close(PART(self), NULL) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- reading ---- */

/* 1: a datagram; 0: there is none; -1: an exception is set. */
static int receive(async__py_datagram *part, PyObject **data, PyObject **address)
{
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    char *buffer = async__py_loop_buffer(part->loop);

    if (!buffer) return -1;
    ssize_t received = recvfrom(part->fd, buffer, ASYNC__PY_BUFFER, MSG_DONTWAIT,
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
    PyObject *pair = PyObject_CallMethodOneArg(part->sock, name_recvfrom, buffer_size);

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

/* Whether to go on reading now; an exception may be set. */
static bool read_one(async__py_datagram *part)
{
    PyObject *data, *address;
    int got =
        part->family ? receive(part, &data, &address) : receive_by_method(part, &data, &address);

    if (got < 0) async__py_datagram_error(part, "Fatal read error on datagram transport");
    if (got <= 0) return false;
    PyObject *result = PyObject_VectorcallMethod(
        name_datagram_received, (PyObject *[]){part->protocol, data, address}, 3, NULL);
    Py_DECREF(data);
    Py_DECREF(address);
    Py_XDECREF(result);
    return result != NULL;
}

static void read_some(async__py_datagram *part)
{
    for (int i = 0; i < MOST_A_READINESS && part->reader.armed; i++)
        if (!read_one(part)) return;
}

/* Both watches' callbacks: `work` in the transport's context, timed in debug mode. */
void async__py_datagram_run(async__py_datagram *part, void (*work)(async__py_datagram *))
{
    PyObject *self = Py_NewRef(SELF(part)), *protocol = Py_XNewRef(part->protocol);
    async__py_loop *loop = part->loop;

    if (!part->lost && PyContext_Enter(part->context) == 0) {
        int64_t begin = async__py_slow_begin(loop);
        work(part);
        PyObject *error = async__py_error_take();
        async__py_slow_end(loop, begin, self);
        PyContext_Exit(part->context);
        if (error) async__py_error_set(error);
    }
    if (PyErr_Occurred())
        async__py_loop_fail(loop, "Exception in a callback of a datagram transport", "transport",
                            self, "protocol", protocol, NULL);
    Py_XDECREF(protocol);
    Py_DECREF(self);
}

static void read_ready(async_callback *callback)
{
    async__py_datagram_run(async__container(callback, async__py_datagram, reader.callback),
                           read_some);
}

static PyObject *transport_pause_reading(PyObject *self, PyObject *none)
{
    async__py_datagram *part = PART(self);

    (void)none;
    if (!part->closing && !part->paused) {
        part->paused = true;
        async__py_datagram_stop(part, &part->reader);
    }
    Py_RETURN_NONE;
}

static PyObject *transport_resume_reading(PyObject *self, PyObject *none)
{
    async__py_datagram *part = PART(self);

    (void)none;
    if (part->closing || !part->paused) Py_RETURN_NONE;
    if (async__py_datagram_start(part, &part->reader) < 0) return NULL;
    part->paused = false;
    Py_RETURN_NONE;
}

static PyObject *transport_is_reading(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(!PART(self)->closing && !PART(self)->paused);
}

/* ---- what it is made of ---- */

static PyObject *or_none(PyObject *object) { return Py_NewRef(object ? object : Py_None); }

static PyObject *transport_set_protocol(PyObject *self, PyObject *protocol)
{
    Py_XSETREF(PART(self)->protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

static PyObject *transport_get_protocol(PyObject *self, PyObject *none)
{
    (void)none;
    return or_none(PART(self)->protocol);
}

static PyObject *transport_is_closing(PyObject *self, PyObject *none)
{
    (void)none;
    return PyBool_FromLong(PART(self)->closing);
}

/* After connection_made. */
static PyObject *transport_begin(PyObject *self, PyObject *none)
{
    async__py_datagram *part = PART(self);

    (void)none;
    if (!part->closing && !part->paused && async__py_datagram_start(part, &part->reader) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *transport_repr(PyObject *self)
{
    async__py_datagram *part = PART(self);
    const char *state = !part->sock ? " closed" : part->closing ? " closing" : "";

    if (!part->loop->engine)
        return PyUnicode_FromFormat("<DatagramTransport%s fd=%d>", state, part->fd);
    return PyUnicode_FromFormat("<DatagramTransport%s fd=%d read=%s write=<%s, bufsize=%zd>>",
                                state, part->fd, part->reader.armed ? "polling" : "idle",
                                part->writer.armed ? "polling" : "idle", part->size);
}

static int family_of(PyObject *sock, int fd)
{
    int family = 0;
    socklen_t length = sizeof family;

    if (!async__py_is_plain_socket(sock)) return 0;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length) < 0) return 0;
    return async__py_address_known(family) ? family : 0;
}

static int wake_soon(async__py_datagram *part, PyObject *waiter)
{
    PyObject *args[] = {waiter, Py_None};
    PyObject *handle = async__py_handle_new(part->loop, set_result_unless_cancelled, args, 2, NULL);

    if (!handle) return -1;
    async__py_handle_schedule(part->loop, handle);
    Py_DECREF(handle);
    return 0;
}

static int schedule_begin(async__py_datagram *part, PyObject *waiter)
{
    if (call_soon(part, part->protocol, name_connection_made, SELF(part)) < 0 ||
        call_soon(part, SELF(part), name_begin, Py_None) < 0)
        return -1;
    return waiter == Py_None ? 0 : wake_soon(part, waiter);
}

static int open_transport(async__py_datagram *part, PyObject *sock, PyObject *waiter)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, name_fileno);
    long fd = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    if (fd < 0) {
        if (!PyErr_Occurred()) async__py_set_oserror(-EBADF);
        return -1;
    }
    part->context = PyContext_CopyCurrent();
    if (!part->context || check_open(part) < 0) return -1;
    part->fd = (int)fd;
    part->family = family_of(sock, part->fd);
    if (async__py_set_transport(part->loop, part->fd, SELF(part)) < 0) return -1;
    /* The number may have been another descriptor's, which was closed without a word. */
    async_forget_fd(part->loop->engine, part->fd);
    if (schedule_begin(part, waiter) < 0) {
        async__py_set_transport(part->loop, part->fd, NULL);
        return -1;
    }
    part->sock = Py_NewRef(sock);
    return 0;
}

static PyObject *transport_new(PyTypeObject *subtype, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"loop", "sock", "protocol", "extra", "address", "waiter", NULL};
    PyObject *loop, *sock, *protocol, *extra, *address = Py_None, *waiter = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!OOO!|OO:DatagramTransport", names,
                                     async__py_loop_type, &loop, &sock, &protocol, &PyDict_Type,
                                     &extra, &address, &waiter))
        return NULL;
    PyObject *self = subtype->tp_alloc(subtype, 0);
    if (!self) return NULL;
    async__py_datagram *part = PART(self);
    part->loop = (async__py_loop *)Py_NewRef(loop);
    part->protocol = Py_NewRef(protocol);
    part->address = Py_NewRef(address);
    part->holder.object = self;
    part->reader.callback.run = read_ready;
    part->writer.callback.run = async__py_datagram_write_ready;
    part->last = &part->first;
    part->high = HIGH_WATER;
    part->low = HIGH_WATER / 4;
    PyObject *peer = PyDict_GetItemString(extra, "peername");
    part->has_peer = peer && peer != Py_None;
    EXTRA(self) = Py_NewRef(extra);
    if (open_transport(part, sock, waiter) < 0) Py_CLEAR(self); /* the socket stays its giver's */
    return self;
}

/* tp_new has done it all, and the base's __init__ is not to undo it. */
static int transport_init(PyObject *self, PyObject *args, PyObject *keywords)
{
    (void)self;
    (void)args;
    (void)keywords;
    return 0;
}

static int transport_traverse(PyObject *self, visitproc visit, void *arg)
{
    async__py_datagram *part = PART(self);

    for (struct async__py_queued *each = part->first; each; each = each->next)
        Py_VISIT(each->address);
    Py_VISIT(part->loop);
    Py_VISIT(part->sock);
    Py_VISIT(part->protocol);
    Py_VISIT(part->context);
    Py_VISIT(part->address);
    Py_VISIT(part->dict);
    Py_VISIT(EXTRA(self));
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static int transport_clear(PyObject *self)
{
    async__py_datagram *part = PART(self);

    Py_CLEAR(EXTRA(self));
    Py_CLEAR(part->protocol);
    Py_CLEAR(part->dict);
    return 0;
}

static void transport_finalize(PyObject *self)
{
    async__py_datagram *part = PART(self);
    if (!part->sock) return;
    PyObject *error = async__py_error_take();

    if (PyErr_ResourceWarning(self, 1, "unclosed transport %R", self) < 0)
        PyErr_WriteUnraisable(self);
    part->closing = true;
    part->lost++;
    release(part);
    if (error) async__py_error_set(error);
}

static void transport_dealloc(PyObject *self)
{
    async__py_datagram *part = PART(self);
    PyTypeObject *own = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc(self) < 0) return;
    PyObject_GC_UnTrack(self);
    if (part->weakrefs) PyObject_ClearWeakRefs(self);
    transport_clear(self);
    async__py_datagram_drop_all(part);
    Py_CLEAR(part->context);
    Py_CLEAR(part->address);
    Py_CLEAR(part->loop);
    own->tp_free(self);
    Py_DECREF(own);
}

static PyObject *get_object(PyObject *self, void *offset)
{
    return or_none(*(PyObject **)((char *)PART(self) + (size_t)offset));
}

static PyObject *get_fd(PyObject *self, void *none)
{
    (void)none;
    return PyLong_FromLong(PART(self)->fd);
}

#define OFFSET(field) ((void *)offsetof(async__py_datagram, field))

/* asyncio's tests look at these, and so may programs. */
static PyGetSetDef getters[] = {
    {"_loop", get_object, NULL, NULL, OFFSET(loop)},
    {"_sock", get_object, NULL, NULL, OFFSET(sock)},
    {"_sock_fd", get_fd, NULL, NULL, NULL},
    {"_protocol", get_object, NULL, NULL, OFFSET(protocol)},
    {"_address", get_object, NULL, NULL, OFFSET(address)},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {0},
};

static PyMethodDef methods[] = {
    {"sendto", (PyCFunction)(void (*)(void))async__py_datagram_sendto,
     METH_FASTCALL | METH_KEYWORDS,
     "sendto($self, data, addr=None)\n--\n\n"
     "Sends the datagram, or queues it if the kernel does not take it now."},
    {"close", transport_close, METH_NOARGS, "Closes, once all is sent."},
    {"abort", transport_abort, METH_NOARGS, "Closes at once; what is not sent is lost."},
    {"is_closing", transport_is_closing, METH_NOARGS, "Whether it is closing, or closed."},
    {"is_reading", transport_is_reading, METH_NOARGS, "Whether it receives."},
    {"pause_reading", transport_pause_reading, METH_NOARGS, "Receives no more."},
    {"resume_reading", transport_resume_reading, METH_NOARGS, "Receives again."},
    {"set_protocol", transport_set_protocol, METH_O, "Changes the protocol."},
    {"get_protocol", transport_get_protocol, METH_NOARGS, "The protocol."},
    {"get_write_buffer_size", async__py_datagram_size, METH_NOARGS,
     "Bytes not yet sent, and 8 for each datagram."},
    {"get_write_buffer_limits", async__py_datagram_limits, METH_NOARGS, "(low, high), in bytes."},
    {"set_write_buffer_limits", (PyCFunction)(void (*)(void))async__py_datagram_set_limits,
     METH_VARARGS | METH_KEYWORDS,
     "When the protocol's pause_writing() and resume_writing() are called."},
    {"_call_connection_lost", async__py_datagram_lost, METH_O, NULL},
    {"_begin", transport_begin, METH_O, NULL},
    {0},
};

/* The offsets of these two depend on the base class, and are set when the type is made. */
static PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, 0, READONLY, NULL},
    {0},
};

static PyType_Slot slots[] = {
    {Py_tp_new, transport_new},
    {Py_tp_init, transport_init},
    {Py_tp_dealloc, transport_dealloc},
    {Py_tp_finalize, transport_finalize},
    {Py_tp_traverse, transport_traverse},
    {Py_tp_clear, transport_clear},
    {Py_tp_repr, transport_repr},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {Py_tp_getset, getters},
    {0},
};

static const struct async__py_name names[] = {
    {&name_begin, "_begin"},
    {&name_call_connection_lost, "_call_connection_lost"},
    {&name_close, "close"},
    {&name_connection_lost, "connection_lost"},
    {&name_connection_made, "connection_made"},
    {&name_datagram_received, "datagram_received"},
    {&name_error_received, "error_received"},
    {&name_fileno, "fileno"},
    {&name_recvfrom, "recvfrom"},
    {0},
};

/* Behind what the base classes have, which is the slot _extra. */
static int find_room(PyTypeObject *base)
{
    PyObject *extra = PyObject_GetAttrString((PyObject *)base, "_extra");
    if (!extra) return -1;
    if (Py_IS_TYPE(extra, &PyMemberDescr_Type))
        extra_offset = ((PyMemberDescrObject *)extra)->d_member->offset;
    Py_DECREF(extra);
    if (!extra_offset) {
        PyErr_SetString(PyExc_ImportError,
                        "casyncio: asyncio's transports have no slot _extra here");
        return -1;
    }
    async__py_datagram_offset = (base->tp_basicsize + 15) & ~(Py_ssize_t)15;
    members[0].offset = async__py_datagram_offset + (Py_ssize_t)offsetof(async__py_datagram, dict);
    members[1].offset =
        async__py_datagram_offset + (Py_ssize_t)offsetof(async__py_datagram, weakrefs);
    return 0;
}

/* asyncio's own is a Transport, too. */
static PyObject *find_bases(void)
{
    PyObject *transport = async__py_import("asyncio", "Transport");
    PyObject *datagram = transport ? async__py_import("asyncio", "DatagramTransport") : NULL;
    PyObject *bases = datagram ? PyTuple_Pack(2, transport, datagram) : NULL;

    Py_XDECREF(transport);
    Py_XDECREF(datagram);
    return bases;
}

int async__py_add_datagram(PyObject *module)
{
    buffer_size = PyLong_FromLong(ASYNC__PY_BUFFER);
    set_result_unless_cancelled =
        async__py_import("asyncio.futures", "_set_result_unless_cancelled");
    if (!buffer_size || !set_result_unless_cancelled || async__py_intern(names) < 0 ||
        async__py_add_datagram_send() < 0)
        return -1;
    PyObject *bases = find_bases();
    if (!bases) return -1;
    if (find_room((PyTypeObject *)PyTuple_GET_ITEM(bases, 0)) == 0) {
        PyType_Spec spec = {
            .name = "casyncio._casyncio.DatagramTransport",
            .basicsize = (int)(async__py_datagram_offset + (Py_ssize_t)sizeof(async__py_datagram)),
            .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
            .slots = slots,
        };
        type = async__py_add_type(module, &spec, bases);
    }
    Py_DECREF(bases);
    return type ? 0 : -1;
}
