/* adapter.c - the client library's connection on the loop.
 *
 * The library calls attach, read, write and detach from the loop's thread and from its own (the one that
 * reconnects, the one of its timers), with its lock held. So they do no more than to note what is to be
 * done, and to have a callback of the loop's do it.
 *
 * The library closes its socket as it likes. What the loop watches is a duplicate, our own, so that the loop
 * never has a number that has become another file's. */
#include "cluster_internal.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* With the mutex held. */
static void queue(async_cluster *self)
{
    if (self->queued || !self->loop) return;
    self->queued = true;
    if (async_get_running_loop() == self->loop)
        async_call_soon(self->loop, &self->callback);
    else
        async_call_soon_threadsafe(self->loop, &self->callback);
}

void async__cluster_tell(async_cluster *self, unsigned what)
{
    pthread_mutex_lock(&self->mutex);
    self->told |= what;
    if ((self->told & ASYNC__CLUSTER_ENDED) == ASYNC__CLUSTER_ENDED)
        pthread_cond_broadcast(&self->ended);
    queue(self);
    pthread_mutex_unlock(&self->mutex);
}

natsStatus async__cluster_attach(void **data, void *loop, natsConnection *connection, natsSock fd)
{
    async_cluster *self = loop;
    int own = ASYNC__CALL(fcntl(fd, F_DUPFD_CLOEXEC, 0));

    if (own < 0) return errno == ENOMEM ? NATS_NO_MEMORY : NATS_SYS_ERROR;
    *data = self;
    pthread_mutex_lock(&self->mutex);
    /* The first time: later the loop reads it without the mutex. */
    if (!self->connection) self->connection = connection;
    if (self->told & ASYNC__CLUSTER_START) close(self->next_fd);
    self->next_fd = own;
    self->told |= ASYNC__CLUSTER_START;
    queue(self);
    pthread_mutex_unlock(&self->mutex);
    return NATS_OK;
}

natsStatus async__cluster_read(void *data, bool add)
{
    async_cluster *self = data;

    if (add) return NATS_OK; /* a new socket is read from the first */
    pthread_mutex_lock(&self->mutex);
    if (self->told & ASYNC__CLUSTER_START) {
        close(self->next_fd); /* lost before the loop has seen it */
        self->told &= ~(unsigned)ASYNC__CLUSTER_START;
    }
    self->told |= ASYNC__CLUSTER_STOP;
    queue(self);
    pthread_mutex_unlock(&self->mutex);
    return NATS_OK;
}

natsStatus async__cluster_write(void *data, bool add)
{
    async_cluster *self = data;

    pthread_mutex_lock(&self->mutex);
    if (add) {
        self->told &= ~(unsigned)ASYNC__CLUSTER_WRITTEN;
        self->told |= ASYNC__CLUSTER_WRITE;
        queue(self);
    } else {
        /* In the loop's thread it is write_now() that hears of it. */
        self->told &= ~(unsigned)ASYNC__CLUSTER_WRITE;
        self->told |= ASYNC__CLUSTER_WRITTEN;
        if (async_get_running_loop() != self->loop) queue(self);
    }
    pthread_mutex_unlock(&self->mutex);
    return NATS_OK;
}

natsStatus async__cluster_detach(void *data)
{
    async__cluster_read(data, false);
    async__cluster_tell(data, ASYNC__CLUSTER_DETACHED);
    return NATS_OK;
}

/* ---- in the loop ---- */

static void stop_writing(async_cluster *self)
{
    if (self->is_writing) async_remove_watch(self->loop, &self->writer);
    self->is_writing = false;
    async_event_set(&self->drained);
}

/* Sends what was published since the last turn, in one go: each publish only fills the library's buffer. */
static void write_now(async_cluster *self)
{
    natsConnection_ProcessWriteEvent(self->connection);
    pthread_mutex_lock(&self->mutex);
    bool written = self->told & (ASYNC__CLUSTER_WRITTEN | ASYNC__CLUSTER_STOP);
    self->told &= ~(unsigned)ASYNC__CLUSTER_WRITTEN;
    pthread_mutex_unlock(&self->mutex);
    if (written)
        stop_writing(self);
    else if (!self->is_writing)
        self->is_writing = async_add_writer(self->loop, self->fd, &self->writer) == 0;
}

bool async__cluster_send_now(async_cluster *self)
{
    if (!self->connected || self->fd < 0) return false;
    write_now(self);
    return natsConnection_Buffered(self->connection) == 0;
}

static void writable(async_callback *callback)
{
    write_now(async__container(callback, async_cluster, writer.callback));
}

static void tell_subs(async_cluster *self, bool all)
{
    struct async__cluster_sub *next;

    for (struct async__cluster_sub *sub = self->subs; sub; sub = next) {
        uint64_t count = 0;
        next = sub->next;
        if (all || (natsSubscription_QueuedMsgs(sub->sub, &count) == NATS_OK && count > 0))
            sub->ready(sub);
    }
}

static void readable(async_callback *callback)
{
    async_cluster *self = async__container(callback, async_cluster, reader.callback);

    natsConnection_ProcessReadEvent(self->connection);
    tell_subs(self, false);
}

void async__cluster_unwatch(async_cluster *self)
{
    if (self->fd < 0) return;
    stop_writing(self);
    if (self->is_reading) async_remove_watch(self->loop, &self->reader);
    self->is_reading = false;
    async_forget_fd(self->loop, self->fd);
    close(self->fd);
    self->fd = -1;
}

static void start(async_cluster *self, int fd)
{
    self->fd = fd;
    self->reader = (async_watch){.callback = {.run = readable}};
    self->writer = (async_watch){.callback = {.run = writable}};
    self->is_reading = async_add_reader(self->loop, fd, &self->reader) == 0;
    if (++self->connects == 1 || self->is_reading) return; /* of the first, connect_it() tells */
    /* Without memory for a watch there is no connection: have the library make another one. */
    shutdown(fd, SHUT_RDWR);
    natsConnection_ProcessReadEvent(self->connection);
}

void async__cluster_set_closed(async_cluster *self)
{
    self->closed = true;
    async__cluster_fail_asks(self, -ECONNABORTED);
    async_event_set(&self->up);
    async_event_set(&self->down);
}

void async__cluster_run(async_callback *callback)
{
    async_cluster *self = async__container(callback, async_cluster, callback);

    pthread_mutex_lock(&self->mutex);
    unsigned told = self->told;
    int fd = self->next_fd;
    self->told &= ASYNC__CLUSTER_ENDED;
    self->queued = false;
    pthread_mutex_unlock(&self->mutex);

    if (told & (ASYNC__CLUSTER_STOP | ASYNC__CLUSTER_START)) {
        async__cluster_unwatch(self);
        self->connected = false;
        async_event_clear(&self->up);
        async__cluster_fail_asks(self, self->closing ? -ECONNABORTED : -ECONNRESET);
    }
    if (told & ASYNC__CLUSTER_START && self->closing) {
        close(fd);
    } else if (told & ASYNC__CLUSTER_START) {
        self->connected = true;
        start(self, fd);
        async_event_set(&self->up);
    }
    if (told & ASYNC__CLUSTER_WRITE && self->fd >= 0) write_now(self);
    if (told & ASYNC__CLUSTER_WRITTEN) stop_writing(self);
    bool ended = (told & ASYNC__CLUSTER_ENDED) == ASYNC__CLUSTER_ENDED;
    if (ended) async__cluster_set_closed(self);
    if (ended || told & (ASYNC__CLUSTER_STOP | ASYNC__CLUSTER_START)) tell_subs(self, true);
}
