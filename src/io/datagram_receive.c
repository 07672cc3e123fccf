/* datagram_receive.c - receiving datagrams: one, several, as an iteration.
 *
 * A system call takes whole datagrams, in the attempt of the operation, straight to the caller's
 * buffer: its result is given even if the task has been cancelled meanwhile, so none is lost.
 *
 * MSG_TRUNC in the flags makes the kernel give a datagram's own size, not what of it had room. */
#include "datagram.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    FLAGS = MSG_DONTWAIT | MSG_TRUNC,
    BATCH = 64,          /* datagrams a system call */
    LARGEST = 64 * 1024, /* what the iterator has room for: any of IP's */
};

struct receive {
    async__op op;
    async_datagram_endpoint *endpoint;
    async_address *from;       /* of one datagram; may be NULL */
    async_address *about;      /* where an entry of the error queue puts its address */
    async_datagram *datagrams; /* where results go, or NULL: then op.buffer is filled */
    bool reported; /* there was an entry of the error queue: the result, or a datagram */
};

/* ---- attempts ---- */

/* A receive has failed. An entry of the error queue is given as a datagram where there is one. */
static ssize_t failed(struct receive *self, int code)
{
    async_datagram *datagram = self->datagrams;

    code = async__datagram_next_error(self->endpoint, code, self->about, &self->reported);
    if (!self->reported || !datagram) return code;
    datagram->size = datagram->full_size = datagram->segment = 0;
    datagram->truncated = false;
    datagram->error = code;
    return 1;
}

static ssize_t try_one(async__op *op)
{
    struct receive *self = async__container(op, struct receive, op);
    async_address *from = self->from;
    ssize_t n;

    if (from) {
        from->length = sizeof from->storage;
        n = ASYNC__CALL(recvfrom(op->watch.fd, op->buffer, op->length, FLAGS,
                                 (struct sockaddr *)&from->storage, &from->length));
    } else {
        n = ASYNC__CALL(recv(op->watch.fd, op->buffer, op->length, FLAGS));
    }
    return async__likely(n >= 0) ? n : failed(self, -errno);
}

/* The control data of a datagram: UDP_GRO gives an int. */
union control {
    char data[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static size_t segment_of(struct msghdr *message)
{
    int size = 0;
    struct cmsghdr *header = message->msg_controllen ? CMSG_FIRSTHDR(message) : NULL;

    if (header && header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO)
        memcpy(&size, CMSG_DATA(header), sizeof size);
    return size > 0 ? (size_t)size : 0;
}

static void fill_in(async_datagram *datagram, size_t size, size_t segment)
{
    datagram->full_size = size;
    datagram->truncated = size > datagram->capacity;
    datagram->size = datagram->truncated ? datagram->capacity : size;
    datagram->segment = segment < size ? segment : 0;
    datagram->error = 0;
}

/* One system call, so that an error behind the first datagram stays the socket's. */
static ssize_t try_many(async__op *op)
{
    struct receive *self = async__container(op, struct receive, op);
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    union control controls[BATCH];
    unsigned count = op->length < BATCH ? (unsigned)op->length : BATCH;

    for (unsigned i = 0; i < count; i++) {
        async_datagram *datagram = &self->datagrams[i];
        pieces[i] = (struct iovec){datagram->data, datagram->capacity};
        messages[i] = (struct mmsghdr){.msg_hdr = {
                                           .msg_name = &datagram->peer.storage,
                                           .msg_namelen = sizeof datagram->peer.storage,
                                           .msg_iov = &pieces[i],
                                           .msg_iovlen = 1,
                                       }};
        if (!self->endpoint->gro) continue;
        messages[i].msg_hdr.msg_control = &controls[i];
        messages[i].msg_hdr.msg_controllen = sizeof controls[i];
    }
    int n = (int)ASYNC__CALL(recvmmsg(op->watch.fd, messages, count, FLAGS, NULL));
    if (async__unlikely(n < 0)) return failed(self, -errno);
    for (int i = 0; i < n; i++) {
        fill_in(&self->datagrams[i], messages[i].msg_len, segment_of(&messages[i].msg_hdr));
        self->datagrams[i].peer.length = messages[i].msg_hdr.msg_namelen;
    }
    return n;
}

/* ---- results ---- */

static ssize_t explain(struct receive *self, int code)
{
    async_datagram_endpoint *endpoint = self->endpoint;
    char text[ASYNC__ADDRESS_TEXT];

    if (code == -EBADF && endpoint->closed) return async__datagram_closed();
    if (self->op.result != code || code == -ECANCELED || code == -EBUSY) return code;
    if (self->reported) {
        async_address_text(self->about, text, sizeof text);
        return async__failf(code, "a datagram to %s did not arrive: %s", text,
                            async_strerror(code));
    }
    if (!endpoint->connected) return code;
    async_address_text(&endpoint->peer, text, sizeof text);
    return async__failf(code, "receive from %s: %s", text, async_strerror(code));
}

static ssize_t run(struct receive *self, ssize_t (*attempt)(async__op *))
{
    self->op.watch.fd = self->endpoint->fd;
    self->op.watch.direction = ASYNC__READ;
    self->op.attempt = attempt;
    ssize_t n = async__op_run(&self->op, "recvfrom");
    return async__likely(n >= 0) ? n : explain(self, (int)n);
}

/* Begins a receiving call: one at a time. After a code the caller still has the reference, and gives
 * it up by async__datagram_leave, not by end(). */
static int begin(async_datagram_endpoint *endpoint, const char *call)
{
    int code = async__datagram_enter(endpoint, call);
    if (async__unlikely(code < 0)) return code;
    if (async__unlikely(endpoint->receiving))
        return async__failf(-EBUSY, "another task is receiving from the datagram endpoint");
    endpoint->receiving = true;
    return 0;
}

static ssize_t end(async_datagram_endpoint *endpoint, ssize_t result)
{
    endpoint->receiving = false;
    return async__datagram_leave(endpoint, result);
}

/* ---- the calls ---- */

static ssize_t cut_off(size_t whole, size_t size, const async_address *from)
{
    char text[ASYNC__ADDRESS_TEXT];

    async_address_text(from, text, sizeof text);
    return async__failf(-EMSGSIZE, "a datagram of %zu bytes%s%s was cut off: there is room for %zu",
                        whole, *text ? " from " : "", text, size);
}

ssize_t async_datagram_recvfrom(async_datagram_endpoint *endpoint, void *buffer, size_t size,
                                async_address *from)
{
    async_address unwanted;
    struct receive self = {.op = {.buffer = buffer, .length = size},
                           .endpoint = endpoint,
                           .from = from,
                           .about = from ? from : &unwanted};

    if (from) from->length = 0;
    int code = begin(endpoint, __func__);
    if (async__unlikely(code < 0)) return async__datagram_leave(endpoint, code);
    if (async__unlikely(endpoint->gro))
        return end(endpoint, async__failf(-EOPNOTSUPP, "recvfrom: several datagrams may come as "
                                                       "one, since the endpoint has gro"));
    ssize_t n = run(&self, try_one);
    if (async__unlikely(n < 0 && from && !self.reported)) from->length = 0;
    if (async__unlikely(n > 0 && (size_t)n > size)) n = cut_off((size_t)n, size, from);
    return end(endpoint, n);
}

static ssize_t receive_many(async_datagram_endpoint *endpoint, async_datagram *datagrams,
                            size_t count)
{
    struct receive self = {.op = {.length = count},
                           .endpoint = endpoint,
                           .about = &datagrams[0].peer,
                           .datagrams = datagrams};
    return run(&self, try_many);
}

ssize_t async_datagram_recv_many(async_datagram_endpoint *endpoint, async_datagram *datagrams,
                                 size_t count)
{
    int code = begin(endpoint, __func__);
    if (async__unlikely(code < 0)) return async__datagram_leave(endpoint, code);
    if (count == 0 || !datagrams)
        return end(endpoint, async__failf(-EINVAL, "recv_many: there is no datagram to fill"));
    return end(endpoint, receive_many(endpoint, datagrams, count));
}

/* ---- the iteration ---- */

struct iteration {
    async_iterator iterator;
    async_datagram_endpoint *endpoint;
    async_datagram datagram;
    char buffer[LARGEST + 1];
};

/* recvfrom costs less than recvmmsg, which GRO needs. */
static ssize_t receive_one(async_datagram_endpoint *endpoint, async_datagram *datagram)
{
    struct receive self = {.op = {.buffer = datagram->data, .length = datagram->capacity},
                           .endpoint = endpoint,
                           .from = &datagram->peer,
                           .about = &datagram->peer,
                           .datagrams = datagram};

    ssize_t n = run(&self, try_one);
    if (async__unlikely(n < 0 || self.reported)) return n;
    fill_in(datagram, (size_t)n, 0);
    return 1;
}

static ssize_t receive_next(async_datagram_endpoint *endpoint, async_datagram *datagram)
{
    int code = begin(endpoint, __func__);
    if (async__unlikely(code < 0)) return async__datagram_leave(endpoint, code);
    return end(endpoint, endpoint->gro ? receive_many(endpoint, datagram, 1)
                                       : receive_one(endpoint, datagram));
}

static int next_datagram(async_iterator *iterator, void *value)
{
    struct iteration *self = async__container(iterator, struct iteration, iterator);
    async_datagram_endpoint *endpoint = self->endpoint;

    if (endpoint->closed) return 0;
    self->datagram.data = self->buffer;
    self->datagram.capacity = LARGEST;
    ssize_t n = receive_next(endpoint, &self->datagram);
    if (async__unlikely(n < 0)) return n == -EBADF && endpoint->closed ? 0 : (int)n;
    self->buffer[self->datagram.size] = 0;
    *(async_datagram **)value = &self->datagram;
    return 1;
}

static void close_iteration(async_iterator *iterator)
{
    struct iteration *self = async__container(iterator, struct iteration, iterator);

    async__datagram_unref(self->endpoint);
    async__free(self);
}

async_iterator *async_datagrams(async_datagram_endpoint *endpoint)
{
    if (!endpoint) { /* keep the error of the call that could not make it */
        async__fail_null("the datagram endpoint");
        return NULL;
    }
    struct iteration *self =
        async__alloc(sizeof *self); /* not cleared: most of it is not touched */
    if (!self) {
        async__failf(-ENOMEM, "no memory to receive datagrams");
        return NULL;
    }
    self->iterator = (async_iterator){
        .next = next_datagram, .close = close_iteration, .size = sizeof(async_datagram *)};
    self->endpoint = endpoint;
    endpoint->references++; /* the loop's body may close it */
    self->datagram = (async_datagram){0};
    return &self->iterator;
}
