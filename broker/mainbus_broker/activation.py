"""Sockets that somebody else has bound and handed to this process: by number, or as systemd does it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Final

from mainbus.errors import AddressError

_FIRST: Final = 3
"""systemd hands over descriptors from this number on."""

_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def inherited(numbers: Sequence[int] = ()) -> list[socket.socket]:
    """Take over listening sockets; each must be used or closed.

    Those of systemd are taken if LISTEN_PID names this process. The variables are removed, and the descriptors closed
    on exec, so that no child takes them for its own.

    Args:
        numbers: Descriptors to take beside them.

    Raises:
        AddressError: A number is no open Unix socket.
    """
    wanted = dict.fromkeys((*numbers, *_from_systemd()))
    taken: list[socket.socket] = []
    try:
        for number in wanted:
            taken.append(_take(number))
    except BaseException:
        for sock in taken:
            sock.close()
        raise
    return taken


def _from_systemd() -> range:
    pid, count, _ = (os.environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not count.isdecimal():
        return range(0)
    return range(_FIRST, _FIRST + int(count))


def _take(number: int) -> socket.socket:
    address = f"fd:{number}"
    try:
        sock = socket.socket(fileno=number)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AddressError(address, f"is no socket that was handed over: {reason}") from None
    if sock.family != getattr(socket, "AF_UNIX", None):
        # Left open: it is not ours, and nothing was done with it.
        sock.detach()
        raise AddressError(address, "the socket that was handed over is no Unix socket")
    sock.set_inheritable(False)
    return sock
