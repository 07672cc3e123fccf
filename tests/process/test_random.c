/* A child is killed, its streams are closed, its tasks are cancelled, at random instants: what has come
 * is right, nothing hangs, and no child, zombie or descriptor is left. CASYNCIO_SEED repeats a run. */
#include "process_test.h"

enum { ROUNDS = 150, SIZE = 300000 };

static unsigned seed;
static unsigned char data[SIZE];

static unsigned draw(unsigned below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % below;
}

struct talk {
    async_process *process;
    bool *done;
};

static int talk(struct talk *self)
{
    async_process_output output = {.limit = draw(3) ? 0 : SIZE / 2};
    bool *done = self->done;
    int code = async_process_communicate(self->process, data, SIZE, &output);
    assert_true(code == 0 || code == -ECANCELED || code == -EBADF || code == ASYNC_ELIMIT);
    assert_true(output.out_size <= SIZE);
    assert_true(!output.out || is_pattern((unsigned char *)output.out, output.out_size, 0));
    /* All of it, unless the child or a stream of its was ended first. */
    if (code == 0 && output.returncode == 0 && output.err_size == SIZE)
        assert_memory_equal(output.err, data, SIZE);
    async_process_output_free(&output);
    *done = true;
    return 0;
}

static int wait_for_it(void *process)
{
    int returncode, code = async_process_wait(process, &returncode);
    assert_true(code == 0 || code == -ECANCELED || code == -EBADF);
    if (code == 0)
        assert_true(returncode == 0 || returncode == -SIGKILL || returncode == -SIGTERM ||
                    returncode == -SIGPIPE || returncode == 1 || returncode == 128 + SIGPIPE ||
                    returncode == 128 + SIGKILL);
    return 0;
}

static void do_something(async_process *process, async_task *talker, async_task *waiter)
{
    switch (draw(7)) {
    case 0: async_process_kill(process); break;
    case 1: async_process_terminate(process); break;
    case 2: async_cancel(talker, NULL); break;
    case 3: async_cancel(waiter, NULL); break;
    case 4: async_stream_abort(async_process_stdout(process)); break;
    case 5: async_stream_abort(async_process_stdin(process)); break;
    case 6: async_process_poll(process, NULL); break;
    }
}

static int one_round(void)
{
    bool done = false;
    async_process *process = async_create_subprocess_exec(
        ASYNC_ARGUMENTS("tee", "/dev/stderr"),
        &(async_subprocess_options){
            .in = ASYNC_PIPE, .out = ASYNC_PIPE, .err = ASYNC_PIPE, .grace = draw(2) ? 0.001 : -1});
    assert_non_null(process);
    async_task *talker = async_spawn(talk, .process = process, .done = &done),
               *waiter = async_create_task(wait_for_it, process);
    for (unsigned i = draw(3); i < 3 && !done; i++) {
        async_sleep(draw(4) ? 1e-6 * draw(3000) : 0);
        do_something(process, talker, waiter);
    }
    int code = async_process_close(process);
    assert_int_equal(code, 0);
    return async_gather(talker, waiter);
}

static int rounds(void *unused)
{
    int count = RUNNING_ON_VALGRIND || getenv("CASYNCIO_EMULATED") ? ROUNDS / 10 : ROUNDS;
    for (int i = 0; i < count; i++) {
        unsigned begin = seed;
        int code = one_round();
        if (code < 0)
            return async_raise(code, "round %d, seed %u: %s", i, begin, async_error_message());
    }
    return 0;
}
PROCESS_TEST(rounds)

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounds)};
    const char *given = getenv("CASYNCIO_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    print_message("seed %u\n", seed);
    fill(data, SIZE, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
