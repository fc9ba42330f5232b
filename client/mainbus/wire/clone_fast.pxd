# What the compiled paths of messages call directly.
from libc.stdint cimport uint8_t

cdef bytes encode_behind(const uint8_t* head, Py_ssize_t size, object value, int max_depth)
cdef object decode_at(const uint8_t* at, Py_ssize_t size, int max_depth)
