# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""A run of bytes in several places, and a body cut into fragments, compiled: what ``pieces`` and ``packets`` do."""

from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport getenv

from mainbus.wire.packets_fast cimport CONTINUES, MAX_FRAGMENT, MORE, built

from mainbus.wire.heap import expect

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: packets are to be handled in Python")


cdef enum:
    CHUNKS = 2 * 1024 * 1024


cdef class Pieces:
    """Bytes in several buffers, none of which anybody changes."""

    def __init__(self, parts):
        self.parts = parts
        for part in parts:
            self._size += len(part)

    def __len__(self):
        return self._size

    def __bytes__(self):
        return b"".join(self.parts)

    def __radd__(self, front):
        return Pieces((front, *self.parts))


def fragments(
    uint8_t kind,
    uint32_t peer,
    uint32_t request,
    body,
    *,
    uint8_t flags=0,
    uint32_t frame=0,
    uint32_t value=0,
    bytes name=b"",
    bytes channel=b"",
):
    """Yield the packets of a body that is too long for one, which is not copied."""
    cdef Py_ssize_t left = len(body), size
    cdef uint8_t continues = 0
    cdef list packet
    cdef Views views = Views(body)
    expect(CHUNKS)
    while left:
        size = min(left, MAX_FRAGMENT)
        left -= size
        flags_here = flags | continues | (MORE if left else 0)
        packet = [built(kind, flags_here, peer, request, frame, value, name, channel, NULL, size)]
        views.take(packet, size)
        yield Pieces(packet)
        continues = CONTINUES
        channel = b""
        value = 0


cdef class Views:
    """What is left of a body, as views of it."""

    cdef object _parts, _view
    cdef Py_ssize_t _at, _size

    def __cinit__(self, body):
        self._parts = iter((body,) if isinstance(body, bytes) else body.parts)

    cdef int take(self, list packet, Py_ssize_t room) except -1:
        """Append the next bytes to a packet, so many as there are to be."""
        cdef Py_ssize_t some
        while room:
            if self._at == self._size:
                self._view = PyMemoryView_FromObject(next(self._parts))
                self._at = 0
                self._size = len(self._view)
            some = min(room, self._size - self._at)
            if some:
                packet.append(self._view[self._at : self._at + some])
            self._at += some
            room -= some
        return 0
