/* Servers with limits, several servers, the pauses of a client that comes back, and the end of a worker: by SIGTERM, and by
 * one that leaves it no time. ctest: timeout=180 */
#include "nats_server.h"

static struct nats_server server, second;

struct number {
    long value;
};

/* ---- limits of the server ---- */

struct some {
    char bytes[100 * 1000];
};

struct much {
    char bytes[3 * 1000 * 1000];
};

static int copied(const struct some *in, struct some *out)
{
    static char report[100 * 1000];
    *out = *in;
    /* What is not a part of the result has to fit into one message. */
    assert_int_equal(async_cluster_job_progress(report, sizeof report), -EMSGSIZE);
    assert_int_equal(async_cluster_job_yield(report, sizeof report), -EMSGSIZE);
    return async_cluster_job_yield("fits", 4);
}
ASYNC_JOB(copied, struct some, struct some)
ASYNC_JOB_ELSEWHERE(too_much, struct much, struct number)

static int serve_copied(void *cluster) { return async_cluster_serve(cluster, NULL, &copied_job); }

static int small_server(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        static struct some in, out;
        static struct much much;
        struct number number;
        assert_int_equal(async_cluster_max_payload(cluster), 16384);
        async_task *worker = async_create_task(serve_copied, cluster);
        for (size_t i = 0; i < sizeof in.bytes; i++)
            in.bytes[i] = (char)(i * 31 % 253);
        assert_int_equal(async_cluster_call(cluster, copied, &in, &out), 0);
        assert_memory_equal(&in, &out, sizeof in);

        async_cluster_bucket *bucket = async_cluster_bucket_open(cluster, "small", NULL);
        assert_int_equal(async_cluster_put(bucket, "key", &in, sizeof in, NULL), -EMSGSIZE);
        assert_non_null(strstr(async_error_message(), "the server takes 16384"));
        async_cluster_bucket_close(bucket);
        assert_null(async_cluster_request(cluster, "x", &in, sizeof in));
        assert_int_equal(async_error_code(), -EMSGSIZE);
        assert_int_equal(async_cluster_publish(cluster, "x", &in, sizeof in), -EMSGSIZE);

        /* More than the server may store. */
        assert_int_equal(async_cluster_call(cluster, too_much, &much, &number), -ENOSPC);
        assert_non_null(strstr(async_error_message(), "casyncio.too_much.piece"));
        async_cancel(worker, NULL);
        assert_int_equal(async_await(worker), -ECANCELED);
    }
    return async_block_error();
}

/* ---- several servers ---- */

static int next_server(void)
{
    const char *const more[] = {second.url, NULL};
    const async_cluster_options options = {
        .servers = more, .reconnect_wait = 0.02, .reconnect_wait_max = 0.1};

    nats_kill(&second, SIGKILL); /* which is tried first is a matter of chance */
    async_with_cluster (cluster, server.url, &options) {
        async_iterator *messages = async_cluster_subscribe(cluster, "x", NULL);
        assert_int_equal(async_cluster_flush(cluster), 0);
        nats_restart(&second);
        struct nats_server *used = &server, *other = &second;
        for (int round = 1; round <= 2; round++) { /* there, and back again */
            nats_kill(used, SIGKILL);
            while (async_cluster_reconnects(cluster) < (unsigned)round)
                async_sleep(0.01);
            assert_int_equal(async_cluster_flush(cluster), 0); /* it is subscribed there, too */
            async_with_cluster (neighbour, other->url, NULL) {
                assert_int_equal(async_cluster_publish(neighbour, "x", "here", 4), 0);
                async_cluster_message *message = NULL;
                assert_int_equal(messages->next(messages, &message), 1);
                assert_string_equal(message->data, "here");
            }
            nats_restart(used);
            struct nats_server *last = used;
            used = other;
            other = last;
        }
        messages->close(messages);
    }
    return async_block_error();
}

/* In place of the server something that hangs up: when it was called. */
static double called_at[8];
static int calls;

static int hang_up(async_stream *client)
{
    (void)client;
    if (calls < (int)COUNT(called_at)) called_at[calls++] = async_now();
    return 0;
}

static int serve_hanging_up(void *listener) { return async_server_serve(listener, hang_up); }

static int pauses(void)
{
    const async_cluster_options options = {.reconnect_wait = 0.05, .reconnect_wait_max = 0.3};
    int port = server.port;

    async_with_cluster (cluster, server.url, &options) {
        nats_kill(&server, SIGKILL);
        async_server *listener = async_start_server("127.0.0.1", port, NULL);
        assert_non_null(listener);
        calls = 0;
        async_task *task = async_create_task(serve_hanging_up, listener);
        while (calls < (int)COUNT(called_at))
            async_sleep(0.01);
        /* They double, up to the limit; a third may be off. */
        double longest = 0;
        for (int i = 1; i < (int)COUNT(called_at); i++) {
            double pause = called_at[i] - called_at[i - 1];
            if (pause > longest) longest = pause;
            if (i >= 5) assert_true(pause > 0.15);
        }
        assert_true(longest > 0.15 && called_at[7] - called_at[0] > 0.7);
        async_cancel(task, NULL);
        async_await(task);
        nats_restart(&server);
        while (!async_cluster_is_connected(cluster))
            async_sleep(0.01);
        assert_int_equal(async_cluster_flush(cluster), 0);
    }
    return async_block_error();
}

/* ---- the end of a worker: this program once more, as one ---- */

static int napping(const struct number *in, struct number *out)
{
    int code = async_cluster_job_progress("begun", 5);
    if (code == 0) code = async_sleep((double)in->value / 1000);
    out->value = async_cluster_job_attempt();
    return code;
}
ASYNC_JOB(napping, struct number, struct number)

static int serve_napping(void *cluster) { return async_cluster_serve(cluster, NULL, &napping_job); }

static pid_t start_worker(const char *drain_timeout)
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl("/proc/self/exe", "test", "worker", server.url, drain_timeout, NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static void wait_for_begin(async_cluster_future *future)
{
    async_for (async_cluster_message *, message, async_cluster_progress(future))
        break;
    assert_int_equal(async_block_error(), 0);
}

static void assert_ends_well(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int sigterm(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {500}, out = {0};
        /* What runs comes to its end, and has a result. */
        pid_t worker = start_worker("30");
        async_cluster_future *future = async_cluster_submit(cluster, napping, &in);
        assert_non_null(future);
        wait_for_begin(future);
        kill(worker, SIGTERM);
        assert_int_equal(async_cluster_wait(future, &out), 0);
        assert_int_equal(out.value, 1);
        assert_ends_well(worker);
        /* What would take too long is another worker's, at once: ack_wait is 30 s. */
        worker = start_worker("0.05");
        in.value = 1000 * 1000;
        future = async_cluster_submit(cluster, napping, &in);
        assert_non_null(future);
        wait_for_begin(future);
        kill(worker, SIGTERM);
        assert_ends_well(worker);
        async_task *here = async_create_task(serve_napping, cluster);
        wait_for_begin(future);
        async_cluster_cancel(future);
        async_cancel(here, NULL);
        assert_int_equal(async_await(here), -ECANCELED);
    }
    return async_block_error();
}

REAL(small_server)
REAL(next_server)
REAL(pauses)
REAL(sigterm)

static void test_limits(void **state)
{
    nats_kill(&server, SIGKILL);
    server.config = "max_payload: 16384\n";
    server.limits = "max_file_store: 2000000";
    nats_restart(&server);
    test_small_server(state);
    nats_kill(&server, SIGKILL);
    server.config = server.limits = NULL;
    nats_restart(&server);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits), cmocka_unit_test(test_next_server),
        cmocka_unit_test(test_pauses), cmocka_unit_test(test_sigterm)};
    if (argc == 4 && strcmp(argv[1], "worker") == 0)
        return async_cluster_work(argv[2],
                                  &((async_cluster_worker_options){.drain_timeout = atof(argv[3])}),
                                  &napping_job);
    NATS_SKIP_VALGRIND();
    nats_start(&server);
    nats_start(&second);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    nats_stop(&second);
    return failed;
}
