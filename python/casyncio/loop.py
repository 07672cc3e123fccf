"""The loop: what is hot is in C (_casyncio.Loop), what is cold is asyncio's own.

The order of the bases is the rule: what the C type has is found first. It knows nothing of a
selector, so none is made; whatever asyncio's loop does with one, it does through _add_reader and
the like, which are C's.
"""

import asyncio
import contextvars
import inspect
import os
import socket
import ssl
import sys
import threading
import warnings
import weakref
from asyncio import base_events, constants, format_helpers, trsock
from asyncio.log import logger

from . import _casyncio, pipes, processes, selector, streams
from ._casyncio import SSLProtocol
from .server import Server

if sys.version_info < (3, 12):
    from .py311 import Loop as AsyncioLoop
else:
    AsyncioLoop = asyncio.SelectorEventLoop


# Whether asyncio gives all that create_task() was given to a task factory (since 3.14), the name too.
GIVES_NAMES = 'name' not in inspect.signature(asyncio.BaseEventLoop.create_task).parameters
# Whether it calls all methods of a connection's protocol in one context.
ONE_CONTEXT = sys.version_info >= (3, 15)


def seek_to(file, offset):
    """asyncio does not seek to 0, and a file that cannot seek is sent from where it is."""
    if not offset and hasattr(file, 'seek'):
        try:
            file.seek(0)
        except OSError:  # io.UnsupportedOperation is one
            pass


class Loop(_casyncio.Loop, AsyncioLoop):
    """asyncio's event loop, on casyncio's engine."""

    # Of a loop whose __init__ was not called, or has failed: it is closed all the same.
    _ssock = _csock = _default_executor = None
    _signal_handlers = {}
    _children = ()

    def __init__(self):
        base_events.BaseEventLoop.__init__(self)
        self._selector = selector.Selector(self)
        self._children = weakref.WeakSet()
        self._transports = {}  # of the classes that are asyncio's; C's are in a table of its own
        self._signal_handlers = {}
        self._unix_server_sockets = {}
        processes.give_watcher(self)
        self._make_self_pipe()

    # ---- running ----

    def _run_once(self):
        """One turn, without waiting: for what drives a loop of asyncio's by hand."""
        self.stop()
        self._run()

    def close(self):
        """Close the event loop, which must not be running."""
        if self.is_running():
            raise RuntimeError('Cannot close a running event loop')
        if self._closed:
            return
        if self._debug:
            logger.debug('Close %r', self)
        if self._signal_handlers and sys.is_finalizing():
            warnings.warn(f'Closing the loop {self!r} on interpreter shutdown stage, '
                          'skipping signal handlers removal', ResourceWarning, source=self)
            self._signal_handlers.clear()
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)
        self._end_wakeups()  # Ctrl-C may have come in the middle of add_signal_handler()
        if self._ssock is not None:
            self._close_self_pipe()
        self._executor_shutdown_called = True
        executor = self._default_executor
        self._default_executor = None
        self._selector = None
        self._close()
        for child in list(self._children):
            if child.get_returncode() is not None:  # a grandchild has its pipes
                child.close()
        if executor is not None:
            executor.shutdown(wait=False)

    # ---- signals ----

    def _add_callback(self, handle):
        self.call_soon(handle._run)

    _add_callback_signalsafe = _add_callback

    # ---- tasks ----

    def _create_task_by_factory(self, coro, **options):
        if GIVES_NAMES:
            return self._task_factory(self, coro, **options)
        name = options.pop('name', None)
        if options.get('context', self) is None:
            del options['context']
        task = self._task_factory(self, coro, **options)
        try:
            if name is not None and hasattr(task, 'set_name'):
                task.set_name(name)
            return task
        finally:
            del task  # an eager task's exception has this frame: they would be a cycle

    async def shutdown_default_executor(self, timeout=None):
        """Wait until the default executor's threads have ended, for at most so many seconds."""
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None:
            return
        done = self.create_future()
        thread = threading.Thread(target=self._do_shutdown, args=(done,))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await done
        except TimeoutError:
            warnings.warn('The executor did not finishing joining '
                          f'its threads within {timeout} seconds.', RuntimeWarning, stacklevel=2)
            executor.shutdown(wait=False)
        else:
            thread.join()

    def _do_shutdown(self, done):
        error = None
        try:
            self._default_executor.shutdown(wait=True)
        except Exception as exc:
            error = exc
        if not self.is_closed():
            self.call_soon_threadsafe(self._shut_down, done, error)

    @staticmethod
    def _shut_down(done, error):
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    # ---- names ----

    _getaddrinfo_by_executor = AsyncioLoop.getaddrinfo

    async def getnameinfo(self, sockaddr, flags=0):
        """The host and the service of an address: at once, if they are to be numbers."""
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        if flags & numeric == numeric:
            return socket.getnameinfo(sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)

    # ---- servers ----

    async def create_server(self, protocol_factory, host=None, port=None, *, keep_alive=None,
                            start_serving=True, **options):
        """Create a TCP server; the options are asyncio's."""
        bound = await super().create_server(protocol_factory, host, port, start_serving=False,
                                            **options)
        if not bound._sockets:  # before 3.12 that was no error
            raise OSError(f'could not bind on any address of {host!r}')
        if keep_alive:
            for sock in bound._sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        server = await self._serve(bound, start_serving)
        if self._debug:
            logger.info('%r is serving', server)
        return server

    async def create_unix_server(self, protocol_factory, path=None, *, start_serving=True,
                                 cleanup_socket=sys.version_info >= (3, 13), **options):
        """Create a Unix server; cleanup_socket: its path goes when it is closed."""
        if sys.version_info >= (3, 13):
            options['cleanup_socket'] = False  # it is done here, for every version
        bound = await super().create_unix_server(protocol_factory, path, start_serving=False,
                                                 **options)
        if cleanup_socket:
            for sock in bound._sockets:
                path = sock.getsockname()
                if path and path[0] not in (0, '\0'):
                    try:
                        self._unix_server_sockets[sock] = os.stat(path).st_ino
                    except FileNotFoundError:
                        pass
        return await self._serve(bound, start_serving)

    async def _serve(self, bound, start):
        server = Server(bound, self)
        for sock in bound._sockets:
            if sock.family != socket.AF_UNIX:  # what it accepts inherits that
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if start:
            server._start_serving()
            await asyncio.sleep(0)
        return server

    def _start_serving(self, protocol_factory, sock, sslcontext=None, server=None, backlog=100,
                       ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None,
                       *more, **unknown):
        self._add_reader(sock.fileno(), self._accept_connection, protocol_factory, sock, sslcontext,
                         server, backlog, ssl_handshake_timeout, ssl_shutdown_timeout, context)

    def _stop_serving(self, sock):
        inode = self._unix_server_sockets.pop(sock, None)
        path = sock.getsockname() if inode is not None else None
        self._remove_reader(sock.fileno())
        sock.close()
        if path is not None:
            try:
                if os.stat(path).st_ino == inode:  # and not another server's, by now
                    os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                logger.error('Unable to clean up listening UNIX socket %r: %r', path, error)

    # ---- connections ----

    async def create_connection(self, protocol_factory, host=None, port=None, **options):
        """Connect; the options are asyncio's."""
        info = None
        if not options and not self._debug:
            info = base_events._ipaddr_info(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, 0)
        if info is None:
            return await super().create_connection(protocol_factory, host, port, **options)
        # An address, and nothing special about it: nothing to look up, or to try in turn.
        family, kind, proto, _, address = info
        sock = base_events.socket.socket(family=family, type=kind, proto=proto)
        try:
            sock.setblocking(False)
            await self.sock_connect(sock, address)
            protocol = protocol_factory()
            waiter = self.create_future()
            context = contextvars.copy_context() if ONE_CONTEXT else None
            transport = self._make_socket_transport(sock, protocol, waiter, context=context)
        except BaseException:
            sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            del waiter  # its exception has this frame: they would be a cycle, with the transport
            raise
        return transport, protocol

    _sock_connect_by_name = AsyncioLoop.sock_connect

    async def start_tls(self, transport, protocol, sslcontext, *, server_side=False,
                        server_hostname=None, ssl_handshake_timeout=None,
                        ssl_shutdown_timeout=None):
        """Upgrade a connection to TLS; returns the transport to use from now on."""
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError('sslcontext is expected to be an instance of ssl.SSLContext, '
                            f'got {sslcontext!r}')
        if not getattr(transport, '_start_tls_compatible', False):
            raise TypeError(f'transport {transport!r} is not supported by start_tls()')
        waiter = self.create_future()
        ssl_protocol = SSLProtocol(self, protocol, sslcontext, waiter, server_side, server_hostname,
                                   call_connection_made=False,
                                   ssl_handshake_timeout=ssl_handshake_timeout,
                                   ssl_shutdown_timeout=ssl_shutdown_timeout)
        transport.pause_reading()  # nothing is to come before connection_made
        reader = None
        if isinstance(protocol, asyncio.StreamReaderProtocol):
            reader = protocol._stream_reader
        received, ended = streams.take_received(reader)
        if received:
            ssl_protocol._incoming.write(received)
        transport.set_protocol(ssl_protocol)
        handles = [self.call_soon(ssl_protocol.connection_made, transport),
                   self.call_soon(transport.resume_reading)]
        if ended:  # the transport does not say it again
            handles.append(self.call_soon(self._tls_after_eof, ssl_protocol, transport))
        try:
            await waiter
        except BaseException:
            transport.close()
            for handle in handles:
                handle.cancel()
            del waiter  # its exception has this frame: they would be a cycle, with the transport
            raise
        # The reader pauses its transport when it has too much.
        if reader is not None and reader._transport is transport:
            reader._transport = ssl_protocol._app_transport
        return ssl_protocol._app_transport

    @staticmethod
    def _tls_after_eof(ssl_protocol, transport):
        if not ssl_protocol.eof_received():
            transport.close()

    # ---- transports ----

    async def _make_subprocess_transport(self, protocol, args, shell, stdin, stdout, stderr,
                                         bufsize, extra=None, **options):
        watcher = processes.users_watcher(self)
        waiter = self.create_future()
        transport = processes.SubprocessTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize,
            waiter=waiter, extra=extra, **options)
        self._children.add(transport)
        if watcher is None:
            processes.watch(self, transport.get_pid(), transport._process_exited)
        else:
            with watcher:
                watcher.add_child_handler(transport.get_pid(), self._child_watcher_callback,
                                          transport)
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await transport._wait()
            raise
        return transport

    # asyncio's create_connection() and the like call these two, and give them more from version to
    # version. What a later one adds is not known here, and must not cost the connection.

    def _make_socket_transport(self, sock, protocol, waiter=None, *, extra=None, server=None,
                               context=None, **unknown):
        return _casyncio.SocketTransport(self, sock, protocol, waiter, extra, server, context)

    def _make_ssl_transport(self, rawsock, protocol, sslcontext, waiter=None, *,
                            server_side=False, server_hostname=None, extra=None, server=None,
                            ssl_handshake_timeout=None, ssl_shutdown_timeout=None, context=None,
                            **unknown):
        ssl_protocol = SSLProtocol(
            self, protocol, sslcontext, waiter, server_side, server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout)
        _casyncio.SocketTransport(self, rawsock, ssl_protocol, None, extra, server, context)
        return ssl_protocol._app_transport

    def _accept_later(self, exception, sock, args):
        self.call_exception_handler({
            'message': 'socket.accept() out of system resource',
            'exception': exception,
            'socket': trsock.TransportSocket(sock),
        })
        self._remove_reader(sock.fileno())
        self.call_later(constants.ACCEPT_RETRY_DELAY, self._accept_again, sock, args)

    def _accept_again(self, sock, args):
        if sock.fileno() != -1:  # the server was closed meanwhile
            self._add_reader(sock.fileno(), self._accept_connection, *args)

    def _make_write_pipe_transport(self, pipe, protocol, waiter=None, extra=None):
        return pipes.WritePipeTransport(self, pipe, protocol, waiter, extra)

    # ---- sendfile: `offset` is where it begins, also where it is 0 and the file's position is not ----

    async def sendfile(self, transport, file, offset=0, count=None, *, fallback=True):
        """Send a file through a transport; returns the number of bytes that were sent."""
        mode = getattr(transport, '_sendfile_compatible', None)
        if not fallback and mode is constants._SendfileMode.FALLBACK and not transport.is_closing():
            raise asyncio.SendfileNotAvailableError(
                'fallback is disabled and native sendfile is not supported for transport '
                f'{transport!r}')
        return await super().sendfile(transport, file, offset, count, fallback=fallback)

    async def _sendfile_fallback(self, transp, file, offset, count):
        sock = transp.get_extra_info('socket')
        if sock is not None:
            self._check_sendfile_params(sock, file, offset, count)
        seek_to(file, offset)
        return await super()._sendfile_fallback(transp, file, offset, count)

    async def _sock_sendfile_fallback(self, sock, file, offset, count):
        seek_to(file, offset)
        return await super()._sock_sendfile_fallback(sock, file, offset, count)

    async def _sendfile_native(self, transp, file, offset, count):
        reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        transp._lend(True)
        try:
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._lend(False)
            transp._reset_empty_waiter()
            if reading:
                transp.resume_reading()

    # ---- datagrams ----

    def _make_datagram_transport(self, sock, protocol, address=None, waiter=None, extra=None):
        self._ensure_fd_no_transport(sock)
        extra = {**(extra or {}), 'socket': asyncio.trsock.TransportSocket(sock)}
        extra['sockname'] = self._address_or_none(sock.getsockname)
        if 'peername' not in extra:
            extra['peername'] = self._address_or_none(sock.getpeername)
        return _casyncio.DatagramTransport(self, sock, protocol, extra, address, waiter)

    @staticmethod
    def _address_or_none(get):
        try:
            return get()
        except OSError:
            return None

    # ---- errors and debug mode ----

    def _failed_handle_context(self, handle):
        callback = format_helpers._format_callback_source(handle._callback, handle._args)
        context = {'message': f'Exception in callback {callback}', 'handle': handle}
        if handle._source_traceback:
            context['source_traceback'] = handle._source_traceback
        return context

    def _warn_slow(self, culprit, seconds):
        if isinstance(culprit, asyncio.Handle):
            culprit = base_events._format_handle(culprit)
        base_events.logger.warning('Executing %s took %.3f seconds', culprit, seconds)

    def _debug_log(self, message, subject, argument, exception):
        args = (subject,) if argument is None else (subject, argument)
        logger.debug(message, *args, exc_info=exception)

    def _debug_accepted(self, server, address, sock):
        logger.debug('%r got a new connection from %r: %r', server, address, sock)

    def _warn_lost_write(self):
        logger.warning('socket.send() raised exception.')
