"""Memory that several processes have in common: a file without a name, made by the broker, whose size is sealed.

Whoever gets one checks that: a file that could shrink would end a process that reads it. Who writes maps it first, and
seals it then: nobody can map it to write from then on, nor write to it in another way, by whatever descriptor.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Final

if sys.platform == "linux":
    import fcntl

    _SIZE: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
    # F_SEAL_FUTURE_WRITE, which Linux has since 5.1 and Python does not name.
    _REST: Final = 0x10 | fcntl.F_SEAL_SEAL

AVAILABLE: Final = sys.platform == "linux" and hasattr(os, "memfd_create")
"""Whether this system has such memory."""


def make(size: int) -> int:
    """Return a descriptor of `size` bytes, which take no memory before they are written to.

    Raises:
        OSError: There are no descriptors, or no memory.
    """
    if sys.platform != "linux":
        raise OSError("there is no shared memory on this system")
    fd = os.memfd_create("mainbus", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SIZE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def to_read(fd: int) -> int:
    """Return another descriptor of the same memory, by which nothing can be written.

    Only with the seals is that so for whoever has it: it can be opened again.

    Raises:
        OSError: There are no descriptors, or no /proc.
    """
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)


def view(fd: int, size: int, *, write: bool = False) -> mmap.mmap:
    """Map a descriptor that somebody has sent. It stays the caller's, and may be closed.

    Args:
        fd: The descriptor.
        size: How large it was said to be.
        write: Whether to write there; nobody else can from then on.

    Raises:
        OSError: It is not what `make` makes, has no seals but who maps it is to read, or cannot be mapped.
    """
    if sys.platform != "linux":
        raise OSError("there is no shared memory on this system")
    needed = _SIZE if write else _SIZE | _REST
    if os.fstat(fd).st_size != size or fcntl.fcntl(fd, fcntl.F_GET_SEALS) & needed != needed:
        raise OSError("shared memory of another size, or which may change")
    try:
        found = mmap.mmap(fd, size, prot=mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
    except ValueError as error:
        raise OSError(str(error)) from error
    if write:
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _REST)
        except OSError:
            found.close()
            raise
    return found


def is_sealed(fd: int) -> bool:
    """Return whether who has mapped it to write is the only one that ever can."""
    return sys.platform == "linux" and fcntl.fcntl(fd, fcntl.F_GET_SEALS) == _SIZE | _REST


def reserve(fd: int, size: int) -> bool:
    """Get the memory for the first `size` bytes; whether it could be had. To write without it would end the process."""
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        return False
    return True
