"""The ports of a renderer, from the broker's side: what the table of ports sends it, as packets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mainbus.routes import Route
from mainbus.wire import packets, port_table
from mainbus.wire.packets import MORE, Kind, build
from mainbus.wire.pieces import Packet
from mainbus.wire.port_table import Entry

from mainbus_broker.port_end import PortEnd, Posted, Return

if TYPE_CHECKING:
    from mainbus_broker.peer import Peer
    from mainbus_broker.port_table import PortTable

Packets = bytes | Iterator[Packet]


class PeerPorts:
    """A renderer as the owner of ports.

    Args:
        peer: The renderer.
        table: The table of all ports.
        max_ports: How many it may have.
    """

    __slots__ = ("_claimed", "_last", "_table", "directs", "max_ports", "peer", "ports")

    is_here = False
    """What goes to it leaves this process."""

    def __init__(self, peer: Peer, table: PortTable, max_ports: int) -> None:
        self.peer = peer
        self.max_ports = max_ports
        self.ports: dict[int, PortEnd | Return] = {}
        self.directs = 0
        """How many of them are direct, or about to be."""
        self._table = table
        self._last = 0
        self._claimed = 0
        """The largest of the numbers that it has given."""

    def next_port(self) -> int:
        """Return an even number that it never had; the odd ones are its own to give."""
        self._last += 2
        return self._last

    def had(self, number: int) -> bool:
        """Whether a number is one of its ports, or was once."""
        return 0 < number <= (self._claimed if number & 1 else self._last)

    def claim(self, entry: Entry) -> str | None:
        """Take note of a port that leaves; returns what is wrong with its numbers, or None."""
        number, partner = entry
        if partner:
            if not port_table.is_fair(entry):
                return "a new channel whose numbers are not two odd ones"
            if min(entry) <= self._claimed:
                return f"a new channel with the numbers {number} and {partner}, which are not above those before"
            self._claimed = max(entry)
        elif number and not self.had(number):
            return f"port {number} was never a port of this connection"
        return None

    def left_behind(self, entries: Iterable[Entry], channel: bytes) -> None:
        """Note by which channel the partners of new ends have left."""
        for _, partner in entries:
            end = self.ports.get(partner)
            if isinstance(end, PortEnd):
                end.channel = channel

    def carrying(self, ends: Sequence[PortEnd], make: Callable[[bytes], Packets], channel: bytes) -> Iterator[Packet]:
        """Return the packets of a message with which ends arrive; they are assigned at once, and open behind it.

        Args:
            ends: The ends.
            make: Returns the packets, with a table in front of the body.
            channel: The message's channel.
        """
        for end in ends:
            end.channel = channel
        entries = self._table.assign(ends, self)
        return self._and_open(make(port_table.pack(entries)), [number for number, _ in entries])

    def put_port_message(self, end: PortEnd, posted: Posted) -> None:
        """Send a message, or a part of one, for an end."""
        flags, ends, body = posted
        for each in ends:
            each.channel = end.channel
        entries = self._table.assign(ends, self)
        end.arriving += [number for number, _ in entries]
        table = port_table.pack(entries)
        size = len(table) + len(body)
        if size > packets.MAX_FRAGMENT:
            packet: Packets = packets.message(Kind.PORT_MESSAGE, end.number, 0, table + body, value=len(ends))
        else:
            packet = build(Kind.PORT_MESSAGE, end.number, 0, table + body, flags=flags, value=len(ends))
        if end.arriving and not flags & MORE:
            arriving, end.arriving = end.arriving, []
            packet = self._and_open(packet, arriving)
        self._put(end, packet, size)

    def put_port_credit(self, number: int, credit: int) -> None:
        """Send credit for an end."""
        self.peer.outbox.put(build(Kind.PORT_CREDIT, number, value=credit))

    def put_port_close(self, number: int, *, is_cut: bool = False) -> None:
        """Tell that the other end is gone, behind all that goes to this one. `is_cut`: with its owner's connection."""
        self._put_behind(number, build(Kind.PORT_CLOSE, number, value=int(is_cut)))

    def put_port_moved(self, number: int) -> None:
        """Tell that nothing more comes for an end that has left, behind all that goes to it."""
        self._put_behind(number, build(Kind.PORT_MOVED, number))

    def put_port_switch(self, number: int, serial: int, *, refused: bool = False) -> None:
        """Tell that nothing more comes here for a port, since the other end writes to their socket; or that it won't.

        Args:
            number: The port.
            serial: What the socket is known by; 0 if there is none.
            refused: Whether nothing comes of it.
        """
        self._put_behind(number, build(Kind.PORT_SWITCH, number, serial, value=int(refused)))

    # Private

    def _put_behind(self, number: int, packet: bytes) -> None:
        route = self.ports[number].route
        if route is None:
            self.peer.outbox.put(packet)
        else:
            route.put(packet, len(packet))

    def _put(self, end: PortEnd, packet: Packets, size: int) -> None:
        if end.route is None:
            end.route = Route(self.peer.outbox, 0)
        end.route.put(packet, size)

    def _and_open(self, message: Packets, numbers: Sequence[int]) -> Iterator[Packet]:
        if isinstance(message, bytes):
            yield message
        else:
            yield from message
        self._table.arrived(self, numbers)
