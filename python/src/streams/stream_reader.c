/* stream_reader.c - asyncio's StreamReader, in C.
 *
 * Here is the object with what its transport and protocol do to it; reading is in stream_read.c.
 * All attributes of asyncio's reader are there and can be set, because programs do that: they raise
 * _limit for a while, or clear _buffer before TLS starts. */
#include "stream.h"

#define DEFAULT_LIMIT (1 << 16)

typedef struct async__py_reader reader;

PyTypeObject *async__py_reader_type;

static PyObject *extract_stack; /* of asyncio.format_helpers */
static PyObject *name_get_debug, *name_pause_reading, *name_resume_reading;

/* ---- feeding ---- */

/* Ends the future that a read waits for, if there is one. */
static int wake(reader *self, PyObject *exception)
{
    PyObject *waiter = self->waiter;

    if (!waiter) return 0;
    self->waiter = NULL;
    int status = async__py_future_end(waiter, exception);
    Py_DECREF(waiter);
    return status;
}

int async__py_reader_resume(reader *self)
{
    self->paused = false;
    return async__py_tell(self->transport, name_resume_reading, NULL);
}

int async__py_reader_maybe_resume(reader *self)
{
    if (!self->paused || async__py_reader_available(self) > self->limit) return 0;
    return async__py_reader_resume(self);
}

static int pause_transport(reader *self)
{
    if (async__py_tell(self->transport, name_pause_reading, NULL) == 0) {
        self->paused = true;
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) return -1;
    /* It cannot be paused. All is buffered, and it is not asked again. */
    PyErr_Clear();
    Py_CLEAR(self->transport);
    return 0;
}

static int check_feed(reader *self)
{
    if (!self->eof) return 0;
    PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
    return -1;
}

static int fed(reader *self)
{
    if (wake(self, NULL) < 0) return -1;
    if (!self->transport || self->paused ||
        async__py_reader_available(self) - self->limit <= self->limit)
        return 0;
    return pause_transport(self);
}

int async__py_reader_feed(reader *self, const char *data, Py_ssize_t length)
{
    if (check_feed(self) < 0) return -1;
    if (length == 0) return 0;
    if (async__py_buffer_append(&self->buffer, data, length) < 0) return -1;
    return fed(self);
}

int async__py_reader_feed_object(reader *self, PyObject *data)
{
    if (check_feed(self) < 0) return -1;
    int any = PyObject_IsTrue(data);
    if (any <= 0) return any;
    if (async__py_buffer_append_object(&self->buffer, data) < 0) return -1;
    return fed(self);
}

static PyObject *feed_data(reader *self, PyObject *data)
{
    if (async__py_reader_feed_object(self, data) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *feed_eof(reader *self, PyObject *Py_UNUSED(ignored))
{
    self->eof = true;
    if (wake(self, NULL) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *at_eof(reader *self, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(self->eof && async__py_reader_available(self) == 0);
}

static PyObject *get_exception(reader *self, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(self->exception ? self->exception : Py_None);
}

static PyObject *set_exception(reader *self, PyObject *exception)
{
    Py_XSETREF(self->exception, exception == Py_None ? NULL : Py_NewRef(exception));
    if (wake(self, exception) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *set_transport(reader *self, PyObject *transport)
{
    if (self->transport) {
        PyErr_SetString(PyExc_AssertionError, "Transport already set");
        return NULL;
    }
    async__py_stream_set((PyObject *)self, transport, (void *)offsetof(reader, transport));
    Py_RETURN_NONE;
}

static PyObject *wakeup_waiter(reader *self, PyObject *Py_UNUSED(ignored))
{
    if (wake(self, NULL) < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *maybe_resume_transport(reader *self, PyObject *Py_UNUSED(ignored))
{
    if (async__py_reader_maybe_resume(self) < 0) return NULL;
    Py_RETURN_NONE;
}

/* ---- the object ---- */

static int reader_clear(reader *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->source_traceback);
    async__py_buffer_clear(&self->buffer);
    Py_CLEAR(self->base.dict);
    return 0;
}

static int reader_traverse(reader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->base.dict);
    Py_VISIT(self->loop);
    Py_VISIT(self->waiter);
    Py_VISIT(self->exception);
    Py_VISIT(self->transport);
    Py_VISIT(self->source_traceback);
    return 0;
}

static void reader_dealloc(PyObject *self)
{
    if (!async__py_stream_dies(self)) return;
    reader_clear((reader *)self);
    async__py_stream_free(self);
}

static int set_limit(reader *self, PyObject *limit, void *Py_UNUSED(closure))
{
    Py_ssize_t number = limit ? PyNumber_AsSsize_t(limit, NULL) : 0;

    if (number == -1 && PyErr_Occurred()) return -1;
    if (number <= 0) {
        PyErr_SetString(PyExc_ValueError, "Limit cannot be <= 0");
        return -1;
    }
    self->limit = number;
    return 0;
}

static PyObject *get_limit(reader *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSsize_t(self->limit);
}

static int reader_init(reader *self, PyObject *args, PyObject *named)
{
    static char *names[] = {"limit", "loop", NULL};
    PyObject *limit = NULL, *loop = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, named, "|OO:StreamReader", names, &limit, &loop))
        return -1;
    self->limit = DEFAULT_LIMIT;
    if (limit && set_limit(self, limit, NULL) < 0) return -1;
    Py_XSETREF(self->loop, async__py_stream_loop(loop));
    if (!self->loop) return -1;
    int debug = async__py_ask_bool(self->loop, name_get_debug);
    PyFrameObject *frame = PyEval_GetFrame();
    if (debug <= 0 || !frame) return debug < 0 ? -1 : 0;
    Py_XSETREF(self->source_traceback, PyObject_CallOneArg(extract_stack, (PyObject *)frame));
    return self->source_traceback ? 0 : -1;
}

static PyObject *get_buffer(reader *self, void *Py_UNUSED(closure))
{
    return async__py_buffer_export(&self->buffer);
}

static int set_buffer(reader *self, PyObject *value, void *Py_UNUSED(closure))
{
    PyObject *bytes = !value                          ? PyByteArray_FromStringAndSize(NULL, 0)
                      : PyByteArray_CheckExact(value) ? Py_NewRef(value)
                                                      : PyByteArray_FromObject(value);
    if (!bytes) return -1;
    async__py_buffer_clear(&self->buffer);
    self->buffer.exported = bytes;
    return 0;
}

/* Appends to the repr, and takes the text. */
static int say(PyObject *info, PyObject *text)
{
    int status = text ? PyList_Append(info, text) : -1;

    Py_XDECREF(text);
    return status;
}

static int say_object(PyObject *info, const char *name, PyObject *value)
{
    int truth = value ? PyObject_IsTrue(value) : 0;

    return truth <= 0 ? truth : say(info, PyUnicode_FromFormat("%s=%R", name, value));
}

static int say_all(reader *self, PyObject *info)
{
    Py_ssize_t length = async__py_reader_available(self);

    if (length && say(info, PyUnicode_FromFormat("%zd bytes", length)) < 0) return -1;
    if (self->eof && say(info, PyUnicode_FromString("eof")) < 0) return -1;
    if (self->limit != DEFAULT_LIMIT &&
        say(info, PyUnicode_FromFormat("limit=%zd", self->limit)) < 0)
        return -1;
    if (say_object(info, "waiter", self->waiter) < 0) return -1;
    if (say_object(info, "exception", self->exception) < 0) return -1;
    if (say_object(info, "transport", self->transport) < 0) return -1;
    return self->paused ? say(info, PyUnicode_FromString("paused")) : 0;
}

static PyObject *reader_repr(reader *self)
{
    PyObject *info = PyList_New(0), *space = PyUnicode_FromString(" "), *text = NULL;

    if (info && space && say(info, PyUnicode_FromString("<StreamReader")) == 0 &&
        say_all(self, info) == 0) {
        PyObject *joined = PyUnicode_Join(space, info);
        if (joined) text = PyUnicode_FromFormat("%U>", joined);
        Py_XDECREF(joined);
    }
    Py_XDECREF(info);
    Py_XDECREF(space);
    return text;
}

#define COROUTINE_METHOD(function) (PyCFunction)(void (*)(void)) function

/* For loop.start_tls(): what was received belongs to TLS. */
static PyObject *take_all(reader *self, PyObject *Py_UNUSED(ignored))
{
    return async__py_buffer_take(&self->buffer, PY_SSIZE_T_MAX);
}

static PyMethodDef methods[] = {
    {"_take_all", (PyCFunction)take_all, METH_NOARGS, NULL},
    {"feed_data", (PyCFunction)feed_data, METH_O, NULL},
    {"feed_eof", (PyCFunction)feed_eof, METH_NOARGS, NULL},
    {"at_eof", (PyCFunction)at_eof, METH_NOARGS,
     "Return True if the buffer is empty and 'feed_eof' was called."},
    {"exception", (PyCFunction)get_exception, METH_NOARGS, NULL},
    {"set_exception", (PyCFunction)set_exception, METH_O, NULL},
    {"set_transport", (PyCFunction)set_transport, METH_O, NULL},
    {"_wakeup_waiter", (PyCFunction)wakeup_waiter, METH_NOARGS, NULL},
    {"_maybe_resume_transport", (PyCFunction)maybe_resume_transport, METH_NOARGS, NULL},
    {"_wait_for_data", async__py_reader_wait_for_data, METH_O, NULL},
    {"read", COROUTINE_METHOD(async__py_reader_read), METH_FASTCALL | METH_KEYWORDS,
     "Read up to `n` bytes, at least one; without `n`, or if it is negative, all until EOF. Empty "
     "bytes "
     "mean EOF."},
    {"readexactly", COROUTINE_METHOD(async__py_reader_readexactly), METH_FASTCALL | METH_KEYWORDS,
     "Read exactly `n` bytes; IncompleteReadError if the stream ends before."},
    {"readuntil", COROUTINE_METHOD(async__py_reader_readuntil), METH_FASTCALL | METH_KEYWORDS,
     "Read up to and including the separator, or the one of a tuple of separators that ends "
     "first.\n\n"
     "IncompleteReadError if the stream ends before, LimitOverrunError if the limit is exceeded "
     "(the "
     "data stays in the buffer)."},
    {"readline", async__py_reader_readline, METH_NOARGS,
     "Read up to and including a newline, or what there is until EOF; ValueError if the limit is "
     "exceeded."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    ASYNC__PY_OBJECT("_loop", reader, loop),
    ASYNC__PY_OBJECT("_waiter", reader, waiter),
    ASYNC__PY_OBJECT("_exception", reader, exception),
    ASYNC__PY_OBJECT("_transport", reader, transport),
    ASYNC__PY_OBJECT("_source_traceback", reader, source_traceback),
    {"_buffer", (getter)get_buffer, (setter)set_buffer, NULL, NULL},
    {"_limit", (getter)get_limit, (setter)set_limit, NULL, NULL},
    ASYNC__PY_FLAG("_eof", reader, eof),
    ASYNC__PY_FLAG("_paused", reader, paused),
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "The reading side of a stream: asyncio.StreamReader in C."},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_init, reader_init},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_repr, reader_repr},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, async__py_reader_next},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "casyncio.StreamReader",
    .basicsize = sizeof(reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = slots,
};

int async__py_add_stream_reader(PyObject *module)
{
    static const struct async__py_name names[] = {{&name_get_debug, "get_debug"},
                                                  {&name_pause_reading, "pause_reading"},
                                                  {&name_resume_reading, "resume_reading"},
                                                  {0}};

    if (async__py_intern(names) < 0 || async__py_reader_prepare() < 0) return -1;
    extract_stack = async__py_import("asyncio.format_helpers", "extract_stack");
    if (!extract_stack) return -1;
    async__py_reader_type = async__py_add_stream_type(module, &spec, NULL);
    return async__py_reader_type ? 0 : -1;
}
