/* load.h - the load on a server: on every connection one message is under way, and when its answer has
 * come whole the next one is sent. The server is a process of its own on processor 1. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stddef.h>
#include <sys/types.h>

struct load {
    pid_t server;
    int epoll, connections;
    int *fds;
    size_t *missing; /* of the answer that is on its way; by descriptor */
    const char *message;
    size_t size, answer;
};

/* Starts the server, which tells its port, and connects to it. The message is `size` bytes, each answer
 * `answer`. */
struct load load_open(void (*server)(void *), int connections, const char *message, size_t size,
                      size_t answer);
/* The same for a server that runs already. */
struct load load_open_on(pid_t server, int port, int connections, const char *message, size_t size,
                         size_t answer);
void load_close(struct load *load);

/* One message more on each connection until there have been `count`; the server's CPU time for each,
 * in ns. */
double load_run(struct load *load, int count);

/* For plain servers: sends all, and waits for room, which is the exception; watches for reading. */
void load_send_all(int fd, const char *data, size_t size);
void load_watch(int epoll, int fd);
/* A plain server, one loop over epoll that tells its port and does not return: gives what has been read
 * from a connection to `answer`. */
void load_serve(void (*answer)(int fd, const char *data, size_t size));

#endif
