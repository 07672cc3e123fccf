/* datagram_send.c - sending datagrams: one, or several in few system calls.
 *
 * A call that has to wait for room has the turn (`sending`), and others queue up behind it; the turn
 * is handed on as the call ends. A Unix socket that is not connected is different: its receiver's
 * queue may be full, of which no event tells, and another receiver's may not be. So each such call
 * tries again by itself, ever later, and takes no turn.
 *
 * What is to be cut into segments goes to the kernel in pieces of up to 64 segments (UDP_SEGMENT),
 * and where the kernel refuses that, segment by segment. */
#include "datagram.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#ifndef UDP_SEGMENT /* Linux 4.18 */
#define UDP_SEGMENT 103
#endif

#define LONGEST_PAUSE 0.04 /* seconds between attempts where no event tells that there is room */

enum {
    BATCH = 32,         /* messages a system call */
    MOST_SEGMENTS = 64, /* the kernel's UDP_MAX_SEGMENTS */
    MOST_IPV4 = 65507,  /* 65,535 less the headers of IP and UDP */
    MOST_IPV6 = 65527,
    TRIES =
        3, /* of a send that fails, perhaps with the error of an earlier one: datagram_errors.c */
};

struct send {
    async__op op;
    async_datagram_endpoint *endpoint;
};

struct send_many {
    struct send send;
    const async_datagram *datagrams;
    size_t count, index; /* index: of the first one that has not gone out whole */
    size_t offset;       /* in that: what of its segments has gone out */
    bool plain;          /* the kernel has refused to cut that one */
};

/* ---- what is wrong with it ---- */

/* An IPv4 address as an IPv6 socket has it. */
static bool is_mapped(const async_address *address)
{
    return address->storage.ss_family == AF_INET6 &&
           IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)&address->storage)->sin6_addr);
}

static int too_large(const async_datagram_endpoint *endpoint, size_t size, const async_address *to)
{
    bool ipv4 = endpoint->family == AF_INET || is_mapped(to);
    size_t most = ipv4 ? MOST_IPV4 : MOST_IPV6;
    int room = 0;
    socklen_t length = sizeof room;

    if (endpoint->family == AF_UNIX &&
        ASYNC__CALL(getsockopt(endpoint->fd, SOL_SOCKET, SO_SNDBUF, &room, &length)) == 0)
        most = room > 32 ? (size_t)room - 32 : 0;
    if (size <= most)
        return async__failf(
            -EMSGSIZE, "a datagram of %zu bytes is too large for the path to its receiver", size);
    return async__failf(-EMSGSIZE, "a datagram of %zu bytes is too large: at most %zu", size, most);
}

static int explain(const async_datagram_endpoint *endpoint, int code, size_t size,
                   const async_address *to)
{
    char text[ASYNC__ADDRESS_TEXT];

    if (code == -EBADF && endpoint->closed) return async__datagram_closed();
    if (!to || to->length == 0) to = &endpoint->peer;
    if (code == -EMSGSIZE) return too_large(endpoint, size, to);
    async_address_text(to, text, sizeof text);
    return async__failf(code, "send to %s: %s%s", text, async_strerror(code),
                        code == -EACCES && endpoint->family != AF_UNIX
                            ? " (a broadcast address needs allow_broadcast)"
                            : "");
}

static bool is_sound(const async_datagram_endpoint *endpoint, const async_address *to)
{
    if (!to || to->length == 0) return endpoint->connected;
    if (to->length > sizeof to->storage || to->storage.ss_family != endpoint->family) return false;
    return !endpoint->connected || async_address_equal(to, &endpoint->peer);
}

/* Whether the endpoint can send there: 0 or a code. */
static int check(const async_datagram_endpoint *endpoint, const async_address *to)
{
    char text[ASYNC__ADDRESS_TEXT], peer[ASYNC__ADDRESS_TEXT];

    if (async__likely(is_sound(endpoint, to))) return 0;
    if (!to || to->length == 0)
        return async__failf(-EDESTADDRREQ, "send: the datagram has no address to be sent to");
    if (to->length > sizeof to->storage)
        return async__failf(-EINVAL, "the address to send to has a length of %u bytes",
                            (unsigned)to->length);
    async_address_text(to, text, sizeof text);
    if (to->storage.ss_family != endpoint->family)
        return async__failf(-EAFNOSUPPORT, "send to %s: the datagram endpoint is of another family",
                            text);
    async_address_text(&endpoint->peer, peer, sizeof peer);
    return async__failf(-EISCONN, "send to %s: the datagram endpoint is connected to %s", text,
                        peer);
}

/* ---- turns ---- */

static bool needs_turn(const async_datagram_endpoint *endpoint)
{
    return endpoint->connected || endpoint->family != AF_UNIX;
}

/* A call that gets the turn of a closed endpoint does not pass it on: the close has woken all. */
static int take_turn(async_datagram_endpoint *endpoint)
{
    if (!needs_turn(endpoint)) return 0;
    if (async__unlikely(endpoint->sending)) {
        int code = async__wait_in(&endpoint->senders, "sendto", NULL);
        if (code < 0) return code;
        if (endpoint->closed) return async__datagram_closed();
    }
    endpoint->sending = true;
    return 0;
}

static void give_turn(async_datagram_endpoint *endpoint)
{
    if (!needs_turn(endpoint)) return;
    if (async__wake_first(&endpoint->senders)) return; /* that call has the turn now */
    endpoint->sending = false;
}

/* ---- waiting ---- */

/* Runs the operation, or, where no event tells of room, its attempt again and again. */
static ssize_t run(struct send *self, ssize_t (*attempt)(async__op *))
{
    async__op *op = &self->op;
    double pause = 0.001;

    op->watch.fd = self->endpoint->fd;
    op->watch.direction = ASYNC__WRITE;
    op->attempt = attempt;
    if (needs_turn(self->endpoint)) return async__op_run(op, "sendto");
    for (;;) {
        op->result = attempt(op);
        if (op->result == -EINTR) continue;
        if (op->result != -EAGAIN) return op->result;
        int code = async_sleep(pause);
        if (code < 0) return code;
        if (self->endpoint->closed) return op->result = -EBADF;
        if (pause < LONGEST_PAUSE) pause *= 2;
    }
}

/* Whether the call has failed by itself, and not by a cancellation, which has its message already. */
static bool is_own_failure(const async__op *op, ssize_t code)
{
    return op->result == code && code != -ECANCELED && code != -EBUSY;
}

/* With report_errors a failure may be that of an earlier datagram, of which receivers are told: after
 * `tries` of them it is this one's own. */
static bool is_of_another(const async_datagram_endpoint *endpoint, int code, int tries)
{
    return async__unlikely(endpoint->report_errors) && code != -EAGAIN && code != -EINTR &&
           tries < TRIES;
}

/* ---- one ---- */

static ssize_t try_one(async__op *op)
{
    async_datagram_endpoint *endpoint = async__container(op, struct send, op)->endpoint;
    const async_address *to = op->address;
    ssize_t n;
    int tries = 0;

    do {
        n = ASYNC__CALL(sendto(op->watch.fd, op->buffer, op->length, MSG_DONTWAIT | MSG_NOSIGNAL,
                               to ? (const struct sockaddr *)&to->storage : NULL,
                               to ? to->length : 0));
        if (async__likely(n >= 0)) return n;
        n = -errno;
    } while (is_of_another(endpoint, (int)n, ++tries));
    return n;
}

static int send_one(async_datagram_endpoint *endpoint, const void *data, size_t size,
                    const async_address *to)
{
    struct send self = {.op = {.buffer = (void *)data, .length = size}, .endpoint = endpoint};

    if (!endpoint->connected) self.op.address = (void *)to;
    int code = take_turn(endpoint);
    if (async__unlikely(code < 0)) return code;
    ssize_t n = run(&self, try_one);
    give_turn(endpoint);
    if (async__likely(n >= 0)) return 0;
    return is_own_failure(&self.op, n) ? explain(endpoint, (int)n, size, to) : (int)n;
}

int async_datagram_sendto(async_datagram_endpoint *endpoint, const void *data, size_t size,
                          const async_address *to)
{
    int code = async__datagram_enter(endpoint, __func__);
    if (async__likely(code == 0)) code = check(endpoint, to);
    if (async__likely(code == 0)) code = send_one(endpoint, data, size, to);
    return (int)async__datagram_leave(endpoint, code);
}

/* ---- several ---- */

union control {
    char data[CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
};

/* Older kernels take the control data for none of theirs, and would send one large datagram. */
static bool can_cut(async_datagram_endpoint *endpoint)
{
    int value;
    socklen_t size = sizeof value;

    if (!endpoint->gso_asked && endpoint->family != AF_UNIX) {
        endpoint->gso_asked = true;
        endpoint->no_gso =
            ASYNC__CALL(getsockopt(endpoint->fd, IPPROTO_UDP, UDP_SEGMENT, &value, &size)) < 0;
    }
    return endpoint->family != AF_UNIX && !endpoint->no_gso;
}

/* How much of `left` bytes one message takes: a segment, or several that the kernel is to cut. */
static size_t piece_of(struct send_many *self, const async_datagram *datagram, size_t left,
                       bool plain)
{
    size_t segment = datagram->segment;

    if (segment == 0 || segment >= left) return left;
    if (plain || segment > MOST_IPV4 / 2 || !can_cut(self->send.endpoint)) return segment;
    size_t segments = MOST_IPV4 / segment;
    if (segments > MOST_SEGMENTS) segments = MOST_SEGMENTS;
    return segments * segment < left ? segments * segment : left;
}

static void cut_into(struct msghdr *message, union control *control, size_t segment)
{
    uint16_t size = (uint16_t)segment;

    memset(control, 0, sizeof *control);
    message->msg_control = control;
    message->msg_controllen = sizeof *control;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(header), &size, sizeof size);
}

struct batch {
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    union control controls[BATCH];
};

static unsigned fill(struct send_many *self, struct batch *batch)
{
    bool connected = self->send.endpoint->connected;
    size_t index = self->index, offset = self->offset;
    unsigned n = 0;

    for (; n < BATCH && index < self->count; n++) {
        const async_datagram *datagram = &self->datagrams[index];
        size_t left = datagram->size - offset;
        size_t size = piece_of(self, datagram, left, self->plain && index == self->index);
        batch->pieces[n] = (struct iovec){datagram->data, size};
        if (offset > 0) batch->pieces[n].iov_base = (char *)datagram->data + offset;
        batch->messages[n] = (struct mmsghdr){
            .msg_hdr = {.msg_iov = &batch->pieces[n], .msg_iovlen = 1},
        };
        if (!connected) {
            batch->messages[n].msg_hdr.msg_name = (void *)&datagram->peer.storage;
            batch->messages[n].msg_hdr.msg_namelen = datagram->peer.length;
        }
        if (datagram->segment > 0 && size > datagram->segment)
            cut_into(&batch->messages[n].msg_hdr, &batch->controls[n], datagram->segment);
        offset += size;
        if (offset < datagram->size) continue;
        index++;
        offset = 0;
    }
    return n;
}

static void advance(struct send_many *self, const struct batch *batch, unsigned sent)
{
    for (unsigned i = 0; i < sent; i++) {
        self->offset += batch->pieces[i].iov_len;
        if (self->offset < self->datagrams[self->index].size) continue;
        self->index++;
        self->offset = 0;
        self->plain = false;
    }
}

/* Whether it may be the cutting that the kernel refuses: the segments are larger than the MTU
 * (EINVAL; sent by themselves they are fragmented), or the device cannot (EIO). */
static bool is_refused_cut(struct send_many *self, const struct batch *batch, int code)
{
    if (!batch->messages[0].msg_hdr.msg_control) return false;
    if (code != -EINVAL && code != -EIO && code != -EMSGSIZE && code != -EOPNOTSUPP) return false;
    if (code == -EIO) self->send.endpoint->no_gso = true;
    self->plain = true;
    return true;
}

static ssize_t try_many(async__op *op)
{
    struct send_many *self = async__container(op, struct send_many, send.op);
    struct batch batch;
    int tries = 0, n;

    do {
        unsigned count = fill(self, &batch);
        n = (int)ASYNC__CALL(
            sendmmsg(op->watch.fd, batch.messages, count, MSG_DONTWAIT | MSG_NOSIGNAL));
        if (async__likely(n >= 0)) {
            advance(self, &batch, (unsigned)n);
            return n;
        }
        n = -errno;
    } while (is_refused_cut(self, &batch, n) || is_of_another(self->send.endpoint, n, ++tries));
    return n;
}

/* sendmmsg gives the number of those that were sent before an error. An error that lasts is met again by
 * the next call; one that was pending (by ICMP, for an earlier datagram) has been taken from the socket, and
 * neither that it was there nor what it was can be found out: less than all is sent when there is no more
 * room, too. While the peer is unreachable the last datagram of a batch brings the error again.
 *
 * Sends one batch after the other: 0 or a code. Between them others may run, but none that sends. */
static int send_all(struct send_many *self)
{
    async_datagram_endpoint *endpoint = self->send.endpoint;

    for (;;) {
        self->send.op = (async__op){0};
        ssize_t n = run(&self->send, try_many);
        if (async__unlikely(n < 0 && !is_own_failure(&self->send.op, n))) return (int)n;
        if (async__unlikely(n < 0)) {
            const async_datagram *datagram = &self->datagrams[self->index];
            size_t size = datagram->segment && datagram->segment < datagram->size
                              ? datagram->segment
                              : datagram->size;
            return explain(endpoint, (int)n, size, &datagram->peer);
        }
        if (self->index == self->count) return 0;
        int code = async__datagram_again(endpoint);
        if (code < 0) return code;
    }
}

/* A failure behind the first datagram is no failure of the call: the last error stays that of
 * before. */
static ssize_t send_many(struct send_many *self)
{
    int code = take_turn(self->send.endpoint);
    if (code < 0) return code;
    struct async__record saved = async__record_save();
    code = send_all(self);
    bool told = code < 0 && self->index == 0;
    async__record_restore(&saved, !told);
    give_turn(self->send.endpoint);
    return self->index > 0 ? (ssize_t)self->index : code;
}

/* How many, from the first on, can be sent at all; a code if the first one cannot. */
static ssize_t sound(const async_datagram_endpoint *endpoint, const async_datagram *datagrams,
                     size_t count)
{
    size_t good = 0;

    while (good < count && is_sound(endpoint, &datagrams[good].peer))
        good++;
    return good > 0 ? (ssize_t)good : check(endpoint, &datagrams[0].peer);
}

ssize_t async_datagram_send_many(async_datagram_endpoint *endpoint, const async_datagram *datagrams,
                                 size_t count)
{
    ssize_t n = async__datagram_enter(endpoint, __func__);
    if (n == 0 && (count == 0 || !datagrams))
        n = async__failf(-EINVAL, "send_many: there is no datagram to send");
    if (n == 0) n = sound(endpoint, datagrams, count);
    if (n > 0) {
        struct send_many self = {.datagrams = datagrams, .count = (size_t)n};
        self.send.endpoint = endpoint;
        n = send_many(&self);
    }
    return async__datagram_leave(endpoint, n);
}
