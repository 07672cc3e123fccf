/* sleep.c - waiting for a time. The timer lies in the sleeper's frame. */
#include "task.h"

#include <math.h>

struct sleeper {
    async__wait wait;
    async_timer timer;
};

static void on_time(async_callback *callback)
{
    async__unpark(&async__container(callback, struct sleeper, timer.callback)->wait);
}

static void interrupt_sleep(async__wait *wait)
{
    struct sleeper *sleeper = async__container(wait, struct sleeper, wait);
    async__timer_cancel(async__loop_of(wait->task), &sleeper->timer);
    async__unpark(wait);
}

const async__mark async__mark_sleep = {ASYNC__FUNCTION(interrupt_sleep),
                                       offsetof(struct sleeper, timer.slot) -
                                           offsetof(struct sleeper, wait)};

static int sleep_until(async_task *self, int64_t when)
{
    struct sleeper sleeper = {
        .wait = {.interrupt = interrupt_sleep, .what = "sleep", .fd = -1},
        .timer = {.callback = {.run = on_time}},
    };

    if (async__call_at(async__loop_of(self), &sleeper.timer, when) < 0)
        return async__failf(-ENOMEM, "async_sleep: no memory for a timer");
    async__park(&sleeper.wait);
    return sleeper.wait.interrupted ? async__interrupted(self) : 0;
}

static inline int yield_once(async_task *self)
{
    async__yield(self);
    return self->interrupt ? async__interrupted_in(self, "async_sleep") : 0;
}

int async_sleep(double seconds)
{
    async_task *self = async__current;
    int64_t ns;

    if (!self) return async__no_task();
    if (async__unlikely(!(seconds >= 0)))
        return async__misuse(
            async__failf(-EINVAL, "async_sleep: cannot sleep for %g seconds", seconds));
    int code = async__checkpoint();
    if (code < 0) return code;
    if (seconds == 0) return yield_once(self);
    async__seconds_to_ns(seconds, &ns);
    return sleep_until(self, async__deadline(async_loop_time_ns(async__loop_of(self)), ns));
}

int async_sleep_until(double when)
{
    async_task *self = async__current;
    int64_t ns;

    if (!self) return async__no_task();
    if (async__seconds_to_ns(when, &ns) < 0)
        return async__misuse(async__failf(-EINVAL, "async_sleep_until: the time is not a number"));
    int code = async__checkpoint();
    if (code < 0) return code;
    if (ns <= async_loop_time_ns(async__loop_of(self))) return yield_once(self);
    return sleep_until(self, ns);
}
