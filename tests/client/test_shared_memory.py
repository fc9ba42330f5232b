"""Memory without a name: its size stays as it is, and nothing else passes for it."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator

import pytest
from mainbus import shared_memory

pytestmark = pytest.mark.skipif(not shared_memory.AVAILABLE, reason="needs memory without a name, which Linux has")

SIZE = 1 << 20


@pytest.fixture
def memory() -> Iterator[int]:
    """The descriptor of a new one."""
    fd = shared_memory.make(SIZE)
    yield fd
    os.close(fd)


@pytest.mark.contract("8.6")
def test_its_size_cannot_be_changed_by_anybody(memory: int) -> None:
    for size in (0, SIZE - 1, SIZE + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(memory, size)


@pytest.mark.contract("8.6")
def test_nobody_writes_but_who_has_mapped_it_first(memory: int) -> None:
    assert not shared_memory.is_sealed(memory)
    with pytest.raises(OSError, match="may change"):
        shared_memory.view(memory, SIZE)
    reader = shared_memory.to_read(memory)
    with shared_memory.view(memory, SIZE, write=True) as written:
        assert shared_memory.is_sealed(memory)
        again = os.open(f"/proc/self/fd/{reader}", os.O_RDWR)
        for fd in (memory, again):
            with pytest.raises(PermissionError):
                shared_memory.view(fd, SIZE, write=True)
            with pytest.raises(PermissionError):
                os.pwrite(fd, b"x", 0)
            with pytest.raises(PermissionError):
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        written[0:1] = b"y"
        assert shared_memory.reserve(memory, 8192)
    os.close(reader)
    os.close(again)


def test_what_one_writes_another_reads(memory: int) -> None:
    with shared_memory.view(memory, SIZE, write=True) as written:
        reader = shared_memory.to_read(memory)
        with shared_memory.view(reader, SIZE) as read:
            os.close(reader)
            written[10:15] = b"hello"
            assert read[9:16] == b"\x00hello\x00"


@pytest.mark.contract("8.6")
def test_who_reads_cannot_write(memory: int) -> None:
    reader = shared_memory.to_read(memory)
    shared_memory.view(memory, SIZE, write=True).close()
    try:
        with pytest.raises(PermissionError):
            shared_memory.view(reader, SIZE, write=True)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.pwrite(reader, b"x", 0)
        with shared_memory.view(reader, SIZE) as read, pytest.raises(TypeError):
            read[0:1] = b"x"
    finally:
        os.close(reader)


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("size", [SIZE - 4096, SIZE + 4096, 0])
def test_another_size_than_was_said_is_refused(memory: int, size: int) -> None:
    with pytest.raises(OSError, match="another size"):
        shared_memory.view(memory, size)


@pytest.mark.contract("8.6")
def test_a_file_that_could_shrink_is_refused() -> None:
    fd = os.memfd_create("open", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, SIZE)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    with tempfile.TemporaryFile() as file:
        file.truncate(SIZE)
        for other in (fd, file.fileno()):
            with pytest.raises(OSError, match=r"another size|Invalid argument"):
                shared_memory.view(other, SIZE)
    os.close(fd)


def test_memory_is_had_before_it_is_written(memory: int) -> None:
    assert os.fstat(memory).st_blocks == 0
    assert shared_memory.reserve(memory, 8192)
    assert os.fstat(memory).st_blocks * 512 == 8192
    assert not shared_memory.reserve(memory, SIZE + 1)
