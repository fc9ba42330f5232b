"""What Windows says of users, processes and pipes."""

import _winapi
import asyncio
import os
import sys
from collections.abc import Iterator
from secrets import token_hex

import pytest
from mainbus import windows

from tests.support.bus import Program

assert sys.platform == "win32"

SYSTEM = "S-1-5-18"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe that was made for this user alone."""
    name = rf"\\.\pipe\mb-{token_hex(8)}"
    security = windows.SecurityAttributes(windows.current_user())
    mode = _winapi.PIPE_ACCESS_DUPLEX | _winapi.FILE_FLAG_OVERLAPPED
    server = _winapi.CreateNamedPipe(name, mode, 0, 1, 4096, 4096, 0, security.address)
    access = _winapi.GENERIC_READ | _winapi.GENERIC_WRITE
    client = _winapi.CreateFile(name, access, 0, 0, _winapi.OPEN_EXISTING, 0, 0)
    yield server, client
    _winapi.CloseHandle(client)
    _winapi.CloseHandle(server)


def test_users_are_sids() -> None:
    user = windows.current_user()
    assert user.startswith("S-1-5-21-")
    assert windows.user_of(os.getpid()) == user


async def test_another_process_of_this_user() -> None:
    async with Program("say(os.getpid()); sys.stdin.read()") as program:
        pid = int(await program.line())
        assert windows.user_of(pid) == windows.current_user()
        assert windows.executable_of(pid) == windows.executable_of(os.getpid()) == sys.executable


def test_a_process_that_is_gone() -> None:
    assert windows.user_of(0xFFFF_FFF0) is None
    assert windows.executable_of(0xFFFF_FFF0) is None


@pytest.mark.contract("8.1")
def test_a_pipe_admits_its_owner_and_the_system_and_nobody_else(pipe: tuple[int, int]) -> None:
    user = windows.current_user()
    for end in pipe:
        assert windows.owner_of(end) == user
        # Generic access (GA) is full access (FA) once it is bound to a file.
        assert windows.descriptor_of(end).replace("FA", "GA") == f"O:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY)"


def test_both_ends_know_the_process_at_the_other(pipe: tuple[int, int]) -> None:
    server, client = pipe
    assert windows.client_of(server) == windows.server_of(client) == os.getpid()
    assert windows.client_of(0) == windows.server_of(0) == 0


def test_errors_of_the_system_are_told() -> None:
    with pytest.raises(OSError, match="WinError"):
        windows.owner_of(0)
    with pytest.raises(OSError, match="WinError"):
        windows.SecurityAttributes("nobody")


def test_the_loop_is_the_proactor() -> None:
    loop = asyncio.new_event_loop()
    assert isinstance(loop, asyncio.ProactorEventLoop)
    loop.close()
