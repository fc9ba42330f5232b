# The fields that the compiled way of messages reaches directly.
from mainbus.cores_fast cimport OutboxCore
from mainbus.wire.packets_fast cimport ConnectionCore


cdef class ReadCore:
    cdef public bint _is_open
    cdef readonly OutboxCore _outbox
    cdef readonly ConnectionCore wire
    cdef bint take_in(self, data) except -1
