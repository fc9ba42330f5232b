"""A listener at a path: who may connect, what is in its way, and what it leaves behind."""

import asyncio
import errno
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mainbus.address import Address, default_address, parse
from mainbus.errors import AddressError
from mainbus.transports import connect
from mainbus_broker.listeners.unix import adopt, listen, prepare_folder

# Tries to connect as another user.
CONNECT = """
import os, socket, sys
os.setgid(65534)
os.setuid(65534)
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except PermissionError:
    sys.exit(7)
"""

# Notes every mode that a path is seen with, until it is told to go.
WATCH = """
import os, select, sys
modes = set()
print("ready", flush=True)
while not select.select([0], [], [], 0)[0]:
    try:
        modes.add(os.lstat(sys.argv[1]).st_mode & 0o777)
    except FileNotFoundError:
        pass
print(*modes)
"""


class Greeter(asyncio.Protocol):
    """Says hello to whom it accepts."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert transport.get_extra_info("socket") is not None
        transport.write(b"hello")  # type: ignore[attr-defined]


class Client(asyncio.Protocol):
    """Waits for what it gets first."""

    def __init__(self) -> None:
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if not self.first.done():
            self.first.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def greeted(address: Address) -> bool:
    """Say whether a greeter answers."""
    transport, client = await connect(address, Client)
    answered = await client.first == b"hello"
    transport.abort()
    await client.lost
    return answered


@pytest.fixture
def here(address: str) -> Address:
    """An address that nobody else uses."""
    return parse(address)


@pytest.fixture
def path(here: Address) -> Path:
    """Its path."""
    return Path(here.path)


def make_stale(path: Path) -> None:
    """Leave a socket behind, as a process that was killed does."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


@contextmanager
def somebody(path: Path, backlog: int = 5, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """Let a program that knows no locks have the path."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        if kind == socket.SOCK_STREAM:
            sock.listen(backlog)
        yield sock


async def refused(address: Address, reason: str) -> AddressError:
    with pytest.raises(AddressError, match=reason) as caught:
        await listen(address, Greeter)
    return caught.value


# Who may connect.


@pytest.mark.contract("8.1")
async def test_it_listens_and_goes_without_a_trace(here: Address, path: Path) -> None:
    listener = await listen(here, Greeter)
    assert listener.address == here
    assert await greeted(here)
    await listener.aclose()
    await listener.aclose()
    assert list(path.parent.iterdir()) == []


@pytest.mark.contract("8.1")
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
async def test_socket_and_default_folder_are_this_users_alone(
    path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    usual = os.umask(umask)
    listener = await listen(default_address(), Greeter)
    assert os.umask(usual) == umask
    names = ("mainbus", "mainbus/default.sock", "mainbus/default.sock.lock")
    modes = {name: stat.S_IMODE((path.parent / name).lstat().st_mode) for name in names}
    assert modes == dict(zip(names, (0o700, 0o600, 0o600), strict=True))
    await listener.aclose()


@pytest.mark.contract("8.1")
async def test_the_socket_never_had_a_wider_mode(here: Address, path: Path) -> None:
    usual = os.umask(0)
    with watching(path) as watcher:
        for _ in range(200):
            await (await listen(here, Greeter)).aclose()
        seen, _ = watcher.communicate("go")
    os.umask(usual)
    assert seen.split() in ([], [str(0o600)])


def watching(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WATCH, str(path)]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert watcher.stdout is not None
    watcher.stdout.readline()
    return watcher


@pytest.mark.contract("8.1")
async def test_an_existing_folder_keeps_its_mode(here: Address, path: Path) -> None:
    path.parent.chmod(0o755)
    listener = await listen(here, Greeter)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    if os.geteuid() == 0:
        # The folder lets everybody in; the socket does not.
        assert connects_as_nobody(path) == 7
    await listener.aclose()


def connects_as_nobody(path: Path) -> int:
    return subprocess.run([sys.executable, "-c", CONNECT, str(path)], check=False).returncode


@pytest.mark.contract("8.1")
async def test_a_folder_that_the_user_named_is_not_made(path: Path) -> None:
    folder = path.parent / "a b"
    path.parent.joinpath("file").touch()
    await refused(parse(f"unix:{folder}/s"), f"the folder {folder} does not exist; `mkdir -p -m 700 '{folder}'` makes")
    await refused(parse(f"unix:{folder}/c/s"), f"the folder {folder}/c does not exist")
    await refused(parse(f"unix:{path.parent}/file/s"), "cannot open the lock file")
    assert [found.name for found in path.parent.iterdir()] == ["file"]


async def test_a_default_folder_that_cannot_be_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str, mode: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    monkeypatch.setattr(os, "mkdir", full)
    await refused(default_address(), "cannot make its folder: No space left on device")


@pytest.mark.contract("8.2")
async def test_the_default_folder_is_made_and_must_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="mb") as temporary:
        os.chmod(temporary, 0o1777)
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        address = default_address()
        folder = Path(address.path).parent
        listener = await listen(address, Greeter)
        assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
        assert await greeted(default_address())
        await listener.aclose()
        folder.chmod(0o770)
        await refused(address, "is writable by others")
        folder.rmdir()
        Path(temporary, "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(Path(temporary, "elsewhere"))
        await refused(address, "is a symbolic link")
        assert list(Path(temporary, "elsewhere").iterdir()) == []
        folder.unlink()
        folder.symlink_to(Path(temporary, "missing"))
        await refused(address, "is a symbolic link")
        assert not Path(temporary, "missing").exists()


def test_many_may_prepare_the_same_folder_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def slow(name: str, mode: int) -> None:
        # Somebody else is a little faster.
        mkdir(name, mode)
        mkdir(name, mode)

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path.parent))
    monkeypatch.setattr(os, "mkdir", slow)
    prepare_folder(default_address())
    assert (path.parent / "mainbus").is_dir()


# What is in the way.


@pytest.mark.contract("8.3")
async def test_a_second_listener_is_refused_and_does_no_harm(here: Address) -> None:
    listener = await listen(here, Greeter)
    for _ in range(3):
        error = await refused(here, "in use")
        assert (error.address, error.pid) == (str(here), os.getpid())
    assert await greeted(here)
    await listener.aclose()


@pytest.mark.contract("8.3")
async def test_a_stale_socket_is_replaced(here: Address, path: Path) -> None:
    make_stale(path)
    path.chmod(0o777)
    listener = await listen(here, Greeter)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert await greeted(here)
    await listener.aclose()


@pytest.mark.contract("8.3")
async def test_a_socket_that_answers_stays(here: Address, path: Path) -> None:
    with somebody(path) as sock:
        before = path.lstat()
        error = await refused(here, "in use by another program")
        assert error.pid == os.getpid()
        assert os.path.samestat(before, path.lstat())
        sock.accept()[0].close()
    assert not Path(f"{path}.lock").exists()


@pytest.mark.contract("8.3")
async def test_a_socket_that_is_too_busy_to_answer_stays(here: Address, path: Path) -> None:
    with somebody(path, backlog=0), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        await refused(here, "in use by another program")
        assert path.is_socket()


@pytest.mark.contract("8.3")
async def test_a_socket_of_another_type_stays(here: Address, path: Path) -> None:
    with somebody(path, kind=socket.SOCK_DGRAM):
        await refused(here, "cannot listen there: Protocol wrong type for socket")
        assert path.is_socket()


@pytest.mark.contract("8.3")
async def test_a_path_that_is_no_socket_is_never_touched(here: Address, path: Path) -> None:
    path.write_text("precious")
    await refused(here, "there is a regular file at the path, which is left alone")
    assert path.read_text() == "precious"
    path.unlink()
    path.mkdir()
    await refused(here, "there is a folder at the path")
    path.rmdir()
    os.mkfifo(path)
    await refused(here, "there is a named pipe at the path")
    assert path.is_fifo()


@pytest.mark.contract("8.3")
async def test_a_link_is_no_socket_wherever_it_leads(here: Address, path: Path) -> None:
    stale = path.with_name("stale")
    make_stale(stale)
    for target in (stale, path.with_name("missing")):
        path.symlink_to(target)
        await refused(here, "there is a symbolic link at the path")
        assert path.is_symlink()
        path.unlink()
    assert stale.is_socket()
    assert not path.with_name("missing").exists()


async def test_somebody_who_takes_the_path_in_the_last_moment_keeps_it(
    here: Address, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another program knows nothing of our lock, so it may bind between our probe and our own bind.
    fchmod = os.fchmod

    def late(fd: int, mode: int) -> None:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            make_stale(path)
        fchmod(fd, mode)

    monkeypatch.setattr(os, "fchmod", late)
    await refused(here, "cannot listen there: Address already in use")
    assert path.is_socket()
    assert not Path(f"{path}.lock").exists()


async def test_cancelling_leaves_nothing(here: Address, path: Path) -> None:
    listening = asyncio.create_task(listen(here, Greeter))
    await asyncio.sleep(0)
    assert path.is_socket()
    listening.cancel()
    try:
        await (await listening).aclose()
    except asyncio.CancelledError:
        pass
    assert list(path.parent.iterdir()) == []
    # Had the loop kept the number of the closed socket, it would not watch the next file that gets it.
    listener = await listen(here, Greeter)
    assert await greeted(here)
    await listener.aclose()


# What it leaves behind.


@pytest.mark.contract("8.3")
async def test_only_our_own_inode_is_removed(here: Address, path: Path) -> None:
    # An inode's number is free for the next file once nothing refers to it: several tries provoke that.
    for _ in range(20):
        listener = await listen(here, Greeter)
        path.unlink()
        listener.stop_accepting()
        await asyncio.sleep(0)
        with somebody(path):
            before = path.lstat()
            await listener.aclose()
            assert os.path.samestat(before, path.lstat())
            path.unlink()


@pytest.mark.contract("8.3")
async def test_a_path_that_is_gone_is_none_of_our_business(here: Address, path: Path) -> None:
    listener = await listen(here, Greeter)
    path.unlink()
    await listener.aclose()
    assert list(path.parent.iterdir()) == []


async def test_a_path_that_cannot_be_removed_is_logged(
    here: Address, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unlink(name: str) -> None:
        raise PermissionError(13, "Permission denied", name)

    listener = await listen(here, Greeter)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        await listener.aclose()
    assert f"cannot remove the socket {path}: Permission denied" in caplog.text
    # What is left is a stale socket, so the address can be used again.
    await (await listen(here, Greeter)).aclose()


async def test_stop_accepting_keeps_the_address_and_the_connections(here: Address, path: Path) -> None:
    listener = await listen(here, Greeter)
    transport, client = await connect(here, Client)
    await client.first
    listener.stop_accepting()
    listener.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        await connect(here, Client)
    assert path.is_socket()
    await refused(here, "in use")
    await listener.aclose()
    assert not transport.is_closing()
    transport.abort()
    await client.lost


async def test_the_path_is_free_when_the_lock_is(here: Address, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, removed = os.unlink, []

    def note(name: str) -> None:
        removed.append(os.path.basename(name))
        unlink(name)

    listener = await listen(here, Greeter)
    monkeypatch.setattr(os, "unlink", note)
    await listener.aclose()
    assert removed == ["s", "s.lock"]


async def test_many_may_wait_to_be_accepted(here: Address) -> None:
    most = int(Path("/proc/sys/net/core/somaxconn").read_text()) if sys.platform == "linux" else 128
    listener = await listen(here, asyncio.Protocol)
    # More than asyncio's own 100; the loop gets no turn here to accept any.
    clients = [socket.socket(socket.AF_UNIX) for _ in range(min(most, 300))]
    for client in clients:
        client.setblocking(False)
        client.connect(here.path)
    for client in clients:
        client.close()
    await listener.aclose()


# A socket that somebody else made.


@contextmanager
def handed_over(path: str | bytes) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        yield sock


async def test_a_socket_that_was_handed_over_is_neither_locked_nor_removed(here: Address, path: Path) -> None:
    with handed_over(here.path) as sock:
        listener = await adopt(here, Greeter, sock)
        assert listener.address == here
        assert await greeted(here)
        assert not Path(f"{path}.lock").exists()
        await listener.aclose()
        assert path.is_socket()


async def test_a_socket_without_file_permissions_is_not_adopted(here: Address) -> None:
    with handed_over(b"\0mainbus-test-%d" % os.getpid()) as sock:
        await not_adopted(here, sock, "has no path, so no file permissions")
    with handed_over("") as sock:
        await not_adopted(here, sock, "has no path, so no file permissions")


async def test_a_socket_that_does_not_listen_is_not_adopted(here: Address) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        await not_adopted(here, sock, "does not listen")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        await not_adopted(here, sock, "is no Unix stream socket")
    with socket.socket() as sock:
        await not_adopted(here, sock, "is no Unix stream socket")


async def not_adopted(here: Address, sock: socket.socket, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        await adopt(here, Greeter, sock)
