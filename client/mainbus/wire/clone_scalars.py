"""What has no parts of its own, both ways: numbers, text, bytes, times, addresses, patterns.

Only the other clone modules import it. A value of one of these types can also be a key or a member of a set.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, MIN_ETINY, Context, Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from struct import pack
from types import MappingProxyType, NoneType
from typing import Any, Final
from uuid import UUID

from mainbus.errors import BadMessage, LimitExceeded
from mainbus.wire import clone_cbor as cbor
from mainbus.wire.clone_cbor import Cursor, byte_string, check_ratio_part, head, integer, text_string
from mainbus.wire.regexp import RegExp, of_pattern

__all__ = ["DECODERS", "ENCODERS", "Refused"]

# Beyond any digit a bounded coefficient has, so that nothing is rounded and no application's context has a say.
EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])
# A little more than the bound in bits, to stay away from numbers for which the exact count takes long.
MOST_DIGITS: Final = cbor.MAX_RATIO_BITS // 3

DATETIME_FORM: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?)"
    r"(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:\.(\d{6}))?)?)",
    re.ASCII,
)
DATE_FORM: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class Refused(Exception):
    """What an object is that cannot be cloned; the encoder adds where it is."""


def _tagged(tag: int, content: bytes) -> bytes:
    return head(cbor.TAG, tag) + content


def _two(tag: int, first: bytes, second: bytes) -> bytes:
    return _tagged(tag, head(cbor.ARRAY, 2) + first + second)


# Encoding: each takes an instance of its type, or of a subclass, and never calls what a subclass overrides.


def _bool(value: bool) -> bytes:
    return b"\xf5" if value else b"\xf4"


def _float(value: float) -> bytes:
    number = float.__float__(value)
    if number - number == 0.0:
        return pack(">Bd", cbor.DOUBLE, number)
    # NaN and the infinities, as cbor2 writes them.
    return b"\xf9\x7e\x00" if number != number else b"\xf9\x7c\x00" if number > 0 else b"\xf9\xfc\x00"


def _str(value: str) -> bytes:
    try:
        return text_string(str.__str__(value))
    except UnicodeEncodeError as error:
        raise Refused(f"str with a lone surrogate at {error.start}") from None


def _datetime(value: datetime) -> bytes:
    offset = _offset(value)
    if offset is None:
        raise Refused("naive datetime; say which time zone, such as tzinfo=datetime.UTC")
    # Not isoformat() of the value: it would ask the time zone once more.
    sign, offset = ("-", -offset) if offset < timedelta(0) else ("+", offset)
    minutes, rest = divmod(offset, timedelta(minutes=1))
    seconds = f":{rest.seconds:02}" + (f".{rest.microseconds:06}" if rest.microseconds else "") if rest else ""
    local = datetime.isoformat(datetime.replace(value, tzinfo=None))
    return _tagged(cbor.DATETIME, text_string(f"{local}{sign}{minutes // 60:02}:{minutes % 60:02}{seconds}"))


def _offset(value: datetime) -> timedelta | None:
    try:
        return datetime.utcoffset(value)
    except Exception as error:
        # A time zone is the application's own code.
        raise Refused(f"datetime whose time zone raised {type(error).__name__}") from error


def _date(value: date) -> bytes:
    return _tagged(cbor.DATE, text_string(date.isoformat(value)))


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = Decimal.as_tuple(value)
    if len(digits) > MOST_DIGITS:
        raise LimitExceeded("The size of a Decimal or Fraction in bits", cbor.MAX_RATIO_BITS)
    if isinstance(exponent, str):
        kind = {"F": 2, "n": 4, "N": 6}[exponent] + sign
        payload = 0 if exponent == "F" else _coefficient(digits)
        return _extended(0, payload, kind)
    coefficient = _coefficient(digits)
    if sign and not coefficient:
        return _extended(exponent, 0, 1)
    return _two(cbor.DECIMAL, integer(exponent), integer(-coefficient if sign else coefficient))


def _extended(exponent: int, coefficient: int, kind: int) -> bytes:
    parts = integer(exponent) + integer(coefficient) + integer(kind)
    return _tagged(cbor.EXTENDED_DECIMAL, head(cbor.ARRAY, 3) + parts)


def _coefficient(digits: tuple[int, ...]) -> int:
    # By way of Decimal: int() of text has a limit of its own, which the application may change.
    return check_ratio_part(int(Decimal((0, digits, 0))))


def _fraction(value: Fraction) -> bytes:
    parts = value.numerator, value.denominator
    if not all(type(part) is int for part in parts):
        raise Refused(type(value).__name__)
    return _two(cbor.RATIONAL, *(integer(check_ratio_part(part)) for part in parts))


def _uuid(value: UUID) -> bytes:
    return _tagged(cbor.UUID_BYTES, byte_string(value.bytes))


def _ipv4(value: IPv4Address) -> bytes:
    return _tagged(cbor.IPV4, byte_string(value.packed))


def _ipv6(value: IPv6Address) -> bytes:
    address = byte_string(value.packed)
    if value.scope_id is None:
        return _tagged(cbor.IPV6, address)
    # RFC 9164: an address with a zone is an interface without a prefix length.
    return _tagged(cbor.IPV6, head(cbor.ARRAY, 3) + address + b"\xf6" + _str(value.scope_id))


def _regexp(value: RegExp) -> bytes:
    return _two(cbor.REGEXP, _str(value.source), _str(value.flags))


def _pattern(value: re.Pattern[Any]) -> bytes:
    if not isinstance(value.pattern, str):
        raise Refused("Pattern of bytes")
    return _regexp(of_pattern(value))


ENCODERS: Final[Mapping[type, Callable[[Any], bytes]]] = MappingProxyType(
    {
        NoneType: lambda value: b"\xf6",
        bool: _bool,
        int: lambda value: integer(int.__int__(value)),
        float: _float,
        str: _str,
        bytes: lambda value: byte_string(bytes.__bytes__(value)),
        datetime: _datetime,
        date: _date,
        Decimal: _decimal,
        Fraction: _fraction,
        UUID: _uuid,
        IPv4Address: _ipv4,
        IPv6Address: _ipv6,
        RegExp: _regexp,
        re.Pattern: _pattern,
    }
)
"""How to write a value, by its type; they raise `Refused`, and LimitExceeded for numbers that are too large."""


# Decoding: the cursor stands behind the tag.


def _read_datetime(cursor: Cursor) -> datetime:
    local, sign, *parts = _shaped(cursor, DATETIME_FORM).groups(default="0")
    hours, minutes, seconds, microseconds = map(int, parts)
    # Not by fromisoformat(): it takes an offset of less than a second for none.
    offset = timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=microseconds)
    return datetime.fromisoformat(local).replace(tzinfo=timezone(-offset if sign == "-" else offset))


def _read_date(cursor: Cursor) -> date:
    return date.fromisoformat(_shaped(cursor, DATE_FORM)[0])


def _shaped(cursor: Cursor, form: re.Pattern[str]) -> re.Match[str]:
    found = form.fullmatch(cursor.text())
    if found is None:
        raise BadMessage("A date or time is not in the form of RFC 3339")
    return found


def _read_decimal(cursor: Cursor) -> Decimal:
    cursor.array(2)
    return _make_decimal(cursor.integer(), cursor.ratio_part())


def _make_decimal(exponent: int, coefficient: int) -> Decimal:
    digits = Decimal(coefficient)
    if not MIN_ETINY <= exponent <= MAX_EMAX - digits.adjusted():
        raise BadMessage("The exponent of a Decimal is out of range")
    return digits.scaleb(exponent, EXACT)


def _read_extended(cursor: Cursor) -> Decimal:
    cursor.array(3)
    exponent, coefficient, kind = cursor.integer(), cursor.ratio_part(), cursor.integer()
    finite = kind in (0, 1)
    if kind not in range(8) or coefficient < 0 or (not finite and exponent) or (kind in (2, 3) and coefficient):
        raise BadMessage("An extended decimal is malformed")
    if finite:
        value = _make_decimal(exponent, coefficient)
        return value.copy_negate() if kind else value
    digits = Decimal(coefficient).as_tuple().digits if coefficient else ()
    form: Any = {2: "F", 4: "n", 6: "N"}[kind & ~1]
    return Decimal((kind & 1, digits, form))


def _read_fraction(cursor: Cursor) -> Fraction:
    cursor.array(2)
    numerator, denominator = cursor.ratio_part(), cursor.ratio_part()
    if denominator < 1:
        raise BadMessage("The denominator of a Fraction is not positive")
    return Fraction(numerator, denominator)


def _read_uuid(cursor: Cursor) -> UUID:
    return UUID(bytes=bytes(cursor.bytes()))


def _read_ipv4(cursor: Cursor) -> IPv4Address:
    return IPv4Address(bytes(cursor.bytes()))


def _read_ipv6(cursor: Cursor) -> IPv6Address:
    start = cursor.at
    first, _ = cursor.head()
    cursor.at = start
    if first >> 5 == cbor.BYTES:
        return IPv6Address(bytes(cursor.bytes()))
    cursor.array(3)
    address = IPv6Address(bytes(cursor.bytes()))
    if cursor.head() != (cbor.NULL, cbor.NULL & 31):
        raise BadMessage("The address of a network is not part of structured clone")
    return IPv6Address(f"{address}%{cursor.text()}")


def _read_regexp(cursor: Cursor) -> RegExp:
    cursor.array(2)
    return RegExp(cursor.text(), cursor.text())


def _made(read: Callable[[Cursor], object]) -> Callable[[Cursor], object]:
    """Blame the message when a constructor does not take what it says."""

    def checked(cursor: Cursor) -> object:
        try:
            return read(cursor)
        except (ValueError, ArithmeticError) as error:
            raise BadMessage(f"The content of a tag is wrong: {type(error).__name__}") from None

    return checked


def _read_positive(cursor: Cursor) -> int:
    return int.from_bytes(cursor.bytes(), "big")


def _read_negative(cursor: Cursor) -> int:
    return ~_read_positive(cursor)


DECODERS: Final[Mapping[int, Callable[[Cursor], object]]] = MappingProxyType(
    {
        cbor.BIG_POSITIVE: _read_positive,
        cbor.BIG_NEGATIVE: _read_negative,
        **{
            tag: _made(read)
            for tag, read in {
                cbor.DATETIME: _read_datetime,
                cbor.DATE: _read_date,
                cbor.DECIMAL: _read_decimal,
                cbor.EXTENDED_DECIMAL: _read_extended,
                cbor.RATIONAL: _read_fraction,
                cbor.UUID_BYTES: _read_uuid,
                cbor.IPV4: _read_ipv4,
                cbor.IPV6: _read_ipv6,
                cbor.REGEXP: _read_regexp,
            }.items()
        },
    }
)
"""How to read the content of a tag; they raise BadMessage and LimitExceeded only."""
