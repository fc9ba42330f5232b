# The fields that the compiled paths of messages reach directly.
from libc.stdint cimport uint32_t


cdef class OutboxCore:
    cdef public Py_ssize_t calls, handed, max_calls, queued, written, _in_pieces
    cdef public object _loop, _transport, _when_low
    cdef public list _packets, _ready, _waiters
    cdef public dict _starved
    cdef public tuple _in_flight
    cdef public bint _blocked, _scheduled, _widened
    cdef int add(self, bytes packet) except -1
    cdef int add_large(self, packet, Py_ssize_t size) except -1
    cdef int schedule(self) except -1
    cdef bint begin_hold(self)
    cdef int end_hold(self) except -1
    cdef int hand_on(self) except -1


cdef class RouteCore:
    cdef public Py_ssize_t credit, unanswered
    cdef public bint paused
    cdef public OutboxCore _outbox
    cdef public object _queue
    cdef bint free(self) except -1
    cdef bint credited(self)


cdef class CallsCore:
    cdef public object _loop
    cdef public dict _pending
    cdef public uint32_t _last
    cdef uint32_t take_number(self) except 0


cdef class TargetCore:
    cdef public object fn
    cdef public Py_ssize_t least, most
    cdef public bint is_plain, takes_main, takes_renderers


cdef class InboxCore:
    cdef public Py_ssize_t limit, running, starting, _waits, _begins
    cdef public bint _resolved
    cdef public object _waiting
    cdef bint is_clear(self) except -1
    cdef bint may_call_plain(self)
