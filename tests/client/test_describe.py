"""Descriptions of this side's exceptions: only plain values, bounded, whatever the exception does."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from http import HTTPStatus
from pathlib import PurePosixPath
from uuid import UUID

import pytest
from mainbus.describe import MAX_CAUSES, MAX_NOTES, MAX_TEXT, describe


def fail(*_: object) -> str:
    raise RuntimeError("hostile")


class Hostile(Exception):
    """Raises wherever it is looked at."""

    code = data = __notes__ = args = __cause__ = property(fail)
    __str__ = __repr__ = __getattribute__ = fail


class HostileOS(OSError):
    __str__ = fail
    errno = strerror = filename = property(fail)


class Text(str):
    __slots__ = ()
    __len__ = __getitem__ = encode = fail  # type: ignore[assignment]


class Says(Exception):
    def __str__(self) -> str:
        return Text("text")


def with_fields(code: object = None, data: object = None) -> ValueError:
    error = ValueError("m")
    error.code, error.data = code, data  # type: ignore[attr-defined]
    return error


def test_a_simple_one_is_name_and_message() -> None:
    assert describe(ValueError("some error")) == {"name": "ValueError", "message": "some error"}


def test_args_where_they_say_more() -> None:
    assert describe(ValueError())["args"] == []
    assert describe(KeyError("k")) == {"name": "KeyError", "message": "'k'", "args": ["k"]}
    assert describe(ValueError(1, object())).keys() == {"name", "message"}
    assert "args" not in describe(type("Custom", (Exception,), {})(1, 2))


def test_os_fields() -> None:
    assert describe(OSError(2, "no", PurePosixPath("/a")))["os"] == {"errno": 2, "strerror": "no", "filename": "/a"}
    assert describe(OSError(2, "no", b"/a"))["os"] == {"errno": 2, "strerror": "no", "filename": b"/a"}
    assert describe(OSError(9, "no", 3))["os"] == {"errno": 9, "strerror": "no", "filename": 3}
    assert "os" not in describe(OSError("text"))
    assert "os" not in describe(OSError(object(), object()))


@pytest.mark.parametrize("cls", [Hostile, HostileOS])
@pytest.mark.parametrize("traceback", [True, False])
def test_hostile_exceptions_are_described(cls: type[Exception], traceback: bool) -> None:
    description = describe(cls(), traceback=traceback)
    assert description["name"] == cls.__name__
    assert description["message"] == "<exception str() failed>"
    json.dumps(description)


def test_a_str_of_a_hostile_subclass() -> None:
    message = describe(Says())["message"]
    assert type(message) is str
    assert message == "text"


def test_texts_are_cut_and_free_of_surrogates() -> None:
    huge = describe(ValueError("€" * 10_000_000), traceback=True)
    assert huge.keys() == {"name", "message", "traceback"}
    for text in (huge["message"], huge["traceback"]):
        assert isinstance(text, str)
        assert MAX_TEXT - 3 <= len(text.encode()) <= MAX_TEXT
        assert text.endswith("...")
    assert describe(ValueError("a" * MAX_TEXT))["message"] == "a" * MAX_TEXT
    assert describe(FileNotFoundError(2, "no", "\udc80"))["os"] == {
        "errno": 2,
        "strerror": "no",
        "filename": "\\udc80",
    }
    assert describe(ValueError("\ud800", "b"))["args"] == ["\\ud800", "b"]
    assert describe(UnicodeEncodeError("utf-8", "a\ud800b", 1, 2, "r"))["args"] == ["utf-8", "a?b", 1, 2, "r"]


def chain(length: int) -> ValueError:
    first = last = ValueError("0")
    for number in range(1, length):
        cause = ValueError(str(number))
        last.__cause__, last = cause, cause
    return first


def depth(description: dict[str, object]) -> int:
    cause = description.get("cause")
    return 1 + depth(cause) if isinstance(cause, dict) else 0


def test_causes_are_bounded() -> None:
    assert depth(describe(chain(3))) == 2
    assert depth(describe(chain(1000))) == MAX_CAUSES


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    assert depth(describe(first)) == 1


def test_only_explicit_causes_cross() -> None:
    error = ValueError()
    error.__context__ = KeyError()
    assert "cause" not in describe(error)


def test_notes_are_bounded_texts() -> None:
    error = ValueError()
    error.__notes__ = [Text("a"), 3, "b" * 1_000_000, *"c" * 1000]  # type: ignore[list-item]
    notes = describe(error)["notes"]
    assert isinstance(notes, list)
    assert len(notes) == MAX_NOTES
    assert notes[0] == "a"
    assert len(notes[1]) == 4096
    error.__notes__ = 3  # type: ignore[assignment]
    assert "notes" not in describe(error)


def test_a_group_tells_its_leaves() -> None:
    inner = ExceptionGroup("inner", [KeyError("k"), OSError("o")])
    group = BaseExceptionGroup("outer", [ValueError("v"), inner, KeyboardInterrupt()])
    assert describe(group) == {
        "name": "BaseExceptionGroup",
        "message": "outer (3 sub-exceptions)",
        "notes": ["ValueError: v", "KeyError: 'k'", "OSError: o", "KeyboardInterrupt: "],
    }
    notes = describe(ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)]))["notes"]
    assert isinstance(notes, list)
    assert len(notes) == MAX_NOTES


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ("E_FAIL", "E_FAIL"),
        (HTTPStatus.NOT_FOUND, 404),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ({"a": (1, 2.5), 3: [True, b"b", bytearray(b"c")]}, {"a": [1, 2.5], 3: [True, b"b", b"c"]}),
        (date(2000, 1, 2), date(2000, 1, 2)),
        (datetime(2000, 1, 2, tzinfo=UTC), datetime(2000, 1, 2, tzinfo=UTC)),
        (Decimal("1.5"), Decimal("1.5")),
        (UUID(int=5), UUID(int=5)),
        # Left out: not plain, too deep, too large.
        (object(), None),
        (fail, None),
        ([object()], None),
        (datetime(2000, 1, 2), None),
        ("a" * 100_000, None),
        (b"a" * 100_000, None),
        (10**1_000_000, None),
        (list(range(100_000)), None),
        ({(1, 2): 3}, None),
        (type("SubInt", (int,), {})(3), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_code_and_data_are_plain_values(value: object, arrives: object) -> None:
    description = describe(with_fields(value, value))
    assert description.get("code") == arrives
    assert description.get("data") == arrives
    assert type(description.get("data")) is type(arrives)


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_data_is_as_deep_as_it_may_be() -> None:
    assert describe(with_fields(data=nested(16)))["data"] == nested(16)
    assert "data" not in describe(with_fields(data=nested(17)))


def test_a_group_may_be_as_deep_as_it_likes() -> None:
    group: Exception = ValueError("v")
    for _ in range(10_000):
        group = ExceptionGroup("inner", [group])
    assert describe(group)["notes"] == ["ValueError: v"]


def test_cyclic_data_is_left_out() -> None:
    data: list[object] = []
    data.append(data)
    assert "data" not in describe(with_fields(data=data))


def test_a_class_that_borrows_a_known_name_is_told_with_its_module() -> None:
    for name in ("ValueError", "CloneError"):
        borrowed = type(name, (Exception,), {"__module__": "app"})
        assert describe(borrowed("m"))["name"] == f"app.{name}"


def test_traceback_is_the_exceptions() -> None:
    def raising() -> None:
        raise ValueError("some error")

    with pytest.raises(ValueError, match="some error") as caught:
        raising()
    text = describe(caught.value, traceback=True)["traceback"]
    assert isinstance(text, str)
    assert "in raising" in text
    assert text.endswith("ValueError: some error\n")
