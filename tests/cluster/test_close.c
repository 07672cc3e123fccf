/* Somebody closes what another uses: whatever still waits in a cluster gets -ECONNABORTED, and finds what it needs.
 * ctest: timeout=300 */
#include "nats_server.h"

static struct nats_server server;

struct number {
    long value;
};

static int never(const struct number *in, struct number *out)
{
    (void)in, (void)out;
    return async_sleep(1000);
}
ASYNC_JOB(never, struct number, struct number, .memory = true)
ASYNC_JOB_ELSEWHERE(elsewhere, struct number, struct number, .memory = true)

/* ---- calls of every kind, that wait while the cluster is closed ---- */

struct use {
    async_cluster *cluster;
    async_cluster_bucket *bucket;
};

static int open_bucket(struct use *use)
{
    async_cluster_bucket *bucket =
        async_cluster_bucket_open(use->cluster, "another", &(async_cluster_bucket_options){0});
    if (!bucket) return async_error_code();
    async_cluster_bucket_close(bucket);
    return 0;
}

static int put(struct use *use) { return async_cluster_put(use->bucket, "key", "x", 1, NULL); }

static int get(struct use *use)
{
    async_cluster_entry *entry = async_cluster_get(use->bucket, "key");
    int code = entry ? 0 : async_error_code();
    async_cluster_entry_free(entry);
    return code;
}

static int watch(struct use *use)
{
    async_for (async_cluster_entry *, entry, async_cluster_watch(use->bucket, NULL))
        (void)entry;
    return async_block_error();
}

static int subscription(struct use *use)
{
    async_for (async_cluster_message *, message, async_cluster_subscribe(use->cluster, "x", NULL))
        fail();
    return async_block_error();
}

static int request(struct use *use)
{
    async_cluster_message *answer = async_cluster_request(use->cluster, "mute", "x", 1);
    int code = answer ? 0 : async_error_code();
    async_cluster_message_free(answer);
    return code;
}

static int flush(struct use *use) { return async_cluster_flush(use->cluster); }

/* More than the sockets take: the last ones wait. */
static int publish(struct use *use)
{
    static char data[1000 * 1000];
    int code = 0;
    for (int i = 0; i < 6 && code == 0; i++)
        code = async_cluster_publish(use->cluster, "large", data, sizeof data);
    return code;
}

static int call(struct use *use)
{
    struct number in = {1}, out;
    return async_cluster_call(use->cluster, elsewhere, &in, &out, .unserved_timeout = 1000);
}

static int call_with_key(struct use *use)
{
    struct number in = {1}, out;
    return async_cluster_call(use->cluster, never, &in, &out, .key = "key",
                              .unserved_timeout = 1000);
}

/* Of a queue that is not known yet. */
static int call_of_another(struct use *use)
{
    static const async_cluster_job job = {
        .size = sizeof job, .name = "unknown", .in_size = 1, .out_size = 1, .memory = true};
    char in = 0, out;
    return async_cluster_call_job(use->cluster, &job, &in, &out,
                                  &(async_cluster_call_options){.unserved_timeout = 1000});
}

static int map(struct use *use)
{
    struct number in[20] = {{0}}, out[20];
    return async_cluster_map(use->cluster, elsewhere, in, out, 20, .limit = 3,
                             .unserved_timeout = 1000);
}

/* Every call has its error, those that were not made yet as well. */
static int as_completed(struct use *use)
{
    struct number in[20] = {{0}}, out[20];
    int count = 0, code = 0;
    async_for (async_cluster_completed, done,
               async_cluster_as_completed(use->cluster, elsewhere, in, out, 20, .limit = 3,
                                          .unserved_timeout = 1000)) {
        if (done.code != -ECONNABORTED && done.code != -ECONNRESET) code = done.code;
        count++;
    }
    assert_int_equal(async_block_error(), 0);
    assert_int_equal(count, 20);
    return code < 0 ? code : -ECONNABORTED;
}

static int queues(struct use *use)
{
    async_cluster_queue some[4];
    ssize_t count = 0;
    while (count >= 0)
        count = async_cluster_queues(use->cluster, some, 4);
    return (int)count;
}

static int dead_jobs(struct use *use)
{
    int code = 0;
    while (code == 0) {
        async_for (async_cluster_dead, dead, async_cluster_dead_jobs(use->cluster, "never"))
            (void)dead;
        code = async_block_error();
    }
    return code;
}

static int requeue(struct use *use)
{
    ssize_t count = 0;
    while (count >= 0)
        count = async_cluster_requeue(use->cluster, "never", 0);
    return (int)count;
}

static int serve(struct use *use) { return async_cluster_serve(use->cluster, NULL, &never_job); }

typedef int user(struct use *use);
static user *const users[] = {
    open_bucket,   put, get,    watch,        subscription,    request,   flush,   publish, call,
    call_with_key, map, queues, as_completed, call_of_another, dead_jobs, requeue, serve};
static const char *const names[] = {"open_bucket",  "put",
                                    "get",          "watch",
                                    "subscription", "request",
                                    "flush",        "publish",
                                    "call",         "call_with_key",
                                    "map",          "queues",
                                    "as_completed", "call_of_another",
                                    "dead_jobs",    "requeue",
                                    "serve"};

static int mute(async_cluster *cluster)
{
    async_for (async_cluster_message *, message, async_cluster_subscribe(cluster, "mute", NULL))
        (void)message;
    return async_block_error();
}

/* What a server that does not answer leaves waiting, one user in a thread of the pool at a time: the closing
 * needs one as well. */
struct scene {
    void (*before)(void); /* once all is under way */
    void (*after)(void);
    double pause; /* until it is closed */
    size_t only;  /* the number of one user; COUNT(users): all */
};

static bool takes_part(const struct scene *scene, size_t i)
{
    return scene->only == COUNT(users) || scene->only == i;
}

static int close_under(struct scene *scene)
{
    const async_cluster_options options = {.reconnect_wait = 0.02, .reconnect_wait_max = 0.1};
    struct use use = {async_cluster_connect(server.url, &options), NULL};
    async_task *tasks[COUNT(users)];
    struct number in = {1};

    assert_non_null(use.cluster);
    async_with_cluster (other, server.url, NULL) {
        async_task *silent = async_create_task((async_coroutine)mute, other);
        use.bucket = async_cluster_bucket_open(use.cluster, "closed",
                                               &(async_cluster_bucket_options){.memory = true});
        assert_non_null(use.bucket);
        assert_int_equal(async_cluster_put(use.bucket, "key", "x", 1, NULL), 0);
        async_cluster_cancel(async_cluster_submit(use.cluster, never, &in));
        async_cluster_cancel(async_cluster_submit(use.cluster, elsewhere, &in));
        assert_int_equal(async_cluster_flush(other), 0);
        if (scene->before) scene->before();
        for (size_t i = 0; i < COUNT(users); i++)
            if (takes_part(scene, i))
                assert_non_null(tasks[i] = async_create_task((async_coroutine)users[i], &use));
        async_sleep(scene->pause);
        int code = 0;
        async_timeout (0.2)
            code = async_cluster_close(use.cluster);
        assert_true(code == 0 || code == -ETIMEDOUT);
        /* What ended before the close had its answer; all else ends now. */
        for (size_t i = 0; i < COUNT(users); i++) {
            if (!takes_part(scene, i)) continue;
            code = async_await(tasks[i]);
            if (code != 0 && code != -ECONNABORTED && code != -ECONNRESET)
                fail_msg("%s: %s: %s", names[i], async_error_name(code), async_error_message());
        }
        async_cluster_bucket_close(use.bucket);
        if (scene->after) scene->after();
        async_cancel(silent, NULL);
        async_await(silent);
    }
    return async_block_error();
}

static void freeze(void) { kill(server.pid, SIGSTOP); }
static void thaw(void) { kill(server.pid, SIGCONT); }
static void kill_server(void) { nats_kill(&server, SIGKILL); }
static void restart_server(void) { nats_restart(&server); }

static int run_scene(struct scene scene) { return run_real((async_coroutine)close_under, &scene); }

/* The server answers: at moments that move through what the calls do. */
static void test_under_calls(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++)
        assert_int_equal(run_scene((struct scene){.pause = 0.003 * i, .only = COUNT(users)}), 0);
}

static void test_without_an_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(users); i++) {
        if (users[i] == publish) continue; /* what it has published is flushed to the others */
        assert_int_equal(
            run_scene((struct scene){.before = freeze, .after = thaw, .pause = 0.02, .only = i}),
            0);
    }
}

static void test_while_reconnecting(void **state)
{
    (void)state;
    assert_int_equal(
        run_scene((struct scene){
            .before = kill_server, .after = restart_server, .pause = 0.05, .only = COUNT(users)}),
        0);
}

/* ---- the closing itself ---- */

static int closing(void *cluster) { return async_cluster_close(cluster); }

static int closed_twice(void)
{
    async_cluster *cluster = async_cluster_connect(server.url, NULL);
    async_task *tasks[3];
    int codes[3];

    assert_non_null(cluster);
    for (int i = 0; i < 3; i++)
        assert_non_null(tasks[i] = async_create_task(closing, cluster));
    assert_int_equal(async_gather_results(tasks, 3, codes), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(codes[i], 0);
    /* With something that keeps it also later. */
    cluster = async_cluster_connect(server.url, NULL);
    async_iterator *messages = async_cluster_subscribe(cluster, "x", NULL);
    assert_int_equal(async_cluster_close(cluster), 0);
    assert_int_equal(async_cluster_close(cluster), 0);
    assert_false(async_cluster_is_connected(cluster));
    assert_int_equal(async_cluster_max_payload(cluster), 0);
    messages->close(messages);
    return 0;
}

/* However early: it is closed all the same, and the one that waits for it learns of it. */
static int closed_under_cancellation(void)
{
    for (int i = 0; i < 10; i++) {
        struct use use = {async_cluster_connect(server.url, NULL), NULL};
        async_iterator *messages = async_cluster_subscribe(use.cluster, "x", NULL);
        async_task *task = async_create_task(closing, use.cluster);
        async_task *opener = async_create_task((async_coroutine)open_bucket, &use);
        async_sleep(0.0004 * i);
        async_cancel(task, NULL);
        int code = async_await(task);
        assert_true(code == 0 || code == -ECANCELED);
        if (code == -ECANCELED && async_cluster_is_connected(use.cluster)) {
            /* It was cancelled before it began. */
            assert_int_equal(async_cluster_close(use.cluster), 0);
        }
        code = async_await(opener);
        if (code != 0 && code != -ECONNABORTED)
            fail_msg("%s: %s", async_error_name(code), async_error_message());
        assert_int_equal(async_cluster_publish(use.cluster, "x", "x", 1), -ECONNABORTED);
        messages->close(messages);
    }
    return 0;
}

static int closed_by_its_reader(void)
{
    async_cluster *cluster = async_cluster_connect(server.url, NULL);
    async_iterator *messages = async_cluster_subscribe(cluster, "x", NULL);
    int count = 0;

    for (int i = 0; i < 3; i++)
        assert_int_equal(async_cluster_publish(cluster, "x", "x", 1), 0);
    async_for (async_cluster_message *, message, messages) {
        if (count++ == 0) assert_int_equal(async_cluster_close(cluster), 0);
        assert_string_equal(message->data, "x");
    }
    assert_int_equal(async_block_error(), -ECONNABORTED);
    assert_int_equal(count, 1); /* what waited for the iteration is gone with the connection */
    return 0;
}

static async_cluster *of_the_worker;

static int suicide(const struct number *in, struct number *out)
{
    (void)in;
    out->value = async_cluster_close(of_the_worker);
    return 0;
}
ASYNC_JOB(suicide, struct number, struct number, .memory = true, .ack_wait = 0.5, .max_deliver = 2)

static int serve_suicide(void *cluster) { return async_cluster_serve(cluster, NULL, &suicide_job); }

/* The worker ends with the code, and the job is another worker's. */
static int closed_by_a_job(void)
{
    of_the_worker = async_cluster_connect(server.url, NULL);
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {1}, out = {0};
        async_task *worker = async_create_task(serve_suicide, of_the_worker);
        async_cluster_future *future = async_cluster_submit(cluster, suicide, &in);
        assert_non_null(future);
        assert_int_equal(async_await(worker), -ECONNABORTED);
        of_the_worker = NULL; /* the second attempt closes nothing */
        async_with_cluster (second, server.url, NULL) {
            worker = async_create_task(serve_suicide, second);
            assert_int_equal(async_cluster_wait(future, &out), 0);
            async_cancel(worker, NULL);
            assert_int_equal(async_await(worker), -ECANCELED);
        }
    }
    return async_block_error();
}

/* ---- the loop ends before the cluster is closed ---- */

struct left {
    async_cluster *cluster;
    async_cluster_bucket *bucket;
    async_iterator *messages, *changes, *items;
    async_cluster_future *future;
    bool lost; /* the server goes, and the client library tries to come back */
};
static struct left left;

static int leaves_all(void *unused)
{
    const async_cluster_options options = {.reconnect_wait = 0.01, .reconnect_wait_max = 0.01};
    struct number in = {1};
    (void)unused;

    assert_non_null(left.cluster = async_cluster_connect(server.url, &options));
    left.bucket =
        async_cluster_bucket_open(left.cluster, "left", &(async_cluster_bucket_options){0});
    assert_non_null(left.bucket);
    assert_non_null(left.messages = async_cluster_subscribe(left.cluster, "x", NULL));
    assert_non_null(left.changes = async_cluster_watch(left.bucket, NULL));
    async_cluster_entry *none = NULL;
    assert_int_equal(left.changes->next(left.changes, &none), 1); /* where the present values end */
    assert_non_null(left.future = async_cluster_submit(left.cluster, elsewhere, &in));
    assert_non_null(left.items = async_cluster_items(left.future));
    /* Something that waits for an answer without a task, and something that waits to be sent. */
    async_cluster_cancel(async_cluster_submit(left.cluster, elsewhere, &in));
    assert_int_equal(async_cluster_publish(left.cluster, "y", "last", 4), 0);
    if (!left.lost) return 0;
    nats_kill(&server, SIGKILL);
    while (async_cluster_is_connected(left.cluster))
        async_sleep(0.001);
    return 0;
}

static void free_what_is_left(bool cluster_first)
{
    if (cluster_first) assert_int_equal(async_cluster_close(left.cluster), 0);
    left.items->close(left.items);
    async_cluster_cancel(left.future);
    left.changes->close(left.changes);
    left.messages->close(left.messages);
    async_cluster_bucket_close(left.bucket);
    if (!cluster_first) assert_int_equal(async_cluster_close(left.cluster), 0);
}

static int uses_what_is_left(void *unused)
{
    struct number out;
    void *value;
    (void)unused;

    assert_false(async_cluster_is_connected(left.cluster));
    assert_int_equal(async_cluster_max_payload(left.cluster), 0);
    assert_int_equal(async_cluster_publish(left.cluster, "x", "x", 1), -ECONNABORTED);
    assert_non_null(strstr(async_error_message(), "the cluster's loop has been closed"));
    assert_int_equal(async_cluster_flush(left.cluster), -ECONNABORTED);
    assert_null(async_cluster_get(left.bucket, "key"));
    assert_int_equal(async_error_code(), -ECONNABORTED);
    assert_int_equal(left.messages->next(left.messages, &value), -ECONNABORTED);
    assert_int_equal(left.changes->next(left.changes, &value), -ECONNABORTED);
    assert_int_equal(left.items->next(left.items, &value), -ECONNABORTED);
    left.items->close(left.items);
    assert_int_equal(async_cluster_wait(left.future, &out), -ECONNABORTED);
    left.changes->close(left.changes);
    left.messages->close(left.messages);
    async_cluster_bucket_close(left.bucket);
    return async_cluster_close(left.cluster);
}

static void test_loop_closed_before_a_cluster(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        left.lost = i >= 3;
        assert_int_equal(run_real(leaves_all, NULL), 0);
        /* The library's threads find the server again, or its timers go off. */
        if (left.lost) nats_restart(&server);
        nap(0.05);
        if (i % 3 == 2)
            assert_int_equal(run_real(uses_what_is_left, NULL), 0);
        else
            free_what_is_left(i % 3 == 1);
    }
}

/* In a thread, with a loop of its own. */
static int leave_elsewhere(void *unused)
{
    (void)unused;
    int code = run_real(leaves_all, NULL);
    free_what_is_left(true);
    return code;
}

/* What was published is sent at the end of the loop, too. */
static int hears_the_last(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        async_iterator *messages = async_cluster_subscribe(cluster, "y", NULL);
        assert_int_equal(async_cluster_flush(cluster), 0);
        left.lost = false;
        assert_int_equal(async_to_thread(leave_elsewhere, NULL), 0);
        async_cluster_message *message = NULL;
        async_timeout (20)
            assert_int_equal(messages->next(messages, &message), 1);
        assert_string_equal(message->data, "last");
        messages->close(messages);
    }
    return async_block_error();
}

/* ---- another loop, and a forked child ---- */

static int uses_another_loops(void *cluster)
{
    assert_int_equal(async_cluster_publish(cluster, "x", "x", 1), -EPERM);
    assert_non_null(strstr(async_error_message(), "the cluster is another loop's"));
    assert_null(async_cluster_subscribe(cluster, "x", NULL));
    assert_int_equal(async_error_code(), -EPERM);
    assert_int_equal(async_cluster_close(cluster), -EPERM);
    return 0;
}

static int run_another(void *cluster) { return async_run(uses_another_loops, cluster); }

static int closes_its_parents(void *cluster)
{
    int code = async_cluster_publish(cluster, "x", "child", 5);
    return code == -EPERM ? async_cluster_close(cluster) : 1;
}

static int of_others(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        async_iterator *messages = async_cluster_subscribe(cluster, "x", NULL);
        assert_int_equal(async_to_thread(run_another, cluster), 0);
        pid_t child = fork();
        if (child == 0) {
            /* Within the parent's task, which does not run here; then in a loop of its own. */
            bool good = async_cluster_publish(cluster, "x", "child", 5) < 0;
            _exit(good ? -async_run(closes_its_parents, cluster) : 99);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        assert_int_equal(async_cluster_publish(cluster, "x", "parent", 6), 0);
        async_cluster_message *message = NULL;
        assert_int_equal(messages->next(messages, &message), 1);
        assert_string_equal(message->data, "parent");
        messages->close(messages);
    }
    return async_block_error();
}

REAL(closed_twice)
REAL(closed_under_cancellation)
REAL(closed_by_its_reader)
REAL(closed_by_a_job)
REAL(hears_the_last)
REAL(of_others)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_under_calls),
        cmocka_unit_test(test_without_an_answer),
        cmocka_unit_test(test_while_reconnecting),
        cmocka_unit_test(test_closed_twice),
        cmocka_unit_test(test_closed_under_cancellation),
        cmocka_unit_test(test_closed_by_its_reader),
        cmocka_unit_test(test_closed_by_a_job),
        cmocka_unit_test(test_loop_closed_before_a_cluster),
        cmocka_unit_test(test_hears_the_last),
        cmocka_unit_test(test_of_others),
    };
    NATS_SKIP();
    nats_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}
