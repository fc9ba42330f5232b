"""Where the rest of a large message goes: whom it began with, and nobody whom another one of its stream is going to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER, MORE, Head, Kind, build
from mainbus_broker import Config, forwards
from mainbus_broker.config import Limits
from mainbus_broker.peer import Peer

from tests.support.bus import Bus

pytestmark = pytest.mark.contract("8.7")


@asynccontextmanager
async def peers(address: str) -> AsyncIterator[tuple[Peer, Peer, Peer]]:
    """A sender and two targets, of whose connections nothing is read here."""
    async with Bus(address, config=Config(limits=Limits(message=100))) as bus:
        sender, one, two = [bus.peer(await bus.renderer(name)) for name in ("sender", "one", "two")]
        yield sender, one, two
        sender.streams = None
        sender.unfinished = 0
        # What was only tried here is no fault of the renderer's.
        sender.wire.failure = None


def head(flags: int, peer: int = 0, size: int = 10, kind: int = Kind.SEND, request: int = 0) -> Head:
    found: Head = HEADER.unpack_from(build(kind, peer, request, bytes(size), flags=flags))
    return found


def begin(peer: Peer, head: Head, name: bytes, targets: tuple[Peer, ...]) -> bool:
    """Begin a large message, of which there may be three at a time."""
    return forwards.begin(peer, head, name, targets, 3)


def fault(peer: Peer) -> str:
    """What is wrong with what a peer has sent."""
    return str(peer.wire.failure)


async def test_the_rest_goes_where_the_first_went(address: str) -> None:
    async with peers(address) as (sender, one, two):
        assert begin(sender, head(MORE, one.id), b"", (one,))
        assert begin(sender, head(MORE, two.id), b"", (two,))
        assert [*forwards.rest(sender, head(CONTINUES | MORE, one.id), b"")] == [one]
        assert [*forwards.rest(sender, head(CONTINUES, two.id), b"")] == [two]
        assert [*forwards.rest(sender, head(CONTINUES, one.id), b"")] == [one]
        assert not sender.streams
        assert sender.wire.failure is None


async def test_a_name_means_whom_it_meant_at_the_first(address: str) -> None:
    async with peers(address) as (sender, one, _):
        assert begin(sender, head(MORE | BY_NAME), b"one", (one,))
        # Whoever has the name by then.
        assert [*forwards.rest(sender, head(CONTINUES | BY_NAME), b"one")] == [one]
        assert not sender.streams


async def test_an_id_and_a_name_are_two_streams(address: str) -> None:
    async with peers(address) as (sender, one, _):
        assert begin(sender, head(MORE | BY_NAME), b"one", (one,))
        assert begin(sender, head(MORE, one.id), b"", (one,))
        assert not begin(sender, head(MORE, one.id), b"", (one,))
        assert fault(sender) == "packet of kind SEND inside another message"


async def test_a_name_without_its_flag_is_in_the_stream_of_the_id(address: str) -> None:
    async with peers(address) as (sender, one, _):
        assert begin(sender, head(MORE), b"one", (one,))
        assert not begin(sender, head(MORE, one.id), b"", (one,))


async def test_a_broadcast_is_one_whatever_it_is_addressed_to(address: str) -> None:
    async with peers(address) as (sender, one, two):
        assert begin(sender, head(MORE, 7, kind=Kind.BROADCAST), b"", (one, two))
        assert [*forwards.rest(sender, head(CONTINUES | MORE, 8, kind=Kind.BROADCAST), b"")] == [one, two]
        assert forwards.is_inside(sender, head(0, 9, kind=Kind.BROADCAST), None)
        assert fault(sender) == "packet of kind BROADCAST inside another message"


async def test_a_whole_message_must_not_stand_inside_another(address: str) -> None:
    async with peers(address) as (sender, one, two):
        assert not forwards.is_inside(sender, head(0, one.id), one)
        assert begin(sender, head(MORE, one.id), b"", (one,))
        assert not forwards.is_inside(sender, head(0, two.id), two)
        assert not forwards.is_inside(sender, head(0, one.id, kind=Kind.RESULT), one)
        assert sender.wire.failure is None
        assert forwards.is_inside(sender, head(0, one.id, kind=Kind.INVOKE), one)
        assert fault(sender) == "packet of kind INVOKE inside another message"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"peer": 77}, "fragment of kind SEND without its first"),
        ({"kind": Kind.POST}, "fragment of kind POST without its first"),
        ({"request": 1}, "fragment of kind SEND without its first"),
        ({"size": 91}, "A message of 101 bytes exceeds the limit of 100"),
    ],
)
async def test_what_does_not_fit_the_first_goes_to_nobody(address: str, wrong: dict[str, int], text: str) -> None:
    async with peers(address) as (sender, one, _):
        assert begin(sender, head(MORE, one.id), b"", (one,))
        assert [*forwards.rest(sender, head(CONTINUES, **{"peer": one.id, **wrong}), b"")] == []
        assert fault(sender) == text


async def test_the_rest_of_what_was_refused_goes_to_nobody(address: str) -> None:
    async with peers(address) as (sender, one, _):
        first = head(MORE, one.id, kind=Kind.INVOKE, request=5)
        assert begin(sender, first, b"", (one,))
        forwards.refuse(sender, first, b"")
        assert [*forwards.rest(sender, head(CONTINUES, one.id, kind=Kind.INVOKE, request=5), b"")] == []
        assert sender.wire.failure is None
        assert not sender.streams


@pytest.mark.parametrize("how", ["by id", "by name", "to nobody", "to all"])
async def test_so_many_may_be_unfinished_at_a_time(address: str, how: str) -> None:
    async with peers(address) as (sender, one, two):
        flags, number, name, kind = MORE, one.id, b"", Kind.SEND
        if how == "by name":
            flags, number, name = MORE | BY_NAME, 0, b"one"
        elif how == "to nobody":
            number = 99
        elif how == "to all":
            number, kind = 0, Kind.BROADCAST
        last = head(flags, number, kind=kind)
        targets = () if how == "to nobody" else (one,)
        assert begin(sender, head(MORE, two.id), b"", (two,))
        assert begin(sender, head(MORE, 77), b"", ())
        assert begin(sender, last, name, targets)
        assert not begin(sender, head(MORE, 78), b"", ())
        assert fault(sender) == "more than 3 messages that are not finished"
        sender.wire.failure = None
        # One that is finished makes room for one.
        rest = head(flags & ~MORE | CONTINUES, number, kind=kind)
        assert tuple(forwards.rest(sender, rest, name)) == targets
        assert begin(sender, head(MORE, 78), b"", ())
        assert not begin(sender, head(MORE, 79), b"", ())
