"""Named pipes of Windows: a transport of the running Proactor loop, and a connection without a loop."""

import _winapi
import asyncio
import asyncio.windows_utils
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from mainbus import windows
from mainbus.address import Address

assert sys.platform == "win32"

__all__ = ["PipeEndpoint", "connect", "connect_blocking", "make_transport", "open_pipe", "path_of", "proactor_loop"]

P = TypeVar("P", bound=asyncio.Protocol)

_CHUNK: Final = 256 * 1024

# Seconds between two tries while all instances of the pipe are taken. The system's own wait would block the loop.
_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05

_PIPE_BUSY: Final = 231
_OPERATION_ABORTED: Final = 995
# The other end is gone: it has closed, or is about to, or was killed.
_GONE: Final = frozenset({109, 232, 233})

# The broker may learn who we are and no more: without these flags it could act in our name.
_IDENTIFICATION_ONLY: Final = 0x0010_0000 | 0x0001_0000  # SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION
_ACCESS: Final = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE


async def connect(address: Address, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """Connect on the running loop; see `mainbus.transports.connect`."""
    loop = proactor_loop()
    pause = _FIRST_PAUSE
    while (handle := open_pipe(address)) is None:
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    made = loop.create_future()
    protocol = protocol_factory()
    transport = make_transport(asyncio.windows_utils.PipeHandle(handle), protocol, made)
    try:
        await made
    except BaseException:
        transport.abort()
        raise
    return transport, protocol


def make_transport(
    pipe: asyncio.windows_utils.PipeHandle, protocol: asyncio.BaseProtocol, made: asyncio.Future[None] | None = None
) -> asyncio.Transport:
    """Return a transport of the running loop for a connected pipe.

    Args:
        pipe: The pipe, which the transport closes.
        protocol: Whom it serves.
        made: Done once `connection_made` has been called.
    """
    # asyncio makes one only for pipes that it has opened itself, without a word on security.
    return cast(asyncio.Transport, proactor_loop()._make_duplex_pipe_transport(pipe, protocol, made))


def proactor_loop() -> Any:
    """Return the running loop, of which more is used than is promised.

    Raises:
        RuntimeError: It is another one than asyncio's for Windows.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.ProactorEventLoop):
        raise RuntimeError(f"named pipes need asyncio's Proactor loop, which is the default, but this is a {loop!r}")
    return loop


def connect_blocking(address: Address, timeout: float | None) -> "PipeEndpoint":
    """Connect without a loop; see `mainbus.transports.connect_blocking`."""
    deadline = _Deadline(timeout)
    pause = _FIRST_PAUSE
    while (handle := open_pipe(address)) is None:
        deadline.check(f"{address} did not accept in time")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return PipeEndpoint(handle)


def path_of(address: Address) -> str:
    """Return the name by which Windows knows a pipe."""
    return rf"\\.\pipe\{address.path}"


def open_pipe(address: Address) -> int | None:
    """Open a pipe, and make sure that it is this user's; None while all its instances are taken.

    Raises:
        PermissionError: Another user has made a pipe of that name.
        OSError: As the system says it.
    """
    flags = _winapi.FILE_FLAG_OVERLAPPED | _IDENTIFICATION_ONLY
    try:
        handle = _winapi.CreateFile(path_of(address), _ACCESS, 0, _winapi.NULL, _winapi.OPEN_EXISTING, flags, 0)
    except OSError as error:
        if error.winerror == _PIPE_BUSY:
            return None
        raise
    try:
        # Before anything is sent, a token above all: whoever comes first may take any name.
        if (owner := windows.owner_of(handle)) != windows.current_user():
            raise PermissionError(f"the pipe belongs to another user ({owner})")
    except BaseException:
        _winapi.CloseHandle(handle)
        raise
    return handle


class PipeEndpoint:
    """A connected pipe, used from threads."""

    # Overlapped, and each call waits for its own operation: on a pipe opened otherwise a read that waits would hold up
    # every write.

    __slots__ = ("_handle",)

    def __init__(self, handle: int) -> None:
        # None once it is closed.
        self._handle: int | None = handle

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the bytes; see `Endpoint`."""
        deadline = _Deadline(timeout)
        # None of the pieces is empty: the other end would take that for the end.
        for start in range(0, len(data), _CHUNK):
            self._do(_winapi.WriteFile, data[start : start + _CHUNK], deadline)

    def receive(self, timeout: float | None) -> bytes:
        """Wait for bytes; see `Endpoint`."""
        try:
            return bytes(self._do(_winapi.ReadFile, _CHUNK, _Deadline(timeout)).getbuffer() or b"")
        except BrokenPipeError:
            # A pipe has no other way to say that it was closed.
            return b""

    def close(self) -> None:
        """Close; see `Endpoint`."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            _winapi.CloseHandle(handle)

    def _do(self, start: Callable[[int, Any, bool], tuple[Any, int]], what: object, deadline: "_Deadline") -> Any:
        """Start an overlapped operation and return it once it is done."""
        if self._handle is None:
            raise ConnectionError("the connection is closed")
        try:
            operation, _ = start(self._handle, what, True)
            try:
                while not deadline.wait_for(operation.event):
                    deadline.check("the broker did not answer in time")
            except BaseException:
                operation.cancel()
                raise
            finally:
                # Whatever has happened: Windows must be done with the buffer before it goes.
                _, result = operation.GetOverlappedResult(True)
        except OSError as error:
            raise _named(error) from None
        if result == _OPERATION_ABORTED:
            raise ConnectionError("the connection was closed meanwhile")
        return operation


class _Deadline:
    """When a wait that goes on in several steps ends."""

    __slots__ = ("_at",)

    def __init__(self, timeout: float | None) -> None:
        self._at = None if timeout is None else time.monotonic() + timeout

    def wait_for(self, event: int) -> bool:
        """Wait for an event of the system; False if it has not come, or Ctrl-C was first."""
        left = _winapi.INFINITE if self._at is None else max(0, int((self._at - time.monotonic()) * 1000) + 1)
        try:
            # The plural one looks out for Ctrl-C as well.
            return _winapi.WaitForMultipleObjects([event], False, left) == _winapi.WAIT_OBJECT_0
        except InterruptedError:
            return False

    def check(self, message: str) -> None:
        if self._at is not None and time.monotonic() >= self._at:
            raise TimeoutError(message)


def _named(error: OSError) -> OSError:
    """Return the error that the contract of `Endpoint` names, for one of the system's."""
    if error.winerror in _GONE:
        return BrokenPipeError(error.errno, error.strerror)
    return error
