/* Looks a name up by hand: one question of the DNS as a UDP datagram, asked again when no answer
 * comes. Python: asyncio.DatagramProtocol
 *
 *     14_name_lookup [NAME [SERVER [PORT]]]
 *
 * Without a SERVER it asks one of its own, which drops the first question, as networks do. */
#include <casyncio.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MESSAGE = 512, TRIES = 3 }; /* RFC 1035 has no larger message by UDP */

/* The question for a name's IPv4 address; its size, or 0 for what is no name. */
static size_t write_question(unsigned char *message, unsigned id, const char *name)
{
    /* A header: the id, "recursion desired", one question. */
    const unsigned char header[12] = {(unsigned char)(id >> 8), (unsigned char)id, 1, 0, 0, 1};
    const unsigned char type_and_class[4] = {0, 1, 0, 1};
    unsigned char *at = message + sizeof header;

    if (strlen(name) > 253) return 0;
    memcpy(message, header, sizeof header);
    while (*name) { /* each label behind its length */
        size_t length = strcspn(name, ".");
        if (length == 0 || length > 63) return 0;
        *at++ = (unsigned char)length;
        memcpy(at, name, length);
        at += length;
        name += length;
        if (*name == '.') name++;
    }
    *at++ = 0;
    memcpy(at, type_and_class, sizeof type_and_class);
    return (size_t)(at - message) + sizeof type_and_class;
}

/* Where the name at `at` ends; a pointer to an earlier one ends it too. Beyond `size`: it is broken. */
static size_t skip_name(const unsigned char *message, size_t size, size_t at)
{
    while (at < size && message[at]) {
        if (message[at] >= 0xc0) return at + 2;
        at += 1u + message[at];
    }
    return at + 1;
}

/* Prints the addresses of an answer: their number, or a code. */
static int read_answer(const unsigned char *message, size_t size, const char *name)
{
    unsigned failure = message[3] & 15, count = (unsigned)message[6] << 8 | message[7];
    int found = 0;

    if (failure) return async_raise(ASYNC_ENONAME, "%s: the server says %u", name, failure);
    size_t at = skip_name(message, size, 12) + 4;
    for (; count > 0; count--) {
        at = skip_name(message, size, at);
        if (at + 10 > size) return async_raise(-EBADMSG, "%s: the answer is broken", name);
        const unsigned char *record = message + at;
        size_t length = (size_t)record[8] << 8 | record[9];
        at += 10 + length;
        if (at > size) return async_raise(-EBADMSG, "%s: the answer is broken", name);
        if (record[1] != 1 || length != 4) continue; /* no IPv4 address: an alias, say */
        printf("%s has the address %u.%u.%u.%u\n", name, record[10], record[11], record[12],
               record[13]);
        found++;
    }
    return found ? found : async_raise(ASYNC_ENONAME, "%s has no IPv4 address", name);
}

/* Waits for the answer to the question; others may come, to earlier ones or from liars. */
static ssize_t wait_for_answer(async_datagram_endpoint *endpoint, unsigned char *answer,
                               const unsigned char *question)
{
    ssize_t n;
    do
        n = async_datagram_recvfrom(endpoint, answer, MESSAGE, NULL);
    while (n >= 0 && (n < 12 || memcmp(answer, question, 2) != 0 || !(answer[2] & 0x80)));
    return n;
}

static int look_up(async_datagram_endpoint *endpoint, const char *name)
{
    unsigned char question[MESSAGE], answer[MESSAGE];
    size_t size = write_question(question, (unsigned)random(), name);
    ssize_t n = -ETIMEDOUT;

    if (size == 0) return async_raise(-EINVAL, "%s is no name", name);
    for (int try = 0; try < TRIES && n == -ETIMEDOUT; try++) {
        if (try > 0) printf("no answer: asking again\n");
        async_timeout (1) {
            n = async_datagram_sendto(endpoint, question, size, NULL);
            if (n == 0) n = wait_for_answer(endpoint, answer, question);
        }
    }
    return n < 0 ? (int)n : read_answer(answer, (size_t)n, name);
}

/* ---- a server that gives every name the address 192.0.2.7 ---- */

static int serve(void *endpoint)
{
    static const unsigned char record[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7};
    bool lost = false;

    async_for (async_datagram *, datagram, async_datagrams(endpoint)) {
        unsigned char *message = datagram->data; /* has room for 64 KiB */
        if (!lost || datagram->size < 12 || datagram->size > MESSAGE - sizeof record) {
            lost = true;
            continue;
        }
        message[2] |= 0x80; /* an answer ... */
        message[7] = 1;     /* ... with one record */
        memcpy(message + datagram->size, record, sizeof record);
        async_datagram_sendto(endpoint, message, datagram->size + sizeof record, &datagram->peer);
    }
    return async_datagram_close(endpoint);
}

struct arguments {
    const char *name, *server;
    int port;
};

static int main_task(void *argument)
{
    struct arguments *self = argument;
    async_datagram_options local = {.local_addr = {"127.0.0.1", 0}};
    async_datagram_options options = {.remote_addr = {self->server, self->port}};
    int code = 0;

    if (!self->server) { /* the server ends with this task */
        async_datagram_endpoint *own = async_create_datagram_endpoint(&local);
        if (!own) return async_error_code();
        if (!async_create_task(serve, own)) {
            code = async_error_code();
            async_datagram_close(own);
            return code;
        }
        options.remote_addr.host = "127.0.0.1";
        options.remote_addr.port = async_datagram_port(own);
    }
    async_with (async_datagram_endpoint *, endpoint, async_create_datagram_endpoint(&options),
                async_datagram_close)
        code = look_up(endpoint, self->name);
    return code < 0 ? code : async_block_error();
}

int main(int argc, char **argv)
{
    struct arguments arguments = {
        .name = argc > 1 ? argv[1] : "www.example.org",
        .server = argc > 2 ? argv[2] : NULL,
        .port = argc > 3 ? atoi(argv[3]) : 53,
    };
    srandom((unsigned)time(NULL));
    if (async_run(main_task, &arguments) < 0) errx(1, "%s", async_run_error_message());
}
