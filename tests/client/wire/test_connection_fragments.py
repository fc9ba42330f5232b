"""Fragments join whatever stands between them, and what fits nothing is a fault."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.errors import BadMessage
from mainbus.wire import clone, packets
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER_SIZE, MORE, Kind, build
from mainbus.wire.pieces import Packet
from mainbus.wire.states import CHANNELED, FRAGMENTED, READABLE, Role, State

from tests.support.cores import opened, take


@st.composite
def interleaved(draw: st.DrawFn) -> tuple[list[bytes], list[tuple[int, int, int]]]:
    """Fragments of several messages, of different pairs or streams, in any order that keeps each message's own."""
    pairs = draw(
        st.lists(
            st.tuples(st.integers(1, 3), st.sampled_from([0, BY_NAME]), st.sampled_from([16, 17, 19, 20, 24, 25, 40])),
            min_size=1,
            max_size=5,
            unique_by=lambda pair: (pair[0], {20: 20, 24: 24, 25: 24, 40: 40}.get(pair[2], pair[1])),
        )
    )
    queues = []
    for peer, flags, kind in pairs:
        bodies = draw(st.lists(st.binary(max_size=60), min_size=1, max_size=5))
        last = len(bodies) - 1
        queues.append(
            [
                build(
                    kind,
                    peer,
                    7,
                    body,
                    flags=flags | (CONTINUES if at else 0) | (MORE if at < last else 0),
                    channel=b"" if at else b"c",
                )
                for at, body in enumerate(bodies)
            ]
        )
    order = draw(st.permutations([number for number, queue in enumerate(queues) for _ in queue]))
    heads = [iter(queue) for queue in queues]
    expected = [(kind, flags, peer) for peer, flags, kind in pairs]
    return [next(heads[number]) for number in order], expected


@given(interleaved())
def test_fragments_of_different_pairs_and_streams_mix_in_any_order(
    mixed: tuple[list[bytes], list[tuple[int, int, int]]],
) -> None:
    parts, expected = mixed
    wire = opened(Role.RENDERER, limit=1000)
    messages = [found for found in take(wire, parts) if isinstance(found, tuple)]
    assert wire.failure is None
    assert not wire._partials
    assert sorted(message[:3] for message in messages) == sorted(expected)
    for message in messages:
        mine = [part for part in parts if part[4] == message[0] and part[8:12] == message[2].to_bytes(4, "big")]
        mine = [part for part in mine if part[5] & BY_NAME == message[1]]
        assert message[8] == b"".join(part[HEADER_SIZE + part[7] :] for part in mine)
        assert message[7] == "c"


def fragments(*parts: tuple[int, int, bytes], peer: int = 1) -> list[bytes]:
    """Packets by kind, flags and body."""
    return [build(kind, peer, 7, body, flags=flags, channel=b"c") for kind, flags, body in parts]


BROKEN = {
    "no first": ([(16, CONTINUES, b"")], "fragment of kind SEND without its first"),
    "the first twice": ([(16, MORE, b""), (16, MORE, b"")], "packet of kind SEND inside another message"),
    "a whole one inside": ([(16, MORE, b""), (17, 0, b"")], "packet of kind POST inside another message"),
    "another kind": ([(16, MORE, b""), (19, CONTINUES, b"")], "fragment of kind INVOKE without its first"),
    "one too many": ([(16, MORE, b""), (16, CONTINUES, b""), (16, CONTINUES, b"")], "SEND without its first"),
    "another stream": ([(16, MORE, b""), (16, CONTINUES | BY_NAME, b"")], "fragment of kind SEND without its first"),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(("parts", "text"), BROKEN.values(), ids=BROKEN)
def test_fragments_that_fit_nothing_are_a_fault(role: Role, parts: list[tuple[int, int, bytes]], text: str) -> None:
    wire = opened(role)
    messages = [found for found in take(wire, fragments(*parts)) if isinstance(found, tuple)]
    assert len(messages) == text.startswith("SEND")
    assert text in str(wire.failure)


def test_a_fragment_of_another_request_is_a_fault() -> None:
    wire = opened(Role.RENDERER)
    take(wire, [build(Kind.RESULT, 1, 7, flags=MORE), build(Kind.RESULT, 1, 8, flags=CONTINUES)])
    assert str(wire.failure) == "fragment of kind RESULT without its first"


def test_a_message_of_empty_fragments_ends_at_the_limit() -> None:
    wire = opened(Role.RENDERER, limit=100)
    take(wire, fragments((16, MORE, b"")) + fragments((16, MORE | CONTINUES, b"")) * 100)
    assert wire.failure is None
    take(wire, fragments((16, MORE | CONTINUES, b"")))
    assert "101" in str(wire.failure)


def test_tiny_fragments_cost_no_object_each() -> None:
    wire = opened(Role.RENDERER, limit=1_000_000)
    parts = [b"%06d" % number for number in range(10_000)]
    take(
        wire,
        fragments((16, MORE, parts[0]), *[(16, MORE | CONTINUES, part) for part in parts[1:]], (16, 2, b"x" * 9000)),
    )
    (first, *rest) = fragments((17, MORE, b""), *[(17, MORE | CONTINUES, part) for part in parts], peer=4)
    take(wire, [first, *rest])
    assert wire._partials is not None
    ((_, partial),) = wire._partials.items()
    assert len(partial.bodies) < 20
    assert b"".join(partial.bodies) == b"".join(parts)


def test_an_aborted_message_leaves_nothing() -> None:
    wire = opened(Role.RENDERER)
    parts = fragments((16, MORE, b"a"), (16, MORE | BY_NAME, b"b"), (20, MORE, b"c"), (24, MORE, b"d"))
    take(wire, parts + fragments((16, MORE, b"kept"), peer=2))
    wire.abort(1)
    wire.abort(3)
    messages = take(wire, [*fragments((16, 0, b"new")), *fragments((16, CONTINUES, b"!"), peer=2)])
    assert [message[8] for message in messages if isinstance(message, tuple)] == [b"new", b"kept!"]


def test_a_large_message_arrives_as_one() -> None:
    wire = opened(Role.RENDERER, limit=1 << 20)
    body = bytes(range(256)) * 2000
    parts = packets.message(Kind.INVOKE, 4, 9, body, value=7, name=b"n", channel=b"c")
    assert not isinstance(parts, bytes)
    *_, message = take(wire, [*map(bytes, parts)])
    assert message == (Kind.INVOKE, 0, 4, 9, 0, 7, b"n", "c", body)


@pytest.mark.contract("2.19", "9.5")
@pytest.mark.parametrize("role", Role)
def test_whatever_has_no_fragments_may_stand_between_two_of_its_pair(role: Role) -> None:
    for kind in READABLE[role][State.OPEN] - FRAGMENTED - {Kind.ONCE}:
        connection = opened(role)
        first = build(Kind.SEND, 1, 0, b"a", flags=MORE, channel=b"c")
        between = build(kind, 1, 7, channel=b"c" if kind in CHANNELED else b"")
        found = take(connection, [first, between])
        assert connection.failure is None, kind
        assert found[1] == between
        if kind != Kind.GOODBYE:
            _, message = take(connection, [build(Kind.SEND, 1, 0, b"b", flags=CONTINUES)])
            assert message[8] == b"ab"


# Large ones, as a kernel gives them.


def large_ones() -> tuple[bytes, list[Any]]:
    """Return packets of all sizes as bytes, fragments of two messages among them, and what they say."""
    sizes = (10, 100_000, 40_000, 300_000, 24, 131_000)
    values: list[Any] = [[bytes([number]) * size] for number, size in enumerate(sizes)]
    mixed: list[Any] = [[[peer, bytes([peer]) * size], "end"] for peer, size in ((1, 300_000), (2, 500_000))]
    rests = [_packets(peer, value) for peer, value in enumerate(mixed, 1)]
    made: list[bytes] = []
    for value in values:
        made += _packets(3, value)
        made += [rest.pop(0) for rest in rests if rest]
    return b"".join([*made, *_packets(4, ["last"])]), [*values, *mixed, ["last"]]


def _packets(peer: int, value: object) -> list[bytes]:
    made: bytes | Iterator[Packet] = packets.message(Kind.SEND, peer, 0, clone.encode_body(value), channel=b"c")
    return [made] if isinstance(made, bytes) else [bytes(packet) for packet in made]


@pytest.mark.contract("2.19", "9.1")
@pytest.mark.parametrize("turn", [{}, {"count": 1}, {"size": 1}, {"size": 64 * 1024}])
@pytest.mark.parametrize("step", [1000, 50_001, 131_072, 200_000, 262_144, 1 << 20])
def test_large_messages_arrive_whole_however_they_are_cut(step: int, turn: dict[str, int]) -> None:
    data, said = large_ones()
    wire = opened(Role.RENDERER, limit=1 << 20)
    taken = take(wire, [data[at : at + step] for at in range(0, len(data), step)], **turn)
    assert wire.failure is None
    assert not wire.backlog
    assert b"".join(packet for packet in taken if isinstance(packet, bytes)) == data
    arrived = [clone.decode(packet[8]) for packet in taken if isinstance(packet, tuple)]
    assert sorted(arrived, key=repr) == sorted(said, key=repr)
    assert arrived[-1] == ["last"]


@pytest.mark.contract("4.6")
def test_more_than_was_declared_is_wrong_and_less_too() -> None:
    wire = opened(Role.RENDERER, limit=1 << 20)
    declared = clone.encode([bytes(200_000)])
    for body in (declared + b"more" * 100, declared[:-1000]):
        *_, whole = take(wire, [bytes(part) for part in packets.fragments(Kind.SEND, 1, 0, body, channel=b"c")])
        with pytest.raises(BadMessage):
            clone.decode(whole[8])
    assert wire.failure is None


@pytest.mark.contract("8.6")
def test_a_large_message_is_refused_where_it_passes_the_limit() -> None:
    wire = opened(Role.RENDERER, limit=1 << 20)
    parts = _packets(1, [bytes(1 << 20)])
    take(wire, [b"".join(parts)])
    assert "exceeds the limit" in str(wire.failure)
    assert not wire.backlog
    wire.feed(parts[0])
    assert not wire.backlog
