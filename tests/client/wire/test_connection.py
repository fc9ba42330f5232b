"""One connection without I/O: whatever bytes in whatever pieces, the same packets come out, or one named fault."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mainbus.errors import RemoteProtocolError
from mainbus.wire.connection import Connection
from mainbus.wire.messages import Hello, LaneHello, LaneWelcome, Welcome, pack, unpack
from mainbus.wire.packets import (
    BY_NAME,
    CONTINUES,
    HEADER_SIZE,
    MAX_FRAGMENT,
    MAX_U32,
    MORE,
    Kind,
    Message,
    build,
    text_of,
)
from mainbus.wire.port_table import MAX_PORTS
from mainbus.wire.states import Role, State

from tests.support.cores import LIMIT, cut, opened, take, turned

# Any bytes in any pieces.

TEXTS = st.one_of(st.binary(max_size=4), st.text(max_size=4).map(str.encode), st.just(b"channel"))
SMALL = st.integers(0, 3)
GOOD = st.builds(
    build,
    st.sampled_from([int(kind) for kind in Kind]),
    peer=SMALL,
    request=SMALL,
    flags=st.sampled_from([0, 0, 0, BY_NAME, MORE, CONTINUES, MORE | CONTINUES]),
    value=SMALL,
    name=st.one_of(st.just(b""), TEXTS),
    channel=st.just(b"channel"),
    body=st.binary(max_size=200),
)
STRANGE = st.builds(
    build,
    st.integers(0, 255),
    peer=st.integers(0, MAX_U32),
    flags=st.integers(0, 255),
    name=TEXTS,
    channel=TEXTS,
    body=st.binary(max_size=600),
)
STREAMS = st.lists(st.one_of(GOOD, GOOD, GOOD, STRANGE, st.binary(max_size=40)), max_size=12).map(b"".join)


@pytest.mark.contract("8.7")
@settings(max_examples=150)
@given(
    role=st.sampled_from(Role),
    state=st.sampled_from(State),
    data=STREAMS,
    places=st.lists(st.integers(0, 5000), max_size=20),
    count=st.integers(1, 3),
    size=st.integers(1, 300),
)
def test_any_bytes_end_in_the_same_packets_or_one_named_fault_whatever_the_pieces(
    role: Role, state: State, data: bytes, places: list[int], count: int, size: int
) -> None:
    whole = opened(role, state)
    expected = take(whole, [data])
    assert whole.failure is None or type(whole.failure) is RemoteProtocolError
    for pieces in (cut(data, places), turned(data, 1), turned(data, HEADER_SIZE)):
        for turn in ({}, {"count": count}, {"size": size}):
            wire = opened(role, state)
            assert take(wire, pieces, **turn) == expected
            assert str(wire.failure) == str(whole.failure)
            assert (wire.state, wire.received) == (whole.state, whole.received)


@given(data=st.binary(max_size=400), places=st.lists(st.integers(0, 400), max_size=20))
def test_noise_is_never_more_than_a_named_fault(data: bytes, places: list[int]) -> None:
    wire = opened(Role.BROKER, State.CONNECTED)
    take(wire, cut(data, places))
    assert wire.failure is None or str(wire.failure)


@pytest.mark.parametrize("state", [State.OPEN, State.LANE])
def test_nothing_comes_out_behind_a_fault(state: State) -> None:
    wire = opened(Role.BROKER, state)
    good = build(Kind.SEND, channel=b"c")
    assert take(wire, [good, good + build(99) + good, good]) == take(opened(Role.BROKER), [good, good])
    assert str(wire.failure) == f"unexpected packet of kind 99 while {state.value}"
    assert not wire.backlog
    # It keeps nothing of what still comes.
    wire.feed(good * 1000)
    assert not wire._data
    assert not wire._pieces


# A handshake.


@given(st.lists(st.integers(0, 60)), st.binary(max_size=60))
def test_a_greeting_comes_out_once_it_is_whole_and_what_is_behind_it_stays(places: list[int], rest: bytes) -> None:
    wire, hello = opened(Role.BROKER, State.CONNECTED), pack(Hello(name="a"))
    pieces = cut(hello, places)
    for piece in pieces[:-1]:
        wire.feed(piece)
        assert wire.greeting() is None
    wire.feed(pieces[-1] + rest)
    found = wire.greeting()
    assert found is not None
    message = wire.message(*found)
    assert message is not None
    assert unpack(Hello, message[8]) == Hello(name="a")
    assert (wire.state, wire.received, wire.failure) == (State.GREETED, 1, None)
    assert wire.backlog == bool(rest)
    assert wire.held == len(rest)


def test_a_greeting_that_is_none_is_a_fault() -> None:
    wire = opened(Role.BROKER, State.CONNECTED)
    assert wire.greeting() is None
    wire.feed(build(Kind.SEND, channel=b"c"))
    assert wire.greeting() is None
    assert str(wire.failure) == "unexpected packet of kind SEND while connected"


# What tiny pieces cost.


def lines_of(call: Callable[[], object]) -> int:
    """Count the lines of the wire core that run in a call."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.endswith("connection.py"):
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_tiny_pieces_cost_no_more_than_their_number() -> None:
    def cost(size: int) -> int:
        data = build(Kind.SEND, channel=b"c", body=bytes(size))
        wire = opened(Role.BROKER, limit=MAX_FRAGMENT)
        return lines_of(lambda: take(wire, turned(data, 1)))

    small, large = cost(1000), cost(4000)
    assert large < 4.5 * small


def test_the_pieces_of_a_packet_are_joined_once() -> None:
    wire = opened(Role.BROKER, limit=MAX_FRAGMENT)
    data = build(Kind.SEND, channel=b"c", body=bytes(5000))
    for fed in range(1, len(data)):
        assert not take(wire, [data[fed - 1 : fed]])
        # What has come lies there in the pieces it came in, but for the header, which says how much is to come.
        assert not wire._data
        assert len(wire._pieces or ()) == (fed if fed <= HEADER_SIZE else fed - HEADER_SIZE + 1) or fed == HEADER_SIZE
    assert len(take(wire, [data[-1:]])) == 2


# Limits.


@pytest.mark.parametrize(
    ("sizes", "fits"), [((LIMIT,), True), ((LIMIT + 1,), False), ((200, 200), True), ((200, 201), False)]
)
def test_a_message_is_no_longer_than_the_limit(sizes: tuple[int, ...], fits: bool) -> None:
    wire = opened(Role.BROKER)
    last = len(sizes) - 1
    take(
        wire,
        [
            build(
                Kind.SEND, body=bytes(size), channel=b"c", flags=(CONTINUES if at else 0) | (MORE if at < last else 0)
            )
            for at, size in enumerate(sizes)
        ],
    )
    expected = "None" if fits else f"A message of {LIMIT + 1} bytes exceeds the limit of {LIMIT}"
    assert str(wire.failure) == expected


@pytest.mark.parametrize("kind", [Kind.POST, Kind.PORT_MESSAGE, Kind.SEND])
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("sizes", [(116,), (16, 100)])
def test_a_table_of_ports_is_no_part_of_the_message(role: Role, kind: Kind, sizes: tuple[int, ...]) -> None:
    def packets(value: int) -> list[bytes]:
        flags = [(CONTINUES if at else 0) | (MORE if at < len(sizes) - 1 else 0) for at in range(len(sizes))]
        return [
            build(kind, body=bytes(size), flags=flag, value=0 if flag & CONTINUES else value, channel=b"c")
            for size, flag in zip(sizes, flags, strict=True)
        ]

    wire = opened(role, limit=100)
    take(wire, packets(2))
    assert (wire.failure is None) == (kind != Kind.SEND)
    wire = opened(role, limit=100)
    take(wire, packets(1))
    assert wire.failure is not None


def test_a_table_that_cannot_be_makes_no_room() -> None:
    wire = opened(Role.BROKER, limit=100)
    take(wire, [build(Kind.PORT_MESSAGE, body=bytes(100 + 8 * MAX_PORTS + 1), value=0xFFFF_FFFF)])
    assert wire.failure is not None


def test_the_limit_can_change() -> None:
    wire = opened(Role.RENDERER)
    wire.max_message = LIMIT + 1
    assert len(take(wire, [build(Kind.SEND, body=bytes(LIMIT + 1), channel=b"c")])) == 2
    assert wire.max_message == LIMIT + 1


def test_a_handshake_may_be_longer_than_a_message() -> None:
    wire = Connection(Role.BROKER, 1)
    assert take(wire, [pack(Hello(name="n" * 255))])
    assert wire.failure is None


@pytest.mark.parametrize("limit", [MAX_FRAGMENT, 1 << 30])
def test_no_packet_carries_more_than_a_fragment(limit: int) -> None:
    wire = opened(Role.BROKER, limit=limit)
    assert len(take(wire, [build(Kind.SEND, body=bytes(MAX_FRAGMENT), channel=b"c")])) == 2
    # Although it is no longer than the longest packet: what it is forwarded as might be.
    assert not take(wire, [build(Kind.SEND, body=bytes(MAX_FRAGMENT + 1), channel=b"c")])
    assert str(wire.failure) == f"packet of {MAX_FRAGMENT + 26} bytes, with a name of 0 and a channel of 1"


@pytest.mark.parametrize("length", [0, 1, 23, 24 + 255 + 255 + MAX_FRAGMENT + 1, MAX_U32])
def test_a_length_that_cannot_be_is_a_fault_at_once(length: int) -> None:
    wire = opened(Role.BROKER)
    # Not when the rest has come: it never would.
    take(wire, [length.to_bytes(4, "big") + build(Kind.SEND, channel=b"c")[4:HEADER_SIZE]])
    assert str(wire.failure).startswith(f"packet of {length} bytes")


# Names and channels.


@pytest.mark.parametrize(
    ("name", "channel", "fits"),
    [
        (b"", "größer 😀".encode(), True),
        ("é".encode(), "ü".encode(), True),
        (b"", b"\xff", False),
        (b"\xff", b"c", False),
        # UTF-8 only together.
        ("é".encode()[:1], "é".encode()[1:], False),
        # A lone surrogate, and more bytes than needed.
        (b"", b"\xed\xa0\x80", False),
        (b"", b"\xc0\x80", False),
        (b"", b"", False),
    ],
)
def test_name_and_channel_are_text(name: bytes, channel: bytes, fits: bool) -> None:
    wire = opened(Role.BROKER)
    found = take(wire, [build(Kind.SEND, name=name, channel=channel)])
    assert bool(found) == fits == (wire.failure is None)
    if fits:
        assert (found[1][6], found[1][7]) == (name, channel.decode())


def test_texts_are_remembered_within_bounds() -> None:
    for number in range(10_000):
        assert text_of(f"{number}".encode()) == f"{number}"
    assert text_of(b"channel") is text_of(b"channel")


# Numbers, and what is dropped.


def numbers(wire: Connection, *pieces: bytes) -> list[int]:
    """The values of the packets that come out."""
    return [found[5] for found in take(wire, pieces) if isinstance(found, tuple)]


def numbered(*values: int) -> bytes:
    return b"".join(build(Kind.SEND, value=value, channel=b"c") for value in values)


@pytest.mark.contract("3.5")
def test_what_came_another_way_is_dropped() -> None:
    wire = opened(Role.BROKER)
    wire.skip = 3
    assert numbers(wire, numbered(1, 2, 3, 4, 5)) == [4, 5]
    assert wire.received == 5
    wire.skip = 6
    assert numbers(wire, numbered(6, 7)) == [7]


@pytest.mark.contract("3.5")
def test_a_once_has_no_number_and_goes_with_the_packet_behind_it() -> None:
    wire = opened(Role.BROKER)
    once = build(Kind.ONCE, value=9)
    assert len(take(wire, [once + numbered(1)])) == 3
    assert wire.received == 1
    # The next packet has come another way: so has what announces it.
    wire.skip = 2
    assert take(wire, [once + numbered(2)]) == []
    assert len(take(wire, [once + numbered(3)])) == 3


@pytest.mark.contract("3.5")
@pytest.mark.parametrize("turn", [{}, {"count": 1}, {"size": 1}])
def test_a_once_and_its_packet_come_out_together(turn: dict[str, int]) -> None:
    for cut_at in range(1, len(once := build(Kind.ONCE, value=9)) + len(numbered(1))):
        wire = opened(Role.BROKER)
        data = once + numbered(1)
        wire.feed(data[:cut_at])
        assert not list(wire.packets(**turn))
        assert wire.received == 0
        wire.feed(data[cut_at:] + numbered(2))
        assert [head[1] for head, _, _ in wire.packets(**turn)][:2] == [Kind.ONCE, Kind.SEND]
        assert wire.failure is None


def test_a_once_waits_for_no_packet_that_cannot_be() -> None:
    wire = opened(Role.BROKER)
    take(wire, [build(Kind.ONCE, value=9) + MAX_U32.to_bytes(4, "big") + bytes(20)])
    assert str(wire.failure).startswith(f"packet of {MAX_U32} bytes")


def test_a_once_that_says_far_too_much_goes_with_the_next_packet_all_the_same() -> None:
    once, last = build(Kind.ONCE, value=9, body=bytes(40_000)), numbered(2)
    for size in (10, 50_000):
        following = build(Kind.SEND, 1, channel=b"c", body=bytes(size))
        wire = opened(Role.BROKER, limit=100_000)
        assert take(wire, [once[:30_000], once[30_000:] + following[:3]]) == []
        assert wire.is_between is False
        # In one piece with what is behind.
        taken = take(wire, [following[3:] + last])
        assert [packet for packet in taken if isinstance(packet, bytes)] == [once, following, last]
        assert wire.failure is None


def test_a_turn_ends_at_its_count_or_size() -> None:
    wire = opened(Role.BROKER)
    wire.feed(numbered(1, 2, 3, 4, 5))
    assert [head[8] for head, _, _ in wire.packets(count=2)] == [1, 2]
    assert wire.backlog
    # A packet that has begun within the size is taken whole.
    assert [head[8] for head, _, _ in wire.packets(size=HEADER_SIZE + 2)] == [3, 4]
    assert [head[8] for head, _, _ in wire.packets()] == [5]
    assert not wire.backlog


@pytest.mark.parametrize("kind", [Kind.SEND, Kind.WATCH])
def test_what_nobody_takes_at_once_may_count_for_more_in_a_turn(kind: Kind) -> None:
    wire = opened(Role.BROKER)
    channel = b"c" if kind == Kind.SEND else b""
    wire.feed(b"".join(build(kind, channel=channel, value=value) for value in range(6)))
    assert [head[8] for head, _, _ in wire.packets(count=9, weight=4)] == [0, 1, 2], "the last one is not cut"
    assert [head[8] for head, _, _ in wire.packets(count=1, weight=4)] == [3]
    assert not list(wire.packets(count=0, weight=4))
    assert [head[8] for head, _, _ in wire.packets(weight=4)] == [4, 5]


@pytest.mark.parametrize("turn", [{"size": 10}, {"count": 1}])
@pytest.mark.parametrize("begun", [1, HEADER_SIZE, HEADER_SIZE + 1])
def test_a_turn_that_ends_before_an_incomplete_packet_leaves_nothing_for_the_next(
    begun: int, turn: dict[str, int]
) -> None:
    wire = opened(Role.BROKER)
    one = build(Kind.SEND, channel=b"c", body=bytes(100))
    wire.feed(one + one[:begun])
    assert len(list(wire.packets(**turn))) == 1
    assert (wire.backlog, wire.is_between, wire.held) == (False, False, begun)
    wire.feed(one[begun:])
    assert len(list(wire.packets())) == 1
    assert wire.is_between


def test_what_was_not_scanned_waits_in_front_of_what_comes() -> None:
    wire = opened(Role.BROKER)
    data = numbered(1, 2, 3)
    wire.feed(data[:-10])
    assert [head[8] for head, _, _ in wire.packets(count=1)] == [1]
    wire.feed(data[-10:])
    assert [head[8] for head, _, _ in wire.packets()] == [2, 3]


# Two ends.


class Pair:
    """Both ends of one connection, without a wire between them."""

    def __init__(self) -> None:
        self.ends = {role: Connection(role, LIMIT) for role in Role}

    def say(self, role: Role, packet: bytes) -> Message:
        """Let one end write a packet; returns what the other one reads."""
        other = self.ends[Role.RENDERER if role is Role.BROKER else Role.BROKER]
        kind = Kind(packet[4])
        if kind < Kind.SEND:
            self.ends[role].sent(kind)
        [_, *rest] = take(other, turned(packet, 7))
        assert other.failure is None
        assert self.ends[Role.BROKER].state is self.ends[Role.RENDERER].state
        if rest:
            message: Message = rest[0]
            return message
        other.feed(b"")
        return (kind, 0, 0, 0, 0, 0, b"", "", packet[HEADER_SIZE:])


def test_two_ends_walk_through_a_connection_together() -> None:
    pair = Pair()
    hello = unpack(Hello, pair.say(Role.RENDERER, pack(Hello(name="editor")))[8])
    assert (hello.name, pair.ends[Role.BROKER].state) == ("editor", State.GREETED)
    welcome = Welcome(id=3, session=b"s", instance=b"i", lane=b"l", name=hello.name)
    assert unpack(Welcome, pair.say(Role.BROKER, pack(welcome))[8]) == welcome
    assert pair.ends[Role.RENDERER].state is State.OPEN
    sent = build(Kind.INVOKE, 0, 5, b"args", value=7, channel=b"c")
    assert pair.say(Role.RENDERER, sent) == (Kind.INVOKE, 0, 0, 5, 0, 7, b"", "c", b"args")
    answer = build(Kind.RESULT, 0, 5, b"result")
    assert pair.say(Role.BROKER, answer) == (Kind.RESULT, 0, 0, 5, 0, 0, b"", "", b"result")
    assert pair.say(Role.RENDERER, build(Kind.GOODBYE, value=2))[0] == Kind.GOODBYE
    assert pair.ends[Role.BROKER].state is State.CLOSED
    assert pair.ends[Role.BROKER].received == 3
    assert pair.ends[Role.RENDERER].received == 2


def test_two_ends_walk_through_a_lane_together() -> None:
    pair = Pair()
    assert unpack(LaneHello, pair.say(Role.RENDERER, pack(LaneHello(id=3, nonce=b"n")))[8]).id == 3
    assert unpack(LaneWelcome, pair.say(Role.BROKER, pack(LaneWelcome(nonce=b"m")))[8]).nonce == b"m"
    assert pair.say(Role.RENDERER, build(Kind.SYNC, request=1, channel=b"c"))[0] == Kind.SYNC
    assert pair.say(Role.BROKER, build(Kind.RESULT, request=1))[0] == Kind.RESULT
    assert pair.ends[Role.BROKER].state is State.LANE


@pytest.mark.parametrize("before", [(), (Kind.HELLO,)])
def test_a_renderer_can_be_refused_before_and_after_its_hello(before: tuple[Kind, ...]) -> None:
    pair = Pair()
    for kind in before:
        pair.say(Role.RENDERER, build(kind))
    pair.ends[Role.BROKER].sent(Kind.REFUSED)
    pair.say(Role.BROKER, build(Kind.REFUSED, value=6))
    assert pair.ends[Role.RENDERER].state is State.CLOSED


@example(flags=MORE | CONTINUES)
@given(flags=st.integers(1, 255))
def test_flags_that_nobody_knows_are_a_fault(flags: int) -> None:
    wire = opened(Role.BROKER)
    found = take(wire, [build(Kind.CANCEL, flags=flags)])
    assert bool(found) == (flags == BY_NAME)
