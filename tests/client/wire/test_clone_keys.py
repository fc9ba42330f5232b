"""The bound on keys whose hash a peer can choose: exact, for dicts and sets, the same in the sender."""

import re
import struct
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from uuid import UUID

import pytest
from mainbus.errors import LimitExceeded
from mainbus.wire.clone_keys import MAX_CHOSEN, MAX_WORK, Keys, Work, is_chosen, weigh
from mainbus.wire.regexp import RegExp

from tests.support.clones import Codec, wire_dict, wire_set

P = (1 << 61) - 1
START = datetime(2026, 1, 1, tzinfo=UTC)
BOUND = "The number of keys whose hash can be chosen exceeds the limit of 1024"

# Where it can be done, and the keys are quick to compare, all have the same hash.
CHOSEN: dict[str, Callable[[int], Any]] = {
    "int": lambda number: (number + 1) * P + 5,
    "int of 64 bits": lambda number: 2**61 + number,
    "negative int": lambda number: -(number + 1) * P - 5,
    "float": lambda number: number + 0.5,
    "integral float": float,
    "tuple": lambda number: (number * P + 5, "x"),
    "tuple of text": lambda number: (str(number),),
    "frozenset": lambda number: frozenset({number * P + 5}),
    "Decimal": lambda number: Decimal(number * P + 5),
    "Fraction": lambda number: Fraction(2 * number + 1, 2),
    "UUID": lambda number: UUID(int=number),
    "IPv6Address": IPv6Address,
    "datetime": lambda number: START + timedelta(seconds=number),
}
SAFE: dict[str, Callable[[int], Any]] = {
    "str": str,
    "bytes": lambda number: struct.pack(">I", number),
    "int": lambda number: number - 2_500,
    "large int": lambda number: P - number,
    "date": date.fromordinal,
    "IPv4Address": IPv4Address,
    "RegExp": lambda number: RegExp(str(number)),
}


def written(keys: Iterable[object]) -> list[str]:
    """Return what tells keys apart in a time in proportion to their number: to compare them may take its square."""
    return sorted(map(repr, keys))


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("kind", CHOSEN)
def test_1024_keys_whose_hash_can_be_chosen(codec: Codec, kind: str) -> None:
    keys = [CHOSEN[kind](number) for number in range(1, MAX_CHOSEN + 1)]
    for value in (set(keys), dict.fromkeys(keys)):
        (arrived,) = codec.clone([value])
        assert type(arrived) is type(value)
        assert written(arrived) == written(keys)
    encoded = [codec.encode(key) for key in keys]
    for data in (wire_set(encoded), wire_dict(encoded)):
        assert written(codec.decode(data)) == written(keys)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("kind", CHOSEN)
def test_1025_keys_whose_hash_can_be_chosen(codec: Codec, kind: str) -> None:
    keys = [CHOSEN[kind](number) for number in range(1, MAX_CHOSEN + 2)]
    encoded = [codec.encode(key) for key in keys]
    for data in (wire_set(encoded), wire_dict(encoded)):
        with pytest.raises(LimitExceeded, match=BOUND):
            codec.decode(data)
    for value in (set(keys), dict.fromkeys(keys)):
        with pytest.raises(LimitExceeded, match=BOUND):
            codec.encode([value])


@pytest.mark.contract("4.6")
def test_kinds_are_counted_together(codec: Codec) -> None:
    keys = [make(number) for make in (CHOSEN["float"], CHOSEN["tuple"]) for number in range(600)]
    with pytest.raises(LimitExceeded, match=BOUND):
        codec.encode(set(keys))
    with pytest.raises(LimitExceeded, match=BOUND):
        codec.decode(wire_dict([codec.encode(key) for key in keys]))


@pytest.mark.contract("4.6")
def test_each_container_has_its_own_bound(codec: Codec) -> None:
    value = [{number + 0.5: {number + 0.25 for number in range(1_000)} for number in range(3)}] * 2
    assert codec.clone(value) == value


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("kind", SAFE)
def test_others_have_no_bound(codec: Codec, kind: str) -> None:
    keys = [SAFE[kind](number) for number in range(1, 5_001)]
    assert codec.clone([dict.fromkeys(keys), set(keys)]) == [dict.fromkeys(keys), set(keys)]


@pytest.mark.contract("4.6")
def test_twenty_thousand_colliding_ints(codec: Codec) -> None:
    encoded = [codec.encode(number * P) for number in range(1, 20_001)]
    with pytest.raises(LimitExceeded, match=BOUND):
        codec.decode(wire_dict(encoded))


def test_ints_that_are_their_own_hash_are_not_chosen() -> None:
    for number in (0, -1, 2**60, P - 1, 1 - P):
        assert not is_chosen(number)
        assert hash(number) == number or number == -1
    for number in (2**61, -(2**61), P + 1, 2**64, -(2**200)):
        assert is_chosen(number)
    assert not is_chosen(True)


def test_long_numbers_weigh_more_than_in_proportion() -> None:
    assert weigh(5, 9) == 1
    assert weigh(1 << 8_000, 1_024) == 1 + 32**2
    assert weigh("x" * 1_000, 1_024) == 1 + 32
    assert weigh(Fraction(1, 3), 5) > weigh(Decimal(1), 5) > weigh(1, 5)


def test_work_is_spent_on_equal_hashes_only() -> None:
    work = Work()
    keys = Keys(work)
    for number in range(100):
        keys.admit(number + 0.5, 10)
    assert work.left == MAX_WORK
    for number in range(1, 4):
        keys.admit(number * P + 7, 10)
    assert MAX_WORK - work.left == keys.spent == 10 + 20
    work.left = 29
    with pytest.raises(LimitExceeded, match=re.escape(str(MAX_WORK))):
        keys.admit(4 * P + 7, 10)
