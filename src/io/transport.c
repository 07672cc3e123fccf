/* transport.c - transports: a task that reads from a stream and calls a protocol.
 *
 * The task reads, and in the end closes the stream. All other functions only note what is wanted, and
 * wake the task: `closing` with an end of what is read, `paused` by an event. Writing goes to the stream
 * at once, and what is left to its outbox, which queues the callback `room` when no more than the
 * low-water mark is left, or when the flush has failed. */
#include "../base/options.h"
#include "../sync/sync.h"
#include "server.h"

#include <casyncio/protocols.h>

struct async_transport {
    async_stream *stream; /* with a reference of the transport's */
    async_protocol protocol;
    void *self;
    async_task *task;
    async_callback room; /* queued by the outbox */
    async_event changed; /* `paused` or `closing`: for the task that waits */
    bool paused;         /* reading is */
    bool choked;         /* writing is: pause_writing has been called */
    bool closing;
    bool aborted;
    bool ending; /* the task closes the stream */
    int code;    /* for connection_lost */
};

static int no_transport(const char *call)
{
    return async__misuse(async__null_in(call, "transport"));
}

static int is_closing(void) { return async__failf(-EBADF, "the transport is closing"); }

/* ---- ending it ---- */

static void stop(async_transport *self)
{
    self->closing = true;
    async_event_set(&self->changed);
    if (!self->stream->closed) async__stream_end_reading(self->stream);
}

static void fail(async_transport *self, int code)
{
    if (!self->closing) self->code = code;
    stop(self);
}

void async_transport_close(async_transport *self)
{
    if (self && !self->closing) stop(self);
}

void async_transport_abort(async_transport *self)
{
    if (!self || self->aborted) return;
    self->aborted = true;
    if (self->ending) {
        async_cancel(self->task, "the transport is aborted"); /* it waits until all has been sent */
        return;
    }
    self->closing = true;
    async_event_set(&self->changed);
    async_stream_abort(self->stream);
}

bool async_transport_is_closing(const async_transport *self) { return !self || self->closing; }

/* ---- writing ---- */

static void on_room(async_callback *callback)
{
    async_transport *self = async__container(callback, async_transport, room);
    async_stream *stream = self->stream;

    if (stream->write_error < 0) {
        fail(self, stream->write_error);
        return;
    }
    if (!self->choked || async__stream_queued(stream) > async__stream_low_water(stream)) return;
    self->choked = false;
    if (self->protocol.resume_writing) self->protocol.resume_writing(self->self);
}

static void look_at_outbox(async_transport *self)
{
    async_stream *stream = self->stream;

    if (!stream->outbox) return;
    async__outbox_tell(stream, &self->room);
    if (self->choked || async__stream_queued(stream) <= stream->high) return;
    self->choked = true;
    if (self->protocol.pause_writing) self->protocol.pause_writing(self->self);
}

/* What could not be taken for lack of memory is missing in what the other side gets: the connection is
 * no good any more, whether the caller looks at the code or not. */
int async_transport_write(async_transport *self, const void *data, size_t size)
{
    if (!self) return no_transport(__func__);
    if (self->closing) return is_closing();
    if (async__unlikely(!async__buffer_ok(data, size)))
        return async__bad_buffer(__func__, data, size);
    int code = async__write_all_now(self->stream, data, size);
    if (code == 0)
        look_at_outbox(self);
    else if (self->stream->write_error < 0 || code == -ENOMEM)
        fail(self, code);
    return code;
}

int async_transport_write_eof(async_transport *self)
{
    if (!self) return no_transport(__func__);
    return self->closing ? is_closing() : async_stream_write_eof(self->stream);
}

void async_transport_set_write_buffer_limits(async_transport *self, size_t high)
{
    if (!self || self->closing) return;
    async_stream_set_high_water(self->stream, high);
    look_at_outbox(self);
    if (self->choked) async_call_soon(async__loop(), &self->room);
}

size_t async_transport_get_write_buffer_size(const async_transport *self)
{
    return self ? async__stream_queued(self->stream) : 0;
}

/* ---- reading ---- */

static int set_paused(async_transport *self, bool paused, const char *call)
{
    if (!self) return no_transport(call);
    if (self->closing) return is_closing();
    self->paused = paused;
    async_event_set(&self->changed);
    return 0;
}

int async_transport_pause_reading(async_transport *self)
{
    return set_paused(self, true, __func__);
}

int async_transport_resume_reading(async_transport *self)
{
    return set_paused(self, false, __func__);
}

bool async_transport_is_reading(const async_transport *self)
{
    return self && !self->closing && !self->paused;
}

/* All of what has been read is left over: the stream keeps it. */
static size_t take_nothing(struct async__fetch *fetch, const char *data, size_t size)
{
    (void)fetch, (void)data, (void)size;
    return 0;
}

/* Waits until the stream has received something: how much; 0 is the end; or a code. */
static ssize_t wait_for_data(async_stream *stream)
{
    struct async__fetch fetch;
    int code = async__read_begin(stream);

    if (code < 0) return async__stream_leave(stream, code);
    if (async__buffer_size(&stream->received) > 0) return async__read_end(stream, 1);
    fetch.stream = stream;
    fetch.take = take_nothing;
    return async__read_end(stream, async__read_fetch(&fetch));
}

/* The data is taken out of the stream before: data_received may block, and start TLS. */
static void give_data(async_transport *self)
{
    struct async__buffer data = self->stream->received;

    self->stream->received = (struct async__buffer){0};
    if (self->protocol.data_received)
        self->protocol.data_received(self->self, async__buffer_bytes(&data),
                                     async__buffer_size(&data));
    async__buffer_free(&data);
}

static int wait_for_change(async_transport *self)
{
    async_event_clear(&self->changed);
    return async_event_wait(&self->changed);
}

/* Until the transport closes: 0, or why it must. */
static int receive(async_transport *self)
{
    bool ended = false;
    ssize_t n = 0;

    while (n >= 0 && !self->closing) {
        if (self->paused || ended) {
            n = wait_for_change(self);
            continue;
        }
        n = wait_for_data(self->stream);
        if (n < 0 || self->paused || self->closing) continue; /* it may be since it began to wait */
        if (n > 0) {
            give_data(self);
            continue;
        }
        ended = self->protocol.eof_received && self->protocol.eof_received(self->self);
        if (!ended) break;
    }
    return n < 0 ? (int)n : 0;
}

/* ---- its task ---- */

static void finish(async_transport *self, int code)
{
    async_stream *stream = self->stream;

    if (self->code == 0) self->code = code;
    self->closing = true;
    async__outbox_tell(stream, NULL);
    async_callback_cancel(&self->room);
    if (self->code < 0) {
        async_stream_abort(stream);
    } else if (!stream->closed) {
        self->ending = true;
        self->code = async_stream_close(stream);
        self->ending = false;
    }
    if (self->aborted) self->code = 0;
    if (self->protocol.connection_lost) self->protocol.connection_lost(self->self, self->code);
    async__stream_unref(stream);
    async__free(self);
}

static void run(async_transport *self)
{
    self->task = async__current;
    int code = async_stream_handshake(self->stream);
    if (code == 0 && !self->closing) {
        if (self->protocol.connection_made) self->protocol.connection_made(self->self, self);
        code = receive(self);
    }
    finish(self, code);
}

static int run_task(void *argument)
{
    run(argument);
    return 0;
}

/* ---- making it ---- */

/* With a reference to the stream of its own. NULL: no memory. */
static async_transport *make(async_stream *stream, const async_protocol *protocol, void *object)
{
    async_transport *self = async__alloc_zeroed(sizeof *self);

    if (!self) {
        async__failf(-ENOMEM, "no memory for a transport");
        return NULL;
    }
    self->stream = stream;
    self->protocol = *protocol;
    self->self = object;
    self->room.run = on_room;
    stream->references++;
    return self;
}

static int copy_protocol(const char *call, async_protocol *own, const async_protocol *given,
                         size_t size)
{
    if (!given) return async__failf(-EINVAL, "%s: the protocol is NULL", call);
    if (async__options(own, sizeof *own, given, size) < 0)
        return async__failf(-EINVAL, "%s: the protocol has a function of a newer version", call);
    return 0;
}

static async_transport *start(async_stream *stream, const async_protocol *protocol, size_t size,
                              void *object)
{
    async_protocol own;
    async_task_options options = {.name = "transport", .coroutine = "async_transport"};

    if (copy_protocol("async_transport_new", &own, protocol, size) < 0) return NULL;
    async_transport *self = make(stream, &own, object);
    if (!self) return NULL;
    self->task = async_create_task_with(run_task, self, &options);
    if (self->task) {
        async_detach(self->task);
        return self;
    }
    async__stream_unref(stream);
    async__free(self);
    return NULL;
}

async_transport *async__transport_new(async_stream *stream, const async_protocol *protocol,
                                      size_t size, void *object)
{
    if (!stream) {
        async__fail_null("async_transport_new: the stream");
        return NULL;
    }
    async_transport *self = start(stream, protocol, size, object);
    if (self) return self;
    struct async__record before = async__record_save();
    async_stream_abort(stream);
    async__record_restore(&before, true);
    return NULL;
}

/* ---- servers ---- */

struct service {
    async_protocol protocol;
    async_protocol_factory *factory;
    void *data;
};

static int serve_client(async_stream *stream, void *data)
{
    const struct service *service = data;
    void *object = service->factory ? service->factory(service->data) : service->data;

    if (!object && service->factory) return 0;
    async_transport *self = make(stream, &service->protocol, object);
    if (self) {
        run(self);
        return 0;
    }
    if (service->protocol.connection_lost) service->protocol.connection_lost(object, -ENOMEM);
    return -ENOMEM;
}

int async__server_serve_protocol(async_server *server, const async_protocol *protocol, size_t size,
                                 async_protocol_factory *factory, void *data)
{
    struct service service = {.factory = factory, .data = data};
    int code = copy_protocol("async_server_serve_protocol", &service.protocol, protocol, size);

    if (code < 0) {
        async_server_close(server);
        return code;
    }
    return async__server_serve(server, serve_client, &service, "async_transport");
}

/* ---- the rest ---- */

int async__transport_set_protocol(async_transport *self, const async_protocol *protocol,
                                  size_t size, void *object)
{
    if (!self) return no_transport("async_transport_set_protocol");
    if (self->closing) return is_closing();
    async_protocol own;
    int code = copy_protocol("async_transport_set_protocol", &own, protocol, size);
    if (code < 0) return code;
    self->protocol = own;
    self->self = object;
    return 0;
}

void *async_transport_get_protocol(const async_transport *self) { return self ? self->self : NULL; }

async_stream *async_transport_stream(const async_transport *self)
{
    return self ? self->stream : NULL;
}
