"""Where each packet of a renderer goes: to another renderer as the same bytes, to the main process, or to a registry.

A body that is only forwarded is never looked into; the header and the name are replaced, the rest is one slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mainbus.errors import BadMessage, MainbusError, NoSuchRenderer, TooManyRequests
from mainbus.quick import COMPILED
from mainbus.wire import clone, port_table
from mainbus.wire.packets import (
    BY_NAME,
    CONTINUES,
    FREE,
    HEADER_SIZE,
    HOST,
    LARGE,
    MAIN,
    MORE,
    POOLED,
    Head,
    Kind,
    Taker,
    build,
    plain,
    readdress,
    readdressed,
    text_of,
)

from mainbus_broker import debts, forwards
from mainbus_broker.lane_end import NO_LANE
from mainbus_broker.partners import joined
from mainbus_broker.peer_ports import PeerPorts
from mainbus_broker.port_end import PortEnd

if COMPILED:
    from mainbus_broker.router_fast import QuickRouter

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

Serve = Callable[["Peer", Head, bytes, int], None]

_ITEM: Final = int(Kind.ITEM)
_STREAM: Final = int(Kind.STREAM)
_CALLS: Final = frozenset({int(Kind.INVOKE), _STREAM})


class Router:
    """Serves the packets of welcomed renderers.

    Args:
        hub: The broker whose registries decide.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._ids = hub.renderers.ids
        self._names = hub.renderers.names_raw
        self._high = hub.config.limits.high
        self._hard = hub.config.limits.hard
        self._unfinished = hub.config.limits.unfinished
        self.taker: Taker | None = QuickRouter(hub) if COMPILED else None
        """Who takes the common packets of renderers without a role; None: nobody does."""
        self._serve: dict[int, Serve] = plain(
            {
                Kind.SEND: self._message,
                Kind.POST: self._post,
                Kind.INVOKE: self._message,
                Kind.STREAM: self._message,
                Kind.BROADCAST: self._broadcast,
                Kind.RESULT: self._reply,
                Kind.ERROR: self._reply,
                Kind.ITEM: self._reply,
                Kind.CANCEL: self._cancel,
                Kind.DEMAND: self._demand,
                Kind.QUERY: self._to_main,
                Kind.FRAME: self._to_main,
                Kind.FRAME_CLOSED: self._to_main,
                Kind.GUEST: hub.hosting.serve,
                Kind.GUEST_CLOSED: lambda peer, head, data, at: hub.hosting.let_go(peer, head[8]),
                Kind.SYNC: self._sync,
                Kind.ONCE: self._once,
                Kind.PAUSE: self._pause,
                Kind.RESUME: self._pause,
                Kind.PAUSED: self._paused,
                Kind.UNDELIVERABLE: self._undeliverable,
                Kind.BAD_MESSAGE: self._bad_message,
                Kind.WATCH: self._watch,
                Kind.WHO: self._who,
                Kind.READY: self._ready,
                Kind.GOODBYE: self._goodbye,
                Kind.PORT_MESSAGE: self._port_message,
                Kind.PORT_CREDIT: self._port_credit,
                Kind.PORT_CLOSE: self._port_close,
                Kind.PORT_DIRECT: self._port_direct,
                Kind.PORT_SWITCH: self._port_switch,
                Kind.POOL: hub.shared_pools.asked,
                Kind.POOL_READY: hub.shared_pools.answered,
                Kind.POOL_FREE: hub.shared_pools.freed,
            }
        )

    # Public

    def serve(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Serve one packet of `peer`."""
        if head[2] & POOLED:
            self._hub.shared_pools.serve(peer, head, data, at, self._serve[head[1]])
        else:
            self._serve[head[1]](peer, head, data, at)

    def forget(self, peer: Peer) -> None:
        """End the large messages that a renderer which is gone was sending or getting."""
        streams, peer.streams = peer.streams or {}, None
        for target in {target for forward in streams.values() for target in forward.targets}:
            if target is not peer:
                target.outbox.put(build(Kind.ABORT, peer.id))
        for partner in peer.partners:
            for forward in (partner.streams or {}).values():
                forward.targets = [target for target in forward.targets if target is not peer]

    def drop_ports(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Close the ports that come with a message which goes nowhere."""
        found = self._ports_of(peer, head, data, at)
        if found is not None:
            for end in self._hub.ports.depart(peer.port_owner, found[0]):
                self._hub.ports.drop(end)

    def tell(self, peer: Peer, packet: bytes) -> None:
        """Send what a renderer's own packet has caused and no pause holds back; who does not read it is closed."""
        if peer.outbox.queued < self._hard:
            peer.outbox.put(packet)
        else:
            self._hub.close_slow(peer.contents)

    def refuse(self, peer: Peer, head: Head, data: bytes, at: int, reason: str) -> None:
        """Say that a message cannot be delivered: an error for an invoke, a notice for the rest."""
        self._hub.counters["undeliverable"] += 1
        if self._hub.debts.charge(peer.process, debts.NOBODY):
            peer.owes = True
        if head[1] in _CALLS:
            name = data[at + HEADER_SIZE : at + HEADER_SIZE + head[3]]
            self._answer(peer, head, NoSuchRenderer(text_of(name) if name else head[5]))
        else:
            self.tell(peer, forwards.undeliverable(head, data, at, reason))

    # Private: messages

    def _message(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        length, kind, flags, name_length, _, target_id, _, _, _ = head
        if not target_id and not name_length:
            self._to_main(peer, head, data, at)
            return
        name = data[at + HEADER_SIZE : at + HEADER_SIZE + name_length]
        if flags & CONTINUES:
            target = next(iter(forwards.rest(peer, head, name)), None)
            if target is None:
                return
        else:
            target = self._names.get(name) if name else self._ids.get(target_id)
            if flags & HOST and target is not None and not self._hub.hosting.related(peer, target):
                target = None
            denied = None
            if target is not None and target.policy is not None and not self._hub.gate.takes(target, head, data, at):
                denied, target = target, None
            if flags & MORE:
                if not forwards.begin(peer, head, name, () if target is None else (target,), self._unfinished):
                    return
            elif peer.streams and forwards.is_inside(peer, head, target):
                return
            if denied is not None:
                self._hub.gate.refuse(peer, denied, head, data, at)
                return
            if target is None:
                reason = "neither guest nor host" if flags & HOST else "no such renderer"
                self.refuse(peer, head, data, at, reason)
                return
            if kind in _CALLS:
                if not self._note_call(peer, target, head, name):
                    return
            elif peer not in target.oneway:
                target.oneway = joined(target.oneway, peer)
                self._introduce(peer, target)
        if length < LARGE:
            target.outbox.put(readdress(data, at, peer.id, peer.name_raw))
        else:
            target.outbox.put_large(readdressed(head, data, at, peer.id, peer.name_raw))
        if target.outbox.queued > self._high or target.pausing:
            self._hub.flow.added(peer, target, length)

    def _post(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        count = 0 if head[2] & CONTINUES else head[8]
        is_to_main = not head[5] and not head[3]
        if count and not is_to_main:
            peer.wire.fail("ports go to the main process, or along a port")
        elif not is_to_main or not (count or peer.posting):
            self._message(peer, head, data, at)
        else:
            if count:
                found = self._ports_of(peer, head, data, at)
                if found is None:
                    return
                # Now, not when its listeners have their turn: what is posted on the other ends is right behind it.
                peer.posting = self._hub.main_ports.receive(peer.port_owner, found[0])
                name_end = at + HEADER_SIZE + head[3]
                peer.port_owner.left_behind(found[0], data[name_end : name_end + head[4]])
            message = peer.wire.message(head, data, at)
            if message is not None:
                ports, peer.posting = peer.posting, ()
                body = bytes(message[8])[message[5] * port_table.ENTRY_SIZE :]
                self._hub.main.accept(peer, (*message[:8], body), ports)

    def _broadcast(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        length = head[0]
        # Made once: every queue holds the same bytes object.
        packet = readdress(data, at, peer.id, peer.name_raw)
        high = self._high
        for target in self._broadcast_targets(peer, head, data, at):
            if peer not in target.oneway:
                target.oneway = joined(target.oneway, peer)
                self._introduce(peer, target)
            target.outbox.put(packet)
            target.shared += length
            if target.outbox.queued > high or target.pausing:
                self._hub.flow.added(peer, target, length, broadcast=True)

    def _broadcast_targets(self, peer: Peer, head: Head, data: bytes, at: int) -> Sequence[Peer]:
        """Whoever got the first fragment gets the rest, and nobody else does."""
        if head[2] & CONTINUES:
            return forwards.rest(peer, head, b"")
        targets = [target for target in self._ids.values() if target is not peer]
        if self._hub.renderers.restricted:
            targets = [target for target in targets if self._hub.gate.takes(target, head, data, at)]
        if head[2] & MORE:
            if not forwards.begin(peer, head, b"", targets, self._unfinished):
                return ()
        elif peer.streams and forwards.is_inside(peer, head, None):
            return ()
        return targets

    def _to_main(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        message = peer.wire.message(head, data, at)
        if message is not None:
            self._hub.main.accept(peer, message)

    def _reply(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        kind, flags, caller_id, request = head[1], head[2], head[5], head[6]
        if not caller_id:
            self._to_main(peer, head, data, at)
            return
        if flags & CONTINUES:
            callers = forwards.rest(peer, head, b"")
        else:
            caller = self._ids.get(caller_id)
            # Nobody waits: the answer comes too late, or was never asked for.
            waits = caller is not None and self._hub.replies.callee(caller, request) is peer
            if not waits:
                self._hub.counters["late_answers"] += 1
            callers = (caller,) if caller is not None and waits else ()
            if flags & MORE:
                if not forwards.begin(peer, head, b"", callers, self._unfinished):
                    return
            elif peer.streams and forwards.is_inside(peer, head, caller):
                return
        for caller in callers:
            if kind == _ITEM and not self._charge_item(peer, head, caller):
                return
            if peer not in caller.heard:
                caller.heard = joined(caller.heard, peer)
            if head[0] < LARGE:
                caller.outbox.put(readdress(data, at, peer.id, peer.name_raw))
            else:
                caller.outbox.put_large(readdressed(head, data, at, peer.id, peer.name_raw))
            if kind != _ITEM and not flags & MORE:
                # Not before: without memory for it nobody is answered, and then the caller must still be known to wait.
                self._hub.replies.claim(caller, request, peer)
            caller.charge(head[0])

    # Private: what messages need

    def _note_call(self, peer: Peer, target: Peer, head: Head, name: bytes) -> bool:
        is_stream = head[1] == _STREAM
        bound = self._hub.stream_bound(peer) if is_stream else self._bound(peer, self._hub.replies.pending(peer))
        if bound is None and self._hub.replies.add(peer, head[6], target, head[8], is_stream=is_stream):
            if peer not in target.heard:
                target.heard = joined(target.heard, peer)
                self._introduce(peer, target)
            return True
        if head[2] & MORE:
            forwards.refuse(peer, head, name)
        if bound is not None:
            self._hub.refuse(peer, bound)
            self._answer(peer, head, bound)
        else:
            peer.wire.fail(f"request {head[6]} is pending already")
        return False

    def _bound(self, peer: Peer, pending: int) -> TooManyRequests | None:
        limit = peer.limits.pending
        return TooManyRequests(limit) if pending >= limit else None

    def _charge_item(self, peer: Peer, head: Head, caller: Peer) -> bool:
        """Count an item, or a fragment of one, out of its stream's credit; False if it had none, or is no stream's."""
        length, _, flags, name_length, channel_length, _, request, _, _ = head
        stream = self._hub.replies.streams.get(caller, request)
        if stream is None:
            return False
        if flags & CONTINUES:
            stream.used += length - HEADER_SIZE - name_length - channel_length
        elif stream.may_send:
            stream.sent(length - HEADER_SIZE - name_length - channel_length)
        else:
            peer.wire.fail(f"sent an item of request {request} beyond its credit")
            return False
        return True

    def _introduce(self, peer: Peer, target: Peer) -> None:
        """Note that each is concerned when the other goes."""
        if target is not peer:
            peer.partners = joined(peer.partners, target)
            target.partners = joined(target.partners, peer)

    def _answer(self, peer: Peer, head: Head, error: MainbusError) -> None:
        body = clone.encode(str(error))
        self.tell(peer, build(Kind.ERROR, head[5], head[6], value=error.wire_code, body=body))

    # Private: ports

    def _ports_of(self, peer: Peer, head: Head, data: bytes, at: int) -> tuple[list[port_table.Entry], bytes] | None:
        """Return the ports and the body of a packet; None if it breaks the protocol."""
        body = data[at + HEADER_SIZE + head[3] + head[4] : at + head[0]]
        count = head[8] if not head[2] & CONTINUES else 0
        found = port_table.unpack(body, count)
        if found is None:
            peer.wire.fail(f"a message that is too short for its {count} ports")
            return None
        if count and self._hub.debts.charge(peer.process, debts.for_ports(count)):
            peer.owes = True
        if count and len(peer.port_owner.ports) + 2 * count > self._hub.config.limits.ports + port_table.MAX_PORTS:
            peer.close(f"has more than {self._hub.config.limits.ports} ports", blame=True)
            return None
        for entry in found[0]:
            fault = peer.port_owner.claim(entry)
            if fault is not None:
                peer.wire.fail(fault)
                return None
        return found

    def _port_owner(self, peer: Peer, head: Head) -> PeerPorts | None:
        """Return a renderer as the owner of the port that a packet is for; None if it never was."""
        owner, number = peer.port_owner, head[5]
        if number in owner.ports or owner.had(number):
            return owner
        peer.wire.fail(f"port {number} was never a port of this connection")
        return None

    def _port_message(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        owner = self._port_owner(peer, head)
        found = self._ports_of(peer, head, data, at) if owner is not None else None
        if owner is None or found is None:
            return
        if any(number == head[5] for number, _ in found[0]):
            peer.wire.fail(f"port {head[5]} leaves with a message that is posted on it")
        else:
            self._hub.ports.message(owner, head[5], head[2] & (MORE | CONTINUES | FREE), *found)
            carrier = owner.ports.get(head[5]) if found[0] else None
            if isinstance(carrier, PortEnd):
                owner.left_behind(found[0], carrier.channel)

    def _port_credit(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        owner = self._port_owner(peer, head)
        if owner is not None:
            poster = self._hub.ports.credit(owner, head[5], head[8])
            if isinstance(poster, PeerPorts):
                self._check_backlog(peer, poster.peer)

    def _port_close(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        owner = self._port_owner(peer, head)
        if owner is None:
            return
        if head[8] == BadMessage.wire_code:
            # Only somebody who has posted on the other end can be blamed.
            sender = self._hub.ports.poster(owner, head[5])
            if isinstance(sender, PeerPorts) and not sender.peer.closing:
                self._hub.main.bad_message(sender.peer, "a port")
        self._hub.ports.close(owner, head[5])

    def _port_direct(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        owner = self._port_owner(peer, head)
        if owner is not None and head[8]:
            self._hub.direct_pairs.refuse(owner, head[5], head[6])
        elif owner is not None:
            self._hub.direct_pairs.ask(owner, head[5])

    def _port_switch(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        owner = self._port_owner(peer, head)
        if owner is not None:
            self._hub.direct_pairs.switch(owner, head[5], head[6])

    # Private: the other kinds

    def _cancel(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        request = head[6]
        replies = self._hub.replies
        if replies.callee(peer, request) is None:
            self._hub.main.cancel(peer, request)
        elif (callee := replies.cancel(peer, request)) is not None:
            callee.outbox.put(build(Kind.CANCEL, peer.id, request))
            self._check_backlog(peer, callee)

    def _check_backlog(self, peer: Peer, target: Peer) -> None:
        """Close who goes on to notify a renderer that does not read: no pause holds notices back."""
        if target.outbox.queued > peer.limits.backlog and not peer.closing:
            peer.close(f"notifies {target.label}, which does not read", blame=True)

    def _demand(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        callee = self._hub.replies.callee(peer, head[6])
        self._hub.demands.give(peer, head[6], head[8])
        if callee is not None:
            self._check_backlog(peer, callee)

    def _pause(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        source = self._ids.get(head[5])
        if source is not None or head[5] == MAIN:
            self._hub.flow.asked(peer, source, pause=head[1] == Kind.PAUSE)
            if source is not None:
                self._check_backlog(peer, source)

    def _paused(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        self._hub.flow.acknowledged(peer, head[5], head[6])

    def _undeliverable(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        source = self._ids.get(head[5])
        if source is not None and source in peer.oneway:
            self._hub.counters["undeliverable"] += 1
            length, _, flags, name_length, channel_length = head[:5]
            if source.outbox.queued >= self._hard:
                # It may have caused none of them, so it is not closed for them.
                self._hub.counters["dropped_notices"] += 1
                return
            name_end = at + HEADER_SIZE + name_length
            source.outbox.put(
                build(
                    Kind.UNDELIVERABLE,
                    peer.id,
                    flags=flags & BY_NAME,
                    name=peer.name_raw,
                    channel=data[name_end : name_end + channel_length],
                    body=data[name_end + channel_length : at + length],
                )
            )

    def _bad_message(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        source = self._ids.get(head[5])
        # Only somebody whom it has sent to can blame it.
        if source is not None and (source in peer.oneway or source in peer.heard):
            name_end = at + HEADER_SIZE + head[3]
            self._hub.main.bad_message(source, text_of(data[name_end : name_end + head[4]]))

    def _sync(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        if head[5]:
            # Its fragments would be kept under any number of targets.
            peer.wire.fail("a SYNC that is not for the main process")
            return
        message = peer.wire.message(head, data, at)
        if message is not None:
            lane = peer.lane or NO_LANE
            bound = self._bound(peer, lane.pending)
            lane.expect(message[3], message[7])
            if bound is None:
                self._hub.main.sync(peer, message, lane)
            else:
                self._hub.refuse(peer, bound)
                lane.answer(message[3], (Kind.ERROR, bound.wire_code, clone.encode(str(bound))))

    def _once(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        if peer.take_once(head[8]):
            return
        # A lane has brought it.
        peer.wire.skip = peer.wire.received + 1

    def _watch(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        self._hub.renderers.watchers.add(peer)

    def _who(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        named = self._ids.get(head[5]) if peer.policy is None or peer.policy.sees_others else None
        name = named.name_raw if named is not None else b""
        self.tell(peer, build(Kind.WHO, head[5], value=int(named is not None), name=name))

    def _ready(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        peer.contents.dispatched()

    def _goodbye(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        peer.leave(received=head[8])
