/* event.c - a flag that tasks wait for. */
#include "sync.h"

int async_event_wait(async_event *event)
{
    if (!event) return async__null_wait("event");
    int code = async__checkpoint();
    if (code < 0 || event->set) return code;
    return async__wait_in(&event->waiters, "event", NULL);
}

void async_event_set(async_event *event)
{
    if (!event) return;
    event->set = true;
    async__wake_all(&event->waiters);
}
