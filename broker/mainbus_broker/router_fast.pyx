# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The quick half of ``router``: common messages, invokes and results, to another renderer or to the main process.

For renderers without a role. It may only ever succeed: what is unusual or wrong it leaves, untouched, to ``router``
and ``main_process``, so that there is one place for each rule.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport getenv

from mainbus.cores_fast cimport CallsCore, InboxCore, OutboxCore, RouteCore, TargetCore
from mainbus.dispatch_fast cimport arguments, call_handler, call_listeners, channel_of, result_packet, settle
from mainbus.wire.packets_fast cimport (
    ENOUGH, HEADER_SIZE, NOT_TAKEN, PLACE_SIZE, TAKEN, ConnectionCore, Taker, body_size, front_of, get, readdressed, stream_of
)
from mainbus.wire.pieces_fast cimport Pieces

from mainbus_broker.peer_core_fast cimport Load, PeerCore

from mainbus.cores import ROOM as _ROOM

from mainbus_broker.events import IpcMainEvent, IpcMainInvokeEvent

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef enum:
    READY = 5
    SEND = 16
    INVOKE = 19
    RESULT = 24
    POOL_FREE = 62
    OVERHEAD = 64
    # From this size on packets are passed on as they lie in what was read.
    LARGE = 32 * 1024

cdef object new_event = IpcMainEvent.__new__
cdef object new_invoke = IpcMainInvokeEvent.__new__
cdef Py_ssize_t room = _ROOM


cdef class QuickRouter(Taker):
    """What a broker takes at once of what arrives; the owner of a packet is its `Peer`.

    Args:
        hub: The broker whose registries decide.
    """

    cdef object flow, main, pools
    cdef Load load
    cdef dict asked, ids, names, serving, streams
    cdef set cancelled
    cdef Py_ssize_t high, pending, running, max_message, pool_size
    cdef int depth

    def __init__(self, hub):
        limits = hub.config.limits
        replies = hub.replies
        self.load = hub.load
        self.flow, self.main, self.pools = hub.flow, hub.main, hub.shared_pools
        self.ids, self.names = hub.renderers.ids, hub.renderers.names_raw
        self.asked, self.serving, self.cancelled = replies._asked, replies._serving, replies._cancelled
        self.streams = replies.streams._open
        self.high, self.pending, self.running = limits.high, limits.pending, limits.running
        self.max_message, self.depth, self.pool_size = limits.message, limits.depth, limits.pool

    cdef int take(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef uint8_t kind = head[4]
        cdef bint is_to_main = not head[6] and not get(head + 8)
        if kind == SEND:
            return self.message(owner, head) if is_to_main else self.send(owner, head, data, at)
        if kind == INVOKE:
            return self.invoke(owner, head) if is_to_main else self.call(owner, head, data, at)
        if kind == RESULT:
            return self.settle(owner, head) if is_to_main else self.reply(owner, head, data, at)
        if kind == READY:
            owner.contents.dispatched()
            return TAKEN
        if kind == POOL_FREE:
            self.pools.copied(owner, get(head + 8), get(head + 16))
            return TAKEN
        return NOT_TAKEN

    cdef int take_more(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        if not head[6] and not get(head + 8):
            return wire.join(head, data, at)
        return self.forward_more(owner, wire, head, data, at)

    cdef int pass_on(self, owner, ConnectionCore wire, const uint8_t* head, bytes data) except -1:
        cdef PeerCore peer = owner
        # Whoever is being closed, or waits for its turn, is not read.
        if peer.owes or peer.lane is not None:
            return NOT_TAKEN
        cdef int outcome = self.take_more(peer, wire, head, data, 0)
        if outcome != NOT_TAKEN:
            self.load.calm += 1
        return outcome

    cdef int take_pooled(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef PeerCore target
        if head[4] == RESULT:
            target = self.peer(head)
        else:
            target = self.target(owner, head)
        if target is None:
            return NOT_TAKEN
        pool = (<dict>self.pools._pools).get((owner.id, target.id))
        cdef Py_ssize_t length = self.place_of(head)
        if pool is None or not pool.is_open or length < 0:
            return NOT_TAKEN
        slot = get(head + 16)
        if not pool.hold(slot, length, self.pool_size):
            return NOT_TAKEN
        cdef int outcome
        if head[4] == SEND:
            outcome = self.send(owner, head, data, at)
        elif head[4] == INVOKE:
            outcome = self.call(owner, head, data, at)
        else:
            outcome = self.reply(owner, head, data, at)
        if outcome == NOT_TAKEN:
            pool.release(slot)
        elif target.pausing:
            # What it makes the receiver hold, not the few bytes that say where it is.
            self.flow.added(owner, target, length)
        return outcome

    cdef Py_ssize_t place_of(self, const uint8_t* head):
        """Return how long a message is that is in a pool; -1 if what is said of that is wrong."""
        cdef const uint8_t* at = head + get(head) - PLACE_SIZE
        cdef uint64_t start = get_long(at), length = get_long(at + 8), large = get_long(at + 16), size = get_long(at + 24)
        cdef uint64_t room = self.pool_size, limit = self.max_message
        if start > room or length > room - start or length > limit or large > length or size > length - large:
            return -1
        return length

    # To another renderer

    cdef int forward_more(
        self, PeerCore peer, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at
    ) except -1:
        """Forward a fragment that is neither the first nor the last; its body stays where it is."""
        cdef dict streams = peer.streams
        cdef int stream = stream_of(head)
        cdef Py_ssize_t whole
        if not streams or stream < 0:
            return NOT_TAKEN
        name = PyBytes_FromStringAndSize(<const char*>head + HEADER_SIZE, head[6]) if head[4] != RESULT else b""
        forward = streams.get((get(head + 8), name, stream))
        if forward is None or forward._kind != head[4] or forward._request != get(head + 12):
            return NOT_TAKEN
        targets = forward.targets
        whole = forward.size + body_size(head)
        if len(targets) != 1 or whole > self.max_message:
            return NOT_TAKEN
        cdef PeerCore target = targets[0]
        if head[4] != RESULT:
            forward.size = whole
            return self.forward(peer, target, head, data, at)
        if peer not in target.heard:
            return NOT_TAKEN
        forward.size = whole
        self.relay(peer, target.outbox, head, data, at)
        target.count(get(head))
        return ENOUGH if peer.closing else TAKEN

    cdef int send(self, PeerCore peer, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef PeerCore target = self.target(peer, head)
        # The first message of a pair is noted: each is concerned when the other goes.
        if target is None or peer not in target.oneway:
            return NOT_TAKEN
        return self.forward(peer, target, head, data, at)

    cdef int call(self, PeerCore peer, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef PeerCore target = self.target(peer, head)
        cdef dict asked = self.asked.get(peer)
        request = get(head + 12)
        if (
            target is None
            or peer not in target.heard
            # With a deadline, or among streams, which count otherwise.
            or get(head + 20)
            or self.streams
            or asked is None
            or request in asked
            or len(asked) >= self.pending
        ):
            return NOT_TAKEN
        cdef set serving = self.serving.get(target)
        if serving is None:
            return NOT_TAKEN
        asked[request] = target
        serving.add((peer, request))
        return self.forward(peer, target, head, data, at)

    cdef int reply(self, PeerCore peer, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef PeerCore caller = self.peer(head)
        request = get(head + 12)
        if caller is None or peer.streams or self.cancelled or self.streams:
            return NOT_TAKEN
        cdef dict asked = self.asked.get(caller)
        if asked is None or asked.get(request) is not peer or peer not in caller.heard:
            return NOT_TAKEN
        # First: without memory for it nobody is answered, and then the caller must still be known to wait.
        self.relay(peer, caller.outbox, head, data, at)
        del asked[request]
        (<set>self.serving[peer]).discard((caller, request))
        caller.count(get(head))
        return TAKEN

    cdef PeerCore peer(self, const uint8_t* head):
        """Return the renderer that a packet names by its id, or None."""
        return self.ids.get(get(head + 8))

    cdef PeerCore target(self, PeerCore peer, const uint8_t* head):
        """Return who gets a message, if nothing has to be asked or noted for that."""
        cdef PeerCore target
        if head[6]:
            target = self.names.get(PyBytes_FromStringAndSize(<const char*>head + HEADER_SIZE, head[6]))
        else:
            target = self.peer(head)
        return target if target is not None and target.policy is None and not peer.streams else None

    cdef int forward(
        self, PeerCore peer, PeerCore target, const uint8_t* head, bytes data, Py_ssize_t at
    ) except -1:
        cdef OutboxCore outbox = target.outbox
        self.relay(peer, outbox, head, data, at)
        if outbox.queued > self.high or target.pausing:
            self.flow.added(peer, target, get(head))
            return ENOUGH if peer.closing else TAKEN
        return TAKEN

    cdef int relay(
        self, PeerCore peer, OutboxCore outbox, const uint8_t* head, bytes data, Py_ssize_t at
    ) except -1:
        """Pass a packet on as one of `peer`; what is large of it stays where it is."""
        cdef Py_ssize_t length = get(head), rest = length - HEADER_SIZE - head[6]
        cdef bytes front
        if length < LARGE:
            return outbox.add(readdressed(head, peer.id, peer.name_raw))
        front = front_of(head, peer.id, peer.name_raw, rest)
        body = PyMemoryView_FromObject(data)[at + length - rest : at + length]
        return outbox.add_large(Pieces((front, body)), PyBytes_GET_SIZE(front) + rest)

    # To the main process

    cdef int message(self, PeerCore peer, const uint8_t* head) except -1:
        cdef InboxCore inbox = peer._inbox
        contents = peer.contents
        frame = contents._plain_frame
        if inbox is None or frame is None or get(head + 16) or not inbox.is_clear():
            return NOT_TAKEN
        cdef str channel = channel_of(head)
        cdef tuple targets = self.main.ipc_main._listeners.by_name.get(channel)
        if targets is None:
            return NOT_TAKEN
        cdef list args = arguments(head, self.depth)
        if args is None:
            return NOT_TAKEN
        inbox.starting = body_size(head) + OVERHEAD
        event = new_event(IpcMainEvent)
        event.channel = channel
        event.sender = contents
        event._frame = frame
        event._ports = event._sync = None
        call_listeners(self.main.dispatch, inbox, event, args, targets, channel)
        return ENOUGH if peer.closing or peer.owes else TAKEN

    cdef int invoke(self, PeerCore peer, const uint8_t* head) except -1:
        cdef InboxCore inbox = peer._inbox
        main, contents = self.main, peer.contents
        frame = contents._plain_frame
        if inbox is None or frame is None or get(head + 16) or get(head + 20) or not inbox.is_clear() or main.draining:
            return NOT_TAKEN
        cdef str channel = channel_of(head)
        cdef TargetCore target = main.ipc_main._handlers.get(channel)
        if target is None or not target.is_plain:
            return NOT_TAKEN
        request, handlers = get(head + 12), inbox.handlers
        if len(handlers) >= self.running or request in handlers or request in inbox.streams:
            return NOT_TAKEN
        cdef list args = arguments(head, self.depth), result = []
        if args is None or not target.least <= len(args) <= target.most or not inbox.may_call_plain():
            return NOT_TAKEN
        inbox.starting = body_size(head) + OVERHEAD
        event = new_invoke(IpcMainInvokeEvent)
        event.channel = channel
        event.sender = contents
        event._frame = frame
        event.request_id = request
        event.deadline = None
        call_handler(main.dispatch, inbox, event, args, target, channel, result)
        if result:
            self.answer(peer, head, event, result[0])
        return ENOUGH if peer.closing or peer.owes else TAKEN

    cdef int answer(self, PeerCore peer, const uint8_t* head, event, value) except -1:
        cdef RouteCore route = peer._route
        cdef bytes packet = result_packet(RESULT, head, value, self.depth, self.max_message)
        # A pause does not hold replies. Whoever was closed by its own invoke waits for none.
        if route is None or packet is None or peer.closing or len(route._queue) or route._outbox.queued >= room:
            self.main.dispatch._answer(event, value)
            return 0
        route._outbox.add(packet)
        peer.count(PyBytes_GET_SIZE(packet))
        if peer.lane is not None:
            # It may wait for this handler to end.
            peer.lane.look_again()
        return 0

    cdef int settle(self, PeerCore peer, const uint8_t* head) except -1:
        cdef CallsCore calls = peer._calls
        return NOT_TAKEN if calls is None else settle(calls, peer._inbox, head, self.depth)


cdef inline uint64_t get_long(const uint8_t* at):
    return <uint64_t>get(at) << 32 | get(at + 4)
