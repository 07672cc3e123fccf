/* sockets.h - calls on raw descriptors            asyncio: Working with socket objects directly
 *
 * They behave as the system calls of their names, but block the task, not the thread. The
 * descriptor should be non-blocking (async_socket and async_accept make such ones); with one that
 * is not, the calls wait until it is ready before they make the system call. One task a direction
 * may wait on a descriptor: a second gets -EBUSY. On return, also with the code of a cancellation,
 * the buffer is the caller's again, and the system call has had its whole effect or none (of
 * async_sendall and async_connect see below).
 *
 * Sizes are bytes, of any size_t: the kernel moves at most 2 GiB - 4 KiB in one call. A negative
 * result is a code, and async_error_message names the call and the descriptor or the address. */
#ifndef CASYNCIO_SOCKETS_H
#define CASYNCIO_SOCKETS_H

#include <casyncio/tasks.h>
#include <sys/socket.h>

ASYNC_BEGIN

/* Wait until a read (a write) would not block: 0. At the end of a stream, and after an error,
 * neither would. asyncio: add_reader, add_writer with a future */
ASYNC_API int async_wait_readable(int fd);
ASYNC_API int async_wait_writable(int fd);

/* socket(2), non-blocking and close-on-exec: the descriptor. Does not block. */
ASYNC_API int async_socket(int domain, int type, int protocol);

/* recv(2): the number of bytes, 0 at the end of the stream. A size of 0 on a stream socket is 0 at
 * once. asyncio: sock_recv_into */
ASYNC_API ssize_t async_recv(int fd, void *buffer, size_t size, int flags);

/* send(2): takes some of the data, as much as there is room for, and gives its size. Never raises
 * SIGPIPE. */
ASYNC_API ssize_t async_send(int fd, const void *data, size_t size, int flags);

/* Sends all of it: 0. If it fails or is cancelled half-way, *sent (may be NULL) says how much went
 * out. asyncio: sock_sendall */
ASYNC_API int async_sendall(int fd, const void *data, size_t size, size_t *sent);

/* recvfrom(2), sendto(2). asyncio: sock_recvfrom_into, sock_sendto */
ASYNC_API ssize_t async_recvfrom(int fd, void *buffer, size_t size, int flags,
                                 struct sockaddr *address, socklen_t *length);
ASYNC_API ssize_t async_sendto(int fd, const void *data, size_t size, int flags,
                               const struct sockaddr *address, socklen_t length);

/* accept4(2): the new descriptor, non-blocking and close-on-exec. `address` and `length` may be
 * NULL. If it is cancelled, no connection is lost. asyncio: sock_accept */
ASYNC_API int async_accept(int fd, struct sockaddr *address, socklen_t *length);

/* connect(2): 0 once the connection stands. If it fails or is cancelled the descriptor is of no
 * more use: close it. asyncio: sock_connect */
ASYNC_API int async_connect(int fd, const struct sockaddr *address, socklen_t length);

/* read(2), write(2), for pipes, ttys, eventfds, sockets. Never raise SIGPIPE: a pipe without a
 * reader is -EPIPE. A regular file has no readiness, and holds up the loop's thread until the disk
 * has answered: see files.h for calls that do not. */
ASYNC_API ssize_t async_read(int fd, void *buffer, size_t size);
ASYNC_API ssize_t async_write(int fd, const void *data, size_t size);

/* Closes a descriptor that the loop may know; calls on it that are under way give -EBADF. Does not
 * block. */
ASYNC_API int async_close(int fd);

/* getaddrinfo(3), in a thread; *list is the caller's, to be freed by freeaddrinfo. A host and a
 * service in numbers need no thread. `hints` may be NULL, and so may one of `host` and `service`.
 * 0, and else *list is NULL: ASYNC_ENONAME (no such name), ASYNC_ETRYNAME, ASYNC_ENAME,
 * -ENAMETOOLONG, -EINVAL (flags or service), -EAFNOSUPPORT, -ENOMEM, -EAGAIN (no thread), with a
 * message that names the host. A cancellation ends the call at once; the look-up goes on in its
 * thread, and its result is dropped. asyncio: loop.getaddrinfo */
struct addrinfo;
ASYNC_API int async_getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                                struct addrinfo **list);

/* getnameinfo(3), in a thread: the names of an address and of its port. With NI_NUMERICHOST and
 * NI_NUMERICSERV both it needs no thread, and does not wait. A text that is not wanted has a buffer of
 * NULL or a size of 0; NI_MAXHOST and NI_MAXSERV bytes are always enough. 0; -ENOSPC for a buffer that
 * is too small; ASYNC_ENONAME (with NI_NAMEREQD), ASYNC_ETRYNAME, ASYNC_ENAME, -EAFNOSUPPORT (family or
 * length), -EINVAL (flags), -EBADF for an address of NULL, -ENOMEM, -EAGAIN (no thread). A cancellation
 * ends the call at once; the look-up goes on in its thread, and its result is dropped.
 * asyncio: loop.getnameinfo */
ASYNC_API int async_getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                                size_t host_size, char *service, size_t service_size, int flags);

ASYNC_END
#endif
