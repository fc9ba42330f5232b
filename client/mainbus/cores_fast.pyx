# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""``cores``, compiled: the same fields and steps, which the compiled paths of messages reach without a call."""

from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.stdlib cimport getenv

from mainbus.wire.pieces_fast cimport Pieces

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef enum:
    ROOM = 1024 * 1024
    CHUNK = 256 * 1024
    LARGE_CHUNK = 576 * 1024


cdef tuple NONE_IN_FLIGHT = (b"", 0)


cdef class OutboxCore:
    """Packets in the order in which they leave."""

    def __init__(self, loop, Py_ssize_t max_calls):
        self.max_calls = max_calls
        self._loop = loop
        self._packets = []
        self._in_flight = NONE_IN_FLIGHT
        self._blocked = True

    def put(self, bytes packet not None):
        """Queue one packet; all of one turn of the loop leave in one write."""
        self.add(packet)

    def flush_soon(self):
        """Hand over what waits, and what is put meanwhile, with the next turn of the loop."""
        self.schedule()

    cdef int add(self, bytes packet) except -1:
        self._packets.append(packet)
        self.queued += PyBytes_GET_SIZE(packet)
        return self.schedule()

    cdef int add_large(self, packet, Py_ssize_t size) except -1:
        """Queue a packet of so many bytes that is in pieces."""
        self._in_pieces += 1
        self._packets.append(packet)
        self.queued += size
        return self.schedule()

    cdef int schedule(self) except -1:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.leave)
        return 0

    def hold(self):
        """Let what is put wait for `let_go`, which must follow; False: it is going to leave anyhow, and needs none."""
        return self.begin_hold()

    cdef bint begin_hold(self):
        if self._scheduled:
            return False
        self._scheduled = True
        return True

    def let_go(self):
        """Let what was held leave now."""
        self.end_hold()

    cdef int end_hold(self) except -1:
        if self._packets or self._ready:
            self.hand_on()
        else:
            self._scheduled = False
        return 0

    def leave(self):
        """As `flush`, which does it if anybody waits for that, or there is too much."""
        self.hand_on()

    cdef int hand_on(self) except -1:
        cdef Py_ssize_t size = self.queued, count = len(self._packets)
        if (
            self._blocked
            or not count
            or size > (LARGE_CHUNK if self._in_pieces else CHUNK)
            or (self._in_pieces and not self._widened)
            or self._ready
            or self._starved
            or self._waiters
            or self._when_low is not None
        ):
            self.flush()
            return 0
        self._scheduled = False
        cdef list packets = self._packets
        cdef bint in_pieces = self._in_pieces > 0
        transport = self._transport
        if in_pieces:
            data = packets[0] if count == 1 else gathered(packets)
            write, what = transport.writelines, data.parts
            self._in_pieces = 0
        else:
            what = data = packets[0] if count == 1 else b"".join(packets)
            write = transport.write
        packets.clear()
        self._in_flight = (data, count)
        self.queued = 0
        self.handed += size
        self.written += count
        write(what)
        if in_pieces and not self._blocked and transport.get_write_buffer_size():
            # Some versions of asyncio do not say so; this makes them look (and it is what it was).
            transport.set_write_buffer_limits(high=0)
        if self._packets and not self._blocked:
            self.schedule()
        return 0


cdef object gathered(list packets):
    """Return packets as one, whose parts stay where they are."""
    cdef list parts = []
    for packet in packets:
        if type(packet) is bytes:
            parts.append(packet)
        else:
            parts.extend(packet.parts)
    return Pieces(parts)


cdef class RouteCore:
    """The way to one target: whether the next packet may leave at once."""

    def __init__(self, OutboxCore outbox not None, Py_ssize_t credit, queue):
        self.credit = credit
        self._outbox = outbox
        self._queue = queue

    @property
    def is_free(self):
        """Whether a packet that costs no credit may leave at once."""
        return self.free()

    @property
    def has_credit(self):
        """Whether another invoke may be unanswered."""
        return self.credited()

    def charge(self, Py_ssize_t invokes):
        """Count invokes that leave."""
        self.unanswered += invokes
        self._outbox.calls += invokes

    cdef bint free(self) except -1:
        return not self.paused and self._outbox.queued < ROOM and len(self._queue) == 0

    cdef bint credited(self):
        return self.unanswered < self.credit and self._outbox.calls < self._outbox.max_calls


cdef class CallsCore:
    """The invokes that have no answer yet, by their numbers."""

    def __init__(self, loop):
        self._loop = loop
        self._pending = {}

    def next_request(self):
        """Return a request ID that is not in use."""
        return self.take_number()

    cdef uint32_t take_number(self) except 0:
        while True:
            # Past the highest comes 1: 0 is no request.
            self._last += 1
            if self._last and self._last not in self._pending:
                return self._last


cdef class TargetCore:
    """A registered callable: what calling it takes, as far as nothing about it is unusual."""

    def __init__(
        self, fn, Py_ssize_t least, Py_ssize_t most, bint is_plain, bint takes_main, bint takes_renderers
    ):
        self.fn = fn
        self.least = least
        self.most = most
        self.is_plain = is_plain
        self.takes_main = takes_main
        self.takes_renderers = takes_renderers


cdef class InboxCore:
    """The arrivals of one sender: whether the next may start at once."""

    def __init__(self, Py_ssize_t limit, waiting):
        self.limit = limit
        self._waiting = waiting

    @property
    def clear(self):
        """Whether an arrival may be started at once, before anything else is asked."""
        return self.is_clear()

    @property
    def full(self):
        """Whether arrivals wait because too many tasks run."""
        return self.running >= self.limit

    @property
    def waiting(self):
        """Whether a reply must wait too: arrivals wait in front of it, for a reason that passes by itself."""
        return len(self._waiting) > 0 and self.running < self.limit

    def may_call(self, bint is_coroutine):
        """Whether a callable may be called now: tasks of coroutines keep their order among themselves."""
        return (
            not self._waits and not self._resolved and (is_coroutine or not self._begins) and self.running < self.limit
        )

    def hold_for_awaiter(self):
        """Let what arrives from now on wait until code that awaits a reply just resolved has run."""
        self._resolved = True

    cdef bint is_clear(self) except -1:
        return not self._waits and not self._begins and not self._resolved and len(self._waiting) == 0

    cdef bint may_call_plain(self):
        return not self._waits and not self._resolved and not self._begins and self.running < self.limit
