/* Names whose server never answers: getaddrinfo is replaced by one that hangs for them. */
#include "io_test.h"

#include <netdb.h>
#include <semaphore.h>

static sem_t asked, released;
static struct addrinfo answer;

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **list)
{
    (void)service;
    if (hints->ai_flags & AI_NUMERICHOST) return EAI_NONAME;
    if (strcmp(host, "dead") == 0) {
        sem_post(&asked);
        sem_wait(&released);
        return EAI_AGAIN;
    }
    *list = &answer;
    return 0;
}

void freeaddrinfo(struct addrinfo *list) { assert_ptr_equal(list, &answer); }

struct ask {
    const char *host;
};
static int ask(struct ask *self)
{
    struct addrinfo *list;
    int code = async_getaddrinfo(self->host, "80", NULL, &list);
    if (list) freeaddrinfo(list);
    return code;
}

static int others_are_answered(void *unused)
{
    (void)unused;
    enum { DEAD = 20 };
    async_task *tasks[DEAD];
    for (int i = 0; i < DEAD; i++)
        tasks[i] = async_spawn(ask, .host = "dead");
    async_sleep(0);
    for (int i = 0; i < DEAD; i++)
        sem_wait(&asked);
    assert_int_equal(ask(&(struct ask){"localhost"}), 0);

    /* Cancelled ones are given up at once; their threads are not to be had back. */
    for (int i = 0; i < DEAD; i += 2)
        async_cancel(tasks[i], NULL);
    for (int i = 0; i < DEAD; i += 2)
        assert_int_equal(async_await(tasks[i]), -ECANCELED);
    assert_int_equal(ask(&(struct ask){"localhost"}), 0);

    for (int i = 0; i < DEAD; i++)
        sem_post(&released);
    for (int i = 1; i < DEAD; i += 2)
        assert_int_equal(async_await(tasks[i]), ASYNC_ETRYNAME);
    return 0;
}
TEST(others_are_answered)

/* The end of the loop does not wait for them. */
static int leaves_one(void *unused)
{
    (void)unused;
    async_task *task = async_spawn(ask, .host = "dead");
    async_sleep(0);
    sem_wait(&asked);
    async_cancel(task, NULL);
    return async_await(task) == -ECANCELED ? 0 : -1;
}

static void test_the_end_does_not_wait(void **state)
{
    (void)state;
    assert_int_equal(run(leaves_one, NULL), 0);
    sem_post(&released);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_are_answered),
        cmocka_unit_test(test_the_end_does_not_wait),
    };
    sem_init(&asked, 0, 0);
    sem_init(&released, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
