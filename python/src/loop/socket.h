/* socket.h - Python's sockets and their addresses, as far as the system calls are made here. */
#ifndef CASYNCIO_PYTHON_SOCKET_H
#define CASYNCIO_PYTHON_SOCKET_H

#include "../base/face.h"

#include <sys/socket.h>

/* ---- sockets (socket.c) ---- */

/* A socket.socket, of no other class, whose methods are what they always were: what they do can be
 * done by the system call itself. */
bool async__py_is_plain_socket(PyObject *sock);

/* ---- addresses of sockets (address.c) ---- */

/* Families whose addresses are made here: AF_INET, AF_INET6, AF_UNIX. */
bool async__py_address_known(int family);

/* The address as the socket module would give it: None when there is none. */
PyObject *async__py_address_new(const struct sockaddr_storage *address, socklen_t length);

/* The other direction, for an address that needs no resolver: its length, or 0 (no exception is
 * set): let the socket do it. */
socklen_t async__py_address_parse(int family, PyObject *address, struct sockaddr_storage *result);

int async__py_add_socket(PyObject *module);

#endif
