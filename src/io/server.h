/* server.h - what server.c and serve.c share. */
#ifndef CASYNCIO_SERVER_H
#define CASYNCIO_SERVER_H

#include "io.h"

struct listener {
    async__op op; /* accepts, while a call waits for a connection */
    int fd;
    int held; /* a connection that has been accepted, for the next call; or -1 */
};

struct async_server {
    async_iterator iterator;
    unsigned references;
    int port;
    bool closed;
    bool iterating;                /* the iterator has a reference */
    bool accepting;                /* a task waits for a connection */
    bool serving;                  /* async_server_serve is under way */
    struct async__client *clients; /* that it serves, in tasks that have begun */
    uint64_t accepted;             /* how many it has accepted */
    uint64_t ended, aborted; /* of these so many: async_server_close_clients, _abort_clients */
    struct async__wait_list finished; /* wait until async_server_serve has returned */
    async__wait *waiting;
    size_t submitted;    /* operations of listeners that are under way */
    int accept_error;    /* of one that has ended; -EAGAIN: none */
    async_stream *spare; /* for the next connection */
    int (*make_filter)(void *data, async_stream *stream); /* NULL: none */
    void (*drop_filter)(void *data);
    void *filter_data;
    struct async__unix_file file;
    bool gone;                  /* its memory alone is left, for calls that come too late: */
    async_callback end, at_end; /* frees it when the loop runs on, or is closed */
    size_t count, turn;         /* turn: index of the socket that is asked first */
    struct listener listeners[];
};

/* Waits for a connection: 0 or a code. */
int async__server_accept_stream(async_server *server, async_stream **stream);
/* Waits a second, or until the server is closed: 0 or the code of a cancellation. */
int async__server_wait_for_resources(async_server *server);
void async__server_unref(async_server *server);

#endif
