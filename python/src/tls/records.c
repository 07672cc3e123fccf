/* records.c - the records of a TLS connection: two MemoryBIOs, and the SSL object between them.
 *
 * What is slow about TLS in asyncio is not the cryptography. Reading until there is nothing left
 * ends each time with an SSLWantReadError, an exception made to be thrown away; here the incoming
 * BIO is asked first: when a read was not full and the BIO is empty, another read has nothing to
 * find.
 *
 * _ssl takes and fills anything that has a buffer, so it is shown a window: one object that is set
 * to a piece of memory before each call. That is safe with _ssl's own object only, which lets go of
 * it before it returns; an SSLObject of somebody's own class gets and gives bytes. */
#include "records.h"

#include "names.h"

static struct window {
    PyObject_HEAD char *data;
    Py_ssize_t length;
} * window;

static PyObject *read_args; /* for SSLObject.read: as much as the window takes, the window */

/* A method of the SSL object, which is held while it is called: callbacks of the context's may end
 * the connection, and that lets go of it. */
static PyObject *call_ssl(PyObject *method, PyObject *args)
{
    if (!method) {
        PyErr_SetString(PyExc_ConnectionAbortedError, "SSL connection is closed");
        return NULL;
    }
    Py_INCREF(method);
    PyObject *result = PyObject_Call(method, args, NULL);
    Py_DECREF(method);
    return result;
}

/* ---- the window ---- */

static int window_getbuffer(struct window *self, Py_buffer *view, int flags)
{
    return PyBuffer_FillInfo(view, (PyObject *)self, self->data, self->length, 0, flags);
}

static void window_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);

    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot window_slots[] = {
    {Py_bf_getbuffer, window_getbuffer},
    {Py_tp_dealloc, window_dealloc},
    {0, NULL},
};

static PyType_Spec window_spec = {
    .name = "casyncio._casyncio._TLSWindow",
    .basicsize = sizeof(struct window),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = window_slots,
};

static PyObject *show(const void *data, Py_ssize_t length)
{
    window->data = (char *)data;
    window->length = length;
    return (PyObject *)window;
}

/* ---- making, and letting go ---- */

int async__py_records_set_sslobj(async__py_records *self, PyObject *sslobj)
{
    bool direct = (PyObject *)Py_TYPE(sslobj) == async__py_tls_classes.ssl_object;
    PyObject *read = NULL, *write = NULL, *shutdown = NULL, *target;

    target = direct ? PyObject_GetAttr(sslobj, async__py_tls_names.sslobj) : Py_NewRef(sslobj);
    if (target) read = PyObject_GetAttr(target, async__py_tls_names.read);
    if (read) write = PyObject_GetAttr(target, async__py_tls_names.write);
    if (write)
        shutdown = PyObject_GetAttr(target, direct ? async__py_tls_names.shutdown
                                                   : async__py_tls_names.unwrap);
    Py_XDECREF(target);
    if (!shutdown) {
        Py_XDECREF(read);
        Py_XDECREF(write);
        return -1;
    }
    self->direct = direct;
    Py_XSETREF(self->sslobj, Py_NewRef(sslobj));
    Py_XSETREF(self->read, read);
    Py_XSETREF(self->write, write);
    Py_XSETREF(self->shutdown, shutdown);
    return 0;
}

int async__py_records_wrap(async__py_records *self, PyObject *context, bool server_side,
                           PyObject *server_hostname)
{
    self->incoming = PyObject_CallNoArgs(async__py_tls_classes.memory_bio);
    self->outgoing = PyObject_CallNoArgs(async__py_tls_classes.memory_bio);
    if (!self->incoming || !self->outgoing) return -1;
    self->incoming_write = PyObject_GetAttr(self->incoming, async__py_tls_names.write);
    self->outgoing_read = PyObject_GetAttr(self->outgoing, async__py_tls_names.read);
    if (!self->incoming_write || !self->outgoing_read) return -1;
    PyObject *wrap_bio = PyObject_GetAttr(context, async__py_tls_names.wrap_bio);
    PyObject *args = Py_BuildValue("(OO)", self->incoming, self->outgoing);
    PyObject *options = Py_BuildValue("{sOsO}", "server_side", server_side ? Py_True : Py_False,
                                      "server_hostname", server_hostname);
    PyObject *sslobj = wrap_bio && args && options ? PyObject_Call(wrap_bio, args, options) : NULL;
    Py_XDECREF(wrap_bio);
    Py_XDECREF(args);
    Py_XDECREF(options);
    int result = sslobj ? async__py_records_set_sslobj(self, sslobj) : -1;
    Py_XDECREF(sslobj);
    return result;
}

void async__py_records_release(async__py_records *self)
{
    Py_CLEAR(self->read);
    Py_CLEAR(self->write);
    Py_CLEAR(self->shutdown);
    Py_CLEAR(self->sslobj);
}

/* ---- plaintext ---- */

/* A number that was returned; -1 and an exception, also for a negative one. */
static Py_ssize_t number(PyObject *result)
{
    if (!result) return -1;
    Py_ssize_t count = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (count < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "an SSLObject told a negative number of bytes");
    return count;
}

static Py_ssize_t read_bytes(async__py_records *self, char *to, Py_ssize_t room)
{
    Py_buffer view;
    PyObject *args = Py_BuildValue("(n)", room);
    PyObject *data = args ? call_ssl(self->read, args) : NULL;

    Py_XDECREF(args);
    if (!data) return -1;
    int failed = PyObject_GetBuffer(data, &view, PyBUF_SIMPLE);
    Py_DECREF(data);
    if (failed) return -1;
    Py_ssize_t count = view.len;
    if (count > room) {
        PyErr_SetString(PyExc_ValueError, "an SSLObject gave more bytes than it was asked for");
        count = -1;
    } else {
        memcpy(to, view.buf, count);
    }
    PyBuffer_Release(&view);
    return count;
}

/* At most a record: how many bytes, 0 when the peer has said that it ends, -1 and an exception. */
static Py_ssize_t read_record(async__py_records *self, char *to, Py_ssize_t room)
{
    Py_ssize_t count;

    room = Py_MIN(room, INT_MAX);
    if (self->direct) {
        show(to, room);
        count = number(call_ssl(self->read, read_args));
    } else {
        count = read_bytes(self, to, room);
    }
    if (count < 0 && PyErr_ExceptionMatches(async__py_tls_classes.zero_return)) {
        PyErr_Clear();
        return 0;
    }
    return count;
}

enum async__py_reading async__py_records_read(async__py_records *self, char *to, Py_ssize_t room,
                                              Py_ssize_t *count, PyObject **error)
{
    *error = NULL;
    for (*count = 0; *count < room;) {
        Py_ssize_t pending, got = read_record(self, to + *count, room - *count);
        if (got == 0) return ASYNC__PY_READ_END;
        if (got < 0 && async__py_records_again()) return ASYNC__PY_READ_ALL;
        if (got > 0) *count += got;
        if (*count == room) break;
        pending = got < 0 ? -1 : async__py_records_pending(self->incoming);
        if (pending == 0) return ASYNC__PY_READ_ALL;
        if (pending < 0) {
            *error = async__py_error_take();
            return ASYNC__PY_READ_FAILED;
        }
    }
    return ASYNC__PY_READ_FULL;
}

Py_ssize_t async__py_records_write(async__py_records *self, const char *data, Py_ssize_t length)
{
    PyObject *piece;

    if (self->direct)
        piece = Py_NewRef(show(data, length));
    else
        piece = PyBytes_FromStringAndSize(data, length);
    PyObject *args = piece ? PyTuple_Pack(1, piece) : NULL;
    Py_ssize_t count = args ? number(call_ssl(self->write, args)) : -1;
    Py_XDECREF(args);
    Py_XDECREF(piece);
    return count;
}

bool async__py_records_again(void)
{
    if (!PyErr_ExceptionMatches(async__py_tls_classes.want_read) &&
        !PyErr_ExceptionMatches(async__py_tls_classes.syscall_error))
        return false;
    PyErr_Clear();
    return true;
}

/* ---- ciphertext ---- */

Py_ssize_t async__py_records_pending(PyObject *bio)
{
    PyObject *pending = PyObject_GetAttr(bio, async__py_tls_names.pending);

    if (!pending) return -1;
    Py_ssize_t count = PyLong_AsSsize_t(pending);
    Py_DECREF(pending);
    return count;
}

int async__py_records_put(async__py_records *self, const char *data, Py_ssize_t length)
{
    PyObject *written = PyObject_CallOneArg(self->incoming_write, show(data, length));

    Py_XDECREF(written);
    return written ? 0 : -1;
}

PyObject *async__py_records_take(async__py_records *self)
{
    return PyObject_CallNoArgs(self->outgoing_read);
}

int async__py_records_readable(async__py_records *self)
{
    Py_ssize_t pending = async__py_records_pending(self->incoming);

    if (pending != 0) return pending < 0 ? -1 : 1;
    if (!self->direct || !self->sslobj) return 1;
    pending = number(PyObject_CallMethodNoArgs(self->sslobj, async__py_tls_names.pending));
    return pending < 0 ? -1 : pending > 0;
}

/* ---- the beginning and the end ---- */

/* Takes the result of a step. */
static enum async__py_step step_of(PyObject *result)
{
    Py_XDECREF(result);
    if (result) return ASYNC__PY_STEP_DONE;
    return async__py_records_again() ? ASYNC__PY_STEP_LATER : ASYNC__PY_STEP_FAILED;
}

enum async__py_step async__py_records_handshake(async__py_records *self)
{
    PyObject *sslobj = async__py_or_none(self->sslobj);
    PyObject *result = PyObject_CallMethodNoArgs(sslobj, async__py_tls_names.do_handshake);

    Py_DECREF(sslobj);
    return step_of(result);
}

enum async__py_step async__py_records_shutdown(async__py_records *self)
{
    if (!self->shutdown) return ASYNC__PY_STEP_DONE;
    PyObject *shutdown = Py_NewRef(self->shutdown);
    PyObject *result = PyObject_CallNoArgs(shutdown);
    Py_DECREF(shutdown);
    return step_of(result);
}

int async__py_add_records(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &window_spec, NULL);

    if (!type) return -1;
    window = (struct window *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    Py_DECREF(type);
    if (!window) return -1;
    read_args = Py_BuildValue("iO", INT_MAX, window);
    return read_args ? 0 : -1;
}
