/* load KIND ADDRESS CONNECTIONS SIZE PID: the other side of a server that is measured (bench.py).
 *
 * All loops are measured with this one client, a process on a processor of its own: a client
 * written in Python would be the slower half, and what it measures would be its own waiting. On
 * every connection one message is under way; when its answer has come back whole, and is the
 * right one, the next is sent. For each count read from standard input that many messages are
 * answered, and the CPU time that PID has taken for them, user and system, is printed in ns. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#include "../support/child.h"

enum {
    BUFFER = 128 * 1024,
    EVENTS = 256,
    PATIENCE = 1000 /* ms */,
    GIVE_UP = 20,
    PAUSE = 200 /* us */,
    TURNS = 500
};

struct peer {
    int fd;
    size_t missing; /* of the answer that is on its way */
    void *tls;      /* SSL * */
};

/* How a kind of server is spoken to. */
struct kind {
    const char *name;
    void (*open)(struct peer *peer); /* once a connection */
    void (*begin)(struct peer *peer);
    ssize_t (*receive)(struct peer *peer, char *buffer);
    void (*make)(void); /* message and answer, where they are not SIZE bytes and their echo */
    bool ends;          /* after the answer the connection ends */
    bool loses;         /* a message may be lost, and then comes twice */
};

static const char *address;
static int epoll;
static char *message, *expected; /* the answer; NULL: only its length is known */
static size_t size, answer;      /* bytes of the message, and of its answer */

static void watch(struct peer *peer)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &event) < 0) bench_fail("epoll_ctl");
}

/* ---- sockets ---- */

static void transmit(struct peer *peer, const char *data, size_t length)
{
#ifdef WITH_TLS
    if (peer->tls) {
        if (SSL_write(peer->tls, data, (int)length) != (int)length) bench_fail("SSL_write");
        return;
    }
#endif
    for (size_t sent = 0; sent < length;) {
        ssize_t n = send(peer->fd, data + sent, length - sent, MSG_NOSIGNAL);
        if (n < 0) bench_fail("send");
        sent += (size_t)n;
    }
}

static void send_message(struct peer *peer) { transmit(peer, message, size); }

static ssize_t receive(struct peer *peer, char *buffer)
{
    return recv(peer->fd, buffer, BUFFER, MSG_DONTWAIT);
}

static void open_tcp(struct peer *peer)
{
    peer->fd = bench_connect(atoi(address));
    watch(peer);
}

static void open_udp(struct peer *peer)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)atoi(address)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    peer->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&to, sizeof to) < 0)
        bench_fail("connect");
    watch(peer);
}

static void open_unix(struct peer *peer)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s", address);
    peer->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->fd < 0 || connect(peer->fd, (struct sockaddr *)&to, sizeof to) < 0)
        bench_fail("connect");
    watch(peer);
}

static void open_nothing(struct peer *peer) { peer->fd = -1; }

/* A connection for each message. */
static void open_and_send(struct peer *peer)
{
    open_tcp(peer);
    send_message(peer);
}

/* Few bytes are asked for SIZE of them, or SIZE bytes are told of by one. */
static void make_pull(void)
{
    size = 1;
    expected = NULL;
}

static void make_push(void)
{
    answer = 1;
    expected = NULL;
}

/* Reads to the empty line behind a head of HTTP, byte by byte. */
static void read_head(struct peer *peer, char *head, size_t room)
{
    size_t length = 0;

    do {
        ssize_t n;
#ifdef WITH_TLS
        if (peer->tls)
            n = SSL_read(peer->tls, head + length, 1);
        else
#endif
            n = recv(peer->fd, head + length, 1, 0);
        if (length == room - 1 || n != 1) bench_fail("no answer to GET");
        head[++length] = 0;
    } while (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4) != 0);
}

/* ---- HTTP/1.1, a connection kept ---- */

static void make_get(void)
{
    static char get[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    message = get;
    size = sizeof get - 1;
    answer = 0; /* not known yet */
    expected = NULL;
}

/* All answers have the length of the first one, which is read here. */
static void open_http(struct peer *peer)
{
    static char head[BUFFER];
    const char *body;
    size_t length;

    open_tcp(peer);
    if (answer != 0) return;
    send_message(peer);
    read_head(peer, head, sizeof head);
    body = strcasestr(head, "\r\nContent-Length: ");
    if (!body || strncmp(head, "HTTP/1.1 200", 12) != 0) bench_fail("not an answer of HTTP");
    length = strtoul(body + strlen("\r\nContent-Length: "), NULL, 10);
    answer = strlen(head) + length;
    if (answer > BUFFER || recv(peer->fd, head, length, MSG_WAITALL) != (ssize_t)length)
        bench_fail("the body of an answer");
}

/* ---- TLS ---- */

#ifdef WITH_TLS
static void open_tls(struct peer *peer)
{
    static SSL_CTX *context;
    SSL *tls;

    if (!context) context = SSL_CTX_new(TLS_client_method());
    open_tcp(peer);
    tls = SSL_new(context);
    peer->tls = tls;
    if (!tls || !SSL_set_fd(tls, peer->fd) || SSL_connect(tls) != 1)
        bench_fail("the handshake of TLS");
}

/* The socket waits, which is no harm: what has begun to come is the answer that is asked for.
 * What lies in the library, read from the socket already, is not told of by epoll: all of it
 * is taken. */
static ssize_t receive_tls(struct peer *peer, char *buffer)
{
    int got = 0;
    do {
        int n = SSL_read(peer->tls, buffer + got, BUFFER - got);
        if (n <= 0) return -1;
        got += n;
    } while (SSL_pending(peer->tls) > 0 && got < BUFFER);
    return got;
}
#endif

/* ---- websockets: SIZE bytes in one frame each way ---- */

enum { FINAL_BINARY = 0x82, MASKED = 0x80, TWO_BYTES = 126, MASK = 4, FRAME_HEAD = 8 };

/* What a frame has before its payload; the mask of a client's is all zeros. */
static size_t frame_head(char *head, size_t length, int masked)
{
    size_t used = 0;

    head[used++] = (char)FINAL_BINARY;
    if (length < TWO_BYTES) {
        head[used++] = (char)(masked | (int)length);
    } else {
        head[used++] = (char)(masked | TWO_BYTES);
        head[used++] = (char)(length >> 8);
        head[used++] = (char)length;
    }
    for (int i = 0; masked && i < MASK; i++)
        head[used++] = 0;
    return used;
}

static char *make_frame(size_t *frame, size_t length, int masked)
{
    char *made = malloc(FRAME_HEAD + length);

    if (!made || length > UINT16_MAX) bench_fail("a frame");
    size_t head = frame_head(made, length, masked);
    memcpy(made + head, message, length);
    *frame = head + length;
    return made;
}

static void make_frames(void)
{
    size_t length = size;
    char *asked = make_frame(&size, length, MASKED);

    expected = make_frame(&answer, length, 0);
    message = asked;
}

static void upgrade(struct peer *peer)
{
    static const char ask[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                              "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    char head[4096];

    transmit(peer, ask, sizeof ask - 1);
    read_head(peer, head, sizeof head);
    if (strncmp(head, "HTTP/1.1 101", 12) != 0) bench_fail("no websocket");
}

static void open_ws(struct peer *peer)
{
    open_tcp(peer);
    upgrade(peer);
}

#ifdef WITH_TLS
static void open_wss(struct peer *peer)
{
    open_tls(peer);
    upgrade(peer);
}
#endif

/* ---- what there is ---- */

static const struct kind kinds[] = {
    {.name = "tcp", .open = open_tcp, .begin = send_message, .receive = receive},
    {.name = "unix", .open = open_unix, .begin = send_message, .receive = receive},
    {.name = "udp", .open = open_udp, .begin = send_message, .receive = receive, .loses = true},
    {.name = "pull",
     .open = open_tcp,
     .begin = send_message,
     .receive = receive,
     .make = make_pull},
    {.name = "push",
     .open = open_tcp,
     .begin = send_message,
     .receive = receive,
     .make = make_push},
    {.name = "http",
     .open = open_http,
     .begin = send_message,
     .receive = receive,
     .make = make_get},
    {.name = "ws", .open = open_ws, .begin = send_message, .receive = receive, .make = make_frames},
    {.name = "churn",
     .open = open_nothing,
     .begin = open_and_send,
     .receive = receive,
     .ends = true},
#ifdef WITH_TLS
    {.name = "tls", .open = open_tls, .begin = send_message, .receive = receive_tls},
    {.name = "wss",
     .open = open_wss,
     .begin = send_message,
     .receive = receive_tls,
     .make = make_frames},
#endif
};

static const struct kind *kind;

static void begin(struct peer *peer)
{
    peer->missing = answer + kind->ends;
    kind->begin(peer);
}

/* Whether the answer is there whole. */
static bool take(struct peer *peer)
{
    static char buffer[BUFFER];
    ssize_t n = kind->receive(peer, buffer);

    if ((n < 0 && errno == EAGAIN) || (kind->loses && peer->missing == 0)) return false;
    if (kind->ends && n == 0 && peer->missing == 1) {
        close(peer->fd);
        peer->fd = -1;
        return true;
    }
    if (n <= 0 || (size_t)n > peer->missing) bench_fail("a connection was lost");
    if (kind->ends && (size_t)n == peer->missing) bench_fail("more than the answer");
    if (expected &&
        memcmp(buffer, expected + (answer + kind->ends - peer->missing), (size_t)n) != 0)
        bench_fail("a wrong answer");
    peer->missing -= (size_t)n;
    return peer->missing == 0;
}

/* A datagram may be lost. */
static void resend(struct peer *peers, int connections)
{
    for (int i = 0; i < connections; i++)
        if (peers[i].missing > 0) begin(&peers[i]);
}

/* The CPU time of the server once it sleeps: the clock of a process that runs just now, on another
 * processor, may be one tick of the kernel behind. */
static double cpu_of(pid_t server)
{
    char path[32], text[256], *name;
    char state = 'R';

    snprintf(path, sizeof path, "/proc/%d/stat", (int)server);
    for (int turn = 0; turn < TURNS && state == 'R'; turn++) {
        FILE *file = fopen(path, "r");
        usleep(PAUSE);
        if (!file) break;
        text[fread(text, 1, sizeof text - 1, file)] = 0;
        fclose(file);
        name = strrchr(text, ')');
        if (name) state = name[2];
    }
    return bench_cpu_of(server);
}

static double measure(struct peer *peers, int connections, int count, pid_t server)
{
    struct epoll_event events[EVENTS];
    int begun = connections, ended = 0, silent = 0;
    double start = cpu_of(server);

    for (int i = 0; i < connections; i++)
        begin(&peers[i]);
    while (ended < begun) {
        int ready = epoll_wait(epoll, events, EVENTS, PATIENCE);
        if (ready < 0) bench_fail("epoll_wait");
        silent = ready > 0 ? 0 : silent + 1;
        if (silent > GIVE_UP) bench_fail("the server does not answer");
        if (silent > 0 && kind->loses) resend(peers, connections);
        for (int i = 0; i < ready; i++) {
            struct peer *peer = events[i].data.ptr;
            if (!take(peer)) continue;
            ended++;
            if (begun < count) {
                begun++;
                begin(peer);
            }
        }
    }
    return (cpu_of(server) - start) / ended;
}

static void make_message(const char *length)
{
    size = answer = strtoul(length, NULL, 10);
    expected = message = malloc(size + 1);
    if (!message) bench_fail("memory");
    for (size_t i = 0; i < size; i++)
        message[i] = (char)('a' + i % 23);
    if (kind->make) kind->make();
}

int main(int argc, char **argv)
{
    int connections = argc == 6 ? atoi(argv[3]) : 0, count;

    for (size_t i = 0; argc == 6 && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, argv[1]) == 0) kind = &kinds[i];
    if (!kind || connections < 1) {
        fprintf(stderr, "load: KIND ADDRESS CONNECTIONS SIZE PID\n");
        return 2;
    }
    address = argv[2];
    make_message(argv[4]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct peer *peers = calloc((size_t)connections, sizeof *peers);
    if (!peers || epoll < 0) bench_fail("memory");
    for (int i = 0; i < connections; i++)
        kind->open(&peers[i]);
    puts("ready");
    fflush(stdout);
    while (scanf("%d", &count) == 1) {
        printf("%.1f\n", measure(peers, connections, count, (pid_t)atoi(argv[5])));
        fflush(stdout);
    }
    return 0;
}
