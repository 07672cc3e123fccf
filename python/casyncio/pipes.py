"""asyncio's transport of a pipe that is written to, whose end comes once."""

from asyncio import unix_events


class WritePipeTransport(unix_events._UnixWritePipeTransport):
    """asyncio calls connection_lost() twice when resume_writing() closes or aborts it, and abort() fails
    when the connection is lost.
    """

    _error = None

    def _close(self, exc=None):
        if self._loop is None:
            return
        self._error = exc
        super()._close(exc)

    def _call_connection_lost(self, exc):
        if self._loop is not None:
            super()._call_connection_lost(self._error if exc is None else exc)
