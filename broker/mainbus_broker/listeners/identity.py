"""Who is at the other end of a connection, as the kernel says."""

import asyncio
import os
import socket
import struct
import sys

import msgspec
from mainbus.transports.memory_transport import MemoryTransport

if sys.platform == "win32":
    from mainbus.windows import client_of, current_user, executable_of, user_of

__all__ = ["Process", "can_hand_over", "identify", "peer_of", "same_user"]

# struct ucred: pid, uid, gid.
_UCRED = struct.Struct("iII")
# struct xucred: version, uid, number of groups, the groups; the first one is the effective one.
_XUCRED = struct.Struct("IIh2xI60x")
# <sys/un.h>; Python names none of them.
_SOL_LOCAL = 0
_LOCAL_PEERCRED = 1
_LOCAL_PEERPID = 2


class Process(msgspec.Struct, frozen=True, gc=False):
    """The process at the other end when it connected.

    Attributes:
        pid: its process ID; 0 if the system does not say.
        uid: its effective user, on Windows the text of its SID; None if the system does not say.
        gid: its effective group; None if the system does not say, as Windows.
    """

    pid: int
    uid: int | str | None
    gid: int | None

    @property
    def executable(self) -> str | None:
        """The program's path, or None. It informs and never decides: the process may run another one by now."""
        if sys.platform == "win32":
            return executable_of(self.pid)
        else:
            try:
                return os.readlink(f"/proc/{self.pid}/exe")
            except OSError:
                # Gone, another user's, or a system without /proc.
                return None


def identify(transport: asyncio.BaseTransport) -> Process:
    """Ask the kernel who is at the other end of a transport."""
    if isinstance(transport, MemoryTransport):
        return _ourselves()
    if sys.platform == "win32":
        pid = client_of(transport.get_extra_info("pipe").fileno())
        return Process(pid, user_of(pid) if pid else None, None)
    else:
        return peer_of(transport.get_extra_info("socket"))


def can_hand_over(transport: asyncio.BaseTransport) -> bool:
    """Say whether descriptors can be sent to the process at the other end of a transport like this one."""
    # All others that anybody listens at, where there are Unix sockets, are those.
    return hasattr(socket, "send_fds") and not isinstance(transport, MemoryTransport)


def same_user(process: Process) -> bool:
    """Say whether a process runs as the user that this one runs as; False if the system does not say."""
    return process.uid is not None and process.uid == _our_user()


def peer_of(sock: socket.socket) -> Process:
    """Ask the kernel who is at the other end of a connected socket."""
    if sys.platform == "linux":
        return _linux(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    elif sys.platform == "darwin":
        return _darwin(
            sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size), sock.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
        )
    else:
        return Process(0, None, None)


def _linux(credentials: bytes) -> Process:
    return Process(*_UCRED.unpack(credentials))


def _darwin(credentials: bytes, pid: int) -> Process:
    _, uid, _, gid = _XUCRED.unpack(credentials)
    return Process(pid, uid, gid)


def _our_user() -> int | str:
    if sys.platform == "win32":
        return current_user()
    else:
        return os.geteuid()


def _ourselves() -> Process:
    return Process(os.getpid(), _our_user(), None if sys.platform == "win32" else os.getegid())
