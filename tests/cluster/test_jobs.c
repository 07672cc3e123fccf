/* Jobs over a real server: callers and workers in one process, on one loop and over two connections.
 * ctest: timeout=180 */
#include "nats_server.h"

static struct nats_server server;

/* ---- the jobs ---- */

struct number {
    long value;
};

static int runs; /* of any job */

static int twice(const struct number *in, struct number *out)
{
    runs++;
    out->value = 2 * in->value;
    return 0;
}
ASYNC_JOB(twice, struct number, struct number)

static int slow(const struct number *in, struct number *out)
{
    runs++;
    int code = async_sleep((double)in->value / 1000);
    out->value = code;
    note("%s", code == 0 ? "slept" : code == -ECANCELED ? "cancelled" : "?");
    return code;
}
ASYNC_JOB(slow, struct number, struct number)

static int failing(const struct number *in, struct number *out)
{
    (void)out;
    runs++;
    return async_raise(-EDOM, "%ld is not my number", in->value);
}
ASYNC_JOB(failing, struct number, struct number, .max_deliver = 2)

/* Fails the first time that it is tried. */
static int second_time(const struct number *in, struct number *out)
{
    runs++;
    if (async_cluster_job_attempt() == 1) return -EAGAIN;
    out->value = in->value + (long)async_cluster_job_attempt();
    return 7;
}
ASYNC_JOB(second_time, struct number, struct number)

static int limited(const struct number *in, struct number *out)
{
    (void)in, (void)out;
    return async_sleep(10);
}
ASYNC_JOB(limited, struct number, struct number, .time_limit = 0.05, .max_deliver = 1)

static int noting(const struct number *in, struct number *out)
{
    note("%ld", in->value);
    out->value = in->value;
    return async_sleep(0.01);
}
ASYNC_JOB(noting, struct number, struct number)

struct large {
    char bytes[3 * 1000 * 1000];
};

static int reversed(const struct large *in, struct large *out)
{
    for (size_t i = 0; i < sizeof in->bytes; i++)
        out->bytes[i] = in->bytes[sizeof in->bytes - 1 - i];
    return 0;
}
ASYNC_JOB(reversed, struct large, struct large)

static int telling(const struct number *in, struct number *out)
{
    for (long i = 0; i < in->value; i++) {
        char text[32];
        int size = snprintf(text, sizeof text, "item %ld", i);
        int code = async_cluster_job_yield(text, (size_t)size);
        if (code < 0) return code;
        assert_int_equal(async_cluster_job_progress(&i, sizeof i), 0);
    }
    out->value = in->value;
    return 0;
}
ASYNC_JOB(telling, struct number, struct number)

static int narrow(const struct number *in, struct number *out)
{
    out->value = in->value;
    return async_sleep(0.02);
}
ASYNC_JOB(narrow, struct number, struct number, .max_jobs = 3)

/* The same name and another layout, or another version. */
static int none(const void *in, void *out)
{
    (void)in, (void)out;
    return 0;
}
static const async_cluster_job newer_job = {.size = sizeof(async_cluster_job),
                                            .name = "twice",
                                            .run = none,
                                            .in_size = sizeof(struct number),
                                            .out_size = sizeof(struct number),
                                            .version = 2};
static const async_cluster_job wider_job = {
    .size = sizeof(async_cluster_job), .name = "twice", .run = none, .in_size = 1, .out_size = 8};

ASYNC_JOB_ELSEWHERE(unserved, struct number, struct number)

/* What a job is told of itself: each attempt its key. */
static char job_keys[2][4][64];

static int naming(const struct number *in, struct number *out)
{
    unsigned attempt = async_cluster_job_attempt();
    out->value = ++runs;
    snprintf(job_keys[in->value][runs - 1], 64, "%s", async_cluster_job_key());
    return attempt == 1 ? -EAGAIN : 0;
}
ASYNC_JOB(naming, struct number, struct number)

static int ordered(const struct number *in, struct number *out)
{
    out->value = ++runs;
    return async_sleep((double)in->value / 1000);
}
ASYNC_JOB(ordered, struct number, struct number)

/* ---- a worker beside the test ---- */

struct working {
    unsigned concurrency;
    bool threads;
    async_cluster *cluster;
};

static int working(struct working *self)
{
    return async_cluster_serve(self->cluster,
                               &((async_cluster_worker_options){.concurrency = self->concurrency,
                                                                .threads = self->threads}),
                               &twice_job, &slow_job, &failing_job, &second_time_job, &limited_job,
                               &reversed_job, &telling_job, &narrow_job, &noting_job, &naming_job,
                               &ordered_job);
}

/* Runs the block with two clusters and a worker of so many jobs at once. */
static async_task *start_worker(async_cluster *cluster, unsigned concurrency, bool threads)
{
    runs = 0;
    return async_spawn(working, concurrency, threads, cluster);
}

static void stop_worker(async_task *worker)
{
    async_cancel(worker, NULL);
    assert_int_equal(async_await(worker), -ECANCELED);
}

#define WITH_WORKER(cluster, concurrency, threads)                                                 \
    async_with_cluster (other, server.url, NULL)                                                   \
        async_with_cluster (cluster, server.url, NULL)                                             \
            async_with (async_task *, worker, start_worker(other, concurrency, threads),           \
                        stop_worker)

/* ---- calls ---- */

static int call(void)
{
    WITH_WORKER (cluster, 4, false) {
        struct number in = {21}, out = {0};
        assert_int_equal(async_cluster_call(cluster, twice, &in, &out), 0);
        assert_int_equal(out.value, 42);
        assert_int_equal(async_cluster_call(cluster, second_time, &in, &out), 7);
        assert_int_equal(out.value, 23);
        assert_int_equal(
            async_cluster_call(cluster, twice, &in, &out, .priority = ASYNC_CLUSTER_HIGH), 0);
        assert_int_equal(
            async_cluster_call(cluster, twice, &in, &out, .priority = ASYNC_CLUSTER_LOW), 0);
    }
    return async_block_error();
}

static int in_threads(void)
{
    WITH_WORKER (cluster, 4, true) {
        struct number in = {21}, out = {0};
        assert_int_equal(async_cluster_call(cluster, twice, &in, &out), 0);
        assert_int_equal(out.value, 42);
        in.value = 5;
        assert_int_equal(async_cluster_call(cluster, telling, &in, &out), 0);
        assert_int_equal(async_cluster_call(cluster, failing, &in, &out), -EDOM);
        assert_non_null(strstr(async_error_message(), "5 is not my number"));
    }
    return async_block_error();
}

/* casyncio-jobs, which is built beside the tests: its first line that has `word`, or "". */
static const char *say(const char *arguments, const char *word)
{
    static char line[512];
    char path[256], command[600];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(size > 0);
    path[size] = 0;
    *strrchr(path, '/') = 0;
    snprintf(command, sizeof command, "%s/../bin/casyncio-jobs --url %s %s", path, server.url,
             arguments);
    FILE *said = popen(command, "r");
    assert_non_null(said);
    bool found = false;
    while (!found && fgets(line, sizeof line, said))
        found = strstr(line, word) != NULL;
    while (fgetc(said) != EOF)
        continue;
    assert_int_equal(pclose(said), 0);
    return found ? line : "";
}

/* The dead of `failing` are listed and requeued by the program. */
static void by_program(async_cluster *cluster)
{
    async_cluster_queue queues[32];
    size_t dead = 0;
    char command[64];

    while (dead == 0) { /* the second burial comes after the runs that were counted */
        ssize_t count = async_cluster_queues(cluster, queues, 32);
        for (ssize_t i = 0; i < count; i++)
            if (strcmp(queues[i].name, "failing") == 0) dead = queues[i].dead;
        async_sleep(0.01);
    }
    const char *line = say("dead failing", "not my number");
    assert_non_null(strstr(line, "EDOM"));
    snprintf(command, sizeof command, "requeue failing %d", atoi(line));
    runs = 0;
    assert_string_equal(say(command, "again"), "1 jobs of failing are in the queue again\n");
    while (runs < 2)
        async_sleep(0.01);
    assert_true(say("", "failing")[0] != 0);
}

static int failures(void)
{
    WITH_WORKER (cluster, 4, false) {
        struct number in = {21}, out = {0};
        assert_int_equal(async_cluster_call(cluster, failing, &in, &out), -EDOM);
        assert_non_null(
            strstr(async_error_message(), "job failing: 21 is not my number (tried 2 times"));
        assert_int_equal(runs, 2);
        assert_int_equal(async_cluster_call(cluster, limited, &in, &out), -ETIMEDOUT);
        assert_non_null(strstr(async_error_message(), "0.05 seconds, its limit"));
        assert_int_equal(async_cluster_call_job(cluster, &newer_job, &in, &out, NULL), -EPROTO);
        assert_non_null(
            strstr(async_error_message(), "the caller has version 2 of it, the worker 0"));
        assert_int_equal(async_cluster_call_job(cluster, &wider_job, &in, &out, NULL), -EPROTO);
        assert_non_null(strstr(async_error_message(), "structs have 1 and 8 bytes"));

        /* The dead are listed, and can be tried again. */
        size_t count = 0;
        async_for (async_cluster_dead, dead, async_cluster_dead_jobs(cluster, "failing")) {
            assert_int_equal(dead.code, -EDOM);
            assert_non_null(strstr(dead.message, "not my number"));
            count++;
        }
        assert_int_equal(async_block_error(), 0);
        assert_true(count >= 1);
        runs = 0;
        assert_int_equal(async_cluster_requeue(cluster, "failing", 0), count);
        while (runs < 2 * (int)count)
            async_sleep(0.01);
        assert_int_equal(runs, 2 * count);
        by_program(cluster);
        assert_int_equal(async_cluster_requeue(cluster, "failing", 123456), -ENOENT);
    }
    return async_block_error();
}

/* ---- many ---- */

static int map(void)
{
    enum { MANY = 500 };
    static struct number inputs[MANY], outputs[MANY];
    static int codes[MANY];

    WITH_WORKER (cluster, 8, false) {
        for (int i = 0; i < MANY; i++)
            inputs[i].value = i;
        assert_int_equal(async_cluster_map(cluster, twice, inputs, outputs, MANY, .limit = 50), 0);
        for (int i = 0; i < MANY; i++)
            assert_int_equal(outputs[i].value, 2 * i);
        assert_int_equal(runs, MANY);
        assert_int_equal(async_cluster_map(cluster, twice, inputs, outputs, 0), 0);

        assert_int_equal(async_cluster_map(cluster, failing, inputs, outputs, 20), -EDOM);
        assert_int_equal(
            async_cluster_map(cluster, failing, inputs, outputs, 5, .all = true, .codes = codes),
            -EDOM);
        for (int i = 0; i < 5; i++)
            assert_int_equal(codes[i], -EDOM);

        long sum = 0;
        for (int i = 0; i < 30; i++)
            inputs[i].value = 30 - i;
        async_for (async_cluster_completed, done,
                   async_cluster_as_completed(cluster, slow, inputs, outputs, 30)) {
            assert_int_equal(done.code, 0);
            sum += (long)done.index;
        }
        assert_int_equal(async_block_error(), 0);
        assert_int_equal(sum, 29 * 30 / 2);
        async_for (async_cluster_completed, done,
                   async_cluster_as_completed(cluster, failing, inputs, outputs, 3)) {
            assert_int_equal(done.code, -EDOM);
            assert_non_null(strstr(done.message, "not my number"));
            break;
        }
    }
    return async_block_error();
}

/* More jobs than the queue has room for: the callers wait. */
static int back_pressure(void)
{
    static struct number inputs[40], outputs[40];

    WITH_WORKER (cluster, 2, false) {
        assert_int_equal(async_cluster_map(cluster, narrow, inputs, outputs, 40), 0);
        async_cluster_queue queues[32];
        ssize_t count = async_cluster_queues(cluster, queues, 32);
        assert_true(count > 0);
    }
    /* And not beyond their time. */
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {1}, out;
        async_cluster_future *futures[3];
        for (int i = 0; i < 3; i++)
            assert_non_null(futures[i] = async_cluster_submit(cluster, narrow, &in));
        int code = 0;
        async_timeout (0.1)
            code = async_cluster_call(cluster, narrow, &in, &out);
        assert_int_equal(code, -ETIMEDOUT);
        for (int i = 0; i < 3; i++)
            async_cluster_cancel(futures[i]);
        async_sleep(0.05);
        /* A cancelled job makes room. */
        async_timeout (5)
            futures[0] = async_cluster_submit(cluster, narrow, &in);
        assert_non_null(futures[0]);
        async_cluster_cancel(futures[0]);
    }
    return async_block_error();
}

/* ---- keys ---- */

static int keyed(void *argument)
{
    async_cluster *cluster = argument;
    struct number in = {100}, out = {0};
    int code = async_cluster_call(cluster, slow, &in, &out, .key = "one of its kind");
    return code;
}

static int keys(void)
{
    WITH_WORKER (cluster, 4, false) {
        async_task *tasks[5];
        for (int i = 0; i < 5; i++)
            tasks[i] = async_create_task(keyed, cluster);
        assert_int_equal(async_gather_array(tasks, 5), 0);
        assert_int_equal(runs, 1);
        /* A caller that comes back finds the result. */
        assert_int_equal(keyed(cluster), 0);
        assert_int_equal(runs, 1);
    }
    return async_block_error();
}

/* A call without a key has one of its own, the same at each attempt, also if another call's input is the same. */
static int keys_of_its_own(void)
{
    WITH_WORKER (cluster, 4, false) {
        struct number in = {0}, out = {0};
        assert_int_equal(async_cluster_call(cluster, naming, &in, &out), 0);
        assert_int_equal(runs, 2);
        assert_true(job_keys[0][0][0] != 0);
        assert_string_equal(job_keys[0][0], job_keys[0][1]);
        assert_int_equal(async_cluster_call(cluster, naming, &in, &out), 0);
        assert_int_equal(runs, 4);
        assert_string_equal(job_keys[0][2], job_keys[0][3]);
        assert_string_not_equal(job_keys[0][0], job_keys[0][2]);
    }
    return async_block_error();
}

/* ---- time ---- */

static int cancel(void)
{
    WITH_WORKER (cluster, 1, false) {
        struct number in = {50000}, out;
        notes[0] = 0;
        async_cluster_future *running = async_cluster_submit(cluster, slow, &in);
        assert_non_null(running);
        while (runs == 0)
            async_sleep(0.01);
        int code = 0;
        async_timeout (0.01)
            code = async_cluster_wait(running, &out);
        assert_int_equal(code, -ETIMEDOUT);
        while (!notes[0])
            async_sleep(0.01);
        assert_notes("cancelled ");
        /* One that waits behind another is taken out of the queue. */
        in.value = 300;
        async_cluster_future *first = async_cluster_submit(cluster, slow, &in);
        async_cluster_future *second = async_cluster_submit(cluster, slow, &in);
        async_cluster_cancel(second);
        assert_int_equal(async_cluster_wait(first, &out), 0);
        in.value = 1;
        assert_int_equal(async_cluster_call(cluster, slow, &in, &out), 0);
        assert_int_equal(runs, 3);
        notes[0] = 0;
    }
    return async_block_error();
}

static int delayed(void)
{
    WITH_WORKER (cluster, 2, false) {
        struct number in = {1}, out;
        double start = async_now();
        assert_int_equal(async_cluster_call(cluster, twice, &in, &out, .delay = 0.4), 0);
        assert_true(async_now() - start >= 0.4);
        assert_int_equal(runs, 1);
    }
    return async_block_error();
}

/* With one place, what is urgent comes before what is not, whenever it was sent. */
static int priorities(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {1}, out;
        async_cluster_future *futures[6];
        static const enum async_cluster_priority order[] = {
            ASYNC_CLUSTER_LOW,    ASYNC_CLUSTER_LOW,  ASYNC_CLUSTER_NORMAL,
            ASYNC_CLUSTER_NORMAL, ASYNC_CLUSTER_HIGH, ASYNC_CLUSTER_HIGH};
        for (int i = 0; i < 6; i++) {
            in.value = i;
            futures[i] = async_cluster_submit(cluster, noting, &in, .priority = order[i]);
            assert_non_null(futures[i]);
        }
        async_with_cluster (other, server.url, NULL)
            async_with (async_task *, worker, start_worker(other, 1, false), stop_worker)
                for (int i = 0; i < 6; i++)
                    assert_int_equal(async_cluster_wait(futures[i], &out), 0);
        assert_notes("4 5 2 3 0 1 ");
    }
    return async_block_error();
}

/* A worker that has more than enough to do takes what is urgent next, as soon as one of its places is free. */
static int priorities_under_load(void)
{
    enum { LOAD = 60, PLACES = 2 };
    static async_cluster_future *load[LOAD];

    WITH_WORKER (cluster, PLACES, false) {
        struct number in = {30}, out;
        for (int i = 0; i < LOAD; i++)
            assert_non_null(load[i] = async_cluster_submit(
                                cluster, ordered, &in,
                                .priority = i % 2 ? ASYNC_CLUSTER_LOW : ASYNC_CLUSTER_NORMAL));
        while (runs < 6)
            async_sleep(0.001);
        async_cluster_future *urgent =
            async_cluster_submit(cluster, ordered, &in, .priority = ASYNC_CLUSTER_HIGH);
        assert_non_null(urgent);
        int before = runs;
        assert_int_equal(async_cluster_wait(urgent, &out), 0);
        assert_in_range(out.value, 1, before + 2 * PLACES + 1);
        long low = 0, normal = 0;
        for (int i = 0; i < LOAD; i++) {
            assert_int_equal(async_cluster_wait(load[i], &out), 0);
            *(i % 2 ? &low : &normal) += out.value;
        }
        assert_true(low > normal); /* the sums of their turns */
        assert_int_equal(runs, LOAD + 1);
    }
    return async_block_error();
}

/* ---- large ones, and streams ---- */

static int pieces(void)
{
    static struct large in, out;
    for (size_t i = 0; i < sizeof in.bytes; i++)
        in.bytes[i] = (char)(i * 7 % 251);
    WITH_WORKER (cluster, 2, false) {
        assert_int_equal(async_cluster_call(cluster, reversed, &in, &out), 0);
        for (size_t i = 0; i < sizeof in.bytes; i++)
            if (out.bytes[i] != in.bytes[sizeof in.bytes - 1 - i]) fail();
    }
    return async_block_error();
}

static int count_progress(void *argument)
{
    long expected = 0;
    async_for (async_cluster_message *, message, async_cluster_progress(argument)) {
        long value;
        assert_int_equal(message->size, sizeof value);
        memcpy(&value, message->data, sizeof value);
        assert_true(value >= expected);
        expected = value + 1;
    }
    assert_true(expected > 0);
    return async_block_error();
}

static int streams(void)
{
    WITH_WORKER (cluster, 2, false) {
        struct number in = {200}, out = {0};
        async_cluster_future *future = async_cluster_submit(cluster, telling, &in);
        assert_non_null(future);
        async_task *progress = async_create_task(count_progress, future);
        int count = 0;
        async_for (async_cluster_message *, message, async_cluster_items(future)) {
            char text[32];
            snprintf(text, sizeof text, "item %d", count++);
            assert_string_equal(message->data, text);
        }
        assert_int_equal(async_block_error(), 0);
        assert_int_equal(count, 200);
        assert_int_equal(async_await(progress), 0);
        assert_int_equal(async_cluster_wait(future, &out), 0);
        assert_int_equal(out.value, 200);
        /* Those that come after the end are fetched. */
        in.value = 1500;
        future = async_cluster_submit(cluster, telling, &in);
        async_sleep(0.5);
        count = 0;
        async_for (async_cluster_message *, message, async_cluster_items(future))
            assert_int_equal(atoi((const char *)message->data + 5), count++);
        assert_int_equal(async_block_error(), 0);
        assert_int_equal(count, 1500);
        async_cluster_cancel(future);
        assert_int_equal(async_cluster_job_yield("x", 1), -EPERM);
        assert_int_equal(async_cluster_job_progress("x", 1), -EPERM);
        assert_string_equal(async_cluster_job_key(), "");
    }
    return async_block_error();
}

/* ---- bad input ---- */

static int no_worker(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct number in = {1}, out;
        double start = async_now();
        assert_int_equal(async_cluster_call(cluster, unserved, &in, &out, .unserved_timeout = 1.5),
                         -ESRCH);
        assert_non_null(
            strstr(async_error_message(), "job unserved: no worker has served it for 1.5 seconds"));
        assert_true(async_now() - start >= 1.5);
        assert_int_equal(async_cluster_call(NULL, unserved, &in, &out), -EBADF);
        assert_int_equal(async_cluster_call(cluster, unserved, NULL, &out), -EINVAL);
        assert_int_equal(async_cluster_call_job(cluster, NULL, &in, &out, NULL), -EINVAL);
        assert_int_equal(async_cluster_call(cluster, unserved, &in, &out, .delay = -1), -EINVAL);
        assert_int_equal(async_cluster_serve(cluster, NULL, &unserved_job), -EINVAL);
        async_cluster_cancel(NULL);
    }
    return async_block_error();
}

/* Somebody else has made a stream of that name, for something else. */
static int foreign_stream(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        static const char text[] =
            "{\"name\":\"CASYNCIO_RUN_foreign\",\"subjects\":[\"elsewhere\"],"
            "\"retention\":\"limits\",\"storage\":\"memory\",\"max_consumers\":-1,"
            "\"max_msgs\":-1,\"max_bytes\":-1,\"max_age\":0,\"num_replicas\":1}";
        async_cluster_message *answer = async_cluster_request(
            cluster, "$JS.API.STREAM.CREATE.CASYNCIO_RUN_foreign", text, strlen(text));
        assert_non_null(answer);
        async_cluster_message_free(answer);
        static const async_cluster_job foreign_job = {
            .size = sizeof(async_cluster_job), .name = "foreign", .in_size = 1, .out_size = 1};
        char byte = 0;
        assert_int_equal(async_cluster_call_job(cluster, &foreign_job, &byte, &byte, NULL),
                         -EEXIST);
        assert_non_null(strstr(async_error_message(),
                               "stream CASYNCIO_RUN_foreign is there, but configured otherwise"));
    }
    return async_block_error();
}

/* One server has no replicas. The name of the option, and what was asked for, are in the message. */
static int replicas(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        async_cluster_job job = {.size = sizeof job, .name = "copied", .in_size = 1, .out_size = 1};
        char byte = 0;
        job.replicas = 3;
        int code = async_cluster_call_job(cluster, &job, &byte, &byte, NULL);
        if (code != -EOPNOTSUPP) fail_msg("%s: %s", async_error_name(code), async_error_message());
        if (!strstr(async_error_message(), "make stream CASYNCIO_RUN_copied with 3 replicas: "))
            fail_msg("%s", async_error_message());
        job.replicas = 6;
        assert_int_equal(async_cluster_call_job(cluster, &job, &byte, &byte, NULL), -EINVAL);
        assert_non_null(strstr(async_error_message(), "copied: 6 replicas, where 1 to 5 can be"));
        job.replicas = 1;
        async_cluster_future *future = async__cluster_submit(cluster, &job, &byte, NULL, 0);
        assert_non_null(future);
        async_cluster_cancel(future);

        async_cluster_bucket_options options = {.replicas = 6};
        assert_null(async_cluster_bucket_open(cluster, "copied", &options));
        assert_int_equal(async_error_code(), -EINVAL);
        options.replicas = 2;
        assert_null(async_cluster_bucket_open(cluster, "copied", &options));
        assert_int_equal(async_error_code(), -EOPNOTSUPP);
        assert_non_null(strstr(async_error_message(), "KV_copied with 2 replicas"));
    }
    return async_block_error();
}

REAL(call)
REAL(in_threads)
REAL(failures)
REAL(map)
REAL(back_pressure)
REAL(keys)
REAL(keys_of_its_own)
REAL(cancel)
REAL(delayed)
REAL(priorities)
REAL(priorities_under_load)
REAL(pieces)
REAL(streams)
REAL(no_worker)
REAL(foreign_stream)
REAL(replicas)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_in_threads),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_of_its_own),
        cmocka_unit_test(test_priorities_under_load),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_delayed),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_no_worker),
        cmocka_unit_test(test_foreign_stream),
        cmocka_unit_test(test_replicas),
    };
    NATS_SKIP_VALGRIND();
    nats_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}
