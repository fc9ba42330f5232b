# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""``leaving``, compiled: a small message from the values of its arguments to the outbox, in one go.

It may only ever succeed: whatever is unusual or wrong it leaves, untouched, to ``outgoing``, so that there is one
place for each rule.
"""

from asyncio import Future

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport getenv
from libc.string cimport memcpy

from mainbus.cores_fast cimport CallsCore, RouteCore
from mainbus.wire.clone_fast cimport encode_behind
from mainbus.wire.packets_fast cimport BY_NAME, HEADER_SIZE, MAX_FRAGMENT

from mainbus.channels import ENCODED
from mainbus.reply import Reply

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL


cdef enum:
    SEND = 16
    INVOKE = 19
    # With a name and a channel.
    LONGEST_HEAD = HEADER_SIZE + 2 * 255

cdef dict encoded = ENCODED
cdef object make = Future.__new__
cdef object begin = Future.__init__


cdef class Leaving:
    """The quick way out of a session.

    Args:
        routes: Its routes.
        calls: Its pending calls.
        cancelled: What is told of a reply that was cancelled.
        owner: Whose thread it is for; in any other nothing is quick.
    """

    cdef object routes, cancelled, owner
    cdef CallsCore calls
    cdef Py_ssize_t max_message
    cdef int depth

    def __init__(self, routes, CallsCore calls not None, cancelled, owner):
        self.routes = routes
        self.calls = calls
        self.cancelled = cancelled
        self.owner = owner

    def limit(self, Py_ssize_t max_message, int depth):
        """Send within these limits from now on; before that nothing is quick, and nothing again once they are 0."""
        self.max_message = max_message
        self.depth = depth

    def send(self, target, channel, tuple args not None, uint32_t frame):
        """Send a one-way message, if that can be done at once; False: nothing was done."""
        cdef RouteCore route = self.find(target)
        if route is None or not route.free():
            return False
        cdef bytes packet = self.encode(SEND, target, channel, args, frame)
        if packet is None:
            return False
        route._outbox.add(packet)
        return True

    def invoke(self, target, channel, tuple args not None, uint32_t frame):
        """Send a request without a deadline, if that can be done at once; None: nothing was done."""
        cdef RouteCore route = self.find(target)
        if route is None or not route.free() or not route.credited():
            return None
        cdef bytes packet = self.encode(INVOKE, target, channel, args, frame)
        if packet is None:
            return None
        cdef uint32_t request = self.calls.take_number()
        put(<uint8_t*>PyBytes_AS_STRING(packet) + 12, request)
        reply = make(Reply)
        begin(reply, loop=self.calls._loop)
        reply.channel = channel
        reply.request = request
        reply.route = route
        reply.timeout = None
        reply.is_answered = False
        reply._on_cancel = self.cancelled
        self.calls._pending[request] = reply
        route.unanswered += 1
        route._outbox.calls += 1
        route._outbox.add(packet)
        return reply

    cdef RouteCore find(self, target):
        """Return the route to a target that is known and needs no check any more, or None."""
        if self.owner.thread != PyThread_get_thread_ident():
            return None
        # Not a bool, nor what else may be equal to a key.
        if type(target) is not str and (type(target) is not int or target < 0):
            return None
        return (<dict?>self.routes._open).get(target)

    cdef bytes encode(self, uint8_t kind, target, channel, tuple args, uint32_t frame):
        """Return the packet, without a number, or None."""
        cdef uint8_t head[LONGEST_HEAD]
        cdef Py_ssize_t names = 0
        cdef const char* name = NULL
        cdef bytes raw = encoded.get(channel) if type(channel) is str else None
        if raw is None:
            return None
        if type(target) is str:
            name = PyUnicode_AsUTF8AndSize(target, &names)
            if names > 255:
                return None
        cdef Py_ssize_t size = HEADER_SIZE + names + PyBytes_GET_SIZE(raw)
        head[4] = kind
        head[5] = BY_NAME if name != NULL else 0
        head[6] = <uint8_t>names
        head[7] = <uint8_t>PyBytes_GET_SIZE(raw)
        put(head + 8, 0 if name != NULL else <uint32_t>target)
        put(head + 12, 0)
        # Only the main process gets to know which frame it was.
        put(head + 16, 0 if head[5] or target else frame)
        put(head + 20, 0)
        if name != NULL:
            memcpy(head + HEADER_SIZE, name, names)
        memcpy(head + HEADER_SIZE + names, PyBytes_AS_STRING(raw), PyBytes_GET_SIZE(raw))
        try:
            packet = encode_behind(head, size, args, self.depth)
        except Exception:
            # Not common, or wrong: who encodes it again knows which.
            return None
        if PyBytes_GET_SIZE(packet) - size > min(self.max_message, MAX_FRAGMENT):
            return None
        put(<uint8_t*>PyBytes_AS_STRING(packet), <uint32_t>PyBytes_GET_SIZE(packet))
        return packet


cdef inline void put(uint8_t* at, uint32_t value) noexcept nogil:
    at[0] = value >> 24
    at[1] = (value >> 16) & 0xFF
    at[2] = (value >> 8) & 0xFF
    at[3] = value & 0xFF
