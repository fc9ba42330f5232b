"""The ports of a renderer's connection: as packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

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

Packets = bytes | Iterator[bytes]


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

    # Public

    def departing(self, ends: list[End], make: Callable[[bytes], Packets]) -> Iterator[bytes]:
        """Yield the packets of a message with which ends leave, once they do.

        Args:
            ends: The ends.
            make: Returns the packets of the message, with a table in front of its body.
        """
        behind: list[Remote] = []
        entries = []
        for end in ends:
            if end.remote is not None:
                # What was posted on it goes in front: behind it, it would be another owner's.
                end.remote.hurry()
                for unsent in end.remote.route.take() if end.remote.route is not None else ():
                    yield from unsent.packets
            entry, back = self.depart(end)
            entries.append(entry)
            if back is not None:
                behind.append(back)
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
        found = port_table.unpack(message[8], message[5])
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
        if remote is not None:
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

    def put_message(self, remote: Remote, body: bytes, ends: list[End]) -> None:
        """Send a message on a port."""

        def make(table: bytes) -> Packets:
            return packets.message(Kind.PORT_MESSAGE, remote.number, 0, table + body, value=len(ends))

        self._put(remote, self.departing(ends, make) if ends else make(b""), cost(len(body)))

    def put_credit(self, number: int, credit: int) -> None:
        """Send credit to the other end of a port."""
        self._outbox.put(build(Kind.PORT_CREDIT, number, value=credit))

    def put_close(self, remote: Remote, code: int) -> None:
        """Send that a port is closed, and forget the port."""
        if self._remotes.pop(remote.number, None) is remote:
            self._put(remote, build(Kind.PORT_CLOSE, remote.number, value=code), 0)

    # Private

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
