/* test_resolver.c - look-ups: answered, refused, abandoned; needs no network. */
#include "../../src/base/faults.h"
#include "../../src/loop/loop_internal.h"

#include <casyncio/errors.h>
#include <dirent.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct result {
    async_loop *loop;
    int code, count, left; /* `left` ends the loop at 0 */
    int families;          /* bit 0: IPv4, bit 1: IPv6 */
    int port;
    bool loopback;
};

static void keep(struct result *result, struct async__lookup *lookup)
{
    struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    result->code = async__lookup_error(lookup->error, lookup->system_error);
    result->loopback = true;
    for (struct addrinfo *info = lookup->list; info; info = info->ai_next) {
        result->count++;
        if (info->ai_family == AF_INET) {
            struct sockaddr_in *address = (struct sockaddr_in *)info->ai_addr;
            result->families |= 1;
            result->port = ntohs(address->sin_port);
            result->loopback &= ntohl(address->sin_addr.s_addr) >> 24 == 127;
        } else {
            struct sockaddr_in6 *address = (struct sockaddr_in6 *)info->ai_addr;
            result->families |= 2;
            result->port = ntohs(address->sin6_port);
            result->loopback &= !memcmp(&address->sin6_addr, &loopback, sizeof loopback);
        }
    }
}

static void on_done(struct async__lookup *lookup)
{
    struct result *result = lookup->data;
    keep(result, lookup);
    if (--result->left == 0) async_loop_stop(result->loop);
    async__lookup_free(lookup);
}

static async_loop *new_loop(void)
{
    async_loop *loop = async_loop_new(NULL);
    assert_non_null(loop);
    return loop;
}

static struct async__lookup *start(struct result *result, const char *host, const char *service,
                                   int family, int flags)
{
    int code = 1;
    struct async__lookup *lookup = async__lookup_start(
        result->loop, host, service, family, SOCK_STREAM, 0, flags, on_done, result, &code);
    assert_non_null(lookup);
    assert_int_equal(code, 0);
    result->left++;
    return lookup;
}

static struct result look_up(const char *host, const char *service, int family, int flags)
{
    struct result result = {.loop = new_loop()};
    start(&result, host, service, family, flags);
    assert_int_equal(result.loop->jobs, 1);
    assert_int_equal(async_loop_run(result.loop), 0);
    assert_int_equal(result.loop->jobs, 0);
    assert_int_equal(async_loop_close(result.loop), 0);
    return result;
}

static void test_names(void **state)
{
    (void)state;
    struct result result = look_up("localhost", "8888", AF_INET, 0);
    assert_int_equal(result.code, 0);
    assert_true(result.count >= 1);
    assert_int_equal(result.families, 1);
    assert_int_equal(result.port, 8888);
    assert_true(result.loopback);

    result = look_up(NULL, "80", AF_INET, AI_PASSIVE);
    assert_int_equal(result.code, 0);
    assert_false(result.loopback);

    result = look_up("::1", NULL, AF_UNSPEC, AI_NUMERICHOST);
    assert_int_equal(result.code, 0);
    assert_int_equal(result.families, 2);
}

static void test_names_that_are_not(void **state)
{
    (void)state;
    struct result result = look_up("name", NULL, AF_UNSPEC, AI_NUMERICHOST);
    assert_int_equal(result.code, ASYNC_ENONAME);
    assert_int_equal(result.count, 0);

    result = look_up(NULL, NULL, AF_UNSPEC, 0);
    assert_int_equal(result.code, ASYNC_ENONAME);

    result = look_up("localhost", "80", 12345, 0);
    assert_int_equal(result.code, -EAFNOSUPPORT);
}

/* Without a network the answer may take a name server's whole time-out, and be either. */
static void test_a_name_that_does_not_exist(void **state)
{
    (void)state;
    struct result result = look_up("no-such-host.invalid", "80", AF_INET, 0);
    assert_true(result.code == ASYNC_ENONAME || result.code == ASYNC_ETRYNAME);
}

static void test_many_at_once(void **state)
{
    (void)state;
    struct result result = {.loop = new_loop()};
    for (int i = 0; i < 100; i++)
        start(&result, "127.0.0.1", "443", AF_INET, AI_NUMERICHOST);
    assert_int_equal(result.loop->jobs, 100);
    assert_int_equal(async_loop_run(result.loop), 0);
    assert_int_equal(result.count, 100);
    assert_int_equal(result.loop->jobs, 0);
    async_loop_close(result.loop);
}

/* Stands in for a look-up whose name server is dead. */
struct stuck {
    async_job job;
    sem_t begun, go, end;
};

static void stick(async_job *job)
{
    struct stuck *self = async__container(job, struct stuck, job);
    sem_post(&self->begun);
    sem_wait(&self->go);
}

static void unstuck(async_job *job) { sem_post(&async__container(job, struct stuck, job)->end); }

enum { THREADS = 64, KEPT = 4 };

static void take_threads(async_loop *loop, struct stuck *stuck, int count)
{
    for (int i = 0; i < count; i++) {
        stuck[i].job = (async_job){.work = stick, .done = unstuck, .drop = unstuck};
        sem_init(&stuck[i].begun, 0, 0);
        sem_init(&stuck[i].go, 0, 0);
        sem_init(&stuck[i].end, 0, 0);
        assert_int_equal(async__pool_submit(loop->resolver, loop, &stuck[i].job), 0);
    }
    for (int i = 0; i < count; i++)
        sem_wait(&stuck[i].begun);
}

static void let_go(struct stuck *stuck, int count)
{
    for (int i = 0; i < count; i++)
        sem_post(&stuck[i].go);
}

static int count_threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    int count = 0;
    assert_non_null(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void *give_id(void *id)
{
    *(pid_t *)id = gettid();
    return NULL;
}

/* pthread_join returns before the kernel has taken the thread off the list. */
static void await_end(pid_t id)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d", (int)id);
    while (access(path, F_OK) == 0)
        sched_yield();
}

static int threads_at_start;

/* Threads of loops that have been closed end by themselves. */
static void await_threads(int count)
{
    while (count_threads() != threads_at_start + count)
        sched_yield();
}

/* Look-ups that are stuck hold up no other, be they abandoned or not, up to the bound. */
static void test_stuck_look_ups_hold_up_no_other(void **state)
{
    (void)state;
    struct stuck stuck[THREADS];
    struct result result = {.loop = new_loop()};
    await_threads(0);
    start(&result, "127.0.0.1", NULL, AF_INET, AI_NUMERICHOST); /* makes the pool */
    assert_int_equal(async_loop_run(result.loop), 0);

    for (int taken = 0; taken < THREADS - 1; taken += 7) {
        take_threads(result.loop, stuck + taken, 7);
        for (int i = 0; i < 7; i += 2)
            async_job_abandon(&stuck[taken + i].job);
        start(&result, "localhost", "80", AF_INET, 0);
        assert_int_equal(async_loop_run(result.loop), 0);
        assert_int_equal(result.code, 0);
    }
    assert_int_equal(count_threads(), threads_at_start + THREADS);

    /* When there is nothing to do, few stay. */
    let_go(stuck, THREADS - 1);
    for (int i = 0; i < THREADS - 1; i++)
        if (i % 7 % 2 == 0) sem_wait(&stuck[i].end);
    await_threads(KEPT);
    start(&result, "localhost", "80", AF_INET, 0);
    assert_int_equal(async_loop_run(result.loop), 0);
    await_threads(KEPT);
    async_loop_close(result.loop);
    await_threads(0);
}

static void test_abandon(void **state)
{
    (void)state;
    struct stuck stuck[THREADS];
    struct result result = {.loop = new_loop()};
    start(&result, "127.0.0.1", NULL, AF_INET, AI_NUMERICHOST); /* makes the pool */
    assert_int_equal(async_loop_run(result.loop), 0);

    take_threads(result.loop, stuck, THREADS);
    async__lookup_abandon(start(&result, "localhost", "80", AF_INET, 0)); /* never begins */
    assert_int_equal(result.loop->jobs, THREADS);
    let_go(stuck, THREADS);
    for (int i = 0; i < 50; i++) /* at whatever point it is */
        async__lookup_abandon(start(&result, "localhost", "80", AF_INET, 0));
    result.left = 0;
    start(&result, "127.0.0.1", "25", AF_INET, AI_NUMERICHOST);
    assert_int_equal(async_loop_run(result.loop), 0);
    assert_int_equal(result.port, 25);
    assert_int_equal(result.count, 2);
    async_loop_close(result.loop);
    for (int i = 0; i < THREADS; i++)
        sem_wait(&stuck[i].end);
}

static void test_close_does_not_wait(void **state)
{
    (void)state;
    struct stuck stuck[THREADS];
    struct result result = {.loop = new_loop()};
    start(&result, "127.0.0.1", NULL, AF_INET, AI_NUMERICHOST);
    assert_int_equal(async_loop_run(result.loop), 0);
    take_threads(result.loop, stuck, THREADS);
    start(&result, "localhost", NULL, AF_INET, 0);
    async_loop_close(result.loop);
    assert_int_equal(result.left, 1);
    let_go(stuck, THREADS);
    for (int i = 0; i < THREADS; i++)
        sem_wait(&stuck[i].end);
}

static void test_numeric(void **state)
{
    (void)state;
    struct addrinfo *list;
    assert_int_equal(
        async__lookup_numeric("127.0.0.1", "8080", AF_UNSPEC, SOCK_STREAM, 0, AI_ADDRCONFIG, &list),
        0);
    struct sockaddr_in *address = (struct sockaddr_in *)list->ai_addr;
    assert_int_equal(list->ai_family, AF_INET);
    assert_int_equal(list->ai_socktype, SOCK_STREAM);
    assert_int_equal(ntohl(address->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(ntohs(address->sin_port), 8080);
    assert_null(list->ai_next);
    freeaddrinfo(list);

    assert_int_equal(
        async__lookup_numeric("::1", NULL, AF_UNSPEC, SOCK_STREAM, 0, AI_ADDRCONFIG, &list), 0);
    assert_int_equal(list->ai_family, AF_INET6);
    freeaddrinfo(list);

    assert_int_equal(async__lookup_numeric("localhost", "80", AF_UNSPEC, SOCK_STREAM, 0, 0, &list),
                     EAI_NONAME);
    assert_null(list);
    assert_int_not_equal(
        async__lookup_numeric("127.0.0.1", "http", AF_UNSPEC, SOCK_STREAM, 0, 0, &list), 0);
    assert_null(list);
    assert_int_not_equal(async__lookup_numeric("::1", NULL, AF_INET, SOCK_STREAM, 0, 0, &list), 0);
    assert_null(list);
}

static void test_error_codes(void **state)
{
    (void)state;
    assert_int_equal(async__lookup_error(0, 0), 0);
    assert_int_equal(async__lookup_error(EAI_NONAME, 0), ASYNC_ENONAME);
    assert_int_equal(async__lookup_error(EAI_AGAIN, 0), ASYNC_ETRYNAME);
    assert_int_equal(async__lookup_error(EAI_FAIL, 0), ASYNC_ENAME);
    assert_int_equal(async__lookup_error(EAI_MEMORY, 0), -ENOMEM);
    assert_int_equal(async__lookup_error(EAI_SYSTEM, EMFILE), -EMFILE);
    assert_int_equal(async__lookup_error(EAI_SYSTEM, 0), ASYNC_ENAME);
    assert_int_equal(async__lookup_error(EAI_FAMILY, 0), -EAFNOSUPPORT);
    assert_int_equal(async__lookup_error(EAI_SOCKTYPE, 0), -ESOCKTNOSUPPORT);
    assert_int_equal(async__lookup_error(EAI_BADFLAGS, 0), -EINVAL);
    assert_int_equal(async__lookup_error(EAI_SERVICE, 0), -EINVAL);
    assert_int_equal(async__lookup_error(-9999, 0), ASYNC_ENAME);
}

static void test_faults(void **state)
{
    (void)state;
#ifdef ASYNC_FAULTS
    struct async__fault_counter *memory = &async__faults[ASYNC__FAULT_ALLOCATION];
    struct async__fault_counter *calls = &async__faults[ASYNC__FAULT_SYSTEM_CALL];
    struct result result = {.loop = new_loop()};
    struct async__lookup *lookup;
    int code;
    assert_null(result.loop->resolver);
    memory->at = memory->count + 1; /* the pool, which stays once it is there */
    lookup = async__lookup_start(result.loop, "127.0.0.1", "80", AF_INET, SOCK_STREAM, 0, 0,
                                 on_done, &result, &code);
    assert_null(lookup);
    assert_int_equal(code, -ENOMEM);
    result.loop->resolver = async__pool_new(1, 0, "test");
    for (int n = 1; n <= 5; n++) { /* the look-up, the host, the service, the thread; none */
        memory->at = memory->count + n;
        lookup = async__lookup_start(result.loop, "127.0.0.1", "80", AF_INET, SOCK_STREAM, 0, 0,
                                     on_done, &result, &code);
        assert_int_equal(code, n < 4 ? -ENOMEM : n == 4 ? -EAGAIN : 0);
        assert_int_equal(!lookup, n < 5);
        assert_int_equal(result.loop->jobs, n < 5 ? 0 : 1);
    }
    memory->at = 0;
    result.left = 1;
    assert_int_equal(async_loop_run(result.loop), 0);
    assert_int_equal(result.port, 80);
    async_loop_close(result.loop);

    result.loop = new_loop();
    calls->at = calls->count + 1;
    assert_null(async__lookup_start(result.loop, "127.0.0.1", "80", AF_INET, SOCK_STREAM, 0, 0,
                                    on_done, &result, &code));
    assert_int_equal(code, -EAGAIN);
    async_loop_close(result.loop);
#else
    print_message("needs a build with ASYNC_FAULTS\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_names_that_are_not),
        cmocka_unit_test(test_a_name_that_does_not_exist),
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_stuck_look_ups_hold_up_no_other),
        cmocka_unit_test(test_abandon),
        cmocka_unit_test(test_close_does_not_wait),
        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_error_codes),
        cmocka_unit_test(test_faults),
    };
    /* ThreadSanitizer makes a thread of its own with the first one. */
    pthread_t first;
    pid_t id;
    assert_int_equal(pthread_create(&first, NULL, give_id, &id), 0);
    pthread_join(first, NULL);
    await_end(id);
    threads_at_start = count_threads();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
