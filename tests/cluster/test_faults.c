/* The n-th allocation fails, and the n-th await is cancelled: each call gives a clear code or does what it has to, and nothing
 * is left behind, which the sanitizers see. Only in a build with CASYNCIO_FAULTS, like tests/fault.
 * ctest: labels=slow,fault timeout=300 */
#include "nats_server.h"

#include "base/faults.h"

#ifdef ASYNC_FAULTS

static struct nats_server server;

struct number {
    long value;
};

static int twice(const struct number *in, struct number *out)
{
    out->value = 2 * in->value;
    return async_cluster_job_yield("x", 1);
}
ASYNC_JOB(twice, struct number, struct number, .ack_wait = 0.5, .memory = true)

static int working(void *cluster) { return async_cluster_serve(cluster, NULL, &twice_job); }

static int use_bucket(async_cluster *cluster)
{
    async_cluster_bucket *bucket = async_cluster_bucket_open(
        cluster, "faults", &(async_cluster_bucket_options){.memory = true});
    int code = bucket ? async_cluster_put(bucket, "key", "value", 5, NULL) : async_error_code();
    if (code == 0) {
        async_cluster_entry *entry = async_cluster_get(bucket, "key");
        if (entry)
            assert_string_equal(entry->value, "value");
        else
            code = async_error_code();
        async_cluster_entry_free(entry);
    }
    async_cluster_bucket_close(bucket);
    return code;
}

static int use_jobs(async_cluster *cluster)
{
    struct number in[3] = {{1}, {2}, {3}}, out[3] = {{0}};
    int code = async_cluster_map(cluster, twice, in, out, 3, .limit = 2);
    for (int i = 0; i < 3 && code == 0; i++)
        assert_int_equal(out[i].value, 2 * (i + 1));
    return code;
}

/* The worker's task is in the same thread, so that what fails may be its. */
static int scenario(void *argument)
{
    int code = 0;
    (void)argument;
    async_timeout (20) {
        async_with_cluster (cluster, server.url, NULL) {
            code = use_bucket(cluster);
            async_task *worker = async_create_task(working, cluster);
            if (code == 0) code = use_jobs(cluster);
            async_cancel(worker, NULL);
            async_await(worker);
        }
    }
    return code < 0 ? code : async_block_error();
}

static const char *kind_name;

static void sweep(enum async__fault_kind kind, int step)
{
    long count;

    kind_name = async__fault_names[kind];
    memset(async__faults, 0, sizeof async__faults);
    assert_int_equal(async_run_with(scenario, NULL, NULL), 0);
    count = async__faults[kind].count;
    assert_true(count > 0);
    for (long n = 1; n <= count; n += step) {
        memset(async__faults, 0, sizeof async__faults);
        async__faults[kind].at = n;
        int code = async_run_with(scenario, NULL, &(async_run_options){.no_report = true});
        if (code == 0 || code == -ENOMEM || code == -ECANCELED) continue;
        if (code == -EAGAIN || code == -ESRCH || code == -ETIMEDOUT)
            continue; /* no thread, no worker */
        fail_msg("%s %ld of %ld: %s: %s", kind_name, n, count, async_error_name(code),
                 async_run_error_message());
    }
}

static void test_allocations(void **state)
{
    (void)state;
    sweep(ASYNC__FAULT_ALLOCATION, 1);
}

static void test_awaits(void **state)
{
    (void)state;
    sweep(ASYNC__FAULT_AWAIT, 7);
}

static void test_waits(void **state)
{
    (void)state;
    sweep(ASYNC__FAULT_WAIT, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_allocations),
                                       cmocka_unit_test(test_awaits), cmocka_unit_test(test_waits)};
    NATS_SKIP_VALGRIND();
    nats_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}

#else

int main(void)
{
    puts("skipped: this build has no fault hook (CASYNCIO_FAULTS)");
    return 77;
}

#endif
