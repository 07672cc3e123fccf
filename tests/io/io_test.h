/* io_test.h - what the tests of src/io have in common: pairs, peers that misbehave, waiting for
 * nothing. */
#ifndef IO_TEST_H
#define IO_TEST_H

#include "run.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

/* valgrind keeps books of every byte that a system call may touch: gigabytes are too many for
 * it. */
__attribute__((unused)) static size_t huge_size(size_t size)
{
    return RUNNING_ON_VALGRIND ? size >> 8 : size;
}

#define UNUSED __attribute__((unused)) static

/* A connected pair of Unix sockets. */
UNUSED void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* A stream, and the descriptor of its other end. */
UNUSED async_stream *stream_and_fd(int *fd)
{
    int fds[2];
    make_pair(fds);
    async_stream *stream = async_stream_from_fd(fds[0]);
    assert_non_null(stream);
    *fd = fds[1];
    return stream;
}

/* A socket that listens on a free port of 127.0.0.1. */
UNUSED int listen_here(int backlog, struct sockaddr_in *address)
{
    socklen_t length = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)address, length), 0);
    if (backlog >= 0) assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)address, &length), 0);
    return fd;
}

/* A port of 127.0.0.1 that refuses: bound, so that no other process takes it, and not listened on. */
UNUSED int refused_port(int *fd)
{
    struct sockaddr_in address;
    *fd = listen_here(-1, &address);
    return ntohs(address.sin_port);
}

/* A TCP connection by way of the loopback: fds[0] has been accepted from fds[1]'s connect. */
UNUSED void make_tcp_pair(int fds[2])
{
    struct sockaddr_in address;
    int listener = listen_here(1, &address);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&address, sizeof address), 0);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    fds[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fds[0] >= 0);
    close(listener);
}

/* Closes with a reset. */
UNUSED void reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    async_close(fd);
}

UNUSED void small_buffers(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){4096}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096}, sizeof(int));
}

UNUSED void put_text(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* What has come and can be read at once, as a string; good until the next call. */
UNUSED const char *got_text(int fd)
{
    static char text[4096];
    ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* Reads and throws away all that is there; how much it was. */
UNUSED size_t drain_fd(int fd)
{
    static char bin[65536];
    size_t all = 0;
    ssize_t n;
    while ((n = recv(fd, bin, sizeof bin, MSG_DONTWAIT)) > 0)
        all += (size_t)n;
    return all;
}

/* Lets the others run until they have nothing left to do: the loop looks at descriptors before its
 * clock jumps. */
UNUSED void settle(void)
{
    for (int i = 0; i < 4; i++)
        async_sleep(1e-6);
}

UNUSED int open_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

UNUSED bool on_valgrind(void)
{
    const char *preload = getenv("LD_PRELOAD");
    return preload && strstr(preload, "vgpreload");
}

/* More than 2 GiB of address space, of which only what comes is touched. Under valgrind less: it
 * takes minutes for so much, and then calls the end of it unaddressable. */
UNUSED char *much_space(size_t *size)
{
    *size = on_valgrind() ? (size_t)1 << 24 : (size_t)3 << 30;
    char *space = mmap(NULL, *size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_ptr_not_equal(space, MAP_FAILED);
    return space;
}

#define assert_message(text) assert_non_null(strstr(async_error_message(), text))

/* Bytes that tell where they stand. */
UNUSED unsigned char pattern(size_t place) { return (unsigned char)(place * 31 + (place >> 8)); }

UNUSED void fill(unsigned char *data, size_t size, size_t from)
{
    for (size_t i = 0; i < size; i++)
        data[i] = pattern(from + i);
}

UNUSED bool is_pattern(const unsigned char *data, size_t size, size_t from)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != pattern(from + i)) return false;
    return true;
}

#endif
