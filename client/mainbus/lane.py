"""The lane: a second, blocking connection of a renderer, for calls that block its thread.

Bytes given to a loop's transport cannot be flushed while the loop stands still, and a second connection must not
overtake them. So a lane first repeats the packets that may still sit in the transport, by number; the broker takes
each number once, whichever way it comes first. Then it carries what waits for the main process, then the call.

A call that is given up half-way leaves open what of this has arrived, or will. So each of these packets has a number
too, and all of them go back to where they were taken from: they leave once more on the main connection, in their
place, and again the broker takes each once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Self, TypeAlias

from mainbus import transports
from mainbus.calls import error_of
from mainbus.errors import ConnectionLost, InvokeTimeout, MainbusError, MessageTooLarge
from mainbus.routes import Entry
from mainbus.session import Session
from mainbus.timeouts import milliseconds
from mainbus.wire import clone, messages, packets
from mainbus.wire.connection import Connection
from mainbus.wire.packets import KIND_AT, MAIN, Kind, Message, build
from mainbus.wire.pieces import Body
from mainbus.wire.states import Role

Entries: TypeAlias = list[tuple[Entry, list[bytes]]]
"""What was taken from a route, and its packets with their numbers."""


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
        self._numbered = 0
        self._is_open = False

    # Public

    @property
    def usable(self) -> bool:
        """Whether the connection that this lane belongs to is still the session's."""
        return self._link is self._session.link

    def call(self, channel: str, raw_channel: bytes, body: Body, timeout: float, frame: int = 0) -> object:
        """Send a `send_sync` in its place and block until its reply.

        A KeyboardInterrupt may end it: then, as with every error, the message itself may or may not arrive.

        Args:
            channel: The channel, for errors.
            raw_channel: The same in UTF-8.
            body: The encoded arguments.
            timeout: Seconds to wait.
            frame: The frame that asks.

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
            with Interrupts() as interrupts:
                self._open(deadline)
                self._request += 1
                value = milliseconds(timeout)
                call = packets.message(
                    Kind.SYNC, MAIN, self._request, body, frame=frame, value=value, channel=raw_channel
                )
                reply = self._exchange(Entry(call, len(body), 0), deadline, interrupts)
        except TimeoutError:
            raise InvokeTimeout(channel, timeout) from None
        except MainbusError:
            raise
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        kind, value, answer = reply[0], reply[5], reply[8]
        if kind == Kind.ERROR:
            raise error_of(channel, value, answer, limits.depth)
        return clone.decode(answer, max_depth=limits.depth)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._is_open = False
        if self._endpoint is not None:
            self._endpoint.close()
            self._endpoint = None

    # Private

    def _limits(self) -> messages.WireLimits:
        assert self._session.welcome is not None
        return self._session.welcome.limits

    def _open(self, deadline: float) -> None:
        if self._is_open:
            return
        assert self._session.welcome is not None
        self._wire = Connection(Role.RENDERER, self._limits().message)
        self._wire.sent(Kind.LANE)
        hello = messages.LaneHello(id=self._session.welcome.id, nonce=self._nonce)
        try:
            self._endpoint = transports.connect_blocking(self._session.address, _left(deadline))
            self._endpoint.send(messages.pack(hello), _left(deadline))
            answer = self._read(deadline)
            if answer[0] != Kind.LANE:
                reason = clone.decode(answer[8], max_depth=1) if answer[8] else "no reason was given"
                raise ConnectionLost(f"the broker refused a second connection: {reason}")
            self._nonce = messages.unpack(messages.LaneWelcome, answer[8]).nonce
            self._is_open = True
        finally:
            if not self._is_open:
                self.close()

    def _exchange(self, call: Entry, deadline: float, interrupts: Interrupts) -> Message:
        entries: Entries = []
        is_done = False
        try:
            with interrupts.held():
                repeats = self._repeats()
                entries = [
                    (entry, [self._once(bytes(packet)) for packet in entry.packets])
                    for entry in (*self._session.main.take(), call)
                ]
            data = b"".join((*repeats, *chain.from_iterable(numbered for _, numbered in entries)))
            assert self._endpoint is not None
            self._endpoint.send(data, _left(deadline))
            reply = self._reply(deadline)
            is_done = True
        finally:
            if not is_done:
                with interrupts.held():
                    self._give_up(entries)
        return reply

    def _repeats(self) -> tuple[bytes, bytes]:
        """Return what may not have left the main connection yet, and the packet that announces it."""
        outbox = self._session.outbox
        outbox.hand_over()
        data, count = outbox.in_flight()
        return build(Kind.REPEAT, request=count, value=outbox.written - count + 1), data

    def _once(self, packet: bytes) -> bytes:
        """Give a packet its number, unless it has one from an earlier call or may come twice."""
        if packet[KIND_AT] in (Kind.ONCE, Kind.CANCEL):
            return packet
        self._numbered += 1
        return build(Kind.ONCE, value=self._numbered) + packet

    def _give_up(self, entries: Entries) -> None:
        self.close()
        for entry, numbered in entries:
            entry.packets = iter(numbered)
        self._session.main.give_back([entry for entry, _ in entries])

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


class Interrupts:
    """Lets the first Ctrl-C raise KeyboardInterrupt: asyncio's own handler only cancels a task, and no loop runs now.

    A context manager; `held` is one inside of it.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._is_held = False
        self._is_due = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            # Somebody who ignores the signal, or lets it end the process, keeps that.
            if callable(before):
                self._before = before
                signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let it raise only behind what is done here."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_due:
            raise KeyboardInterrupt

    def _interrupt(self, signum: int, frame: object) -> None:
        self._is_due = True
        if not self._is_held:
            raise KeyboardInterrupt


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def lane_of(session: Session) -> Lane:
    """Return the lane of a session's connection; a new one, if need be."""
    lane = session.lane
    if lane is not None and not lane.usable:
        lane.close()
        lane = None
    if lane is None:
        lane = session.lane = Lane(session)
    return lane
