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

/* What the server shows is not to be trusted: another host's, expired, not valid yet, of another CA. */
static void test_bad_certificates(void **state)
{
    static const char *const files[] = {"other", "expired", "early", "foreign"};
    (void)state;
    char ca[128];
    static char config[400];
    snprintf(ca, sizeof ca, "%s", pki("ca.crt"));
    async_cluster_options mine = {.ca_file = ca};
    for (size_t i = 0; i < COUNT(files); i++) {
        snprintf(config, sizeof config,
                 "tls { cert_file: \"%s\", key_file: \"%s\", timeout: 20 }\n",
                 pki_with(files[i], ".crt"), pki_with(files[i], ".key"));
        nats_kill(&server, SIGKILL);
        server.config = config;
        nats_restart(&server);
        assert_int_equal(async_run_with(try_with, &mine, &(async_run_options){.no_report = true}),
                         ASYNC_ETLS);
        assert_non_null(strstr(async_run_error_message(), url));
        /* It is the certificate that is refused. */
        async_cluster_options any = {.insecure_skip_verify = true};
        assert_int_equal(run_real(try_with, &any), 0);
    }
}

/* The client's certificate: of another CA, or the key of another one, or a file that is none. */
static void test_bad_client(void **state)
{
    (void)state;
    char ca[128], certificate[128], key[128], foreign[128], foreign_key[128];
    snprintf(ca, sizeof ca, "%s", pki("ca.crt"));
    snprintf(certificate, sizeof certificate, "%s", pki("client.crt"));
    snprintf(key, sizeof key, "%s", pki("client.key"));
    snprintf(foreign, sizeof foreign, "%s", pki("foreign.crt"));
    snprintf(foreign_key, sizeof foreign_key, "%s", pki("foreign.key"));
    async_cluster_options options = {.ca_file = ca, .certificate = foreign, .key = foreign_key};
    assert_true(run_real(try_with, &options) < 0);
    options =
        (async_cluster_options){.ca_file = ca, .certificate = certificate, .key = foreign_key};
    assert_int_equal(run_real(try_with, &options), ASYNC_ETLS);
    options = (async_cluster_options){.ca_file = key, .certificate = certificate, .key = key};
    assert_int_equal(run_real(try_with, &options), ASYNC_ETLS);
    options = (async_cluster_options){.ca_file = "/no/such.crt"};
    assert_int_equal(run_real(try_with, &options), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trust),
                                       cmocka_unit_test(test_bad_client),
                                       cmocka_unit_test(test_bad_certificates)};
    static char config[512];

    NATS_SKIP_VALGRIND();
    pki_make();
    pki_issue(.file = "server", .names = "DNS:localhost,IP:127.0.0.1", .issuer = "ca");
    pki_issue(.file = "other", .names = "DNS:other.test", .issuer = "ca");
    pki_issue(.file = "expired", .names = "IP:127.0.0.1", .issuer = "ca", .from = -2 * DAY,
              .to = -DAY);
    pki_issue(.file = "early", .names = "IP:127.0.0.1", .issuer = "ca", .from = DAY, .to = 2 * DAY);
    pki_issue(.file = "foreign", .names = "IP:127.0.0.1");
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
