"""The asyncio transport of a connection inside one process."""

import asyncio
import contextvars
import threading

from mainbus.transports.memory_link import Link

__all__ = ["MemoryTransport"]

_HIGH = 64 * 1024


class MemoryTransport(asyncio.Transport):
    """One end of a memory connection; its methods belong to its loop's thread, `wake` to every thread.

    It behaves as a socket's transport does, with the link in the place of the system's buffers: bytes count in the
    writer's buffer until the reader's protocol has taken them.

    Args:
        loop: where the protocol is called.
        incoming, outgoing: the two directions.
        name: the address, for `get_extra_info`.
    """

    __slots__ = (
        "_awake",
        "_closing",
        "_context",
        "_eof_read",
        "_eof_written",
        "_error",
        "_high",
        "_incoming",
        "_loop",
        "_lost",
        "_low",
        "_outgoing",
        "_protocol",
        "_reading_paused",
        "_thread",
        "_writing_paused",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, incoming: Link, outgoing: Link, name: str) -> None:
        super().__init__({"sockname": name, "peername": name})
        self._loop = loop
        self._incoming = incoming
        self._outgoing = outgoing
        incoming.reader = outgoing.writer = self
        # None until `start`, as are the loop's thread and the context that the protocol is called in.
        self._protocol: asyncio.Protocol | None = None
        self._thread: int | None = None
        self._context: contextvars.Context | None = None
        # A turn is on its way: it will see every change made by now.
        self._awake = False
        self._reading_paused = False
        self._writing_paused = False
        self._eof_read = False
        self._eof_written = False
        self._closing = False
        self._lost = False
        # Why this end aborted itself; None if its owner wanted it.
        self._error: Exception | None = None
        self._high = _HIGH
        self._low = _HIGH // 4

    def start(self, protocol: asyncio.Protocol) -> None:
        """Connect the protocol; on the loop's thread."""
        self._thread = threading.get_ident()
        self._context = contextvars.copy_context()
        self._protocol = protocol
        try:
            protocol.connection_made(self)
        except BaseException:
            self.abort()
            raise
        self.wake()

    def wake(self) -> None:
        """Look at the links in the loop's next turn; any thread may call it."""
        if self._awake:
            return
        self._awake = True
        try:
            if threading.get_ident() == self._thread:
                # In a context of its own: a reader must not see its writer's variables.
                self._loop.call_soon(self._turn, context=self._context)
            else:
                self._loop.call_soon_threadsafe(self._turn, context=self._context)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # This end can neither read nor write again: to its peer it is gone.
            self._incoming.close()
            self._outgoing.abort()

    # asyncio.BaseTransport

    def is_closing(self) -> bool:
        """Say whether it is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Read nothing any more; `connection_lost` comes once the peer has taken what was written."""
        if self._closing:
            return
        self._closing = True
        self._incoming.close()
        self._outgoing.end()
        self.wake()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol have what comes from now on."""
        if not isinstance(protocol, asyncio.Protocol):
            raise TypeError("a memory transport takes an asyncio.Protocol")
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        assert self._protocol is not None, "the transport is handed out by connection_made"
        return self._protocol

    # asyncio.ReadTransport

    def is_reading(self) -> bool:
        """Say whether the protocol may get data."""
        return not self._closing and not self._reading_paused

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`; what waits counts in the peer's buffer."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        """Deliver again."""
        if self._reading_paused:
            self._reading_paused = False
            self.wake()

    # asyncio.WriteTransport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; after a close they are dropped."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data must be bytes, bytearray or memoryview, not {type(data).__name__}")
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        self._outgoing.put(data if type(data) is bytes else bytes(data))
        self._pause_writing_if_full()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes the peer has not taken."""
        return self._outgoing.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark, in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks at which the protocol's `pause_writing` and `resume_writing` are called."""
        if high is None:
            high = _HIGH if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._high, self._low = high, low
        self._pause_writing_if_full()
        self.wake()

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def write_eof(self) -> None:
        """Write nothing any more, and keep reading."""
        if not self._closing and not self._eof_written:
            self._eof_written = True
            self._outgoing.end()

    def abort(self) -> None:
        """Close at once; what the peer has not taken is lost."""
        if not self._lost:
            self._closing = True
            self._incoming.close()
            self._outgoing.abort()
            self.wake()

    # The loop's side.

    def _turn(self) -> None:
        self._awake = False
        protocol = self._protocol
        if protocol is None or self._lost:
            return
        if self._incoming.broken and not self._closing:
            self._lose(protocol, ConnectionResetError("the peer aborted the connection"))
            return
        if self.is_reading():
            self._read(protocol)
        if self._writing_paused and self._outgoing.is_down_to(self._low):
            self._writing_paused = False
            protocol.resume_writing()
        if self._closing and self._outgoing.is_down_to(0):
            self._lose(protocol, self._error)

    def _read(self, protocol: asyncio.Protocol) -> None:
        data = self._incoming.take()
        try:
            if data:
                protocol.data_received(data)
            elif self._incoming.ended and not self._eof_read:
                self._eof_read = True
                if not protocol.eof_received():
                    self.close()
        except Exception as error:  # noqa: BLE001  # as asyncio's transports: the protocol is broken, the loop is not
            self._fail(error)
        finally:
            self._incoming.consumed(len(data))
        if data and self._incoming.has_news():
            self.wake()

    def _pause_writing_if_full(self) -> None:
        if self._protocol is None or self._writing_paused or self._outgoing.size <= self._high:
            return
        self._writing_paused = True
        self._protocol.pause_writing()
        # A reader on another thread may have been faster.
        if self._outgoing.is_down_to(self._low):
            self.wake()

    def _fail(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": "Fatal error: protocol call failed.", "exception": error, "transport": self}
        )
        self._error = error
        self.abort()

    def _lose(self, protocol: asyncio.Protocol, error: Exception | None) -> None:
        self._closing = self._lost = True
        self._incoming.close()
        self._outgoing.end()
        protocol.connection_lost(error)
