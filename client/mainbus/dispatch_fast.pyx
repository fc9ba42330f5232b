# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What the compiled paths of both ends do with a common message: the quick half of ``dispatch`` and ``calls``.

A plain function is called where the bytes arrived, with arguments that were decoded there. Whatever is unusual, from
the second listener that must wait to a result that can be awaited, goes on in Python from just there.
"""

from asyncio import InvalidStateError
from time import perf_counter

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.float cimport PyFloat_AS_DOUBLE
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport getenv
from libc.string cimport memcpy

from mainbus.cores_fast cimport CallsCore, InboxCore, RouteCore, TargetCore
from mainbus.wire.clone_fast cimport decode_at, encode_behind
from mainbus.wire.packets_fast cimport HEADER_SIZE, MAX_FRAGMENT, NOT_TAKEN, TAKEN, get, put

from mainbus.reply import Reply

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: messages are to be handled in Python")


cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char*, Py_ssize_t, const char*)


cdef double SLOW = 0.1
cdef frozenset VALUES = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})


cdef list arguments(const uint8_t* head, int depth):
    """Return the arguments that a message carries, or None if they are not common, or wrong."""
    cdef const uint8_t* body = head + HEADER_SIZE + head[6] + head[7]
    try:
        args = decode_at(body, <Py_ssize_t>get(head) - (body - head), depth)
    except Exception:
        return None
    return args if type(args) is list else None


cdef str channel_of(const uint8_t* head):
    return PyUnicode_DecodeUTF8(<const char*>head + HEADER_SIZE + head[6], head[7], NULL)


cdef int settle(CallsCore calls, InboxCore inbox, const uint8_t* head, int depth) except -1:
    """Answer a pending call with its result; `NOT_TAKEN` if that is not the common case."""
    if inbox is None or (len(inbox._waiting) and inbox.running < inbox.limit):
        return NOT_TAKEN
    request = get(head + 12)
    reply = calls._pending.get(request)
    if type(reply) is not Reply or reply.done():
        return NOT_TAKEN
    cdef const uint8_t* body = head + HEADER_SIZE + head[6] + head[7]
    try:
        value = decode_at(body, <Py_ssize_t>get(head) - (body - head), depth)
    except Exception:
        return NOT_TAKEN
    # What was decoded may have let the collector run, and somebody's finaliser give up this very call.
    if reply.done() or calls._pending.get(request) is not reply:
        return NOT_TAKEN
    cdef RouteCore route = reply.route
    del calls._pending[request]
    if route._outbox._starved or len(route._queue):
        route.answered()
    else:
        route.unanswered -= 1
        route._outbox.calls -= 1
    try:
        reply.set_result(value)
    except InvalidStateError:
        # A finaliser again.
        return TAKEN
    # What comes behind it waits for the code that awaits it.
    inbox._resolved = True
    return TAKEN


cdef int call_listeners(dispatch, InboxCore inbox, event, list args, tuple targets, str channel) except -1:
    """Call the listeners of a message that has arrived; its turn has come."""
    cdef Py_ssize_t index, count = len(args)
    cdef TargetCore target
    cdef tuple given = (event, *args)
    for index in range(len(targets)):
        target = targets[index]
        if not (target.is_plain and target.least <= count <= target.most and inbox.may_call_plain()):
            dispatch.listeners(inbox, event, args, targets, index)
            break
        try:
            result = call(dispatch, target, given, channel)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            dispatch._report(error, event)
        else:
            if result is not None and type(result) not in VALUES:
                dispatch.heard(inbox, event, result)
    return 0


cdef int call_handler(dispatch, InboxCore inbox, event, list args, TargetCore target, str channel, list result) except -1:
    """Call the handler of an invoke; its result is appended if it is to be sent, all others are answered."""
    try:
        value = call(dispatch, target, (event, *args), channel)
    except (KeyboardInterrupt, SystemExit) as error:
        dispatch._raised(event, error)
        raise
    except BaseException as error:
        dispatch._raised(event, error)
    else:
        if type(value) in VALUES:
            result.append(value)
        else:
            dispatch.returned(inbox, event, value)
    return 0


cdef object call(dispatch, TargetCore target, tuple given, str channel):
    began = perf_counter()
    try:
        return target.fn(*given)
    finally:
        if PyFloat_AS_DOUBLE(perf_counter()) - PyFloat_AS_DOUBLE(began) > SLOW:
            dispatch.say_slow(began, target, channel)


cdef bytes result_packet(uint8_t kind, const uint8_t* request, value, int depth, Py_ssize_t max_message):
    """Return the packet with the result of a request, given by its header; None if it is not common, or too long."""
    cdef uint8_t head[HEADER_SIZE]
    head[4] = kind
    head[5] = head[6] = head[7] = 0
    memcpy(head + 8, request + 8, 8)
    put(head + 16, 0)
    put(head + 20, 0)
    try:
        packet = encode_behind(head, HEADER_SIZE, value, depth)
    except Exception:
        return None
    if PyBytes_GET_SIZE(packet) - HEADER_SIZE > min(max_message, MAX_FRAGMENT):
        return None
    put(<uint8_t*>PyBytes_AS_STRING(packet), <uint32_t>PyBytes_GET_SIZE(packet))
    return packet
