/* communicate.c - input to a child and both of its outputs, at the same time: whichever is done first,
 * a child that fills one pipe while nothing reads it would wait for ever. Each is a task of a group;
 * what is last needs none. */
#include "process.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 4096

struct part {
    async_group *group;
    int (*run)(void *self);
    int code;
};

struct feed {
    struct part part;
    async_stream *stream;
    const void *data;
    size_t size;
};

struct collect {
    struct part part;
    async_process *process;
    async_stream *stream;
    const char *what;
    char *data;
    size_t size, room; /* room: for the final 0 byte, too */
    size_t limit;
    bool dropped;
};

/* ---- input ---- */

/* The child need not read it. Its end comes in any case, by the close if it cannot be sent. */
static int feed(void *argument)
{
    struct feed *self = argument;
    int code = 0;

    if (self->size > 0) code = async_stream_write(self->stream, self->data, self->size);
    if (code == 0) code = async_stream_write_eof(self->stream);
    if (code != -EPIPE && code != -ECONNRESET) return code;
    async__process_stream_abort(self->stream);
    return 0;
}

/* ---- output ---- */

static bool grow(struct collect *self)
{
    size_t room = self->room ? self->room * 2 : FIRST_ROOM;

    if (self->limit && room - 2 > self->limit) room = self->limit + 2;
    if (self->size + 1 < self->room) return true;
    char *data = room > self->room ? async__realloc(self->data, room) : NULL;
    if (!data) {
        async__failf(-ENOMEM, "no memory for %zu bytes of output", room);
        return false;
    }
    self->data = data;
    self->room = room;
    data[self->size] = 0;
    return true;
}

static int collect(void *argument)
{
    struct collect *self = argument;

    for (;;) {
        if (!grow(self)) return -ENOMEM;
        ssize_t n =
            async_stream_read(self->stream, self->data + self->size, self->room - 1 - self->size);
        if (n <= 0) return (int)n;
        self->size += (size_t)n;
        self->data[self->size] = 0;
        if (self->limit && self->size > self->limit)
            return async__failf(ASYNC_ELIMIT,
                                "%s has written more than %zu bytes to its standard %s",
                                self->process->name, self->limit, self->what);
        if (self->dropped) self->size = 0;
    }
}

/* ---- both ---- */

/* If only this task is cancelled, by a program that cancels whatever async_all_tasks gives, a group
 * would go on without it, and the child without its end of input. */
static int run_part(void *argument)
{
    struct part *self = argument;

    self->code = self->run(self);
    if (self->code == -ECANCELED) async_group_cancel(self->group);
    return self->code;
}

static void start_part(struct part *part, async_group *group, int (*run)(void *))
{
    part->group = group;
    part->run = run;
    async_group_create_task(group, run_part, part);
}

static int run_all(struct feed *input, struct collect outputs[2])
{
    async_group *group = async_group_enter();
    if (!group) return async_error_code();
    if (input->stream) start_part(&input->part, group, feed);
    for (int i = 0; i < 2; i++)
        if (outputs[i].stream) start_part(&outputs[i].part, group, collect);
    int code = async_group_leave(group);
    if (code < 0) return code;
    if (input->part.code < 0 || outputs[0].part.code < 0 || outputs[1].part.code < 0)
        return async__failf(-ECANCELED, "a task of communicate was cancelled");
    return 0;
}

static int exchange(struct feed *input, struct collect outputs[2])
{
    int count = !!input->stream + !!outputs[0].stream + !!outputs[1].stream;

    /* An end alone does not wait. */
    if (input->stream && input->size == 0) {
        int code = feed(input);
        if (code < 0) return code;
        input->stream = NULL;
        count--;
    }
    if (count == 0) return 0;
    if (count > 1) return run_all(input, outputs);
    return input->stream ? feed(input) : collect(&outputs[outputs[0].stream ? 0 : 1]);
}

static int communicate(async_process *process, struct feed *input, struct collect outputs[2])
{
    if (input->size > 0 && !input->stream)
        return async__failf(-EINVAL, "there is input for %s, but its standard input is no pipe",
                            process->name);
    int code = exchange(input, outputs);
    if ((code == 0 || code == -EBADF) && process->closed) return async__process_closed(process);
    return code < 0 ? code : async__process_await(process);
}

/* A stream that its owner has closed is at its end. */
static async_stream *open_stream(const async_process *process, int i)
{
    async_stream *stream = process->streams[i];
    return stream && !async__process_stream_closed(stream) ? stream : NULL;
}

int async_process_communicate(async_process *process, const void *input, size_t input_size,
                              async_process_output *output)
{
    if (output) {
        size_t limit = output->limit;
        *output = (async_process_output){.limit = limit, .returncode = ASYNC_RUNNING};
    }
    int code = async__process_enter(process);
    if (code < 0) return async__process_leave(process, code);

    struct feed from = {.stream = open_stream(process, 0), .data = input, .size = input_size};
    struct collect outputs[2] = {{.what = "output"}, {.what = "error"}};
    for (int i = 0; i < 2; i++) {
        outputs[i].process = process;
        outputs[i].stream = open_stream(process, i + 1);
        outputs[i].limit = output ? output->limit : 0;
        outputs[i].dropped = !output;
    }
    code = communicate(process, &from, outputs);
    if (code == 0) code = async__process_result(process, NULL);
    if (output) {
        output->out = outputs[0].data;
        output->out_size = outputs[0].size;
        output->err = outputs[1].data;
        output->err_size = outputs[1].size;
        output->returncode = process->returncode;
    } else {
        async__free(outputs[0].data);
        async__free(outputs[1].data);
    }
    return async__process_leave(process, code);
}

void async_process_output_free(async_process_output *output)
{
    if (!output) return;
    async__free(output->out);
    async__free(output->err);
    output->out = output->err = NULL;
    output->out_size = output->err_size = 0;
}
