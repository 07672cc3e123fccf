/* A forked child that has inherited TLS connections, and closes them: nothing of it reaches the peers, whose
 * records are numbered. And one that speaks TLS of its own, in the contexts of its parent. */
#include "tls_test.h"

#include <sys/wait.h>

static async_tls_context *client, *server;

static int exchange(async_stream *ends[2], int count)
{
    char line[64];
    for (int i = 0; i < count; i++) {
        assert_int_equal(async_stream_printf(ends[i % 2], "line %d\n", i), 0);
        assert_int_equal(async_stream_readline(ends[1 - i % 2], line, sizeof line), 7);
    }
    return 0;
}

static int wait_for(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* ---- what was inherited ---- */

static async_stream *inherited[2];
static bool clogged; /* something is kept, which is the parent's to send */

static void expect(bool condition, int step)
{
    if (!condition) _exit(step);
}

static int close_them(void *aborts)
{
    if (!clogged) {
        expect(async_stream_write_nowait(inherited[0], "x", 1) == -ECHILD, 2);
        expect(strstr(async_error_message(), "the parent's") != NULL, 3);
    }
    if (aborts)
        for (int i = 0; i < 2; i++)
            async_stream_abort(inherited[i]);
    else
        for (int i = 0; i < 2; i++)
            (void)async_stream_close(inherited[i]);
    return 0;
}

static void child(bool in_loop, bool aborts)
{
    if (in_loop)
        expect(async_run(close_them, aborts ? &server : NULL) == 0, 5);
    else
        close_them(aborts ? &server : NULL);
    _exit(0);
}

static int inherited_streams(void *unused)
{
    (void)unused;
    for (int i = 0; i < 8; i++) {
        clogged = i & 4;
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        for (int j = 0; j < 2; j++)
            assert_non_null(inherited[j] = async_stream_from_fd(fds[j]));
        assert_int_equal(secure_pair(inherited, client, server), 0);
        exchange(inherited, 3);
        static const char much[30000];
        size_t kept = 0;
        if (clogged)
            for (; kept < 2000000; kept += sizeof much)
                if (async_stream_write_nowait(inherited[0], much, sizeof much) < 0) break;
        pid_t pid = fork();
        if (pid == 0) child(i & 1, i & 2);
        assert_int_equal(wait_for(pid), 0);
        char *all = kept ? malloc(kept) : NULL;
        if (kept) assert_int_equal(async_stream_readexactly(inherited[1], all, kept), kept);
        free(all);
        exchange(inherited, 4);
        close_both(inherited);
    }
    return 0;
}

/* ---- TLS of the child's own ---- */

static int converse(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(async_stream_pair(ends), 0);
        assert_int_equal(secure_pair(ends, client, server), 0);
        assert_int_equal(async_tls_resumed(ends[0]), true); /* sessions are inherited as well */
        exchange(ends, 4);
        close_both(ends);
    }
    return 0;
}

static int parent(void *unused)
{
    (void)unused;
    async_stream *ends[2];
    assert_int_equal(async_stream_pair(ends), 0);
    assert_int_equal(secure_pair(ends, client, server), 0);
    exchange(ends, 4);
    close_both(ends);
    return 0;
}

static void test_in_the_child(void **state)
{
    (void)state;
    assert_int_equal(run(parent, NULL), 0);
    pid_t pid = fork();
    if (pid == 0) _exit(run(converse, NULL) == 0 ? 0 : 1);
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(run(converse, NULL), 0);
}

TEST(inherited_streams)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inherited_streams),
        cmocka_unit_test(test_in_the_child),
    };
    pki_make();
    client = client_context(.handshake_timeout = INFINITY);
    server = server_context(.handshake_timeout = INFINITY);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    async_tls_context_free(client);
    async_tls_context_free(server);
    return failed;
}
