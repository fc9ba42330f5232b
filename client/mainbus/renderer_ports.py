"""The ports of a renderer's connection: as packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mainbus.errors import MessageTooLarge
from mainbus.outbox import Outbox
from mainbus.port_end import End
from mainbus.port_registry import PortRegistry
from mainbus.port_remote import Remote
from mainbus.ports import MessagePort
from mainbus.routes import Route
from mainbus.wire import packets, port_table
from mainbus.wire.connection import Connection
from mainbus.wire.credit import cost
from mainbus.wire.packets import CONTINUES, MORE, Kind, Message, build
from mainbus.wire.pieces import Packet

Packets = bytes | Iterator[Packet]


class RendererPorts(PortRegistry):
    """The ports of one session.

    Args:
        outbox: Where packets leave.
        wire: Returns the wire by which they arrive, while there is one.
    """

    def __init__(self, outbox: Outbox, wire: Callable[[], Connection | None]) -> None:
        super().__init__(MessagePort)
        self.max_message = 0
        """Bytes of one body, at most."""
        self._outbox = outbox
        self._wire = wire
        self._leaving: dict[End, Remote | None] = {}
        """Ends whose message has not begun to leave, and the port that it is posted on."""
        self._ending: list[Route] = []
        """What still leaves on ports that are closed."""

    # Public

    def departing(
        self, ends: Sequence[End], make: Callable[[bytes], Packets], by: Remote | None = None
    ) -> Iterator[Packet]:
        """Return the packets of a message with which ends leave: once they do, and not before.

        Args:
            ends: The ends.
            make: Returns the packets of the message, with a table in front of its body.
            by: The port that the message is posted on; None if it goes to the main process.
        """
        self._leaving.update(dict.fromkeys(ends, by))
        return self._departing(ends, make)

    @property
    def is_empty(self) -> bool:
        """Whether there is no port, nor anything that leaves by one."""
        return not self._remotes and not self._leaving and all(route.idle for route in self._ending)

    def close_all(self) -> None:
        """Close all ports, and what leaves by them: the connection is gone."""
        for route in self._routes():
            # It would leave by the next connection.
            route.take()
        self._ending = []
        self._lose([end for end, by in self._leaving.items() if by is not None])
        super().close_all()
        self._outbox.wake()

    def end(self) -> None:
        """Close what waits to leave: no connection will come any more."""
        self._lose(list(self._leaving))

    def _routes(self) -> Iterator[Route]:
        yield from (remote.route for remote in self._remotes.values() if remote.route is not None)
        yield from self._ending

    def _lose(self, ends: list[End]) -> None:
        for end in ends:
            del self._leaving[end]
            end.lost()

    def _departing(self, ends: Sequence[End], make: Callable[[bytes], Packets]) -> Iterator[Packet]:
        behind: list[Remote] = []
        entries = []
        try:
            for end in ends:
                if end.remote is not None and end.remote.registry is self:
                    # What was posted on it goes in front: behind it, it would be another owner's.
                    yield from self._last_words(end, end.remote)
            # All of them in one go: what went in front may have had the partner of one, numbers must not be known yet.
            for end in ends:
                self._leaving.pop(end, None)
                entry, back = self.depart(end)
                entries.append(entry)
                if back is not None:
                    behind.append(back)
        finally:
            # Those that have not left when the connection is lost in the midst of this.
            self._lose([end for end in ends if end in self._leaving])
        message = make(port_table.pack(entries))
        rest = iter((message,)) if isinstance(message, bytes) else message
        yield next(rest)
        # The first packet has left, with the table.
        for back in behind:
            back.open()
        yield from rest

    def handlers(self) -> dict[int, Callable[[Message], object]]:
        """Return what takes each kind of packet for ports."""
        return {
            Kind.PORT_MESSAGE: self._on_message,
            Kind.PORT_CREDIT: lambda message: self.credit(message[2], message[5]),
            Kind.PORT_CLOSE: self._on_close,
            Kind.PORT_MOVED: self._on_moved,
        }

    def arrive_with(self, message: Message) -> tuple[Message, list[MessagePort]]:
        """Return a message without the table in front of its body, and the ports that come with it."""
        entries, body = self._split(message)
        return (*message[:8], body), self.arrive(entries)

    # Private: what arrives

    def _split(self, message: Message) -> tuple[list[port_table.Entry], bytes]:
        found = port_table.unpack(bytes(message[8]), message[5])
        if found is not None:
            return found
        wire = self._wire()
        if wire is not None:
            wire.fail(f"a message that is too short for its {message[5]} ports")
        return [], b""

    def _on_message(self, message: Message) -> None:
        self.message(message[2], *self._split(message))

    def _on_close(self, message: Message) -> None:
        # It may stand in the middle of a message, whose sender has died.
        self._take_unfinished(message[2])
        self.closed(message[2])

    def _on_moved(self, message: Message) -> None:
        """Send after an end that has left all that had come for it, a part of a message included."""
        number = message[2]
        remote = self._remotes.get(number)
        unfinished = self._take_unfinished(number)
        if remote is None:
            # It came with a message of which a part is missing, and has left with that.
            self._outbox.put(build(Kind.PORT_CLOSE, number))
            return
        self.send_after(remote)
        if unfinished is not None:
            self._put_unfinished(remote, *unfinished)
        self.put_close(remote, 0)

    def _take_unfinished(self, number: int) -> tuple[Message, list[bytes]] | None:
        wire = self._wire()
        return wire.take_unfinished(number) if wire is not None else None

    # What the base class needs

    def check_size(self, size: int) -> None:
        """Raise if no message may have `size` bytes."""
        if size > self.max_message:
            raise MessageTooLarge(size, self.max_message)

    async def drain(self) -> None:
        """Wait until what was sent has left, or the connection is gone. Safe to cancel."""
        await self._outbox.wait_until(lambda: self._outbox.idle or self._wire() is None)

    def put_message(self, remote: Remote, body: bytes, ends: list[End]) -> None:
        """Send a message on a port."""
        self._put(remote, self._packets(remote, body, ends), cost(len(body)))

    def put_credit(self, number: int, credit: int) -> None:
        """Send credit to the other end of a port."""
        self._outbox.put(build(Kind.PORT_CREDIT, number, value=credit))

    def put_close(self, remote: Remote, code: int) -> None:
        """Send that a port is closed, and forget the port."""
        if self._remotes.pop(remote.number, None) is remote:
            self._put(remote, build(Kind.PORT_CLOSE, remote.number, value=code), 0)
            self._keep_ending(remote)

    # Private

    def _packets(self, remote: Remote, body: bytes, ends: list[End]) -> Packets:
        def make(table: bytes) -> Packets:
            return packets.message(Kind.PORT_MESSAGE, remote.number, 0, table + body, value=len(ends))

        return self.departing(ends, make, remote) if ends else make(b"")

    def _last_words(self, end: End, remote: Remote) -> Iterator[Packet]:
        """Yield what is to leave in front of an end: all that was posted on it, and the credit that it owes."""
        remote.leaving = True
        yield from self._waiting(remote)
        for message in remote.unsent():
            said = self._packets(remote, *message)
            yield from (said,) if isinstance(said, bytes) else said
        owed = end.owed()
        if owed:
            yield build(Kind.PORT_CREDIT, remote.number, value=owed)

    def _waiting(self, remote: Remote) -> Iterator[Packet]:
        """Yield the packets of a port that wait to leave: they leave another way."""
        for entry in remote.route.take() if remote.route is not None else ():
            yield from entry.packets

    def _keep_ending(self, remote: Remote) -> None:
        """Remember what has not left on a port that is closed."""
        if remote.route is not None and not remote.route.idle:
            self._ending = [route for route in self._ending if not route.idle and route is not remote.route]
            self._ending.append(remote.route)

    def _put(self, remote: Remote, packet: Packets, size: int) -> None:
        if remote.route is None:
            remote.route = Route(self._outbox, 0)
        remote.route.put(packet, size)

    def _put_unfinished(self, remote: Remote, first: Message, bodies: list[bytes]) -> None:
        count = first[5]
        found = port_table.unpack(bodies[0], count)
        if found is None:
            return
        entries, rest = found
        bodies[0] = port_table.pack((number, 0) for number, _ in entries) + rest
        for index, body in enumerate(bodies):
            # Each says that more follows: the broker has the rest, and sends it behind.
            flags, value = (MORE | CONTINUES, 0) if index else (MORE, count)
            self._put(remote, build(Kind.PORT_MESSAGE, remote.number, 0, body, flags=flags, value=value), len(body))
