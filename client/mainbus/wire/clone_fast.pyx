# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The common values of structured clone, straight to CBOR (RFC 8949) and back, in one pass. Compiled, if it can be.

Text, bytes, numbers, booleans, None, and lists, tuples and dicts of them with keys of text. It may only ever succeed:
what it does not know, and whatever is wrong, it leaves to ``clone_encode`` and ``clone_decode``, so that there is one
place for each rule. It runs no Python code while it walks, so nothing changes under its feet.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_FromDouble
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_FromLongLong, PyLong_FromUnsignedLongLong
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.object cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport getenv
from libc.string cimport memcpy

if getenv("MAINBUS_PURE") != NULL:
    raise ImportError("MAINBUS_PURE is set: structured clone is to run in Python")

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object, int*) except? -1
    const char* PyUnicode_AsUTF8AndSize(object, Py_ssize_t*) except NULL
    object PyUnicode_DecodeUTF8(const char*, Py_ssize_t, const char*)
    int PyUnicode_IS_COMPACT_ASCII(object)
    Py_ssize_t PyUnicode_GET_LENGTH(object)
    void* PyUnicode_DATA(object)
    Py_ssize_t Py_REFCNT(PyObject*)


cdef enum:
    # Initial bytes.
    UNSIGNED = 0x00
    NEGATIVE = 0x20
    BYTES = 0x40
    TEXT = 0x60
    ARRAY = 0x80
    MAP = 0xA0
    FALSE = 0xF4
    TRUE = 0xF5
    NULL_ = 0xF6
    HALF = 0xF9
    DOUBLE = 0xFB
    # Bytes of the longest head.
    HEAD = 9
    # Containers inside containers: the walk recurses on the C stack, which may be small in a thread.
    DEEPEST = 64
    # Containers that somebody else holds too, of which it is remembered that they were written.
    REMEMBERED = 32
    # What most messages fit into is no allocation of its own.
    FIRST_ROOM = 512
    # From this size on the other encoder copies a byte string once, and this one twice. One of them that has not much
    # in front of it is quicker here all the same, if it does not leave in pieces.
    LARGE = 32768
    PIECES = 132 * 1024


class NotCommon(Exception):
    """There is something that only the other encoder, or decoder, knows, or that is wrong."""


# Writing


cdef struct Writer:
    uint8_t* data
    Py_ssize_t size
    Py_ssize_t room
    uint8_t first[FIRST_ROOM]
    PyObject* written[REMEMBERED]
    int count


def encode(object value, int max_depth):
    """Write a value as bytes, if all of it is common.

    Raises:
        NotCommon: it is not.
        UnicodeEncodeError: a text has a lone surrogate.
    """
    return encode_behind(NULL, 0, value, max_depth)


cdef bytes encode_behind(const uint8_t* head, Py_ssize_t size, object value, int max_depth):
    """Return some bytes and behind them what `encode` makes of a value; what it raises, this does."""
    cdef Writer out
    out.data = out.first
    out.size = out.count = 0
    out.room = FIRST_ROOM
    try:
        put_bytes(&out, <const char*>head, size)
        write(&out, <PyObject*>value, min(max_depth, DEEPEST))
        return PyBytes_FromStringAndSize(<char*>out.data, out.size)
    finally:
        if out.data != out.first:
            PyMem_Free(out.data)


cdef int write(Writer* out, PyObject* item, int depth) except -1:
    # Before this function holds it, too.
    cdef bint is_shared = Py_REFCNT(item) > 1
    cdef object value = <object>item
    cdef type cls = type(value)
    cdef long long number
    cdef int overflow = 0
    if cls is str:
        write_text(out, value)
        return 0
    reserve(out, HEAD)
    if cls is int:
        number = PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            raise NotCommon
        if number >= 0:
            put_head(out, UNSIGNED, <uint64_t>number)
        else:
            put_head(out, NEGATIVE, <uint64_t>~number)
    elif value is None:
        put_byte(out, NULL_)
    elif cls is bool:
        put_byte(out, TRUE if value is True else FALSE)
    elif cls is float:
        write_float(out, PyFloat_AS_DOUBLE(value))
    elif cls is bytes and PyBytes_GET_SIZE(value) < (LARGE if out.size >= LARGE else PIECES):
        put_head(out, BYTES, PyBytes_GET_SIZE(value))
        put_bytes(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
    else:
        write_container(out, item, depth, is_shared)
    return 0


cdef int write_container(Writer* out, PyObject* item, int depth, bint is_shared) except -1:
    cdef object value = <object>item
    cdef type cls = type(value)
    cdef Py_ssize_t index, position = 0
    cdef PyObject* key
    cdef PyObject* child
    # One that only its own container holds cannot occur twice.
    if depth <= 0 or (is_shared and may_be_written(out, item)):
        raise NotCommon
    if cls is list:
        put_head(out, ARRAY, PyList_GET_SIZE(value))
        for index in range(PyList_GET_SIZE(value)):
            write(out, PyList_GET_ITEM(value, index), depth - 1)
    elif cls is dict:
        put_head(out, MAP, PyDict_Size(value))
        while PyDict_Next(value, &position, &key, &child):
            if type(<object>key) is not str:
                raise NotCommon
            write_text(out, <object>key)
            write(out, child, depth - 1)
    elif cls is tuple:
        put_head(out, ARRAY, PyTuple_GET_SIZE(value))
        for index in range(PyTuple_GET_SIZE(value)):
            write(out, PyTuple_GET_ITEM(value, index), depth - 1)
    else:
        raise NotCommon
    return 0


cdef bint may_be_written(Writer* out, PyObject* item) noexcept:
    """Whether a container may have been written before; if not, remember that now it was."""
    cdef int index
    for index in range(out.count):
        if out.written[index] == item:
            return True
    if out.count == REMEMBERED:
        return True
    out.written[out.count] = item
    out.count += 1
    return False


cdef int write_text(Writer* out, object value) except -1:
    cdef Py_ssize_t size
    cdef const char* data
    if PyUnicode_IS_COMPACT_ASCII(value):
        size = PyUnicode_GET_LENGTH(value)
        data = <const char*>PyUnicode_DATA(value)
    else:
        data = PyUnicode_AsUTF8AndSize(value, &size)
    reserve(out, HEAD)
    put_head(out, TEXT, size)
    put_bytes(out, data, size)
    return 0


cdef void write_float(Writer* out, double number) noexcept:
    cdef uint64_t bits
    if number - number != 0.0:
        # NaN and the infinities have a short form.
        put_byte(out, HALF)
        put_byte(out, 0x7E if number != number else 0x7C if number > 0 else 0xFC)
        put_byte(out, 0x00)
    else:
        memcpy(&bits, &number, 8)
        put_byte(out, DOUBLE)
        put_number(out, bits, 8)


cdef int reserve(Writer* out, Py_ssize_t more) except -1:
    cdef uint8_t* data
    if out.size + more > out.room:
        data = <uint8_t*>PyMem_Realloc(NULL if out.data == out.first else out.data, 2 * out.room + more)
        if data == NULL:
            raise MemoryError
        if out.data == out.first:
            memcpy(data, out.first, out.size)
        out.data = data
        out.room = 2 * out.room + more
    return 0


cdef int put_bytes(Writer* out, const char* data, Py_ssize_t size) except -1:
    reserve(out, size)
    memcpy(out.data + out.size, data, size)
    out.size += size
    return 0


cdef inline void put_byte(Writer* out, int value) noexcept:
    out.data[out.size] = <uint8_t>value
    out.size += 1


cdef inline void put_number(Writer* out, uint64_t number, int width) noexcept:
    cdef int index
    for index in range(width):
        out.data[out.size + width - 1 - index] = <uint8_t>(number >> (8 * index))
    out.size += width


cdef inline void put_head(Writer* out, int major, uint64_t argument) noexcept:
    """Write a head in its shortest form; there is room for it."""
    if argument < 24:
        put_byte(out, major | <int>argument)
    elif argument < 0x100:
        put_byte(out, major | 24)
        put_number(out, argument, 1)
    elif argument < 0x10000:
        put_byte(out, major | 25)
        put_number(out, argument, 2)
    elif argument < 0x100000000:
        put_byte(out, major | 26)
        put_number(out, argument, 4)
    else:
        put_byte(out, major | 27)
        put_number(out, argument, 8)


# Reading


cdef struct Reader:
    const uint8_t* at
    const uint8_t* end


def decode(bytes data, int max_depth):
    """Read the value that bytes say, if all of it is common, and nothing follows it.

    Raises:
        NotCommon: it is not.
        UnicodeDecodeError: a text is not UTF-8.
    """
    return decode_at(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), max_depth)


cdef object decode_at(const uint8_t* at, Py_ssize_t size, int max_depth):
    """As `decode`, for bytes that somebody else keeps."""
    cdef Reader source
    source.at = at
    source.end = at + size
    cdef object value = read(&source, min(max_depth, DEEPEST))
    if source.at != source.end:
        raise NotCommon
    return value


cdef object read(Reader* source, int depth):
    cdef uint8_t first = take_byte(source)
    cdef int major = first & 0xE0
    if major == 0xE0:
        return read_simple(source, first)
    cdef uint64_t argument = take_argument(source, first)
    if major == TEXT:
        return take_text(source, argument)
    if major == UNSIGNED:
        return PyLong_FromUnsignedLongLong(argument)
    if major == MAP:
        return read_dict(source, argument, depth)
    if major == ARRAY:
        return read_list(source, argument, depth)
    if major == BYTES:
        return PyBytes_FromStringAndSize(take(source, argument), <Py_ssize_t>argument)
    if major == NEGATIVE and argument < 0x8000000000000000:
        return PyLong_FromLongLong(~<int64_t>argument)
    raise NotCommon


cdef object read_simple(Reader* source, uint8_t first):
    cdef uint64_t bits
    cdef double number
    if first == TRUE:
        return True
    if first == FALSE:
        return False
    if first == NULL_:
        return None
    if first == DOUBLE:
        bits = take_argument(source, first)
        memcpy(&number, &bits, 8)
        return PyFloat_FromDouble(number)
    raise NotCommon


cdef list read_list(Reader* source, uint64_t count, int depth):
    # Every item has at least a byte: what is declared and not there allocates nothing.
    if depth <= 0 or count > <uint64_t>(source.end - source.at):
        raise NotCommon
    cdef list items = []
    for _ in range(<Py_ssize_t>count):
        items.append(read(source, depth - 1))
    return items


cdef dict read_dict(Reader* source, uint64_t count, int depth):
    if depth <= 0 or count > <uint64_t>(source.end - source.at):
        raise NotCommon
    cdef dict pairs = {}
    cdef uint8_t first
    for _ in range(<Py_ssize_t>count):
        first = take_byte(source)
        if first & 0xE0 != TEXT:
            raise NotCommon
        key = take_text(source, take_argument(source, first))
        pairs[key] = read(source, depth - 1)
    if PyDict_Size(pairs) != <Py_ssize_t>count:
        raise NotCommon
    return pairs


cdef inline int take_byte(Reader* source) except -1:
    if source.at == source.end:
        raise NotCommon
    cdef int value = source.at[0]
    source.at += 1
    return value


cdef inline const char* take(Reader* source, uint64_t size) except NULL:
    if size > <uint64_t>(source.end - source.at):
        raise NotCommon
    source.at += size
    return <const char*>(source.at - size)


cdef inline object take_text(Reader* source, uint64_t size):
    return PyUnicode_DecodeUTF8(take(source, size), <Py_ssize_t>size, NULL)


cdef inline uint64_t take_argument(Reader* source, uint8_t first) except? 0xFFFFFFFFFFFFFFFF:
    cdef int low = first & 31, index
    cdef uint64_t argument = 0
    cdef const char* data
    if low < 24:
        return low
    if low > 27:
        raise NotCommon
    data = take(source, 1 << (low - 24))
    for index in range(1 << (low - 24)):
        argument = (argument << 8) | <uint8_t>data[index]
    return argument
