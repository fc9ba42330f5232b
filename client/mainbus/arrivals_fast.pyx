# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The quick half of ``arrivals``: common messages, invokes and results, from the bytes received to the call.

It may only ever succeed: what is unusual or wrong it leaves, untouched, to ``session`` and ``arrivals``.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport getenv

from mainbus.cores_fast cimport InboxCore, RouteCore, TargetCore
from mainbus.dispatch_fast cimport arguments, call_handler, call_listeners, channel_of, result_packet, settle
from mainbus.wire.packets_fast cimport (
    HEADER_SIZE, NOT_TAKEN, PLACE_SIZE, TAKEN, ConnectionCore, Taker, body_size, get
)

from mainbus.events import IpcRendererEvent, IpcRendererInvokeEvent
from mainbus.routes import Route
from mainbus.wire.clone import MAX_DEPTH
from mainbus.cores import ROOM as _ROOM

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef enum:
    SEND = 16
    INVOKE = 19
    BROADCAST = 20
    RESULT = 24
    POOL_FREE = 62
    OVERHEAD = 64

cdef object new_event = IpcRendererEvent.__new__
cdef object new_invoke = IpcRendererInvokeEvent.__new__
cdef int depth = MAX_DEPTH
cdef Py_ssize_t room = _ROOM


cdef class QuickArrivals(Taker):
    """What a renderer takes at once of what arrives.

    Args:
        arrivals: What takes all the rest.
        channels: What is listened to and handled.
    """

    cdef object arrivals, channels, renderer

    def __init__(self, arrivals, renderer, channels):
        self.arrivals = arrivals
        self.renderer = renderer
        self.channels = channels

    cdef int take(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef uint8_t kind = head[4]
        if kind == POOL_FREE:
            owner.pools.freed(get(head + 8), get(head + 16))
            return TAKEN
        if kind != SEND and kind != INVOKE and kind != BROADCAST and kind != RESULT:
            return NOT_TAKEN
        peer = get(head + 8)
        # Who is heard of for the first time is introduced; what is for a frame is found there.
        if get(head + 16) if peer == 0 else peer not in owner.met:
            return NOT_TAKEN
        cdef InboxCore inbox = (<dict?>self.arrivals._inboxes).get(peer)
        if kind == RESULT:
            return settle(owner.calls, inbox, head, depth)
        if inbox is None or not inbox.is_clear():
            return NOT_TAKEN
        if kind == INVOKE:
            return self.invoke(owner, inbox, peer, head)
        return self.message(inbox, peer, head)

    cdef int take_pooled(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        peer = get(head + 8)
        if peer == 0 or peer not in owner.met:
            return NOT_TAKEN
        cdef Py_ssize_t body = HEADER_SIZE + head[6] + head[7]
        owner.arrive_pooled((
            head[4],
            head[5],
            peer,
            get(head + 12),
            get(head + 16),
            get(head + 20),
            PyBytes_FromStringAndSize(<const char*>head + HEADER_SIZE, head[6]),
            channel_of(head),
            PyBytes_FromStringAndSize(<const char*>head + body, PLACE_SIZE),
        ))
        return TAKEN

    cdef int message(self, InboxCore inbox, uint32_t peer, const uint8_t* head) except -1:
        cdef str channel = channel_of(head)
        cdef tuple targets = self.channels._listeners.by_name.get(channel)
        cdef TargetCore target
        if targets is None:
            return NOT_TAKEN
        for target in targets:
            if not (target.takes_renderers if peer else target.takes_main):
                return NOT_TAKEN
        cdef list args = arguments(head, depth)
        if args is None:
            return NOT_TAKEN
        inbox.starting = body_size(head) + OVERHEAD
        event = new_event(IpcRendererEvent)
        event.channel = channel
        event.sender = self.renderer
        event.sender_id = peer
        event.sender_name = name_of(head)
        event.from_host = False
        event._ports = None
        call_listeners(self.arrivals._dispatch or self.arrivals.dispatch, inbox, event, args, targets, channel)
        return TAKEN

    cdef int invoke(self, session, InboxCore inbox, uint32_t peer, const uint8_t* head) except -1:
        cdef str channel = channel_of(head)
        cdef TargetCore target = self.channels._handlers.get(channel)
        if (
            target is None
            or not target.is_plain
            or not (target.takes_renderers if peer else target.takes_main)
            or get(head + 20)
            or len(inbox.handlers) >= session.welcome.credit
        ):
            return NOT_TAKEN
        cdef list args = arguments(head, depth), result = []
        if args is None or not target.least <= len(args) <= target.most or not inbox.may_call_plain():
            return NOT_TAKEN
        dispatch, link = self.arrivals._dispatch or self.arrivals.dispatch, session.link
        inbox.starting = body_size(head) + OVERHEAD
        event = new_invoke(IpcRendererInvokeEvent)
        event.channel = channel
        event.sender = self.renderer
        event.sender_id = peer
        event.sender_name = name_of(head)
        event.request_id = get(head + 12)
        event.deadline = None
        event.link = link
        call_handler(dispatch, inbox, event, args, target, channel, result)
        if not result:
            return TAKEN
        limits = session.welcome.limits
        cdef bytes packet = result_packet(RESULT, head, result[0], limits.depth, limits.message)
        cdef RouteCore route = session.routes._open.get(peer)
        # A pause does not hold replies; the lobby does.
        if packet is None or type(route) is not Route or len(route._queue) or route._outbox.queued >= room or session.link is not link:
            dispatch._answer(event, result[0])
        else:
            route._outbox.add(packet)
        return TAKEN


cdef str name_of(const uint8_t* head):
    return (<const char*>head + HEADER_SIZE)[:head[6]].decode("ascii")
