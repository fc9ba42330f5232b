"""The ports of a renderer's connection: as packets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mainbus.address import Address
from mainbus.descriptor_lane import DescriptorLane
from mainbus.direct_ports import DirectPorts
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
from mainbus.wire.messages import DIRECT, FEATURES, Welcome
from mainbus.wire.packets import CONTINUES, FREE, MORE, Kind, Message, build
from mainbus.wire.pieces import Packet

Packets = bytes | Iterator[Packet]


class RendererPorts(PortRegistry):
    """The ports of one session.

    Args:
        outbox: Where packets leave.
        wire: Returns the wire by which they arrive, while there is one.
    """

    takes_direct = hasattr(socket, "recv_fds")
    """Whether its ports can become direct."""

    def __init__(self, outbox: Outbox, wire: Callable[[], Connection | None]) -> None:
        super().__init__(MessagePort)
        self.max_message = 0
        """Bytes of one body, at most."""
        self._direct: DirectPorts | None = None
        self._lane: DescriptorLane | None = None
        """How the sockets of `direct` come; None where no port may be."""
        self._outbox = outbox
        self._wire = wire
        self._leaving: dict[End, Remote | None] = {}
        """Ends whose message has not begun to leave, and the port that it is posted on."""
        self._ending: tuple[Route, ...] = ()
        """What still leaves on ports that are closed."""

    # Public

    def features(self, address: Address) -> tuple[str, ...]:
        """Return what the broker is told that this renderer can do."""
        return (*FEATURES, DIRECT) if self.takes_direct and address.scheme == "unix" else FEATURES

    def welcomed(self, welcome: Welcome, lane: DescriptorLane | None) -> None:
        """Serve a connection, whose descriptors come by a lane if there are any."""
        self.max_message = welcome.limits.message
        if self.takes_direct and lane is not None and DIRECT in welcome.features:
            self.direct_after = welcome.limits.direct_after
            self._lane = lane

    @property
    def direct(self) -> DirectPorts | None:
        """Those of the ports that lead past the broker, made when first needed; None where none may."""
        if self._direct is None and self._lane is not None:
            self._direct = DirectPorts(self._lane, self._remotes, self._put_soon)
        return self._direct

    @property
    def direct_count(self) -> int:
        """How many ports lead past the broker."""
        return len(self._direct) if self._direct is not None else 0

    async def flushed(self) -> None:
        """Wait until what was posted past the broker has left. Safe to cancel."""
        if self._direct is not None:
            await self._direct.flushed()

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
        if self._remotes or self._leaving or not all(route.idle for route in self._ending):
            return False
        return self._direct is None or self._direct.is_empty

    def close_all(self) -> None:
        """Close all ports, and what leaves by them: the connection is gone."""
        # As they are now: what leaves no more may close its port, which is then forgotten.
        for route in list(self._routes()):
            # It would leave by the next connection.
            route.take()
        self._ending = ()
        if self._direct is not None:
            self._direct.close()
        self._direct = self._lane = None
        self.direct_after = 0
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
            Kind.PORT_SWITCH: self._on_switch,
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
        self.message(message[2], *self._split(message), free=bool(message[1] & FREE))

    def _on_close(self, message: Message) -> None:
        # It may stand in the middle of a message, whose sender has died.
        self._take_unfinished(message[2])
        self.closed(message[2], is_cut=bool(message[5]))

    def _on_moved(self, message: Message) -> None:
        """Send after an end that has left all that had come for it, a part of a message included."""
        number = message[2]
        remote = self._remotes.get(number)
        unfinished = self._take_unfinished(number)
        if remote is None:
            # It came with a message of which a part is missing, and has left with that.
            self._outbox.put(build(Kind.PORT_CLOSE, number))
            return
        if remote.link is not None and remote.link.is_open:
            # What the other end writes past the broker before it reads that this one has gone back is returned, too.
            remote.link.behind.append(partial(self._return, remote, unfinished))
        else:
            self._return(remote, unfinished)

    def _return(self, remote: Remote, unfinished: tuple[Message, list[bytes]] | None) -> None:
        self.send_after(remote)
        if unfinished is not None:
            self._put_unfinished(remote, *unfinished)
        remote.let_go()
        self.put_close(remote, 0)

    def _on_switch(self, message: Message) -> None:
        if self.direct is not None:
            self.direct.switched(message[2], message[3], refused=bool(message[5]))

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

    def ask_direct(self, remote: Remote) -> None:
        """Ask for a socket past the broker for a port."""
        if self.direct is not None:
            self.direct.ask(remote)

    def put_message(self, remote: Remote, body: bytes, ends: list[End], flags: int = 0) -> None:
        """Send a message on a port."""
        self._put(remote, self._packets(remote, body, ends, flags), cost(len(body)))

    def put_credit(self, number: int, credit: int) -> None:
        """Send credit to the other end of a port."""
        self._outbox.put(build(Kind.PORT_CREDIT, number, value=credit))

    def put_close(self, remote: Remote, code: int) -> None:
        """Send that a port is closed, and forget the port."""
        if self._remotes.pop(remote.number, None) is remote:
            self._put(remote, build(Kind.PORT_CLOSE, remote.number, value=code), 0)
            self._keep_ending(remote)

    # Private

    def _packets(self, remote: Remote, body: bytes, ends: list[End], flags: int = 0) -> Packets:
        def make(table: bytes) -> Packets:
            return packets.message(Kind.PORT_MESSAGE, remote.number, 0, table + body, flags=flags, value=len(ends))

        return self.departing(ends, make, remote) if ends else make(b"")

    def _last_words(self, end: End, remote: Remote) -> Iterator[Packet]:
        """Yield what is to leave in front of an end: all that was posted on it, and the credit that it owes."""
        remote.leaving = True
        remote.leave_link()
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
            others = (route for route in self._ending if not route.idle and route is not remote.route)
            self._ending = (*others, remote.route)

    def _put(self, remote: Remote, packet: Packets, size: int) -> None:
        if remote.route is None:
            remote.route = Route(self._outbox, 0)
        remote.route.put(packet, size)

    def _put_soon(self, remote: Remote | None, packet: bytes) -> None:
        """Send a packet behind all that a port has posted, or at once."""
        if remote is None:
            self._outbox.put(packet)
        else:
            self._put(remote, packet, len(packet))

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
            flags |= first[1] & FREE
            self._put(remote, build(Kind.PORT_MESSAGE, remote.number, 0, body, flags=flags, value=value), len(body))
