"""Listen at a named pipe of Windows, which nobody but this user and the system can open.

A pipe has no socket that listens: each connection needs an instance of it, made beforehand, that a client then opens.
asyncio makes instances that everybody may read, over the network as well, so they are made here.
"""

from __future__ import annotations

import _winapi
import asyncio
import asyncio.windows_utils
import logging
import sys
from collections.abc import Callable
from typing import Final

from mainbus import windows
from mainbus.address import Address
from mainbus.errors import AddressError
from mainbus.transports import pipe as pipes

assert sys.platform == "win32"

__all__ = ["PipeListener", "listen"]

PipeHandle = asyncio.windows_utils.PipeHandle

_logger = logging.getLogger(__name__)

WAITING: Final = 8
"""Instances that wait for a client: as many can connect before the loop has made more. Who finds none tries again."""

_RETRY: Final = 1.0
"""Seconds until an instance is tried again that could not be made."""

_PATIENCE: Final = 2.0
_PAUSE: Final = 0.01
"""Seconds that a pipe may take to go, all in all and between two looks."""

_BUFFER: Final = 64 * 1024
_REJECT_REMOTE_CLIENTS: Final = 8
# No messages: a packet may come in pieces, and several in one, as on a socket.
_MODE: Final = _winapi.PIPE_WAIT | _REJECT_REMOTE_CLIENTS
_OPEN: Final = _winapi.PIPE_ACCESS_DUPLEX | _winapi.FILE_FLAG_OVERLAPPED


class PipeListener:
    """A listener at a pipe's name; see `Listener`.

    Args:
        address: The address bound.
        protocol_factory: Makes a protocol per connection.

    Raises:
        OSError: Somebody else has a pipe of that name, or none can be made.
    """

    def __init__(self, address: Address, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        self.address = address
        self._factory = protocol_factory
        self._loop = pipes.proactor_loop()
        self._security = windows.SecurityAttributes(windows.current_user())
        self._accepting: dict[PipeHandle, asyncio.Future[PipeHandle]] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._stopping = False
        self._closed = False
        # The lock, as it were: Windows makes one first instance of a name, and no stranger's may join ours.
        self._accept(self._instance(_winapi.FILE_FLAG_FIRST_PIPE_INSTANCE))
        self._refill()

    def stop_accepting(self) -> None:
        """Accept nothing any more; see `Listener`.

        The name stays ours, and whoever comes finds a connection that ends at once: connections that exist keep the
        pipe there, and without an instance to be had it would look like a broker that is too busy.
        """
        self._stopping = True

    def close(self) -> None:
        """Let go of all that waits for a client. A second call does nothing."""
        self._stopping = self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        accepting, self._accepting = self._accepting, {}
        for pipe, accepted in accepting.items():
            accepted.cancel()
            pipe.close()

    async def aclose(self) -> None:
        """Let go of the name, which is free once the last connection has ended. See `Listener`."""
        self.close()

    # Private

    def _instance(self, flags: int = 0) -> PipeHandle:
        handle = _winapi.CreateNamedPipe(
            pipes.path_of(self.address),
            _OPEN | flags,
            _MODE,
            _winapi.PIPE_UNLIMITED_INSTANCES,
            _BUFFER,
            _BUFFER,
            _winapi.NMPWAIT_WAIT_FOREVER,
            self._security.address,
        )
        return PipeHandle(handle)

    def _accept(self, pipe: PipeHandle) -> None:
        try:
            accepted = self._loop._proactor.accept_pipe(pipe)
        except OSError as error:
            pipe.close()
            if isinstance(error, BrokenPipeError):
                # A client that came, and went, before it was waited for.
                return
            raise
        self._accepting[pipe] = accepted
        accepted.add_done_callback(lambda accepted: self._accepted(pipe, accepted))

    def _refill(self) -> None:
        """Have as many instances as should wait; if that fails, try again later."""
        self._retry = None
        try:
            while len(self._accepting) < WAITING:
                self._accept(self._instance())
        except OSError as error:
            _logger.warning("cannot make another instance of the pipe %s: %s", self.address, error)
            self._retry = self._loop.call_later(_RETRY, self._refill)

    def _accepted(self, pipe: PipeHandle, accepted: asyncio.Future[PipeHandle]) -> None:
        if self._closed:
            return
        del self._accepting[pipe]
        # First: a name without an instance would look like no broker.
        if self._retry is None:
            self._refill()
        if accepted.exception() is None and not self._stopping:
            pipes.make_transport(pipe, self._factory())
        else:
            pipe.close()


async def listen(address: Address, protocol_factory: Callable[[], asyncio.Protocol]) -> PipeListener:
    """Probe, make the first instance, serve; see `mainbus_broker.listeners.listen`."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + _PATIENCE
    while True:
        in_use = _is_there(address)
        if in_use is False:
            try:
                return PipeListener(address, protocol_factory)
            except PermissionError:
                # Somebody was faster: so says Windows of a second first instance.
                in_use = _is_there(address)
            except OSError as error:
                raise AddressError(str(address), f"cannot listen there: {error.strerror or error}") from error
        # A pipe that nobody can open may be the last connection of a broker that has just ended.
        if in_use or loop.time() >= give_up:
            raise AddressError(str(address), "in use by another program", pid=_holder(address))
        await asyncio.sleep(_PAUSE)


def _is_there(address: Address) -> bool | None:
    """Say whether there is a pipe of that name, without opening it; None if there is and nobody can open it now."""
    try:
        _winapi.WaitNamedPipe(pipes.path_of(address), 1)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return True


def _holder(address: Address) -> int | None:
    """Return the process ID of whoever has made the pipe, if it can be told."""
    try:
        handle = pipes.open_pipe(address)
    except OSError:
        return None
    if handle is None:
        return None
    try:
        return windows.server_of(handle) or None
    finally:
        _winapi.CloseHandle(handle)
