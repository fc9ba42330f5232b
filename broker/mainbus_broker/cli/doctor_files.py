"""What `mainbus doctor` finds at the path of the address: folder, socket and lock file. It changes none of them."""

from __future__ import annotations

import fcntl
import os
import shlex
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from mainbus.address import Address, is_default_folder

from mainbus_broker.cli.findings import Finding, hint, ok, wrong
from mainbus_broker.listeners.identity import peer_of


@dataclass(frozen=True, slots=True)
class _Answer:
    """What connecting to the socket has shown."""

    pid: int | None = None
    """Who answers; None if nobody does, 0 if the system does not say who."""
    stale: bool = False


def examine_files(address: Address) -> Iterator[Finding]:
    """Yield what is found."""
    folder = os.path.dirname(address.path)
    if not os.path.isdir(folder):
        yield _no_folder(folder)
        return
    yield _folder(folder)
    answer = _probe(address.path)
    yield _socket(address.path, answer)
    yield _lock(f"{address.path}.lock", answer)


def _no_folder(folder: str) -> Finding:
    if os.path.lexists(folder):
        return wrong("folder", f"{folder} is no folder", "move it away, or choose another address")
    if is_default_folder(folder):
        return ok("folder", f"{folder} is not there yet, `mainbus serve` makes it")
    return wrong("folder", f"{folder} does not exist", f"`mkdir -p -m 700 {shlex.quote(folder)}` makes it")


def _folder(folder: str) -> Finding:
    status = os.stat(folder)
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    private = f"`chmod 700 {shlex.quote(folder)}`"
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        return wrong("folder", f"others may put a socket of their own into {folder} ({mode})", private)
    if status.st_uid not in (os.geteuid(), 0):
        text = f"{folder} belongs to the user with uid {status.st_uid}, who may replace the socket"
        return wrong("folder", text, "choose a folder of your own")
    if not os.access(folder, os.W_OK | os.X_OK):
        return wrong("folder", f"this user may not make files in {folder} ({mode})", "choose a folder of your own")
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        text = f"{folder} is shared: whoever comes first has the name"
        return hint("folder", text, "a folder of your own with mode 700 is safer")
    if status.st_mode & 0o077:
        return hint("folder", f"others may look into {folder} ({mode})", private)
    return ok("folder", f"{folder}, {mode}")


def _probe(path: str) -> _Answer:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
            return _Answer(pid=peer_of(probe).pid)
        except BlockingIOError:
            # Its queue of connections is full: somebody is there, and does not accept.
            return _Answer(pid=0)
        except ConnectionRefusedError:
            return _Answer(stale=True)
        except OSError:
            return _Answer()


def _socket(path: str, answer: _Answer) -> Finding:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ok("socket", "is not there: no broker has this address")
    if not stat.S_ISSOCK(status.st_mode):
        return wrong("socket", f"{path} is no socket, and a broker leaves it alone", "move it, or change the address")
    mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
    if status.st_uid != os.geteuid():
        text = f"{path} belongs to the user with uid {status.st_uid}, whose broker serves that user only"
        return wrong("socket", text, "choose another address")
    if answer.stale:
        return hint("socket", f"{path} is stale: its broker was killed", "`mainbus serve` replaces it")
    if stat.S_IMODE(status.st_mode) != 0o600:
        return wrong("socket", f"{path} has {mode}, not 0600", f"`chmod 600 {shlex.quote(path)}`")
    return ok("socket", f"{path}, {mode}")


def _lock(path: str, answer: _Answer) -> Finding:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        if answer.pid is None:
            return ok("lock file", "is not there: no broker runs")
        text = "is missing beside a socket that answers: somebody removed it, or a service manager made the socket"
        return hint("lock file", text, "with `mainbus serve --fd` all is well, else restart the broker")
    except OSError as error:
        return wrong("lock file", f"{path} cannot be opened: {error.strerror}", f"`rm {shlex.quote(path)}`")
    try:
        return _lock_file(path, fd, answer)
    finally:
        os.close(fd)


def _lock_file(path: str, fd: int, answer: _Answer) -> Finding:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink > 1:
        return wrong("lock file", f"{path} is no lock file of ours", f"`rm {shlex.quote(path)}`, if you know it")
    if not _is_held(fd):
        return ok("lock file", f"{path} is left over and free, the next broker takes it")
    text = os.pread(fd, 32, 0).strip()
    holder = f"process {int(text)}" if text.isdigit() else "a process"
    if answer.pid is None:
        remedy = f"end {holder} and start it again" if text.isdigit() else "restart the broker"
        return wrong("lock file", f"{holder} holds {path}, and its socket is gone or answers nobody", remedy)
    return ok("lock file", f"held by {holder}")


def _is_held(fd: int) -> bool:
    # Shared, and for a moment: a broker that starts at that very moment tries again.
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
