# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Where large packets are read to, compiled: what `reading` puts in front of a protocol while they come."""

from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.stdint cimport uint8_t
from libc.stdlib cimport getenv
from libc.string cimport memcpy

from mainbus.wire.packets_fast cimport HEADER_SIZE, MAX_PACKET, ConnectionCore, get

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: packets are to be handled in Python")


cdef extern from "Python.h":
    PyObject* raw_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    int _PyBytes_Resize(PyObject**, Py_ssize_t) except -1
    char* start_of "PyBytes_AS_STRING"(PyObject*)


cdef enum:
    LARGE = 32 * 1024
    LITTLE = 4096
    # Who sends little so many times on end has come to the end of what is large: the next large message may follow.
    OFTEN = 8


cdef class Intake:
    """Where the bytes of large packets are read to, one packet at a time: a bytes object that nobody else has yet.

    It has room for the header of the next packet, too, so that how much room that one needs is known at once. It is a
    protocol, as far as it concerns what is read, and the buffer of it.

    Args:
        wire: Whose packets they are.
        take: Called with the bytes of a packet that is whole, and what has come in front of it and behind.
        little: Called when little has come, again and again: what is large is at an end.
        reserved: Called with the size of the room when a packet that is not whole stays there, and with that of what the
            protocol does not see; or None.
        filled: Called when there was no more room, and so more has come, or None.
        failed: Called once when there is no memory for it. What comes then is lost.
    """

    cdef ConnectionCore _wire
    cdef PyObject* _bytes
    cdef Py_ssize_t _room, _filled
    cdef int _littles
    cdef object _take, _little, _reserved, _was_filled, _failed
    cdef bint _is_told, _is_lost

    def __init__(self, ConnectionCore wire not None, take, little, reserved, filled, failed):
        self._wire = wire
        self._take = take
        self._little = little
        self._reserved = reserved
        self._was_filled = filled
        self._failed = failed

    def __dealloc__(self):
        Py_XDECREF(self._bytes)

    def __len__(self):
        """Return how many bytes may be read."""
        return self._room - self._filled

    def __getbuffer__(self, Py_buffer* view, int flags):
        if self._bytes == NULL:
            raise BufferError("there is no room yet")
        PyBuffer_FillInfo(view, self, start_of(self._bytes) + self._filled, self._room - self._filled, False, flags)

    def get_buffer(self, sizehint):
        """Return the room to read to, which is this object."""
        if self._is_lost:
            return bytearray(LITTLE)
        if self._bytes == NULL:
            try:
                self._make_room()
            except MemoryError:
                self._fail()
                return bytearray(LITTLE)
        return self

    def buffer_updated(self, Py_ssize_t nbytes):
        """Note that so many bytes were read, and hand a packet over that is whole."""
        cdef bint is_full
        if self._is_lost:
            return
        if self._bytes == NULL or not 0 <= nbytes <= self._room - self._filled:
            raise ValueError("Expected no more bytes than there is room for")
        self._filled += nbytes
        self._littles = self._littles + 1 if nbytes < LITTLE else 0
        if self._is_unfinished():
            if self._reserved is not None and not self._is_told:
                self._is_told = True
                self._reserved(self._room)
            return
        is_full = self._filled == self._room
        self._hand_over(self._taken())
        if is_full and self._was_filled is not None:
            self._was_filled()
        if self._littles >= OFTEN:
            self._little()

    cdef bint _is_unfinished(self) noexcept:
        """Whether the first packet is not whole, and there is room for its rest."""
        return self._filled < HEADER_SIZE or self._filled < get(<const uint8_t*>start_of(self._bytes)) <= self._room

    cdef int _hand_over(self, bytes data) except -1:
        """Hand over what was read: past the protocol, if it need not know."""
        cdef bint is_past
        try:
            is_past = self._wire.pass_on(data)
        except MemoryError:
            # For a message that has come in part: what there was of it may be gone.
            self._fail()
            return 0
        if not is_past:
            self._take(data)
        elif self._reserved is not None and not self._is_told:
            self._reserved(PyBytes_GET_SIZE(data))
        return 0

    cdef int _fail(self) except -1:
        self._is_lost = True
        self._failed()
        return 0

    cdef int _make_room(self) except -1:
        """Make room for a packet, of which the wire may have the beginning."""
        cdef ConnectionCore wire = self._wire
        cdef Py_ssize_t size = MAX_PACKET, have = 0
        if wire._pieces:
            have = wire._have
            if LARGE < wire._need < MAX_PACKET:
                size = wire._need
        self._room = max(size, have) + HEADER_SIZE
        self._bytes = raw_bytes(NULL, self._room)
        self._filled = 0
        self._is_told = False
        for piece in wire._pieces or ():
            self._copy(piece)
        wire._pieces = None
        wire.lent = self._room
        return 0

    cdef int _copy(self, piece) except -1:
        cdef const uint8_t[::1] some = piece
        memcpy(start_of(self._bytes) + self._filled, &some[0], some.shape[0])
        self._filled += some.shape[0]
        return 0

    cdef object _taken(self):
        if self._filled != self._room:
            _PyBytes_Resize(&self._bytes, self._filled)
        taken = <object>self._bytes
        Py_XDECREF(self._bytes)
        self._bytes = NULL
        self._wire.lent = 0
        return taken
