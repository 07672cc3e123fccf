/* stream_buffer.c - the bytes between a transport and its reader.
 *
 * The storage is a bytes object. What a transport delivers into an empty buffer becomes the storage
 * as it is, and what a reader takes as a whole leaves as it is: then nothing is copied. Only what
 * arrives while something is left is appended, in an object of our own that doubles as it grows.
 * Taking moves `start`, so nothing is moved for each line either. A buffer that becomes empty has
 * no storage.
 *
 * Some programs and tests use reader._buffer, which is a bytearray in asyncio. Whoever asks for it
 * gets one that is the storage from then on, so that what they do to it counts. */
#include "stream.h"

#include <string.h>

const char *async__py_buffer_view(const async__py_buffer *buffer, Py_ssize_t *length)
{
    if (buffer->exported) {
        *length = PyByteArray_GET_SIZE(buffer->exported);
        return PyByteArray_AS_STRING(buffer->exported);
    }
    *length = buffer->end - buffer->start;
    return buffer->bytes ? PyBytes_AS_STRING(buffer->bytes) + buffer->start : "";
}

/* Without what has been exported. */
static void clear(async__py_buffer *buffer)
{
    Py_CLEAR(buffer->bytes);
    buffer->start = buffer->end = 0;
    buffer->ours = false;
}

void async__py_buffer_clear(async__py_buffer *buffer)
{
    clear(buffer);
    Py_CLEAR(buffer->exported);
}

/* ---- putting in ---- */

static int append_exported(PyObject *exported, const char *data, Py_ssize_t length)
{
    Py_ssize_t old = PyByteArray_GET_SIZE(exported);

    if (length > PY_SSIZE_T_MAX - old) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyByteArray_Resize(exported, old + length) < 0) return -1;
    memcpy(PyByteArray_AS_STRING(exported) + old, data, (size_t)length);
    return 0;
}

/* Makes room for `length` more behind `end`. */
static int reserve(async__py_buffer *buffer, Py_ssize_t length)
{
    Py_ssize_t live = buffer->end - buffer->start, capacity = PyBytes_GET_SIZE(buffer->bytes);

    if (buffer->ours && length <= capacity - buffer->end) return 0;
    if (length > PY_SSIZE_T_MAX / 2 - live) {
        PyErr_NoMemory();
        return -1;
    }
    /* Moving to the front pays only if at least as much is free there as has to be moved. */
    if (buffer->ours && live + length <= capacity && buffer->start >= live) {
        char *data = PyBytes_AS_STRING(buffer->bytes);
        memmove(data, data + buffer->start, (size_t)live);
    } else {
        PyObject *bytes = PyBytes_FromStringAndSize(NULL, 2 * (live + length));
        if (!bytes) return -1;
        memcpy(PyBytes_AS_STRING(bytes), PyBytes_AS_STRING(buffer->bytes) + buffer->start,
               (size_t)live);
        Py_SETREF(buffer->bytes, bytes);
        buffer->ours = true;
    }
    buffer->start = 0;
    buffer->end = live;
    return 0;
}

int async__py_buffer_append(async__py_buffer *buffer, const char *data, Py_ssize_t length)
{
    if (buffer->exported) return append_exported(buffer->exported, data, length);
    if (!buffer->bytes) {
        buffer->bytes = PyBytes_FromStringAndSize(data, length);
        if (!buffer->bytes) return -1;
        buffer->end = length;
        buffer->ours = length > 1; /* the interpreter shares those of one byte */
        return 0;
    }
    if (reserve(buffer, length) < 0) return -1;
    memcpy(PyBytes_AS_STRING(buffer->bytes) + buffer->end, data, (size_t)length);
    buffer->end += length;
    return 0;
}

int async__py_buffer_append_object(async__py_buffer *buffer, PyObject *data)
{
    Py_buffer view;

    if (PyBytes_CheckExact(data)) {
        if (buffer->bytes || buffer->exported)
            return async__py_buffer_append(buffer, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data));
        buffer->bytes = Py_NewRef(data);
        buffer->end = PyBytes_GET_SIZE(data);
        return 0;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return -1;
    int status = async__py_buffer_append(buffer, view.buf, view.len);
    PyBuffer_Release(&view);
    return status;
}

/* ---- taking out ---- */

int async__py_buffer_drop(async__py_buffer *buffer, Py_ssize_t count)
{
    if (buffer->exported) {
        Py_ssize_t length = PyByteArray_GET_SIZE(buffer->exported);
        return PySequence_DelSlice(buffer->exported, 0, count < length ? count : length);
    }
    if (count >= buffer->end - buffer->start)
        clear(buffer);
    else
        buffer->start += count;
    return 0;
}

/* All of it, which begins where the storage begins: the storage, cut to length. */
static PyObject *take_storage(async__py_buffer *buffer)
{
    PyObject *bytes = buffer->bytes;
    Py_ssize_t length = buffer->end;

    buffer->bytes = NULL;
    clear(buffer);
    if (length != PyBytes_GET_SIZE(bytes)) _PyBytes_Resize(&bytes, length);
    return bytes;
}

PyObject *async__py_buffer_take(async__py_buffer *buffer, Py_ssize_t count)
{
    Py_ssize_t length;
    const char *data = async__py_buffer_view(buffer, &length);

    if (count >= length) {
        count = length;
        if (buffer->bytes && buffer->start == 0) return take_storage(buffer);
    }
    PyObject *bytes = PyBytes_FromStringAndSize(data, count);
    if (bytes && async__py_buffer_drop(buffer, count) < 0) Py_CLEAR(bytes);
    return bytes;
}

PyObject *async__py_buffer_export(async__py_buffer *buffer)
{
    if (!buffer->exported) {
        Py_ssize_t length;
        const char *data = async__py_buffer_view(buffer, &length);
        buffer->exported = PyByteArray_FromStringAndSize(data, length);
        if (!buffer->exported) return NULL;
        clear(buffer);
    }
    return Py_NewRef(buffer->exported);
}
