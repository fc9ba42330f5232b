"""Annotated parameters: what fits, what does not and where, what is built, and what cannot be checked at all."""

import dataclasses
import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NamedTuple, NewType, NoReturn, ParamSpec, Protocol, TypedDict, TypeVar
from uuid import UUID

import msgspec
import numpy
import pytest
from mainbus.errors import ValidationError
from mainbus.target import Target
from mainbus.validation import MAX_SAID

pytestmark = pytest.mark.contract("8.5")

P = ParamSpec("P")
T = TypeVar("T")
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ID = UUID(int=1)
ARRAY = numpy.zeros(2)
PORT_ID = NewType("PORT_ID", int)


@dataclasses.dataclass
class Node:
    x: int
    children: "list[Node]" = dataclasses.field(default_factory=list)


class User(msgspec.Struct):
    name: str


@dataclasses.dataclass
class Holder:
    run: Callable[[], int]


class Odd(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        raise LookupError("user code")


class Color(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    a: int
    b: str


class Options(TypedDict, total=False):
    depth: int


class Walks(Protocol):
    def walk(self) -> None: ...


def annotated(annotation: Any) -> Callable[..., Any]:
    def handler(event: object, value: Any) -> object:
        return value

    handler.__annotations__["value"] = annotation
    return handler


def fit(annotation: Any, value: object) -> object:
    """Return what a callable gets for a value."""
    (found,) = Target(annotated(annotation)).fit([value])
    return found


FITS: list[tuple[Any, object]] = [
    (int, 10**30),
    (float, 1.5),
    (float, float("inf")),
    (bool, True),
    (str, "text"),
    (bytes, b"bytes"),
    (None, None),
    (list, [1, "a"]),
    (list[int], [1, 2]),
    (list[float], [1, 2.5]),
    (dict, {1: 2}),
    (dict[int, str], {1: "a"}),
    (dict[str, Any], {"a": {1}}),
    (set, {1}),
    (set[int], {1}),
    (Sequence[int], [1]),
    (Mapping[str, int], {"a": 1}),
    (int | str | None, None),
    (int | str | None, "a"),
    (Literal["a", 1], 1),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
    (Annotated[int, "a comment"], 1),
    (PORT_ID, 1),
    (Options, {"depth": 1, "more": 2}),
    (datetime, NOW),
    (date, NOW.date()),
    (UUID, ID),
    (Decimal, Decimal("1.5")),
    (Fraction, Fraction(1, 2)),
    (IPv4Address, IPv4Address("127.0.0.1")),
    (ValueError, ValueError("some error")),
    (numpy.ndarray, ARRAY),
    (numpy.ndarray | None, None),
    (list[numpy.ndarray], [ARRAY]),
    (str | bytes, b"bytes"),
    (str | datetime, NOW),
    (UUID | str, "text"),
    (int | numpy.ndarray, ARRAY),
    (Iterable, [1]),
    (object, 1),
    (Any, 1),
    (T, 1),
]


@pytest.mark.parametrize(("annotation", "value"), FITS, ids=str)
def test_what_fits_is_passed_on_itself(annotation: Any, value: object) -> None:
    assert fit(annotation, value) is value


def test_shared_references_and_cycles_stay() -> None:
    shared: list[Any] = [1]
    shared.append(shared)

    def handler(event: object, a: list[Any], b: dict[str, list[Any]]) -> None: ...

    a, b = Target(handler).fit([shared, {"x": shared}])
    assert a is b["x"] is shared  # type: ignore[index]


BUILT: list[tuple[Any, object, object]] = [
    (float, 1, 1.0),
    (tuple, [1, 2], (1, 2)),
    (tuple[int, str], [1, "a"], (1, "a")),
    (frozenset[int], {1}, frozenset({1})),
    (Pair, [1, "a"], Pair(1, "a")),
    (Color, "red", Color.RED),
    (Node, {"x": 1, "children": [{"x": 2}], "more": 3}, Node(1, [Node(2)])),
    (User, {"name": "a"}, User("a")),
    (Node | None, {"x": 1}, Node(1)),
    (Node | dict, {"y": 1}, {"y": 1}),
    (list[User], [{"name": "a"}], [User("a")]),
    (dict[str, tuple[int, ...]], {"a": [1]}, {"a": (1,)}),
    (str | Color, "red", "red"),
    (Color | str, "red", Color.RED),
    (timedelta, "P1D", timedelta(days=1)),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), BUILT, ids=str)
def test_what_never_arrives_is_built(annotation: Any, value: object, expected: object) -> None:
    found = fit(annotation, value)
    assert found == expected
    assert type(found) is type(expected)


MISFITS: list[tuple[Any, object, str, str]] = [
    (int, "1", "", "Expected `int`, got `str`"),
    (int, True, "", "Expected `int`, got `bool`"),
    (int, 1.0, "", "Expected `int`, got `float`"),
    (float, 10**400, "", "Number out of range"),
    (str, b"a", "", "Expected `str`, got `bytes`"),
    (bytes, "YQ==", "", "Expected `bytes`, got `str`"),
    (datetime, "2020-01-01T00:00:00Z", "", "Expected `datetime`, got `str`"),
    (UUID, str(ID), "", "Expected `uuid`, got `str`"),
    (Decimal, "1.5", "", "Expected `decimal`, got `str`"),
    (list[int], [1, "a"], "[1]", "Expected `int`, got `str`"),
    (dict[str, int], {"a": "b"}, "[...]", "Expected `int`, got `str`"),
    (dict[str, int], {1: 1}, "", "Expected `str`, got `int` as a key"),
    (Node, {"x": 1, "children": [{"x": "2"}]}, ".children[0].x", "Expected `int`, got `str`"),
    (Node, {}, "", "Object missing required field `x`"),
    (Color, "blue", "", "Invalid enum value 'blue'"),
    (Annotated[int, msgspec.Meta(ge=1)], 0, "", "Expected `int` >= 1"),
    (Options, {"depth": "a"}, ".depth", "Expected `int`, got `str`"),
    (numpy.ndarray, [1], "", "Expected `ndarray`, got `list`"),
    (list[numpy.ndarray], [1], "[0]", "Expected `ndarray`, got `int`"),
    (str | bytes, 1, "", "Expected `str`, got `int`; or Expected `bytes`, got `int`"),
    (Odd, {"x": 1}, "", "LookupError: user code"),
]


@pytest.mark.parametrize(("annotation", "value", "path", "reason"), MISFITS, ids=str)
def test_what_does_not_fit_names_parameter_and_path(annotation: Any, value: object, path: str, reason: str) -> None:
    target = Target(annotated(annotation))
    with pytest.raises(ValidationError) as caught:
        target.fit([value])
    error = caught.value
    assert (error.parameter, error.path) == ("value", f"value{path}")
    said = re.sub(r" \(\S+:\d+\)", " (FILE)", str(error))
    assert said == f"annotated.<locals>.handler() (FILE): value{path}: {reason}"
    with pytest.raises(ValidationError, match=r"^Error invoking remote method 'x': annotated"):
        target.fit([value], "x")


def test_a_value_that_contains_itself_does_not_fit_a_class_that_does() -> None:
    node: dict[str, Any] = {"x": 1}
    node["children"] = [node]
    with pytest.raises(ValidationError, match="contains itself"):
        fit(Node, node)


def test_a_huge_value_is_not_quoted() -> None:
    with pytest.raises(ValidationError) as caught:
        fit(Color, "blue" * 100_000)
    assert len(str(caught.value)) < 2 * MAX_SAID


@pytest.mark.parametrize(
    "annotation",
    [
        Callable[[int], int],
        Iterable[int],
        type[int],
        Holder,
        list[Holder | None],
        numpy.dtype[Any] | int,
        list[str | bytes],
        NoReturn,
        Walks,
        "nowhere",
        "list[nowhere]",
        "1 /",
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_said_at_registration(annotation: Any) -> None:
    fn = annotated(annotation)
    with pytest.raises(TypeError, match=r"handler\(\).*parameter 'value' cannot be checked against .*validate=False"):
        Target(fn)
    assert Target(fn, validate=False).fit(["anything"]) == ["anything"]


def named(event: "nowhere", value: "int", rest: "list[Node]" = []) -> "nowhere": ...  # type: ignore[name-defined]  # noqa: B006, F821
def rest(event: object, a: Any, *rest: int) -> None: ...
def only_rest(*args: int) -> None: ...
def defaulted(event: object, a: int = "default", *, flag: int = 1) -> None: ...  # type: ignore[assignment]
async def coroutine(event: object, value: int) -> None: ...


async def generator(event: object, value: int) -> Any:
    yield value


@functools.wraps(named)
def narrow_wrapper(event: object, value: Any) -> None: ...


def logged(fn: Callable[P, T]) -> Callable[P, T]:
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        return fn(*args, **kwargs)

    return wrapper


class Owner:
    def __init__(self, event: object = None, value: int = 1) -> None: ...
    def __call__(self, event: object, value: int) -> None: ...
    def method(self, event: object, value: "int") -> None: ...

    @staticmethod
    def static(event: object, value: int) -> None: ...

    @classmethod
    def of_class(cls, event: object, value: int) -> None: ...


CALLABLES: list[Callable[..., Any]] = [
    named,
    narrow_wrapper,
    coroutine,
    generator,
    Owner,
    Owner(),
    Owner().method,
    Owner.static,
    Owner.of_class,
    functools.partial(named, rest=[]),
    functools.partial(rest, "event"),
    only_rest,
    defaulted,
]


@pytest.mark.parametrize("fn", CALLABLES, ids=lambda fn: getattr(fn, "__name__", None))
def test_every_kind_of_callable(fn: Callable[..., Any]) -> None:
    target = Target(fn)
    assert target.fit([1]) == [1]
    with pytest.raises(ValidationError):
        target.fit(["a"])


def test_arguments_that_are_left_out_are_not_checked() -> None:
    assert Target(defaulted).fit([]) == []
    with pytest.raises(ValidationError):
        Target(defaulted).fit([None])


def test_the_rest_is_checked_one_by_one() -> None:
    assert Target(rest).fit(["a", 1, 2]) == ["a", 1, 2]
    with pytest.raises(ValidationError, match=r": rest\[1\]: Expected `int`"):
        Target(rest).fit(["a", 1, "b"])
    with pytest.raises(ValidationError, match=r": args\[0\]: Expected `int`"):
        Target(only_rest).fit(["b"])


@pytest.mark.parametrize("fn", [lambda event, a: None, logged(only_rest), annotated(Any), annotated(object), print])
def test_what_is_not_annotated_costs_nothing(fn: Callable[..., Any]) -> None:
    args = [1]
    assert Target(fn).fit(args) is args
