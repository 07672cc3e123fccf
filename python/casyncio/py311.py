"""What asyncio's loop of Python 3.11 lacks, and those of 3.12 and later have."""

import asyncio
import contextvars
import gc
from asyncio import unix_events

_connect_errors = contextvars.ContextVar('casyncio connect errors')


class Loop(asyncio.SelectorEventLoop):

    async def create_connection(self, protocol_factory, host=None, port=None, *, all_errors=False,
                                **options):
        """Connect; the options are asyncio's. all_errors: an ExceptionGroup of all that failed."""
        errors = []
        token = _connect_errors.set(errors)
        try:
            return await super().create_connection(protocol_factory, host, port, **options)
        except OSError:
            if not all_errors or not errors:
                raise
            raise ExceptionGroup('create_connection failed', errors) from None
        finally:
            _connect_errors.reset(token)

    async def _connect_sock(self, exceptions, *args, **kwargs):
        try:
            return await super()._connect_sock(exceptions, *args, **kwargs)
        except OSError as error:
            errors = _connect_errors.get(None)
            if errors is not None:
                errors.append(error)
            raise

    if 'is_reading' not in vars(unix_events._UnixReadPipeTransport):  # before 3.11.3
        def _make_read_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
            return ReadPipeTransport(self, pipe, protocol, waiter, extra)

    # ---- the exception handler runs in the context that the error came from ----

    def get_exception_handler(self):
        """The exception handler, or None."""
        return self._users_handler

    @property
    def _exception_handler(self):
        return None if self._users_handler is None else self._call_users_handler

    @_exception_handler.setter
    def _exception_handler(self, handler):
        self._users_handler = handler

    def _call_users_handler(self, loop, context):
        subject = context.get('task') or context.get('future') or context.get('handle')
        where = _context_of(subject)
        if where is None:
            self._users_handler(loop, context)
        else:
            where.run(self._users_handler, loop, context)


class ReadPipeTransport(unix_events._UnixReadPipeTransport):

    def is_reading(self):
        return not self._paused and not self._closing


def _context_of(subject):
    """The context of a task or a handle. A task of 3.11 has one, but does not give it out."""
    if isinstance(subject, asyncio.Handle):
        return subject._context
    if isinstance(subject, asyncio.Task):
        for each in gc.get_referents(subject):
            if isinstance(each, contextvars.Context):
                return each
    return None
