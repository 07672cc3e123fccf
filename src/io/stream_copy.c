/* stream_copy.c - from one stream to another one, and both ways.
 *
 * Between two sockets what comes in bulk goes through a pipe, by splice(2), and never into the
 * program's memory.
 * The pipe belongs to the copy only while there is something in it: the read that waits has none, it
 * takes an empty pipe from the loop when its socket is ready. So an idle connection costs a relay two
 * tasks, and no descriptors or buffers. Other carriers go through the loop's scratch: what comes is
 * sent in the attempt that has read it, and what the other side has no room for is received data of
 * the stream that it came from.
 *
 * Nothing may be lost when the copy ends in the middle. What is in the pipe then is read back, and is
 * the next to be read from its stream. That fits into the scratch, which is made before anything goes
 * into a pipe: it needs no memory. */
#include "io.h"

#include <casyncio/transfers.h>
#include <fcntl.h>
#include <unistd.h>

struct copy {
    struct async__fetch fetch; /* reads; fetch.stream is where from */
    async__op send;            /* from the pipe */
    async_stream *to;
    struct async__copying copying;
    int64_t *copied;
    int in, out; /* the descriptors to splice; -1: not from or to this one */
    int pipe[2];
    size_t piped; /* bytes in the pipe; 0: the copy has none */
    bool bulk;    /* the last read has brought much */
};

/* From here on a splice costs less than a copy: it takes more system calls, and a page for each
 * piece. */
enum { BULK = 16 * 1024 };

/* ---- pipes ---- */

static int take_pipe(async_loop *loop, int ends[2])
{
    if (loop->pipe_count > 0) {
        loop->pipe_count--;
        ends[0] = loop->pipes[loop->pipe_count][0];
        ends[1] = loop->pipes[loop->pipe_count][1];
        return 0;
    }
    return ASYNC__CALL(pipe2(ends, O_CLOEXEC | O_NONBLOCK)) < 0 ? -errno : 0;
}

static void close_pipe(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static void give_pipe(async_loop *loop, const int ends[2])
{
    if (loop->pipe_count == ASYNC__PIPES) {
        close_pipe(ends);
        return;
    }
    loop->pipes[loop->pipe_count][0] = ends[0];
    loop->pipes[loop->pipe_count][1] = ends[1];
    loop->pipe_count++;
}

/* Makes what is in the pipe the next to be read: 0, or -ENOMEM, and it is lost. */
static int put_back(struct copy *self)
{
    async_loop *loop = async__loop();
    size_t size = self->piped, done = 0;
    ssize_t n = 0;

    if (size == 0) return 0;
    self->piped = 0;
    /* Another copy may have kept the scratch. */
    char *scratch = self->fetch.stream->closed ? NULL : async__scratch_of(loop);
    while (scratch && done < size) {
        n = ASYNC__CALL(read(self->pipe[0], scratch + done, ASYNC__SIZE(size - done)));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            break;
    }
    if (done > 0) async__read_keep(self->fetch.stream, scratch, done);
    if (done < size)
        close_pipe(self->pipe);
    else
        give_pipe(loop, self->pipe);
    if (done == size || self->fetch.stream->closed) return 0;
    return async__failf(-ENOMEM,
                        "the copy has ended early, and %zu bytes that were read cannot be kept",
                        size - done);
}

/* ---- reading ---- */

/* Neither socket knows of it, or there is no pipe to be had. */
static bool must_buffer(ssize_t code)
{
    switch (-code) {
    case EINVAL:
    case ENOSYS:
    case EPERM:
    case EOPNOTSUPP:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return true;
    default: return false;
    }
}

static ssize_t try_splice(async__op *op)
{
    struct copy *self = async__container(op, struct copy, fetch.op);
    async_stream *from = self->fetch.stream;
    async_loop *loop = async__loop();

    if (!async__scratch_of(loop) || take_pipe(loop, self->pipe) < 0)
        return async__fetch_now(&self->fetch);
    ssize_t n = async__try_splice_in(self->in, self->pipe[1], ASYNC__SCRATCH);
    if (n > 0) {
        self->piped = (size_t)n;
        from->wait_first = n < BULK;
        return n;
    }
    give_pipe(loop, self->pipe);
    if (n == -EAGAIN || n == -EINTR) return n;
    if (!must_buffer(n)) return async__read_ended(from, n);
    self->in = -1;
    return async__fetch_now(&self->fetch);
}

/* Sends in the attempt what goes out at once. */
static size_t take(struct async__fetch *fetch, const char *data, size_t size)
{
    struct copy *self = async__container(fetch, struct copy, fetch);
    size_t n = async__write_at_once(self->to, data, size);

    *self->copied += (int64_t)n;
    return n;
}

/* ---- writing ---- */

static int send_received(struct copy *self)
{
    async_stream *from = self->fetch.stream;
    size_t size = async__buffer_size(&from->received), left = size;

    int code = async__write_begin(self->to);
    if (code < 0) return code;
    code = async__write_bytes(self->to, async__buffer_bytes(&from->received), size, &left);
    async__write_end(self->to);
    *self->copied += (int64_t)(size - left);
    if (left < size) async__read_consume(from, size - left);
    return code;
}

static ssize_t try_send(async__op *op)
{
    struct copy *self = async__container(op, struct copy, send);
    ssize_t n = async__try_splice_out(self->pipe[0], self->out, self->piped);
    return n == 0 ? -EPIPE : n;
}

static int send_pipe(struct copy *self)
{
    int code = async__write_begin(self->to);
    if (code < 0) return code;
    code = async__write_settled(self->to);
    while (code == 0 && self->piped > 0) {
        async__op_init(&self->send, self->to->wire, ASYNC__WRITE, ASYNC__OP_CALL);
        self->send.attempt = try_send;
        ssize_t n = async__write_run(self->to, &self->send, "write");
        if (n < 0) {
            code = (int)n;
            break;
        }
        self->piped -= (size_t)n;
        *self->copied += n;
    }
    async__write_end(self->to);
    if (self->piped == 0) give_pipe(async__loop(), self->pipe);
    return code;
}

/* ---- one way ---- */

static int gone(const struct copy *self)
{
    if (self->to->closed || self->fetch.stream->closed) return async__stream_closed();
    return async__write_check(self->to);
}

/* 0 at the end of the stream, or a code. */
static int copy_all(struct copy *self)
{
    async_stream *from = self->fetch.stream;

    for (;;) {
        int code = gone(self);
        if (code < 0) return code;
        if (async__buffer_size(&from->received) > 0) {
            code = send_received(self);
        } else {
            bool direct = self->bulk && self->in >= 0 && self->out >= 0;
            ssize_t n = direct ? async__read_attempt(&self->fetch, try_splice)
                               : async__read_fetch(&self->fetch);
            if (n < 0) return (int)n;
            if (n == 0) return 0;
            self->bulk = n >= BULK;
            if (self->piped > 0) code = send_pipe(self);
        }
        if (code == 0) code = async__stream_again(from);
        if (code < 0) return code;
    }
}

static int begin(struct copy *self)
{
    int code = async__scope_enter(&self->copying.scope, "async_stream_copy");
    if (code < 0) return code;
    self->copying.next = self->to->copies;
    self->to->copies = &self->copying;
    self->fetch.stream->copy = &self->copying;
    return 0;
}

static void end(struct copy *self)
{
    struct async__copying **link = &self->to->copies;

    self->fetch.stream->copy = NULL;
    while (*link != &self->copying)
        link = &(*link)->next;
    *link = self->copying.next;
    async_scope_leave(&self->copying.scope);
}

static int64_t copy(async_stream *from, async_stream *to, int64_t *copied)
{
    struct copy self = {
        .fetch = {.stream = from, .take = take},
        .to = to,
        .in = async__wire_direct(from->wire),
        .out = async__wire_direct(to->wire),
    };
    self.copied = copied;

    int code = begin(&self);
    if (code < 0) return code;
    code = copy_all(&self);
    /* Its scope may have been cancelled for that. */
    if (code == -ECANCELED && self.copying.scope.code && gone(&self) < 0) code = gone(&self);
    end(&self);
    int lost = put_back(&self);
    if (lost < 0) code = lost;
    return code < 0 ? code : *copied;
}

int64_t async_stream_copy(async_stream *from, async_stream *to, int64_t *copied)
{
    int64_t count;

    if (!copied) copied = &count;
    *copied = 0;
    if (!from || !to) return async__stream_null();
    if (to->closed) return async__misuse(async__stream_closed());
    to->references++;
    int64_t result = async__read_begin(from);
    if (result < 0) {
        async__stream_leave(from, 0);
    } else {
        result = to->closed ? async__stream_closed() : copy(from, to, copied);
        async__read_end(from, 0);
    }
    async__stream_leave(to, 0);
    return result;
}

/* ---- both ways ---- */

struct one_way {
    async_stream *from, *to;
    int64_t *copied;
};

static int one_way(struct one_way *self)
{
    int64_t n = async_stream_copy(self->from, self->to, self->copied);
    if (n < 0) return (int)n;
    int code = async_stream_write_eof(self->to);
    return code == -EOPNOTSUPP ? 0 : code;
}

int async_stream_relay(async_stream *a, async_stream *b, int64_t copied[2])
{
    int64_t counts[2];

    if (!copied) copied = counts;
    copied[0] = copied[1] = 0;
    if (!a || !b) return async__stream_null();
    if (a == b) return async__misuse(async__failf(-EINVAL, "a stream cannot be relayed to itself"));
    async_group *group = async_group_enter();
    if (!group) return async_error_code();
    if (async_group_spawn(group, one_way, .from = a, .to = b, .copied = &copied[0])) {
        int code = one_way(&(struct one_way){.from = b, .to = a, .copied = &copied[1]});
        /* A cancellation is no failure of the group: leaving it gives that. */
        if (code < 0 && code == async__current->interrupt)
            async_group_cancel(group);
        else if (code < 0)
            async_group_fail(group, code);
    }
    return async_group_leave(group);
}
