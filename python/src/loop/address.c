/* address.c - addresses of sockets as Python has them, made and read without a socket object.
 *
 * What comes out is what the socket module gives: a tuple of host and port, of four for IPv6; a
 * path, or bytes for a name of Linux's abstract namespace; None for a peer that has no address.
 * The other direction knows numbers only, which is what answers are sent to. Everything else
 * (names, scopes, paths, what is wrong) is left to the socket's own method, which knows it all
 * and says it in its own words. */
#include "socket.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <sys/un.h>

bool async__py_address_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* inet_ntop goes through sprintf, which takes longer than all the rest of it. */
static PyObject *host_of(uint32_t address)
{
    char text[16], *end = text;

    for (int shift = 24; shift >= 0; shift -= 8) {
        unsigned part = address >> shift & 255;
        if (part >= 100) *end++ = (char)('0' + part / 100);
        if (part >= 10) *end++ = (char)('0' + part / 10 % 10);
        *end++ = (char)('0' + part % 10);
        *end++ = '.';
    }
    return PyUnicode_FromKindAndData(PyUnicode_1BYTE_KIND, text, end - text - 1);
}

/* Takes the references; NULL if one is NULL. */
static PyObject *tuple_of(PyObject *const *items, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);
    bool whole = tuple != NULL;

    for (Py_ssize_t i = 0; i < count; i++) {
        whole &= items[i] != NULL;
        if (tuple)
            PyTuple_SET_ITEM(tuple, i, items[i]);
        else
            Py_XDECREF(items[i]);
    }
    if (!whole) Py_CLEAR(tuple);
    return tuple;
}

static PyObject *inet_new(const struct sockaddr_in *address)
{
    return tuple_of((PyObject *[]){host_of(ntohl(address->sin_addr.s_addr)),
                                   PyLong_FromLong(ntohs(address->sin_port))},
                    2);
}

static PyObject *inet6_new(const struct sockaddr_in6 *address)
{
    char text[INET6_ADDRSTRLEN];

    if (!inet_ntop(AF_INET6, &address->sin6_addr, text, sizeof text))
        return PyErr_SetFromErrno(PyExc_OSError);
    return tuple_of((PyObject *[]){PyUnicode_FromString(text),
                                   PyLong_FromLong(ntohs(address->sin6_port)),
                                   PyLong_FromUnsignedLong(ntohl(address->sin6_flowinfo)),
                                   PyLong_FromUnsignedLong(address->sin6_scope_id)},
                    4);
}

static PyObject *unix_new(const struct sockaddr_un *address, socklen_t length)
{
    size_t size = length - offsetof(struct sockaddr_un, sun_path);

    if (length <= offsetof(struct sockaddr_un, sun_path)) return PyUnicode_FromString("");
    if (address->sun_path[0] == 0)
        return PyBytes_FromStringAndSize(address->sun_path, (Py_ssize_t)size);
    return PyUnicode_DecodeFSDefaultAndSize(address->sun_path,
                                            (Py_ssize_t)strnlen(address->sun_path, size));
}

PyObject *async__py_address_new(const struct sockaddr_storage *address, socklen_t length)
{
    if (length == 0) Py_RETURN_NONE;
    if (address->ss_family == AF_INET) return inet_new((const struct sockaddr_in *)address);
    if (address->ss_family == AF_INET6) return inet6_new((const struct sockaddr_in6 *)address);
    return unix_new((const struct sockaddr_un *)address, length);
}

/* An item of a tuple as a number up to `most`; -1: it is not. */
static long long number_in(PyObject *tuple, Py_ssize_t at, long long most)
{
    int overflow;
    PyObject *item = PyTuple_GET_ITEM(tuple, at);
    if (!PyLong_CheckExact(item)) return -1;
    long long number = PyLong_AsLongLongAndOverflow(item, &overflow);

    return overflow || number < 0 || number > most ? -1 : number;
}

static socklen_t inet_parse(PyObject *tuple, const char *host, struct sockaddr_in *result)
{
    long long port = number_in(tuple, 1, 65535);

    if (port < 0 || PyTuple_GET_SIZE(tuple) != 2) return 0;
    memset(result, 0, sizeof *result);
    result->sin_family = AF_INET;
    result->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &result->sin_addr) == 1 ? sizeof *result : 0;
}

static socklen_t inet6_parse(PyObject *tuple, const char *host, struct sockaddr_in6 *result)
{
    Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    long long port = number_in(tuple, 1, 65535);
    long long flow = size > 2 ? number_in(tuple, 2, 0xfffff) : 0;
    long long scope = size > 3 ? number_in(tuple, 3, UINT32_MAX) : 0;

    if (port < 0 || flow < 0 || scope < 0 || size > 4) return 0;
    memset(result, 0, sizeof *result);
    result->sin6_family = AF_INET6;
    result->sin6_port = htons((uint16_t)port);
    result->sin6_flowinfo = htonl((uint32_t)flow);
    result->sin6_scope_id = (uint32_t)scope;
    return inet_pton(AF_INET6, host, &result->sin6_addr) == 1 ? sizeof *result : 0;
}

socklen_t async__py_address_parse(int family, PyObject *address, struct sockaddr_storage *result)
{
    if (!PyTuple_CheckExact(address) || PyTuple_GET_SIZE(address) < 2) return 0;
    PyObject *text = PyTuple_GET_ITEM(address, 0);
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text)) return 0;
    const char *host = (const char *)PyUnicode_1BYTE_DATA(text);

    if (strlen(host) != (size_t)PyUnicode_GET_LENGTH(text)) return 0;
    if (family == AF_INET) return inet_parse(address, host, (struct sockaddr_in *)result);
    if (family == AF_INET6) return inet6_parse(address, host, (struct sockaddr_in6 *)result);
    return 0;
}
