# What the compiled paths of messages use directly.
from libc.stdint cimport uint8_t, uint32_t


cdef enum:
    HEADER_SIZE = 24
    MAX_FRAGMENT = 132 * 1024
    MAX_PACKET = 24 + 255 + 255 + 132 * 1024
    MORE = 1
    CONTINUES = 2
    BY_NAME = 4
    POOLED = 32
    # Bytes of the body of what is in a pool.
    PLACE_SIZE = 32
    # What a taker did with a packet.
    NOT_TAKEN = 0
    TAKEN = 1
    ENOUGH = 2


cdef inline void put(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF


cdef inline uint32_t get(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef class Taker:
    cdef int take(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1
    cdef int take_more(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1
    cdef int pass_on(self, owner, ConnectionCore wire, const uint8_t* head, bytes data) except -1
    cdef int take_pooled(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1


cdef class ConnectionCore:
    cdef public Py_ssize_t received, skip, lent, _at, _have, _max_body, _max_message, _need
    cdef public bint expects_large, in_place
    cdef public bytes _data, _needs
    cdef public list _pieces
    cdef public object _next, _partials, failure, owner
    cdef public Taker taker
    cdef Py_ssize_t take(self, fed, Py_ssize_t count, Py_ssize_t size) except -2
    cdef Py_ssize_t hand(self, Py_ssize_t last, Py_ssize_t count) except -2
    cdef int join(self, const uint8_t* head, bytes data, Py_ssize_t at) except -1
    cdef bint pass_on(self, bytes data) except -1
    cdef bint keep_rest(self) except -1


cdef bytes built(
    uint8_t kind,
    uint8_t flags,
    uint32_t peer,
    uint32_t request,
    uint32_t frame,
    uint32_t value,
    bytes name,
    bytes channel,
    const char* body,
    Py_ssize_t size,
)
cdef bytes readdressed(const uint8_t* start, uint32_t peer, bytes name)
cdef int stream_of(const uint8_t* head) noexcept nogil
cdef Py_ssize_t body_size(const uint8_t* head) noexcept nogil
cdef bytes front_of(const uint8_t* start, uint32_t peer, bytes name, Py_ssize_t size)
