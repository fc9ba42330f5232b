"""The bytes of packets: the golden vectors, both ways, and how a long body is cut."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.remote import describe, rebuild
from mainbus.wire import clone, packets
from mainbus.wire.packets import (
    HEADER,
    HEADER_SIZE,
    KIND_AT,
    MAX_FRAGMENT,
    MAX_PACKET,
    MAX_U32,
    Fields,
    Flag,
    Kind,
    build,
)
from mainbus.wire.pieces import Packet, Pieces

from tests.support import raw
from tests.vectors import make

VECTORS = Path(__file__).parents[2] / "vectors"


def vectors(name: str) -> list[Any]:
    """Golden vectors as parameters, by their names."""
    found = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(vector, id=vector["name"]) for vector in found]


def parse(packet: bytes) -> dict[str, Any]:
    """Read a packet as docs/reference/protocol.md says."""
    length, kind, flags, name, channel, peer, request, frame, value = HEADER.unpack_from(packet)
    assert length == len(packet)
    name_end, body = HEADER_SIZE + name, HEADER_SIZE + name + channel
    return {
        "kind": Kind(kind).name,
        "flags": flags,
        "peer": peer,
        "request": request,
        "frame": frame,
        "value": value,
        "name": packet[HEADER_SIZE:name_end].decode(),
        "channel": packet[name_end:body].decode(),
        "body": packet[body:].hex(),
    }


def test_the_golden_vectors_are_what_their_maker_makes() -> None:
    assert {name: (VECTORS / name).read_text(encoding="utf-8") for name in make.texts()} == make.texts()


@pytest.mark.parametrize("vector", vectors("packets"))
def test_packets_are_the_golden_ones(vector: dict[str, Any]) -> None:
    fields = dict(vector["packet"])
    kind, body = Kind[fields.pop("kind")], bytes.fromhex(fields.pop("body"))
    fields |= {"name": fields["name"].encode(), "channel": fields["channel"].encode()}
    assert build(kind, body=body, **fields).hex() == vector["hex"]
    assert parse(bytes.fromhex(vector["hex"])) == vector["packet"]
    assert bytes.fromhex(vector["hex"])[KIND_AT] == kind


def test_every_kind_has_a_golden_packet() -> None:
    shown = {vector.values[0]["packet"]["kind"] for vector in vectors("packets")}
    handshakes = {Kind.HELLO, Kind.WELCOME, Kind.LANE}
    assert shown == {kind.name for kind in Kind if kind not in handshakes}


@pytest.mark.parametrize("vector", vectors("fragments"))
def test_fragments_are_the_golden_ones(vector: dict[str, Any]) -> None:
    body = (bytes(range(256)) * (vector["length"] // 256 + 1))[: vector["length"]]
    start, expected = 0, []
    for part in vector["fragments"]:
        expected.append(bytes.fromhex(part["head"]) + body[start : start + part["length"]])
        start += part["length"]
    message = packets.message(Kind.INVOKE, 0, 5, body, flags=Flag.BY_NAME, value=1500, name=b"editor", channel=b"open")
    assert list(map(bytes, message)) == expected


@pytest.mark.contract("4.3")
@pytest.mark.parametrize("vector", vectors("errors"))
def test_bodies_of_errors_are_the_golden_ones(vector: dict[str, Any]) -> None:
    body = bytes.fromhex(vector["hex"])
    assert clone.decode(body) == vector["description"]
    assert clone.encode(vector["description"]) == body
    assert describe(rebuild(vector["description"])) == vector["description"]


@given(
    kind=st.sampled_from(Kind),
    flags=st.integers(0, 255),
    numbers=st.fixed_dictionaries({key: st.integers(0, MAX_U32) for key in ("peer", "request", "frame", "value")}),
    name=st.binary(max_size=255),
    channel=st.binary(max_size=255),
    body=st.binary(max_size=2000),
)
def test_every_field_is_where_a_reader_looks_for_it(
    kind: Kind, flags: int, numbers: dict[str, int], name: bytes, channel: bytes, body: bytes
) -> None:
    packet = raw.Packet(kind, flags, name=name, channel=channel, body=body, **numbers)
    assert build(kind, body=body, flags=flags, name=name, channel=channel, **numbers) == packet.encode()


@pytest.mark.parametrize("length", [0, 1, MAX_FRAGMENT - 1, MAX_FRAGMENT])
def test_a_body_that_fits_is_one_packet(length: int) -> None:
    packet = packets.message(Kind.SEND, 1, 0, bytes(length), channel=b"c")
    assert isinstance(packet, bytes)
    assert len(packet) <= MAX_PACKET


@pytest.mark.parametrize("length", [MAX_FRAGMENT + 1, 2 * MAX_FRAGMENT, 3 * MAX_FRAGMENT + 5])
def test_a_longer_one_is_cut_where_it_must(length: int) -> None:
    name = channel = b"x" * 255
    body = bytes(range(256)) * (length // 256 + 1)
    message = packets.message(Kind.SEND, 9, 4, body[:length], value=7, frame=2, name=name, channel=channel)
    assert not isinstance(message, bytes)
    parts = [parse(bytes(part)) for part in message]
    assert len(parts) == -(-length // MAX_FRAGMENT)
    assert b"".join(bytes.fromhex(part["body"]) for part in parts) == body[:length]
    assert [part["flags"] for part in parts] == [1, *[3] * (len(parts) - 2), 2]
    # What tells to whom and to what it belongs is in each; what holds for all is in the first.
    assert {(part["peer"], part["request"], part["frame"], part["name"]) for part in parts} == {(9, 4, 2, "x" * 255)}
    assert [(part["channel"], part["value"]) for part in parts] == [("x" * 255, 7), *[("", 0)] * (len(parts) - 1)]


@given(
    parts=st.lists(st.binary(min_size=1, max_size=9).map(lambda part: part * 30_000), min_size=1, max_size=4),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "flags": st.sampled_from([0, int(Flag.BY_NAME), int(Flag.HOST)]),
            "frame": st.integers(0, MAX_U32),
            "value": st.integers(0, MAX_U32),
            "name": st.binary(max_size=255),
            "channel": st.binary(max_size=255),
        },
    ),
)
def test_a_body_in_pieces_is_cut_alike_compiled_and_not(parts: list[bytes], fields: Fields) -> None:
    for body in (Pieces(parts), b"".join(parts)):
        cut = [list(map(bytes, cut(19, 3, 4, body, **fields))) for cut in (packets.fragments, packets.pure_fragments)]
        assert cut[0] == cut[1]


@pytest.mark.parametrize("cut", [packets.fragments, packets.pure_fragments])
def test_a_fragment_has_views_of_what_is_there(cut: Callable[..., Iterator[Packet]]) -> None:
    body = bytes(2 * MAX_FRAGMENT)
    views = [part for fragment in cut(Kind.SEND, 1, 0, body) for part in fragment.parts[1:]]  # type: ignore[union-attr]
    assert [view.obj is body for view in views if isinstance(view, memoryview)] == [True, True]


def test_bytes_of_the_usual_sizes_need_no_packet_for_what_stands_around_them() -> None:
    for count in (1, 2, 8, 128):
        body = clone.encode([bytes(count * 128 * 1024)])
        assert -(-len(body) // MAX_FRAGMENT) <= count


def test_the_longest_packet_is_as_long_as_readers_allow() -> None:
    longest = build(Kind.SEND, body=bytes(MAX_FRAGMENT), name=b"n" * 255, channel=b"c" * 255)
    assert len(longest) == MAX_PACKET
