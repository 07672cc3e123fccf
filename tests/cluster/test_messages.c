/* Messages and buckets over a real server: what is published arrives, a lost connection comes back.
 * ctest: timeout=300 */
#include "nats_server.h"

static struct nats_server server;

/* ---- publish and subscribe ---- */

struct reader {
    async_iterator *messages;
    int count;
};

static int read_messages(void *argument)
{
    struct reader *reader = argument;
    async_for (async_cluster_message *, message, reader->messages) {
        assert_int_equal(message->size, snprintf(NULL, 0, "message %d", reader->count));
        assert_int_equal(atoi((const char *)message->data + 8), reader->count);
        if (++reader->count == 1000) break;
    }
    return async_block_error();
}

static int publish_and_subscribe(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct reader reader = {async_cluster_subscribe(cluster, "room.*", NULL), 0};
        assert_non_null(reader.messages);
        async_task *task = async_create_task(read_messages, &reader);
        for (int i = 0; i < 1000; i++) {
            char text[32];
            int size = snprintf(text, sizeof text, "message %d", i);
            assert_int_equal(async_cluster_publish(cluster, "room.tea", text, (size_t)size), 0);
        }
        assert_int_equal(async_cluster_publish(cluster, "other.tea", "x", 1), 0);
        assert_int_equal(async_await(task), 0);
        assert_int_equal(reader.count, 1000);
        assert_int_equal(async_cluster_flush(cluster), 0);
        assert_true(async_cluster_is_connected(cluster));
        assert_int_equal(async_cluster_reconnects(cluster), 0);
        assert_int_equal(async_cluster_max_payload(cluster), 1024 * 1024);
    }
    return async_block_error();
}

static int of_a_group(void *argument)
{
    struct reader *reader = argument;
    async_for (async_cluster_message *, message, reader->messages) {
        if (message->size == 0) break;
        reader->count++;
    }
    return async_block_error();
}

/* Of the members of a group one gets each message. */
static int groups(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        struct reader readers[3];
        async_task *tasks[3];
        for (int i = 0; i < 3; i++) {
            readers[i] = (struct reader){async_cluster_subscribe(cluster, "work", "group"), 0};
            tasks[i] = async_create_task(of_a_group, &readers[i]);
        }
        for (int i = 0; i < 300; i++)
            assert_int_equal(async_cluster_publish(cluster, "work", "x", 1), 0);
        assert_int_equal(async_cluster_flush(cluster), 0);
        async_sleep(0.05);
        assert_int_equal(readers[0].count + readers[1].count + readers[2].count, 300);
        for (int i = 0; i < 3; i++)
            async_cancel(tasks[i], NULL);
        int codes[3];
        assert_int_equal(async_gather_results(tasks, 3, codes), 0);
        assert_int_equal(codes[0], -ECANCELED);
    }
    return async_block_error();
}

/* Much more than the sockets' buffers take, to a peer of our own that reads it: publishers wait. */
static int large_messages(void)
{
    static char data[1000 * 1000];
    memset(data, 'x', sizeof data);
    async_with_cluster (cluster, server.url, NULL) {
        async_iterator *messages = async_cluster_subscribe(cluster, "large", NULL);
        int sent = 0, got = 0;
        for (; sent < 40; sent++)
            assert_int_equal(async_cluster_publish(cluster, "large", data, sizeof data), 0);
        async_for (async_cluster_message *, message, messages) {
            assert_int_equal(message->size, sizeof data);
            assert_memory_equal(message->data, data, sizeof data);
            if (++got == sent) break;
        }
        assert_int_equal(async_cluster_publish(cluster, "large", data, 2 * sizeof data), -EMSGSIZE);
        assert_non_null(strstr(async_error_message(), "2000000 bytes"));
    }
    return async_block_error();
}

/* ---- requests ---- */

static int answer_requests(void *argument)
{
    async_cluster *cluster = argument;
    async_for (async_cluster_message *, message, async_cluster_subscribe(cluster, "double", NULL)) {
        char text[32];
        int size = snprintf(text, sizeof text, "%d", 2 * atoi(message->data));
        assert_int_equal(async_cluster_respond(cluster, message, text, (size_t)size), 0);
    }
    return async_block_error();
}

struct asking {
    async_cluster *cluster;
    int number;
};

static int asking(struct asking *self)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%d", self->number);
    async_cluster_message *answer =
        async_cluster_request(self->cluster, "double", text, (size_t)size);
    if (!answer) return async_error_code();
    assert_int_equal(atoi(answer->data), 2 * self->number);
    async_cluster_message_free(answer);
    return 0;
}

static int requests(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        assert_null(async_cluster_request(cluster, "double", "1", 1));
        assert_int_equal(async_error_code(), -ESRCH);
        async_task *answering = async_create_task(answer_requests, cluster);
        async_sleep(0.01);
        async_with_group (group)
            for (int i = 0; i < 200; i++)
                async_group_spawn(group, asking, cluster, i);
        assert_int_equal(async_block_error(), 0);
        async_cancel(answering, NULL);
        assert_int_equal(async_await(answering), -ECANCELED);

        /* A subscriber that does not answer. */
        async_iterator *mute = async_cluster_subscribe(cluster, "mute", NULL);
        async_timeout (0.05)
            assert_null(async_cluster_request(cluster, "mute", NULL, 0));
        assert_int_equal(async_error_code(), -ETIMEDOUT);
        mute->close(mute);
    }
    return async_block_error();
}

/* ---- buckets ---- */

static int buckets(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        uint64_t first, second;
        async_cluster_bucket *bucket = async_cluster_bucket_open(cluster, "users", NULL);
        assert_non_null(bucket);
        assert_int_equal(async_cluster_put(bucket, "user.anna", "1", 1, &first), 0);
        assert_int_equal(async_cluster_put(bucket, "user.bob", "two", 3, &second), 0);
        assert_true(second > first);
        async_cluster_entry *entry = async_cluster_get(bucket, "user.bob");
        assert_non_null(entry);
        assert_string_equal(entry->key, "user.bob");
        assert_string_equal(entry->value, "two");
        assert_int_equal(entry->revision, second);
        async_cluster_entry_free(entry);
        assert_null(async_cluster_get(bucket, "user.carl"));
        assert_int_equal(async_error_code(), -ENOENT);
        assert_int_equal(async_cluster_put_if(bucket, "user.bob", "3", 1, first, NULL), -ESTALE);
        assert_int_equal(async_cluster_put_if(bucket, "user.bob", "3", 1, second, &second), 0);
        assert_int_equal(async_cluster_put_if(bucket, "user.bob", "4", 1, 0, NULL), -ESTALE);
        assert_int_equal(async_cluster_put_if(bucket, "user.dora", "4", 1, 0, NULL), 0);
        assert_int_equal(async_cluster_delete(bucket, "user.anna"), 0);
        assert_null(async_cluster_get(bucket, "user.anna"));
        assert_int_equal(async_cluster_put(bucket, "no key", "3", 1, NULL), -EINVAL);
        assert_null(async_cluster_bucket_open(cluster, "no.name", NULL));
        assert_int_equal(async_error_code(), -EINVAL);
        assert_int_equal(async_cluster_put(NULL, "key", "3", 1, NULL), -EBADF);
        async_cluster_bucket_close(bucket);
    }
    return async_block_error();
}

static int open_bucket(void *argument)
{
    async_cluster_bucket *bucket = async_cluster_bucket_open(argument, "many", NULL);

    if (!bucket) return async_error_code();
    async_cluster_bucket_close(bucket);
    return 0;
}

/* The first calls of a connection are made by several threads at once: a context of JetStream's for each of them was lost
 * but for the last (AddressSanitizer). */
static int many_buckets(void)
{
    for (int round = 0; round < 10; round++) {
        async_with_cluster (cluster, server.url, NULL) {
            async_with_group (group) {
                for (int i = 0; i < 8; i++)
                    assert_non_null(async_group_create_task(group, open_bucket, cluster));
            }
        }
    }
    return async_block_error();
}

static int change_keys(void *argument)
{
    async_cluster_bucket *bucket = argument;
    assert_int_equal(async_cluster_put(bucket, "b", "2", 1, NULL), 0);
    assert_int_equal(async_cluster_delete(bucket, "a"), 0);
    assert_int_equal(async_cluster_put(bucket, "x.y", "-", 1, NULL), 0);
    return async_cluster_put(bucket, "c", "3", 1, NULL);
}

/* The server is killed while a watch waits: what comes after is seen all the same. */
static int watch(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        async_cluster_bucket *bucket = async_cluster_bucket_open(cluster, "watched", NULL);
        assert_int_equal(async_cluster_put(bucket, "a", "0", 1, NULL), 0);
        assert_int_equal(async_cluster_put(bucket, "a", "1", 1, NULL), 0);
        async_task *task = NULL;
        async_for (async_cluster_entry *, entry, async_cluster_watch(bucket, "*")) {
            note("%s=%s", entry->key, entry->value ? (const char *)entry->value : "none");
            if (!entry->key[0]) task = async_create_task(change_keys, bucket); /* all was there */
            if (entry->key[0] == 'd') break;
            if (entry->key[0] != 'c') continue;
            nats_kill(&server, SIGKILL);
            nats_restart(&server);
            assert_int_equal(async_cluster_put(bucket, "d", "4", 1, NULL), 0);
        }
        assert_int_equal(async_await(task), 0);
        assert_notes("a=1 =none b=2 a=none c=3 d=4 ");
        assert_int_equal(async_cluster_reconnects(cluster), 1);
        async_cluster_bucket_close(bucket);
    }
    return async_block_error();
}

/* ---- lost connections ---- */

static int lost_and_back(void)
{
    async_with_cluster (
        cluster, server.url,
        &(async_cluster_options){.reconnect_wait = 0.02, .reconnect_wait_max = 0.1}) {
        async_iterator *messages = async_cluster_subscribe(cluster, "after", NULL);
        assert_int_equal(async_cluster_flush(cluster), 0);
        nats_kill(&server, SIGKILL);
        while (async_cluster_is_connected(cluster))
            async_sleep(0.01);
        assert_int_equal(async_cluster_publish(cluster, "after", "kept", 4), 0);
        assert_null(async_cluster_request(cluster, "no subject", NULL, 0));
        assert_int_equal(async_error_code(), -EINVAL);
        nats_restart(&server);
        async_for (async_cluster_message *, message, messages) {
            assert_string_equal(message->data, "kept");
            break;
        }
        assert_int_equal(async_cluster_reconnects(cluster), 1);
    }
    return async_block_error();
}

static int gone_for_good(void)
{
    async_with_cluster (cluster, server.url, &(async_cluster_options){.max_reconnects = -1}) {
        async_iterator *messages = async_cluster_subscribe(cluster, "never", NULL);
        nats_kill(&server, SIGKILL);
        async_for (async_cluster_message *, message, messages)
            fail();
        assert_int_equal(async_block_error(), -ECONNABORTED);
        assert_int_equal(async_cluster_publish(cluster, "never", "x", 1), -ECONNABORTED);
        nats_restart(&server);
    }
    return async_block_error();
}

/* ---- bad input ---- */

static int no_server(void)
{
    assert_null(async_cluster_connect("nats://127.0.0.1:1", NULL));
    assert_int_equal(async_error_code(), -ECONNREFUSED);
    assert_non_null(strstr(async_error_message(), "127.0.0.1:1"));
    assert_null(async_cluster_connect(NULL, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_cluster_connect(server.url, &(async_cluster_options){.ping_interval = -1}));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_null(async_cluster_connect(server.url, &(async_cluster_options){.ca_file = "/no/such"}));
    assert_int_equal(async_error_code(), -ENOENT);
    assert_int_equal(async_cluster_publish(NULL, "x", NULL, 0), -EBADF);
    assert_null(async_cluster_subscribe(NULL, "x", NULL));
    assert_int_equal(async_error_code(), -EBADF);
    assert_int_equal(async_cluster_close(NULL), 0);
    /* Another server of the list answers. */
    const char *const more[] = {server.url, NULL};
    async_cluster *cluster =
        async_cluster_connect("nats://127.0.0.1:1", &(async_cluster_options){.servers = more});
    assert_non_null(cluster);
    static const char *const bad[] = {"", ".", "a..b", "a b", "a.", "*", "a.>"};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(async_cluster_publish(cluster, bad[i], NULL, 0), -EINVAL);
    assert_int_equal(async_cluster_publish(cluster, NULL, NULL, 0), -EINVAL);
    assert_int_equal(async_cluster_respond(cluster, NULL, NULL, 0), -EINVAL);
    /* What outlives the cluster can still be closed. */
    async_iterator *messages = async_cluster_subscribe(cluster, "x", NULL);
    async_cluster_bucket *bucket = async_cluster_bucket_open(cluster, "late", NULL);
    assert_int_equal(async_cluster_close(cluster), 0);
    assert_int_equal(async_cluster_put(bucket, "key", "x", 1, NULL), -ECONNABORTED);
    async_cluster_bucket_close(bucket);
    messages->close(messages);
    return 0;
}

static int with_token(void *argument)
{
    const char *token = argument;
    async_cluster *cluster =
        async_cluster_connect(server.url, &(async_cluster_options){.token = token});
    int code = cluster ? 0 : async_error_code();
    async_cluster_close(cluster);
    return code;
}

static int without_jetstream(void)
{
    async_with_cluster (cluster, server.url, NULL) {
        assert_null(async_cluster_bucket_open(cluster, "none", NULL));
        assert_int_equal(async_error_code(), -EOPNOTSUPP);
    }
    return async_block_error();
}

static int cancelled_connect(void *argument)
{
    int code = 0;
    async_with_cluster (cluster, server.url, NULL)
        code = async_sleep(10);
    return code < 0 ? code : async_block_error();
}

/* Cancelled at any time: nothing is left behind, which the sanitizers see. */
static int cancel_connects(void)
{
    for (int i = 0; i < 20; i++) {
        async_task *task = async_create_task(cancelled_connect, NULL);
        async_sleep(0.0004 * i);
        async_cancel(task, NULL);
        assert_int_equal(async_await(task), -ECANCELED);
    }
    return 0;
}

REAL(publish_and_subscribe)
REAL(groups)
REAL(large_messages)
REAL(requests)
REAL(buckets)
REAL(many_buckets)
REAL(watch)
REAL(lost_and_back)
REAL(gone_for_good)
REAL(no_server)
REAL(cancel_connects)

static void test_credentials(void **state)
{
    (void)state;
    nats_kill(&server, SIGTERM);
    server.config = "authorization { token: \"secret\" }\n";
    nats_restart(&server);
    assert_int_equal(run_real(with_token, NULL), -EACCES);
    assert_int_equal(run_real(with_token, (void *)"wrong"), -EACCES);
    assert_int_equal(run_real(with_token, (void *)"secret"), 0);
    nats_kill(&server, SIGTERM);
    server.config = NULL;
    server.no_jetstream = true;
    nats_restart(&server);
    assert_int_equal(run_real((async_coroutine)(void (*)(void))without_jetstream, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish_and_subscribe),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_large_messages),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_many_buckets),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_lost_and_back),
        cmocka_unit_test(test_gone_for_good),
        cmocka_unit_test(test_no_server),
        cmocka_unit_test(test_cancel_connects),
        cmocka_unit_test(test_credentials),
    };
    NATS_SKIP();
    nats_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}
