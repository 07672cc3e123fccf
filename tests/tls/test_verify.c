/* Whom a client and a server trust: each certificate that is not good, told by a code and a message that
 * names what is wrong; and options that cannot be. */
#include "tls_test.h"

/* A handshake between a client that trusts "ca" and a server with that certificate: the client's
 * code, whose message is kept in `message`. */
struct attempt {
    async_tls_context *client, *server;
    const char *name; /* of the server */
    int server_code;
};
static char message[1024], server_message[1024];

static int attempt(struct attempt *self)
{
    async_stream *ends[2];
    assert_int_equal(async_stream_pair(ends), 0);
    async_task *task = async_spawn(start_server, .stream = ends[1], .context = self->server);
    int code = async_stream_start_tls(ends[0], self->client, self->name);
    char byte;
    snprintf(message, sizeof message, "%s", async_error_message());
    /* TLS 1.3: the client is done before the server has looked at its certificate. */
    if (code == 0) {
        async_timeout (5)
            code = (int)async_stream_read(ends[0], &byte, 1);
        if (code == -ETIMEDOUT) code = 0;
        if (code < 0) snprintf(message, sizeof message, "%s", async_error_message());
    }
    if (code < 0) async_stream_abort(ends[0]);
    self->server_code = async_await(task);
    snprintf(server_message, sizeof server_message, "%s", async_error_message());
    if (code == 0) async_stream_abort(ends[0]);
    async_stream_abort(ends[1]);
    return code;
}

static int try(async_tls_context *client, async_tls_context *server, const char *name, int *code)
{
    struct attempt self = {.client = client, .server = server, .name = name};
    int result = run((async_coroutine)(void *)attempt, &self);
    if (code) *code = self.server_code;
    async_tls_context_free(client);
    async_tls_context_free(server);
    return result;
}

static async_tls_context *serve(const char *file)
{
    char certificate[128], key[128];
    snprintf(certificate, sizeof certificate, "%s", pki_with(file, ".crt"));
    snprintf(key, sizeof key, "%s", pki_with(file, ".key"));
    return server_context(.certificate = certificate, .key = key);
}

#define assert_said(text) assert_non_null(strstr(message, text))

static void test_good(void **state)
{
    (void)state;
    int code;
    const char *names[] = {"localhost", "localhost.", "LOCALHOST", "127.0.0.1", "::1"};
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(try(client_context(0), serve("server"), names[i], &code), 0);
        assert_int_equal(code, 0);
    }
    /* By a CA between, which the server sends. */
    pki_issue(.file = "between", .issuer = "ca", .authority = true);
    pki_issue(.file = "far", .issuer = "between", .chain = "between", .names = "DNS:*.far.test");
    assert_int_equal(try(client_context(0), serve("far"), "a.far.test", &code), 0);
    assert_int_equal(try(client_context(0), serve("far"), "far.test", &code), ASYNC_ECERT);
    assert_int_equal(try(client_context(0), serve("far"), "a.b.far.test", &code), ASYNC_ECERT);
    pki_issue(.file = "chainless", .issuer = "between", .names = "DNS:localhost");
    assert_int_equal(try(client_context(0), serve("chainless"), "localhost", &code), ASYNC_ECERT);
    assert_said("unable to get local issuer certificate");
}

static void test_bad(void **state)
{
    (void)state;
    static const struct {
        struct pki_request request;
        const char *says;
    } cases[] = {
        {{.file = "expired", .issuer = "ca", .from = -9 * DAY, .to = -DAY}, "has expired"},
        {{.file = "early", .issuer = "ca", .from = DAY, .to = 2 * DAY}, "not yet valid"},
        {{.file = "itself"}, "self-signed certificate"},
        {{.file = "purpose", .issuer = "ca", .usage = "clientAuth"},
         "unsuitable certificate purpose"},
        {{.file = "wrong", .issuer = "ca", .names = "DNS:other.test,DNS:more.test"},
         "is not for localhost, but for other.test, more.test"},
        {{.file = "address", .issuer = "ca", .names = "IP:10.0.0.1"},
         "is not for localhost, but for no host name"},
        {{.file = "stranger", .issuer = "other", .names = "DNS:localhost"},
         "unable to get local issuer certificate"},
        {{.file = "false", .issuer = "server", .names = "DNS:localhost", .chain = "server"},
         "refused"},
    };
    int code;
    pki_issue(.file = "other", .authority = true);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct pki_request request = cases[i].request;
        if (!request.names) request.names = "DNS:localhost";
        pki_issue_(&request);
        assert_int_equal(try(client_context(0), serve(request.file), "localhost", &code),
                         ASYNC_ECERT);
        if (!strstr(message, cases[i].says)) fail_msg("%s: %s", request.file, message);
        if (i != 7) assert_said(request.file);
        assert_int_equal(code, ASYNC_ETLS);
        assert_non_null(strstr(server_message, "the peer"));
        /* Switched off by the one member that says so. */
        assert_int_equal(try(client_context(.insecure_skip_verify = true), serve(request.file),
                             "localhost", &code),
                         0);
    }
    assert_int_equal(
        try(client_context(.no_host_name_check = true), serve("wrong"), "localhost", &code), 0);
    assert_int_equal(
        try(client_context(.no_host_name_check = true), serve("expired"), "localhost", &code),
        ASYNC_ECERT);
    assert_int_equal(try(client_context(0), serve("server"), "127.0.0.2", &code), ASYNC_ECERT);
    assert_said("is not for 127.0.0.2");
}

/* Without a CA's file it is the system's, and ours is not among them. */
static void test_system(void **state)
{
    (void)state;
    async_tls_context *client = async_tls_client_context(NULL);
    assert_non_null(client);
    assert_int_equal(try(client, serve("server"), "localhost", NULL), ASYNC_ECERT);
    pki_issue(.file = "nobody", .authority = true);
    mkdir(pki("empty"), 0700);
    assert_int_equal(
        try(client_context(.ca_path = pki("empty")), serve("server"), "localhost", NULL),
        ASYNC_ECERT);
}

static void test_revoked(void **state)
{
    (void)state;
    pki_issue(.file = "revoked", .issuer = "ca", .names = "DNS:localhost");
    pki_revoke("ca", "revoked");
    assert_int_equal(try(client_context(0), serve("revoked"), "localhost", NULL), 0);
    assert_int_equal(
        try(client_context(.crl_file = pki("ca.crl")), serve("revoked"), "localhost", NULL),
        ASYNC_ECERT);
    assert_said("certificate revoked");
    assert_int_equal(
        try(client_context(.crl_file = pki("ca.crl")), serve("server"), "localhost", NULL), 0);
    /* Of a CA without a list nothing is known. */
    pki_issue(.file = "between", .issuer = "ca", .authority = true);
    pki_issue(.file = "far", .issuer = "between", .chain = "between", .names = "DNS:localhost");
    assert_int_equal(
        try(client_context(.crl_file = pki("ca.crl")), serve("far"), "localhost", NULL),
        ASYNC_ECERT);
    assert_said("unable to get certificate CRL");
    pki_revoke("between", NULL);
    assert_int_equal(try(client_context(.crl_file = pki("between.crl"), .crl_check_chain = true),
                         serve("far"), "localhost", NULL),
                     ASYNC_ECERT);
}

/* ---- certificates of clients ---- */

static async_tls_context *asking(enum async_tls_client_certificate how)
{
    return server_context(.client_certificate = how, .ca_file = pki("ca.crt"));
}

static void test_clients(void **state)
{
    (void)state;
    int code;
    pki_issue(.file = "client", .issuer = "ca", .usage = "clientAuth");
    pki_issue(.file = "old-client", .issuer = "ca", .from = -9 * DAY, .to = -DAY);
    pki_issue(.file = "serving", .issuer = "ca", .usage = "serverAuth");
    static const struct {
        const char *file;
        enum async_tls_client_certificate how;
        int client, server;
        const char *says, *server_says;
    } cases[] = {
        {"client", ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED, 0, 0, "", ""},
        {"client", ASYNC_TLS_CLIENT_CERTIFICATE_OPTIONAL, 0, 0, "", ""},
        {NULL, ASYNC_TLS_CLIENT_CERTIFICATE_OPTIONAL, 0, 0, "", ""},
        {NULL, ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED, ASYNC_ETLS, ASYNC_ETLS,
         "the peer asks for a certificate of ours", "the client has no certificate"},
        {"old-client", ASYNC_TLS_CLIENT_CERTIFICATE_REQUIRED, ASYNC_ETLS, ASYNC_ECERT,
         "the peer takes our certificate for expired", "old-client"},
        {"serving", ASYNC_TLS_CLIENT_CERTIFICATE_OPTIONAL, ASYNC_ETLS, ASYNC_ECERT,
         "the peer refuses the kind of our certificate", "unsuitable certificate purpose"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        async_tls_context *client =
            cases[i].file ? client_context(.certificate = pki_with(cases[i].file, ".crt"),
                                           .key = pki_with(cases[i].file, ".key"))
                          : client_context(0);
        int result = try(client, asking(cases[i].how), "localhost", &code);
        if (result != cases[i].client || code != cases[i].server ||
            (result < 0 && !strstr(message, cases[i].says)) ||
            (code < 0 && !strstr(server_message, cases[i].server_says)))
            fail_msg("%zu: %d \"%s\", %d \"%s\"", i, result, message, code, server_message);
    }
}

/* ---- versions, ciphers, protocols ---- */

static void test_nothing_in_common(void **state)
{
    (void)state;
    int code;
    assert_int_equal(try(client_context(.greatest_version = ASYNC_TLS_1_2),
                         server_context(.least_version = ASYNC_TLS_1_3), "localhost", &code),
                     ASYNC_ETLS);
    assert_said("the peer refuses our version of TLS");
    assert_int_equal(code, ASYNC_ETLS);
    assert_int_equal(try(client_context(.least_version = ASYNC_TLS_1_3),
                         server_context(.greatest_version = ASYNC_TLS_1_2), "localhost", &code),
                     ASYNC_ETLS);
    assert_int_equal(try(client_context(.cipher_suites = "TLS_AES_128_GCM_SHA256"),
                         server_context(.cipher_suites = "TLS_AES_256_GCM_SHA384",
                                        .least_version = ASYNC_TLS_1_3),
                         "localhost", &code),
                     ASYNC_ETLS);
    assert_non_null(strstr(server_message, "there is no cipher that both sides know"));
    assert_int_equal(try(client_context(.alpn = (const char *const[]){"a", NULL}),
                         server_context(.alpn = (const char *const[]){"b", NULL}), "localhost",
                         &code),
                     ASYNC_ETLS);
    assert_said("the peer knows none of our protocols");
    assert_non_null(strstr(server_message, "ALPN"));
}

/* ---- options that cannot be ---- */

static void refused(bool server, async_tls_options options, int code, const char *says)
{
    async_tls_context *context =
        server ? async_tls_server_context(&options) : async_tls_client_context(&options);
    assert_null(context);
    if (async_error_code() != code || !strstr(async_error_message(), says))
        fail_msg("%d, \"%s\" for: %s", async_error_code(), async_error_message(), says);
}
#define refused(server, code, says, ...)                                                           \
    refused(server, (async_tls_options){__VA_ARGS__}, code, says)

static void test_options(void **state)
{
    (void)state;
    pki_text("nonsense", "this is no certificate\n");
    pki_text("damaged.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    pki_issue(.file = "locked", .issuer = "ca", .password = "secret");
    pki_issue(.file = "another", .issuer = "ca");
    refused(false, -ENOENT, "missing", .ca_file = pki("missing"));
    refused(false, -EINVAL, "nonsense", .ca_file = pki("nonsense"));
    refused(false, -EISDIR, pki_dir, .ca_file = pki_dir);
    refused(false, -ENOENT, "missing", .ca_path = pki("missing"));
    refused(false, -ENOTDIR, "ca.crt", .ca_path = pki("ca.crt"));
    refused(false, -ENOENT, "missing", .crl_file = pki("missing"));
    refused(false, -EINVAL, "ca.crt", .crl_file = pki("ca.crt"));
    refused(false, -EINVAL, "crl_check_chain", .crl_check_chain = true);
    refused(true, -ENOENT, "missing", .certificate = pki("missing"));
    refused(true, -EINVAL, "there is none in it", .certificate = pki("nonsense"));
    refused(true, -EINVAL, "damaged.crt", .certificate = pki("damaged.crt"));
    refused(true, -EINVAL, "key", .certificate = pki("server.crt"));
    refused(true, -ENOENT, "missing", .certificate = pki("server.crt"), .key = pki("missing"));
    refused(true, -EINVAL, "does not belong to", .certificate = pki("server.crt"),
            .key = pki("another.key"));
    refused(true, -EINVAL, "it needs a password", .certificate = pki("locked.crt"),
            .key = pki("locked.key"));
    refused(true, -EINVAL, "the password is wrong", .certificate = pki("locked.crt"),
            .key = pki("locked.key"), .key_password = "guess");
    refused(false, -EINVAL, "there is a key", .key = pki("server.key"));
    refused(true, -EINVAL, "whose are good", .client_certificate = 2);
    refused(true, -EINVAL, "client_certificate", .client_certificate = 7);
    refused(false, -EINVAL, "client_certificate", .client_certificate = 1);
    refused(false, -EINVAL, "ciphers", .ciphers = "NONSENSE");
    refused(false, -EINVAL, "cipher_suites", .cipher_suites = "NONSENSE");
    refused(false, -EINVAL, "version", .least_version = 11);
    refused(false, -EINVAL, "least_version", .least_version = ASYNC_TLS_1_3,
            .greatest_version = ASYNC_TLS_1_2);
    refused(false, -EINVAL, "alpn", .alpn = (const char *const[]){"a", "", NULL});
    refused(false, -EINVAL, "time-out", .handshake_timeout = -1);
    refused(false, -EINVAL, "time-out", .shutdown_timeout = NAN);
    refused(false, -ENOENT, "key_log_file", .key_log_file = pki("missing/log"));

    /* With its password it is good, and so is a server without a certificate, for now. */
    async_tls_context *context = server_context(.certificate = pki("locked.crt"),
                                                .key = pki("locked.key"), .key_password = "secret");
    async_tls_context_free(context);
    context = async_tls_server_context(NULL);
    assert_null(async_tls_start_server("127.0.0.1", 0, context, NULL));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_message("no certificate");
    assert_int_equal(async_tls_context_add_certificate(context, pki("missing"), NULL, NULL),
                     -ENOENT);
    async_tls_context_free(context);
    context = client_context(0);
    assert_int_equal(async_tls_context_add_certificate(context, pki("server.crt"), NULL, NULL),
                     -EINVAL);
    assert_int_equal(async_tls_context_add_certificate(NULL, "a", NULL, NULL), -EBADF);
    async_tls_context_free(context);
    async_tls_context_free(NULL);

    /* Members of a newer version. */
    struct {
        async_tls_options known;
        long more;
    } newer = {.more = 1};
    assert_null(async__tls_client_context(&newer.known, sizeof newer));
    assert_int_equal(async_error_code(), -EINVAL);
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),    cmocka_unit_test(test_bad),
        cmocka_unit_test(test_system),  cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_clients), cmocka_unit_test(test_nothing_in_common),
        cmocka_unit_test(test_options),
    };
    pki_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
