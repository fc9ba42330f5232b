# What the compiled paths of arrivals have in common.
from libc.stdint cimport uint8_t

from mainbus.cores_fast cimport CallsCore, InboxCore, RouteCore, TargetCore

cdef list arguments(const uint8_t* head, int depth)
cdef str channel_of(const uint8_t* head)
cdef int settle(CallsCore calls, InboxCore inbox, const uint8_t* head, int depth) except -1
cdef int call_listeners(dispatch, InboxCore inbox, event, list args, tuple targets, str channel) except -1
cdef int call_handler(dispatch, InboxCore inbox, event, list args, TargetCore target, str channel, list result) except -1
cdef bytes result_packet(uint8_t kind, const uint8_t* head, value, int depth, Py_ssize_t max_message)
