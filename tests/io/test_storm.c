/* A storm of interruptions over operations that are under way: reads into the caller's buffers, streams,
 * sends, files, accepts, connects, closes. Each call is cut short by a timeout of some microseconds, the
 * tasks are cancelled and begun anew, and descriptors are closed under their readers.
 *
 * On return from a call, also with a code, the buffer is the caller's again. So it is filled with a
 * pattern, kept for some time, and looked at: what the kernel writes late is found there. (A sanitizer does
 * not see the kernel's writes; it sees what the library does with memory of operations that have ended.)
 *
 * Both on io_uring, if there is one, and on the back end that the environment names. CASYNCIO_STORM says
 * how many seconds each takes; 1 without it. */
#include "io_test.h"

enum { TASKS = 28, KEPT = 256, PATTERN = 0xa5, FILE_SIZE = 1 << 20 };

static struct {
    uint64_t seed;
    int listener;
    struct sockaddr_in address;
    char directory[64];
    int peers[TASKS]; /* the other ends of the tasks' sockets; -1: none */
    unsigned done, interrupted;
} storm;

static unsigned draw(unsigned below)
{
    storm.seed ^= storm.seed << 13;
    storm.seed ^= storm.seed >> 7;
    storm.seed ^= storm.seed << 17;
    return (unsigned)(storm.seed >> 33) % below;
}

static double moment(void) { return draw(4) ? draw(300) * 1e-6 : 0; }

/* The result of a call: false if the task has been cancelled. */
static bool tell(ssize_t code)
{
    if (code >= 0)
        storm.done++;
    else
        storm.interrupted++;
    return code != -ECANCELED;
}

/* ---- buffers that are looked at once more ---- */

static struct kept {
    unsigned char *data;
    size_t size;
} kept[KEPT];
static unsigned next_kept;

static void look_at(struct kept *self)
{
    /* Every byte is the first, and that is the pattern. */
    if (self->size > 0) assert_int_equal(self->data[0], PATTERN);
    if (self->size > 1) assert_memory_equal(self->data, self->data + 1, self->size - 1);
    free(self->data);
    *self = (struct kept){0};
}

static void keep(void *data, size_t size)
{
    struct kept *self = &kept[next_kept++ % KEPT];
    look_at(self);
    memset(data, PATTERN, size);
    *self = (struct kept){data, size};
}

static void look_at_all(void)
{
    for (int i = 0; i < KEPT; i++)
        look_at(&kept[i]);
}

/* ---- the tasks ---- */

static int receives(void *argument)
{
    int *peer = argument;
    int fds[2];
    ssize_t n = 0;

    make_pair(fds);
    *peer = fds[1];
    do {
        size_t size = 1 + draw(draw(2) ? 100 : 70000);
        char *buffer = malloc(size);
        async_timeout (moment())
            n = async_recv(fds[0], buffer, size, 0);
        keep(buffer, size);
    } while (tell(n));
    *peer = -1;
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}

static int reads_lines(void *argument)
{
    int *peer = argument;
    async_stream *stream = stream_and_fd(peer);
    int fd = *peer;
    ssize_t n = 0;

    do {
        size_t size = 1 + draw(9000);
        char *buffer = malloc(size);
        async_timeout (moment())
            n = draw(2) ? async_stream_readline(stream, buffer, size)
                        : async_stream_read(stream, buffer, size);
        keep(buffer, size);
    } while (tell(n));
    *peer = -1;
    async_stream_close(stream);
    async_close(fd);
    return 0;
}

static int sends(void *argument)
{
    int *peer = argument;
    int fds[2];
    ssize_t n = 0;

    make_pair(fds);
    *peer = fds[1];
    do {
        size_t size = 1 + draw(400000);
        char *buffer = malloc(size);
        memset(buffer, '\n', size);
        async_timeout (moment())
            n = async_sendall(fds[0], buffer, size, NULL);
        keep(buffer, size);
    } while (tell(n));
    *peer = -1;
    async_close(fds[0]);
    async_close(fds[1]);
    return 0;
}

static int accepts(void *argument)
{
    int *peer = argument;
    int fd = 0;

    (void)peer;
    for (;;) {
        async_timeout (moment())
            fd = async_accept(storm.listener, NULL, NULL);
        if (!tell(fd)) return 0;
        if (fd >= 0) async_close(fd);
        if (fd == -EBUSY)
            async_timeout (1e-4)
                async_sleep(1);
    }
}

static int connects(void *argument)
{
    int *peer = argument;
    int code = 0;

    (void)peer;
    do {
        int fd = async_socket(AF_INET, SOCK_STREAM, 0);
        async_timeout (moment())
            code = async_connect(fd, (struct sockaddr *)&storm.address, sizeof storm.address);
        async_close(fd);
    } while (tell(code));
    return 0;
}

static char *path_in(char *path, size_t size, const char *name)
{
    snprintf(path, size, "%s/%s", storm.directory, name);
    return path;
}

static int reads_file(void *argument)
{
    int *peer = argument;
    char path[100];
    ssize_t n = 0;

    (void)peer;
    path_in(path, sizeof path, "whole");
    do {
        async_file *file = NULL;
        async_timeout (moment() + 1e-3)
            file = async_file_open(path, "r");
        n = file ? 0 : async_error_code();
        while (file && tell(n) && draw(4)) {
            size_t size = 1 + draw(200000);
            unsigned char *buffer = malloc(size);
            int64_t place = async_file_seek(file, draw(FILE_SIZE), SEEK_SET);
            if (draw(2)) posix_fadvise(async_file_fd(file), 0, 0, POSIX_FADV_DONTNEED);
            async_timeout (moment())
                n = async_file_read(file, buffer, size);
            for (ssize_t i = 0; place >= 0 && i < n; i++)
                if (buffer[i] != (unsigned char)((place + i) * 31)) fail();
            keep(buffer, size);
        }
        async_file_close(file);
    } while (n != -ECANCELED);
    return 0;
}

static int writes_file(void *argument)
{
    int *peer = argument;
    char path[100], name[16];
    int code = 0;

    snprintf(name, sizeof name, "%d", (int)(peer - storm.peers));
    path_in(path, sizeof path, name);
    do {
        async_file *file = NULL;
        async_timeout (moment() + 1e-3)
            file = async_file_open(path, draw(2) ? "w" : "a");
        code = file ? 0 : async_error_code();
        while (file && tell(code) && draw(4)) {
            size_t size = 1 + draw(50000);
            char *buffer = calloc(1, size);
            async_timeout (moment())
                code = draw(8) ? async_file_write(file, buffer, size) : async_file_sync(file);
            keep(buffer, size);
        }
        int end = 0;
        async_timeout (moment())
            end = async_file_close(file);
        tell(end);
    } while (code != -ECANCELED);
    return 0;
}

static int receives_once(void *fd)
{
    size_t size = 1 + draw(3000);
    char *buffer = malloc(size);
    ssize_t n = async_recv(*(int *)fd, buffer, size, 0);
    keep(buffer, size);
    return (int)n;
}

static int closes(void *argument)
{
    int *peer = argument;
    int code;

    do {
        int fds[2];
        make_pair(fds);
        *peer = fds[1];
        async_task *task = async_create_task(receives_once, &fds[0]);
        code = async_sleep(moment());
        *peer = -1;
        async_close(fds[0]);
        if (draw(2)) async_cancel(task, NULL);
        int end = async_await(task);
        if (end == -ECANCELED && code == 0 && draw(8) == 0) code = end;
        async_close(fds[1]);
    } while (tell(code));
    return 0;
}

static const async_coroutine kinds[] = {receives,   reads_lines, sends,  accepts,    connects,
                                        reads_file, writes_file, closes, reads_lines};

/* ---- the weather ---- */

static async_task *begin(int i)
{
    storm.peers[i] = -1;
    return async_create_task(kinds[(size_t)i % COUNT(kinds)], &storm.peers[i]);
}

static void blow(void)
{
    static char data[20000];
    int peer = storm.peers[draw(TASKS)];

    if (peer < 0) return;
    memset(data, draw(3) ? 'x' : '\n', sizeof data);
    data[draw(sizeof data)] = '\n';
    if (draw(3))
        (void)!send(peer, data, 1 + draw(sizeof data), MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        (void)!recv(peer, data, sizeof data, MSG_DONTWAIT);
}

static int rage(void *argument)
{
    async_task *tasks[TASKS];
    double end = async_now() + *(double *)argument;

    storm.listener = listen_here(5, &storm.address);
    for (int i = 0; i < TASKS; i++)
        tasks[i] = begin(i);
    while (async_now() < end) {
        async_sleep(moment());
        for (unsigned left = draw(8); left > 0; left--)
            blow();
        if (draw(4)) continue;
        int i = (int)draw(TASKS);
        async_cancel(tasks[i], NULL);
        async_await(tasks[i]);
        tasks[i] = begin(i);
    }
    for (int i = 0; i < TASKS; i++)
        async_cancel(tasks[i], NULL);
    for (int i = 0; i < TASKS; i++)
        async_await(tasks[i]);
    async_close(storm.listener);
    return 0;
}

static void rage_on(const char *backend)
{
    const char *seconds = getenv("CASYNCIO_STORM");
    double length = seconds ? atof(seconds) : 1;

    storm.seed = (uint64_t)getpid() * 2654435761u + 1;
    storm.done = storm.interrupted = 0;
    assert_int_equal(
        async_run_with(rage, &length, &(async_run_options){.loop = {.backend = backend}}), 0);
    look_at_all(); /* no operation is left */
    printf("%u calls done, %u interrupted\n", storm.done, storm.interrupted);
    assert_true(storm.interrupted > 0);
}

static void test_on_io_uring(void **state)
{
    (void)state;
    if (on_valgrind()) skip(); /* it does not see what the kernel writes */
    rage_on("io_uring");
}

static void test_on_the_usual(void **state)
{
    (void)state;
    rage_on(NULL);
}

static int make_files(void **state)
{
    char path[100];
    unsigned char *data = malloc(FILE_SIZE);

    (void)state;
    snprintf(storm.directory, sizeof storm.directory, "storm.XXXXXX");
    if (!mkdtemp(storm.directory)) return -1;
    for (int i = 0; i < FILE_SIZE; i++)
        data[i] = (unsigned char)(i * 31);
    FILE *file = fopen(path_in(path, sizeof path, "whole"), "w");
    bool good = file && fwrite(data, 1, FILE_SIZE, file) == FILE_SIZE && fclose(file) == 0;
    free(data);
    return good ? 0 : -1;
}

static int remove_files(void **state)
{
    char path[100], name[16];

    (void)state;
    unlink(path_in(path, sizeof path, "whole"));
    for (int i = 0; i < TASKS; i++) {
        snprintf(name, sizeof name, "%d", i);
        unlink(path_in(path, sizeof path, name));
    }
    return rmdir(storm.directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_on_io_uring),
        cmocka_unit_test(test_on_the_usual),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
