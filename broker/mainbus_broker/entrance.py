"""A connection before its handshake: who is it, and is it a renderer or a lane?"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
from itertools import count
from typing import TYPE_CHECKING, Final, cast

from mainbus.errors import ConnectionLost, ConnectRefused, MainbusError, RemoteProtocolError
from mainbus.wire.connection import Connection
from mainbus.wire.messages import Hello, LaneHello, LaneWelcome, pack, unpack
from mainbus.wire.packets import Kind
from mainbus.wire.states import Role

from mainbus_broker.debts import FAULT
from mainbus_broker.descriptor_end import DescriptorEnd
from mainbus_broker.lane_end import LaneEnd
from mainbus_broker.listeners import Process, identify, same_user

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

_numbers: Final = count(1)

log = logging.getLogger("mainbus.broker")


class Entrance(asyncio.Protocol):
    """The protocol of a connection until its first packet is whole; then a `Peer` or `LaneEnd` takes over."""

    __slots__ = ("_address", "_hub", "_number", "_process", "_transport", "_waits", "_wire")

    def __init__(self, hub: Hub, address: str) -> None:
        self._hub = hub
        self._address = address
        self._wire = Connection(Role.BROKER, hub.config.limits.message)
        self._transport: asyncio.Transport
        self._process: Process
        self._number = next(_numbers)
        self._waits = False
        """Whether its process owes too much for it to be read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the kernel who it is; only the same user, and those that a role is meant for, may speak at all."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._process = identify(transport)
        if self._hub.stopping:
            # It was accepted just before that began.
            self._refuse(ConnectionLost("the broker is stopping"))
            return
        sock = transport.get_extra_info("socket")
        crowd = self._hub.quota.no_entrance(self._process, sock.fileno() if sock is not None else -1)
        self._hub.entering[self._number] = self
        if not same_user(self._process) and not self._hub.policies.admits(self._process):
            self._refuse(self._hub.other_user(self._process))
            return
        if crowd is not None:
            self._turn_away(crowd)
            return
        self._hub.handshakes.add(self._hub.config.limits.handshake_timeout, self._number)

    def data_received(self, data: bytes) -> None:
        """Read the first packet, and hand over."""
        if self._transport.is_closing():
            return
        self._wire.feed(data)
        owed = self._hub.debts.wait(self._process)
        if owed and not self._waits:
            self._waits = True
            self._transport.pause_reading()
            self._hub.loop.call_later(owed, self._go_on)
        elif not self._waits:
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._leave()

    @property
    def uid(self) -> int | str | None:
        """Whose process it is."""
        return self._process.uid

    def too_late(self) -> None:
        """Refuse it: it has said nothing, or too little, for too long."""
        timeout = self._hub.config.limits.handshake_timeout
        # No refusal: it may try again.
        self._refuse(ConnectionLost(f"no hello in {timeout:g} s"))

    def close(self) -> None:
        """End it: the broker stops."""
        self._leave()
        self._transport.abort()

    # Private

    def _go_on(self) -> None:
        """Read what has waited for its process' debts."""
        if not self._transport.is_closing():
            self._waits = False
            self._transport.resume_reading()
            self._read()

    def _read(self) -> None:
        found = self._wire.greeting()
        if found is None:
            if self._wire.failure is not None:
                self._refuse(self._wire.failure)
            return
        message = self._wire.message(*found)
        assert message is not None
        try:
            if message[0] == Kind.HELLO:
                self._admit(unpack(Hello, message[8]))
            else:
                hello = unpack(LaneHello, message[8])
                (self._admit_descriptors if hello.descriptors else self._admit_lane)(hello)
        except MainbusError as error:
            self._refuse(error)

    def _leave(self) -> None:
        self._hub.entering.pop(self._number, None)

    def _admit(self, hello: Hello) -> None:
        if self._hub.stopping:
            raise ConnectionLost("the broker is stopping")
        peer = self._hub.welcome(hello, self._process, self._address, self._wire, self._transport)
        self._leave()
        if not peer.closing:
            peer.start()

    def _admit_lane(self, hello: LaneHello) -> None:
        peer = self._peer_of(hello)
        if peer is None or not any(hmac.compare_digest(nonce, hello.nonce) for nonce in peer.lane_nonces):
            raise ConnectRefused("this broker", "no renderer of this process has that lane")
        # The old one holds until the renderer shows that it knows the new one: it may have given up waiting for it.
        peer.lane_nonces = (hello.nonce, secrets.token_bytes(len(hello.nonce)))
        if peer.lane is not None:
            peer.lane.abandon()
        self._transport.write(pack(LaneWelcome(nonce=peer.lane_nonces[-1])))
        peer.lane = LaneEnd(self._hub, peer, self._wire, self._transport)
        self._leave()
        self._transport.set_protocol(peer.lane)
        peer.lane.start()

    def _admit_descriptors(self, hello: LaneHello) -> None:
        peer = self._peer_of(hello)
        if peer is None or peer.key is None or not hmac.compare_digest(peer.key, hello.nonce):
            raise ConnectRefused("this broker", "no renderer of this process has that key")
        if peer.descriptors is not None:
            peer.descriptors.abort()
        fd = self._transport.get_extra_info("socket").fileno()
        peer.descriptors = DescriptorEnd(self._hub, peer, self._transport, fd)
        self._leave()
        self._transport.set_protocol(peer.descriptors)
        peer.descriptors.start()

    def _peer_of(self, hello: LaneHello) -> Peer | None:
        """Return the renderer that opens a second connection, if it is one of the same process."""
        peer = self._hub.renderers.ids.get(hello.id)
        ours = peer is not None and (peer.process.pid, peer.process.uid) == (self._process.pid, self._process.uid)
        return peer if ours else None

    def _refuse(self, error: MainbusError) -> None:
        level = logging.WARNING if isinstance(error, RemoteProtocolError) else logging.INFO
        log.log(level, "refused a connection of pid %d: %s", self._process.pid, error)
        self._turn_away(error)

    def _turn_away(self, error: MainbusError) -> None:
        self._hub.counters["refused"] += 1
        self._hub.debts.charge(self._process, FAULT)
        self._transport.write(self._hub.refusal(error))
        self._transport.close()
