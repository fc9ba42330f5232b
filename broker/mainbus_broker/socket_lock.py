"""The lock file beside a socket: who holds it may probe, replace and remove the socket's path.

The lock is the kernel's (flock), so it ends with its holder however that one ends; the file holds the holder's pid
for the message to everybody else. A clean exit removes the file. The classic race of that - somebody opened the file
before it was removed and locks what has no name any more, while a third one makes and locks a new file - is closed by
looking again after locking: a lock counts only if its file still is the one at the path.
"""

import asyncio
import fcntl
import os
import stat
from typing import Self

from mainbus.address import Address
from mainbus.errors import AddressError

__all__ = ["SocketLock"]

# How often and how long (seconds) the loser waits for the winner, who writes its pid right after locking.
_PID_TRIES = 100
_PID_PAUSE = 0.01


class SocketLock:
    """A lock that is held.

    Args:
        path: of the lock file.
        fd: of the locked file; `release` closes it.
    """

    __slots__ = ("_fd", "_path")

    def __init__(self, path: str, fd: int) -> None:
        self._path = path
        # -1 once it is released.
        self._fd = fd

    @classmethod
    async def acquire(cls, address: Address) -> Self:
        """Take the lock of a ``unix:`` address without waiting for its holder.

        Raises:
            AddressError: somebody holds it, or something that is no lock file of ours is there.

        Cancelling is safe: the lock is not held.
        """
        path = f"{address.path}.lock"
        holder: int | None = None
        for _ in range(_PID_TRIES):
            fd = _open(address, path)
            try:
                if not _try_lock(fd):
                    # A file left by a holder that was killed has its pid until the new holder writes its own.
                    holder = _read_pid(fd)
                    if holder is not None and _is_alive(holder):
                        break
                elif _is_at(fd, path):
                    _write_pid(fd)
                    lock = cls(path, fd)
                    fd = -1
                    return lock
            finally:
                if fd >= 0:
                    os.close(fd)
            await asyncio.sleep(_PID_PAUSE)
        raise AddressError(str(address), f"in use, another process holds {path}", pid=holder)

    def release(self) -> None:
        """Remove the file and let go. A second call does nothing."""
        if self._fd < 0:
            return
        if _is_at(self._fd, self._path):
            try:
                os.unlink(self._path)
            except OSError:
                # A file that cannot be removed (its folder is read-only by now) is as good as none once unlocked.
                pass
        os.close(self._fd)
        self._fd = -1


def _open(address: Address, path: str) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise AddressError(str(address), f"cannot open the lock file {path}: {error.strerror}") from error
    status = os.fstat(fd)
    # A second name could be one of ours elsewhere, linked here so that we overwrite it. No name at all is a file
    # that its holder has just removed.
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink <= 1:
        return fd
    os.close(fd)
    raise AddressError(str(address), f"{path} is in the way: it is no lock file of ours")


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def _write_pid(fd: int) -> None:
    # Who can open the file can lock it; one of ours that was found here may have had another mode.
    os.fchmod(fd, 0o600)
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() and len(text) < 10 else None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
