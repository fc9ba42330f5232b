"""The lane: a second, blocking connection of a renderer, for calls that block its thread.

Bytes given to a loop's transport cannot be flushed while the loop stands still, and a second connection must not
overtake them. So a lane first repeats the packets that may still sit in the transport, by number; the broker takes
each number once, whichever way it comes first. Then it carries what waits for the main process, then the call.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mainbus import transports
from mainbus.calls import error_of
from mainbus.errors import ConnectionLost, InvokeTimeout, MainbusError, MessageTooLarge, from_wire
from mainbus.session import Session
from mainbus.timeouts import milliseconds
from mainbus.wire import clone, messages, packets
from mainbus.wire.connection import Connection, Message
from mainbus.wire.packets import MAIN, Kind, build
from mainbus.wire.states import Role


class Lane:
    """One blocking connection beside a session's own.

    Args:
        session: The session that it belongs to; it must be connected.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        assert session.welcome is not None
        self._nonce = session.welcome.lane
        self._link = session.link
        self._endpoint: transports.Endpoint | None = None
        self._wire: Connection | None = None
        self._request = 0

    # Public

    @property
    def usable(self) -> bool:
        """Whether the connection that this lane belongs to is still the session's."""
        return self._link is self._session.link

    def call(self, channel: str, raw_channel: bytes, body: bytes, timeout: float) -> object:
        """Send a `send_sync` in its place and block until its reply. Not safe to interrupt: close the lane then.

        Args:
            channel: The channel, for errors.
            raw_channel: The same in UTF-8.
            body: The encoded arguments.
            timeout: Seconds to wait.

        Raises:
            InvokeTimeout: No reply in time.
            ConnectionLost: The broker is gone.
            MainbusError: What the main process answered.
        """
        limits = self._limits()
        if len(body) > limits.message:
            raise MessageTooLarge(len(body), limits.message)
        deadline = time.monotonic() + timeout
        try:
            with _interruptible():
                endpoint = self._endpoint or self._open(deadline)
                self._request += 1
                for data in self._call_packets(raw_channel, body, timeout):
                    endpoint.send(data, _left(deadline))
                reply = self._reply(deadline)
        except TimeoutError:
            self.close()
            raise InvokeTimeout(channel, timeout) from None
        except MainbusError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise ConnectionLost(str(error)) from error
        except BaseException:
            self.close()
            raise
        kind, value, answer = reply[0], reply[5], reply[8]
        if kind == Kind.ERROR:
            raise error_of(channel, value, answer, limits.depth)
        return clone.decode(answer, max_depth=limits.depth)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    # Private

    def _limits(self) -> messages.WireLimits:
        assert self._session.welcome is not None
        return self._session.welcome.limits

    def _open(self, deadline: float) -> transports.Endpoint:
        assert self._session.welcome is not None
        endpoint = transports.connect_blocking(self._session.address, _left(deadline))
        self._endpoint = endpoint
        self._wire = Connection(Role.RENDERER, self._limits().message)
        self._wire.sent(Kind.LANE)
        endpoint.send(
            messages.pack(messages.LaneHello(id=self._session.welcome.id, nonce=self._nonce)), _left(deadline)
        )
        answer = self._read(deadline)
        if answer[0] != Kind.LANE:
            raise from_wire(answer[5], None, str(clone.decode(answer[8], max_depth=1)) if answer[8] else "")
        self._nonce = messages.unpack(messages.LaneWelcome, answer[8]).nonce
        return endpoint

    def _call_packets(self, channel: bytes, body: bytes, timeout: float) -> Iterator[bytes]:
        outbox = self._session.outbox
        outbox.flush()
        data, count = outbox.in_flight()
        yield build(Kind.REPEAT, request=count, value=outbox.written - count + 1)
        if data:
            yield data
        yield from self._session.held_for_main()
        packet = packets.message(Kind.SYNC, MAIN, self._request, body, value=milliseconds(timeout), channel=channel)
        if isinstance(packet, bytes):
            yield packet
        else:
            yield from packet

    def _reply(self, deadline: float) -> Message:
        while True:
            message = self._read(deadline)
            # The answer to an earlier call that gave up comes too late.
            if message[3] == self._request and message[0] in (Kind.RESULT, Kind.ERROR):
                return message

    def _read(self, deadline: float) -> Message:
        assert self._endpoint is not None
        assert self._wire is not None
        wire = self._wire
        while True:
            for head, data, at in wire.packets():
                message = wire.message(head, data, at)
                if message is not None:
                    return message
            if wire.failure is not None:
                raise wire.failure
            chunk = self._endpoint.receive(_left(deadline))
            if not chunk:
                raise ConnectionLost("the broker is gone")
            wire.feed(chunk)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let the first Ctrl-C raise here: asyncio's own handler only cancels a task, and no loop runs now."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or before is signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
