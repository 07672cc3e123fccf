/* datagrams.h - UDP, and Unix datagrams            asyncio: loop.create_datagram_endpoint
 *
 * An endpoint is one datagram socket: messages go out and come in whole, or not at all. Sizes are
 * bytes; a datagram of 0 bytes is one. One task may receive at a time: a second gets -EBUSY. Those
 * that send queue up while there is no room. If a call is cancelled nothing is lost: a datagram has
 * been given to the caller or is still there, and has been sent or not taken.
 *
 * NULL in place of an endpoint is -EBADF. An endpoint that another task closes while a call on it
 * waits stays good until that call has returned, with -EBADF. To begin a call on one that has been
 * closed is an error like using freed memory. */
#ifndef CASYNCIO_DATAGRAMS_H
#define CASYNCIO_DATAGRAMS_H

#include <casyncio/iterators.h>
#include <casyncio/tasks.h>
#include <sys/socket.h>

ASYNC_BEGIN

typedef struct async_datagram_endpoint async_datagram_endpoint;

/* ---- addresses ---- */

/* A socket address, as recvfrom(2) fills it in. length 0: none (a Unix sender without a name). */
typedef struct async_address {
    struct sockaddr_storage storage;
    socklen_t length;
} async_address;

/* "127.0.0.1:53", "[::1]:53", a path, "@name" for an abstract one, "" for none. What does not fit
 * is cut off. NULL is none. */
ASYNC_API void async_address_text(const async_address *address, char *text, size_t size);

/* Whether both are the same address and port (or path). */
ASYNC_API bool async_address_equal(const async_address *a, const async_address *b);

/* ---- making and closing ---- */

typedef struct async_datagram_options {
    /* Where it is bound, and its only peer. For IP a host (a name or an address) and a port: as a
     * local host "" is every address of the machine (so is NULL, with a port), as a local port 0 is
     * any free one. For AF_UNIX a path, "@name" for an abstract one. Neither host nor port: it is
     * bound by the kernel when it first sends; it has no single peer. */
    struct {
        const char *host;
        int port;
    } local_addr, remote_addr;
    int family;           /* AF_INET, AF_INET6, AF_UNIX; 0: that of the addresses, which are IP */
    bool reuse_port;      /* several sockets on one port: UDP shares datagrams out among them */
    bool allow_broadcast; /* may send to broadcast addresses */
    bool ipv6_only;       /* an IPv6 socket takes no IPv4 */
    bool report_errors;   /* "errors by ICMP" below */
    bool gro;             /* several datagrams of a sender may come as one: async_datagram.segment.
                             async_datagram_recvfrom is -EOPNOTSUPP then */
    int mode;             /* of a Unix socket's file; 0: as umask says */
} async_datagram_options;

/* Makes an endpoint. With a remote_addr it is connected: it sends to that peer, and receives from
 * no other. Of several addresses of a host it takes the first one that can be bound and connected.
 * A Unix endpoint with a remote_addr alone gets a name from the kernel, so that it can be answered;
 * a stale file at a local path is replaced as async_start_unix_server does, and the endpoint's own
 * file is removed by the close. Blocks while names are looked up.
 *
 * NULL: async_error_code: -EINVAL (a port that is none, no address and no family),
 * -EAFNOSUPPORT (no family that both addresses are of), -EADDRINUSE, -EACCES, ASYNC_ENONAME,
 * -ENOENT and -ECONNREFUSED (remote Unix path), ..., the code of a cancellation. The message names
 * the address.
 * asyncio: loop.create_datagram_endpoint */
ASYNC_API async_datagram_endpoint *async__create_datagram_endpoint(
    const async_datagram_options *options, size_t options_size);
static inline async_datagram_endpoint *async_create_datagram_endpoint(
    const async_datagram_options *options)
{
    return async__create_datagram_endpoint(options, sizeof *options);
}

/* Makes an endpoint of a datagram socket, which belongs to it if that works; its flags are left
 * alone. Does not block. NULL: -ENOMEM, -EBADF, -ENOTSOCK, -EPROTOTYPE for another type of socket.
 * asyncio: create_datagram_endpoint(sock=...) */
ASYNC_API async_datagram_endpoint *async_datagram_from_fd(int fd);

/* Closes and frees the endpoint; calls that wait on it give -EBADF, and loops over its datagrams
 * end. What has been sent is the kernel's, and still goes out. Does not block. NULL is fine. 0; an
 * error of removing its Unix socket's file, and then it is closed all the same; -EBADF if it has
 * been closed already, and a call on it is still under way. asyncio: DatagramTransport.close */
ASYNC_API int async_datagram_close(async_datagram_endpoint *endpoint);

/* ---- one datagram at a time ---- */

/* Receives one into `buffer`: its size. *from (may be NULL) is its sender's address. If it is larger
 * than `size` it has been cut off: -EMSGSIZE; `buffer` is full with its beginning, the rest is gone,
 * and the message tells how large it was. -ECONNREFUSED and others: see "errors by ICMP".
 * asyncio: DatagramProtocol.datagram_received, sock_recvfrom_into */
ASYNC_API ssize_t async_datagram_recvfrom(async_datagram_endpoint *endpoint, void *buffer,
                                          size_t size, async_address *from);

/* Sends one: 0. `to` is NULL for the peer of a connected endpoint. Waits if the socket has no room,
 * or, to a Unix socket, if the receiver's queue is full.
 * -EMSGSIZE: it is too large (IPv4: 65,507 bytes at most, IPv6: 65,527; Unix: what the send buffer
 * holds). -EDESTADDRREQ: `to` is missing. -EISCONN: a connected endpoint sends to its peer only.
 * -EAFNOSUPPORT: `to` is of another family than the endpoint. -EACCES: a broadcast address, without
 * allow_broadcast. -EINVAL, -ENETUNREACH, ...; after an error or a cancellation nothing was sent.
 * asyncio: DatagramTransport.sendto, which does not wait; sock_sendto */
ASYNC_API int async_datagram_sendto(async_datagram_endpoint *endpoint, const void *data,
                                    size_t size, const async_address *to);

/* ---- several at once ---- */

typedef struct async_datagram {
    void *data;
    size_t capacity; /* receiving: bytes of room at `data`; the caller's to set */
    size_t size;     /* bytes of the datagram at `data` */
    /* Sending: unless it is 0, `data` is cut into datagrams of that many bytes (the last one may be
     * shorter), by the kernel or the network card where they can (UDP_SEGMENT). Receiving, on an
     * endpoint with `gro`: unless it is 0, `data` holds several datagrams in that way. */
    size_t segment;
    size_t full_size;   /* received: its size as it was sent, more than `size` if it was cut off */
    bool truncated;     /* received: it was cut off */
    int error;          /* received: 0; or a code: see "errors by ICMP" */
    async_address peer; /* received: the sender. Sending: the receiver; length 0: the peer */
    void *reserved[2];
} async_datagram;

/* Waits until there is a datagram and takes those that there are, at most `count` and at most 64:
 * their number. `data` and `capacity` of each are set by the caller, the rest is filled in. One that
 * is cut off is not an error here. -EINVAL for a count of 0. recvmmsg(2) */
ASYNC_API ssize_t async_datagram_recv_many(async_datagram_endpoint *endpoint,
                                           async_datagram *datagrams, size_t count);

/* Sends all of them in order, waiting for room: their number. Fewer, if an error or a cancellation
 * came after some were sent: the next call, for the rest, gives it. A code, if it came before. Of a
 * datagram with a `segment` that is not counted, some segments may have gone out. An error by ICMP for
 * an earlier datagram of the same call may be lost, for sendmmsg(2) drops it when it has sent some; that of
 * the last one is given by the next call. With report_errors none is lost.
 * Reads data, size, segment and peer. sendmmsg(2) */
ASYNC_API ssize_t async_datagram_send_many(async_datagram_endpoint *endpoint,
                                           const async_datagram *datagrams, size_t count);

/* The datagrams as they come, each good until the next. Ends when the endpoint is closed; leaving
 * the loop does not close it. `data` is followed by a 0 byte, and may be written to. A Unix datagram of
 * more than 64 KiB is cut off. NULL: -ENOMEM; for an endpoint that is NULL the last error (why it
 * could not be made), else -EBADF.
 *     async_for (async_datagram *, datagram, async_datagrams(endpoint)) { ... }
 * asyncio: DatagramProtocol */
ASYNC_API async_iterator *async_datagrams(async_datagram_endpoint *endpoint);

/* ---- errors by ICMP ----
 *
 * That a datagram does not arrive is told later, by the peer's machine or a router, if at all.
 *
 * A connected endpoint learns of it: its next call, to receive or to send, gives -ECONNREFUSED (no
 * socket has the port) or another code. What a call that gives it should have sent has not been
 * sent.
 *
 * An endpoint that is not connected does not, unless it is made with `report_errors`. Then such
 * errors, of every datagram that it has sent, are reported to the receiver alone, each with the
 * address that the datagram was sent to: async_datagram_recvfrom gives the code and sets *from;
 * async_datagram_recv_many and async_datagrams give a datagram of size 0 with `error` and `peer`,
 * and go on. On a connected endpoint `report_errors` does the same, and reports errors that may pass
 * too (-EHOSTUNREACH, ...). IP_RECVERR, see ip(7).
 * asyncio: DatagramProtocol.error_received */

/* ---- multicast ----
 *
 * For IPv4 and IPv6. An interface is named ("eth0"); NULL: the kernel's choice. None of these
 * blocks. 0; -EINVAL: no address, no multicast group, a number out of range; -EAFNOSUPPORT: a group
 * of the other family, or a Unix endpoint; -ENODEV: no such interface. To receive, an endpoint is
 * bound to the group's port (with reuse_port, if other programs are, too), at "" or the group. */

/* Joins, leaves a group. -EADDRINUSE: it is a member already; -EADDRNOTAVAIL: it is none. */
ASYNC_API int async_datagram_join(async_datagram_endpoint *endpoint, const char *group,
                                  const char *interface);
ASYNC_API int async_datagram_leave(async_datagram_endpoint *endpoint, const char *group,
                                   const char *interface);

/* Where multicasts go out; how many hops they may make (0 to 255; 1 at first: this network); whether
 * this machine's members of the group get them (they do at first). */
ASYNC_API int async_datagram_set_multicast_interface(async_datagram_endpoint *endpoint,
                                                     const char *interface);
ASYNC_API int async_datagram_set_multicast_ttl(async_datagram_endpoint *endpoint, int hops);
ASYNC_API int async_datagram_set_multicast_loop(async_datagram_endpoint *endpoint, bool loop);

/* ---- the rest ---- */

/* Looks a host (a name or an address) and a port (1 to 65535) up, for an endpoint of this family;
 * for a Unix one the host is a path and the port 0. *address is the first of its addresses; an
 * endpoint of IPv6 that takes IPv4 too gets those as IPv6 has them (::ffff:1.2.3.4). Blocks. 0, or a
 * code: see async_getaddrinfo. asyncio: loop.getaddrinfo */
ASYNC_API int async_datagram_lookup(async_datagram_endpoint *endpoint, const char *host, int port,
                                    async_address *address);

/* The local port; 0 for a Unix endpoint, and before the kernel has bound it. asyncio:
 * get_extra_info('sockname') */
ASYNC_API int async_datagram_port(const async_datagram_endpoint *endpoint);

/* Its own address, and that of its peer (-ENOTCONN: it has none): 0, or a code. */
ASYNC_API int async_datagram_sockname(const async_datagram_endpoint *endpoint,
                                      async_address *address);
ASYNC_API int async_datagram_peername(const async_datagram_endpoint *endpoint,
                                      async_address *address);

/* The descriptor, which stays the endpoint's, for socket options: SO_RCVBUF, IP_TOS, ...
 * asyncio: get_extra_info('socket') */
ASYNC_API int async_datagram_fd(const async_datagram_endpoint *endpoint);

ASYNC_END
#endif
