/* stream_read.c - the coroutines of StreamReader: read, readexactly, readuntil, readline, async
 * for.
 *
 * They behave as those of Python 3.13 do (readuntil() takes a tuple of separators, on all
 * versions). A read whose data is there is one step of a C coroutine; only one that has to wait
 * makes a future.
 *
 * What a class derived from StreamReader overrides is respected: readline() is readuntil() with
 * another error, and read(-1) a loop of read(), so for a reader that is not plain (see stream.h)
 * these are asyncio's own functions, which call the others by name. */
#include "stream.h"

typedef struct async__py_coroutine coroutine;
typedef enum async__py_outcome outcome;
typedef struct async__py_reader reader;

static PyObject *IncompleteReadError, *LimitOverrunError;
static PyObject *stock_read, *stock_readline, *stock_next; /* asyncio's own */
static PyObject *empty;
static PyObject *name_create_future, *name_join;

static reader *reader_of(coroutine *c) { return (reader *)c->owner; }

/* ---- waiting ---- */

static outcome wait_for_data(coroutine *c, const char *function)
{
    reader *self = reader_of(c);

    if (self->waiter) {
        /* It could not be said which of the two gets the data. */
        PyErr_Format(PyExc_RuntimeError,
                     "%s() called while another coroutine is already waiting for incoming data",
                     function);
        return ASYNC__PY_FAILED;
    }
    if (self->eof) {
        PyErr_SetString(PyExc_AssertionError, "_wait_for_data after EOF");
        return ASYNC__PY_FAILED;
    }
    /* readexactly(n) with n beyond the limit would wait for ever while the transport is paused. */
    if (self->paused && async__py_reader_resume(self) < 0) return ASYNC__PY_FAILED;
    c->waiter = async__py_ask(self->loop, name_create_future);
    if (!c->waiter) return ASYNC__PY_FAILED;
    outcome what = async__py_await(c, Py_NewRef(c->waiter));
    if (what == ASYNC__PY_WAITS) Py_XSETREF(self->waiter, Py_NewRef(c->waiter));
    return what;
}

/* The wait is over, one way or another. By now another read may have begun to wait. */
static void woken(coroutine *c)
{
    if (reader_of(c)->waiter == c->waiter) Py_CLEAR(reader_of(c)->waiter);
    Py_CLEAR(c->waiter);
}

static outcome wait_begin(coroutine *c, PyObject **Py_UNUSED(result))
{
    const char *function = PyUnicode_AsUTF8(c->argument);

    return function ? wait_for_data(c, function) : ASYNC__PY_FAILED;
}

static outcome wait_resume(coroutine *c, PyObject *value, PyObject **result)
{
    woken(c);
    *result = Py_XNewRef(value);
    return value ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind wait_kind = {
    .qualname = "StreamReader._wait_for_data", .begin = wait_begin, .resume = wait_resume};

PyObject *async__py_reader_wait_for_data(PyObject *self, PyObject *function)
{
    return async__py_coroutine(&wait_kind, self, function);
}

/* ---- read ---- */

/* Takes up to `count` bytes for the result. */
static outcome give(reader *self, Py_ssize_t count, PyObject **result)
{
    *result = async__py_buffer_take(&self->buffer, count);
    if (*result && async__py_reader_maybe_resume(self) < 0) Py_CLEAR(*result);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static outcome give_nothing(PyObject **result)
{
    *result = Py_NewRef(empty);
    return ASYNC__PY_DONE;
}

static outcome read_begin(coroutine *c, PyObject **result)
{
    reader *self = reader_of(c);

    if (self->exception) return async__py_stored_error(self->exception);
    if (c->number == 0) return give_nothing(result);
    if (!self->eof && async__py_reader_available(self) == 0) return wait_for_data(c, "read");
    return give(self, c->number, result);
}

static outcome read_resume(coroutine *c, PyObject *value, PyObject **result)
{
    woken(c);
    return value ? give(reader_of(c), c->number, result) : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind read_kind = {
    .qualname = "StreamReader.read", .begin = read_begin, .resume = read_resume};

/* read(-1) takes what comes as it comes, so that the transport does not stay paused. The blocks are
 * in c->argument. */
static outcome read_all_begin(coroutine *c, PyObject **result)
{
    reader *self = reader_of(c);

    for (;;) {
        if (self->exception) return async__py_stored_error(self->exception);
        if (async__py_reader_available(self) == 0) break;
        PyObject *block;
        if (give(self, PY_SSIZE_T_MAX, &block) != ASYNC__PY_DONE) return ASYNC__PY_FAILED;
        int status = PyList_Append(c->argument, block);
        Py_DECREF(block);
        if (status < 0) return ASYNC__PY_FAILED;
    }
    if (!self->eof) return wait_for_data(c, "read");
    if (async__py_reader_maybe_resume(self) < 0) return ASYNC__PY_FAILED;
    if (PyList_GET_SIZE(c->argument) == 1)
        *result = Py_NewRef(PyList_GET_ITEM(c->argument, 0));
    else
        *result = PyObject_CallMethodOneArg(empty, name_join, c->argument);
    return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
}

static outcome read_all_resume(coroutine *c, PyObject *value, PyObject **result)
{
    woken(c);
    return value ? read_all_begin(c, result) : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind read_all_kind = {
    .qualname = "StreamReader.read", .begin = read_all_begin, .resume = read_all_resume};

static PyObject *numbered(const struct async__py_coroutine_kind *kind, PyObject *self,
                          PyObject *argument, Py_ssize_t number)
{
    PyObject *c = async__py_coroutine(kind, self, argument);

    if (c) ((coroutine *)c)->number = number;
    return c;
}

PyObject *async__py_reader_read(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *names)
{
    static const struct async__py_parameter parameter = {"read", "n", false};
    PyObject *argument = NULL;
    Py_ssize_t n = -1;

    if (async__py_argument(&parameter, args, count, names, &argument) < 0) return NULL;
    if (argument) {
        n = PyNumber_AsSsize_t(argument, NULL);
        if (n == -1 && PyErr_Occurred()) return NULL;
    }
    if (n >= 0) return numbered(&read_kind, self, NULL, n);
    if (!async__py_reader_plain(self)) return PyObject_CallOneArg(stock_read, self);
    PyObject *blocks = PyList_New(0);
    if (!blocks) return NULL;
    PyObject *c = async__py_coroutine(&read_all_kind, self, blocks);
    Py_DECREF(blocks);
    return c;
}

/* ---- readexactly ---- */

/* The stream has ended too early; `expected` (its reference is taken) may be unknown: NULL. */
static outcome incomplete(reader *self, PyObject *expected)
{
    PyObject *partial = async__py_buffer_take(&self->buffer, PY_SSIZE_T_MAX), *error = NULL;

    if (partial)
        error = PyObject_CallFunctionObjArgs(IncompleteReadError, partial,
                                             expected ? expected : Py_None, NULL);
    if (error) PyErr_SetObject(IncompleteReadError, error);
    Py_XDECREF(error);
    Py_XDECREF(partial);
    Py_XDECREF(expected);
    return ASYNC__PY_FAILED;
}

static outcome exactly_step(coroutine *c, PyObject **result)
{
    reader *self = reader_of(c);

    if (async__py_reader_available(self) >= c->number) return give(self, c->number, result);
    if (!self->eof) return wait_for_data(c, "readexactly");
    PyObject *expected = PyLong_FromSsize_t(c->number);
    return expected ? incomplete(self, expected) : ASYNC__PY_FAILED;
}

static outcome exactly_begin(coroutine *c, PyObject **result)
{
    if (c->number < 0) {
        PyErr_SetString(PyExc_ValueError, "readexactly size can not be less than zero");
        return ASYNC__PY_FAILED;
    }
    if (reader_of(c)->exception) return async__py_stored_error(reader_of(c)->exception);
    if (c->number == 0) return give_nothing(result);
    return exactly_step(c, result);
}

static outcome exactly_resume(coroutine *c, PyObject *value, PyObject **result)
{
    woken(c);
    return value ? exactly_step(c, result) : ASYNC__PY_FAILED;
}

static const struct async__py_coroutine_kind exactly_kind = {
    .qualname = "StreamReader.readexactly", .begin = exactly_begin, .resume = exactly_resume};

PyObject *async__py_reader_readexactly(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                       PyObject *names)
{
    static const struct async__py_parameter parameter = {"readexactly", "n", true};
    PyObject *argument = NULL;

    if (async__py_argument(&parameter, args, count, names, &argument) < 0) return NULL;
    Py_ssize_t n = PyNumber_AsSsize_t(argument, NULL);
    if (n == -1 && PyErr_Occurred()) return NULL;
    return numbered(&exactly_kind, self, NULL, n);
}

/* ---- readuntil, readline, and the iteration over lines ---- */

/* A search for separators: where the match is that ends first (of those that end together the
 * shortest), and the length of the longest separator. `end` is 0 without a match. */
struct search {
    const reader *reader;
    Py_ssize_t offset, start, end, longest;
};

static const char *find(const char *data, Py_ssize_t length, const char *text, Py_ssize_t size)
{
    if (size == 1) return memchr(data, *text, (size_t)length);
    return memmem(data, (size_t)length, text, (size_t)size);
}

static int search_bytes(struct search *search, const char *separator, Py_ssize_t size)
{
    Py_ssize_t length;
    const char *data = async__py_buffer_view(&search->reader->buffer, &length), *found = NULL;

    if (size == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should be at least one-byte string");
        return -1;
    }
    if (size > search->longest) search->longest = size;
    if (length - search->offset >= size)
        found = find(data + search->offset, length - search->offset, separator, size);
    if (!found) return 0;
    Py_ssize_t start = found - data, end = start + size;
    if (!search->end || end < search->end || (end == search->end && start > search->start)) {
        search->start = start;
        search->end = end;
    }
    return 0;
}

static int search_object(struct search *search, PyObject *separator)
{
    Py_buffer view;

    if (PyBytes_CheckExact(separator))
        return search_bytes(search, PyBytes_AS_STRING(separator), PyBytes_GET_SIZE(separator));
    if (PyObject_GetBuffer(separator, &view, PyBUF_SIMPLE) < 0) return -1;
    int status = search_bytes(search, view.buf, view.len);
    PyBuffer_Release(&view);
    return status;
}

static int search_any(struct search *search, PyObject *separator)
{
    if (!separator) return search_bytes(search, "\n", 1);
    if (!PyTuple_Check(separator)) return search_object(search, separator);
    if (PyTuple_GET_SIZE(separator) == 0) {
        PyErr_SetString(PyExc_ValueError, "Separator should contain at least one element");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(separator); i++) {
        if (search_object(search, PyTuple_GET_ITEM(separator, i)) < 0) return -1;
    }
    return 0;
}

static const struct async__py_coroutine_kind until_kind;

/* More than the limit. readuntil() leaves all in the buffer and says how much, readline() throws
 * away the line, or what there is of it. */
static outcome overrun(coroutine *c, const char *message, const struct search *search)
{
    reader *self = reader_of(c);
    Py_ssize_t consumed = search->end ? search->start : search->offset;

    if (c->kind == &until_kind) {
        PyObject *error = PyObject_CallFunction(LimitOverrunError, "sn", message, consumed);
        if (error) PyErr_SetObject(LimitOverrunError, error);
        Py_XDECREF(error);
        return ASYNC__PY_FAILED;
    }
    if (async__py_buffer_drop(&self->buffer, search->end ? search->end : PY_SSIZE_T_MAX) == 0 &&
        async__py_reader_maybe_resume(self) == 0)
        PyErr_SetString(PyExc_ValueError, message);
    return ASYNC__PY_FAILED;
}

/* c->argument: the separator, NULL for a newline; c->number: so far no separator begins in front of
 * it; c->phase: it has waited. */
static outcome until_begin(coroutine *c, PyObject **result)
{
    reader *self = reader_of(c);
    struct search search = {.reader = self, .offset = c->number};

    if (search_any(&search, c->argument) < 0) return ASYNC__PY_FAILED;
    if (c->phase == 0 && self->exception) return async__py_stored_error(self->exception);
    if (search.end) {
        if (search.start > self->limit)
            return overrun(c, "Separator is found, but chunk is longer than limit", &search);
        return give(self, search.end, result);
    }
    /* The end of the data may be the beginning of a separator. */
    Py_ssize_t searched = async__py_reader_available(self) + 1 - search.longest;
    if (searched > search.offset) search.offset = searched;
    if (search.offset > self->limit)
        return overrun(c, "Separator is not found, and chunk exceed the limit", &search);
    if (self->eof) {
        if (c->kind == &until_kind) return incomplete(self, NULL);
        *result = async__py_buffer_take(&self->buffer, PY_SSIZE_T_MAX);
        return *result ? ASYNC__PY_DONE : ASYNC__PY_FAILED;
    }
    c->number = search.offset;
    c->phase = 1;
    return wait_for_data(c, "readuntil");
}

static outcome until_resume(coroutine *c, PyObject *value, PyObject **result)
{
    woken(c);
    return value ? until_begin(c, result) : ASYNC__PY_FAILED;
}

/* An empty line is the end of the iteration. */
static outcome as_next(outcome line, PyObject **result)
{
    if (line != ASYNC__PY_DONE || PyBytes_GET_SIZE(*result) > 0) return line;
    Py_CLEAR(*result);
    PyErr_SetNone(PyExc_StopAsyncIteration);
    return ASYNC__PY_FAILED;
}

static outcome next_begin(coroutine *c, PyObject **result)
{
    return as_next(until_begin(c, result), result);
}

static outcome next_resume(coroutine *c, PyObject *value, PyObject **result)
{
    return as_next(until_resume(c, value, result), result);
}

static const struct async__py_coroutine_kind until_kind = {
    .qualname = "StreamReader.readuntil", .begin = until_begin, .resume = until_resume};
static const struct async__py_coroutine_kind line_kind = {
    .qualname = "StreamReader.readline", .begin = until_begin, .resume = until_resume};
static const struct async__py_coroutine_kind next_kind = {
    .qualname = "StreamReader.__anext__", .begin = next_begin, .resume = next_resume};

PyObject *async__py_reader_readuntil(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                     PyObject *names)
{
    static const struct async__py_parameter parameter = {"readuntil", "separator", false};
    PyObject *separator = NULL;

    if (async__py_argument(&parameter, args, count, names, &separator) < 0) return NULL;
    return numbered(&until_kind, self, separator, 0);
}

PyObject *async__py_reader_readline(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    if (!async__py_reader_plain(self)) return PyObject_CallOneArg(stock_readline, self);
    return numbered(&line_kind, self, NULL, 0);
}

PyObject *async__py_reader_next(PyObject *self)
{
    if (!async__py_reader_plain(self)) return PyObject_CallOneArg(stock_next, self);
    return numbered(&next_kind, self, NULL, 0);
}

int async__py_reader_prepare(void)
{
    static const struct async__py_name names[] = {
        {&name_create_future, "create_future"}, {&name_join, "join"}, {0}};
    struct {
        PyObject **where;
        const char *name;
    } stock[] = {{&stock_read, "read"}, {&stock_readline, "readline"}, {&stock_next, "__anext__"}};

    if (async__py_intern(names) < 0) return -1;
    PyObject *type = async__py_import("asyncio.streams", "StreamReader");
    if (!type) return -1;
    for (size_t i = 0; i < sizeof stock / sizeof *stock; i++)
        *stock[i].where = PyObject_GetAttrString(type, stock[i].name);
    Py_DECREF(type);
    if (!stock_read || !stock_readline || !stock_next) return -1;
    empty = PyBytes_FromStringAndSize(NULL, 0);
    IncompleteReadError = async__py_import("asyncio.exceptions", "IncompleteReadError");
    LimitOverrunError = async__py_import("asyncio.exceptions", "LimitOverrunError");
    return empty && IncompleteReadError && LimitOverrunError ? 0 : -1;
}
