/* A server that speaks TLS: with its CA it is trusted, without it is not, and a client's certificate is shown.
 * ctest: timeout=120 */
#include "nats_server.h"

#include "tls/pki.h"

#include <casyncio/tls.h>

static struct nats_server server;
static char url[64];

static int try_with(void *options)
{
    int code = 0;
    async_with_cluster (cluster, url, (const async_cluster_options *)options) {
        async_iterator *messages = async_cluster_subscribe(cluster, "room", NULL);
        static char data[200000];
        memset(data, 'x', sizeof data);
        code = async_cluster_publish(cluster, "room", data, sizeof data);
        async_for (async_cluster_message *, message, messages) {
            assert_int_equal(message->size, sizeof data);
            break;
        }
    }
    return code < 0 ? code : async_block_error();
}

static void test_trust(void **state)
{
    (void)state;
    char ca[128], certificate[128], key[128];
    snprintf(ca, sizeof ca, "%s", pki("ca.crt"));
    snprintf(certificate, sizeof certificate, "%s", pki("client.crt"));
    snprintf(key, sizeof key, "%s", pki("client.key"));
    async_cluster_options mine = {.ca_file = ca, .certificate = certificate, .key = key};
    assert_int_equal(run_real(try_with, &mine), 0);
    async_cluster_options any = {
        .insecure_skip_verify = true, .certificate = certificate, .key = key};
    assert_int_equal(run_real(try_with, &any), 0);
    async_cluster_options stranger = {.certificate = certificate, .key = key};
    assert_int_equal(run_real(try_with, &stranger), ASYNC_ETLS);
    async_cluster_options anonymous = {.ca_file = ca};
    assert_true(run_real(try_with, &anonymous) < 0);
}

/* A certificate of the right CA, for another host. */
static void test_other_host(void **state)
{
    (void)state;
    char ca[128];
    static char config[400];
    snprintf(ca, sizeof ca, "%s", pki("ca.crt"));
    snprintf(config, sizeof config, "tls { cert_file: \"%s\", key_file: \"%s\", timeout: 20 }\n",
             pki("other.crt"), pki("other.key"));
    nats_kill(&server, SIGKILL);
    server.config = config;
    nats_restart(&server);
    async_cluster_options mine = {.ca_file = ca};
    assert_int_equal(run_real(try_with, &mine), ASYNC_ETLS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trust),
                                       cmocka_unit_test(test_other_host)};
    static char config[512];

    NATS_SKIP();
    pki_make();
    pki_issue(.file = "server", .names = "DNS:localhost,IP:127.0.0.1", .issuer = "ca");
    pki_issue(.file = "other", .names = "DNS:other.test", .issuer = "ca");
    pki_issue(.file = "client", .issuer = "ca", .usage = "clientAuth");
    snprintf(
        config, sizeof config,
        "tls { cert_file: \"%s\", key_file: \"%s\", ca_file: \"%s\", verify: true, timeout: 20 }\n",
        pki("server.crt"), pki("server.key"), pki("ca.crt"));
    server.config = config;
    nats_start(&server);
    snprintf(url, sizeof url, "tls://127.0.0.1:%d", server.port);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    nats_stop(&server);
    return failed;
}
