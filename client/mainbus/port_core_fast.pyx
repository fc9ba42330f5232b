# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""``port_core``, compiled, and the short way of a common message on a port: to its socket, and from there to listeners.

It may only ever succeed: what is unusual or wrong it leaves, untouched, to ``ports``, ``port_end``, ``port_remote`` and
``direct_link``.
"""

from collections import deque

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport getenv
from libc.string cimport memcpy, memset

from mainbus.cores_fast cimport InboxCore, OutboxCore, RouteCore
from mainbus.dispatch_fast cimport call_listeners
from mainbus.wire.clone_fast cimport decode_at, encode_behind
from mainbus.wire.packets_fast cimport ENOUGH, HEADER_SIZE, MAX_FRAGMENT, NOT_TAKEN, TAKEN, ConnectionCore, Taker, get, put

from mainbus.events import MessageEvent
from mainbus.port_core import MAX_UNSENT as _MAX_UNSENT
from mainbus.wire.clone import MAX_DEPTH
from mainbus.wire.credit import DIRECT_OVERHEAD as _DIRECT_OVERHEAD
from mainbus.wire.credit import OVERHEAD as _OVERHEAD
from mainbus.wire.credit import WINDOW as _WINDOW

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef enum:
    PORT_MESSAGE = 40

cdef int depth = MAX_DEPTH
cdef Py_ssize_t max_unsent = _MAX_UNSENT
cdef Py_ssize_t window = _WINDOW
cdef Py_ssize_t overhead = _DIRECT_OVERHEAD
cdef Py_ssize_t relay_overhead = _OVERHEAD
cdef str MESSAGE = "message"
cdef object new_event = MessageEvent.__new__


cdef class EndCore:
    """One end of a channel: what has arrived at it, and whether it may be taken."""

    def __init__(self, loop):
        self.loop = loop
        self.queue = deque()

    def post_quickly(self, message):
        """Post a message without ports past the broker, if nothing about it is unusual; False: nothing was done."""
        cdef RemoteCore remote = self.remote
        cdef uint8_t head[HEADER_SIZE]
        if remote is None or self.is_shut or self.is_over or remote.link is None:
            return False
        cdef LinkCore link = remote.link
        if not link.is_open or link.has_left or self.loop.owner.thread != PyThread_get_thread_ident():
            return False
        # What has to wait for credit waits behind what does so already.
        cdef bint waits = len(remote._held) > 0 or link._used >= window
        if remote._size >= max_unsent if waits else not link._route.free():
            return False
        memset(head, 0, HEADER_SIZE)
        head[4] = PORT_MESSAGE
        try:
            packet = encode_behind(head, HEADER_SIZE, message, depth)
        except Exception:
            # Not common, or wrong: who encodes it again knows which.
            return False
        cdef Py_ssize_t size = PyBytes_GET_SIZE(packet) - HEADER_SIZE
        if size > min(link._max_message, MAX_FRAGMENT):
            return False
        if waits:
            remote._held.append((packet[HEADER_SIZE:], []))
            remote._size += relay_overhead + size
        else:
            link.write(packet, size)
        return True

    def dispatch_quickly(self, handle, Py_ssize_t count):
        """Give what waits to the listeners, as far as it is common, `count` at most; returns how many there were."""
        cdef Py_ssize_t done = 0
        cdef tuple posted, targets
        cdef LinkCore link
        while done < count and len(self.queue) and self.is_ready(handle):
            posted = self.queue[0]
            targets = targets_of(handle)
            if targets is None or posted[1] or type(posted[0]) is not bytes:
                break
            event = event_of(<const uint8_t*>PyBytes_AS_STRING(posted[0]), PyBytes_GET_SIZE(posted[0]))
            # What was decoded may have let the collector run, and somebody's finaliser change all of it.
            if event is None or not len(self.queue) or self.queue[0] is not posted or not self.is_ready(handle):
                break
            self.queue.popleft()
            self.count_out(posted)
            call_listeners(self.loop.dispatch, self._inbox, event, [], targets, MESSAGE)
            done += 1
        return done

    cdef int count_out(self, tuple posted) except -1:
        """Count a message out that is taken."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(posted[0])
        cdef LinkCore link
        if isinstance(posted[2], LinkCore):
            link = posted[2]
            self.size -= relay_overhead + size
            self.apart -= 1
            link.owe(size)
        else:
            self.taken(posted)
        return 0

    cdef bint is_ready(self, handle) except -1:
        """Whether a listener may be called at once."""
        return (
            handle is not None
            and self._kept is handle
            and self.started
            and not self.pulled
            and not self._scheduled
            and self._inbox is not None
            and self._inbox.is_clear()
        )


cdef class RemoteCore:
    """The way from one end of a channel over a connection."""

    def __init__(self, EndCore end not None):
        self.end = end
        self._held = deque()


cdef class LinkCore:
    """The socket of one direct port: its credit both ways, and whether anything may be written or read."""

    def __init__(self, OutboxCore outbox not None, RouteCore route not None, Py_ssize_t max_message):
        self._outbox = outbox
        self._route = route
        self._max_message = max_message

    def post_held(self, held):
        """Send what is held, as far as it is common and may leave; returns what it would have cost at the relay."""
        cdef Py_ssize_t cost = 0, size
        cdef bytes body, packet
        cdef uint8_t* head
        while len(held) and self.may_write():
            entry = held[0]
            size = len(entry[0])
            if entry[1] or size > MAX_FRAGMENT or type(entry[0]) is not bytes:
                break
            held.popleft()
            body = entry[0]
            packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + size)
            head = <uint8_t*>PyBytes_AS_STRING(packet)
            memset(head, 0, HEADER_SIZE)
            head[4] = PORT_MESSAGE
            memcpy(head + HEADER_SIZE, PyBytes_AS_STRING(body), size)
            self.write(packet, size)
            cost += relay_overhead + size
        return cost

    cdef bint may_write(self) except -1:
        """Whether a message may leave, now."""
        return self.is_open and not self.has_left and self._used < window and self._route.free()

    cdef int owe(self, Py_ssize_t size) except -1:
        """Count a message with a body of `size` bytes that was taken."""
        self._owed += overhead + size
        if self._owed >= window // 2:
            self.settle()
        return 0

    cdef int write(self, bytes packet, Py_ssize_t size) except -1:
        """Write a message with a body of `size` bytes, but for its length all there."""
        put(<uint8_t*>PyBytes_AS_STRING(packet), <uint32_t>PyBytes_GET_SIZE(packet))
        self._used += overhead + size
        self._outbox.add(packet)
        return 0


cdef class QuickPorts(Taker):
    """What is taken at once of what comes on a socket; the connection's owner is its link."""

    cdef int take(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        cdef LinkCore link = owner
        cdef RemoteCore remote = link._remote
        if (
            head[4] != PORT_MESSAGE
            or head[5]
            or head[6]
            or head[7]
            or get(head + 20)
            or remote is None
            or link._untaken >= window
            or link.is_drained
        ):
            return NOT_TAKEN
        cdef EndCore end = remote.end
        if end.is_shut:
            return NOT_TAKEN
        cdef const uint8_t* body = head + HEADER_SIZE
        cdef Py_ssize_t size = <Py_ssize_t>get(head) - HEADER_SIZE
        handle = end._kept
        if not len(end.queue) and end.is_ready(handle):
            targets = targets_of(handle)
            event = event_of(body, size) if targets is not None else None
            # As above.
            if event is None or end.is_shut or link.is_drained or len(end.queue) or not end.is_ready(handle):
                return NOT_TAKEN
            link._untaken += overhead + size
            link.owe(size)
            call_listeners(end.loop.dispatch, end._inbox, event, [], targets, MESSAGE)
            # Once it is closed, all that was read has been taken in.
            return ENOUGH if link.is_drained or end.is_shut else TAKEN
        # It waits for its turn.
        end.queue.append((PyBytes_FromStringAndSize(<const char*>body, size), [], owner))
        end.apart += 1
        end.size += relay_overhead + size
        link._untaken += overhead + size
        return TAKEN


cdef tuple targets_of(handle):
    """Return the listeners of "message", or None if there are none."""
    listeners = handle._listeners
    return (<dict?>listeners.by_name).get(MESSAGE) if listeners is not None else None


cdef object event_of(const uint8_t* body, Py_ssize_t size):
    """Return the event for a message without ports, or None if it is not common, or wrong."""
    try:
        data = decode_at(body, size, depth)
    except Exception:
        return None
    event = new_event(MessageEvent)
    event.data = data
    event._ports = None
    return event
