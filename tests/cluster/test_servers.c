/* Servers with limits, several servers, the pauses of a client that comes back, and the end of a worker: by SIGTERM, and by
 * one that leaves it no time. ctest: timeout=180 */
#include "nats_server.h"

static struct nats_server server, second;

struct number {
    long value;
};

static void stop_worker(async_task *worker)
{
    async_cancel(worker, NULL);
    assert_int_equal(async_await(worker), -ECANCELED);
}

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
        stop_worker(worker);
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

/* ---- a server that forgets ---- */

static const async_cluster_options quick = {.reconnect_wait = 0.02, .reconnect_wait_max = 0.1};

static int forgettable(const struct number *in, struct number *out)
{
    out->value = in->value + 1;
    return 0;
}
ASYNC_JOB(forgettable, struct number, struct number, .memory = true, .ack_wait = 1)

static int serve_forgettable(void *cluster)
{
    return async_cluster_serve(cluster, NULL, &forgettable_job);
}

static void forget(async_cluster *cluster)
{
    unsigned before = async_cluster_reconnects(cluster);
    nats_kill(&server, SIGKILL);
    nats_restart(&server);
    while (async_cluster_reconnects(cluster) == before)
        async_sleep(0.01);
}

/* A queue in its memory is gone with it, and made anew: by the worker, or, where there is none yet, by the caller. */
static int forgotten_queue(void)
{
    async_with_cluster (cluster, server.url, &quick) {
        struct number in = {41}, out = {0};
        async_task *worker = async_create_task(serve_forgettable, cluster);
        assert_int_equal(async_cluster_call(cluster, forgettable, &in, &out), 0);
        forget(cluster);
        async_timeout (60)
            assert_int_equal(async_cluster_call(cluster, forgettable, &in, &out), 0);
        assert_int_equal(out.value, 42);
        stop_worker(worker);
        forget(cluster);
        async_cluster_future *future = async_cluster_submit(cluster, forgettable, &in);
        assert_non_null(future);
        worker = async_create_task(serve_forgettable, cluster);
        async_timeout (60)
            assert_int_equal(async_cluster_wait(future, &out), 0);
        stop_worker(worker);
    }
    return async_block_error();
}

/* A queue that was made anew counts from 1 again: what is said of a job of before is not taken for one of now. */

static async_event first_runs, finish_first;

static int counted(const struct number *in, struct number *out)
{
    out->value = in->value + 1;
    if (in->value != 1) return 0;
    async_event_set(&first_runs);
    return async_event_wait(&finish_first);
}
ASYNC_JOB(counted, struct number, struct number, .memory = true, .ack_wait = 1)

static int serve_counted(void *cluster)
{
    return async_cluster_serve(cluster, &((async_cluster_worker_options){.concurrency = 4}),
                               &counted_job);
}

static size_t waiting(async_cluster *cluster, const char *name)
{
    async_cluster_queue queues[8];
    ssize_t count = async_cluster_queues(cluster, queues, 8);
    for (ssize_t i = 0; i < count; i++)
        if (strcmp(queues[i].name, name) == 0) return queues[i].waiting;
    return 0;
}

/* The acknowledgement of the first job, which ends after the queue was forgotten. */
static int acknowledged_late(void)
{
    async_with_cluster (cluster, server.url, &quick) {
        struct number held = {1}, next = {2}, out = {0};
        async_task *worker = async_create_task(serve_counted, cluster);
        async_cluster_future *before = async_cluster_submit(cluster, counted, &held);
        assert_int_equal(async_event_wait(&first_runs), 0);
        forget(cluster);
        async_cluster_future *future = async_cluster_submit(cluster, counted, &next, .delay = 0.5);
        assert_non_null(future);
        async_event_set(&finish_first);
        async_timeout (60) {
            assert_int_equal(async_cluster_wait(before, &out), 0);
            assert_int_equal(out.value, 2);
            assert_int_equal(async_cluster_wait(future, &out), 0);
            assert_int_equal(out.value, 3);
        }
        stop_worker(worker);
    }
    return async_block_error();
}

/* The cancellation of one that went with the queue. */
static int cancelled_late(void)
{
    async_with_cluster (cluster, server.url, &quick) {
        struct number in = {2};
        async_cluster_future *before = async_cluster_submit(cluster, counted, &in);
        forget(cluster);
        async_cluster_future *future = async_cluster_submit(cluster, counted, &in);
        assert_non_null(future);
        async_cluster_cancel(before);
        async_sleep(0.2);
        assert_int_equal(waiting(cluster, "counted"), 1);
        async_cluster_cancel(future);
        while (waiting(cluster, "counted") != 0)
            async_sleep(0.01);
    }
    return async_block_error();
}

/* A job that went with the queue is put there again; one that is not to be done twice is given up. */
static int put_again(void)
{
    async_with_cluster (cluster, server.url, &quick) {
        struct number in = {2}, out = {0};
        async_cluster_future *plain = async_cluster_submit(cluster, counted, &in);
        async_cluster_future *keyed = async_cluster_submit(cluster, counted, &in, .key = "once");
        async_cluster_future *later = async_cluster_submit(cluster, counted, &in, .delay = 0.3);
        for (int i = 0; i < 2; i++)
            forget(cluster);
        async_task *worker = async_create_task(serve_counted, cluster);
        async_timeout (60) {
            assert_int_equal(async_cluster_wait(later, &out), 0);
            out.value = 0;
            assert_int_equal(async_cluster_wait(plain, &out), 0);
            assert_int_equal(out.value, 3);
            assert_int_equal(async_cluster_wait(keyed, &out), -EOWNERDEAD);
            assert_non_null(strstr(async_error_message(), "its queue was lost"));
            assert_int_equal(async_cluster_call(cluster, counted, &in, &out, .key = "once"), 0);
        }
        stop_worker(worker);
    }
    return async_block_error();
}

/* A watch of a bucket that has fewer entries than the one of before had. */
static int watched_late(void)
{
    async_with_cluster (cluster, server.url, &quick) {
        const async_cluster_bucket_options memory = {.memory = true};
        async_cluster_bucket *bucket = async_cluster_bucket_open(cluster, "counted", &memory);
        async_cluster_entry *entry;
        for (int i = 0; i < 5; i++)
            assert_int_equal(async_cluster_put(bucket, "key", "before", 6, NULL), 0);
        async_iterator *watch = async_cluster_watch(bucket, NULL);
        assert_int_equal(watch->next(watch, &entry), 1);
        assert_int_equal(entry->revision, 5);
        async_cluster_bucket_close(bucket);
        forget(cluster);
        bucket = async_cluster_bucket_open(cluster, "counted", &memory);
        assert_int_equal(async_cluster_put(bucket, "key", "now", 3, NULL), 0);
        async_timeout (60) {
            do
                assert_int_equal(watch->next(watch, &entry), 1);
            while (entry->size == 0); /* where the values of before ended */
            assert_int_equal(entry->size, 3);
        }
        watch->close(watch);
        async_cluster_bucket_close(bucket);
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
ASYNC_JOB(napping, struct number, struct number, .ack_wait = 1000)

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
        stop_worker(here);
    }
    return async_block_error();
}

REAL(small_server)
REAL(next_server)
REAL(pauses)
REAL(forgotten_queue)
REAL(acknowledged_late)
REAL(cancelled_late)
REAL(put_again)
REAL(watched_late)
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_next_server),
                                       cmocka_unit_test(test_pauses),
                                       cmocka_unit_test(test_forgotten_queue),
                                       cmocka_unit_test(test_acknowledged_late),
                                       cmocka_unit_test(test_cancelled_late),
                                       cmocka_unit_test(test_put_again),
                                       cmocka_unit_test(test_watched_late),
                                       cmocka_unit_test(test_sigterm)};
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
