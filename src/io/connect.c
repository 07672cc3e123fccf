/* connect.c - making connections.
 *
 * A host has several addresses, and some of them may not answer, not even with a refusal. RFC 8305
 * ("happy eyeballs"): the families take turns, a new attempt begins when the last one has failed or
 * 250 ms old, those under way go on, and the first to succeed wins.
 *
 * One task does all of it: each attempt is an operation; the operations and the timer only mark what
 * has happened and wake the task, which then checks all attempts. */
#include "io.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STAGGER (ASYNC__SECOND / 4)

struct race;

struct attempt {
    async__op op;
    struct race *race;
    int fd; /* -1 before it begins and after its result has been dealt with */
};

struct race {
    async__wait wait;
    async_timer timer;
    bool staggered; /* the timer has gone off: another attempt is due */
    int error;      /* the one to report if all attempts fail: see relevance */
    const struct addrinfo **addresses;
    size_t count, next;
    size_t running; /* operations under way */
    struct attempt *attempts;
};

/* ---- what wakes the task ---- */

static void on_connected(async__op *op)
{
    struct attempt *attempt = op->owner;
    attempt->race->running--;
    async__unpark(&attempt->race->wait);
}

static void on_stagger(async_callback *callback)
{
    struct race *race = async__container(callback, struct race, timer.callback);
    race->staggered = true;
    async__unpark(&race->wait);
}

static void on_interrupt(async__wait *wait) { async__unpark(wait); }

/* ---- attempts ---- */

/* Which of two errors is reported: a refusal or a time-out of one address says more than that this
 * machine has no route to another. */
static int relevance(int code)
{
    switch (code) {
    case 0: return 0;
    case -EAFNOSUPPORT:
    case -EADDRNOTAVAIL:
    case -ENETUNREACH:
    case -EHOSTUNREACH: return 1;
    default: return 2;
    }
}

static void note_error(struct race *race, int code)
{
    if (relevance(code) > relevance(race->error)) race->error = code;
}

/* A connection to an unused port of this machine can connect to itself, if the kernel chooses that
 * very port as its source (TCP simultaneous open). */
static bool is_self_connected(int fd, const struct addrinfo *address)
{
    struct sockaddr_storage own = {0};
    socklen_t length = sizeof own;

    if (ASYNC__CALL(getsockname(fd, (struct sockaddr *)&own, &length)) < 0) return false;
    if (own.ss_family != address->ai_family) return false;
    if (own.ss_family == AF_INET) {
        const struct sockaddr_in *a = (void *)&own, *b = (const void *)address->ai_addr;
        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    if (own.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (void *)&own, *b = (const void *)address->ai_addr;
        return a->sin6_port == b->sin6_port &&
               memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
    }
    return false;
}

/* Its operation has ended, or it has not begun: the descriptor if it is connected, else -1. */
static int finish_attempt(struct race *race, size_t index)
{
    struct attempt *attempt = &race->attempts[index];
    int fd = attempt->fd, code = (int)attempt->op.result;

    attempt->fd = -1;
    if (code == 0 && is_self_connected(fd, race->addresses[index])) code = -ECONNREFUSED;
    if (code == 0) return fd;
    note_error(race, code);
    async_close(fd);
    return -1;
}

/* Begins the next attempt: the descriptor if it connected at once, else -1. */
static int start_next(async_loop *loop, struct race *race)
{
    size_t index = race->next++;
    const struct addrinfo *address = race->addresses[index];
    struct attempt *attempt = &race->attempts[index];

    int fd = ASYNC__CALL(socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                                address->ai_protocol));
    if (fd < 0) {
        note_error(race, -errno);
        return -1;
    }
    *attempt = (struct attempt){
        .op = {.watch = {.fd = fd, .direction = ASYNC__WRITE},
               .opcode = ASYNC__OP_CONNECT,
               .address = address->ai_addr,
               .length = address->ai_addrlen,
               .done = on_connected,
               .owner = attempt},
        .race = race,
        .fd = fd,
    };
    if (loop->poller->submit(loop, &attempt->op)) return finish_attempt(race, index);
    race->running++;
    return -1;
}

/* ---- the race ---- */

static int set_timer(async_loop *loop, struct race *race)
{
    race->staggered = false;
    race->timer.callback.run = on_stagger;
    return async_call_at_ns(loop, &race->timer, async__deadline(async_loop_time_ns(loop), STAGGER));
}

/* Checks the attempts that have ended: the descriptor of one that is connected, or -1; *failed is set
 * if one has failed. */
static int check_attempts(struct race *race, bool *failed)
{
    for (size_t i = 0; i < race->next; i++) {
        if (race->attempts[i].fd < 0 || race->attempts[i].op.under_way) continue;
        int fd = finish_attempt(race, i);
        if (fd >= 0) return fd;
        *failed = true;
    }
    return -1;
}

static int run_race(async_loop *loop, struct race *race)
{
    bool start = true;

    for (;;) {
        while (race->next < race->count && (start || race->running == 0)) {
            size_t before = race->running;
            int fd = start_next(loop, race);
            if (fd >= 0) return fd;
            start = race->running == before; /* it failed at once: begin the next */
            /* If the timer cannot be set, the next attempt begins when this one has failed. */
            if (!start && race->next < race->count) set_timer(loop, race);
        }
        if (race->running == 0) return race->error;

        async__park(&race->wait);
        start = race->staggered;
        race->staggered = false;
        int fd = check_attempts(race, &start);
        if (fd >= 0) return fd;
        if (race->wait.interrupted) return -ECANCELED;
    }
}

/* Ends the attempts that are still under way. A cancelled operation may need the attempt, and its
 * descriptor, for some time yet. */
static void end_attempts(async_loop *loop, struct race *race)
{
    async_timer_cancel(loop, &race->timer);
    for (size_t i = 0; i < race->next; i++)
        if (race->attempts[i].op.under_way)
            loop->poller->cancel(loop, &race->attempts[i].op, -ECANCELED);
    race->wait.interrupt = async__stay_parked;
    while (race->running > 0)
        async__park(&race->wait);
    for (size_t i = 0; i < race->next; i++)
        if (race->attempts[i].fd >= 0) async_close(race->attempts[i].fd);
}

/* The first of the list, the first of another family, the second of the list's family, ... */
static void interleave(const struct addrinfo *list, const struct addrinfo **out, size_t count)
{
    const struct addrinfo *same = list, *other = list;
    int family = list->ai_family;

    for (size_t i = 0; i < count; i++) {
        while (same && same->ai_family != family)
            same = same->ai_next;
        while (other && other->ai_family == family)
            other = other->ai_next;
        const struct addrinfo **from = (i % 2 == 0 && same) || !other ? &same : &other;
        out[i] = *from;
        *from = (*from)->ai_next;
    }
}

int async__connect_any(const struct addrinfo *list, const char *host, int port)
{
    async_loop *loop = async__loop();
    struct race race = {.wait = {.interrupt = on_interrupt, .what = "connect", .fd = -1}};

    for (const struct addrinfo *a = list; a; a = a->ai_next)
        race.count++;
    if (race.count == 0)
        return async__failf(ASYNC_ENONAME, "the host name %s has no address", host);
    /* One allocation: the attempts, and behind them the addresses in the order of attempts. */
    size_t size = race.count * (sizeof *race.attempts + sizeof *race.addresses);
    race.attempts = async__alloc_zeroed(size);
    if (!race.attempts) return async__failf(-ENOMEM, "connect to %s: out of memory", host);
    race.addresses = (const struct addrinfo **)(race.attempts + race.count);
    interleave(list, race.addresses, race.count);
    for (size_t i = 0; i < race.count; i++)
        race.attempts[i].fd = -1;

    int fd = run_race(loop, &race);
    bool interrupted = race.wait.interrupted;
    end_attempts(loop, &race);
    async__free(race.attempts);
    if (fd >= 0) return fd;
    /* A peer that was reached, and has gone before the cancelled task ran, is no error to tell. */
    if (interrupted || async__current->interrupt) return async__interrupted(async__current);
    return async__failf(fd, "connect to %s port %d: %s", host, port, async_strerror(fd));
}

/* ---- streams ---- */

static async_stream *stream_of(int fd)
{
    async_stream *stream = async__stream_create(NULL);
    if (stream)
        async__stream_set_fd(stream, fd, true, false);
    else
        async_close(fd);
    return stream;
}

async_stream *async_open_connection(const char *host, int port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP}, *list;
    char service[16];

    if (!async__current) {
        async__no_task();
        return NULL;
    }
    if (!host || port < 1 || port > 65535) {
        int code = async__checkpoint();
        if (code < 0) return NULL;
        if (!host)
            async__failf(-EINVAL, "there is no host to connect to: it is NULL");
        else
            async__failf(-EINVAL, "connect to %.255s: port %d is not one of 1 to 65535", host,
                         port);
        return NULL;
    }
    snprintf(service, sizeof service, "%d", port);
    if (async_getaddrinfo(host, service, &hints, &list) < 0) return NULL;
    int fd = async__connect_any(list, host, port);
    freeaddrinfo(list);
    if (fd < 0) return NULL;
    /* As asyncio does: the stream coalesces small writes itself. */
    (void)ASYNC__CALL(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)));
    return stream_of(fd);
}

async_stream *async_open_unix_connection(const char *path)
{
    struct sockaddr_un address;
    socklen_t length;

    if (!async__current) {
        async__no_task();
        return NULL;
    }
    if (async__unix_address(path, &address, &length) < 0) return NULL;
    int fd = async_socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return NULL;
    if (async_connect(fd, (struct sockaddr *)&address, length) < 0) {
        async_close(fd);
        return NULL;
    }
    return stream_of(fd);
}
