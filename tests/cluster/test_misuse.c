/* What users do wrong, and what comes at the wrong time: NULL anywhere, cancellation at every turn of a call, a time-out in
 * the turn of the result, a function that crashes, sizes at the limits, bytes that are none of ours.
 * ctest: timeout=300 */
#include "nats_server.h"

static struct nats_server server;

struct number {
    long value;
};

static int slow(const struct number *in, struct number *out)
{
    int code = async_sleep((double)in->value / 1000);
    out->value = 2 * in->value;
    return code;
}
ASYNC_JOB(slow, struct number, struct number, .memory = true)

static int telling(const struct number *in, struct number *out)
{
    for (long i = 0; i < in->value; i++) {
        int code = async_cluster_job_progress(&i, sizeof i);
        if (code == 0) code = async_cluster_job_yield(&i, sizeof i);
        if (code < 0) return code;
    }
    out->value = in->value;
    return 0;
}
ASYNC_JOB(telling, struct number, struct number, .memory = true)

static int careless(const struct number *in, struct number *out)
{
    (void)in;
    out->value = async_cluster_job_progress(NULL, 3) == -EINVAL &&
                 async_cluster_job_yield(NULL, 3) == -EINVAL &&
                 async_cluster_job_progress(NULL, 0) == 0 && async_cluster_job_yield(NULL, 0) == 0;
    return 0;
}
ASYNC_JOB(careless, struct number, struct number, .memory = true)

static int serve(void *cluster)
{
    return async_cluster_serve(cluster, &((async_cluster_worker_options){.concurrency = 8}),
                               &slow_job, &telling_job, &careless_job);
}

static async_task *start_worker(async_cluster *cluster)
{
    return async_create_task(serve, cluster);
}

static void stop_worker(async_task *worker)
{
    async_cancel(worker, NULL);
    assert_int_equal(async_await(worker), -ECANCELED);
}

#define WITH_WORKER(cluster)                                                                       \
    async_with_cluster (other, server.url, NULL)                                                   \
        async_with_cluster (cluster, server.url, NULL)                                             \
            async_with (async_task *, worker, start_worker(other), stop_worker)

/* ---- wrong arguments ---- */

#define ASSERT_FAILS(call, expected)                                                               \
    do {                                                                                           \
        int code_ = (call);                                                                        \
        if (code_ != (expected))                                                                   \
            fail_msg("%s gave %s: %s", #call, async_error_name(code_), async_error_message());     \
        if (strlen(async_error_message()) < 8) fail_msg("%s has no message", #call);               \
    } while (0)
#define ASSERT_NULL(call, expected) ASSERT_FAILS((call) ? 0 : async_error_code(), expected)

static void wrong_messages(async_cluster *cluster)
{
    async_cluster_message message = {.subject = "x"};

    ASSERT_FAILS(async_cluster_publish(NULL, "x", "x", 1), -EBADF);
    ASSERT_FAILS(async_cluster_publish(cluster, NULL, "x", 1), -EINVAL);
    ASSERT_FAILS(async_cluster_publish(cluster, "x", NULL, 1), -EINVAL);
    ASSERT_FAILS(async_cluster_publish(cluster, "a..b", "x", 1), -EINVAL);
    ASSERT_NULL(async_cluster_subscribe(NULL, "x", NULL), -EBADF);
    ASSERT_NULL(async_cluster_subscribe(cluster, NULL, NULL), -EINVAL);
    ASSERT_NULL(async_cluster_subscribe(cluster, "x", "two words"), -EINVAL);
    ASSERT_NULL(async_cluster_request(NULL, "x", "x", 1), -EBADF);
    ASSERT_NULL(async_cluster_request(cluster, NULL, "x", 1), -EINVAL);
    ASSERT_NULL(async_cluster_request(cluster, "x", NULL, 1), -EINVAL);
    ASSERT_FAILS(async_cluster_respond(cluster, NULL, "x", 1), -EINVAL);
    ASSERT_FAILS(async_cluster_respond(cluster, &message, "x", 1), -EINVAL);
    ASSERT_FAILS(async_cluster_flush(NULL), -EBADF);
    async_cluster_message_free(NULL);
}

static void wrong_buckets(async_cluster *cluster)
{
    ASSERT_NULL(async_cluster_bucket_open(NULL, "b", NULL), -EBADF);
    ASSERT_NULL(async_cluster_bucket_open(cluster, NULL, NULL), -EINVAL);
    ASSERT_NULL(async_cluster_bucket_open(cluster, "a.b", NULL), -EINVAL);
    ASSERT_FAILS(async_cluster_put(NULL, "k", "x", 1, NULL), -EBADF);
    ASSERT_NULL(async_cluster_get(NULL, "k"), -EBADF);
    ASSERT_FAILS(async_cluster_delete(NULL, "k"), -EBADF);
    ASSERT_NULL(async_cluster_watch(NULL, NULL), -EBADF);
    async_cluster_bucket *bucket =
        async_cluster_bucket_open(cluster, "b", &(async_cluster_bucket_options){.memory = true});
    assert_non_null(bucket);
    ASSERT_FAILS(async_cluster_put(bucket, NULL, "x", 1, NULL), -EINVAL);
    ASSERT_FAILS(async_cluster_put(bucket, "k", NULL, 1, NULL), -EINVAL);
    ASSERT_FAILS(async_cluster_put_if(bucket, "a b", "x", 1, 0, NULL), -EINVAL);
    ASSERT_NULL(async_cluster_get(bucket, "*"), -EINVAL);
    ASSERT_NULL(async_cluster_watch(bucket, "a..b"), -EINVAL);
    ASSERT_FAILS(async_cluster_put(bucket, "k", NULL, 0, NULL), 0);
    async_cluster_bucket_close(bucket);
    async_cluster_bucket_close(NULL);
    async_cluster_entry_free(NULL);
}

static void wrong_jobs(async_cluster *cluster)
{
    struct number in = {1}, out;
    async_cluster_job job = slow_job;
    struct {
        async_cluster_job job;
        int of_tomorrow;
    } newer = {slow_job, 1};

    ASSERT_FAILS(async_cluster_call(cluster, slow, NULL, &out), -EINVAL);
    ASSERT_FAILS(async_cluster_call(cluster, slow, &in, NULL), -EINVAL);
    ASSERT_FAILS(async_cluster_call(cluster, slow, &in, &out, .delay = 0.0 / 0.0), -EINVAL);
    ASSERT_FAILS(async_cluster_call(cluster, slow, &in, &out, .priority = 7), -EINVAL);
    ASSERT_FAILS(async_cluster_map(cluster, slow, NULL, &out, 1), -EINVAL);
    ASSERT_FAILS(async_cluster_map(cluster, slow, &in, NULL, 1), -EINVAL);
    ASSERT_FAILS(async_cluster_map(NULL, slow, &in, &out, 1), -EBADF);
    ASSERT_FAILS(async_cluster_map(cluster, slow, &in, &out, 1, .key = "k"), -EINVAL);
    ASSERT_NULL(async_cluster_as_completed(NULL, slow, &in, &out, 1), -EBADF);
    ASSERT_NULL(async_cluster_as_completed(cluster, slow, NULL, &out, 1), -EINVAL);
    ASSERT_NULL(async_cluster_submit(NULL, slow, &in), -EBADF);
    ASSERT_FAILS(async_cluster_wait(NULL, &out), -EBADF);
    ASSERT_NULL(async_cluster_items(NULL), -EBADF);
    ASSERT_NULL(async_cluster_progress(NULL), -EBADF);
    async_cluster_cancel(NULL);

    job.size = 0;
    ASSERT_FAILS(async_cluster_call_job(cluster, &job, &in, &out, NULL), -EINVAL);
    assert_non_null(strstr(async_error_message(), "size"));
    newer.job.size = sizeof newer;
    ASSERT_FAILS(async_cluster_call_job(cluster, &newer.job, &in, &out, NULL), -EINVAL);
    job = slow_job;
    job.name = "a.b";
    ASSERT_FAILS(async_cluster_call_job(cluster, &job, &in, &out, NULL), -EINVAL);
    job = slow_job;
    job.keep = 1e300;
    ASSERT_FAILS(async_cluster_call_job(cluster, &job, &in, &out, NULL), -EINVAL);
    job = slow_job;
    job.ack_wait = -1;
    ASSERT_FAILS(async_cluster_call_job(cluster, &job, &in, &out, NULL), -EINVAL);
}

static void wrong_workers(async_cluster *cluster)
{
    const async_cluster_job *none = NULL;
    async_cluster_worker_options options = {.drain_timeout = -1};

    ASSERT_FAILS(async__cluster_serve(NULL, NULL, 0, &none, 1), -EBADF);
    ASSERT_FAILS(async__cluster_serve(cluster, NULL, 0, NULL, 1), -EINVAL);
    ASSERT_FAILS(async__cluster_serve(cluster, NULL, 0, &none, 0), -EINVAL);
    ASSERT_FAILS(async__cluster_serve(cluster, NULL, 0, &none, 1), -EINVAL);
    ASSERT_FAILS(async_cluster_serve(cluster, &options, &slow_job), -EINVAL);
    ASSERT_FAILS((int)async_cluster_queues(NULL, NULL, 0), -EBADF);
    ASSERT_FAILS((int)async_cluster_queues(cluster, NULL, 1), -EINVAL);
    ASSERT_NULL(async_cluster_dead_jobs(NULL, "slow"), -EBADF);
    ASSERT_NULL(async_cluster_dead_jobs(cluster, NULL), -EINVAL);
    ASSERT_FAILS((int)async_cluster_requeue(cluster, NULL, 0), -EINVAL);
    ASSERT_FAILS((int)async_cluster_requeue(NULL, "slow", 0), -EBADF);
    ASSERT_FAILS(async_cluster_job_progress("x", 1), -EPERM);
    ASSERT_FAILS(async_cluster_job_yield("x", 1), -EPERM);
}

static int wrong_arguments(void)
{
    WITH_WORKER (cluster) {
        struct number in = {1}, out = {0};
        wrong_messages(cluster);
        wrong_buckets(cluster);
        wrong_jobs(cluster);
        wrong_workers(cluster);
        assert_int_equal(async_cluster_call(cluster, careless, &in, &out), 0);
        assert_int_equal(out.value, 1);
    }
    ASSERT_NULL(async_cluster_connect(NULL, NULL), -EINVAL);
    ASSERT_NULL(async_cluster_connect("", NULL), -EINVAL);
    ASSERT_NULL(async_cluster_connect(server.url, &(async_cluster_options){.ping_interval = -1}),
                -EINVAL);
    return async_block_error();
}

/* ---- cancellation, after so many turns ---- */

struct use {
    async_cluster *cluster;
    async_cluster_bucket *bucket;
};

static int call(struct use *use)
{
    struct number in = {1}, out = {0};
    int code = async_cluster_call(use->cluster, slow, &in, &out);
    if (code == 0) assert_int_equal(out.value, 2);
    return code;
}

static int map(struct use *use)
{
    struct number in[4] = {{1}, {1}, {1}, {1}}, out[4] = {{0}};
    int code = async_cluster_map(use->cluster, slow, in, out, 4, .limit = 2);
    for (int i = 0; i < 4 && code == 0; i++)
        assert_int_equal(out[i].value, 2);
    return code;
}

static int completed(struct use *use)
{
    struct number in[4] = {{1}, {1}, {1}, {1}}, out[4] = {{0}};
    int count = 0;
    async_for (async_cluster_completed, done,
               async_cluster_as_completed(use->cluster, slow, in, out, 4, .limit = 2))
        count += done.code == 0;
    int code = async_block_error();
    if (code == 0) assert_int_equal(count, 4);
    return code;
}

static int count_messages(async_iterator *messages, long *count)
{
    async_for (async_cluster_message *, message, messages) {
        long value;
        assert_int_equal(message->size, sizeof value);
        memcpy(&value, message->data, sizeof value);
        assert_true(value >= *count);
        *count = value + 1;
    }
    return async_block_error();
}

static int items(struct use *use)
{
    struct number in = {5}, out = {0};
    async_cluster_future *future = async_cluster_submit(use->cluster, telling, &in);
    long count = 0;
    int code = future ? count_messages(async_cluster_items(future), &count) : async_error_code();
    if (code == 0) assert_int_equal(count, 5);
    if (code < 0)
        async_cluster_cancel(future);
    else
        code = async_cluster_wait(future, &out);
    return code;
}

static int progress(struct use *use)
{
    struct number in = {5}, out = {0};
    async_cluster_future *future = async_cluster_submit(use->cluster, telling, &in);
    long count = 0;
    int code = future ? count_messages(async_cluster_progress(future), &count) : async_error_code();
    if (code < 0)
        async_cluster_cancel(future);
    else
        code = async_cluster_wait(future, &out);
    return code;
}

static int watch(struct use *use)
{
    int code = async_cluster_put(use->bucket, "key", "x", 1, NULL), count = 0;
    if (code < 0) return code;
    async_for (async_cluster_entry *, entry, async_cluster_watch(use->bucket, "key")) {
        if (!*entry->key) break;
        assert_string_equal(entry->key, "key");
        count++;
    }
    code = async_block_error();
    if (code == 0) assert_true(count > 0);
    return code;
}

static int keys(struct use *use)
{
    uint64_t revision = 0;
    int code = async_cluster_put(use->bucket, "other", "x", 1, &revision);
    if (code == 0) code = async_cluster_put_if(use->bucket, "other", "y", 1, revision, NULL);
    if (code < 0) return code;
    async_cluster_entry *entry = async_cluster_get(use->bucket, "other");
    if (!entry) return async_error_code();
    assert_string_equal(entry->value, "y");
    async_cluster_entry_free(entry);
    return async_cluster_delete(use->bucket, "other");
}

static int serving(struct use *use)
{
    int code = 0;
    async_timeout (0.05)
        code = serve(use->cluster);
    return code == -ETIMEDOUT ? 0 : code;
}

typedef int user(struct use *use);
static user *const users[] = {call, map, completed, items, progress, watch, keys, serving};
static const char *const names[] = {"call",     "map",   "completed", "items",
                                    "progress", "watch", "keys",      "serving"};

/* Until it comes to its end before it is cancelled. Turns that only wait for the server count as well: after some hundred
 * of them each step is longer. */
static void cancel_after_turns(struct use *use, size_t which)
{
    int code = -ECANCELED;

    for (int turns = 0; code == -ECANCELED; turns += 1 + turns / 8) {
        async_task *task = async_create_task((async_coroutine)users[which], use);
        for (int i = 0; i < turns && !async_task_done(task); i++)
            async_sleep(0.00002);
        async_cancel(task, NULL);
        code = async_await(task);
        if (code != 0 && code != -ECANCELED)
            fail_msg("%s, %d turns: %s: %s", names[which], turns, async_error_name(code),
                     async_error_message());
    }
}

static int cancellation(void)
{
    WITH_WORKER (cluster) {
        struct use use = {.cluster = cluster};
        use.bucket = async_cluster_bucket_open(cluster, "cancelled",
                                               &(async_cluster_bucket_options){.memory = true});
        assert_non_null(use.bucket);
        for (size_t i = 0; i < COUNT(users); i++)
            cancel_after_turns(&use, i);
        /* Nothing is left of it: neither jobs nor places. */
        for (size_t i = 0; i < COUNT(users); i++)
            async_timeout (60)
                assert_int_equal(users[i](&use), 0);
        async_cluster_bucket_close(use.bucket);
    }
    return async_block_error();
}

/* A time-out at about the time of the result: it is one or the other. */
static int timeouts(void)
{
    WITH_WORKER (cluster) {
        struct number in = {10}, out;
        assert_int_equal(async_cluster_call(cluster, slow, &in, &out), 0);
        double start = async_now();
        assert_int_equal(async_cluster_call(cluster, slow, &in, &out), 0);
        double took = async_now() - start;
        for (int i = 0; i < 40; i++) {
            int code = 0;
            out.value = 0;
            async_timeout (took *(0.7 + 0.02 * i))
                code = async_cluster_call(cluster, slow, &in, &out);
            if (code == 0)
                assert_int_equal(out.value, 20);
            else
                assert_int_equal(code, -ETIMEDOUT);
        }
    }
    return async_block_error();
}

/* ---- keys ---- */

/* A call with a key was given up; the one that comes back with the key gets the result, and so does the one that had waited
 * with it. */
static int given_up_keys(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {21}, out = {0};
        int code = 0;
        async_timeout (0.1)
            code = async_cluster_call(cluster, slow, &in, &out, .key = "given up");
        assert_int_equal(code, -ETIMEDOUT);
        async_cluster_future *first =
            async_cluster_submit(cluster, slow, &in, .key = "two want it");
        async_cluster_future *second =
            async_cluster_submit(cluster, slow, &in, .key = "two want it");
        async_cluster_cancel(first);
        async_with (async_task *, worker, start_worker(cluster), stop_worker)
            async_timeout (30) {
                code = async_cluster_wait(second, &out);
                if (code == 0)
                    code = async_cluster_call(cluster, slow, &in, &out, .key = "given up");
            }
        assert_int_equal(code, 0);
        assert_int_equal(out.value, 42);
    }
    return async_block_error();
}

/* ---- a function that crashes: this program once more, as a worker ---- */

static int crashing(const struct number *in, struct number *out)
{
    (void)out;
    if (in->value) raise(SIGKILL);
    return 0;
}
ASYNC_JOB(crashing, struct number, struct number, .memory = true, .ack_wait = 0.3, .max_deliver = 2)

static int crash(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {1}, out;
        async_cluster_future *future = async_cluster_submit(cluster, crashing, &in);
        assert_non_null(future);
        int status = 0;
        for (int i = 0; i < 2; i++) {
            pid_t pid = fork();
            if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execl("/proc/self/exe", "test", "worker", server.url, NULL);
                _exit(127);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_true(WIFSIGNALED(status));
        }
        pid_t last = fork();
        if (last == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            execl("/proc/self/exe", "test", "worker", server.url, NULL);
            _exit(127);
        }
        assert_int_equal(async_cluster_wait(future, &out), -EOWNERDEAD);
        assert_non_null(strstr(async_error_message(), "2 workers have had it"));
        in.value = 0;
        assert_int_equal(async_cluster_call(cluster, crashing, &in, &out), 0);
        kill(last, SIGTERM);
        assert_int_equal(waitpid(last, &status, 0), last);
        assert_int_equal(status, 0);
    }
    return async_block_error();
}

/* ---- sizes ---- */

static int sized_size, sized_fails;

static int sized(const void *in, void *out)
{
    memcpy(out, in, (size_t)sized_size);
    return sized_fails ? async_raise(-EDOM, "%1100s", "it fails") : 0;
}

static int serve_sized(void *cluster)
{
    const async_cluster_job job = {.size = sizeof job,
                                   .name = "sized",
                                   .run = sized,
                                   .in_size = (size_t)sized_size,
                                   .out_size = (size_t)sized_size,
                                   .max_deliver = 1,
                                   .memory = true};
    return async_cluster_serve(cluster, NULL, &job);
}

/* Around what fits into a message, and into several pieces. The whole of it is among the dead as well, with a long
 * message. */
static void try_size(async_cluster *cluster, int size, char *in, char *out)
{
    const async_cluster_job job = {.size = sizeof job,
                                   .name = "sized",
                                   .in_size = (size_t)size,
                                   .out_size = (size_t)size,
                                   .max_deliver = 1,
                                   .memory = true};

    sized_size = size;
    for (int i = 0; i < size; i++)
        in[i] = (char)(i * 7 % 251);
    async_task *worker = async_create_task(serve_sized, cluster);
    for (sized_fails = 0; sized_fails < 2; sized_fails++) {
        memset(out, 0, (size_t)size);
        int code = 0;
        async_timeout (60)
            code = async_cluster_call_job(cluster, &job, in, out, NULL);
        if (code != (sized_fails ? -EDOM : 0))
            fail_msg("%d bytes: %s: %s", size, async_error_name(code), async_error_message());
        if (code == 0) assert_memory_equal(in, out, (size_t)size);
    }
    sized_fails = 0;
    assert_int_equal(async_cluster_requeue(cluster, "sized", 0), 1);
    async_cancel(worker, NULL);
    assert_int_equal(async_await(worker), -ECANCELED);
}

static int sizes(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        int most = (int)async_cluster_max_payload(cluster);
        char *in = malloc(3 * (size_t)most), *out = malloc(3 * (size_t)most);
        assert_int_equal(most, 16384);
        for (int times = 1; times <= 2; times++)
            for (int headroom = 0; headroom <= 2304; headroom += 128)
                for (int off = -1; off <= 1; off++)
                    if (off == 0 || headroom % 1024 == 0 || headroom == 2048 + 128)
                        try_size(cluster, times * most - headroom + off, in, out);
        try_size(cluster, 0, in, out);
        try_size(cluster, 1, in, out);
        free(in);
        free(out);
    }
    return async_block_error();
}

/* ---- bytes that are none of ours ---- */

static int foreign_bytes(void)
{
    WITH_WORKER (cluster) {
        struct number in = {1}, out = {0};
        assert_int_equal(async_cluster_call(cluster, slow, &in, &out), 0);
        /* A dead job whose sizes come to the right sum, modulo 2^64. */
        struct {
            char magic[4];
            int32_t code;
            uint64_t out_size;
            uint32_t pieces, items, message_size, reserved;
        } head = {
            .magic = {'c', 'j', 'd', '1'}, .out_size = -(uint64_t)1000000, .message_size = 1000000};
        assert_int_equal(async_cluster_publish(cluster, "casyncio.slow.dead", &head, sizeof head),
                         0);
        head.magic[0] = 'x';
        for (size_t size = 0; size <= sizeof head; size += 5)
            assert_int_equal(async_cluster_publish(cluster, "casyncio.slow.dead", &head, size), 0);
        char job[300] = "cjr1";
        for (size_t size = 0; size <= sizeof job; size += 30)
            assert_int_equal(async_cluster_publish(cluster, "casyncio.slow.run.1", job, size), 0);
        assert_int_equal(async_cluster_publish(cluster, "casyncio.slow.cancel", NULL, 0), 0);
        assert_int_equal(async_cluster_publish(cluster, "casyncio.slow.worker", "x", 1), 0);
        assert_int_equal(async_cluster_flush(cluster), 0);
        assert_int_equal(async_cluster_call(cluster, slow, &in, &out), 0);
        int count = 0;
        async_for (async_cluster_dead, dead, async_cluster_dead_jobs(cluster, "slow"))
            count += dead.code == -EPROTO; /* what was no job is there, and says so */
        assert_int_equal(async_block_error(), 0);
        assert_true(count > 0);
        assert_int_equal(async_cluster_requeue(cluster, "slow", 0), -EPROTO);
    }
    return async_block_error();
}

REAL(wrong_arguments)
REAL(cancellation)
REAL(timeouts)
REAL(given_up_keys)
REAL(crash)
REAL(foreign_bytes)
REAL(sizes)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_arguments), cmocka_unit_test(test_cancellation),
        cmocka_unit_test(test_timeouts),        cmocka_unit_test(test_given_up_keys),
        cmocka_unit_test(test_crash),           cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_foreign_bytes)};
    if (argc == 3 && strcmp(argv[1], "worker") == 0)
        return async_cluster_work(argv[2], NULL, &crashing_job);
    NATS_SKIP_VALGRIND();
    server.config = "max_payload: 16384\n";
    nats_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}
