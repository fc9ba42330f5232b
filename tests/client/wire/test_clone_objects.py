"""Enums, dataclasses, Structs, subclasses and views: what is read of them, and what happens when they object."""

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from mainbus.wire.clone import CloneError
from mainbus.wire.regexp import RegExp

from tests.support.clones import Codec, same


class Inner(StrEnum):
    A = "a"


class Color(Enum):
    RED = "red"
    BOX = (1, ["a"])
    NESTED = Inner.A


class Mode(IntFlag):
    READ = 1
    WRITE = 2


class Bits(Flag):
    A = 4


class Coded(int, Enum):
    A = (1, "text")

    def __new__(cls, number: int, text: str) -> "Coded":
        self = int.__new__(cls, number)
        self._value_ = text
        return self


class Level(IntEnum):
    LOW = 1


@dataclass
class Node:
    name: str
    parent: "Node | None" = None
    children: list["Node"] = field(default_factory=list)
    kind: ClassVar[str] = "node"


@dataclass(frozen=True, slots=True)
class Frozen:
    x: int


class Struct(msgspec.Struct, rename="upper", tag=True, omit_defaults=True):
    name: str
    more: object = None


class Gc(msgspec.Struct, frozen=True, gc=False):
    x: int


@pytest.mark.contract("4.1")
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Color.RED, "red"),
        (Color.BOX, [1, ["a"]]),
        (Color.NESTED, "a"),
        (Mode.READ | Mode.WRITE, 3),
        (Bits.A, 4),
        (Level.LOW, 1),
        (Coded.A, "text"),
        ({Coded.A}, {"text"}),
        (Frozen(1), {"x": 1}),
        (Struct("a"), {"name": "a", "more": None}),
        (Gc(1), {"x": 1}),
        (Node("a"), {"name": "a", "parent": None, "children": []}),
        ({Level.LOW: 1}, {1: 1}),
        ({Color.BOX.value[0]: Color.RED}, {1: "red"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrive_as_what_they_hold(codec: Codec, value: object, arrives: object) -> None:
    assert same(codec.clone([value]), [arrives])


@pytest.mark.contract("4.1", "4.4")
def test_records_keep_identity_and_cycles(codec: Codec) -> None:
    root = Node("root")
    root.children.append(Node("leaf", root))
    struct = Struct("s")
    struct.more = struct
    arrived, again, first, second = codec.clone([root, root, struct, [struct]])
    assert arrived is again
    assert arrived["children"][0]["parent"] is arrived
    assert first is second[0]
    assert first["more"] is first


class Text(str):
    def __str__(self) -> str:
        raise ZeroDivisionError

    def encode(self, *_: object) -> bytes:
        raise ZeroDivisionError

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Number(int):
    def __int__(self) -> int:
        raise ZeroDivisionError

    bit_length = __index__ = __int__


class Real(float):
    def __float__(self) -> float:
        raise ZeroDivisionError


class Blob(bytes):
    def __bytes__(self) -> bytes:
        raise ZeroDivisionError


class Items(list[Any]):
    def __iter__(self) -> Any:
        raise ZeroDivisionError

    __len__ = copy = __iter__


class Table(dict[Any, Any]):
    def items(self) -> Any:
        raise ZeroDivisionError

    __iter__ = keys = values = __len__ = items


class Group(set[Any]):
    def __iter__(self) -> Any:
        raise ZeroDivisionError

    __len__ = __iter__


@pytest.mark.contract("4.1", "4.5")
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Text("a"), "a"),
        (Number(5), 5),
        (Real(0.5), 0.5),
        (Blob(b"a"), b"a"),
        (Items([1]), [1]),
        (Table(a=1), {"a": 1}),
        (Group({1}), {1}),
        ({Text("a"): 1}, {"a": 1}),
        ({(Text("a"), Number(1))}, {("a", 1)}),
        (type("Amount", (Decimal,), {})("1.5"), Decimal("1.5")),
        (type("Part", (Fraction,), {})(1, 3), Fraction(1, 3)),
        (type("Id", (UUID,), {})(int=5), UUID(int=5)),
        (type("Moment", (datetime,), {})(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_that_a_subclass_overrides_is_called(codec: Codec, value: object, arrives: object) -> None:
    assert same(codec.clone([value]), [arrives])


@pytest.mark.contract("4.5")
@pytest.mark.parametrize(
    "value",
    [{Text("a"): 1, "a": 2}, {Color.RED, "red"}, {Level.LOW: 1, Text("b"): 2, Color.RED: 3, "red": 4}],
    ids=["subclass", "enum", "mixed"],
)
def test_keys_that_would_arrive_equal(codec: Codec, value: Any) -> None:
    with pytest.raises(CloneError, match=r"\(args\[0\]: (dict|set) with keys that would arrive equal\)"):
        codec.encode([value])


@pytest.mark.contract("4.5")
def test_a_field_that_raises(codec: Codec) -> None:
    @dataclass
    class Lazy:
        x: int

        def __getattribute__(self, name: str) -> Any:
            if name == "x":
                raise KeyError(name)
            return object.__getattribute__(self, name)

    with pytest.raises(CloneError, match=re.escape("(args[0]: Lazy whose x raised KeyError)")) as caught:
        codec.encode([Lazy(1)])
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.contract("4.5")
def test_a_field_that_recurses(codec: Codec) -> None:
    @dataclass
    class Deep:
        x: int

        def __getattribute__(self, name: str) -> Any:
            return self.x

    with pytest.raises(CloneError, match="Deep whose x raised RecursionError"):
        codec.encode([Deep(1)])


@pytest.mark.contract("4.5")
def test_a_field_that_is_unset(codec: Codec) -> None:
    with pytest.raises(CloneError, match="Frozen whose x raised AttributeError"):
        codec.encode([Frozen.__new__(Frozen)])


@pytest.mark.contract("4.5")
def test_a_property_of_a_subclass_that_raises(codec: Codec) -> None:
    class Id(UUID):
        @property
        def bytes(self) -> Any:
            raise ZeroDivisionError

    for value, where in ([Id(int=1)], "args[0]"), ([{Id(int=1): 1}], "args[0]"):
        with pytest.raises(CloneError, match=re.escape(f"({where}: Id that raised ZeroDivisionError)")):
            codec.encode(value)


@pytest.mark.contract("4.5")
def test_a_field_that_is_another_object_each_time(codec: Codec) -> None:
    @dataclass
    class Fresh:
        x: object = None
        y: object = None

        def __getattribute__(self, name: str) -> Any:
            return [name] if name in "xy" else object.__getattribute__(self, name)

    arrived = codec.clone([Fresh() for _ in range(50)])
    assert arrived == [{"x": ["x"], "y": ["y"]}] * 50


@pytest.mark.contract("4.5")
def test_a_field_that_changes_the_list_around_it(codec: Codec) -> None:
    @dataclass
    class Meddler:
        x: int = 0

        def __getattribute__(self, name: str) -> Any:
            around.append(1)
            return 5 if name == "x" else object.__getattribute__(self, name)

    around: list[Any] = [Meddler(), 2]
    assert codec.clone([around]) == [[{"x": 5}, 2]]


class Zone(tzinfo):
    def __init__(self, offset: Callable[[], timedelta | None]) -> None:
        self.offset = offset

    def utcoffset(self, _: object) -> timedelta | None:
        return self.offset()

    def dst(self, _: object) -> None:
        raise AssertionError

    def tzname(self, _: object) -> None:
        raise AssertionError


def fail() -> None:
    raise ZeroDivisionError


@pytest.mark.contract("4.1", "4.5")
def test_time_zones_that_do_not_work(codec: Codec) -> None:
    with pytest.raises(CloneError, match=re.escape("(args[0]: datetime whose time zone raised ZeroDivisionError)")):
        codec.encode([datetime(2026, 1, 1, tzinfo=Zone(fail))])
    with pytest.raises(CloneError, match="naive datetime"):
        codec.encode([datetime(2026, 1, 1, tzinfo=Zone(lambda: None))])


@pytest.mark.contract("4.1")
def test_a_time_zone_is_asked_once(codec: Codec) -> None:
    offsets = iter([timedelta(hours=1)])
    moment = datetime(2026, 1, 1, tzinfo=Zone(lambda: next(offsets)))
    assert codec.clone([moment])[0].utcoffset() == timedelta(hours=1)


@pytest.mark.contract("4.5")
def test_what_lies_about_its_class(codec: Codec) -> None:
    class Liar:
        __class__ = property(lambda self: str)

    with pytest.raises(CloneError, match=re.escape("(args[0]: Liar)")):
        codec.encode([Liar()])


@pytest.mark.contract("4.5")
def test_dataclasses_of_our_own_are_refused(codec: Codec) -> None:
    own = dataclasses.make_dataclass("Own", ["x"])
    own.__module__ = "mainbus.session"
    inherited = type("Inherited", (own,), {"__module__": "application"})
    for cls in (own, inherited):
        with pytest.raises(CloneError, match=rf"\(args\[0\]: {cls.__name__}\)"):
            codec.encode([cls(1)])
    assert codec.clone([RegExp("a")]) == [RegExp("a")]


@pytest.mark.contract("4.1")
def test_views(codec: Codec) -> None:
    data = memoryview(bytearray(b"abcdef"))
    assert codec.clone([data[1:3], data[::-1], data.cast("b"), data.cast("c")]) == [
        b"bc",
        b"fedcba",
        b"abcdef",
        b"abcdef",
    ]
    assert codec.clone({memoryview(b"k"): 1}) == {b"k": 1}
    with pytest.raises(CloneError, match="memoryview of '2 dimensions'"):
        codec.encode([data.cast("B", (2, 3))])
    data.release()
    with pytest.raises(CloneError, match="released memoryview"):
        codec.encode([data])


class Loop(Enum):
    A = 1


@pytest.mark.contract("4.5")
def test_an_enum_member_that_is_its_own_value(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop.A, "_value_", Loop.A)
    for value in ([Loop.A], [{Loop.A}]):
        with pytest.raises(CloneError, match="Loop in itself"):
            codec.encode(value)
