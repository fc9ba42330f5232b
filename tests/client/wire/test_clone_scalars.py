"""Numbers, times and addresses at the edges of what they can be."""

import decimal
import re
from datetime import datetime, timedelta, timezone
from decimal import MAX_EMAX, MIN_ETINY, Decimal
from fractions import Fraction
from ipaddress import IPv6Address
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire.clone import BadMessage, CloneError, LimitExceeded

from tests.support.clones import CODECS, Codec, token


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("shift", [23, 24, 31, 32, 53, 61, 63, 64, 65, 128, 1_000, 100_000])
@pytest.mark.parametrize("near", [-1, 0, 1])
def test_ints_of_any_size(codec: Codec, shift: int, near: int) -> None:
    for number in ((1 << shift) + near, -(1 << shift) + near):
        assert codec.clone([number]) == [number]


@pytest.mark.contract("4.1")
@given(moment=st.datetimes(timezones=st.timezones()))
def test_datetimes_keep_offset_and_microseconds(moment: datetime) -> None:
    for codec in CODECS:
        arrived = codec.clone(moment)
        assert arrived.utcoffset() == moment.utcoffset()
        assert arrived.replace(tzinfo=None) == moment.replace(tzinfo=None, fold=0)


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("fold", [0, 1])
def test_a_datetime_that_happens_twice(codec: Codec, fold: int) -> None:
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    assert codec.clone(moment).utcoffset() == timedelta(hours=2 - fold)


@pytest.mark.contract("4.5")
def test_datetimes_that_become_equal(codec: Codec) -> None:
    moment = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    keys = {moment, moment.astimezone(timezone(timedelta(hours=2)))}
    assert len(keys) == 2  # Python never calls a time equal that happens twice
    with pytest.raises(CloneError, match="set with keys that would arrive equal"):
        codec.encode(keys)


@pytest.mark.contract("4.1")
@pytest.mark.parametrize(
    "offset",
    [
        timedelta(0),
        timedelta(hours=23, minutes=59, seconds=59, microseconds=999_999),
        timedelta(hours=-23, minutes=-59, seconds=-59, microseconds=-999_999),
        timedelta(microseconds=-1),
        timedelta(seconds=1),
    ],
)
@pytest.mark.parametrize("moment", [datetime.min, datetime.max], ids=["min", "max"])
def test_extreme_datetimes(codec: Codec, offset: timedelta, moment: datetime) -> None:
    moment = moment.replace(tzinfo=timezone(offset))
    assert token(codec.clone(moment)) == token(moment)


@pytest.mark.contract("4.1")
@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-0",
        "0E-10",
        "-0E+7",
        "1.10",
        "1E+5",
        "NaN",
        "-NaN123",
        "sNaN",
        "-sNaN9",
        "Infinity",
        "-Infinity",
        "1E999999999",
        "9" * 4_900,
        f"1E{MAX_EMAX}",
        f"1E{MIN_ETINY}",
        f"9.99E{MAX_EMAX}",
        f"-0E{MIN_ETINY}",
    ],
)
def test_decimals(codec: Codec, text: str) -> None:
    assert codec.clone(Decimal(text)).as_tuple() == Decimal(text).as_tuple()


@pytest.mark.contract("4.1")
def test_decimals_in_any_context(codec: Codec) -> None:
    value = [Decimal("1.234567890123456789e500"), Decimal("-0.0"), Decimal("sNaN7")]
    with decimal.localcontext() as context:
        context.prec, context.Emax = 3, 10
        for signal in context.traps:
            context.traps[signal] = True
        assert [str(number) for number in codec.clone(value)] == [str(number) for number in value]
        assert not any(context.flags.values())


@pytest.mark.contract("4.6")
@pytest.mark.parametrize(
    "value", [Decimal("9" * 4_940), Decimal("9" * 3_000_000), Fraction(1 << 16_384), Fraction(1, 3**20_000)]
)
def test_ratios_are_bounded(codec: Codec, value: object) -> None:
    with pytest.raises(LimitExceeded, match="The size of a Decimal or Fraction in bits exceeds the limit of 16384"):
        codec.encode([value])


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("start", ["c48200", "d81e82", "d81e8201", "d9010c8300"])
def test_ratios_from_others_are_bounded(codec: Codec, start: str) -> None:
    largest = codec.encode((1 << 16_384) - 1)
    rest = {"d81e82": b"\x01", "d9010c8300": b"\x00"}.get(start, b"")
    codec.decode(bytes.fromhex(start) + largest + rest)
    for number in (1 << 16_384, 1 << 20_000_000):
        with pytest.raises(LimitExceeded):
            codec.decode(bytes.fromhex(start) + codec.encode(number) + rest)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize(
    "wire",
    [
        "c4821bffffffffffffffff01",  # exponents of a Decimal
        "c4823bffffffffffffffff01",
        "c482c249ffffffffffffffffff01",
        "c48201",
        "c4820161",
        "c482f501",
        "c4830101 01".replace(" ", ""),
        "c401",
        "d9010c83000008",
        "d9010c83002000",
        "d9010c83010002",
        "d9010c83000102",
        "d9010c83010004",
        "d9010c820000",
        "d81e820100",  # denominators
        "d81e820120",
        "d81e81 01".replace(" ", ""),
        "d81e82f501",
        "d8254f" + "00" * 15,  # addresses
        "d8257050" + "00" * 16,
        "d8344300 0000".replace(" ", ""),
        "d83444000000",
        "d83482184044c0000201",
        "d8364f" + "00" * 15,
        "d8368250" + "00" * 16 + "1840",
        "d8368350" + "00" * 16 + "f66125",
        "d8368350" + "00" * 16 + "016165",
        "c06a323032362d31312d3231",  # times
        "c073323032362d31312d32315431323a33303a3030",
        "c074323032362d31332d32315431323a33303a30305a",
        "c074323032362d31312d32315432353a33303a30305a",
        "c0743230323621313121323154313221333021303 05a".replace(" ", ""),
        "c01a00000000",
        "d903ec6a323032362d30322d3330",
        "d903ec68323032363131323 1".replace(" ", ""),
        "d903ec6a323032362d5734372d36",
        "d9524a826161617a",  # patterns
        "d9524a8261616269 69".replace(" ", ""),
        "d9524a816161",
        "d9524a82614161",
        "d9524a6161",
        "c201",  # ints
        "c26161",
        "c280",
        "c3a0",
    ],
)
def test_content_that_is_refused(codec: Codec, wire: str) -> None:
    for data in (bytes.fromhex(wire), b"\xa1" + bytes.fromhex(wire) + b"\xf6"):
        with pytest.raises(BadMessage):
            codec.decode(data)


@pytest.mark.contract("4.1")
def test_surrogates_are_found_wherever_text_is(codec: Codec) -> None:
    with pytest.raises(CloneError, match=re.escape("(args[0].a: str with a lone surrogate at 2)")):
        codec.encode([{"a": "xx\udfff"}])
    with pytest.raises(CloneError, match=re.escape("(args[0]: str with a lone surrogate at 0)")):
        codec.encode([re.compile("\ud800")])
    assert codec.clone("\U0001f600\uffff\x00") == "\U0001f600\uffff\x00"


@pytest.mark.contract("4.1")
def test_zones_of_addresses(codec: Codec) -> None:
    address = IPv6Address("fe80::1%Ünïcode zone")
    assert codec.clone(address) == address
    assert codec.clone(address).scope_id == "Ünïcode zone"
