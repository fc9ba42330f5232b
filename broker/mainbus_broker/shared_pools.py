"""Pools of shared memory: made for one sender and one receiver, and given to nobody else.

The sender gets its descriptor first, maps the memory and seals it; then the receiver gets one, by which it can do
nothing but read. The broker keeps neither descriptor nor mapping. It knows who has which pool, so that nobody says of a
message that it is in a pool which its receiver does not have; what of a pool is under way, so that a few bytes said
twice do not make a receiver copy the same megabytes again and again; and how many there are, since each is memory that
a renderer can make others keep.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from mainbus import shared_memory
from mainbus.open_files import has_files
from mainbus.wire import pooled
from mainbus.wire.packets import HEADER_SIZE, MAX_U32, POOLED, Head, Kind, build

from mainbus_broker import debts

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer
    from mainbus_broker.router import Serve

_LEAST: Final = 64 * 1024
"""Bytes of a pool that a message takes at least: what is short comes by the socket."""

_COST: Final = debts.for_ports(4)
"""Seconds that a pool costs whoever asks for it."""


class Pool:
    """One pool, or what becomes one."""

    __slots__ = ("_held", "_slots", "fd", "is_open", "number", "receiver", "sender")

    def __init__(self, sender: Peer, receiver: Peer) -> None:
        self.sender = sender
        self.receiver = receiver
        self.number = 0
        """What both know it by; 0 before it is made."""
        self.is_open = False
        """Whether its receiver can read it."""
        self.fd = -1
        """What its receiver is to get when its sender has sealed it; -1 before and after."""
        self._slots: dict[int, int] = {}
        self._held = 0

    def hold(self, slot: int, length: int, most: int) -> bool:
        """Note a message that is under way; False: there is one in that slot, or the pool has no room for it."""
        size = max(length, _LEAST)
        if slot in self._slots or self._held + size > most:
            return False
        self._slots[slot] = size
        self._held += size
        return True

    def close(self) -> None:
        """Close what its receiver has not got."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def release(self, slot: int) -> bool:
        """Note that a message was copied out, or goes nowhere; False: there is none in that slot."""
        size = self._slots.pop(slot, 0)
        self._held -= size
        return bool(size)


class SharedPools:
    """All pools of one broker.

    Args:
        hub: The broker.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pools: dict[tuple[int, int], Pool] = {}
        self._last = 0

    # Public

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._pools)

    def serve(self, peer: Peer, head: Head, data: bytes, at: int, serve: Serve) -> None:
        """Serve a message that is in a pool; if it goes nowhere, its sender gets the place back.

        Args:
            peer: Its sender.
            head, data, at: Its packet.
            serve: Serves it as any other of its kind.
        """
        if not head[5] and not head[3]:
            peer.wire.fail("a message to the main process that is in shared memory")
            return
        limits = self._hub.config.limits
        place = pooled.unpack(data[at + HEADER_SIZE + head[3] + head[4] : at + head[0]], limits.pool, limits.message)
        pool = self._open_to(peer, head, data, at)
        if place is None or (pool is not None and not pool.hold(head[7], place[1], limits.pool)):
            peer.wire.fail("a message in shared memory without a place of its own")
            return
        if pool is None:
            if head[1] != Kind.RESULT:
                self._hub.router.refuse(peer, head, data, at, "no such renderer")
            self.give_back(peer, head)
            return
        before = pool.receiver.outbox.queued
        serve(peer, head, data, at)
        if pool.receiver.outbox.queued == before:
            pool.release(head[7])
            self.give_back(peer, head)
        elif pool.receiver.pausing:
            # What it makes the receiver hold, not the few bytes that say where it is.
            self._hub.flow.added(peer, pool.receiver, place[1])

    def give_back(self, peer: Peer, head: Head) -> None:
        """Tell a sender that a message of its goes nowhere, if that is in a pool."""
        if head[2] & POOLED:
            self._hub.router.tell(peer, build(Kind.POOL_FREE, frame=head[7]))

    def asked(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Serve a POOL: a sender asks for one, or gives it back, or a receiver says that it can get one."""
        other = self._other(head, data, at)
        if head[8] == pooled.GIVEN_BACK:
            pool = self._pools.get((peer.id, head[5]))
            if pool is not None and pool.is_open and pool.number == head[6]:
                del self._pools[peer.id, head[5]]
                self._tell_receiver(pool)
        elif other is None:
            self._hub.router.tell(peer, build(Kind.POOL_CLOSED, head[5], value=pooled.NOT_TO))
        elif head[8]:
            pool = self._pools.get((other.id, peer.id))
            if pool is not None and not pool.number and not self._make(pool):
                self._drop(pool)
        else:
            self._ask(peer, other)

    def answered(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Serve a POOL_READY: a sender has sealed its pool, a receiver can read it, or either could not take it."""
        pool = self._answer_of(peer, head[5], head[6])
        if pool is None:
            return
        if not head[8] or (pool.sender is peer and not self._hand_on(pool)):
            self._drop(pool)
        elif pool.receiver is peer:
            pool.is_open = True
            pool.sender.outbox.put(build(Kind.POOL_READY, peer.id, pool.number, name=peer.name_raw))

    def freed(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Serve a POOL_FREE: a receiver has copied a message out."""
        pool = self._pools.get((head[5], peer.id))
        if pool is not None and pool.release(head[7]):
            self._hub.router.tell(pool.sender, build(Kind.POOL_FREE, peer.id, frame=head[7]))

    def lost(self, peer: Peer) -> None:
        """Note that what was on its way to a renderer on its connection for descriptors may not arrive."""
        for pool in [pool for pool in self._pools.values() if peer in (pool.sender, pool.receiver)]:
            if pool.number and not pool.is_open:
                self._drop(pool)

    def forget(self, peer: Peer) -> None:
        """Close the pools of a renderer that is gone: the others read on what it has sent, up to here."""
        for pool in [pool for pool in self._pools.values() if peer in (pool.sender, pool.receiver)]:
            del self._pools[pool.sender.id, pool.receiver.id]
            pool.close()
            if pool.sender is peer:
                self._tell_receiver(pool)
            else:
                self._tell_sender(pool)

    # Private

    def _answer_of(self, peer: Peer, other: int, number: int) -> Pool | None:
        """Return the pool of a number if it waits for an answer of `peer`."""
        for key in ((peer.id, other), (other, peer.id)):
            pool = self._pools.get(key)
            if pool is not None and number and pool.number == number and not pool.is_open:
                # Its sender's first, then its receiver's.
                return pool if peer is (pool.sender if pool.fd >= 0 else pool.receiver) else None
        return None

    def _hand_on(self, pool: Pool) -> bool:
        """Give its receiver a pool that its sender has sealed; whether that has left."""
        reader = pool.receiver.descriptors
        given = (
            reader is not None
            and shared_memory.is_sealed(pool.fd)
            and reader.give(Kind.POOL_READY, pool.sender.id, pool.number, pool.fd, self._hub.config.limits.pool)
        )
        pool.close()
        return given

    def _open_to(self, sender: Peer, head: Head, data: bytes, at: int) -> Pool | None:
        """Return the pool in which a packet's receiver can read, if there is one."""
        # An answer goes to whoever has asked, whatever name it says.
        is_answer = head[1] == Kind.RESULT
        receiver = self._hub.renderers.ids.get(head[5]) if is_answer else self._other(head, data, at)
        pool = self._pools.get((sender.id, receiver.id)) if receiver is not None else None
        return pool if pool is not None and pool.is_open else None

    def _other(self, head: Head, data: bytes, at: int) -> Peer | None:
        name = data[at + HEADER_SIZE : at + HEADER_SIZE + head[3]]
        renderers = self._hub.renderers
        return renderers.names_raw.get(name) if name else renderers.ids.get(head[5])

    def _ask(self, sender: Peer, receiver: Peer) -> None:
        pool = self._pools.get((sender.id, receiver.id))
        if pool is None and self._may(sender, receiver):
            if self._hub.debts.charge(sender.process, _COST):
                sender.owes = True
            self._pools[sender.id, receiver.id] = Pool(sender, receiver)
            receiver.outbox.put(build(Kind.POOL, sender.id))
        elif pool is None:
            self._hub.router.tell(sender, build(Kind.POOL_CLOSED, receiver.id, value=pooled.NOT_TO))
        elif pool.is_open:
            # It asks by another address of the same renderer.
            self._hub.router.tell(sender, build(Kind.POOL_READY, receiver.id, pool.number, name=receiver.name_raw))

    def _may(self, sender: Peer, receiver: Peer) -> bool:
        limits = self._hub.config.limits
        return (
            sender is not receiver
            and sender.takes_pools
            and receiver.takes_pools
            and sender.process.uid == receiver.process.uid
            # A stranger must not make others map its memory, nor somebody who was sent something and may not answer.
            and (sender in receiver.oneway or sender in receiver.heard)
            and (len(self._pools) + 1) * limits.pool <= limits.pool_memory
            and all(
                sum(peer in (pool.sender, pool.receiver) for pool in self._pools.values()) < limits.pools
                for peer in (sender, receiver)
            )
        )

    def _make(self, pool: Pool) -> bool:
        """Make the memory and give it to who writes."""
        size = self._hub.config.limits.pool
        writer = pool.sender.descriptors
        if writer is None or pool.receiver.descriptors is None:
            return False
        self._last = self._last % MAX_U32 + 1
        fds: list[int] = []
        try:
            fds.append(shared_memory.make(size))
            fds.append(shared_memory.to_read(fds[0]))
            if not all(map(has_files, fds)):
                return False
            pool.number = self._last
            if not writer.give(Kind.POOL, pool.receiver.id, self._last, fds[0], size):
                return False
            pool.fd = fds.pop()
        except OSError:
            return False
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _drop(self, pool: Pool) -> None:
        """Close a pool that is of no use."""
        del self._pools[pool.sender.id, pool.receiver.id]
        pool.close()
        self._tell_sender(pool)
        self._tell_receiver(pool)

    def _tell_sender(self, pool: Pool) -> None:
        pool.sender.outbox.put(build(Kind.POOL_CLOSED, pool.receiver.id, pool.number, value=pooled.NOT_TO))

    def _tell_receiver(self, pool: Pool) -> None:
        pool.receiver.outbox.put(build(Kind.POOL_CLOSED, pool.sender.id, pool.number, value=pooled.NOT_FROM))
