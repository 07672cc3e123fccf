/* datagram_errors.c - errors that ICMP brings for datagrams that were sent earlier.
 *
 * With IP_RECVERR the kernel does two things with such an error: it queues the error with the address
 * that the datagram was sent to, and it sets the socket's pending error, which the next call on the
 * socket takes, whichever that is. On a socket with many peers that call may well be a send to
 * another one, which has failed for nothing. So a send that fails is repeated (datagram_send.c), and
 * only receivers look into the queue: whenever a receive gives an error or nothing, since the pending
 * error may have been taken by a send.
 *
 * While entries are left epoll reports EPOLLERR; loop/fd.c has what keeps that from waking the loop
 * for ever. A receiver takes one entry a call, and waits only when there is none. */
#include "datagram.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>

int async__datagram_keep_errors(int fd, int family)
{
    const int on = 1;

    if (family == AF_INET6 &&
        ASYNC__CALL(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on)) < 0)
        return -errno;
    /* For IPv6 too: it may have IPv4 peers. */
    return ASYNC__CALL(setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on)) < 0 ? -errno : 0;
}

/* The code of a queued error that ICMP has brought, or 0. Others are the socket's own: what a send
 * was refused for, which that call has given; and timestamps. */
static int code_of(struct msghdr *message)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        struct sock_extended_err error;
        bool ipv4 = header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR;
        bool ipv6 = header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR;
        if ((!ipv4 && !ipv6) || header->cmsg_len < CMSG_LEN(sizeof error)) continue;
        memcpy(&error, CMSG_DATA(header), sizeof error);
        if (error.ee_origin == SO_EE_ORIGIN_ICMP || error.ee_origin == SO_EE_ORIGIN_ICMP6)
            return error.ee_errno ? -(int)error.ee_errno : 0;
    }
    return 0;
}

/* Takes the next entry: its code, 0 for one that is of no interest, -EAGAIN: there is none. */
static int take_entry(int fd, async_address *address)
{
    char control[512];
    struct msghdr message = {
        .msg_name = &address->storage,
        .msg_namelen = sizeof address->storage,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };

    if (ASYNC__CALL(recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT)) < 0)
        return errno == EINTR ? 0 : -EAGAIN;
    address->length = message.msg_namelen;
    return code_of(&message);
}

int async__datagram_next_error(async_datagram_endpoint *endpoint, int code, async_address *address,
                               bool *reported)
{
    int queued;

    if (!endpoint->report_errors || code == -EINTR) return code;
    do
        queued = take_entry(endpoint->fd, address);
    while (queued == 0);
    if (queued == -EAGAIN) return code;
    *reported = true;
    return queued;
}
