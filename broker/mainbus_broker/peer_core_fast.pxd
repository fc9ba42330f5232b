# The fields that the compiled way of messages reaches directly.
from libc.stdint cimport uint32_t

from mainbus.cores_fast cimport OutboxCore
from mainbus.wire.packets_fast cimport ConnectionCore


cdef class Load:
    cdef public Py_ssize_t calm, hungry, left


cdef class PeerCore:
    cdef public bint closing, is_read, owes, _scheduled
    cdef readonly uint32_t id
    cdef public Py_ssize_t unread
    cdef Py_ssize_t hard
    cdef readonly bytes name_raw
    cdef public object contents, heard, lane, oneway, pausing, policy, streams, _calls, _hub, _inbox, _route
    cdef readonly OutboxCore outbox
    cdef readonly ConnectionCore wire
    cdef readonly Load _load
    cdef int count(self, Py_ssize_t size) except -1
    cdef bint is_content(self)
