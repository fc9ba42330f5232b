# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""``peer_core``, compiled: the same fields and steps, which the compiled paths of messages reach without a call."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport getenv

from mainbus.cores_fast cimport OutboxCore
from mainbus.wire.packets_fast cimport ConnectionCore

from mainbus.outbox import Outbox

from mainbus_broker import turns

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef Py_ssize_t turn_packets = turns.TURN_PACKETS, packet_bytes = turns.PACKET_BYTES, most_shares = turns.MOST_SHARES


cdef class Load:
    """What all renderers of one broker ask of it, and may make it hold."""

    def __init__(self, Py_ssize_t left):
        self.left = left


cdef class PeerCore:
    """A welcomed renderer, as far as most messages know it."""

    def __init__(self, hub, uint32_t peer_id, bytes name_raw not None, ConnectionCore wire not None):
        limits = hub.config.limits
        self.id = peer_id
        self.name_raw = name_raw
        self.wire = wire
        self.outbox = Outbox(hub.loop, limits.pending)
        self.is_read = True
        self.hard = limits.hard
        self._hub = hub
        self._load = hub.load

    def data_received(self, data):
        """Serve what has arrived, as much as one turn allows."""
        cdef Load load = self._load
        cdef ConnectionCore wire = self.wire
        cdef OutboxCore outbox = self.outbox
        cdef Py_ssize_t count, size, before
        cdef bint holds
        if self.closing:
            return
        load.left -= len(data)
        if load.left < 0:
            self._hub.holdings.look_soon()
        try:
            if self._scheduled or self.owes:
                self._receive_out_of_turn(data)
                return
            count = turn_packets // min(load.hungry + 1, most_shares)
            size = count * packet_bytes
            before = wire.received
            # Answers leave with the turn that has made them: the renderer waits for nothing else.
            holds = outbox.begin_hold()
            try:
                count = wire.take(data, count, size)
            finally:
                if holds:
                    outbox.end_hold()
        except MemoryError:
            self.no_memory()
            return
        if count < 0 and self.is_content():
            load.calm += wire.received - before
        else:
            self._go_on(max(count, 0), size - wire._at, before)

    def charge(self, Py_ssize_t size):
        """Count an answer on its way to this renderer: no pause holds those back, so it must read them."""
        self.count(size)

    cdef int count(self, Py_ssize_t size) except -1:
        self.unread += size
        self._load.left -= size
        if self.unread > self.hard:
            self._count_unread(size)
        return 0

    cdef bint is_content(self):
        """Whether a turn in which all was served at once ends as most do."""
        cdef ConnectionCore wire = self.wire
        cdef bint unusual = self.owes or self.closing or not self.is_read or self.lane is not None
        return not unusual and wire.failure is None and not wire.expects_large
