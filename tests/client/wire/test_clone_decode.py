"""Bytes from anybody: decoding raises BadMessage or LimitExceeded, and nothing else, at a bounded cost."""

import struct
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mainbus.wire import clone_decode
from mainbus.wire.clone import BadMessage, LimitExceeded, encode

from tests.support.clones import CODECS, TREES, Codec, graphs, head, same, wire_dict, wire_set

TAGS = [0, 1, 2, 3, 4, 5, 27, 28, 29, 30, 35, 36, 37, 40, 41, 52, 54, *range(64, 88), 100, 258, 268, 1004, 21066]
LENGTHS = [0, 1, 2, 3, 4, 16, 23, 24, 255, 256, 65_535, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1]
ERROR = bytes.fromhex("d81b82654572726f72")
P = (1 << 61) - 1


@st.composite
def soups(draw: st.DrawFn) -> bytes:
    """Items that are each well-formed, in an order that need not be."""
    small = st.integers(0, 4)
    item = st.one_of(
        st.builds(head, st.just(6), st.sampled_from(TAGS)),
        st.builds(head, st.sampled_from([4, 5]), small),
        st.builds(head, st.sampled_from([0, 1]), small | st.sampled_from(LENGTHS)),
        st.builds(head, st.integers(0, 7), st.sampled_from(LENGTHS)),
        st.binary(max_size=17).map(lambda data: head(2, len(data)) + data),
        st.text(max_size=4).map(lambda text: head(3, len(text.encode())) + text.encode()),
        st.sampled_from(["Error", "name", "message", "cause", "2026-11-21", "2026-11-21T00:00:00Z", "gi"]).map(
            lambda text: head(3, len(text)) + text.encode()
        ),
        st.sampled_from([b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xff", b"\xf8\x20", b"\xf9\x7e\x00", ERROR]),
        st.floats().map(lambda number: struct.pack(">Bd", 0xFB, number)),
    )
    return b"".join(draw(st.lists(item, max_size=25)))


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A good message with a few bytes changed, left out, put in or doubled."""
    data = bytearray(encode(draw(TREES | graphs())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        stop = draw(st.integers(at, min(len(data), at + 8)))
        data[at:stop] = draw(st.one_of(st.binary(max_size=4), st.just(bytes(data[at:stop]) * 2)))
    return bytes(data)


def check(data: bytes) -> None:
    """Decode with every codec; they must agree, and what decodes must be fit to be sent on."""
    outcomes: list[Any] = []
    for codec in CODECS:
        try:
            outcomes.append(codec.decode(data))
        except (BadMessage, LimitExceeded) as error:
            outcomes.append(type(error))
            continue
        try:
            codec.encode(outcomes[-1])
        except LimitExceeded:
            pass
    kinds = {type(outcome) if not isinstance(outcome, type) else outcome for outcome in outcomes}
    assert len(kinds) == 1


@pytest.mark.contract("4.6")
@given(data=st.binary(max_size=60))
@settings(deadline=None, max_examples=100)
@example(data=b"")
@example(data=b"\xff")
def test_any_bytes(data: bytes) -> None:
    check(data)


@pytest.mark.contract("4.6")
@given(data=spoilt())
@settings(deadline=None, max_examples=100)
def test_spoilt_messages(data: bytes) -> None:
    check(data)


@pytest.mark.contract("4.6")
@given(data=soups())
@settings(deadline=None, max_examples=150)
def test_any_items(data: bytes) -> None:
    check(data)


@pytest.mark.contract("4.6")
@given(items=st.lists(soups(), min_size=1, max_size=3), tag=st.sampled_from([258, 4, 30, 40, 268, 21066, 28]))
@settings(deadline=None, max_examples=100)
def test_any_content_of_a_tag(items: list[bytes], tag: int) -> None:
    check(head(6, tag) + head(4, len(items)) + b"".join(items))


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("major", [2, 3, 4, 5])
@pytest.mark.parametrize("length", LENGTHS[-7:])
@pytest.mark.parametrize("before", [b"", b"\x82", bytes.fromhex("d90102"), bytes.fromhex("d84d"), b"\xc2", b"\xd8\x1c"])
def test_declared_lengths_allocate_nothing(codec: Codec, major: int, length: int, before: bytes) -> None:
    data = before + head(major, length) + b"\x00" * 100
    tracemalloc.start()
    try:
        with pytest.raises(BadMessage):
            codec.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.contract("4.6")
@pytest.mark.parametrize(
    "wire",
    [
        "9f01ff",  # indefinite lengths
        "7f6161ff",
        "5f4161ff",
        "bf616101ff",
        "1c",  # reserved lengths
        "5d",
        "ff",
        "e0",  # simple values
        "f3",
        "f820",
        "f8ff",
        "62ff61",  # text that is not UTF-8
        "63eda080",
        "a2616101616102",  # keys twice
        "a201f501f6",
        "a201f5f5f6",
        "a2f601f702",
        "d901028201fb3ff0000000000000",
        "d9010282616161 61".replace(" ", ""),
        "a1a0f6",  # keys without a hash
        "a1d84041000a",
        "a1d81c80f6",
        "d90102 81d81c80".replace(" ", ""),
        "82d81c80d9010281d81d00",
        "a1" + "d81b82654572726f72a2646e616d656a56616c75654572726f72676d657373616765626e6f" + "f6",
        "d9010281d9010c83000006",  # a signalling NaN
        "d81d00",  # references
        "82d81c80d81d01",
        "82d81c80d81d20",
        "d81c01",
        "d81cd81c80",
        "d81c6161",
        "d81cd81b82654572726f72a0",
        "d9010201",  # tags around the wrong thing
        "d90102a0",
        "d90102d81c80",
        "c101",
        "d8236128",
        "d8246128",
        "d9d9f780",
        "c500",
        "d81b82654f74686572a0",  # exceptions
        "d81b82654572726f7280",
        "d81b82654572726f72a0",
        "d81b82654572726f7282646e616d6560676d65737361676560",
        "d81b81654572726f72",
        "d81b82654572726f72a2646e616d6501676d65737361676501",
    ],
)
def test_what_is_refused(codec: Codec, wire: str) -> None:
    for data in (bytes.fromhex(wire), b"\x81" + bytes.fromhex(wire), b"\xa1\x61a" + bytes.fromhex(wire)):
        with pytest.raises(BadMessage):
            codec.decode(data)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize(
    "start", ["81", "a16161", "a1", "d9010281", "d81c81", "d81c", "c1", "c2", "d81b82654572726f72a16161"]
)
def test_no_nesting_crashes(codec: Codec, start: str) -> None:
    with pytest.raises((LimitExceeded, BadMessage)):
        codec.decode(bytes.fromhex(start) * 100_000 + b"\x80")


@pytest.mark.contract("4.6")
@pytest.mark.parametrize(
    "start", ["81", "a16161", "d9010281", "d81c81", "d81b82654572726f72a3646e616d6560676d657373616765606464617461"]
)
def test_depth_is_bounded(codec: Codec, start: str) -> None:
    # In a set, the array of each level is a tuple, so that the last item can be anything with a hash.
    for depth, limit in [(512, None), (1, 1), (5, 5)]:
        bound = {} if limit is None else {"max_depth": limit}
        codec.decode(bytes.fromhex(start) * depth + b"\x01", **bound)
        with pytest.raises(LimitExceeded, match=f"The nesting depth exceeds the limit of {limit or 512}"):
            codec.decode(bytes.fromhex(start) * (depth + 1) + b"\x01", **bound)


@pytest.mark.contract("4.6")
def test_causes_are_bounded(codec: Codec) -> None:
    cause = bytes.fromhex("a3646e616d6560676d6573736167656065") + b"cause"
    for depth in (100, 600):
        with pytest.raises((BadMessage, LimitExceeded)):
            codec.decode(ERROR + cause * depth + bytes.fromhex("a2646e616d6560676d65737361676560"))


@pytest.mark.contract("4.4", "4.6")
def test_references_amplify_nothing(codec: Codec) -> None:
    # Each list holds the one before it a thousand times.
    parts = [b"\xd8\x1c\x80"] + [
        b"\xd8\x1c" + head(4, 1_000) + (b"\xd8\x1d" + head(0, number)) * 1_000 for number in range(30)
    ]
    data = head(4, len(parts)) + b"".join(parts)
    arrived = codec.decode(data)
    for one, other in pairwise(arrived):
        assert other[0] is other[999] is one
    assert same(codec.decode(codec.encode(arrived)), arrived)


@pytest.mark.contract("4.4")
def test_references_to_what_is_not_complete(codec: Codec) -> None:
    arrived = codec.decode(bytes.fromhex("d81ca16161d81c82d81d00d81d01"))
    assert arrived["a"][0] is arrived
    assert arrived["a"][1] is arrived["a"]


def multiples(first: int, last: int) -> list[bytes]:
    """Ints that all have the hash 0."""
    return [head(6, 2) + head(2, 16) + (number * P).to_bytes(16, "big") for number in range(first, last)]


@pytest.mark.contract("4.6")
def test_sets_of_colliding_members(codec: Codec) -> None:
    assert len(codec.decode(wire_set(multiples(1, 1_025)))) == 1_024
    inner = multiples(1, 900)
    with pytest.raises(LimitExceeded, match="telling apart keys with equal hashes"):
        codec.decode(wire_set([wire_set([*inner, head(0, number)]) for number in range(200)]))


@pytest.mark.contract("4.6")
def test_colliding_sets_of_colliding_members(codec: Codec) -> None:
    # To build them takes little; to compare two of them takes as much as to build one, and there are 20,000 pairs.
    inner = multiples(1, 100)
    with pytest.raises(LimitExceeded, match="telling apart keys with equal hashes"):
        codec.decode(wire_set([wire_set([*inner, last]) for last in multiples(100, 300)]))


@pytest.mark.contract("4.6")
def test_work_is_bounded_for_the_message(codec: Codec) -> None:
    containers = [{("x" * 3_200, number * P) for number in range(400)} for _ in range(3)]
    assert codec.clone(containers[:2]) == containers[:2]
    with pytest.raises(LimitExceeded, match="telling apart keys with equal hashes"):
        codec.encode(containers)
    data = b"\x83" + codec.encode(containers[0]) * 3
    with pytest.raises(LimitExceeded, match="telling apart keys with equal hashes"):
        codec.decode(data)


@pytest.mark.contract("4.6")
def test_keys_without_a_hash_are_not_read(codec: Codec) -> None:
    for key in ("a0", "a101f6", "d81c80", "d81d00", "d84040", "82a001"):
        with pytest.raises(BadMessage, match="A key is of a type that has no hash"):
            codec.decode(b"\xa1" + bytes.fromhex(key))


@pytest.mark.contract("4.3", "4.6")
def test_an_exception_that_cannot_be_made(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> BaseException:
        raise ZeroDivisionError

    data = codec.encode([ValueError("x")])
    monkeypatch.setattr(clone_decode, "rebuild", fail)
    with pytest.raises(BadMessage, match="No exception can be made of its description: ZeroDivisionError"):
        codec.decode(data)


@pytest.mark.contract("4.6")
def test_numbers_that_are_slow_to_compare(codec: Codec) -> None:
    ints = [head(6, 2) + head(2, 2_000) + (number * P << 15_000).to_bytes(2_000, "big") for number in range(1, 500)]
    decimals = [head(6, 4) + head(4, 2) + head(0, 0) + codec.encode(number * P) for number in range(1, 500)]
    with pytest.raises(LimitExceeded, match="telling apart keys with equal hashes"):
        codec.decode(wire_set(ints + decimals))


@pytest.mark.contract("4.6")
def test_honest_collisions_cost_nothing(codec: Codec) -> None:
    value = [{-1.0: 0, -2.0: 0, (number, -1): 0, (number, -2): 0} for number in range(5_000)]
    assert codec.clone(value) == value


@pytest.mark.contract("4.2", "4.6")
@pytest.mark.parametrize("tag", [35, 36])
def test_patterns_and_mail_are_not_parsed(codec: Codec, tag: int) -> None:
    with pytest.raises(BadMessage, match=f"Tag {tag} is not part of structured clone"):
        codec.decode(head(6, tag) + b"\x61(")


@pytest.mark.contract("4.6")
def test_dicts_are_checked_like_sets(codec: Codec) -> None:
    with pytest.raises(BadMessage):
        codec.decode(wire_dict([b"\x01", b"\xf9\x3c\x00"]))
    assert codec.decode(wire_dict([b"\x01", b"\xf9\x3e\x00"])) == {1: None, 1.5: None}
