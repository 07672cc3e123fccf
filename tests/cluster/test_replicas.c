/* Three servers that keep copies of a queue: one of them is killed in the middle of a map, and nothing is lost.
 * ctest: labels=slow timeout=180 */
#include "nats_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { SERVERS = 3, JOBS = 300, PLACES = 8, LARGE = 2500000 };

static struct nats_server servers[SERVERS];
static const char *const names[SERVERS] = {"one", "two", "three"};

/* A port that nothing else gets: bound, but not listened to, which the server does beside it. */
static int hold_port(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void start_servers(void)
{
    static char configs[SERVERS][512];
    int ports[SERVERS], fds[SERVERS];

    for (int i = 0; i < SERVERS; i++)
        fds[i] = hold_port(&ports[i]);
    for (int i = 0; i < SERVERS; i++) {
        snprintf(
            configs[i], sizeof configs[i],
            "cluster { name: test, listen: \"127.0.0.1:%d\", routes: [\"nats://127.0.0.1:%d\", "
            "\"nats://127.0.0.1:%d\", \"nats://127.0.0.1:%d\"] }\n",
            ports[i], ports[0], ports[1], ports[2]);
        servers[i].config = configs[i];
        servers[i].name = names[i];
        nats_start(&servers[i]);
    }
    for (int i = 0; i < SERVERS; i++)
        close(fds[i]);
}

/* ---- the jobs ---- */

struct number {
    long value;
};

struct large {
    char bytes[LARGE];
};

static int runs[JOBS], started;
static int victim; /* the server that is killed in the middle of the map */

static int twice(const struct number *in, struct number *out)
{
    runs[in->value]++;
    if (++started == JOBS / 4) nats_kill(&servers[victim], SIGKILL);
    out->value = 2 * in->value;
    return async_sleep(0.01);
}
ASYNC_JOB(twice, struct number, struct number, .replicas = SERVERS)

static int flipped(const struct large *in, struct large *out)
{
    for (size_t i = 0; i < sizeof in->bytes; i++)
        out->bytes[i] = (char)~in->bytes[i];
    return async_cluster_job_yield("done", 4);
}
ASYNC_JOB(flipped, struct large, struct large, .replicas = SERVERS)

static int serve(void *cluster)
{
    return async_cluster_serve(cluster, &((async_cluster_worker_options){.concurrency = PLACES}),
                               &twice_job, &flipped_job);
}

static int done(void)
{
    int count = 0;
    for (int i = 0; i < JOBS; i++)
        count += runs[i] > 0;
    return count;
}

/* Which of the servers leads the stream. */
static int leader_of(async_cluster *cluster, const char *stream)
{
    char subject[96];
    const char *at = NULL;

    snprintf(subject, sizeof subject, "$JS.API.STREAM.INFO.%s", stream);
    async_cluster_message *answer = async_cluster_request(cluster, subject, NULL, 0);
    assert_non_null(answer);
    at = strstr(answer->data, "\"leader\":\"");
    assert_non_null(at);
    at += strlen("\"leader\":\"");
    int found = -1;
    for (int i = 0; i < SERVERS; i++)
        if (strncmp(at, names[i], strlen(names[i])) == 0) found = i;
    async_cluster_message_free(answer);
    assert_in_range(found, 0, SERVERS - 1);
    return found;
}

static int large_one(async_cluster *cluster)
{
    static struct large in, out;

    for (size_t i = 0; i < sizeof in.bytes; i++)
        in.bytes[i] = (char)(i * 7 % 251);
    int code = async_cluster_call(cluster, flipped, &in, &out);
    for (size_t i = 0; i < sizeof in.bytes && code == 0; i++)
        if (out.bytes[i] != (char)~in.bytes[i]) fail();
    return code;
}

/* Three cannot have four copies, and a queue with one copy is none with two. */
static int too_few(void)
{
    const char *const urls[] = {servers[1].url, servers[2].url, NULL};

    async_with_cluster (cluster, servers[0].url, &(async_cluster_options){.servers = urls}) {
        async_cluster_job job = {
            .size = sizeof job, .name = "fewer", .in_size = 1, .out_size = 1, .replicas = 4};
        char byte = 0;
        assert_null(async__cluster_submit(cluster, &job, &byte, NULL, 0));
        assert_int_equal(async_error_code(), -ENOSPC);
        assert_non_null(strstr(async_error_message(), "CASYNCIO_RUN_fewer with 4 replicas: "));
        job.replicas = 0;
        async_cluster_future *future = async__cluster_submit(cluster, &job, &byte, NULL, 0);
        if (!future) fail_msg("%s", async_error_message());
        async_cluster_cancel(future);
    }
    async_with_cluster (cluster, servers[0].url, &(async_cluster_options){.servers = urls}) {
        async_cluster_job job = {
            .size = sizeof job, .name = "fewer", .in_size = 1, .out_size = 1, .replicas = 2};
        char byte = 0;
        assert_null(async__cluster_submit(cluster, &job, &byte, NULL, 0));
        assert_int_equal(async_error_code(), -EEXIST);
        assert_non_null(strstr(async_error_message(), "it has fewer replicas"));
    }
    return async_block_error();
}

/* The servers find each other while the first calls are made: until then there is no place for a copy. */
static async_cluster_bucket *open_copies(async_cluster *cluster)
{
    const async_cluster_bucket_options options = {.replicas = SERVERS};

    for (;;) {
        async_cluster_bucket *bucket = async_cluster_bucket_open(cluster, "copies", &options);
        if (bucket || async_error_code() != -ENOSPC) return bucket;
        async_sleep(0.02);
    }
}

static int one_is_killed(void)
{
    const char *const urls[] = {servers[1].url, servers[2].url, NULL};
    const async_cluster_options options = {
        .servers = urls, .reconnect_wait = 0.02, .reconnect_wait_max = 0.1};
    static struct number inputs[JOBS], outputs[JOBS];

    async_with_cluster (cluster, servers[0].url, &options)
        async_with_cluster (other, servers[0].url, &options) {
            for (int i = 0; i < JOBS; i++)
                inputs[i].value = i;
            async_cluster_bucket *bucket = open_copies(cluster);
            if (!bucket) fail_msg("%s", async_error_message());
            assert_int_equal(async_cluster_put(bucket, "key", "value", 5, NULL), 0);
            async_task *worker = async_create_task(serve, other);
            assert_int_equal(large_one(cluster), 0);
            victim = leader_of(cluster, "CASYNCIO_RUN_twice");
            int code = async_cluster_map(cluster, twice, inputs, outputs, JOBS, .limit = 50);
            if (code != 0) fail_msg("%s: %s", async_error_name(code), async_error_message());
            for (int i = 0; i < JOBS; i++)
                assert_int_equal(outputs[i].value, 2 * i);
            assert_int_equal(done(), JOBS);
            assert_true(started >= JOBS && servers[victim].pid == 0);
            assert_int_equal(large_one(cluster), 0);
            async_cluster_entry *entry = async_cluster_get(bucket, "key");
            assert_non_null(entry);
            assert_string_equal(entry->value, "value");
            async_cluster_entry_free(entry);
            async_cluster_bucket_close(bucket);
            async_cancel(worker, NULL);
            assert_int_equal(async_await(worker), -ECANCELED);
        }
    return async_block_error();
}

REAL(too_few)
REAL(one_is_killed)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_too_few),
                                       cmocka_unit_test(test_one_is_killed)};
    NATS_SKIP_VALGRIND();
    start_servers();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < SERVERS; i++)
        nats_stop(&servers[i]);
    return failed;
}
