/* udp: UDP echo by datagram endpoints beside a plain epoll loop, the limit: the server's CPU time for
 * a datagram, in ns. One by one, by batches, and with segmentation offload.
 *
 * Each server is a process of its own on one processor, with one socket. This one, on another, is the
 * load: it keeps a number of datagrams under way. Some may be lost: when none comes for a moment it
 * sends new ones. */
#include "bench.h"

#include <casyncio.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/child.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { BUFFER = 64 * 1024, BATCH = 32, TURNS = 25 };

/* ---- the servers by tasks ---- */

static async_datagram_endpoint *open_endpoint(bool gro)
{
    async_datagram_endpoint *endpoint = async_create_datagram_endpoint(
        &(async_datagram_options){.local_addr = {"127.0.0.1", 0}, .gro = gro});
    if (endpoint) bench_tell(async_datagram_port(endpoint));
    return endpoint;
}

static int serve_one_by_one(void *unused)
{
    static char buffer[BUFFER];
    async_datagram_endpoint *endpoint = open_endpoint(false);
    async_address from;
    ssize_t n;
    (void)unused;

    while ((n = async_datagram_recvfrom(endpoint, buffer, sizeof buffer, &from)) >= 0)
        async_datagram_sendto(endpoint, buffer, (size_t)n, &from);
    return (int)n;
}

static int serve_iteration(void *unused)
{
    async_datagram_endpoint *endpoint = open_endpoint(false);
    (void)unused;

    async_for (async_datagram *, datagram, async_datagrams(endpoint))
        async_datagram_sendto(endpoint, datagram->data, datagram->size, &datagram->peer);
    return async_block_error();
}

static int serve_batches(bool gro)
{
    static char buffers[BATCH][BUFFER];
    static async_datagram datagrams[BATCH];
    async_datagram_endpoint *endpoint = open_endpoint(gro);
    ssize_t n;

    for (int i = 0; i < BATCH; i++)
        datagrams[i] = (async_datagram){.data = buffers[i], .capacity = BUFFER};
    while ((n = async_datagram_recv_many(endpoint, datagrams, BATCH)) > 0)
        async_datagram_send_many(endpoint, datagrams, (size_t)n);
    return (int)n;
}

static int serve_plain_batches(void *unused)
{
    (void)unused;
    return serve_batches(false);
}

static int serve_segments(void *unused)
{
    (void)unused;
    return serve_batches(true);
}

static void run_tasks(void *serve) { async_run_with(*(async_coroutine *)serve, NULL, NULL); }

/* ---- the limit: a plain epoll loop ---- */

static int open_socket(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        bench_fail("a UDP socket");
    *port = ntohs(address.sin_port);
    return fd;
}

/* Takes all that is there after each event: fewer calls of epoll_wait than datagrams. */
static void run_epoll(void *unused)
{
    static char buffer[BUFFER];
    struct sockaddr_storage from;
    int port, fd = open_socket(&port), epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    (void)unused;

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) bench_fail("epoll_ctl");
    bench_tell(port);
    for (;;) {
        if (epoll_wait(epoll, &event, 1, -1) < 1) continue;
        for (;;) {
            socklen_t length = sizeof from;
            ssize_t n = recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, (void *)&from, &length);
            if (n < 0) break;
            sendto(fd, buffer, (size_t)n, MSG_DONTWAIT, (void *)&from, length);
        }
    }
}

/* ---- the load ---- */

struct load {
    pid_t server;
    int fd;
    unsigned under_way;
    size_t size;
    unsigned segments; /* datagrams that it sends as one, for the kernel to cut */
};

static struct load connect_to(void (*server)(void *), void *argument, unsigned under_way,
                              size_t size, unsigned segments)
{
    struct load load = {.under_way = under_way, .size = size, .segments = segments};
    int segment = (int)size;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    load.server = bench_child(1, server, argument);
    int port = bench_hear();
    if (port < 0) bench_fail("the server");
    address.sin_port = htons((uint16_t)port);
    load.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (connect(load.fd, (struct sockaddr *)&address, sizeof address) < 0) bench_fail("connect");
    if (segments > 1 && setsockopt(load.fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment) < 0)
        bench_fail("UDP_SEGMENT");
    return load;
}

static void disconnect(struct load *load)
{
    bench_end(load->server);
    close(load->fd);
}

static void send_some(struct load *load, unsigned count)
{
    static char data[BUFFER];
    struct iovec piece = {data, load->size * load->segments};
    struct mmsghdr messages[64];

    count /= load->segments;
    for (unsigned i = 0; i < count; i++)
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}};
    sendmmsg(load->fd, messages, count, 0);
}

/* `count` datagrams there and back; the server's CPU time for each. */
static double echo(struct load *load, int count)
{
    static char buffers[64][2048];
    struct iovec pieces[64];
    struct mmsghdr messages[64];
    int ended = 0;
    unsigned owed = 0;
    double start = bench_cpu_of(load->server);

    send_some(load, load->under_way);
    while (ended < count) {
        struct pollfd readable = {.fd = load->fd, .events = POLLIN};
        if (poll(&readable, 1, 100) == 0) {
            send_some(load, load->under_way);
            continue;
        }
        for (int i = 0; i < 64; i++) {
            pieces[i] = (struct iovec){buffers[i], sizeof buffers[i]};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &pieces[i], .msg_iovlen = 1}};
        }
        int n = recvmmsg(load->fd, messages, 64, MSG_DONTWAIT, NULL);
        if (n <= 0) continue;
        ended += n;
        owed += (unsigned)n;
        send_some(load, owed);
        owed %= load->segments;
    }
    double cost = (bench_cpu_of(load->server) - start) / ended;
    /* What is still under way is not the next round's. */
    while (poll(&(struct pollfd){.fd = load->fd, .events = POLLIN}, 1, 5) > 0)
        (void)!recv(load->fd, buffers, sizeof buffers, MSG_DONTWAIT);
    return cost;
}

static void compare(const char *name, async_coroutine serve, unsigned under_way, size_t size,
                    unsigned segments, int count, const char *aim)
{
    struct bench_pair pairs[TURNS];
    struct load tasks = connect_to(run_tasks, &serve, under_way, size, segments);
    struct load plain = connect_to(run_epoll, NULL, under_way, size, segments);

    echo(&tasks, 1000); /* the first ones allocate and fault in */
    echo(&plain, 1000);
    for (int turn = 0; turn < TURNS; turn++) {
        pairs[turn].limit = echo(&plain, count);
        pairs[turn].ours = echo(&tasks, count);
    }
    struct bench_pair median = bench_median(pairs, TURNS);
    bench_row(name, "ns", median.ours, median.limit, aim);
    disconnect(&tasks);
    disconnect(&plain);
}

int main(void)
{
    bench_pin(0);
    bench_heading();
    compare("UDP echo, 32 under way x 64 B", serve_one_by_one, 32, 64, 1, 15000, "1.05 x");
    compare("UDP echo, 1 under way x 64 B", serve_one_by_one, 1, 64, 1, 5000, "1.05 x");
    compare("UDP echo, async_for, 32 x 64 B", serve_iteration, 32, 64, 1, 15000, "1.05 x");
    compare("UDP echo, batches, 32 x 64 B", serve_plain_batches, 32, 64, 1, 15000, "1.00 x");
    compare("UDP echo, segments, 40 x 1,200 B", serve_segments, 40, 1200, 20, 15000, "1.00 x");
    return 0;
}
