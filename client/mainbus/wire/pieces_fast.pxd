cdef class Pieces:
    cdef readonly object parts
    cdef Py_ssize_t _size
