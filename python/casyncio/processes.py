"""Child processes: asyncio's transports for them, and a pidfd that says when one has ended.

No handler for SIGCHLD, no thread that waits, nothing that happens at a fork: so it works in any
thread, and with whatever else the program does about its children.
"""

import os
import sys
import threading
import warnings
from asyncio import events, unix_events
from asyncio.log import logger


class SubprocessTransport(unix_events._UnixSubprocessTransport):
    """A child process of casyncio's loop."""

    async def _connect_pipes(self, waiter):
        try:
            await super()._connect_pipes(waiter)
        finally:
            if self._pending_calls is not None:  # it has failed, or was cancelled
                self._close_unconnected()

    def _close_unconnected(self):
        proc = self._proc
        if proc is not None:
            for fd, pipe in enumerate((proc.stdin, proc.stdout, proc.stderr)):
                if pipe is not None and self._pipes.get(fd) is None:
                    pipe.close()

    def close(self):
        """Close the pipes, and kill the child if it runs."""
        if self._loop is not None and self._loop.is_closed():
            for proto in self._pipes.values():  # their transports could not tell of their end
                pipe = proto and proto.pipe
                if pipe is not None and pipe._pipe is not None:
                    file, pipe._pipe = pipe._pipe, None
                    pipe._closing = True
                    file.close()
            self._pipes.clear()
        super().close()

    def _process_exited(self, returncode):
        super()._process_exited(returncode)
        # asyncio waits until the pipes are closed as well: for ever, if they were never connected, and
        # for a grandchild that has inherited them. They end with the child, as a rule; so they are
        # given a few turns, in each of which the loop looks at descriptors.
        self._wake_waiters(8)

    def _wake_waiters(self, turns):
        if not self._exit_waiters:  # the pipes have ended, or nothing waits
            return
        if turns:
            self._loop.call_later(0, self._wake_waiters, turns - 1)
            return
        waiters, self._exit_waiters = self._exit_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(self._returncode)

    def __del__(self, _warn=warnings.warn):
        if self._loop is not None and self._loop.is_closed():
            self._pipes = {}  # asyncio asks the loop for their end, but for its latest versions
        super().__del__(_warn)

    def __repr__(self):
        return super().__repr__().replace('_UnixSubprocessTransport', 'SubprocessTransport', 1)


def give_watcher(loop):
    """loop._watcher, which asyncio's loops have since Python 3.14."""
    if sys.version_info >= (3, 14) and hasattr(unix_events, 'can_use_pidfd'):
        loop._watcher = (unix_events._PidfdChildWatcher() if unix_events.can_use_pidfd()
                         else unix_events._ThreadedChildWatcher())


def users_watcher(loop):
    """The child watcher that the user has set, if it is not one of those that asyncio sets itself.

    Or that of a system without pidfd. RuntimeError if it is not ready to watch.
    """
    if sys.version_info >= (3, 14):
        watcher = getattr(loop, '_watcher', None)
        if watcher is None or type(watcher) is unix_events._PidfdChildWatcher:
            return None
        return LoopsWatcher(watcher)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        watcher = events.get_child_watcher()
    if type(watcher) in (unix_events.ThreadedChildWatcher, unix_events.PidfdChildWatcher):
        return None
    with watcher as entered:
        asked = entered if sys.version_info < (3, 12) else watcher  # as asyncio's loop does
        if not asked.is_active():
            raise RuntimeError('asyncio.get_child_watcher() is not activated, '
                               'subprocess support is not installed.')
    return watcher


class LoopsWatcher:
    """A watcher of Python 3.14, which is no context manager any more, as those were."""

    def __init__(self, watcher):
        self.add_child_handler = watcher.add_child_handler

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def watch(loop, pid, callback):
    """Have `callback(returncode)` run in the loop when the child has ended, and reap it."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, a sandbox, or no descriptor left
        threading.Thread(target=_wait_in_thread, args=(loop, pid, callback),
                         name=f'casyncio-waitpid-{pid}', daemon=True).start()
        return
    pidfd = _Descriptor(pidfd)
    loop._add_reader(pidfd, _ended, loop, pid, pidfd, callback)


class _Descriptor:
    """It is closed when the loop lets go of it: maybe because the loop was closed."""

    def __init__(self, number):
        self._number = number

    def fileno(self):
        return self._number

    def close(self, close=os.close):
        number, self._number = self._number, -1
        if number >= 0:
            close(number)

    __del__ = close


def _ended(loop, pid, pidfd, callback):
    loop._remove_reader(pidfd)
    pidfd.close()
    callback(_reap(pid))


def _wait_in_thread(loop, pid, callback):
    returncode = _reap(pid)
    try:
        loop.call_soon_threadsafe(callback, returncode)
    except RuntimeError:
        if not loop.is_closed():
            raise
        logger.warning('Loop %r that handles pid %r is closed', loop, pid)


def _reap(pid):
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        # Somebody else has waited for it, and knows.
        logger.warning('child process pid %d exit status already read: will report returncode 255',
                       pid)
        return 255
