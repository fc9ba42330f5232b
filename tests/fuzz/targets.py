"""What is fuzzed. Each target takes any bytes and raises only when something is wrong, never for what the bytes say."""

from __future__ import annotations

import atexit
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from mainbus.calls import error_of
from mainbus.errors import BadMessage, ConfigError, LimitExceeded, RemoteProtocolError
from mainbus.wire import CODEC, clone, messages
from mainbus.wire.clone_decode import Decoder
from mainbus.wire.clone_encode import Encoder
from mainbus.wire.connection import Connection
from mainbus.wire.packets import HEADER, Kind, build
from mainbus.wire.port_table import Entry
from mainbus.wire.states import Role
from mainbus_broker import Config
from mainbus_broker.peer_ports import PeerPorts
from mainbus_broker.port_table import PortTable

from tests.fuzz.bench import Bench
from tests.support.clones import same
from tests.support.port_owner import Box

Target = Callable[[bytes], None]

LIMIT: Final = 4096
"""Bytes that one message may have in the wire target, so that the bound is met."""

PATHS: Final = [
    (Role.BROKER, ()),
    (Role.BROKER, (Kind.HELLO, Kind.WELCOME)),
    (Role.BROKER, (Kind.LANE,)),
    (Role.BROKER, (Kind.HELLO,)),
    (Role.RENDERER, ()),
    (Role.RENDERER, (Kind.HELLO,)),
    (Role.RENDERER, (Kind.HELLO, Kind.WELCOME)),
    (Role.RENDERER, (Kind.LANE,)),
    (Role.RENDERER, (Kind.REFUSED,)),
]
"""Every state that an end can be in, and how it got there."""


def wire(data: bytes) -> None:
    """A connection in any state reads the same packets, messages and fault, however the bytes are cut."""
    if len(data) < 2:
        return
    path, seed, stream = data[0] % len(PATHS), data[1], data[2:]
    whole = _read(path, [stream], 1 << 30)
    dice = random.Random(seed)
    for longest in (1, 7, 100):
        chunks, at = [], 0
        while at < len(stream):
            size = dice.randint(1, longest)
            chunks.append(stream[at : at + size])
            at += size
        assert _read(path, chunks, dice.randint(1, 3)) == whole, f"cut in pieces of up to {longest} bytes"


def _read(path: int, chunks: list[bytes], count: int) -> tuple[list[object], str, int]:
    role, moves = PATHS[path]
    connection = Connection(role, LIMIT)
    for kind in moves:
        connection.sent(kind)
    found: list[object] = []
    for chunk in chunks:
        connection.feed(chunk)
        more = True
        while more:
            before = connection.received, len(found)
            for head, data, at in connection.packets(count):
                found.append((head, data[at : at + head[0]]))
                if head[1] >= Kind.SEND:
                    found.append(connection.message(head, data, at))
            more = connection.backlog and before != (connection.received, len(found))
    return found, str(connection.failure), connection.received


def structured_clone(data: bytes) -> None:
    """The compiled codec, the quick one and the thorough one read the same value, or refuse; it is written alike."""
    depth = 512 if not data or data[0] & 1 else data[0] >> 4
    data = data[1:]
    outcome = _decoded(lambda: Decoder(data, depth).decode())
    assert _alike(outcome, _decoded(lambda: clone.decode(data, max_depth=depth))), "clone.decode says otherwise"
    if CODEC == "compiled":
        from mainbus.wire import clone_fast

        try:
            fast = clone_fast.decode(data, depth)
        except Exception:  # left to the other one
            pass
        else:
            assert _alike(outcome, (fast, None)), "clone_fast.decode says otherwise"
    if outcome[1] is None:
        written = clone.encode(outcome[0])
        assert written == Encoder("args", 512).encode(outcome[0]), "it is written in two ways"
        assert same(clone.decode(written), outcome[0]), "it does not come back"


def _decoded(decode: Callable[[], object]) -> tuple[object, str | None]:
    try:
        return decode(), None
    except (BadMessage, LimitExceeded) as error:
        return None, f"{type(error).__name__}: {error}"


def _alike(one: tuple[object, str | None], other: tuple[object, str | None]) -> bool:
    return one[1] == other[1] and same(one[0], other[0])


BODIES: Final[list[Any]] = [
    messages.Hello,
    messages.Welcome,
    messages.LaneHello,
    messages.LaneWelcome,
    messages.GuestClaim,
]


def handshake(data: bytes) -> None:
    """The bodies of a handshake, and of errors, are read or refused by name; what was read can be said again."""
    if not data:
        return
    number, body = data[0] % (len(BODIES) + 2), data[1:]
    if number >= len(BODIES):
        try:
            str(error_of("x", number - len(BODIES), body, 512))
        except (BadMessage, LimitExceeded):
            pass
        return
    try:
        found = messages.unpack(BODIES[number], body)
    except RemoteProtocolError:
        return
    if number < 4:
        again = messages.pack(found)
        assert messages.unpack(BODIES[number], again[HEADER.size :]) == found


def ports(data: bytes) -> None:
    """A table of ports takes whatever its owners say, in any order, and is empty when they are gone."""
    table = PortTable(LIMIT)
    boxes = [Box(table, max_ports=20), Box(table), Box(table)]
    claims: list[PeerPorts] = [PeerPorts(None, table, 0) for _ in boxes]  # type: ignore[arg-type]
    stream = iter(data)
    try:
        while True:
            box = next(stream) % 3
            _say(table, boxes[box], claims[box], boxes[next(stream) % 3], stream)
    except StopIteration:
        pass
    for each in boxes:
        table.forget(each)
    assert not any(each.ports for each in boxes), "ports are left"


def _say(table: PortTable, owner: Box, claims: PeerPorts, to: Box, stream: Iterator[int]) -> None:
    """Let an owner say one thing; what the router refuses before it comes to the table is left out."""
    what, number, flags = next(stream) % 5, next(stream), next(stream) & 3
    claims._last = owner._last
    entries: list[Entry] = []
    for _ in range(next(stream) % 3):
        entry = (next(stream), next(stream))
        if claims.claim(entry) is None and entry[0] != number:
            entries.append(entry)
    if what == 0:
        numbers = [number for number, _ in table.assign(table.depart(owner, entries), to)]
        table.arrived(to, numbers)
    elif number not in owner.ports and not claims.had(number):
        return
    elif what < 3:
        table.message(owner, number, flags, entries if not flags & 2 else [], bytes(number))
    elif what == 3:
        table.credit(owner, number, next(stream) << 8)
    else:
        table.close(owner, number)


def config(data: bytes) -> None:
    """Any file is a configuration, or a ConfigError that names it."""
    with tempfile.NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        try:
            Config.from_toml(Path(file.name))
        except ConfigError as error:
            fault = str(error)
        else:
            return
    assert file.name in fault


_bench: list[Bench] = []


def broker(data: bytes) -> None:
    """A broker serves an honest renderer as ever, whatever well-formed packets a stranger sends in whatever order."""
    if not _bench:
        _bench.append(Bench().__enter__())
        atexit.register(close)
    _bench[0].say(data)


def close() -> None:
    """End what the targets have started."""
    while _bench:
        _bench.pop().__exit__()


def _packets() -> Iterator[bytes]:
    yield messages.pack(messages.Hello(name="editor"))
    for kind in Kind:
        yield build(kind, 1, 2, channel=b"x", body=clone.encode(["a", 1]))
    yield build(Kind.SEND, 3, flags=1, channel=b"x", body=b"abc") + build(Kind.SEND, 3, flags=2, body=b"def")
    yield build(Kind.ONCE, value=1) + build(Kind.SEND, channel=b"x", body=b"\x80")


TARGETS: Final[dict[str, Target]] = {
    "wire": wire,
    "clone": structured_clone,
    "handshake": handshake,
    "ports": ports,
    "config": config,
    "broker": broker,
}

SEEDS: Final[dict[str, Callable[[], list[bytes]]]] = {
    "wire": lambda: [bytes((path, 0)) + packet for packet in _packets() for path in range(len(PATHS))],
    "clone": lambda: [
        b"\x01" + clone.encode(value)
        for value in ([None, True, 1.5, "text", b"bytes"], {"a": [1, -1, 1 << 80]}, [{1, (2, 3)}], [re_pattern()])
    ],
    "handshake": lambda: [
        bytes((0,)) + clone.encode({"version": 1, "name": "editor", "watch": True}),
        bytes((5,)) + b"",
        bytes((6,)) + clone.encode({"name": "ValueError", "message": "m", "cause": {"name": "X", "message": ""}}),
    ],
    "ports": lambda: [bytes((0, 1, 0, 0, 0, 1, 1, 3)), bytes((0, 1, 0, 0, 0, 1, 1, 3, 0, 1, 1, 3, 0, 0))],
    "config": lambda: [
        b"",
        b"tracebacks = true\nlimits = 5\n",
        b"tracebacks = 1\nmessage = 1\n[limits]\ncancel_grace = 1\nhigh = 1\nlow = 2.0\n",
        b"cancel_grace = 1e309\n[limits]\nmessage = 1024\nstall_timeout = 2.5\nmesage = [1, {a = 'x'}]\n",
        b"[limits]\nhigh = 10\nlow = 10\n",
        b"\xff = 1",
    ],
    "broker": lambda: [
        *(bytes((kind, flags, 1, 1, 0, 1, 1, 1, 1)) for kind in Kind for flags in (0, 1, 4)),
        *(bytes((kind, 0, 0, 1, 0, 1, 0, channel, 5)) for kind in Kind for channel in (1, 2, 3)),
    ],
}


def re_pattern() -> object:
    """Return a value that is read as one of ours."""
    return clone.RegExp("a+", "i")
