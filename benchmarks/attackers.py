"""Neighbours that mean harm: each is a process that does one thing as fast as it can, and connects again when closed.

They write packets of their own making to blocking sockets, so that no client of ours holds them back.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from itertools import count, cycle
from time import monotonic
from typing import Final

import cbor2
import common
from mainbus.wire.messages import Hello, pack
from mainbus.wire.packets import HEADER_SIZE, MAIN, Kind, build, fragments
from mainbus.wire.port_table import MAX_PORTS
from mainbus.wire.port_table import pack as pack_ports

VICTIM: Final = b"answer"
"""The renderer that the well-behaved pair lives by."""

KEYS: Final = 20_000
DEEP: Final = 100_000

_SPELL: Final = 0.25
"""Seconds after which a flood changes what it floods with."""

_ROUND: Final = 128
"""Packets written at a time."""

_PRIME: Final = (1 << 61) - 1
"""Whole numbers that are multiples of it have the same hash in Python."""

_ENOUGH: Final = 1 << 16
"""Bytes that are read at a time."""

# A list with one dict, written by hand: to make the dict is what takes so long.
_COLLIDING: Final = (
    b"\x81\xb9" + KEYS.to_bytes(2) + b"".join(cbor2.dumps(key * _PRIME) + b"\xf6" for key in range(KEYS))
)

_turns: Final = count()


class Closed(Exception):
    """The broker has ended the connection."""


class Connection:
    """A renderer that was welcomed; whatever goes wrong is `Closed`.

    Args:
        path: The broker's socket.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
            self._socket.sendall(pack(Hello()))
            # All that counts is that it is an answer: one who was refused tries again.
            self._socket.recv(HEADER_SIZE)
        except OSError as error:
            self.close()
            raise Closed from error

    def write(self, data: bytes) -> None:
        """Send bytes, whatever the broker says meanwhile."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Closed from error

    def skim(self) -> None:
        """Read what is there, and look at none of it."""
        try:
            while len(self._socket.recv(_ENOUGH, socket.MSG_DONTWAIT)) == _ENOUGH:
                pass
        except BlockingIOError:
            pass
        except OSError as error:
            raise Closed from error

    def wait_for_end(self) -> None:
        """Read until the broker has closed the connection."""
        try:
            while self._socket.recv(_ENOUGH):
                pass
        except OSError:
            pass
        raise Closed

    def close(self) -> None:
        self._socket.close()


Attack = Callable[[Connection], None]


def never_read(connection: Connection) -> None:
    """Ask for large answers, and read none of them."""
    body = cbor2.dumps([bytes(16 * 1024)])
    for request in count(1):
        connection.write(build(Kind.INVOKE, MAIN, request, body, channel=b"echo"))


def flood(connection: Connection) -> None:
    """Send without end, to main and to nobody, and take back what was never asked; heed no pause."""
    _flood(connection, ((Kind.SEND, b""), (Kind.SEND, b"nobody"), (Kind.CANCEL, b"")))


def flood_pair(connection: Connection) -> None:
    """Send without end to one of the well-behaved pair, and to all; heed no pause."""
    _flood(connection, ((Kind.SEND, VICTIM), (Kind.BROADCAST, b"")))


def _flood(connection: Connection, what: Sequence[tuple[int, bytes]]) -> None:
    body = cbor2.dumps([common.PAYLOAD])
    for kind, name in cycle(what):
        if kind == Kind.CANCEL:
            packets = build(kind, MAIN, 1) * _ROUND
        else:
            packets = build(kind, MAIN, 0, body, name=name, channel=b"flood") * _ROUND
        end = monotonic() + _SPELL
        while monotonic() < end:
            connection.write(packets)
            connection.skim()


def collide(connection: Connection) -> None:
    """Send a dict whose keys all have the same hash, in turns to main and to a renderer."""
    _spoil(connection, _COLLIDING)


def nest(connection: Connection) -> None:
    """Send a list in a list in a list, and so on."""
    _spoil(connection, b"\x81" * DEEP + b"\x80")


def _spoil(connection: Connection, body: bytes) -> None:
    name = VICTIM if next(_turns) % 2 else b""
    for packet in fragments(Kind.INVOKE, MAIN, 1, body, name=name, channel=b"echo"):
        connection.write(bytes(packet))
    connection.wait_for_end()


def open_ports(connection: Connection) -> None:
    """Make channels and send a port of each to the main process."""
    body = cbor2.dumps([None])
    for first in count(1, 4 * MAX_PORTS):
        # A renderer numbers its ends with odd numbers, in rising order.
        table = pack_ports((number, number + 2) for number in range(first, first + 4 * MAX_PORTS, 4))
        connection.write(build(Kind.POST, MAIN, 0, table + body, value=MAX_PORTS, channel=b"ports"))
        connection.skim()


ATTACKS: Final[dict[str, Attack]] = {
    "never reads": never_read,
    "floods": flood,
    "collides": collide,
    "nests": nest,
    "opens ports": open_ports,
}
"""Those that attack the broker."""

MORE_ATTACKS: Final[dict[str, Attack]] = {"floods the pair": flood_pair}
"""What a renderer that may send to the pair can do to it."""


def attack(order: common.Order) -> None:
    """Do it again and again, telling nothing but that it has begun."""
    act = {**ATTACKS, **MORE_ATTACKS}[order.workloads[0]]
    common.ready()
    while True:
        try:
            connection = Connection(order.path)
        except Closed:
            continue
        try:
            act(connection)
        except Closed:
            pass
        finally:
            connection.close()


if __name__ == "__main__":
    common.main({"attack": attack})
