/* stream.h - what the files of the streams have in common.
 *
 * The classes are subclasses of asyncio's: isinstance holds, and what is not written here is
 * inherited. That works because the attributes that asyncio's code uses (_transport, _limit,
 * _buffer and so on) exist here under the same names. */
#ifndef CASYNCIO_PYTHON_STREAM_H
#define CASYNCIO_PYTHON_STREAM_H

#include "../base/coroutine.h"

/* ---- what the classes are made of (stream_base.c) ---- */

typedef struct async__py_stream {
    PyObject object;
    PyObject *dict, *weak_references;
} async__py_stream;

/* Nobody has derived from its class nor put attributes into it: its methods can be called
 * directly. */
static inline bool async__py_stream_plain(PyObject *object, PyTypeObject *type)
{
    return Py_TYPE(object) == type && !((async__py_stream *)object)->dict;
}

/* The beginning of a tp_dealloc: runs the finaliser, and says whether the object really dies; and
 * its end. */
bool async__py_stream_dies(PyObject *self);
void async__py_stream_free(PyObject *self);

/* Adds a class below `parent` (NULL: none of ours) and below asyncio.streams' class of the same
 * name. */
PyTypeObject *async__py_add_stream_type(PyObject *module, PyType_Spec *spec, PyTypeObject *parent);

/* A getter and a setter for an attribute that is an object; the closure is its offset. None is
 * NULL. */
PyObject *async__py_stream_get(PyObject *self, void *offset);
int async__py_stream_set(PyObject *self, PyObject *value, void *offset);
#define ASYNC__PY_OBJECT(name, type, member)                                                       \
    {                                                                                              \
        name, async__py_stream_get, async__py_stream_set, NULL, (void *)offsetof(type, member)     \
    }

/* A method of an object that may be NULL, which is taken for None. */
static inline PyObject *async__py_ask(PyObject *object, PyObject *method)
{
    return PyObject_CallMethodNoArgs(object ? object : Py_None, method);
}

/* The same, of which only the truth of the result matters: 1, 0, or -1 and an exception. */
int async__py_ask_bool(PyObject *object, PyObject *method);

/* The same, of which the result does not matter: 0, or -1 and an exception. */
int async__py_tell(PyObject *object, PyObject *method, PyObject *argument);

/* Ends a future that is not done: with an exception, unless that is NULL. */
int async__py_future_end(PyObject *future, PyObject *exception);

/* Raises what somebody has stored to be raised: an exception, or a class of them. */
enum async__py_outcome async__py_stored_error(PyObject *exception);

/* `loop`, or the current one if it is None or NULL. */
PyObject *async__py_stream_loop(PyObject *loop);

/* ---- the bytes that were received and not read yet (stream_buffer.c) ---- */

typedef struct async__py_buffer {
    PyObject *bytes; /* the storage, from `start` to `end`; NULL: there are none */
    Py_ssize_t start, end;
    bool ours;          /* nobody else has the storage: it may be written to */
    PyObject *exported; /* a bytearray that somebody has asked for: the storage from then on */
} async__py_buffer;

void async__py_buffer_clear(async__py_buffer *buffer);
/* Where they are, and how many. */
const char *async__py_buffer_view(const async__py_buffer *buffer, Py_ssize_t *length);
int async__py_buffer_append(async__py_buffer *buffer, const char *data, Py_ssize_t length);
int async__py_buffer_append_object(async__py_buffer *buffer, PyObject *data);
int async__py_buffer_drop(async__py_buffer *buffer, Py_ssize_t count);
/* The first `count`, or all that there are, as bytes; they are gone from the buffer. */
PyObject *async__py_buffer_take(async__py_buffer *buffer, Py_ssize_t count);
PyObject *async__py_buffer_export(async__py_buffer *buffer);

/* ---- the reader (stream_reader.c) ---- */

typedef struct async__py_reader {
    async__py_stream base;
    PyObject *loop, *waiter, *exception, *transport, *source_traceback;
    async__py_buffer buffer;
    Py_ssize_t limit;
    char eof, paused;
} async__py_reader;

extern PyTypeObject *async__py_reader_type;

static inline bool async__py_reader_plain(PyObject *object)
{
    return async__py_stream_plain(object, async__py_reader_type);
}

static inline Py_ssize_t async__py_reader_available(const async__py_reader *reader)
{
    Py_ssize_t length;

    async__py_buffer_view(&reader->buffer, &length);
    return length;
}

int async__py_reader_feed(async__py_reader *reader, const char *data, Py_ssize_t length);
int async__py_reader_feed_object(async__py_reader *reader, PyObject *data);

/* Tells the transport to go on; and does so if it is paused and enough has been read. */
int async__py_reader_resume(async__py_reader *reader);
int async__py_reader_maybe_resume(async__py_reader *reader);

/* The methods that are coroutines (stream_read.c). */
PyObject *async__py_reader_read(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                PyObject *names);
PyObject *async__py_reader_readexactly(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                       PyObject *names);
PyObject *async__py_reader_readuntil(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                     PyObject *names);
PyObject *async__py_reader_readline(PyObject *self, PyObject *ignored);
PyObject *async__py_reader_next(PyObject *self);
PyObject *async__py_reader_wait_for_data(PyObject *self, PyObject *function);

/* Makes ready what they need: 0, or -1 and an exception is set. */
int async__py_reader_prepare(void);

/* ---- flow control (stream_flow.c) ---- */

typedef struct async__py_flow {
    async__py_stream base;
    PyObject *loop;
    PyObject *waiters; /* a list of futures that drain() waits for; NULL: none so far */
    char paused, lost;
} async__py_flow;

extern PyTypeObject *async__py_flow_type;

/* For the type on top of it. */
int async__py_flow_clear(async__py_flow *flow);
int async__py_flow_traverse(async__py_flow *flow, visitproc visit, void *arg);
PyObject *async__py_flow_lost(async__py_flow *flow, PyObject *exception);

/* ---- the protocol (stream_protocol.c) ---- */

/* The object is a StreamReaderProtocol of ours, and its methods have not been replaced: a transport
 * may feed it with the function below, without making a bytes object, instead of data_received(). */
bool async__py_is_stream_protocol(PyObject *protocol);

/* data_received(): 0, or -1 and an exception is set. */
int async__py_stream_feed(PyObject *protocol, const char *data, Py_ssize_t length);

/* drain() need not wait, nor fail: nothing is paused or lost. False: ask
 * protocol._drain_helper(). */
bool async__py_protocol_flows(PyObject *protocol);

/* ---- the writer (stream_writer.c) ---- */

PyObject *async__py_writer_new(PyObject *transport, PyObject *protocol, PyObject *reader,
                               PyObject *loop);

/* ---- parts of the module ---- */

int async__py_add_stream_base(PyObject *module);
int async__py_add_stream_reader(PyObject *module);
int async__py_add_stream_flow(PyObject *module);
int async__py_add_stream_protocol(PyObject *module);
int async__py_add_stream_writer(PyObject *module);

#endif
