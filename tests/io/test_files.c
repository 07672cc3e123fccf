/* files.h. */
#include "io_test.h"

#include <signal.h>
#include <sys/resource.h>

static char directory[64];

/* Good until the fourth next call. */
static const char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void make_file(const char *name, const char *text)
{
    int fd = open(path_of(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    put_text(fd, text);
    close(fd);
}

static const char *text_of(const char *name)
{
    static char text[4096];
    int fd = open(path_of(name), O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    return text;
}

static int write_and_read(void *unused)
{
    (void)unused;
    char buffer[64];
    int before = open_fds();
    async_file *file = async_file_open(path_of("a"), "w");
    assert_non_null(file);
    assert_int_equal(async_error_code(), 0);
    assert_int_equal(async_file_write(file, "hello\n", 6), 0);
    assert_int_equal(async_file_write(file, "", 0), 0);
    assert_int_equal(async_file_printf(file, "%s %d\n", "world", 42), 0);
    assert_int_equal(async_file_sync(file), 0);
    assert_int_equal(async_file_read(file, buffer, 1), -EBADF);
    assert_message("/a: Bad file descriptor");
    assert_int_equal(async_file_close(file), 0);
    assert_string_equal(text_of("a"), "hello\nworld 42\n");

    file = async_file_open(path_of("a"), "rb");
    assert_int_equal(async_file_read(file, buffer, 0), 0);
    assert_int_equal(async_file_read(file, buffer, 3), 3);
    assert_int_equal(async_file_readline(file, buffer, sizeof buffer), 3);
    assert_string_equal(buffer, "lo\n");
    assert_int_equal(async_file_seek(file, 0, SEEK_CUR), 6);
    assert_int_equal(async_file_readline(file, buffer, 9), ASYNC_ELIMIT);
    assert_int_equal(async_file_read(file, buffer, sizeof buffer), 9);
    assert_int_equal(async_file_read(file, buffer, sizeof buffer), 0);
    assert_int_equal(async_file_readline(file, buffer, sizeof buffer), 0);
    assert_int_equal(async_file_write(file, "x", 1), -EBADF);
    assert_int_equal(async_file_close(file), 0);
    assert_int_equal(async_file_close(NULL), 0);
    assert_int_equal(open_fds() - before <= 1, 1); /* the loop's own */
    return 0;
}
TEST(write_and_read)

static int modes(void *unused)
{
    (void)unused;
    char buffer[64] = "";
    static const char *const wrong[] = {"", "q", "rw", "r++", "+", "rbb", "wa", "r "};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        assert_null(async_file_open(path_of("a"), wrong[i]));
        assert_int_equal(async_error_code(), -EINVAL);
        assert_message("the mode");
    }
    assert_null(async_file_open(path_of("a"), NULL));
    assert_null(async_file_open(NULL, "r"));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_file_open(path_of("missing"), "r"));
    assert_int_equal(async_error_code(), -ENOENT);
    assert_message("/missing: No such file or directory");
    assert_null(async_file_open(path_of("missing"), "r+"));
    assert_null(async_file_open("", "r"));
    assert_int_equal(async_error_code(), -ENOENT);
    assert_null(async_file_open(directory, "r"));
    assert_int_equal(async_error_code(), -EISDIR);
    assert_message(directory);
    assert_null(async_file_open(directory, "w"));
    assert_int_equal(async_error_code(), -EISDIR);

    make_file("m", "12345");
    assert_null(async_file_open(path_of("m"), "x"));
    assert_int_equal(async_error_code(), -EEXIST);
    async_file *file = async_file_open(path_of("x"), "x+");
    assert_non_null(file);
    assert_int_equal(async_file_close(file), 0);

    file = async_file_open(path_of("m"), "r+b");
    assert_int_equal(async_file_readline(file, buffer, sizeof buffer), 5);
    assert_int_equal(async_file_seek(file, 1, SEEK_SET), 1);
    assert_int_equal(async_file_read(file, buffer, 1), 1);
    assert_int_equal(async_file_write(file, "xy", 2), 0); /* where the reader stands */
    assert_int_equal(async_file_read(file, buffer, 8), 1);
    assert_int_equal(buffer[0], '5');
    assert_int_equal(async_file_close(file), 0);
    assert_string_equal(text_of("m"), "12xy5");

    file = async_file_open(path_of("m"), "a+");
    assert_int_equal(async_file_read(file, buffer, 2), 2);
    assert_int_equal(async_file_write(file, "end", 3), 0);
    assert_int_equal(async_file_seek(file, 0, SEEK_CUR), 8);
    make_file("m2", "");
    assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
    assert_int_equal(async_file_write(file, "!", 1), 0);
    assert_int_equal(async_file_close(file), 0);
    assert_string_equal(text_of("m"), "12xy5end!");

    file = async_file_open(path_of("m"), "w+");
    assert_int_equal(async_file_write(file, "new", 3), 0);
    assert_int_equal(async_file_seek(file, -2, SEEK_END), 1);
    assert_int_equal(async_file_read(file, buffer, 8), 2);
    assert_int_equal(async_file_seek(file, -1, SEEK_SET), -EINVAL);
    assert_int_equal(async_file_seek(file, 0, 99), -EINVAL);
    assert_int_equal(async_file_seek(file, INT64_MAX, SEEK_CUR), -EOVERFLOW);
    assert_int_equal(async_file_truncate(file, 1), 0);
    struct stat status;
    assert_int_equal(async_file_stat(file, &status), 0);
    assert_int_equal(status.st_size, 1);
    assert_int_equal(async_file_truncate(file, -1), -EINVAL);
    assert_int_equal(fcntl(async_file_fd(file), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(async_file_close(file), 0);
    return 0;
}
TEST(modes)

static int no_file(void *unused)
{
    (void)unused;
    char buffer[4];
    assert_int_equal(async_file_read(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_file_readline(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_file_write(NULL, buffer, 4), -EBADF);
    assert_int_equal(async_file_printf(NULL, "%d", 4), -EBADF);
    assert_int_equal(async_file_seek(NULL, 0, SEEK_SET), -EBADF);
    assert_int_equal(async_file_sync(NULL), -EBADF);
    assert_int_equal(async_file_fd(NULL), -EBADF);
    async_for (char *, line, async_file_lines(async_file_open("/nonexistent", "r")))
        note("%s", line);
    assert_int_equal(async_block_error(), -ENOENT);
    return 0;
}
TEST(no_file)

/* ---- lines ---- */

static int lines(void *unused)
{
    (void)unused;
    char line[16];
    make_file("lines", "a\nbb\r\n\n\nlast");
    async_file *file = async_file_open(path_of("lines"), "r");
    async_for (char *, text, async_file_lines(file))
        note("<%s>", text);
    assert_notes("<a> <bb> <> <> <last> ");
    assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
    assert_int_equal(async_file_readline(file, line, 0), -EINVAL);
    assert_int_equal(async_file_readline(file, line, sizeof line), 2);
    assert_string_equal(line, "a\n");
    async_for (char *, text, async_file_lines(file)) {
        note("<%s>", text);
        break;
    }
    assert_int_equal(async_file_readline(file, line, sizeof line), 1);
    assert_int_equal(async_file_readline(file, line, sizeof line), 1);
    assert_int_equal(async_file_readline(file, line, 4), ASYNC_ELIMIT);
    assert_message("longer than 3 bytes");
    assert_int_equal(async_file_readline(file, line, 5), 4);
    assert_string_equal(line, "last");
    assert_int_equal(async_file_readline(file, line, 5), 0);
    assert_notes("<bb> ");
    async_file_close(file);

    /* Of all lengths, across the blocks that are read. */
    file = async_file_open(path_of("long"), "w");
    static char filler[200001];
    memset(filler, 'x', sizeof filler - 1);
    size_t expected = 0, count = 0;
    for (int length = 0; length < 200000; length = length * 3 + 1, expected++)
        assert_int_equal(async_file_printf(file, "%.*s\n", length, filler), 0);
    async_file_close(file);
    file = async_file_open(path_of("long"), "r");
    size_t length = 0;
    async_for (char *, text, async_file_lines(file)) {
        assert_int_equal(strlen(text), length);
        length = length * 3 + 1;
        count++;
    }
    assert_int_equal(count, expected);
    assert_int_equal(async_block_error(), 0);

    /* The body may close the file. */
    async_file_seek(file, 0, SEEK_SET);
    async_for (char *, text, async_file_lines(file)) {
        note("%zu", strlen(text));
        async_file_close(file);
    }
    assert_int_equal(async_block_error(), -EBADF);
    return 0;
}
TEST(lines)

static int large(void *unused)
{
    (void)unused;
    size_t size = 3000000, got = 0;
    unsigned char *data = malloc(size), *back = calloc(1, size);
    fill(data, size, 0);
    async_file *file = async_file_open(path_of("large"), "w+");
    assert_int_equal(async_file_write(file, data, size), 0);
    assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
    while (got < size) {
        ssize_t n = async_file_read(file, back + got, size - got);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_true(is_pattern(back, size, 0));
    free(data);
    free(back);

    /* Past 4 GiB, into more than 2 GiB of address space. */
    size_t huge;
    char *space = much_space(&huge);
    assert_int_equal(async_file_seek(file, (int64_t)5 << 30, SEEK_SET), (int64_t)5 << 30);
    assert_int_equal(async_file_write(file, "end", 3), 0);
    assert_int_equal(async_file_seek(file, -3, SEEK_CUR), (int64_t)5 << 30);
    assert_int_equal(async_file_read(file, space, huge), 3);
    assert_int_equal(async_file_seek(file, -(1 << 20), SEEK_END),
                     ((int64_t)5 << 30) - (1 << 20) + 3);
    for (got = 0; got < (1 << 20);) {
        ssize_t n = async_file_read(file, space, huge);
        assert_true(n > 0);
        got += (size_t)n;
    }
    munmap(space, huge);
    assert_int_equal(async_file_truncate(file, 0), 0);
    assert_int_equal(async_file_close(file), 0);
    return 0;
}
TEST(large)

/* ---- not on a disk ---- */

static int special(void *unused)
{
    (void)unused;
    char buffer[256];
    async_file *file = async_file_open("/proc/self/status", "r");
    assert_non_null(file);
    assert_true(async_file_readline(file, buffer, sizeof buffer) > 0);
    assert_int_equal(strncmp(buffer, "Name:", 5), 0);
    int count = 0;
    async_for (char *, text, async_file_lines(file))
        count += strlen(text) > 0;
    assert_true(count > 10);
    async_file_close(file);

    file = async_file_open("/dev/zero", "r");
    assert_int_equal(async_file_read(file, buffer, sizeof buffer), sizeof buffer);
    async_file_close(file);
    file = async_file_open("/dev/null", "r+");
    assert_int_equal(async_file_read(file, buffer, sizeof buffer), 0);
    assert_int_equal(async_file_write(file, buffer, sizeof buffer), 0);
    async_file_close(file);
    file = async_file_open("/dev/full", "w");
    assert_int_equal(async_file_write(file, buffer, sizeof buffer), -ENOSPC);
    async_file_close(file);
    return 0;
}
TEST(special)

struct open_file {
    const char *path, *mode;
    async_file **file;
};
static int open_file(struct open_file *self)
{
    *self->file = async_file_open(self->path, self->mode);
    return *self->file ? 0 : async_error_code();
}

struct read_file {
    async_file *file;
    char *buffer;
    size_t size;
};
static int read_file(struct read_file *self)
{
    return (int)async_file_read(self->file, self->buffer, self->size);
}

struct line_of {
    async_file *file;
    char *buffer;
    size_t size;
};
static int line_of(struct line_of *self)
{
    return (int)async_file_readline(self->file, self->buffer, self->size);
}

static int fifo(void *unused)
{
    (void)unused;
    const char *path = path_of("fifo");
    char buffer[16] = "";
    int code = 0;
    async_file *reader = NULL, *writer = NULL;
    assert_int_equal(mkfifo(path, 0600), 0);

    /* Nobody reads: the open waits, and can be cancelled. */
    async_timeout (2)
        writer = async_file_open(path, "w");
    assert_null(writer);
    assert_int_equal(async_error_code(), -ETIMEDOUT);
    async_task *opener = async_spawn(open_file, .path = path, .mode = "w", .file = &writer);
    async_sleep(1);
    reader = async_file_open(path, "r");
    assert_non_null(reader);

    /* Nobody writes yet: that is not the end. */
    async_task *task = async_spawn(read_file, .file = reader, .buffer = buffer, .size = 16);
    assert_int_equal(async_await(opener), 0);
    settle();
    assert_false(async_task_done(task));

    /* Cancelled while a read is pending: nothing is lost. */
    async_cancel(task, NULL);
    assert_int_equal(async_await(task), -ECANCELED);
    assert_int_equal(async_file_write(writer, "one\ntw", 6), 0);
    assert_int_equal(async_file_readline(reader, buffer, sizeof buffer), 4);
    async_timeout (1)
        code = (int)async_file_readline(reader, buffer, sizeof buffer);
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(async_file_write(writer, "o\n", 2), 0);
    assert_int_equal(async_file_readline(reader, buffer, sizeof buffer), 4);
    assert_string_equal(buffer, "two\n");

    assert_int_equal(async_file_seek(reader, 0, SEEK_CUR), -ESPIPE);
    assert_int_equal(async_file_close(writer), 0);
    assert_int_equal(async_file_read(reader, buffer, sizeof buffer), 0);
    assert_int_equal(async_file_close(reader), 0);

    /* Closed under a reader. */
    reader = async_file_open(path, "r");
    task = async_spawn(line_of, .file = reader, .buffer = buffer, .size = 16);
    async_task *second = async_spawn(read_file, .file = reader, .buffer = buffer, .size = 16);
    settle();
    assert_int_equal(async_file_seek(reader, 0, SEEK_CUR), -EBUSY);
    assert_int_equal(async_file_close(reader), 0);
    assert_int_equal(async_await(task), -EBADF);
    assert_int_equal(async_await(second), -EBADF);

    /* Nobody reads any more: no SIGPIPE. */
    reader = async_file_open(path, "r");
    writer = async_file_open(path, "w");
    async_file_close(reader);
    assert_int_equal(async_file_write(writer, "x", 1), -EPIPE);
    async_file_close(writer);
    return 0;
}
TEST(fifo)

/* ---- cancellation ---- */

struct write_file {
    async_file *file;
    const void *data;
    size_t size;
};
static int write_file(struct write_file *self)
{
    return async_file_write(self->file, self->data, self->size);
}

static int cancelled(void *unused)
{
    (void)unused;
    char buffer[32] = "";
    int code = 0;
    async_file *file = async_file_open(path_of("c"), "w+");
    static unsigned char data[1000000], back[1000000];
    fill(data, sizeof data, 0);

    /* What is written next comes after what a cancelled write may still be writing. */
    for (int i = 0; i < 20; i++) {
        async_task *task = async_spawn(write_file, .file = file, .data = data, .size = sizeof data);
        for (int j = 0; j < i; j++)
            async_sleep(0);
        async_cancel(task, NULL);
        code = async_await(task);
        assert_true(code == 0 || code == -ECANCELED);
        assert_int_equal(async_file_write(file, "\nmark", 5), 0);
        int64_t end = async_file_seek(file, 0, SEEK_CUR);
        assert_int_equal(async_file_seek(file, end - 5, SEEK_SET), end - 5);
        assert_int_equal(async_file_read(file, buffer, 5), 5);
        assert_memory_equal(buffer, "\nmark", 5);
        struct stat status;
        assert_int_equal(async_file_stat(file, &status), 0);
        assert_int_equal(status.st_size, end);
        size_t got = 0, size = (size_t)end - 5;
        assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
        while (got < size) {
            ssize_t n = async_file_read(file, back + got, size - got);
            assert_true(n > 0);
            got += (size_t)n;
        }
        assert_true(is_pattern(back, size, 0));
        assert_int_equal(async_file_truncate(file, 0), 0);
        assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
    }

    /* A cancelled read has not moved the file. */
    assert_int_equal(async_file_write(file, "abcdef", 6), 0);
    assert_int_equal(async_file_seek(file, 0, SEEK_SET), 0);
    async_timeout (0)
        code = (int)async_file_read(file, buffer, 3);
    assert_int_equal(code, -ETIMEDOUT);
    assert_int_equal(async_file_read(file, buffer, 3), 3);
    assert_memory_equal(buffer, "abc", 3);

    /* Close in a task that is cancelled closes all the same. */
    int fd = async_file_fd(file);
    async_timeout (0)
        code = async_file_close(file);
    assert_int_equal(code, -ETIMEDOUT);
    while (fcntl(fd, F_GETFD) >= 0)
        async_sleep(0);

    /* Close while a cancelled write is under way. */
    for (int i = 0; i < 10; i++) {
        file = async_file_open(path_of("c"), "w");
        fd = async_file_fd(file);
        async_task *task = async_spawn(write_file, .file = file, .data = data, .size = sizeof data);
        for (int j = 0; j < i; j++)
            async_sleep(0);
        async_cancel(task, NULL);
        async_await(task);
        code = async_file_close(file);
        assert_int_equal(code, 0);
        while (fcntl(fd, F_GETFD) >= 0)
            async_sleep(0);
    }

    /* An open that is cancelled leaves no descriptor behind. */
    int before = open_fds();
    for (int i = 0; i < 10; i++) {
        async_task *task = async_spawn(open_file, .path = path_of("c"), .mode = "r", .file = &file);
        for (int j = 0; j < i; j++)
            async_sleep(0);
        async_cancel(task, NULL);
        if (async_await(task) == 0) async_file_close(file);
    }
    while (open_fds() > before)
        async_sleep(0);
    return 0;
}
TEST(cancelled)

/* The loop ends while a cancelled write is under way to a file that is closed. */
static int end_under_way(void *rounds)
{
    static char data[200000];
    async_file *file = async_file_open(path_of("e"), "w");
    async_task *task = async_spawn(write_file, .file = file, .data = data, .size = sizeof data);

    for (int i = 0; i < *(int *)rounds; i++)
        async_sleep(0);
    async_cancel(task, NULL);
    async_await(task);
    return async_file_close(file);
}

static void test_end_under_way(void **state)
{
    int before = open_fds();

    (void)state;
    for (int i = 0; i < 40; i++) {
        async_run_options options = {.loop = {.seed = (uint64_t)i + 1}};
        assert_int_equal(async_run_with(end_under_way, &(int){i % 8}, &options), 0);
    }
    assert_int_equal(open_fds(), before);
}

/* Calls of several tasks are done one after another, in their order. */
struct append {
    async_file *file;
    int number;
};
static int append(struct append *self)
{
    return async_file_printf(self->file, "%d ", self->number);
}

static int in_order(void *unused)
{
    (void)unused;
    async_task *tasks[20];
    async_file *file = async_file_open(path_of("order"), "w");
    for (int i = 0; i < 20; i++)
        tasks[i] = async_spawn(append, .file = file, .number = i);
    async_cancel(tasks[7], NULL);
    for (int i = 0; i < 20; i++)
        assert_int_equal(async_await(tasks[i]), i == 7 ? -ECANCELED : 0);
    async_file_close(file);
    assert_string_equal(text_of("order"), "0 1 2 3 4 5 6 8 9 10 11 12 13 14 15 16 17 18 19 ");

    /* And those who wait while it is closed hear of it. */
    file = async_file_open(path_of("order"), "w");
    for (int i = 0; i < 20; i++)
        tasks[i] = async_spawn(append, .file = file, .number = i);
    async_sleep(0);
    assert_int_equal(async_file_close(file), 0);
    assert_int_equal(async_await(tasks[0]), 0);
    for (int i = 1; i < 20; i++)
        assert_int_equal(async_await(tasks[i]), -EBADF);
    return 0;
}
TEST(in_order)

static int full_disk(void *unused)
{
    (void)unused;
    struct rlimit before;
    static char data[100000];
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){50000, before.rlim_max});
    async_file *file = async_file_open(path_of("full"), "w");
    assert_int_equal(async_file_write(file, data, sizeof data), -EFBIG);
    assert_message("write to ");
    assert_int_equal(async_file_seek(file, 0, SEEK_CUR), 50000);
    async_file_close(file);
    setrlimit(RLIMIT_FSIZE, &before);
    return 0;
}
TEST(full_disk)

static int set_up(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/casyncio-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"a",     "m",    "m2", "x",     "lines", "long",
                                        "large", "fifo", "c",  "order", "full",  "e"};
    for (size_t i = 0; i < COUNT(names); i++)
        unlink(path_of(names[i]));
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read), cmocka_unit_test(test_modes),
        cmocka_unit_test(test_no_file),        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_large),          cmocka_unit_test(test_special),
        cmocka_unit_test(test_fifo),           cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_in_order),       cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_end_under_way),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
