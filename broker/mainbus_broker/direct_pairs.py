"""Channels that become direct: two renderers get a socket of their own, and the broker's part of it ends there.

Both renderers ask (PORT_DIRECT) when a port has had traffic. When neither end has anything under way, each gets one
end of a socket over its connection for descriptors, and says PORT_SWITCH behind all that it sends here. Not before both
have said so does either get the other's PORT_SWITCH, behind all that was for its port: from there on each reads and
writes the socket. So whatever happens before (an end leaves, a renderer dies, has no descriptor left) nothing was
written there that must not be lost, and the channel stays relayed. What a renderer sends here on its port later means
that it has gone back, and so does the port's leaving.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from mainbus.open_files import has_files
from mainbus.wire.packets import MAX_U32, Kind

from mainbus_broker import debts
from mainbus_broker.peer_ports import PeerPorts
from mainbus_broker.port_end import PortEnd

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub

_COST: Final = debts.for_ports(4)
"""Seconds that a pair costs whoever was the last to ask for it."""


class DirectPairs:
    """All pairs of one broker.

    Args:
        hub: The broker.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._last = 0
        self.open = 0
        """Channels that are direct now."""

    # Public: what a renderer says

    def ask(self, owner: PeerPorts, number: int) -> None:
        """Make a channel direct if the renderer at its other end has asked for that, too."""
        end = owner.ports.get(number)
        if not isinstance(end, PortEnd) or end.other is None or end.direct is not None:
            return
        end.wants_direct = True
        if end.other.wants_direct:
            if self._hub.debts.charge(owner.peer.process, _COST):
                owner.peer.owes = True
            self._make(end, end.other)

    def refuse(self, owner: PeerPorts, number: int, serial: int) -> None:
        """Note that a renderer could not take its end of a socket."""
        end = owner.ports.get(number)
        if not isinstance(end, PortEnd):
            return
        if end.direct is not None and end.direct.serial == serial:
            if end.direct.has_switched(end):
                owner.peer.wire.fail(f"a socket for port {number} that cannot be taken, and was")
                return
            end.direct.dissolve(end)
        # The other one may have refused before. It asks again when it has had more traffic.
        self._answer(owner, number, 0)

    def lost(self, owner: PeerPorts) -> None:
        """Note that what was on its way to a renderer on its connection for descriptors may not arrive."""
        for end in list(owner.ports.values()):
            if isinstance(end, PortEnd) and end.direct is not None and not end.direct.has_switched(end):
                end.direct.dissolve()
                owner.put_port_switch(end.number, 0, refused=True)

    def switch(self, owner: PeerPorts, number: int, serial: int) -> None:
        """Note that a renderer has its end of a socket, and has sent here all that it will."""
        end = owner.ports.get(number)
        if not isinstance(end, PortEnd):
            return  # it has left, or is closed
        if end.direct is not None and end.direct.serial == serial:
            end.direct.switch(end)
        else:
            self._answer(owner, number, serial)

    # Private

    def _answer(self, owner: PeerPorts, number: int, serial: int) -> None:
        """Say that nothing comes of a socket; who does not read what its own packets have caused is closed."""
        contents = owner.peer.contents
        if contents.queued < self._hub.config.limits.hard:
            owner.put_port_switch(number, serial, refused=True)
        else:
            self._hub.close_slow(contents)

    def _make(self, *ends: PortEnd) -> None:
        for end in ends:
            end.wants_direct = False
        owners = [end.owner for end in ends if isinstance(end.owner, PeerPorts)]
        if len(owners) < 2 or not self._may(ends, owners) or not self._hand_out(ends, owners):
            for end in ends:
                if isinstance(end.owner, PeerPorts) and end.is_known:
                    self._answer(end.owner, end.number, 0)

    def _may(self, ends: tuple[PortEnd, ...], owners: list[PeerPorts]) -> bool:
        one, two = owners
        return (
            one is not two
            and one.peer.process.uid == two.peer.process.uid
            and all(end.is_settled for end in ends)
            and all(owner.directs < owner.peer.limits.direct for owner in owners)
            and all(
                owner.peer.policy is None or owner.peer.policy.allows("direct", end.channel)
                for end, owner in zip(ends, owners, strict=True)
            )
        )

    def _hand_out(self, ends: tuple[PortEnd, ...], owners: list[PeerPorts]) -> bool:
        """Give both renderers their ends of a new socket; the broker keeps neither."""
        self._last = self._last % MAX_U32 + 1
        try:
            socks = socket.socketpair()
        except OSError:
            return False
        try:
            if not all(has_files(sock.fileno()) for sock in socks):
                return False
            for end, owner, sock in zip(ends, owners, socks, strict=True):
                lane = owner.peer.descriptors
                # If it is the second one that cannot have it, the first is told when it says that it has its own.
                if lane is None or not lane.give(Kind.PORT_DIRECT, end.number, self._last, sock.fileno()):
                    return False
        finally:
            for sock in socks:
                sock.close()
        Pair(self, self._last, ends, owners)
        return True


class Pair:
    """One channel that is, or is about to be, direct.

    Args:
        pairs: All of them.
        serial: What both renderers know it by.
        ends: The channel's ends.
        owners: Who has them.
    """

    __slots__ = ("_ends", "_owners", "_pairs", "_switched", "serial")

    def __init__(self, pairs: DirectPairs, serial: int, ends: tuple[PortEnd, ...], owners: list[PeerPorts]) -> None:
        self.serial = serial
        self._pairs = pairs
        self._ends = ends
        self._owners = owners
        self._switched: list[PortEnd] = []
        for end, owner in zip(ends, owners, strict=True):
            end.direct = self
            owner.directs += 1

    def switch(self, end: PortEnd) -> None:
        """Note that all has been sent here on an end; both owners are told when that is so at both."""
        if end in self._switched:
            return
        self._switched.append(end)
        if not self._is_open:
            return
        self._pairs.open += 1
        for each, owner in zip(self._ends, self._owners, strict=True):
            # It can be blamed for what comes past the broker.
            each.posts(owner)
            owner.put_port_switch(each.number, self.serial)

    def has_switched(self, end: PortEnd) -> bool:
        """Whether the owner of an end has said that it sends no more here."""
        return end in self._switched

    def dissolve(self, cause: PortEnd | None = None) -> None:
        """End it. Who waits for the other to switch is told, but for the owner of `cause`, whose end is gone."""
        if self._is_open:
            self._pairs.open -= 1
        for end, owner in zip(self._ends, self._owners, strict=True):
            end.direct = None
            owner.directs -= 1
            if end in self._switched and not self._is_open and end is not cause:
                owner.put_port_switch(end.number, self.serial, refused=True)

    @property
    def _is_open(self) -> bool:
        return len(self._switched) == len(self._ends)
