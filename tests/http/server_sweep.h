/* server_sweep.h - sweeps over a scenario of the HTTP server, which the test gives as two functions:
 *
 *     static int add_routes(async_http_server *server);    may be called twice
 *     static int exchange(async_http_server *server);      what a client does
 *
 * For every n that they reach, the n-th point of a kind fails; then the same server goes on. */
#ifndef TESTS_HTTP_SERVER_SWEEP_H
#define TESTS_HTTP_SERVER_SWEEP_H

#include "server_test.h"

#include "base/faults.h"

#ifdef ASYNC_FAULTS

static int add_routes(async_http_server *server);
static int exchange(async_http_server *server);

static bool loop_may_end;

static int scenario(void *unused)
{
    async_http_server *server = async_http_server_new(
        &(async_http_server_options){.on_error = tell, .server_name = "test"});
    if (!server) return async_error_code();
    int code = add_routes(server);
    if (code == 0) code = exchange(server);
    async_uncancel(async_current_task());
    async_block_error();
    if (code < 0) { /* it goes on */
        for (int kind = 0; kind < ASYNC__FAULT_KINDS; kind++)
            async__faults[kind].at = async__worker_faults[kind].at = 0;
        add_routes(server);
        async_block_error();
        int again = exchange(server);
        /* A loop whose poll has failed cancels all there is, for good. */
        if (!loop_may_end || code != -ECANCELED) assert_int_equal(again, 0);
    }
    assert_int_equal(async_http_server_connections(server), 0);
    assert_int_equal(async_http_server_requests(server), 0);
    async_http_server_free(server);
    return code;
}

static void sweep(struct async__fault_counter *faults, enum async__fault_kind kind)
{
    long n = 1, failed = 0;

    loop_may_end = kind == ASYNC__FAULT_SYSTEM_CALL;
    for (;; n++) {
        faults[kind] = (struct async__fault_counter){.at = n};
        told_count = 0;
        int code = async_run_with(scenario, NULL,
                                  &(async_run_options){.no_signals = true,
                                                       .no_report = true,
                                                       .loop = {.virtual_clock = true}});
        bool reached = faults[kind].count >= n;
        faults[kind].at = 0;
        if (code < 0 || told_count > 0) failed++;
        if (code == -EDEADLK) print_error("%ld: %s\n", n, async_run_error_message());
        assert_int_not_equal(code, -EDEADLK);
        if (!reached) break;
        assert_true(n < 5000);
    }
    print_message("%ld of %ld failed\n", failed, n - 1);
    assert_true(n > 2);
    /* A timeout of the server's is no failure of the scenario: the client is told 408. */
    assert_true(failed > 0 || kind == ASYNC__FAULT_EXPIRE);
}

#define SWEEP(name, faults, kind)                                                                  \
    static void test_##name(void **state)                                                          \
    {                                                                                              \
        (void)state;                                                                               \
        sweep(faults, kind);                                                                       \
    }

SWEEP(allocations, async__faults, ASYNC__FAULT_ALLOCATION)
SWEEP(system_calls, async__faults, ASYNC__FAULT_SYSTEM_CALL)
SWEEP(awaits, async__faults, ASYNC__FAULT_AWAIT)
SWEEP(waits, async__faults, ASYNC__FAULT_WAIT)
SWEEP(wakes, async__faults, ASYNC__FAULT_WAKE)
SWEEP(expiries, async__faults, ASYNC__FAULT_EXPIRE)

#endif

#endif
