# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Packets built, found in what was read, and taken apart, compiled if it can be: what ``packets`` and ``connection``
do to every packet, for the packets that have nothing special about them.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport getenv
from libc.string cimport memcpy

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: packets are to be handled in Python")


cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char*, Py_ssize_t, const char*)
    PyObject* raw_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject**, Py_ssize_t) except -1
    char* start_of "PyBytes_AS_STRING"(PyObject*)


cdef enum:
    # To change protocols costs more than to copy less than this.
    IN_PLACE = 32 * 1024
    # The kinds of which a fragment between the first and the last takes the short way.
    SEND = 16
    INVOKE = 19
    RESULT = 24
    # Their streams (see `fragments`): to an id, to a name, and of replies.
    TO_ID = 0
    TO_NAME = 1
    REPLIES = 3
    # Which way a packet takes.
    COMMON = 0
    IN_POOL = 1
    CONTINUING = 2
    # How much room a byte string gets that arrives in parts: so many times what has come.
    GROWTH = 8


def build(
    uint8_t kind,
    uint32_t peer=0,
    uint32_t request=0,
    object body=b"",
    *,
    uint8_t flags=0,
    uint32_t frame=0,
    uint32_t value=0,
    bytes name=b"",
    bytes channel=b"",
):
    """Build one packet; the body must fit into it (`MAX_FRAGMENT` bytes)."""
    cdef Py_buffer view
    if type(body) is bytes:
        return built(
            kind, flags, peer, request, frame, value, name, channel, PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)
        )
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        return built(kind, flags, peer, request, frame, value, name, channel, <const char*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


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
):
    """Return a packet, or what is in front of its body of so many bytes if that is NULL."""
    cdef Py_ssize_t names = PyBytes_GET_SIZE(name), channels = PyBytes_GET_SIZE(channel)
    cdef Py_ssize_t front = HEADER_SIZE + names + channels
    if names > 255 or channels > 255:
        raise ValueError(f"a name of {names} and a channel of {channels} bytes do not fit")
    packet = PyBytes_FromStringAndSize(NULL, front if body == NULL else front + size)
    cdef uint8_t* at = <uint8_t*>PyBytes_AS_STRING(packet)
    put(at, <uint32_t>(front + size))
    at[4] = kind
    at[5] = flags
    at[6] = <uint8_t>names
    at[7] = <uint8_t>channels
    put(at + 8, peer)
    put(at + 12, request)
    put(at + 16, frame)
    put(at + 20, value)
    memcpy(at + HEADER_SIZE, PyBytes_AS_STRING(name), names)
    memcpy(at + HEADER_SIZE + names, PyBytes_AS_STRING(channel), channels)
    if body != NULL:
        memcpy(at + front, body, size)
    return packet


cdef class Taker:
    """Who takes common packets as they are found, one by one."""

    cdef int take(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        """Return `NOT_TAKEN`, having done nothing, or `TAKEN`, or `ENOUGH` if it is to be the last for now."""
        return NOT_TAKEN

    cdef int take_more(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        """Do so with a fragment that is neither the first nor the last."""
        return wire.join(head, data, at)

    cdef int pass_on(self, owner, ConnectionCore wire, const uint8_t* head, bytes data) except -1:
        """Do so with one that was read alone, if its owner need not know that something was read."""
        return self.take_more(owner, wire, head, data, 0)

    cdef int take_pooled(self, owner, ConnectionCore wire, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        """Do so with a message that is in a pool."""
        return NOT_TAKEN


cdef class ConnectionCore:
    """What was fed to a connection, and how far it was scanned."""

    def __init__(self, bytes needs not None):
        self._needs = needs
        self._data = b""

    def take_in(self, fed, Py_ssize_t count, Py_ssize_t size):
        """Take bytes as they arrive, and hand their packets over; returns how many more there may be, -1: none is left."""
        return self.take(fed, count, size)

    cdef Py_ssize_t take(self, fed, Py_ssize_t count, Py_ssize_t size) except -2:
        # Proactor loops of Windows bring a bytearray.
        cdef bytes data = fed if type(fed) is bytes else bytes(fed)
        cdef bint behind = self._at < PyBytes_GET_SIZE(self._data) or self._next is not None
        if behind or self._pieces or self.failure is not None or self.taker is None:
            self.feed(data)
            return count
        self._data = data
        self._at = 0
        count = self.hand(min(PyBytes_GET_SIZE(data), size), count)
        if self._at < PyBytes_GET_SIZE(self._data):
            if count >= 0 and self.keep_rest():
                return -1
            # It is enough for now, if the taker says so, or that is all that one turn has.
            return count if count > 0 and self._at < size else 0
        self._data = b""
        self._at = 0
        return -1

    def hand_over(self, Py_ssize_t last, Py_ssize_t count):
        """Hand packets to the taker while it takes them; returns how many more there may be, or -1 if it has enough."""
        return self.hand(last, count)

    cdef Py_ssize_t hand(self, Py_ssize_t last, Py_ssize_t count) except -2:
        cdef Taker taker = self.taker
        if taker is None:
            return count
        cdef bytes data = self._data, needs = self._needs
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data), at = self._at, length
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef const uint8_t* need = <const uint8_t*>PyBytes_AS_STRING(needs)
        cdef int outcome, way
        if at < 0 or PyBytes_GET_SIZE(needs) != 256:
            raise ValueError("Expected a place in the data, and a byte for each kind")
        while at < last and count and self.received >= self.skip:
            # Inside a message, only what goes on with it; all else is a case for whoever joins them.
            way, length = COMMON, 0
            if not self._partials:
                length = common(start, at, end, need, self._max_body)
                if not length:
                    way, length = IN_POOL, in_pool(start, at, end, need)
            if not length:
                way, length = CONTINUING, continuing(start, at, end, need, self._max_body)
                if not length:
                    break
            self._at = at + length
            self.received += 1
            if way == COMMON:
                outcome = taker.take(self.owner, self, start + at, data, at)
            elif way == CONTINUING:
                outcome = taker.take_more(self.owner, self, start + at, data, at)
            else:
                outcome = taker.take_pooled(self.owner, self, start + at, data, at)
            if outcome == NOT_TAKEN:
                self._at = at
                self.received -= 1
                break
            at += length
            count -= 1
            if outcome == ENOUGH or self._needs is not needs:
                return -1
        return count

    cdef int join(self, const uint8_t* head, bytes data, Py_ssize_t at) except -1:
        """Add a fragment to the large byte string that it is a part of, if all of it is."""
        cdef dict partials = self._partials
        cdef int stream = stream_of(head)
        cdef Py_ssize_t size = body_size(head), start = at + HEADER_SIZE + head[6], whole
        cdef Growing large
        if not partials or stream < 0:
            return NOT_TAKEN
        partial = partials.get((get(head + 8), stream))
        if partial is None or partial._kind != head[4] or partial._request != get(head + 12):
            return NOT_TAKEN
        large = partial._large
        whole = partial.size + size
        if large is None or large._size - large._filled < size or whole > self._max_message:
            return NOT_TAKEN
        large.add(data, start, start + size)
        partial.size = whole
        return TAKEN

    cdef bint pass_on(self, bytes data) except -1:
        """Hand over what was read, if that is one fragment alone, and perhaps the beginning of the next packet."""
        cdef bytes needs = self._needs
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data), length
        if (
            self.taker is None
            or self._pieces
            or self._at < PyBytes_GET_SIZE(self._data)
            or self._next is not None
            or self.received < self.skip
        ):
            return False
        length = continuing(start, 0, end, <const uint8_t*>PyBytes_AS_STRING(needs), self._max_body)
        if not length or (end - length >= HEADER_SIZE and not end - length < get(start + length) <= MAX_PACKET):
            return False
        self.received += 1
        if self.taker.pass_on(self.owner, self, start, data) == NOT_TAKEN:
            self.received -= 1
            return False
        if length < end:
            self._data = data
            self._at = length
            self.keep_rest()
        return True

    cdef bint keep_rest(self) except -1:
        """Put the bytes of an incomplete packet aside, if that is all that is left."""
        cdef bytes data = self._data
        cdef Py_ssize_t left = PyBytes_GET_SIZE(data) - self._at, need = HEADER_SIZE
        if left >= HEADER_SIZE:
            need = get(<const uint8_t*>PyBytes_AS_STRING(data) + self._at)
            if not left < need <= MAX_PACKET:
                return False
        self._pieces = [PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + self._at, left)]
        self._have = left
        self._need = need
        self.expects_large = need > IN_PLACE and not self.in_place
        self._data = b""
        self._at = 0
        return True


def scan(bytes data, Py_ssize_t at, Py_ssize_t last, Py_ssize_t count, bytes needs, Py_ssize_t max_body):
    """Return header, buffer and place of the packets from `at` on that have nothing special about them."""
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef const uint8_t* need = <const uint8_t*>PyBytes_AS_STRING(needs)
    cdef const uint8_t* head
    cdef Py_ssize_t end = PyBytes_GET_SIZE(data), length
    cdef list found = []
    if at < 0 or PyBytes_GET_SIZE(needs) != 256:
        raise ValueError("Expected a place in the data, and a byte for each kind")
    while at < last and count:
        length = common(start, at, end, need, max_body)
        if not length:
            break
        head = start + at
        found.append((
            (
                length,
                head[4],
                head[5],
                head[6],
                head[7],
                get(head + 8),
                get(head + 12),
                get(head + 16),
                get(head + 20),
            ),
            data,
            at,
        ))
        at += length
        count -= 1
    return found


cdef inline Py_ssize_t common(
    const uint8_t* start, Py_ssize_t at, Py_ssize_t end, const uint8_t* need, Py_ssize_t max_body
) noexcept nogil:
    """Return the length of a packet that is whole, right and of one piece; 0 if it is not, or there is none."""
    if end - at < HEADER_SIZE:
        return 0
    cdef const uint8_t* head = start + at
    cdef Py_ssize_t length = get(head), body = HEADER_SIZE + head[6] + head[7]
    if (
        length > end - at
        or (head[5] and head[5] != BY_NAME)
        or length < body
        or length > body + max_body
        or need[head[4]] > (head[7] > 0)
        or not is_ascii(head + HEADER_SIZE, body - HEADER_SIZE)
    ):
        return 0
    return length


cdef inline Py_ssize_t continuing(
    const uint8_t* start, Py_ssize_t at, Py_ssize_t end, const uint8_t* need, Py_ssize_t max_body
) noexcept nogil:
    """Return the length of a whole fragment that is neither the first nor the last; 0 if it is no such one."""
    if end - at < HEADER_SIZE:
        return 0
    cdef const uint8_t* head = start + at
    cdef Py_ssize_t length = get(head), body = HEADER_SIZE + head[6]
    if (
        length > end - at
        or head[5] & ~BY_NAME != MORE | CONTINUES
        or head[7]
        or length <= body
        or length > body + max_body
        or need[head[4]] > 1
        or not is_ascii(head + HEADER_SIZE, head[6])
    ):
        return 0
    return length


cdef inline Py_ssize_t in_pool(
    const uint8_t* start, Py_ssize_t at, Py_ssize_t end, const uint8_t* need
) noexcept nogil:
    """Return the length of a whole packet whose body is in a pool; 0 if it is not."""
    if end - at < HEADER_SIZE:
        return 0
    cdef const uint8_t* head = start + at
    cdef Py_ssize_t length = get(head), body = HEADER_SIZE + head[6] + head[7]
    if (
        length > end - at
        or head[5] & ~BY_NAME != POOLED
        or (head[4] != SEND and head[4] != INVOKE and head[4] != RESULT)
        or length != body + PLACE_SIZE
        or need[head[4]] > (head[7] > 0)
        or not is_ascii(head + HEADER_SIZE, body - HEADER_SIZE)
    ):
        return 0
    return length


cdef inline bint is_ascii(const uint8_t* text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size):
        if text[i] & 0x80:
            return False
    return True


cdef int stream_of(const uint8_t* head) noexcept nogil:
    if head[4] == RESULT:
        return REPLIES
    if head[4] == SEND or head[4] == INVOKE:
        return TO_NAME if head[5] & BY_NAME else TO_ID
    return -1


cdef Py_ssize_t body_size(const uint8_t* head) noexcept nogil:
    return <Py_ssize_t>get(head) - HEADER_SIZE - head[6] - head[7]


def whole(tuple head, bytes data, Py_ssize_t at):
    """Take a packet apart that is a message of its own."""
    cdef const uint8_t* start = packet_at(data, at)
    cdef Py_ssize_t names = start[6], channels = start[7]
    cdef Py_ssize_t body = HEADER_SIZE + names + channels
    return (
        head[1],
        head[2],
        head[5],
        head[6],
        head[7],
        head[8],
        PyBytes_FromStringAndSize(<const char*>start + HEADER_SIZE, names),
        PyUnicode_DecodeUTF8(<const char*>start + HEADER_SIZE + names, channels, NULL),
        PyBytes_FromStringAndSize(<const char*>start + body, <Py_ssize_t>get(start) - body),
    )


def readdress(bytes data, Py_ssize_t at, uint32_t peer, bytes name):
    """Return a whole packet with another peer and name, and all the rest as it is."""
    if PyBytes_GET_SIZE(name) > 255:
        raise ValueError(f"a name of {len(name)} bytes does not fit")
    return readdressed(packet_at(data, at), peer, name)


cdef bytes readdressed(const uint8_t* start, uint32_t peer, bytes name):
    """As `readdress`, for a packet that was found to be all there, and a name that fits."""
    cdef Py_ssize_t names = PyBytes_GET_SIZE(name), rest = <Py_ssize_t>get(start) - HEADER_SIZE - start[6]
    packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + names + rest)
    cdef uint8_t* head = <uint8_t*>PyBytes_AS_STRING(packet)
    memcpy(head, start, HEADER_SIZE)
    put(head, <uint32_t>(HEADER_SIZE + names + rest))
    head[6] = <uint8_t>names
    put(head + 8, peer)
    memcpy(head + HEADER_SIZE, PyBytes_AS_STRING(name), names)
    memcpy(head + HEADER_SIZE + names, start + HEADER_SIZE + start[6], rest)
    return packet


cdef bytes front_of(const uint8_t* start, uint32_t peer, bytes name, Py_ssize_t size):
    """Return a fragment's header and name with another peer and name, in front of so many bytes of its body."""
    cdef Py_ssize_t names = PyBytes_GET_SIZE(name)
    packet = PyBytes_FromStringAndSize(NULL, HEADER_SIZE + names)
    cdef uint8_t* head = <uint8_t*>PyBytes_AS_STRING(packet)
    memcpy(head, start, HEADER_SIZE)
    put(head, <uint32_t>(HEADER_SIZE + names + size))
    head[6] = <uint8_t>names
    put(head + 8, peer)
    memcpy(head + HEADER_SIZE, PyBytes_AS_STRING(name), names)
    return packet


cdef const uint8_t* packet_at(bytes data, Py_ssize_t at) except NULL:
    """Return where a packet begins that is all there, its name and channel included."""
    cdef Py_ssize_t there = PyBytes_GET_SIZE(data) - at
    if at < 0 or there < HEADER_SIZE:
        raise ValueError("there is no whole packet at this place")
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data) + at
    cdef Py_ssize_t length = get(start)
    if length > there or length < HEADER_SIZE + start[6] + start[7]:
        raise ValueError("there is no whole packet at this place")
    return start


cdef class Growing:
    """A byte string of known length, which takes no more memory than a few times what has come of it.

    It is written where it will stay: nobody else has it before `take`.
    """

    cdef PyObject* _bytes
    cdef Py_ssize_t _room, _filled, _size

    def __cinit__(self, Py_ssize_t size):
        if size < 0:
            raise ValueError("Expected a size")
        self._size = size

    def __dealloc__(self):
        Py_XDECREF(self._bytes)

    @property
    def missing(self):
        """Bytes that have not come."""
        return self._size - self._filled

    def add(self, bytes data, Py_ssize_t start, Py_ssize_t stop):
        """Take more of it: a slice of `data`, no longer than what is missing."""
        if not 0 <= start <= stop <= PyBytes_GET_SIZE(data) or stop - start > self._size - self._filled:
            raise ValueError("Expected a slice of the data, no longer than what is missing")
        if self._room - self._filled < stop - start:
            # A length that is only declared must not take memory; and what is moved as it grows is a small part.
            self._resize(min(self._size, GROWTH * (self._filled + stop - start)))
        if self._bytes != NULL:
            memcpy(start_of(self._bytes) + self._filled, PyBytes_AS_STRING(data) + start, stop - start)
        self._filled += stop - start

    def take(self):
        """Return what has come, and forget it."""
        if self._bytes == NULL:
            return b""
        self._resize(self._filled)
        taken = <object>self._bytes
        Py_XDECREF(self._bytes)
        self._bytes = NULL
        self._room = self._filled = 0
        return taken

    cdef int _resize(self, Py_ssize_t room) except -1:
        cdef Py_ssize_t filled = self._filled
        if self._bytes == NULL:
            self._bytes = raw_bytes(NULL, room)
        elif room != self._room:
            # Where there is no memory for it, it is gone.
            self._room = self._filled = 0
            _PyBytes_Resize(&self._bytes, room)
        self._room = room
        self._filled = filled
        return 0
