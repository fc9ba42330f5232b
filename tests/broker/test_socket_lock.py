"""The lock file: who holds it, what is left of it, and what strangers put in its place."""

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mainbus.address import parse
from mainbus.errors import AddressError
from mainbus_broker import socket_lock
from mainbus_broker.socket_lock import SocketLock

# Holds a lock by hand, with any text in the file, until it is told to go.
HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(address: str) -> Path:
    """The lock file that belongs to the address."""
    return Path(f"{parse(address).path}.lock")


@contextmanager
def held(path: Path) -> Iterator[int]:
    """Let another process hold the lock; gives its pid, which the file does not contain."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def pid_that_is_gone() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.mark.contract("8.3")
async def test_the_file_is_private_names_its_holder_and_goes_with_it(address: str, path: Path) -> None:
    umask = os.umask(0)
    lock = await SocketLock.acquire(parse(address))
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == f"{os.getpid()}\n"
    lock.release()
    assert not path.exists()
    lock.release()


@pytest.mark.contract("8.3")
async def test_a_second_one_is_refused_by_name(address: str) -> None:
    lock = await SocketLock.acquire(parse(address))
    with pytest.raises(AddressError, match="in use, another process holds") as caught:
        await SocketLock.acquire(parse(address))
    assert (caught.value.address, caught.value.pid) == (address, os.getpid())
    lock.release()
    (await SocketLock.acquire(parse(address))).release()


@pytest.mark.contract("8.3")
async def test_a_file_that_was_left_behind_is_taken_over(address: str, path: Path) -> None:
    path.write_text("4194304444\nrubbish")
    path.chmod(0o666)
    lock = await SocketLock.acquire(parse(address))
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    lock.release()


@pytest.mark.contract("8.3")
@pytest.mark.parametrize("text", ["", "gone", "rubbish", "99999999999999999999"])
async def test_the_holders_pid_is_waited_for(address: str, path: Path, text: str) -> None:
    path.write_text(str(pid_that_is_gone()) if text == "gone" else text)
    with held(path) as pid:
        acquiring = asyncio.create_task(SocketLock.acquire(parse(address)))
        done, _ = await asyncio.wait([acquiring], timeout=0.05)
        assert not done
        path.write_text(f"{pid}\n")
        with pytest.raises(AddressError) as caught:
            await acquiring
        assert caught.value.pid == pid


async def test_a_process_that_is_not_ours_may_hold_it(address: str, path: Path) -> None:
    path.write_text("1")
    with held(path), pytest.raises(AddressError) as caught:
        await SocketLock.acquire(parse(address))
    assert caught.value.pid == 1


async def test_a_holder_that_never_says_its_pid_is_refused_without(
    address: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_lock, "_PID_TRIES", 3)
    with held(path), pytest.raises(AddressError, match="in use, another process holds") as caught:
        await SocketLock.acquire(parse(address))
    assert caught.value.pid is None


async def test_a_holder_that_goes_meanwhile_leaves_it_to_us(address: str, path: Path) -> None:
    with held(path):
        acquiring = asyncio.create_task(SocketLock.acquire(parse(address)))
        await asyncio.wait([acquiring], timeout=0.02)
    (await acquiring).release()


async def test_cancelling_leaves_nothing_open(address: str, path: Path) -> None:
    with held(path):
        acquiring = asyncio.create_task(SocketLock.acquire(parse(address)))
        await asyncio.wait([acquiring], timeout=0.02)
        acquiring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await acquiring


@pytest.mark.contract("8.3")
async def test_a_file_that_was_removed_after_it_was_opened_does_not_count(
    address: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The race of removing lock files, played by hand: between our opening and our locking, its holder removes the
    # file and goes, and a third one makes and locks a new one.
    flock = fcntl.flock
    others: list[int] = []

    def late(fd: int, operation: int) -> None:
        if not others:
            path.unlink()
            others.append(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            os.write(others[0], str(os.getpid()).encode())
            flock(others[0], fcntl.LOCK_EX)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(AddressError, match="in use"):
        await SocketLock.acquire(parse(address))
    os.close(others[0])


@pytest.mark.contract("8.3")
async def test_another_file_at_the_path_stays(address: str, path: Path) -> None:
    lock = await SocketLock.acquire(parse(address))
    path.unlink()
    path.write_text("another's")
    lock.release()
    assert path.read_text() == "another's"


async def test_a_file_that_is_gone_is_not_missed(address: str, path: Path) -> None:
    lock = await SocketLock.acquire(parse(address))
    path.unlink()
    lock.release()
    assert not path.exists()


async def test_a_file_that_cannot_be_removed_is_free_all_the_same(
    address: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(name: str) -> None:
        raise PermissionError(name)

    lock = await SocketLock.acquire(parse(address))
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        lock.release()
    assert path.exists()
    (await SocketLock.acquire(parse(address))).release()


# What strangers could put there.


@pytest.mark.contract("8.3")
async def test_a_link_is_not_followed(address: str, path: Path) -> None:
    target = path.with_name("target")
    target.write_text("precious")
    path.symlink_to(target)
    await refused(address, "cannot open the lock file")
    assert target.read_text() == "precious"
    path.unlink()
    path.symlink_to(path.with_name("missing"))
    await refused(address, "cannot open the lock file")
    assert not path.with_name("missing").exists()


@pytest.mark.contract("8.3")
async def test_a_second_name_of_a_file_of_ours_is_not_overwritten(address: str, path: Path) -> None:
    precious = path.with_name("precious")
    precious.write_text("precious")
    os.link(precious, path)
    await refused(address, "it is no lock file of ours")
    assert precious.read_text() == "precious"


@pytest.mark.contract("8.3")
async def test_what_is_no_file_is_refused(address: str, path: Path) -> None:
    os.mkfifo(path)
    await refused(address, "it is no lock file of ours")
    path.unlink()
    path.mkdir()
    await refused(address, "Is a directory")


@pytest.mark.contract("8.3")
async def test_another_users_file_is_refused(address: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("1")
    us = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: us + 1)
    await refused(address, "it is no lock file of ours")
    assert path.read_text() == "1"


async def refused(address: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        await SocketLock.acquire(parse(address))
