# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""``read_core``, compiled: the same fields and steps."""

from libc.stdlib cimport getenv

from mainbus.cores_fast cimport OutboxCore
from mainbus.wire.packets_fast cimport ConnectionCore

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef class ReadCore:
    """The receiving half of a connection."""

    def __init__(self, ConnectionCore wire not None, OutboxCore outbox not None):
        self.wire = wire
        self._outbox = outbox

    def data_received(self, data):
        """Scan what has arrived."""
        try:
            if not self._is_open:
                self.wire.feed(data)
                self._scan()
            elif not self.take_in(data):
                self._scan()
            if self.wire.expects_large:
                self._read_in_place()
            return
        except MemoryError:
            pass
        # Only now: the exception has held what there is to be freed.
        self.no_memory()

    cdef bint take_in(self, data) except -1:
        """Take in what is common; False if there is more."""
        cdef ConnectionCore wire = self.wire
        cdef OutboxCore outbox = self._outbox
        cdef Py_ssize_t size = len(data), calls = outbox.calls, left
        cdef bint holds = outbox.begin_hold()
        try:
            left = wire.take(data, size, size)
        finally:
            if holds:
                # Answers leave at once: whoever asked waits for nothing else.
                outbox.end_hold()
        if outbox.calls < calls:
            # Who has awaited what came runs in this turn of the loop, and says more: it leaves right behind that.
            outbox.schedule()
        return left < 0 and wire.failure is None
