"""What outlives a connection of a renderer: kept when one is lost, sent on the next, or told as undeliverable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from mainbus.calls import Calls
from mainbus.errors import NoSuchRenderer
from mainbus.outbox import Outbox
from mainbus.route_table import RouteTable
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER, HEADER_SIZE, MORE, POOLED, Kind, text_of
from mainbus.wire.port_table import without_ports

_SURVIVORS: Final = frozenset(
    {Kind.SEND, Kind.POST, Kind.INVOKE, Kind.STREAM, Kind.BROADCAST, Kind.QUERY, Kind.FRAME, Kind.GUEST}
)
"""What is as good on the next connection; all else speaks of the one that it was written for."""

Undeliverable: TypeAlias = tuple[int, str]
"""Id and channel of a one-way message that reaches nobody."""


class Backlog:
    """What waits in a session for a connection, and for the broker to tell who an id is.

    Args:
        outbox: What was about to leave.
        routes: What waits for its target.
        calls: Whose requests are among it.
    """

    __slots__ = ("_calls", "_outbox", "_packets", "_routes")

    def __init__(self, outbox: Outbox, routes: RouteTable, calls: Calls) -> None:
        self._outbox = outbox
        self._routes = routes
        self._calls = calls
        self._packets: Sequence[bytes] = ()

    # Public

    @property
    def is_empty(self) -> bool:
        """Whether nothing that was about to leave waits for the next connection."""
        return not self._packets

    def salvage(self) -> set[int]:
        """Keep what the lost connection had not begun to write; returns the requests of the invokes among it."""
        packets, kept = [*self._packets], set[int]()
        for packet in self._outbox.take():
            head = HEADER.unpack_from(packet)
            if head[1] in _SURVIVORS and not head[2] & (MORE | CONTINUES | POOLED):
                packets.append(without_ports(packet) if head[1] == Kind.POST else packet)
                kept.add(head[6])
        self._packets = packets
        kept |= self._routes.reset()
        kept.discard(0)
        return kept

    def restore(self, announcements: Iterable[bytes], *, same_broker: bool) -> list[Undeliverable]:
        """Let what has waited leave on the next connection; `leave_lobby` comes next.

        Args:
            announcements: What the broker must know before anything else.
            same_broker: Whether ids still mean whom they meant.

        Returns:
            The messages to ids that mean others now, or nobody. Invokes of such are failed.
        """
        packets, self._packets = [*self._packets, *self._outbox.take()], ()
        for packet in announcements:
            self._outbox.put(packet)
        lost: list[Undeliverable | None] = []
        if not same_broker:
            lost += [self._give_up(packet, left=True) for packet in packets if _is_by_id(packet)]
            packets = [packet for packet in packets if not _is_by_id(packet)]
            lost += [self._give_up(packet, left=False) for packet in self._routes.forget_ids()]
        for packet in packets:
            self._outbox.put(packet)
        self._routes.restart()
        return [message for message in lost if message is not None]

    def leave_lobby(self) -> list[Undeliverable]:
        """Let what has waited for the broker's word go its way; returns the messages to those that do not exist."""
        lost: list[Undeliverable | None] = []
        for entry, route in list(self._routes.leave_lobby()):
            if route is not None:
                if entry.request:
                    self._calls.moved(entry.request, route)
            elif not entry.is_reply and (packet := entry.first()) is not None:
                lost.append(self._give_up(packet, left=False))
        self._outbox.wake()
        return [message for message in lost if message is not None]

    # Private

    def _give_up(self, packet: bytes, *, left: bool) -> Undeliverable | None:
        """Fail an invoke that reaches nobody, or return what a message was.

        Args:
            packet: Its first packet.
            left: Whether it has cost a credit.
        """
        _, kind, _, name_length, channel_length, peer, request, _, _ = HEADER.unpack_from(packet)
        if request:
            self._calls.fail(request, NoSuchRenderer(peer), left=left)
        if kind not in (Kind.SEND, Kind.POST):
            return None
        start = HEADER_SIZE + name_length
        return peer, text_of(packet[start : start + channel_length])


def _is_by_id(packet: bytes) -> bool:
    _, _, flags, _, _, peer, _, _, _ = HEADER.unpack_from(packet)
    return bool(peer) and not flags & BY_NAME
