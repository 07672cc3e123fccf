/* ctest: timeout=300
 * The suite of streams (stream_suite.h) over the carriers of the library itself. */
#include "stream_suite.h"

#include <pty.h>
#include <termios.h>

static int streams_of(int fds[2], async_stream *ends[2])
{
    for (int i = 0; i < 2; i++)
        assert_non_null(ends[i] = async_stream_from_fd(fds[i]));
    return 0;
}

static int open_tcp(async_stream *ends[2])
{
    int fds[2], size = 64 * 1024;
    make_tcp_pair(fds);
    for (int i = 0; i < 2; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
    return streams_of(fds, ends);
}

static int open_unix(async_stream *ends[2])
{
    int fds[2];
    make_pair(fds);
    return streams_of(fds, ends);
}

static int open_blocking_unix(async_stream *ends[2])
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    return streams_of(fds, ends);
}

static int open_pipe_with(int flags, async_stream *ends[2])
{
    int fds[2];
    assert_int_equal(pipe2(fds, flags | O_CLOEXEC), 0);
    return streams_of((int[]){fds[1], fds[0]}, ends);
}

static int open_pipe(async_stream *ends[2]) { return open_pipe_with(O_NONBLOCK, ends); }
static int open_blocking_pipe(async_stream *ends[2]) { return open_pipe_with(0, ends); }

/* Raw, from its slave to its master: the other way round the end throws away what is unread. */
static int open_pty(async_stream *ends[2])
{
    int master, slave;
    struct termios raw;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    fcntl(master, F_SETFL, O_NONBLOCK);
    fcntl(slave, F_SETFL, O_NONBLOCK);
    return streams_of((int[]){slave, master}, ends);
}

static int open_memory(async_stream *ends[2]) { return async_stream_pair(ends); }

static int open_narrow_memory(async_stream *ends[2])
{
    return async_stream_pair_with(ends, &(async_pair_options){.capacity = 1000, .max_read = 77});
}

static int open_late_memory(async_stream *ends[2])
{
    return async_stream_pair_with(ends, &(async_pair_options){.latency = 0.004});
}

static const struct carrier carriers[] = {
    {.name = "TCP", .open = open_tcp, .two_way = true, .half_close = true},
    {.name = "Unix", .open = open_unix, .two_way = true, .half_close = true},
    {.name = "blocking Unix", .open = open_blocking_unix, .two_way = true, .half_close = true},
    {.name = "pipe", .open = open_pipe, .half_close = true},
    {.name = "blocking pipe", .open = open_blocking_pipe, .half_close = true},
    {.name = "pty", .open = open_pty, .two_way = true, .end_error = -EIO},
    {.name = "memory", .open = open_memory, .two_way = true, .half_close = true},
    {.name = "narrow memory", .open = open_narrow_memory, .two_way = true, .half_close = true},
    {.name = "late memory", .open = open_late_memory, .two_way = true, .half_close = true},
};
SUITE(carriers)
