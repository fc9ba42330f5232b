# The fields that the compiled path of messages on ports reaches directly.
from mainbus.cores_fast cimport InboxCore, OutboxCore, RouteCore


cdef class EndCore:
    cdef public bint started, pulled, is_shut, is_over, _scheduled
    cdef public Py_ssize_t size, apart
    cdef public object loop, queue, _kept
    cdef public RemoteCore remote
    cdef public InboxCore _inbox
    cdef int count_out(self, tuple posted) except -1
    cdef bint is_ready(self, handle) except -1


cdef class RemoteCore:
    cdef public object _held
    cdef public Py_ssize_t _size
    cdef public EndCore end
    cdef public LinkCore link


cdef class LinkCore:
    cdef public bint is_open, has_left, is_drained
    cdef public Py_ssize_t _max_message, _used, _untaken, _owed
    cdef public OutboxCore _outbox
    cdef public RouteCore _route
    cdef public RemoteCore _remote
    cdef bint may_write(self) except -1
    cdef int owe(self, Py_ssize_t size) except -1
    cdef int write(self, bytes packet, Py_ssize_t size) except -1
