/* Who may connect: token, user and password, a file of credentials; each right, wrong, and lacking.
 * ctest: timeout=300 */
#include "nats_server.h"

#include "nkeys.h"

#include <casyncio/tls.h>

static struct nats_server server;

static int try_with(void *options)
{
    int code = 0;
    async_with_cluster (cluster, server.url, (const async_cluster_options *)options)
        code = async_cluster_flush(cluster);
    return code < 0 ? code : async_block_error();
}

/* The code of an attempt, whose message names the server and the reason. */
static void refused(async_cluster_options options, int expected, const char *reason)
{
    assert_int_equal(async_run_with(try_with, &options, &(async_run_options){.no_report = true}),
                     expected);
    if (!strstr(async_run_error_message(), reason))
        fail_msg("\"%s\" does not say \"%s\"", async_run_error_message(), reason);
}

static void allowed(async_cluster_options options)
{
    assert_int_equal(run_real(try_with, &options), 0);
}

static void restart_with(const char *config)
{
    nats_kill(&server, SIGKILL);
    server.config = config;
    nats_restart(&server);
}

static void test_token(void **state)
{
    (void)state;
    restart_with("authorization { token: \"secret\" }\n");
    allowed((async_cluster_options){.token = "secret"});
    refused((async_cluster_options){.token = "wrong"}, -EACCES, server.url);
    refused((async_cluster_options){.token = "wrong"}, -EACCES, "uthorization");
    refused((async_cluster_options){.name = "nothing"}, -EACCES, "uthorization");
    refused((async_cluster_options){.user = "anna", .password = "secret"}, -EACCES, "uthorization");
}

static void test_password(void **state)
{
    (void)state;
    char url[64];
    restart_with("authorization { users: [ { user: anna, password: \"pass word\" },"
                 " { user: carl, password: simple } ] }\n");
    allowed((async_cluster_options){.user = "anna", .password = "pass word"});
    refused((async_cluster_options){.user = "anna", .password = "wrong"}, -EACCES, "uthorization");
    refused((async_cluster_options){.user = "anna"}, -EACCES, "uthorization");
    refused((async_cluster_options){.user = "bob", .password = "pass word"}, -EACCES,
            "uthorization");
    refused((async_cluster_options){.token = "pass word"}, -EACCES, "uthorization");
    /* In the URL. */
    strcpy(url, server.url);
    snprintf(server.url, sizeof server.url, "nats://carl:simple@127.0.0.1:%d", server.port);
    allowed((async_cluster_options){.name = "url"});
    strcpy(server.url, url);
}

/* What may not be published is refused without a word to the caller of publish; a request gets it by its time. */
static int not_permitted(void)
{
    const async_cluster_options options = {.user = "anna", .password = "x"};
    async_with_cluster (cluster, server.url, &options) {
        async_iterator *messages = async_cluster_subscribe(cluster, "mine.a", NULL);
        assert_int_equal(async_cluster_publish(cluster, "others.a", "x", 1), 0);
        assert_int_equal(async_cluster_publish(cluster, "mine.a", "x", 1), 0);
        async_for (async_cluster_message *, message, messages) {
            assert_string_equal(message->subject, "mine.a");
            break;
        }
        assert_true(async_cluster_is_connected(cluster));
    }
    return async_block_error();
}

static void test_permissions(void **state)
{
    (void)state;
    restart_with(
        "authorization { users: [ { user: anna, password: x, permissions: {"
        " publish: [\"mine.>\", \"_INBOX.>\"], subscribe: [\"mine.>\", \"_INBOX.>\"] } } ] }\n");
    assert_int_equal(run_real((async_coroutine)(void (*)(void))not_permitted, NULL), 0);
}

static const char user_claims[] =
    "{\"subs\":-1,\"data\":-1,\"payload\":-1,\"type\":\"user\",\"version\":2}";

static void test_credentials_file(void **state)
{
    (void)state;
    struct nkey issuer = nkey_make(NKEY_OPERATOR), account = nkey_make(NKEY_ACCOUNT);
    struct nkey user = nkey_make(NKEY_USER), other = nkey_make(NKEY_USER);
    static char config[4096], token[1024];
    char good[128], bad[128];

    snprintf(good, sizeof good, "%s/good.creds", server.dir);
    snprintf(bad, sizeof bad, "%s/bad.creds", server.dir);
    nkey_token(token, &issuer, &issuer, "{\"type\":\"operator\",\"version\":2}", 0);
    int size = snprintf(config, sizeof config, "operator: \"%s\"\nresolver: MEMORY\n", token);
    nkey_token(token, &issuer, &account,
               "{\"limits\":{\"subs\":-1,\"data\":-1,\"payload\":-1,\"imports\":-1,\"exports\":-1,"
               "\"wildcards\":true,\"conn\":-1,\"leaf\":-1},\"type\":\"account\",\"version\":2}",
               0);
    snprintf(config + size, sizeof config - (size_t)size, "resolver_preload: { %s: \"%s\" }\n",
             account.public, token);
    server.no_jetstream = true;
    restart_with(config);

    nkey_token(token, &account, &user, user_claims, 0);
    nkey_write_credentials(good, token, user.seed);
    allowed((async_cluster_options){.credentials = good});
    refused((async_cluster_options){.name = "nothing"}, -EACCES, "uthorization");
    /* The seed of another user. */
    nkey_write_credentials(bad, token, other.seed);
    refused((async_cluster_options){.credentials = bad}, -EACCES, "uthorization");
    /* One that has expired, and one that the account has not signed. */
    nkey_token(token, &account, &user, user_claims, -10);
    nkey_write_credentials(bad, token, user.seed);
    refused((async_cluster_options){.credentials = bad}, -EACCES, "uth");
    nkey_token(token, &other, &user, user_claims, 0);
    nkey_write_credentials(bad, token, user.seed);
    refused((async_cluster_options){.credentials = bad}, -EACCES, "uthorization");
    /* No such file; a file that is none. */
    refused((async_cluster_options){.credentials = "/no/such.creds"}, -ENOENT, "/no/such.creds");
    FILE *file = fopen(bad, "w");
    fputs("nothing\n", file);
    fclose(file);
    refused((async_cluster_options){.credentials = bad}, -EIO, bad);
    EVP_PKEY_free(issuer.pair);
    EVP_PKEY_free(account.pair);
    EVP_PKEY_free(user.pair);
    EVP_PKEY_free(other.pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token), cmocka_unit_test(test_password),
        cmocka_unit_test(test_permissions), cmocka_unit_test(test_credentials_file)};
    NATS_SKIP();
    nats_start(&server);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}
