/* datagram.h - what the files of datagram endpoints share. */
#ifndef CASYNCIO_DATAGRAM_H
#define CASYNCIO_DATAGRAM_H

#include "io.h"

#include <casyncio/datagrams.h>

struct async_datagram_endpoint {
    int fd;
    unsigned references; /* the owner's, one for each call under way, one for each iterator */
    sa_family_t family;
    bool connected;
    bool closed;    /* async_datagram_close has begun: no new calls */
    bool receiving; /* a call that receives is under way */
    bool sending;   /* a call has the turn to send: others queue up */
    bool report_errors;
    bool gro;
    bool no_gso; /* the kernel cannot cut for this socket */
    bool gso_asked;
    bool ipv6_only;
    struct async__wait_list senders; /* wait for their turn */
    async_address peer;              /* of a connected one */
    struct async__unix_file file;
};

enum {
    ASYNC__ADDRESS_TEXT = sizeof(struct sockaddr_un) + 8,
};

int async__datagram_null(const char *call); /* fail with -EBADF and a message */
int async__datagram_closed(void);
void async__datagram_unref(async_datagram_endpoint *endpoint);

/* A checkpoint in the middle of a call: other tasks may run, and close the endpoint. */
static inline int async__datagram_again(async_datagram_endpoint *endpoint)
{
    int code = async__checkpoint_in("datagram");
    if (async__unlikely(code < 0)) return code;
    return async__unlikely(endpoint->closed) ? async__datagram_closed() : 0;
}

/* The beginning and the end of every call that may block, as streams have them: the second must
 * follow in any case. */
static inline int async__datagram_enter(async_datagram_endpoint *endpoint, const char *call)
{
    if (async__unlikely(!endpoint)) return async__datagram_null(call);
    endpoint->references++;
    return async__datagram_again(endpoint);
}

static inline ssize_t async__datagram_leave(async_datagram_endpoint *endpoint, ssize_t result)
{
    if (async__unlikely(!endpoint)) return result;
    if (async__unlikely(endpoint->references == 1))
        async__datagram_unref(endpoint);
    else
        endpoint->references--;
    return result;
}

/* A receive has failed with `code`. With report_errors: takes the next entry of the error queue, if
 * there is one, gives its code, and sets *address and *reported. Else gives `code` (datagram_errors.c). */
int async__datagram_next_error(async_datagram_endpoint *endpoint, int code, async_address *address,
                               bool *reported);
/* Has the socket keep errors by ICMP in its queue: 0 or a code. */
int async__datagram_keep_errors(int fd, int family);

#endif
