/* guesses.h - names that one might try, and what they are called here.
 *
 * None of these can be used: the compiler gives an error at the place where one is, with the text that
 * stands here. The rules by which names are made stand in casyncio.h. */
#ifndef CASYNCIO_GUESSES_H
#define CASYNCIO_GUESSES_H

#include <casyncio/base.h>

/* gcc before 12 has a warning with the text instead, and then an error: the struct has no members. */
#ifdef __has_attribute
#if __has_attribute(unavailable)
#define ASYNC__UNAVAILABLE(text) __attribute__((unavailable(text)))
#endif
#endif
#ifndef ASYNC__UNAVAILABLE
#define ASYNC__UNAVAILABLE(text) __attribute__((deprecated(text)))
#endif

/* X(name, text): of functions, macros and constants. */
/* clang-format off */
#define ASYNC__GUESSES(X) \
    /* Coroutines and Tasks */ \
    X(async_task_cancel, "it is async_cancel") \
    X(async_task_uncancel, "it is async_uncancel") \
    X(async_task_await, "it is async_await") \
    X(async_task_join, "it is async_await") \
    X(async_task_wait, "it is async_await, or async_wait for several tasks") \
    X(async_task_create, "it is async_create_task, or async_spawn") \
    X(async_task_spawn, "it is async_create_task, or async_spawn") \
    X(async_new_task, "it is async_create_task, or async_spawn") \
    X(async_task_create_eager, "it is async_create_task_eager") \
    X(async_task_detach, "it is async_detach") \
    X(async_detach_task, "it is async_detach") \
    X(async_task_free, "async_await releases the handle, or async_detach") \
    X(async_task_release, "async_await releases the handle, or async_detach") \
    X(async_task_destroy, "async_await releases the handle, or async_detach") \
    X(async_task_get_name, "it is async_task_name") \
    X(async_task_get_coro, "it is async_task_coroutine") \
    X(async_task_get_coroutine, "it is async_task_coroutine") \
    X(async_task_exception, "it is async_task_result") \
    X(async_task_get_result, "it is async_task_result") \
    X(async_task_is_done, "it is async_task_done") \
    X(async_task_is_cancelled, "it is async_task_cancelled") \
    X(async_cancelling, "it is async_task_cancelling") \
    X(async_done, "it is async_task_done, or async_future_done") \
    X(async_result, "it is async_task_result, or async_future_result") \
    X(async_exception, "it is async_task_result, or async_future_result") \
    X(async_cancelled, "it is async_task_cancelled, or async_future_cancelled") \
    X(async_create_task_named, "it is async_create_task, and async_task_set_name, or async_create_task_with") \
    X(async_call_graph_free, "it is free: async_format_call_graph gives memory of malloc") \
    X(async_task_current, "it is async_current_task") \
    X(async_get_current_task, "it is async_current_task") \
    X(async_task_self, "it is async_current_task") \
    X(async_task_all, "it is async_all_tasks") \
    X(async_get_all_tasks, "it is async_all_tasks") \
    X(async_ensure_future, "it is async_create_task") \
    X(async_iscoroutine, "the compiler knows: a coroutine is an int (void *argument), or int (void)") \
    X(async_iscoroutinefunction, "the compiler knows: a coroutine is an int (void *argument), or int (void)") \
    X(async_create_eager_task_factory, "it is async_eager_task_factory, or a factory that sets eager_start and calls async_task_new") \
    X(async_task_get_context, "there is none: a task has the values of the one that made it") \
    X(async_handle_get_context, "there is none: a task has the values of the one that made it") \
    X(async_copy_context, "there is none: a task has the values of the one that made it") \
    X(async_context_run, "there is none: a task has the values of the one that made it") \
    X(async_context, "there is none: a task has the values of the one that made it") \
    X(async_task_set_result, "a task's result is what its coroutine returns") \
    X(async_task_set_exception, "a task's result is what its coroutine returns") \
    X(async_task_get_stack, "it is async_format_call_graph for what it waits for; for its frames gdb, or casyncio pstree") \
    X(async_task_print_stack, "it is async_format_call_graph for what it waits for; for its frames gdb, or casyncio pstree") \
    X(async_future_add_to_awaited_by, "it needs none: the library knows what waits for what") \
    X(async_future_discard_from_awaited_by, "it needs none: the library knows what waits for what") \
    X(async_future_call_graph, "it is async_capture_call_graph, of async_call_graph_entry") \
    X(async_frame_call_graph_entry, "frames are shown by casyncio pstree") \
    X(async_pstree, "it is the program casyncio: casyncio pstree PID") \
    X(async_print_tasks, "it is the program casyncio: casyncio pstree PID") \
    X(async_first_completed, "it is ASYNC_FIRST_COMPLETED") \
    X(async_first_exception, "it is ASYNC_FIRST_EXCEPTION") \
    X(async_all_completed, "it is ASYNC_ALL_COMPLETED") \
    X(async_gather_return_exceptions, "it is async_gather_results") \
    X(async_wait_all, "it is async_wait with ASYNC_ALL_COMPLETED") \
    X(async_wait_any, "it is async_wait with ASYNC_FIRST_COMPLETED") \
    X(async_wait_first, "it is async_wait with ASYNC_FIRST_COMPLETED") \
    X(async_sleep_ms, "it is async_sleep, in seconds") \
    X(async_sleep_seconds, "it is async_sleep, in seconds") \
    X(async_yield_now, "it is async_sleep(0)") \
    X(async_sched_yield, "it is async_sleep(0)") \
    X(async_run_in_thread, "it is async_to_thread") \
    X(async_run_until_complete, "it is async_run") \
    X(async_run_main, "it is async_run") \
    X(async_start, "it is async_run") \
    X(async_with_timeout, "it is async_timeout (seconds) { ... }") \
    X(async_with_timeout_at, "it is async_timeout_at (when) { ... }") \
    X(async_with_shield, "it is async_shield () { ... }") \
    X(async_timeout_leave, "it is async_scope_leave") \
    X(async_timeout_exit, "it is async_scope_leave") \
    X(async_shield_leave, "it is async_scope_leave") \
    X(async_shield_exit, "it is async_scope_leave") \
    X(async_timeout_reschedule, "it is async_scope_reschedule") \
    X(async_timeout_when, "it is async_scope_when") \
    X(async_timeout_expired, "it is async_scope_expired") \
    X(async_timeout_cancel, "it is async_scope_cancel") \
    X(async_cancel_scope, "it is async_scope_cancel") \
    X(async_with_task_group, "it is async_with_group (name) { ... }, or async_group_enter") \
    X(async_with_taskgroup, "it is async_with_group (name) { ... }, or async_group_enter") \
    X(async_group_new, "it is async_with_group (name) { ... }, or async_group_enter") \
    X(async_group_create, "it is async_with_group (name) { ... }, or async_group_enter") \
    X(async_task_group_new, "it is async_with_group (name) { ... }, or async_group_enter") \
    X(async_taskgroup_new, "it is async_with_group (name) { ... }, or async_group_enter") \
    X(async_task_group_create_task, "it is async_group_create_task, or async_group_spawn") \
    X(async_taskgroup_create_task, "it is async_group_create_task, or async_group_spawn") \
    X(async_group_add, "it is async_group_create_task, or async_group_spawn") \
    X(async_group_start, "it is async_group_create_task, or async_group_spawn") \
    X(async_task_group_cancel, "it is async_group_cancel") \
    X(async_taskgroup_cancel, "it is async_group_cancel") \
    X(async_group_free, "it is async_group_leave") \
    X(async_group_exit, "it is async_group_leave") \
    X(async_group_close, "it is async_group_leave") \
    X(async_group_enter_with, "it is async_with_group (name) { ... }") \
    X(async_print_call_graph, "it is async_format_call_graph") \
    /* Runners */ \
    X(async_runner_create, "it is async_runner_new") \
    X(async_runner_init, "it is async_runner_new") \
    X(async_runner_free, "it is async_runner_close") \
    X(async_runner_destroy, "it is async_runner_close") \
    X(async_run_forever, "it is async_loop_run") \
    X(async_loop_run_forever, "it is async_loop_run") \
    /* Synchronization Primitives */ \
    X(async_lock_new, "it lies in your memory: async_lock name = ASYNC_LOCK_INIT") \
    X(async_lock_create, "it lies in your memory: async_lock name = ASYNC_LOCK_INIT") \
    X(async_lock_init, "it lies in your memory: async_lock name = ASYNC_LOCK_INIT") \
    X(async_lock_free, "it lies in your memory, and need not be freed") \
    X(async_lock_destroy, "it lies in your memory, and need not be freed") \
    X(async_event_new, "it lies in your memory: async_event name = ASYNC_EVENT_INIT") \
    X(async_event_create, "it lies in your memory: async_event name = ASYNC_EVENT_INIT") \
    X(async_event_init, "it lies in your memory: async_event name = ASYNC_EVENT_INIT") \
    X(async_event_free, "it lies in your memory, and need not be freed") \
    X(async_event_destroy, "it lies in your memory, and need not be freed") \
    X(async_condition_new, "it lies in your memory: async_condition name = ASYNC_CONDITION_INIT") \
    X(async_condition_create, "it lies in your memory: async_condition name = ASYNC_CONDITION_INIT") \
    X(async_condition_init, "it lies in your memory: async_condition name = ASYNC_CONDITION_INIT") \
    X(async_condition_free, "it lies in your memory, and need not be freed") \
    X(async_condition_destroy, "it lies in your memory, and need not be freed") \
    X(async_semaphore_new, "it lies in your memory: async_semaphore name = ASYNC_SEMAPHORE_INIT(value)") \
    X(async_semaphore_create, "it lies in your memory: async_semaphore name = ASYNC_SEMAPHORE_INIT(value)") \
    X(async_semaphore_init, "it lies in your memory: async_semaphore name = ASYNC_SEMAPHORE_INIT(value)") \
    X(async_semaphore_free, "it lies in your memory, and need not be freed") \
    X(async_semaphore_destroy, "it lies in your memory, and need not be freed") \
    X(async_barrier_new, "it lies in your memory: async_barrier name = ASYNC_BARRIER_INIT(parties)") \
    X(async_barrier_create, "it lies in your memory: async_barrier name = ASYNC_BARRIER_INIT(parties)") \
    X(async_barrier_init, "it lies in your memory: async_barrier name = ASYNC_BARRIER_INIT(parties)") \
    X(async_barrier_free, "it lies in your memory, and need not be freed") \
    X(async_barrier_destroy, "it lies in your memory, and need not be freed") \
    X(async_rwlock_new, "it lies in your memory: async_rwlock name = ASYNC_RWLOCK_INIT") \
    X(async_rwlock_create, "it lies in your memory: async_rwlock name = ASYNC_RWLOCK_INIT") \
    X(async_rwlock_init, "it lies in your memory: async_rwlock name = ASYNC_RWLOCK_INIT") \
    X(async_rwlock_free, "it lies in your memory, and need not be freed") \
    X(async_rwlock_destroy, "it lies in your memory, and need not be freed") \
    X(async_once_new, "it lies in your memory: async_once name = ASYNC_ONCE_INIT") \
    X(async_once_create, "it lies in your memory: async_once name = ASYNC_ONCE_INIT") \
    X(async_once_init, "it lies in your memory: async_once name = ASYNC_ONCE_INIT") \
    X(async_once_free, "it lies in your memory, and need not be freed") \
    X(async_once_destroy, "it lies in your memory, and need not be freed") \
    X(async_latch_new, "it lies in your memory: async_latch name = ASYNC_LATCH_INIT(count)") \
    X(async_latch_create, "it lies in your memory: async_latch name = ASYNC_LATCH_INIT(count)") \
    X(async_latch_init, "it lies in your memory: async_latch name = ASYNC_LATCH_INIT(count)") \
    X(async_latch_free, "it lies in your memory, and need not be freed") \
    X(async_latch_destroy, "it lies in your memory, and need not be freed") \
    X(async_bounded_semaphore_new, "it lies in your memory: async_semaphore name = ASYNC_BOUNDED_SEMAPHORE_INIT(value)") \
    X(async_bounded_semaphore_create, "it lies in your memory: async_semaphore name = ASYNC_BOUNDED_SEMAPHORE_INIT(value)") \
    X(async_bounded_semaphore_init, "it lies in your memory: async_semaphore name = ASYNC_BOUNDED_SEMAPHORE_INIT(value)") \
    X(async_bounded_semaphore_acquire, "it is async_semaphore_acquire") \
    X(async_bounded_semaphore_release, "it is async_semaphore_release") \
    X(async_bounded_semaphore_locked, "it is async_semaphore_locked") \
    X(async_lock_lock, "it is async_lock_acquire") \
    X(async_mutex_lock, "it is async_lock_acquire") \
    X(async_lock_unlock, "it is async_lock_release") \
    X(async_mutex_unlock, "it is async_lock_release") \
    X(async_lock_try_acquire, "it is async_lock_try") \
    X(async_lock_acquire_nowait, "it is async_lock_try") \
    X(async_lock_acquire_try, "it is async_lock_try") \
    X(async_lock_trylock, "it is async_lock_try") \
    X(async_lock_is_locked, "it is async_lock_locked") \
    X(async_event_isset, "it is async_event_is_set") \
    X(async_event_wait_timeout, "it is async_timeout (seconds) around async_event_wait") \
    X(async_event_reset, "it is async_event_clear") \
    X(async_condition_signal, "it is async_condition_notify") \
    X(async_condition_broadcast, "it is async_condition_notify_all") \
    X(async_semaphore_wait, "it is async_semaphore_acquire") \
    X(async_semaphore_post, "it is async_semaphore_release") \
    X(async_semaphore_try_acquire, "it is async_semaphore_try") \
    X(async_semaphore_acquire_nowait, "it is async_semaphore_try") \
    X(async_semaphore_acquire_try, "it is async_semaphore_try") \
    X(async_barrier_is_broken, "it is async_barrier_broken") \
    X(async_rwlock_read_lock, "it is async_rwlock_acquire_read") \
    X(async_rwlock_rdlock, "it is async_rwlock_acquire_read") \
    X(async_rwlock_read_acquire, "it is async_rwlock_acquire_read") \
    X(async_rwlock_write_lock, "it is async_rwlock_acquire_write") \
    X(async_rwlock_wrlock, "it is async_rwlock_acquire_write") \
    X(async_rwlock_write_acquire, "it is async_rwlock_acquire_write") \
    X(async_rwlock_unlock, "it is async_rwlock_release") \
    X(async_rwlock_release_read, "it is async_rwlock_release") \
    X(async_rwlock_release_write, "it is async_rwlock_release") \
    X(async_once_call, "it is async_once_run") \
    X(async_once_do, "it is async_once_run") \
    X(async_case_timeout, "it is async_case_after") \
    X(async_case_sleep, "it is async_case_after") \
    X(async_case_timer, "it is async_case_after") \
    X(async_case_queue, "it is async_case_get") \
    X(async_case_queue_get, "it is async_case_get") \
    X(async_case_queue_put, "it is async_case_put") \
    X(async_with_barrier, "it is async_barrier_wait") \
    X(async_with_rwlock, "it is async_with_read_lock (&rwlock) { ... }") \
    X(async_with_rwlock_read, "it is async_with_read_lock (&rwlock) { ... }") \
    X(async_with_rdlock, "it is async_with_read_lock (&rwlock) { ... }") \
    X(async_with_rwlock_write, "it is async_with_write_lock (&rwlock) { ... }") \
    X(async_with_wrlock, "it is async_with_write_lock (&rwlock) { ... }") \
    X(async_with_mutex, "it is async_with_lock (&lock) { ... }") \
    /* Queues */ \
    X(async_queue_create, "it is async_queue_new") \
    X(async_queue_init, "it is async_queue_new") \
    X(async_lifo_queue_create, "it is async_lifo_queue_new") \
    X(async_lifoqueue_new, "it is async_lifo_queue_new") \
    X(async_priority_queue_create, "it is async_priority_queue_new") \
    X(async_priorityqueue_new, "it is async_priority_queue_new") \
    X(async_thread_queue_create, "it is async_thread_queue_new") \
    X(async_queue_destroy, "it is async_queue_free") \
    X(async_queue_delete, "it is async_queue_free") \
    X(async_lifo_queue_free, "it is async_queue_free") \
    X(async_priority_queue_free, "it is async_queue_free") \
    X(async_queue_close, "it is async_queue_shutdown, and async_queue_free") \
    X(async_queue_qsize, "it is async_queue_size") \
    X(async_queue_count, "it is async_queue_size") \
    X(async_queue_length, "it is async_queue_size") \
    X(async_queue_is_empty, "it is async_queue_empty") \
    X(async_queue_is_full, "it is async_queue_full") \
    X(async_queue_push, "it is async_queue_put") \
    X(async_lifo_queue_put, "it is async_queue_put") \
    X(async_priority_queue_put, "it is async_queue_put") \
    X(async_queue_pop, "it is async_queue_get") \
    X(async_lifo_queue_get, "it is async_queue_get") \
    X(async_lifo_queue_put_nowait, "it is async_queue_put_nowait") \
    X(async_lifo_queue_get_nowait, "it is async_queue_get_nowait") \
    X(async_lifo_queue_join, "it is async_queue_join") \
    X(async_lifo_queue_task_done, "it is async_queue_task_done") \
    X(async_lifo_queue_qsize, "it is async_queue_size") \
    X(async_priority_queue_put_nowait, "it is async_queue_put_nowait") \
    X(async_priority_queue_get_nowait, "it is async_queue_get_nowait") \
    X(async_priority_queue_join, "it is async_queue_join") \
    X(async_priority_queue_task_done, "it is async_queue_task_done") \
    X(async_priority_queue_qsize, "it is async_queue_size") \
    X(async_priority_queue_get, "it is async_queue_get") \
    X(async_queue_try_put, "it is async_queue_put_nowait") \
    X(async_queue_try_get, "it is async_queue_get_nowait") \
    X(async_queue_maxsize, "a queue does not tell: the program has given it to async_queue_new") \
    /* Futures */ \
    X(async_future_new, "it lies in your memory: async_future name = ASYNC_FUTURE_INIT") \
    X(async_future_create, "it lies in your memory: async_future name = ASYNC_FUTURE_INIT") \
    X(async_future_init, "it lies in your memory: async_future name = ASYNC_FUTURE_INIT") \
    X(async_create_future, "it lies in your memory: async_future name = ASYNC_FUTURE_INIT") \
    X(async_loop_create_future, "it lies in your memory: async_future name = ASYNC_FUTURE_INIT") \
    X(async_future_free, "it lies in your memory, and need not be freed") \
    X(async_future_destroy, "it lies in your memory, and need not be freed") \
    X(async_future_set_result, "it is async_future_set(future, code, value)") \
    X(async_future_set_exception, "it is async_future_set(future, code, value)") \
    X(async_future_set_error, "it is async_future_set(future, code, value)") \
    X(async_future_set_result_threadsafe, "it is async_call_soon_threadsafe, and async_future_set in its callback") \
    X(async_future_set_threadsafe, "it is async_call_soon_threadsafe, and async_future_set in its callback") \
    X(async_future_await, "it is async_future_wait") \
    X(async_future_exception, "it is async_future_result") \
    X(async_future_get_result, "it is async_future_result") \
    X(async_future_get, "it is async_future_result") \
    X(async_future_is_done, "it is async_future_done") \
    /* Exceptions */ \
    X(async_error, "it is async_error_message()") \
    X(async_error_text, "it is async_error_message()") \
    X(async_last_error_message, "it is async_error_message()") \
    X(async_error_string, "it is async_strerror") \
    X(async_error_str, "it is async_strerror") \
    X(async_last_error, "it is async_error_code()") \
    X(async_get_error, "it is async_error_code()") \
    X(async_get_last_error, "it is async_error_code()") \
    X(async_errno, "it is async_error_code()") \
    X(async_throw, "it is async_raise") \
    X(async_fail, "it is async_raise") \
    X(ASYNC_OK, "it is 0") \
    X(ASYNC_SUCCESS, "it is 0") \
    X(ASYNC_ECANCELED, "it is -ECANCELED") \
    X(ASYNC_ECANCELLED, "it is -ECANCELED") \
    X(ASYNC_CANCELLED, "it is -ECANCELED") \
    X(ASYNC_CANCELED, "it is -ECANCELED") \
    X(ASYNC_ETIMEDOUT, "it is -ETIMEDOUT") \
    X(ASYNC_ETIMEOUT, "it is -ETIMEDOUT") \
    X(ASYNC_TIMED_OUT, "it is -ETIMEDOUT") \
    X(ASYNC_QUEUE_EMPTY, "it is -EAGAIN") \
    X(ASYNC_EQUEUEEMPTY, "it is -EAGAIN") \
    X(ASYNC_QUEUE_FULL, "it is -EAGAIN") \
    X(ASYNC_EQUEUEFULL, "it is -EAGAIN") \
    X(ASYNC_QUEUE_SHUTDOWN, "it is ASYNC_ESHUTDOWN") \
    X(ASYNC_EQUEUESHUTDOWN, "it is ASYNC_ESHUTDOWN") \
    X(ASYNC_EBROKEN, "it is ASYNC_EBROKENBARRIER") \
    X(ASYNC_BROKEN_BARRIER, "it is ASYNC_EBROKENBARRIER") \
    X(ASYNC_INCOMPLETE_READ, "it is ASYNC_EINCOMPLETE") \
    X(ASYNC_EINCOMPLETEREAD, "it is ASYNC_EINCOMPLETE") \
    X(ASYNC_LIMIT_OVERRUN, "it is ASYNC_ELIMIT") \
    X(ASYNC_ELIMITOVERRUN, "it is ASYNC_ELIMIT") \
    X(ASYNC_EINVALIDSTATE, "it is -EALREADY, or -EINPROGRESS") \
    X(ASYNC_INVALID_STATE, "it is -EALREADY, or -EINPROGRESS") \
    X(ASYNC_CANCELLED_ERROR, "it is -ECANCELED") \
    X(ASYNC_CANCELED_ERROR, "it is -ECANCELED") \
    X(async_cancelled_error, "it is -ECANCELED") \
    X(ASYNC_TIMEOUT_ERROR, "it is -ETIMEDOUT") \
    X(async_timeout_error, "it is -ETIMEDOUT") \
    X(ASYNC_INVALID_STATE_ERROR, "it is -EALREADY, or -EINPROGRESS") \
    X(async_invalid_state_error, "it is -EALREADY, or -EINPROGRESS") \
    X(ASYNC_INCOMPLETE_READ_ERROR, "it is ASYNC_EINCOMPLETE") \
    X(async_incomplete_read_error, "it is ASYNC_EINCOMPLETE") \
    X(ASYNC_LIMIT_OVERRUN_ERROR, "it is ASYNC_ELIMIT") \
    X(async_limit_overrun_error, "it is ASYNC_ELIMIT") \
    X(ASYNC_QUEUE_SHUT_DOWN, "it is ASYNC_ESHUTDOWN; to shut one down async_queue_shutdown") \
    X(async_queue_shut_down, "it is ASYNC_ESHUTDOWN; to shut one down async_queue_shutdown") \
    X(async_queue_empty_error, "it is -EAGAIN") \
    X(async_queue_full_error, "it is -EAGAIN") \
    X(ASYNC_BROKEN_BARRIER_ERROR, "it is ASYNC_EBROKENBARRIER") \
    X(async_broken_barrier_error, "it is ASYNC_EBROKENBARRIER") \
    X(ASYNC_SENDFILE_NOT_AVAILABLE_ERROR, "there is none: async_sendfile reads and writes where it has to") \
    X(async_sendfile_not_available_error, "there is none: async_sendfile reads and writes where it has to") \
    X(ASYNC_GAIERROR, "it is ASYNC_ENONAME, ASYNC_ETRYNAME or ASYNC_ENAME") \
    X(async_gaierror, "it is ASYNC_ENONAME, ASYNC_ETRYNAME or ASYNC_ENAME") \
    X(ASYNC_KEYBOARD_INTERRUPT, "it is -EINTR, which async_run gives") \
    X(async_keyboard_interrupt, "it is -EINTR, which async_run gives") \
    X(async_exception_group, "it is async_error_causes, and async_error_cause for each") \
    X(async_except, "it is an if: look at the code, or at those that async_error_cause gives") \
    X(async_except_star, "it is an if: look at the code, or at those that async_error_cause gives") \
    X(async_try, "it is an if: look at the code") \
    X(async_finally, "it is async_shield () { ... } behind what may fail") \
    /* Context variables */ \
    X(async_contextvar_get, "it is async_context_var_get") \
    X(async_contextvar_set, "it is async_context_var_set") \
    X(async_contextvar_reset, "it is async_context_var_reset") \
    X(async_context_var_new, "it lies in your memory: static async_context_var name = ASYNC_CONTEXT_VAR_INIT(...)") \
    X(async_context_var_create, "it lies in your memory: static async_context_var name = ASYNC_CONTEXT_VAR_INIT(...)") \
    X(async_contextvar_new, "it lies in your memory: static async_context_var name = ASYNC_CONTEXT_VAR_INIT(...)") \
    /* Iterators */ \
    X(async_generator_new, "it is async_generate") \
    X(async_generator_create, "it is async_generate") \
    X(async_create_generator, "it is async_generate") \
    X(async_generator_next, "it is async_for, or iterator->next(iterator, &value)") \
    X(async_generator_asend, "it is async_for, or iterator->next(iterator, &value)") \
    X(async_next, "it is async_for, or iterator->next(iterator, &value)") \
    X(async_aiter, "it is async_for, or iterator->next(iterator, &value)") \
    X(async_generator_yield, "it is async_yield") \
    X(async_generator_athrow, "there is none: a queue the other way") \
    X(async_athrow, "there is none: a queue the other way") \
    X(async_asend, "there is none: a queue the other way") \
    X(async_generator_aclose, "async_for closes it; by hand it is iterator->close(iterator)") \
    X(async_aclosing, "async_for closes it; by hand it is iterator->close(iterator)") \
    X(async_iterator_next, "it is async_for, or iterator->next(iterator, &value)") \
    X(async_anext, "it is async_for, or iterator->next(iterator, &value)") \
    X(async_iterator_close, "async_for closes it; by hand it is iterator->close(iterator)") \
    X(async_aclose, "async_for closes it; by hand it is iterator->close(iterator)") \
    /* Streams */ \
    X(async_memory_pair, "it is async_stream_pair") \
    X(async_stream_create_pair, "it is async_stream_pair") \
    X(async_stream_new_pair, "it is async_stream_pair") \
    X(async_socketpair, "it is async_stream_pair") \
    X(async_stream_open, "it is async_open_connection") \
    X(async_stream_connect, "it is async_open_connection") \
    X(async_stream_open_connection, "it is async_open_connection") \
    X(async_connect_tcp, "it is async_open_connection") \
    X(async_reader_read, "it is async_stream_read") \
    X(async_readline, "it is async_stream_readline") \
    X(async_readexactly, "it is async_stream_readexactly") \
    X(async_readuntil, "it is async_stream_readuntil") \
    X(async_drain, "it is async_stream_drain") \
    X(async_stream_feed_data, "a stream reads by itself: one that is fed is an end of async_stream_pair") \
    X(async_start_tls, "it is async_stream_start_tls, of casyncio/tls.h") \
    X(async_reader_readline, "it is async_stream_readline") \
    X(async_stream_read_line, "it is async_stream_readline") \
    X(async_reader_readexactly, "it is async_stream_readexactly") \
    X(async_stream_read_exactly, "it is async_stream_readexactly") \
    X(async_stream_read_exact, "it is async_stream_readexactly") \
    X(async_reader_readuntil, "it is async_stream_readuntil") \
    X(async_stream_read_until, "it is async_stream_readuntil") \
    X(async_writer_write, "it is async_stream_write") \
    X(async_writer_drain, "it is async_stream_drain") \
    X(async_stream_flush, "it is async_stream_drain") \
    X(async_writer_close, "it is async_stream_close") \
    X(async_writer_wait_closed, "it is async_stream_close") \
    X(async_writer_write_eof, "it is async_stream_write_eof") \
    X(async_writer_get_extra_info, "it is async_stream_peername, async_stream_sockname or async_stream_fd") \
    X(async_writer_is_closing, "a stream that was closed is gone: async_stream_close ends its life") \
    X(async_stream_is_closing, "a stream that was closed is gone: async_stream_close ends its life") \
    X(async_stream_writer_is_closing, "a stream that was closed is gone: async_stream_close ends its life") \
    X(async_writer_start_tls, "it is async_stream_start_tls") \
    X(async_stream_writer_start_tls, "it is async_stream_start_tls") \
    X(async_writer_can_write_eof, "async_stream_write_eof gives -EOPNOTSUPP where it cannot") \
    X(async_stream_can_write_eof, "async_stream_write_eof gives -EOPNOTSUPP where it cannot") \
    X(async_stream_writer_can_write_eof, "async_stream_write_eof gives -EOPNOTSUPP where it cannot") \
    X(async_writer_transport, "a stream needs none; with one of your own it is async_transport_new") \
    X(async_stream_writer_transport, "a stream needs none; with one of your own it is async_transport_new") \
    X(async_stream_reader_feed_data, "a stream reads by itself: one that is fed is an end of async_stream_pair") \
    X(async_stream_reader_feed_eof, "a stream reads by itself: one that is fed is an end of async_stream_pair") \
    X(async_reader_feed_data, "a stream reads by itself: one that is fed is an end of async_stream_pair") \
    X(async_reader_feed_eof, "a stream reads by itself: one that is fed is an end of async_stream_pair") \
    X(async_stream_reader_read, "it is async_stream_read") \
    X(async_stream_reader_readline, "it is async_stream_readline") \
    X(async_stream_reader_readexactly, "it is async_stream_readexactly") \
    X(async_stream_reader_readuntil, "it is async_stream_readuntil") \
    X(async_stream_reader_at_eof, "it is async_stream_at_eof") \
    X(async_stream_writer_write, "it is async_stream_write") \
    X(async_stream_writer_writelines, "it is async_stream_writev") \
    X(async_stream_writer_drain, "it is async_stream_drain") \
    X(async_stream_writer_write_eof, "it is async_stream_write_eof") \
    X(async_stream_writer_close, "it is async_stream_close") \
    X(async_stream_writer_wait_closed, "it is async_stream_close") \
    X(async_stream_writer_get_extra_info, "it is async_stream_peername, async_stream_sockname or async_stream_fd") \
    X(async_ssl_create_default_context, "it is async_tls_client_context, or async_tls_server_context") \
    X(async_ssl_context, "it is async_tls_client_context, or async_tls_server_context") \
    X(async_ssl_context_new, "it is async_tls_client_context, or async_tls_server_context") \
    X(async_reader_at_eof, "it is async_stream_at_eof") \
    X(async_stream_wait_closed, "it is async_stream_close") \
    X(async_stream_free, "it is async_stream_close") \
    X(async_stream_writelines, "it is async_stream_writev") \
    X(async_writer_writelines, "it is async_stream_writev") \
    X(async_stream_eof, "it is async_stream_at_eof") \
    X(async_stream_is_eof, "it is async_stream_at_eof") \
    X(async_stream_get_extra_info, "it is async_stream_peername, async_stream_sockname or async_stream_fd") \
    X(async_create_server, "it is async_start_server, and for a protocol async_server_serve_protocol") \
    X(async_server_new, "it is async_start_server") \
    X(async_server_start, "it is async_start_server") \
    X(async_loop_create_server, "it is async_start_server, and for a protocol async_server_serve_protocol") \
    X(async_create_unix_server, "it is async_start_unix_server") \
    X(async_loop_create_unix_server, "it is async_start_unix_server") \
    X(async_loop_connect_read_pipe, "it is async_connect_read_pipe") \
    X(async_loop_start_tls, "it is async_stream_start_tls") \
    X(async_server_serve_forever, "it is async_server_serve") \
    X(async_server_start_serving, "it is async_server_serve") \
    X(async_server_free, "it is async_server_close") \
    X(async_server_sockets, "it is async_server_port") \
    /* Subprocesses */ \
    X(async_subprocess_exec, "it is async_create_subprocess_exec") \
    X(async_process_exec, "it is async_create_subprocess_exec") \
    X(async_process_spawn, "it is async_create_subprocess_exec") \
    X(async_process_start, "it is async_create_subprocess_exec") \
    X(async_loop_subprocess_exec, "it is async_create_subprocess_exec") \
    X(async_subprocess_shell, "it is async_create_subprocess_shell") \
    X(async_process_shell, "it is async_create_subprocess_shell") \
    X(async_loop_subprocess_shell, "it is async_create_subprocess_shell") \
    X(async_subprocess_wait, "it is async_process_wait") \
    X(async_subprocess_communicate, "it is async_process_communicate") \
    X(async_subprocess_kill, "it is async_process_kill") \
    X(async_subprocess_terminate, "it is async_process_terminate") \
    X(async_process_free, "it is async_process_close") \
    X(async_process_exit_code, "it is async_process_returncode") \
    X(async_process_return_code, "it is async_process_returncode") \
    X(ASYNC_SUBPROCESS_PIPE, "it is ASYNC_PIPE") \
    X(ASYNC_SUBPROCESS_STDOUT, "it is ASYNC_STDOUT") \
    X(ASYNC_SUBPROCESS_DEVNULL, "it is ASYNC_DEVNULL") \
    /* Event Loop, transports, files */ \
    X(async_freeaddrinfo, "it is freeaddrinfo, of netdb.h") \
    X(async_free_addrinfo, "it is freeaddrinfo, of netdb.h") \
    X(async_get_event_loop, "it is async_get_running_loop") \
    X(async_set_event_loop, "there is none: the loop that runs is the one, and async_run_options has what it is to be") \
    X(async_set_event_loop_policy, "there is none: the loop that runs is the one, and async_run_options has what it is to be") \
    X(async_get_event_loop_policy, "there is none: the loop that runs is the one, and async_run_options has what it is to be") \
    X(async_loop_stop_running, "it is async_loop_stop") \
    X(async_stop, "it is async_loop_stop") \
    X(async_loop_is_closed, "async_loop_close frees it") \
    X(async_loop_shutdown_asyncgens, "it needs none: async_run and async_runner_close do it") \
    X(async_shutdown_asyncgens, "it needs none: async_run and async_runner_close do it") \
    X(async_loop_shutdown_default_executor, "it needs none: async_run and async_runner_close do it") \
    X(async_shutdown_default_executor, "it needs none: async_run and async_runner_close do it") \
    X(async_loop_set_default_executor, "it is async_loop_options.executor_threads") \
    X(async_set_default_executor, "it is async_loop_options.executor_threads") \
    X(async_get_exception_handler, "there is none: the program has given it to async_set_exception_handler") \
    X(async_loop_get_exception_handler, "there is none: the program has given it to async_set_exception_handler") \
    X(async_call_exception_handler, "there is none: async_raise, and return the code") \
    X(async_loop_call_exception_handler, "there is none: async_raise, and return the code") \
    X(async_default_exception_handler, "there is none: async_raise, and return the code") \
    X(async_loop_default_exception_handler, "there is none: async_raise, and return the code") \
    X(async_loop_slow_callback_duration, "it is async_slow_callback_duration") \
    X(async_handle_cancelled, "async_callback_cancel tells whether it was queued") \
    X(async_timer_handle_when, "a timer does not tell: the program has given it to async_call_at") \
    X(async_sock_recv_into, "it is async_recv") \
    X(async_loop_sock_recv_into, "it is async_recv") \
    X(async_sock_recvfrom_into, "it is async_recvfrom") \
    X(async_loop_sock_recvfrom_into, "it is async_recvfrom") \
    X(async_loop_sendfile, "it is async_sendfile") \
    X(async_loop_sock_sendfile, "it is async_sendfile_fd") \
    X(async_sock_sendfile, "it is async_sendfile_fd") \
    X(async_loop_connect_accepted_socket, "it is async_stream_from_fd") \
    X(async_connect_accepted_socket, "it is async_stream_from_fd") \
    X(async_wrap_future, "it needs none: async_future is a struct of the program") \
    X(async_isfuture, "it needs none: async_future is a struct of the program") \
    X(async_future_get_loop, "it is async_get_running_loop") \
    X(async_server_get_loop, "it is async_get_running_loop") \
    X(async_server_is_serving, "a server serves from async_start_server on until async_server_close") \
    X(async_get_child_watcher, "it needs none: async_process_wait") \
    X(async_set_child_watcher, "it needs none: async_process_wait") \
    X(async_get_loop, "it is async_get_running_loop") \
    X(async_loop_current, "it is async_get_running_loop") \
    X(async_new_event_loop, "it is async_loop_new") \
    X(async_time, "it is async_now, or async_loop_time") \
    X(async_is_running, "it is async_loop_is_running") \
    X(async_is_closed, "async_loop_close frees it") \
    X(async_loop_create, "it is async_loop_new") \
    X(async_create_loop, "it is async_loop_new") \
    X(async_loop_free, "it is async_loop_close") \
    X(async_loop_destroy, "it is async_loop_close") \
    X(async_loop_run_until_complete, "it is async_run, or async_runner_run") \
    X(async_loop_call_soon, "it is async_call_soon") \
    X(async_loop_call_soon_threadsafe, "it is async_call_soon_threadsafe") \
    X(async_loop_call_later, "it is async_call_later") \
    X(async_loop_call_at, "it is async_call_at") \
    X(async_loop_add_reader, "it is async_add_reader") \
    X(async_loop_add_writer, "it is async_add_writer") \
    X(async_loop_add_signal_handler, "it is async_add_signal_handler") \
    X(async_loop_remove_signal_handler, "it is async_remove_signal_handler") \
    X(async_loop_run_in_executor, "it is async_run_in_executor") \
    X(async_loop_getaddrinfo, "it is async_getaddrinfo") \
    X(async_loop_getnameinfo, "it is async_getnameinfo") \
    X(async_loop_set_debug, "it is async_set_debug") \
    X(async_loop_get_debug, "it is async_get_debug") \
    X(async_loop_set_exception_handler, "it is async_set_exception_handler") \
    X(async_loop_set_task_factory, "it is async_set_task_factory") \
    X(async_loop_get_task_factory, "it is async_get_task_factory") \
    X(async_loop_create_connection, "it is async_create_connection") \
    X(async_loop_create_datagram_endpoint, "it is async_create_datagram_endpoint") \
    X(async_remove_reader, "it is async_remove_watch") \
    X(async_remove_writer, "it is async_remove_watch") \
    X(async_loop_remove_reader, "it is async_remove_watch") \
    X(async_loop_remove_writer, "it is async_remove_watch") \
    X(async_handle_cancel, "it is async_callback_cancel") \
    X(async_handle_free, "it lies in your memory, and need not be freed") \
    X(async_timer_handle_cancel, "it is async_timer_cancel") \
    X(async_sock_recv, "it is async_recv") \
    X(async_loop_sock_recv, "it is async_recv") \
    X(async_sock_recvfrom, "it is async_recvfrom") \
    X(async_loop_sock_recvfrom, "it is async_recvfrom") \
    X(async_sock_sendall, "it is async_sendall") \
    X(async_loop_sock_sendall, "it is async_sendall") \
    X(async_sock_sendto, "it is async_sendto") \
    X(async_loop_sock_sendto, "it is async_sendto") \
    X(async_sock_connect, "it is async_connect") \
    X(async_loop_sock_connect, "it is async_connect") \
    X(async_sock_accept, "it is async_accept") \
    X(async_loop_sock_accept, "it is async_accept") \
    X(async_get_metrics, "it is async_loop_metrics") \
    X(async_loop_get_metrics, "it is async_loop_metrics") \
    X(async_enable_debug, "it is async_set_debug") \
    X(async_debug_enabled, "it is async_get_debug") \
    X(async_run_debug, "it is async_run_with and async_run_options.loop.debug, or CASYNCIO_DEBUG=1") \
    X(async_debug, "it is async_set_debug") \
    X(async_transport_get_extra_info, "it is async_transport_stream, and async_stream_peername of that") \
    X(async_transport_writelines, "it is async_transport_write") \
    X(async_transport_sendto, "it is async_datagram_sendto") \
    X(async_write_transport_write, "it is async_transport_write") \
    X(async_transport_can_write_eof, "async_transport_write_eof gives -EOPNOTSUPP where it cannot") \
    X(async_transport_get_write_buffer_limits, "a transport does not tell: the program has given them to async_transport_set_write_buffer_limits") \
    X(async_datagram_transport_sendto, "it is async_datagram_sendto") \
    X(async_datagram_transport_close, "it is async_datagram_close") \
    X(async_transport_free, "it is async_transport_close") \
    X(async_datagram_recv, "it is async_datagram_recvfrom") \
    X(async_datagram_send, "it is async_datagram_sendto") \
    X(async_open_file, "it is async_file_open") \
    X(async_file_new, "it is async_file_open") \
    X(async_fopen, "it is async_file_open") \
    X(async_file_read_line, "it is async_file_readline")

/* Of types. */
#define ASYNC__GUESSED_TYPES(X) \
    X(async_task_t, "it is async_task") \
    X(async_lock_t, "it is async_lock") \
    X(async_event_t, "it is async_event") \
    X(async_condition_t, "it is async_condition") \
    X(async_semaphore_t, "it is async_semaphore") \
    X(async_barrier_t, "it is async_barrier") \
    X(async_rwlock_t, "it is async_rwlock") \
    X(async_once_t, "it is async_once") \
    X(async_latch_t, "it is async_latch") \
    X(async_future_t, "it is async_future") \
    X(async_queue_t, "it is async_queue") \
    X(async_thread_queue_t, "it is async_thread_queue") \
    X(async_loop_t, "it is async_loop") \
    X(async_runner_t, "it is async_runner") \
    X(async_group_t, "it is async_group") \
    X(async_scope_t, "it is async_scope") \
    X(async_stream_t, "it is async_stream") \
    X(async_server_t, "it is async_server") \
    X(async_process_t, "it is async_process") \
    X(async_file_t, "it is async_file") \
    X(async_iterator_t, "it is async_iterator") \
    X(async_generator_t, "it is async_generator") \
    X(async_timer_t, "it is async_timer") \
    X(async_callback_t, "it is async_callback") \
    X(async_context_var_t, "it is async_context_var") \
    X(async_mutex, "it is async_lock") \
    X(async_contextvar, "it is async_context_var") \
    X(async_context_var_token, "it is async_context_token") \
    X(async_contextvar_token, "it is async_context_token") \
    X(async_stream_reader, "it is async_stream, which is reader and writer in one") \
    X(async_stream_writer, "it is async_stream, which is reader and writer in one") \
    X(async_reader, "it is async_stream, which is reader and writer in one") \
    X(async_writer, "it is async_stream, which is reader and writer in one") \
    X(async_subprocess, "it is async_process") \
    X(async_handle, "it is async_callback") \
    X(async_timer_handle, "it is async_timer") \
    X(async_task_group, "it is async_group; as a block async_with_group (name) { ... }") \
    X(async_taskgroup, "it is async_group; as a block async_with_group (name) { ... }") \
    X(async_bounded_semaphore, "it is async_semaphore name = ASYNC_BOUNDED_SEMAPHORE_INIT(value)") \
    X(async_priority_queue, "it is async_queue") \
    X(async_lifo_queue, "it is async_queue") \
    X(async_event_loop, "it is async_loop") \
    X(async_abstract_event_loop, "it is async_loop") \
    X(async_base_event_loop, "it is async_loop") \
    X(async_selector_event_loop, "it is async_loop") \
    X(async_proactor_event_loop, "it is async_loop") \
    X(async_abstract_server, "it is async_server") \
    X(async_subprocess_process, "it is async_process") \
    X(async_base_transport, "it is async_transport") \
    X(async_read_transport, "it is async_transport") \
    X(async_write_transport, "it is async_transport") \
    X(async_datagram_transport, "it is async_datagram_endpoint") \
    X(async_subprocess_transport, "it is async_process") \
    X(async_base_protocol, "it is async_protocol") \
    X(async_buffered_protocol, "it is async_protocol, whose data_received is given the bytes where they lie") \
    X(async_datagram_protocol, "it is async_datagram_endpoint") \
    X(async_subprocess_protocol, "it is async_process") \
    X(async_stream_reader_protocol, "it is async_stream") \
    X(async_token, "it is async_context_token") \
    X(async_coro, "it is async_coroutine") \
    X(async_protocol_t, "it is async_protocol") \
    X(async_transport_t, "it is async_transport") \
    X(async_contextvar_t, "it is async_context_var") \
    X(async_context_t, "there is none: a task has the values of the one that made it") \
    X(async_run_options_t, "it is async_run_options") \
    X(async_task_options_t, "it is async_task_options") \
    X(async_handle_t, "it is async_callback") \
    X(async_token_t, "it is async_context_token") \
    X(async_stream_reader_t, "it is async_stream") \
    X(async_stream_writer_t, "it is async_stream") \
    X(async_coroutine_t, "it is async_coroutine")
/* clang-format on */

#define ASYNC__GUESS(name, text) extern struct async__guess name ASYNC__UNAVAILABLE(text);
#define ASYNC__GUESSED_TYPE(name, text) typedef struct async__guess name ASYNC__UNAVAILABLE(text);
struct async__guess;
ASYNC__GUESSES(ASYNC__GUESS)
ASYNC__GUESSED_TYPES(ASYNC__GUESSED_TYPE)
#undef ASYNC__GUESS
#undef ASYNC__GUESSED_TYPE

#endif
