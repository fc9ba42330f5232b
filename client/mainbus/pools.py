"""Pools of shared memory between two renderers: large messages are put there, and a small packet says where.

The broker makes a pool for one sender and one receiver, when the sender has sent something large and both have a
connection for descriptors. The sender writes, and nobody else can; the receiver copies a message out when its packet
comes, and only then looks at it: what the sender changes afterwards is not seen. Then it says that the place is free.
Whatever does not fit into the pool, and all that is sent before there is one, travels in fragments. A pool that has had
nothing to do for a while is given back.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Unpack

from mainbus import shared_memory
from mainbus.open_files import has_files
from mainbus.pool_room import Room
from mainbus.wire import heap, packets, pooled
from mainbus.wire.messages import POOLS, Welcome
from mainbus.wire.packets import BY_NAME, HOST, MAX_U32, POOLED, Fields, Kind, Message, build, text_of
from mainbus.wire.pieces import Body, Packet, Pieces

if TYPE_CHECKING:
    from mainbus.descriptor_lane import DescriptorLane
    from mainbus.outbox import Outbox

IDLE: Final = 30.0
"""Seconds in which a pool is used, or is given back when they have passed again."""

_TRIES: Final = 3
"""How often a pool is asked for that the broker does not make, or that is closed."""
_KEPT: Final = 1024


class Pools:
    """The pools of one session.

    Args:
        outbox: Where packets leave.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._lane: DescriptorLane | None = None
        self._max_message = 0
        self._last = 0
        self._targets: dict[int | str, Written] = {}
        """The pools that are ready, by the ids and the names of those who read them."""
        self._made: dict[int, Written] = {}
        """Those that their receivers have not mapped yet, by number."""
        self._tries: dict[int | str, int] = {}
        self._slots: dict[int, tuple[Written, int]] = {}
        """What is on its way: the pool, and where in it."""
        self._sources: dict[int, Source] = {}
        """The pools that others write, by their ids."""
        self._newest = 0
        """The number of the last pool whose descriptor has come: they come in the order of their numbers."""
        self._late: set[int] = set()
        """Those that were closed before that."""
        self._timer: asyncio.TimerHandle | None = None
        """When to look for what is idle; None while there is nothing to write to."""

    # Public: what leaves

    def packets(
        self, target: int | str, kind: int, peer: int, request: int, body: Body, **fields: Unpack[Fields]
    ) -> Iterator[Packet]:
        """Yield the packets of a large message to a renderer: one, if there is room in a pool when it leaves.

        Args:
            target: The renderer's id or name, as the message is addressed.
            kind, peer, request, body, fields: As for `mainbus.wire.packets.message`.
        """
        packet = self._pooled(target, kind, peer, request, body, fields)
        if packet is not None:
            yield packet
            return
        yield from packets.fragments(kind, peer, request, body, **fields)
        if not fields.get("flags", 0) & HOST:
            self._want(target)

    def __len__(self) -> int:
        """Return how many messages are on their way."""
        return len(self._slots)

    # Public: what arrives

    def arrive(self, message: Message) -> Message:
        """Return a message with what its packet says the place of; nothing, which does not decode, if that is none."""
        kind, flags, peer, request, slot, value, name, channel, place = message
        self._outbox.put(build(Kind.POOL_FREE, peer, frame=slot))
        return kind, flags & ~POOLED, peer, request, 0, value, name, channel, self._read(peer, bytes(place))

    def handlers(self) -> dict[int, Callable[[Message], object]]:
        """Return what takes each kind of packet for pools."""
        return {
            Kind.POOL: lambda message: self._on_asked(message[2]),
            Kind.POOL_READY: lambda message: self._on_ready(message[2], text_of(message[6]), message[3]),
            Kind.POOL_FREE: lambda message: self._on_free(message[2], message[4]),
            Kind.POOL_CLOSED: lambda message: self._on_closed(message[2], message[3], message[5]),
        }

    # Public: life

    def welcomed(self, welcome: Welcome, lane: DescriptorLane | None) -> None:
        """Serve a connection, whose descriptors come by a lane if there are any."""
        self._max_message = welcome.limits.message
        if lane is not None and POOLS in welcome.features:
            self._lane = lane
            lane.takers[Kind.POOL] = self._take_to_write
            lane.takers[Kind.POOL_READY] = self._take_to_read

    def close(self) -> None:
        """Close all: the connection is gone."""
        self._lane = None
        for pool in {*self._targets.values(), *self._made.values()}:
            pool.close()
        for source in self._sources.values():
            source.map.close()
        for table in (self._targets, self._made, self._tries, self._slots, self._sources):
            table.clear()
        self._late.clear()
        self._newest = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Private: writing

    def _pooled(
        self, target: int | str, kind: int, peer: int, request: int, body: Body, fields: Fields
    ) -> bytes | None:
        pool = self._targets.get(target)
        flags = fields.get("flags", 0)
        if pool is None or flags & HOST:
            return None
        place = pool.write(body)
        if place is None:
            return None
        self._last = slot = self._last % MAX_U32 + 1
        self._slots[slot] = (pool, place[0])
        fields = {**fields, "flags": flags | POOLED, "frame": slot}
        return build(kind, peer, request, pooled.pack(place), **fields)

    def _want(self, target: int | str) -> None:
        """Ask for a pool, behind a message that has gone without one."""
        tries = self._tries.get(target, 0)
        if self._lane is None or target in self._targets or tries >= _TRIES:
            return
        if len(self._tries) >= _KEPT:
            self._tries.clear()
        # Not again before the broker has answered.
        self._tries[target] = tries + _TRIES
        if isinstance(target, int):
            ask = build(Kind.POOL, target)
        else:
            ask = build(Kind.POOL, flags=BY_NAME, name=target.encode())
        self._lane.when_open(partial(self._outbox.put, ask))

    def _take_to_write(self, peer: int, number: int, size: int, fd: int | None) -> None:
        mapped = False
        if fd is not None:
            try:
                if not self._is_late(number):
                    self._made[number] = Written(peer, number, fd, size)
                    mapped = True
            except OSError:
                # What is sent goes without.
                pass
            finally:
                if not mapped:
                    os.close(fd)
        self._outbox.put(build(Kind.POOL_READY, peer, number, value=int(mapped)))

    def _on_ready(self, peer: int, name: str, number: int) -> None:
        pool = self._made.pop(number, None)
        if pool is not None:
            self._targets.update(dict.fromkeys([peer, name] if name else [peer], pool))
            if self._timer is None:
                self._look_later()

    def _on_free(self, peer: int, slot: int) -> None:
        pool, start = self._slots.get(slot, (None, 0))
        # The broker itself says it of what it has not passed on; else only whoever was to read it.
        if pool is not None and peer in (pool.peer, 0):
            del self._slots[slot]
            pool.room.give_back(start)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(IDLE, self._look)

    def _look(self) -> None:
        """Give back what was not used since this was called before."""
        self._timer = None
        for pool in set(self._targets.values()):
            if not pool.is_used and pool.room.is_all_free:
                self._outbox.put(build(Kind.POOL, pool.peer, pool.number, value=pooled.GIVEN_BACK))
                for target in [target for target, each in self._targets.items() if each is pool]:
                    # It was no vain one: there may be another.
                    self._tries.pop(target, None)
                self._close(pool)
            pool.is_used = False
        if self._targets:
            self._look_later()

    def _close(self, pool: Written) -> None:
        pool.close()
        self._made.pop(pool.number, None)
        self._targets = {target: each for target, each in self._targets.items() if each is not pool}
        self._slots = {slot: taken for slot, taken in self._slots.items() if taken[0] is not pool}

    # Private: reading

    def _on_asked(self, peer: int) -> None:
        """Say that this renderer can get a descriptor, to read what another one sends."""
        if self._lane is not None:
            self._lane.when_open(partial(self._outbox.put, build(Kind.POOL, peer, value=pooled.CAN_READ)))

    def _take_to_read(self, peer: int, number: int, size: int, fd: int | None) -> None:
        mapped = False
        if fd is not None:
            try:
                if not self._is_late(number) and has_files(fd):
                    self._forget_source(peer)
                    self._sources[peer] = Source(number, shared_memory.view(fd, size))
                    mapped = True
            except OSError:
                # There is no memory to map it; what is sent comes without.
                pass
            finally:
                os.close(fd)
        self._outbox.put(build(Kind.POOL_READY, peer, number, value=int(mapped)))

    def _read(self, peer: int, said: bytes) -> Body:
        found = self._sources.get(peer)
        if found is None:
            return b""
        source = found.map
        place = pooled.unpack(said, len(source), self._max_message)
        if place is None:
            return b""
        start, length, large, size = place
        heap.expect(size)
        middle = start + large
        # Copied here, once: the sender may write there at any time.
        return Pieces((source[start:middle], source[middle : middle + size], source[middle + size : start + length]))

    # Private: both

    def _on_closed(self, peer: int, number: int, value: int) -> None:
        """Forget a pool to or from a renderer."""
        if number > self._newest:
            self._late.add(number)
        if value == pooled.NOT_FROM:
            source = self._sources.get(peer)
            if source is not None and source.number == number:
                self._forget_source(peer)
            return
        for pool in {*self._targets.values(), *self._made.values()}:
            if pool.number == number:
                self._close(pool)
        # Whoever of them it was: one too many is asked for in vain.
        self._tries = {target: tries % _TRIES + (tries >= _TRIES) for target, tries in self._tries.items()}

    def _is_late(self, number: int) -> bool:
        """Note that a descriptor has come; whether its pool was closed before."""
        late = number in self._late
        self._newest = number
        self._late = {each for each in self._late if each > number}
        return late

    def _forget_source(self, peer: int) -> None:
        source = self._sources.pop(peer, None)
        if source is not None:
            source.map.close()


class Source(NamedTuple):
    """A pool that another renderer writes."""

    number: int
    map: mmap.mmap


class Written:
    """A pool that this renderer writes.

    Args:
        peer: Who reads it.
        number: What the broker knows it by.
        fd: Its descriptor, which is closed with it.
        size: Its size.

    Raises:
        OSError: It is not what it should be, or cannot be mapped. The descriptor is still the caller's then.
    """

    __slots__ = ("_fd", "_map", "_reserved", "is_used", "number", "peer", "room")

    def __init__(self, peer: int, number: int, fd: int, size: int) -> None:
        self._map = shared_memory.view(fd, size, write=True)
        self._fd = fd
        self._reserved = 0
        self.is_used = True
        """Whether anything was written since that was last looked at."""
        self.number = number
        self.peer = peer
        self.room = Room(size)

    def write(self, body: Body) -> pooled.Place | None:
        """Write a message where there is room; returns where that is, or None."""
        parts = body.parts if isinstance(body, Pieces) else (body,)
        start = self.room.take(len(body))
        if start is None:
            return None
        self.is_used = True
        end = start + len(body)
        if end > self._reserved:
            if not shared_memory.reserve(self._fd, end):
                self.room.give_back(start)
                return None
            self._reserved = end
        at = large = start
        size = 0
        for part in parts:
            if len(part) > size:
                large, size = at, len(part)
            self._map[at : at + len(part)] = part
            at += len(part)
        return start, len(body), large - start, size

    def close(self) -> None:
        """Close it; what is on its way there can still be read."""
        self._map.close()
        os.close(self._fd)
