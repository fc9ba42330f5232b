"""Packets built, found and taken apart, in Python; and compiled, where that is to be had, to the same result."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mainbus.wire import CODEC, header
from mainbus.wire.header import HEADER, HEADER_SIZE, SPECIAL, Head, text_of
from mainbus.wire.packets import BY_NAME, MORE, Kind

WAYS: dict[str, Any] = {"python": header}
if CODEC == "compiled":
    from mainbus.wire import packets_fast

    WAYS["compiled"] = packets_fast

U32 = st.integers(0, 0xFFFF_FFFF)
SHORT = st.binary(max_size=255)
FIELDS = st.fixed_dictionaries(
    {"flags": st.integers(0, 255), "frame": U32, "value": U32, "name": SHORT, "channel": SHORT}
)
NEEDS = bytes(256)
ALL = 1 << 30
EVERYWHERE = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@given(st.integers(0, 255), U32, U32, st.binary(max_size=300), FIELDS)
def test_a_packet_says_what_it_was_built_of(
    kind: int, peer: int, request: int, body: bytes, fields: dict[str, Any]
) -> None:
    for way in WAYS.values():
        packet = way.build(kind, peer, request, body, **fields)
        name, channel = fields["name"], fields["channel"]
        lengths = (len(name), len(channel))
        head = (len(packet), kind, fields["flags"], *lengths, peer, request, fields["frame"], fields["value"])
        assert HEADER.unpack_from(packet) == head
        assert packet[HEADER_SIZE:] == name + channel + body
        assert way.build(kind, peer, request, memoryview(body), **fields) == packet


@EVERYWHERE
def test_a_packet_needs_no_more_than_its_kind(way: Any) -> None:
    assert way.build(Kind.GAP) == HEADER.pack(HEADER_SIZE, Kind.GAP, 0, 0, 0, 0, 0, 0, 0)


@EVERYWHERE
@pytest.mark.parametrize("wrong", [{"name": bytes(256)}, {"channel": bytes(256)}, {"value": 1 << 32}, {"flags": -1}])
def test_what_does_not_fit_into_a_header_is_an_error(way: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"."):
        way.build(Kind.SEND, **wrong)


PACKETS = st.lists(
    st.builds(
        header.build,
        st.integers(0, 40),
        U32,
        U32,
        st.binary(max_size=40),
        flags=st.sampled_from([0, 0, 0, BY_NAME, MORE]),
        name=st.sampled_from([b"", b"", b"editor", "käfer".encode()]),
        channel=st.sampled_from([b"", b"chat", "über".encode()]),
    ),
    max_size=8,
).map(b"".join)


@given(
    PACKETS | st.binary(max_size=200) | st.tuples(PACKETS, st.binary(max_size=60)).map(b"".join),
    st.integers(0, 30),
    st.integers(0, 6),
    st.lists(st.sampled_from([0, 1, SPECIAL]), min_size=256, max_size=256).map(bytes) | st.just(NEEDS),
    st.integers(0, 60),
)
@example(b"\xff" * 24, 0, 5, NEEDS, 60)
@example(b"\x00" * 48, 0, 5, NEEDS, 60)
@example(HEADER.pack(HEADER_SIZE + 1, 16, 0, 1, 1, 0, 0, 0, 0) + b"ab", 0, 5, NEEDS, 60)
def test_it_finds_the_same_packets_compiled(data: bytes, at: int, count: int, needs: bytes, max_body: int) -> None:
    found = header.scan(data, at, len(data), count, needs, max_body)
    if CODEC == "compiled":
        assert packets_fast.scan(data, at, len(data), count, needs, max_body) == found
        for packet in found:
            assert packets_fast.whole(*packet) == header.whole(*packet)
    for head, _, place in found:
        assert place + head[0] <= len(data)


def packet(**fields: Any) -> bytes:
    return header.build(Kind.SEND, 7, 9, b"body", **{"channel": b"chat", **fields})


def needs_of(kind: int, need: int) -> bytes:
    return NEEDS[:kind] + bytes([need]) + NEEDS[kind + 1 :]


@EVERYWHERE
def test_packets_are_found_one_behind_the_other(way: Any) -> None:
    data = packet() + packet(flags=BY_NAME, name=b"editor") + packet(channel=b"")
    found = way.scan(data, 0, len(data), ALL, NEEDS, 100)
    assert [head[5:7] for head, _, _ in found] == [(7, 9)] * 3
    assert [at for _, _, at in found] == [0, len(packet()), len(data) - len(packet(channel=b""))]
    assert all(buffer is data for _, buffer, _ in found)


@EVERYWHERE
def test_the_search_ends_at_a_count_and_at_a_place(way: Any) -> None:
    data = packet() * 5
    assert len(way.scan(data, 0, len(data), 2, NEEDS, 100)) == 2
    assert len(way.scan(data, 0, len(packet()), ALL, NEEDS, 100)) == 1
    assert len(way.scan(data, 0, len(packet()) + 1, ALL, NEEDS, 100)) == 2
    assert len(way.scan(data, len(packet()), len(data), ALL, NEEDS, 100)) == 4


@EVERYWHERE
@pytest.mark.parametrize(
    "special",
    [
        pytest.param(packet(flags=MORE), id="fragment"),
        pytest.param(packet(flags=BY_NAME | MORE), id="fragment by name"),
        pytest.param(packet(channel="über".encode()), id="channel that is not ASCII"),
        pytest.param(packet(name=b"\xff"), id="name that is not ASCII"),
        pytest.param(packet(channel=b""), id="no channel"),
        pytest.param(header.build(Kind.CANCEL), id="kind that may not be read"),
        pytest.param(header.build(Kind.SEND, body=bytes(101), channel=b"chat"), id="long body"),
        pytest.param(HEADER.pack(HEADER_SIZE - 1, 16, 0, 0, 0, 0, 0, 0, 0), id="shorter than a header"),
        pytest.param(HEADER.pack(HEADER_SIZE, 16, 0, 1, 1, 0, 0, 0, 0) + b"ab", id="shorter than its texts"),
    ],
)
def test_the_search_ends_before_what_is_special(way: Any, special: bytes) -> None:
    needs = needs_of(Kind.SEND, 1)[: Kind.CANCEL] + bytes([SPECIAL]) + NEEDS[Kind.CANCEL + 1 :]
    data = packet() + special + packet()
    assert len(way.scan(data, 0, len(data), ALL, needs, 100)) == 1


@EVERYWHERE
@pytest.mark.parametrize("size", [1, HEADER_SIZE - 1, HEADER_SIZE, len(packet()) - 1])
def test_the_search_ends_before_what_is_not_all_there(way: Any, size: int) -> None:
    data = packet() + packet()[:size]
    assert len(way.scan(data, 0, len(data), ALL, NEEDS, 100)) == 1


@EVERYWHERE
def test_a_message_is_what_the_packet_says(way: Any) -> None:
    data = b"before" + packet(flags=BY_NAME, name=b"editor", frame=3, value=4) + b"behind"
    head: Head = HEADER.unpack_from(data, 6)
    assert way.whole(head, data, 6) == (Kind.SEND, BY_NAME, 7, 9, 3, 4, b"editor", "chat", b"body")
    data = header.build(Kind.RESULT, 0, 9, channel="über".encode())
    assert way.whole(HEADER.unpack_from(data), data, 0) == (Kind.RESULT, 0, 0, 9, 0, 0, b"", "über", b"")


@EVERYWHERE
def test_a_packet_is_readdressed(way: Any) -> None:
    data = b"before" + packet(flags=BY_NAME, name=b"editor", frame=3, value=4) + b"behind"
    assert way.readdress(data, 6, 5, b"") == header.build(
        Kind.SEND, 5, 9, b"body", flags=BY_NAME, frame=3, value=4, channel=b"chat"
    )


@given(st.binary(max_size=300), FIELDS, U32, SHORT)
def test_readdressing_changes_peer_and_name_only(body: bytes, fields: dict[str, Any], peer: int, name: bytes) -> None:
    data = header.build(Kind.SEND, 7, 9, body, **fields)
    for way in WAYS.values():
        assert way.readdress(data, 0, peer, name) == header.build(Kind.SEND, peer, 9, body, **{**fields, "name": name})


def test_texts_are_remembered() -> None:
    assert text_of(b"a channel") is text_of(b"a channel")
    assert text_of("käfer".encode()) == "käfer"
    with pytest.raises(UnicodeDecodeError):
        text_of(b"\xff")
