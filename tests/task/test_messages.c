/* What the messages say: every function of the task layer's headers that can refuse a call names itself in
 * async_error_message(), whatever it is given, and a timeout says what ran out. */
#include "run.h"

#include <casyncio/debug.h>
#include <casyncio/trace.h>
#include <math.h>
#include <signal.h>

static async_lock lock;
static async_condition condition = ASYNC_CONDITION_INIT;
static async_semaphore none = ASYNC_SEMAPHORE_INIT(0);
static async_semaphore negative = ASYNC_SEMAPHORE_INIT(-1);
static async_semaphore bounded = ASYNC_BOUNDED_SEMAPHORE_INIT(1);
static async_barrier no_parties;
static async_rwlock rwlock;
static async_once once;
static async_latch open_latch;
static async_future future;
static async_context_var variable = ASYNC_CONTEXT_VAR_INIT("request", NULL);
static async_context_token token;
static async_done_callback callback;
static async_queue *queue;
static async_thread_queue *threads;
static async_task *released;
static async_scope scope;
static int item;
static async_timer timer;
static async_watch watch;
static async_callback soon;
static async_stream *pipe_ends[2];

#define HERE async_get_running_loop()

static void unused_run(async_callback *unused) { (void)unused; }

static bool yes(void *unused)
{
    (void)unused;
    return true;
}

static int ends(void *unused)
{
    (void)unused;
    return 0;
}

static int generates(async_generator *self, void *unused)
{
    (void)self, (void)unused;
    return 0;
}

static int waits(void *unused)
{
    (void)unused;
    return async_sleep(1000);
}

/* One call, which fails with `code` (of those that give a pointer or nothing: the last error), and whose
 * message names `name`. */
struct refused {
    const char *name;
    int code;
    long (*call)(void);
};

#define CALL(name, code, expression)                                                               \
    static long call_##name(void) { return (long)(expression); }
#define CALLS(X)                                                                                   \
    X(async_lock_acquire, -EBADF, async_lock_acquire(NULL))                                        \
    X(async_lock_try, -EBADF, async_lock_try(NULL))                                                \
    X(async_lock_release, -EBADF, async_lock_release(NULL))                                        \
    X(async_event_wait, -EBADF, async_event_wait(NULL))                                            \
    X(async_condition_acquire, -EBADF, async_condition_acquire(NULL))                              \
    X(async_condition_try, -EBADF, async_condition_try(NULL))                                      \
    X(async_condition_release, -EBADF, async_condition_release(NULL))                              \
    X(async_condition_wait, -EBADF, async_condition_wait(NULL))                                    \
    X(async_condition_wait_for, -EBADF, async_condition_wait_for(NULL, yes, NULL))                 \
    X(async_condition_notify, -EBADF, async_condition_notify(NULL, 1))                             \
    X(async_condition_notify_all, -EBADF, async_condition_notify_all(NULL))                        \
    X(async_semaphore_acquire, -EBADF, async_semaphore_acquire(NULL))                              \
    X(async_semaphore_try, -EBADF, async_semaphore_try(NULL))                                      \
    X(async_semaphore_release, -EBADF, async_semaphore_release(NULL))                              \
    X(async_barrier_wait, -EBADF, async_barrier_wait(NULL))                                        \
    X(async_barrier_reset, -EBADF, async_barrier_reset(NULL))                                      \
    X(async_barrier_abort, -EBADF, async_barrier_abort(NULL))                                      \
    X(async_rwlock_acquire_read, -EBADF, async_rwlock_acquire_read(NULL))                          \
    X(async_rwlock_acquire_write, -EBADF, async_rwlock_acquire_write(NULL))                        \
    X(async_rwlock_try_read, -EBADF, async_rwlock_try_read(NULL))                                  \
    X(async_rwlock_try_write, -EBADF, async_rwlock_try_write(NULL))                                \
    X(async_rwlock_release, -EBADF, async_rwlock_release(NULL))                                    \
    X(async_once_run, -EBADF, async_once_run(NULL, ends, NULL))                                    \
    X(async_latch_count_down, -EBADF, async_latch_count_down(NULL))                                \
    X(async_latch_wait, -EBADF, async_latch_wait(NULL))                                            \
    X(async_select, -EINVAL, async_select(NULL, 0))                                                \
    X(async_queue_new, -EINVAL, async_queue_new(0, 1))                                             \
    X(async_lifo_queue_new, -EINVAL, async_lifo_queue_new(0, 1))                                   \
    X(async_priority_queue_new, -EINVAL, async_priority_queue_new(4, 1, NULL))                     \
    X(async_queue_put, -EBADF, async_queue_put(NULL, &item))                                       \
    X(async_queue_get, -EBADF, async_queue_get(NULL, &item))                                       \
    X(async_queue_put_nowait, -EBADF, async_queue_put_nowait(NULL, &item))                         \
    X(async_queue_get_nowait, -EBADF, async_queue_get_nowait(NULL, &item))                         \
    X(async_queue_task_done, -EBADF, async_queue_task_done(NULL))                                  \
    X(async_queue_join, -EBADF, async_queue_join(NULL))                                            \
    X(async_thread_queue_new, -EINVAL, async_thread_queue_new(0, 1))                               \
    X(async_thread_queue_put, -EBADF, async_thread_queue_put(NULL, &item))                         \
    X(async_thread_queue_get, -EBADF, async_thread_queue_get(NULL, &item))                         \
    X(async_thread_queue_join, -EBADF, async_thread_queue_join(NULL))                              \
    X(async_thread_queue_put_threadsafe, -EBADF,                                                   \
      async_thread_queue_put_threadsafe(NULL, &item, 0))                                           \
    X(async_thread_queue_get_threadsafe, -EBADF,                                                   \
      async_thread_queue_get_threadsafe(NULL, &item, 0))                                           \
    X(async_thread_queue_join_threadsafe, -EBADF, async_thread_queue_join_threadsafe(NULL, 0))     \
    X(async_thread_queue_put_nowait, -EBADF, async_thread_queue_put_nowait(NULL, &item))           \
    X(async_thread_queue_get_nowait, -EBADF, async_thread_queue_get_nowait(NULL, &item))           \
    X(async_thread_queue_task_done, -EBADF, async_thread_queue_task_done(NULL))                    \
    X(async_create_task, -EINVAL, async_create_task(NULL, NULL))                                   \
    X(async_loop_create_task, -EBADF, async_loop_create_task(NULL, ends, NULL))                    \
    X(async_set_task_factory, -EPERM, async_set_task_factory(NULL, NULL, NULL))                    \
    X(async_task_new, -EPERM, async_task_new(NULL, ends, NULL, NULL))                              \
    X(async_await, -EINVAL, async_await(NULL))                                                     \
    X(async_sleep, -EINVAL, async_sleep(-1))                                                       \
    X(async_sleep_until, -EINVAL, async_sleep_until((double)NAN))                                  \
    X(async_gather, -EBADF, async_gather_array(NULL, 1))                                           \
    X(async_gather_results, -EBADF, async_gather_results(NULL, 1, NULL))                           \
    X(async_gather_all, -EBADF, async_gather_all(NULL, 1, NULL))                                   \
    X(async_wait, -EBADF, async_wait(NULL, 1, 1, ASYNC_ALL_COMPLETED))                             \
    X(async_as_completed, -EBADF, async_as_completed(NULL, 1, 1))                                  \
    X(async_wait_for, -EINVAL, async_wait_for(NULL, 1))                                            \
    X(async_task_result, -EBADF, async_task_result(NULL))                                          \
    X(async_task_add_done_callback, -EBADF, async_task_add_done_callback(NULL, &callback))         \
    X(async_task_set_name, -EBADF, async_task_set_name(NULL, "name"))                              \
    X(async_capture_call_graph, -EBADF, async_capture_call_graph(NULL))                            \
    X(async_timeout_enter, -EBADF, async_timeout_enter(NULL, 1))                                   \
    X(async_timeout_enter_at, -EBADF, async_timeout_enter_at(NULL, 1))                             \
    X(async_shield_enter, -EBADF, async_shield_enter(NULL))                                        \
    X(async_scope_reschedule, -EBADF, async_scope_reschedule(NULL, 1))                             \
    X(async_group_leave, -EBADF, async_group_leave(NULL))                                          \
    X(async_group_wait, -EBADF, async_group_wait(NULL))                                            \
    X(async_group_create_task, -EBADF, async_group_create_task(NULL, ends, NULL))                  \
    X(async_group_fail, -EBADF, async_group_fail(NULL, -EIO))                                      \
    X(async_future_set, -EBADF, async_future_set(NULL, 0, NULL))                                   \
    X(async_future_wait, -EBADF, async_future_wait(NULL, NULL))                                    \
    X(async_future_result, -EBADF, async_future_result(NULL, NULL))                                \
    X(async_future_add_done_callback, -EBADF, async_future_add_done_callback(NULL, &callback))     \
    X(async_context_var_get, -EBADF, async_context_var_get(NULL, NULL))                            \
    X(async_context_var_set, -EBADF, async_context_var_set(NULL, NULL, NULL))                      \
    X(async_context_var_reset, -EBADF, async_context_var_reset(NULL))                              \
    X(async_generate, -EINVAL, async_generate(NULL, NULL, 4))                                      \
    X(async_yield, -EBADF, async_yield(NULL, NULL))                                                \
    X(async_to_thread, -EINVAL, async_to_thread(NULL, NULL))                                       \
    X(async_run_coroutine_threadsafe, -EBADF, async_run_coroutine_threadsafe(NULL, ends, NULL))    \
    X(async_submit_coroutine_threadsafe, -EBADF,                                                   \
      async_submit_coroutine_threadsafe(NULL, ends, NULL))                                         \
    X(async_concurrent_future_result, -EBADF, async_concurrent_future_result(NULL, 1))             \
    X(async_runner_run, -EBADF, async_runner_run(NULL, ends, NULL))                                \
    X(async_run, -EBUSY, async_run(ends, NULL))                                                    \
    X(async_runner_get_loop, -EBADF, async_runner_get_loop(NULL))                                  \
    X(async_set_debug, -EBADF, async_set_debug(NULL, true))                                        \
    X(async_set_slow_callback_duration, -EBADF, async_set_slow_callback_duration(NULL, 1))         \
    X(async_watchdog_start, -EBADF, async_watchdog_start(NULL, NULL))                              \
    X(async_trace_start, -EBADF, async_trace_start(NULL, NULL))                                    \
    X(async_trace_stop, -EBADF, async_trace_stop(NULL))                                            \
    X(async_stream_peername, -EBADF, async_stream_peername(NULL, NULL, 0))                         \
    X(async_stream_fd, -EBADF, async_stream_fd(NULL))                                              \
    X(async_server_port, -EBADF, async_server_port(NULL))                                          \
    X(async_process_pid, -EBADF, async_process_pid(NULL))                                          \
    X(async_close, -EBADF, async_close(-1))                                                        \
    X(async_stream_sockname, -EBADF, async_stream_sockname(NULL, NULL, 0))                         \
    X(async_stream_read, -EBADF, async_stream_read(NULL, &item, 1))                                \
    X(async_stream_readexactly, -EBADF, async_stream_readexactly(NULL, &item, 1))                  \
    X(async_stream_readuntil, -EBADF, async_stream_readuntil(NULL, &item, 4, "x", 1))              \
    X(async_stream_readline, -EBADF, async_stream_readline(NULL, (char *)&item, 4))                \
    X(async_stream_readuntil_any, -EBADF, async_stream_readuntil_any(NULL, &item, 4, NULL, 1))     \
    X(async_getaddrinfo, -EINVAL, async_getaddrinfo(NULL, NULL, NULL, NULL))                       \
    X(async_stream_write, -EBADF, async_stream_write(NULL, "x", 1))                                \
    X(async_stream_writev, -EBADF, async_stream_writev(NULL, &(struct iovec){NULL, 0}, 1))         \
    X(async_stream_write_nowait, -EBADF, async_stream_write_nowait(NULL, "x", 1))                  \
    X(async_stream_printf, -EBADF, async_stream_printf(NULL, "x"))                                 \
    X(async_stream_drain, -EBADF, async_stream_drain(NULL))                                        \
    X(async_stream_write_eof, -EBADF, async_stream_write_eof(NULL))                                \
    X(async_stream_copy, -EBADF, async_stream_copy(NULL, NULL, NULL))                              \
    X(async_stream_relay, -EBADF, async_stream_relay(NULL, NULL, NULL))                            \
    X(async_stream_pair, -EINVAL, async_stream_pair(NULL))                                         \
    X(async_sendfile, -EBADF, async_sendfile(NULL, NULL, 0, 1, NULL))                              \
    X(async_server_accept, -EBADF, async_server_accept(NULL))                                      \
    X(async_server_close_clients, -EBADF, async_server_close_clients(NULL))                        \
    X(async_server_abort_clients, -EBADF, async_server_abort_clients(NULL))                        \
    X(async_server_wait_closed, -EBADF, async_server_wait_closed(NULL))                            \
    X(async_file_open, -EINVAL, async_file_open(NULL, "r"))                                        \
    X(async_file_read, -EBADF, async_file_read(NULL, &item, 1))                                    \
    X(async_file_readline, -EBADF, async_file_readline(NULL, (char *)&item, 4))                    \
    X(async_file_write, -EBADF, async_file_write(NULL, "x", 1))                                    \
    X(async_file_sync, -EBADF, async_file_sync(NULL))                                              \
    X(async_file_truncate, -EBADF, async_file_truncate(NULL, 1))                                   \
    X(async_file_seek, -EBADF, async_file_seek(NULL, 1, SEEK_SET))                                 \
    X(async_process_wait, -EBADF, async_process_wait(NULL, NULL))                                  \
    X(async_process_poll, -EBADF, async_process_poll(NULL, NULL))                                  \
    X(async_process_send_signal, -EBADF, async_process_send_signal(NULL, 9))                       \
    X(async_datagram_recvfrom, -EBADF, async_datagram_recvfrom(NULL, &item, 1, NULL))              \
    X(async_datagram_sendto, -EBADF, async_datagram_sendto(NULL, "x", 1, NULL))                    \
    X(async_datagram_recv_many, -EBADF, async_datagram_recv_many(NULL, NULL, 1))                   \
    X(async_datagram_send_many, -EBADF, async_datagram_send_many(NULL, NULL, 1))                   \
    X(async_datagram_join, -EBADF, async_datagram_join(NULL, "224.0.0.1", NULL))                   \
    X(async_datagram_leave, -EBADF, async_datagram_leave(NULL, "224.0.0.1", NULL))                 \
    X(async_datagram_set_multicast_ttl, -EBADF, async_datagram_set_multicast_ttl(NULL, 1))         \
    X(async_datagram_set_multicast_loop, -EBADF, async_datagram_set_multicast_loop(NULL, true))    \
    X(async_datagram_lookup, -EINVAL, async_datagram_lookup(NULL, "localhost", 1, NULL))           \
    X(async_datagram_sockname, -EINVAL, async_datagram_sockname(NULL, NULL))                       \
    X(async_datagram_peername, -EINVAL, async_datagram_peername(NULL, NULL))                       \
    X(async_datagram_port, -EBADF, async_datagram_port(NULL))                                      \
    X(async_datagram_fd, -EBADF, async_datagram_fd(NULL))                                          \
    X(async_transport_write, -EBADF, async_transport_write(NULL, "x", 1))                          \
    X(async_transport_write_eof, -EBADF, async_transport_write_eof(NULL))                          \
    X(async_transport_pause_reading, -EBADF, async_transport_pause_reading(NULL))                  \
    X(async_transport_set_protocol, -EBADF, async_transport_set_protocol(NULL, NULL, NULL))        \
    X(async_getnameinfo, -EBADF, async_getnameinfo(NULL, 0, NULL, 0, NULL, 0, 0))                  \
    X(async_process_terminate, -EBADF, async_process_terminate(NULL))                              \
    X(async_process_kill, -EBADF, async_process_kill(NULL))                                        \
    X(async_process_stdin, -EBADF, async_process_stdin(NULL))

CALLS(CALL)
#define ROW(name, code, expression) {#name, code, call_##name},
static const struct refused with_null[] = {CALLS(ROW)};

/* ---- in the wrong state ---- */

#define STATE_CALL(name, code, expression)                                                         \
    static long state_##name(void) { return (long)(expression); }
#define STATES(X)                                                                                  \
    X(async_lock_acquire, -EDEADLK, async_lock_acquire(&lock))                                     \
    X(async_lock_try, -EBUSY, async_lock_try(&lock))                                               \
    X(async_lock_release, -EPERM, async_lock_release(&condition.own))                              \
    X(async_condition_release, -EPERM, async_condition_release(&condition))                        \
    X(async_condition_wait, -EPERM, async_condition_wait(&condition))                              \
    X(async_condition_wait_for, -EPERM, async_condition_wait_for(&condition, yes, NULL))           \
    X(async_condition_notify, -EPERM, async_condition_notify(&condition, 1))                       \
    X(async_condition_notify_all, -EPERM, async_condition_notify_all(&condition))                  \
    X(async_semaphore_acquire, -EINVAL, async_semaphore_acquire(&negative))                        \
    X(async_semaphore_try, -EBUSY, async_semaphore_try(&none))                                     \
    X(async_semaphore_release, -EINVAL, async_semaphore_release(&bounded))                         \
    X(async_barrier_wait, -EINVAL, async_barrier_wait(&no_parties))                                \
    X(async_rwlock_acquire_read, -EDEADLK, async_rwlock_acquire_read(&rwlock))                     \
    X(async_rwlock_acquire_write, -EDEADLK, async_rwlock_acquire_write(&rwlock))                   \
    X(async_rwlock_try_read, -EBUSY, async_rwlock_try_read(&rwlock))                               \
    X(async_rwlock_try_write, -EBUSY, async_rwlock_try_write(&rwlock))                             \
    X(async_rwlock_release, -EPERM, async_rwlock_release(&(async_rwlock){0}))                      \
    X(async_once_run, -EINVAL, async_once_run(&once, NULL, NULL))                                  \
    X(async_latch_count_down, -EINVAL, async_latch_count_down(&open_latch))                        \
    X(async_select, -EBADF, async_select((async_case[]){async_case_event(NULL)}, 1))               \
    X(async_queue_put, -EINVAL, async_queue_put(queue, NULL))                                      \
    X(async_queue_get, ASYNC_ESHUTDOWN,                                                            \
      (async_queue_shutdown(queue, true), async_queue_get(queue, &item)))                          \
    X(async_queue_put_nowait, ASYNC_ESHUTDOWN, async_queue_put_nowait(queue, &item))               \
    X(async_queue_get_nowait, ASYNC_ESHUTDOWN, async_queue_get_nowait(queue, &item))               \
    X(async_queue_task_done, -EINVAL, async_queue_task_done(queue))                                \
    X(async_thread_queue_get_nowait, -EAGAIN, async_thread_queue_get_nowait(threads, &item))       \
    X(async_thread_queue_put_threadsafe, -EDEADLK,                                                 \
      async_thread_queue_put_threadsafe(threads, &item, 0))                                        \
    X(async_thread_queue_task_done, -EINVAL, async_thread_queue_task_done(threads))                \
    X(async_wait, -EINVAL, async_wait(&released, 0, 1, ASYNC_ALL_COMPLETED))                       \
    X(async_await, -EINVAL, async_await(async_current_task()))                                     \
    X(async_task_result, -EINPROGRESS, async_task_result(async_current_task()))                    \
    X(async_task_set_name, -EINVAL, async_task_set_name(async_current_task(), NULL))               \
    X(async_task_add_done_callback, -EINVAL,                                                       \
      async_task_add_done_callback(async_current_task(), &callback))                               \
    X(async_timeout_enter, -EINVAL, async_timeout_enter(&scope, (double)NAN))                      \
    X(async_timeout_enter_at, -EINVAL, async_timeout_enter_at(&scope, (double)NAN))                \
    X(async_scope_reschedule, -EINVAL, async_scope_reschedule(&scope, 1))                          \
    X(async_future_set, -EALREADY,                                                                 \
      (async_future_set(&future, 0, NULL), async_future_set(&future, 0, NULL)))                    \
    X(async_future_result, -EINPROGRESS, async_future_result(&(async_future){0}, NULL))            \
    X(async_future_wait, -EIO,                                                                     \
      async_future_wait(&(async_future){.done = true, .code = -EIO}, NULL))                        \
    X(async_context_var_get, -ENOENT, async_context_var_get(&variable, NULL))                      \
    X(async_context_var_reset, -EINVAL, async_context_var_reset(&token))                           \
    X(async_yield, -EPERM,                                                                         \
      async_yield((async_generator *)async_generate(generates, NULL, 4), NULL))                    \
    X(async_stream_read, -EINVAL, async_stream_read(pipe_ends[0], NULL, 4))                        \
    X(async_stream_readexactly, -EINVAL, async_stream_readexactly(pipe_ends[0], NULL, 4))          \
    X(async_stream_readuntil, -EINVAL, async_stream_readuntil(pipe_ends[0], NULL, 4, "x", 1))      \
    X(async_stream_readline, -EINVAL, async_stream_readline(pipe_ends[0], NULL, 4))                \
    X(async_stream_write, -EINVAL, async_stream_write(pipe_ends[0], NULL, 4))                      \
    X(async_stream_write_nowait, -EINVAL,                                                          \
      async_stream_write_nowait(pipe_ends[0], "x", (size_t)-1))                                    \
    X(async_stream_peername, -EINVAL, async_stream_peername(pipe_ends[0], NULL, 4))                \
    X(async_gather, -EINVAL, async_gather_array(&released, (size_t)-1))                            \
    X(async_as_completed, -EINVAL, async_as_completed(&released, (size_t)-1, 1))                   \
    X(async_call_at, -EINVAL, async_call_at(HERE, &timer, (double)NAN))                            \
    X(async_call_later, -EINVAL, async_call_later(HERE, &timer, (double)NAN))                      \
    X(async_loop_run, -EBUSY, async_loop_run(HERE))                                                \
    X(async_loop_run_once, -EBUSY, async_loop_run_once(HERE, 0))                                   \
    X(async_loop_close, -EBUSY, async_loop_close(HERE))                                            \
    X(async_add_reader, -EBADF, async_add_reader(HERE, -1, &watch))                                \
    X(async_add_writer, -EBUSY,                                                                    \
      async_add_writer(HERE, 1, &(async_watch){.callback = {.run = unused_run}, .armed = true}))   \
    X(async_add_signal_handler, -EINVAL, async_add_signal_handler(HERE, SIGKILL, &soon))           \
    X(async_set_slow_callback_duration, -EINVAL, async_set_slow_callback_duration(HERE, -1))       \
    X(async_watchdog_start, -EINVAL,                                                               \
      async_watchdog_start(HERE, &(async_watchdog_options){.after = -1}))                          \
    X(async_trace_start, -EINVAL, async_trace_start(HERE, &(async_trace_options){.file = NULL}))   \
    X(async_trace_stop, -EINVAL, async_trace_stop(HERE))

STATES(STATE_CALL)
#define STATE_ROW(name, code, expression) {#name, code, state_##name},
static const struct refused in_wrong_state[] = {STATES(STATE_ROW)};

/* The name is at the beginning, and is followed by ": " and more than errno's text. */
static void check(const struct refused *row)
{
    const char *message = async_error_message();
    size_t length = strlen(row->name);

    if (async_error_code() != row->code || strncmp(message, row->name, length) != 0 ||
        strncmp(message + length, ": ", 2) != 0 || strlen(message + length) < 8)
        fail_msg("%s: %s: \"%s\"", row->name, async_error_name(async_error_code()), message);
}

static void check_all(const struct refused *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        async_raise(-EXDEV, "another error, before");
        long given = rows[i].call();
        if (given != 0) assert_int_equal(given, rows[i].code); /* 0: a pointer */
        check(&rows[i]);
    }
}

static int refuses_null(void *unused)
{
    (void)unused;
    check_all(with_null, COUNT(with_null));
    return async_block_error() == 0 ? 0 : -EIO;
}

static int refuses_wrong_states(void *unused)
{
    (void)unused;
    queue = async_queue_new(sizeof item, 1);
    threads = async_thread_queue_new(sizeof item, 1);
    assert_int_equal(async_stream_pair(pipe_ends), 0);
    async_lock_acquire(&lock);
    async_rwlock_acquire_write(&rwlock);
    check_all(in_wrong_state, COUNT(in_wrong_state));
    async_queue_free(queue);
    async_thread_queue_free(threads);
    async_stream_close(pipe_ends[0]);
    async_stream_close(pipe_ends[1]);
    assert_int_equal(async_await(async_create_task(NULL, NULL)), -EINVAL);
    assert_string_equal(async_error_message(), "async_create_task: the coroutine is NULL");
    return 0;
}

TEST(refuses_null)
TEST(refuses_wrong_states)

/* Those that need a task say so, by their names. */
static void test_outside_of_tasks(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(with_null); i++) {
        async_raise(-EXDEV, "another error, before");
        long given = with_null[i].call();
        if (given != 0 && given != with_null[i].code && given != -EPERM) continue;
        const char *message = async_error_message();
        if (strncmp(message, with_null[i].name, strlen(with_null[i].name)) != 0 &&
            strcmp(with_null[i].name, "async_run") != 0)
            fail_msg("%s outside of a task: %s", with_null[i].name, message);
    }
}

/* So do those that wait deep inside, or whose exported function is behind an inline one. */
static void test_outside_by_name(void **state)
{
    (void)state;
    char byte;
#define OUTSIDE(name, ...)                                                                         \
    do {                                                                                           \
        async_raise(-EXDEV, "another error, before");                                              \
        (void)name(__VA_ARGS__);                                                                   \
        assert_int_equal(async_error_code(), -EPERM);                                              \
        assert_non_null(strstr(async_error_message(), #name ": called outside of a task"));        \
    } while (0)
    OUTSIDE(async_open_connection, "127.0.0.1", 1);
    OUTSIDE(async_open_unix_connection, "/nowhere");
    OUTSIDE(async_start_server, "127.0.0.1", 0, NULL);
    OUTSIDE(async_create_subprocess_exec, (const char *const[]){"true", NULL}, NULL);
    OUTSIDE(async_file_open, "/dev/null", "r");
    OUTSIDE(async_getaddrinfo, "localhost", NULL, NULL, &(struct addrinfo *){NULL});
    OUTSIDE(async_recv, 0, &byte, 1, 0);
    OUTSIDE(async_read, 0, &byte, 1);
    OUTSIDE(async_wait_readable, 0);
#undef OUTSIDE
}

/* What async_run itself refuses, whose message outlives its tasks. */
static void test_refused_runs(void **state)
{
    (void)state;
    assert_int_equal(async_run(NULL, NULL), -EINVAL);
    assert_string_equal(async_run_error_message(), "async_run: the coroutine is NULL");
    assert_int_equal(async_run_with(ends, NULL, &(async_run_options){.exit_timeout = -1}), -EINVAL);
    assert_non_null(strstr(async_run_error_message(), "exit_timeout"));
    assert_int_equal(async_run(ends, NULL), 0);
    assert_string_equal(async_run_error_message(), "");
    async_run_options unknown = {.loop = {.backend = "kqueue"}};
    assert_null(async_runner_new(&unknown));
    assert_non_null(strstr(async_error_message(), "\"kqueue\""));
    assert_int_equal(async_run_with(ends, NULL, &unknown), -EINVAL);
    assert_non_null(strstr(async_run_error_message(), "\"kqueue\""));
    async_runner *runner = async_runner_new(NULL);
    assert_int_equal(async_runner_run(runner, NULL, NULL), -EINVAL);
    assert_string_equal(async_run_error_message(), "async_runner_run: the coroutine is NULL");
    assert_int_equal(async_runner_run(runner, ends, NULL), 0);
    assert_int_equal(async_runner_run(NULL, ends, NULL), -EBADF);
    assert_string_equal(async_run_error_message(), "async_runner_run: the runner is NULL");
    assert_int_equal(async_runner_close(runner), 0);
}

/* ---- a task's own message, before and after it is awaited ---- */

static int says_why(void *unused)
{
    (void)unused;
    return async_raise(-EIO, "the disk is on fire");
}

static int looks_at_results(void *unused)
{
    (void)unused;
    async_task *both[2] = {async_create_task(says_why), async_create_task(waits)};
    assert_int_equal(async_wait(both, 2, INFINITY, ASYNC_FIRST_EXCEPTION), 1);
    for (int i = 0; i < 2; i++) {
        async_raise(-EXDEV, "another error, before");
        assert_int_equal(async_task_result(both[0]), -EIO);
        assert_string_equal(async_error_message(), "the disk is on fire");
    }
    async_cancel(both[1], "no longer wanted");
    assert_int_equal(async_await(both[1]), -ECANCELED);
    assert_int_equal(async_await(both[0]), -EIO);
    assert_string_equal(async_error_message(), "the disk is on fire");
    return 0;
}
TEST(looks_at_results)

/* ---- the block macros name themselves ---- */

#define SKIPPED(code, name, ...)                                                                   \
    do {                                                                                           \
        __VA_ARGS__ { fail_msg("the block has run"); }                                             \
        assert_int_equal(async_block_error(), code);                                               \
        assert_int_equal(strncmp(async_error_message(), name, sizeof name - 1), 0);                \
    } while (0)

static int blocks(void *unused)
{
    (void)unused;
    /* First: a NULL is taken for what a constructor gave that failed, if anything has failed before. */
    SKIPPED(-EBADF, "async_queue_items: the queue is NULL",
            async_for (int, each, async_queue_items(NULL)));
    SKIPPED(-EBADF, "async_with_lock", async_with_lock (NULL));
    SKIPPED(-EBADF, "async_with_semaphore", async_with_semaphore (NULL));
    SKIPPED(-EBADF, "async_with_condition", async_with_condition (NULL));
    SKIPPED(-EBADF, "async_with_read_lock", async_with_read_lock (NULL));
    SKIPPED(-EBADF, "async_with_write_lock", async_with_write_lock (NULL));
    SKIPPED(-EINVAL, "async_timeout", async_timeout ((double)NAN));
    SKIPPED(-EINVAL, "async_timeout_at", async_timeout_at ((double)NAN));
    return 0;
}
TEST(blocks)

/* ---- timeouts ---- */

static int gets(void *unused)
{
    (void)unused;
    return async_queue_get(queue, &item);
}

static void assert_timed_out(ssize_t code, const char *message)
{
    assert_int_equal(code, -ETIMEDOUT);
    assert_string_equal(async_error_message(), message);
}

static int times_out(void *unused)
{
    async_event event = ASYNC_EVENT_INIT;
    ssize_t code = 0;

    (void)unused;
    queue = async_queue_new(sizeof item, 1);
    async_timeout (0.5)
        code = async_queue_get(queue, &item);
    assert_timed_out(code, "timed out after 0.5 s (queue, to get)");
    async_timeout (1.25)
        code = async_event_wait(&event);
    assert_timed_out(code, "timed out after 1.25 s (event)"); /* not that of before */
    async_timeout (0.25) {
        code = async_sleep(1);
        assert_timed_out(code, "timed out after 0.25 s (sleep)");
        code = async_event_wait(&event); /* is refused */
    }
    assert_timed_out(code, "timed out after 0.25 s (async_event_wait)");
    async_timeout (0)
        code = async_sleep(1);
    assert_timed_out(code, "timed out after 0 s (async_sleep)");
    async_timeout_at (async_now() + 2)
        code = async_sleep(5);
    assert_timed_out(code, "timed out after 2 s (sleep)");
    async_timeout_at (async_now() - 2)
        code = async_checkpoint();
    assert_timed_out(code, "timed out after 0 s (async_checkpoint)");
    async_timeout_scope (moved, 5) {
        async_sleep(1);
        async_scope_reschedule(&moved, async_now() + 1);
        code = async_sleep(5);
    }
    assert_timed_out(code, "timed out after 2 s (sleep)"); /* since the block began */
    async_timeout (2)                                      /* of two the outer one counts */
        async_timeout (3)
            code = async_sleep(10);
    assert_timed_out(code, "timed out after 2 s (sleep)");
    code = async_wait_for(async_create_task(gets), 0.75);
    assert_timed_out(code, "async_wait_for: the task did not end within 0.75 s");
    code = async_wait_for(async_create_task(gets), 0);
    assert_timed_out(code, "async_wait_for: the task did not end within 0 s");
    async_timeout (0.5)
        code = async_wait_for(async_create_task(gets), 5); /* its own has not run out */
    assert_timed_out(code, "timed out after 0.5 s (task)");
    async_timeout (0.5)
        code = async_gather(async_create_task(gets), async_create_task(gets));
    assert_timed_out(code, "timed out after 0.5 s (gather)");
    async_queue_free(queue);
    return 0;
}
TEST(times_out)

/* The message goes the ways of any other: to the awaiter, a group's causes, a block's error, an exit. */
static int ends_by_timeout(void *unused)
{
    int code = 0;
    (void)unused;
    async_timeout (0.5)
        code = async_sleep(1);
    return code;
}

static int for_a_while(async_iterator *self, void *value)
{
    (void)self, (void)value;
    return ends_by_timeout(NULL);
}

static void *fails_to_enter(void)
{
    ends_by_timeout(NULL);
    return NULL;
}

static void times_out_too(int *unused)
{
    (void)unused;
    async_timeout (7)
        async_sleep(10);
}

static int passes_on(void *unused)
{
    static const char expected[] = "timed out after 0.5 s (sleep)";
    async_iterator iterator = {.next = for_a_while, .size = sizeof(int)};
    int code;

    (void)unused;
    assert_timed_out(async_await(async_create_task(ends_by_timeout)), expected);
    assert_non_null(strstr(async_error_chain(), " <- "));
    async_task *two[] = {async_create_task(ends_by_timeout), async_create_task(ends_by_timeout)};
    assert_int_equal(async_gather_all(two, 2, NULL), -ETIMEDOUT);
    assert_string_equal(async_error_cause(1, &code), expected);
    async_with_group (group)
        async_group_create_task(group, ends_by_timeout);
    assert_timed_out(async_block_error(), expected);
    async_with_group (group)
        async_group_fail(group, ends_by_timeout(NULL));
    assert_timed_out(async_block_error(), expected);
    async_for (int, each, &iterator)
        (void)each;
    assert_timed_out(async_block_error(), expected);
    async_with (void *, nothing, fails_to_enter(), free)
        assert_null(nothing);
    assert_timed_out(async_block_error(), expected);
    code = ends_by_timeout(NULL);
    async_with (int, number, 1, times_out_too)
        assert_int_equal(number, 1);
    assert_timed_out(code, expected); /* not that of the exit */
    async_raise(-ETIMEDOUT, "of my own");
    assert_timed_out(-ETIMEDOUT, "of my own");
    ends_by_timeout(NULL);
    async_raise(-ETIMEDOUT, "of my own");
    assert_timed_out(-ETIMEDOUT, "of my own");
    return async_once_run(&(async_once){0}, ends_by_timeout, NULL) == -ETIMEDOUT ? 0 : -EIO;
}
TEST(passes_on)

static void test_of_the_whole_run(void **state)
{
    (void)state;
    assert_int_equal(run(ends_by_timeout, NULL), -ETIMEDOUT);
    assert_string_equal(async_run_error_message(), "timed out after 0.5 s (sleep)");
}

static void test_in_threads(void **state)
{
    (void)state;
    threads = async_thread_queue_new(sizeof item, 1);
    assert_timed_out(async_thread_queue_get_threadsafe(threads, &item, 0.001),
                     "async_thread_queue_get_threadsafe: no item within 0.001 s");
    assert_int_equal(async_thread_queue_put_threadsafe(threads, &item, 0), 0);
    assert_timed_out(async_thread_queue_put_threadsafe(threads, &item, -1),
                     "async_thread_queue_put_threadsafe: no room within 0 s");
    assert_timed_out(
        async_thread_queue_join_threadsafe(threads, 0.001),
        "async_thread_queue_join_threadsafe: not all items were processed within 0.001 s");
    async_thread_queue_free(threads);
}

/* ---- a task that is taken ---- */

static int selects(void *task)
{
    async_case cases[] = {async_case_task(task), async_case_after(50)};
    return async_select(cases, 2);
}

static int waits_for(void *task)
{
    async_task *const one = task;
    return async_wait(&one, 1, 50, ASYNC_ALL_COMPLETED) < 0 ? -EIO : 0;
}

static int awaits(void *task) { return async_await(task); }

static void assert_taken(async_task *task, const char *message)
{
    assert_int_equal(async_await(task), -EBUSY);
    assert_string_equal(async_error_message(), message);
}

static int is_taken(void *unused)
{
    async_task *task = async_create_task(waits), *by = async_create_task(awaits, task);

    (void)unused;
    async_sleep(1);
    assert_taken(task, "async_await: Task-2 (waits) is awaited already by Task-3 (awaits)");
    async_cancel(by, NULL);
    assert_int_equal(async_await(by), -ECANCELED);
    async_with_group (group) {
        task = async_group_create_task(group, waits);
        assert_taken(task,
                     "async_await: Task-4 (waits) is owned by a group that was opened by Task-1");
        async_group_cancel(group);
    }
    async_task *one = task = async_create_task(waits);
    by = async_create_task(waits_for, task);
    async_sleep(1);
    assert_taken(task, "async_await: Task-5 (waits) is waited for by Task-6 (waits_for)");
    async_await(by);
    by = async_create_task(selects, task);
    async_sleep(1);
    assert_taken(task, "async_await: Task-5 (waits) is waited for by async_select");
    async_await(by);
    async_iterator *completions = async_as_completed(&one, 1, INFINITY);
    assert_taken(task, "async_await: Task-5 (waits) was given to async_as_completed");
    completions->close(completions);
    task = async_create_task(waits);
    async_detach(task);
    assert_taken(task, "async_await: Task-8 (waits) has been detached");
    async_cancel(task, NULL);
    return 0;
}
TEST(is_taken)

/* A circle is found also if one of its members is awaited from outside of it. */
static async_task *ring[3];

static int awaits_next(void *own)
{
    async_sleep(1);
    int code = async_await(*(async_task **)own);
    if (code == -EDEADLK) note("%s", async_error_message());
    return code == -EDEADLK ? 0 : code;
}

static int finds_circles(void *unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++)
        ring[i] = async_create_task(awaits_next, &ring[(i + 1) % 3]);
    assert_int_equal(async_await(ring[0]), 0);
    assert_notes("async_await: Task-2 (awaits_next) waits for this task ");
    return 0;
}
TEST(finds_circles)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_null),     cmocka_unit_test(test_refuses_wrong_states),
        cmocka_unit_test(test_outside_of_tasks), cmocka_unit_test(test_refused_runs),
        cmocka_unit_test(test_looks_at_results), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_times_out),        cmocka_unit_test(test_passes_on),
        cmocka_unit_test(test_of_the_whole_run), cmocka_unit_test(test_in_threads),
        cmocka_unit_test(test_is_taken),         cmocka_unit_test(test_finds_circles),
        cmocka_unit_test(test_outside_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
