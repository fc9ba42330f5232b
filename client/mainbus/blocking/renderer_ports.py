"""The ports of a blocking renderer's connection: used by any thread, leaving by the reader thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from mainbus.blocking.loop import LoopThread
from mainbus.blocking.port_end import LOCK, BlockingEnd, Home
from mainbus.outbox import Outbox
from mainbus.port_end import End
from mainbus.port_loop import PortLoop
from mainbus.port_remote import Remote
from mainbus.ports import MessagePort
from mainbus.renderer_ports import Packets, RendererPorts
from mainbus.wire.connection import Connection
from mainbus.wire.packets import Kind, Message, build
from mainbus.wire.pieces import Packet
from mainbus.wire.port_table import Entry


class BlockingPorts(RendererPorts):
    """The ports of one session, under the lock of all ports.

    Args:
        home: Where the listeners of the ports run that are here.
        loop: The reader thread.
        outbox, wire: As in `RendererPorts`.
    """

    def __init__(self, home: Home, loop: LoopThread, outbox: Outbox, wire: Callable[[], Connection | None]) -> None:
        super().__init__(outbox, wire)
        self._loop = cast(PortLoop, home)
        self._home = home
        self._loop_thread = loop
        self._posted: deque[tuple[Remote | None, Packets, int]] = deque()
        """What waits for the reader thread to send it, in order."""
        self._asked = False
        """Whether the reader thread knows of it."""

    # Public: the reader thread

    def departing(
        self, ends: Sequence[End], make: Callable[[bytes], Packets], by: Remote | None = None
    ) -> Iterator[Packet]:
        """Return the packets of a message with which ends leave: once they do, and not before. Any thread."""
        packets = super().departing(ends, make, by)

        def step() -> Packet | None:
            with LOCK:
                return next(packets, None)

        return iter(step, None)

    def depart(self, end: End) -> tuple[Entry, Remote | None]:
        """Let an end leave. A channel that had no renderer has this one now."""
        entry, back = super().depart(end)
        if back is not None:
            cast(BlockingEnd, back.end).settle(self._home)
        return entry, back

    def handlers(self) -> dict[int, Callable[[Message], object]]:
        """Return what takes each kind of packet for ports."""
        return {kind: _locked(take) for kind, take in super().handlers().items()}

    def arrive_with(self, message: Message) -> tuple[Message, list[MessagePort]]:
        """Return a message without the table in front of its body, and the ports that come with it."""
        with LOCK:
            return super().arrive_with(message)

    def hurry(self) -> None:
        """Send all that is held: the connection is about to end."""
        with LOCK:
            super().hurry()
            self._send_posted()

    def close_all(self) -> None:
        """Close all ports: the connection is gone."""
        with LOCK:
            self._posted.clear()
            super().close_all()

    def end(self) -> None:
        """Close what waits to leave: no connection will come any more."""
        with LOCK:
            super().end()

    # What the base class needs; any thread

    def put_credit(self, number: int, credit: int) -> None:
        """Send credit to the other end of a port."""
        self._post(None, build(Kind.PORT_CREDIT, number, value=credit), 0)

    # Private

    def _put(self, remote: Remote, packet: Packets, size: int) -> None:
        self._post(remote, packet, size)

    def _post(self, remote: Remote | None, packet: Packets, size: int) -> None:
        self._posted.append((remote, packet, size))
        if not self._asked:
            self._loop_thread.post(self._send_posted)
            # Afterwards: interrupted in between, the next one asks once too often, never once too little.
            self._asked = True

    def _send_posted(self) -> None:
        with LOCK:
            self._asked = False
            while self._posted:
                remote, packet, size = self._posted.popleft()
                if remote is not None:
                    super()._put(remote, packet, size)
                    if self._remotes.get(remote.number) is not remote:
                        self._keep_ending(remote)
                else:
                    assert isinstance(packet, bytes)
                    self._outbox.put(packet)

    def _lose(self, ends: list[End]) -> None:
        # Also called when a message is dropped of which a part has left.
        with LOCK:
            super()._lose(ends)

    def _waiting(self, remote: Remote) -> Iterator[Packet]:
        # The credit for what was taken here, too: behind the end it would be of no use.
        self._send_posted()
        yield from super()._waiting(remote)


def _locked(take: Callable[[Message], object]) -> Callable[[Message], object]:
    def take_locked(message: Message) -> None:
        with LOCK:
            take(message)

    return take_locked
