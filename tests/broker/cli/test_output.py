"""What the commands print: values that JSON has no type for, and tables."""

import array
import ipaddress
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from mainbus import RegExp
from mainbus.wire import clone
from mainbus_broker.cli import output
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, as_line

CYCLE: list[Any] = [1]
CYCLE.append({"self": CYCLE})

SHOWN: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (2**70, 2**70),
    (-(2**20_000), hex(-(2**20_000))),
    (1.5, 1.5),
    (float("nan"), "nan"),
    (float("-inf"), "-inf"),
    ("ü\n", "ü\n"),
    (b"\x00\xff", "AP8="),
    ((1, (2,)), [1, [2]]),
    ({1}, [1]),
    (frozenset({"x"}), ["x"]),
    ({"a": 1, 2: {b"\xff": 3}, (1, "x"): 4, None: 5}, {"a": 1, "2": {'"/w=="': 3}, '[1, "x"]': 4, "null": 5}),
    (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), "2024-02-29T12:30:00+00:00"),
    (date(2024, 2, 29), "2024-02-29"),
    (Decimal("1.50"), "1.50"),
    (Fraction(1, 3), "1/3"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (ipaddress.ip_address("::1"), "::1"),
    (array.array("h", [1, -2]), [1, -2]),
    (np.array([[1.5, 2.0]]), [[1.5, 2.0]]),
    (re.compile("a/b", re.IGNORECASE), RegExp("a/b", "i")),
    (ValueError("wrong"), "ValueError: wrong"),
    (CYCLE, [1, {"self": "<cycle>"}]),
]


@pytest.mark.parametrize(("value", "shown"), SHOWN, ids=lambda value: type(value).__name__)
def test_every_type_that_crosses_can_be_shown(value: object, shown: object) -> None:
    arrived = clone.decode(clone.encode(value))
    if isinstance(shown, RegExp):
        shown = f"/{shown.source}/{shown.flags}"
    for compact in (True, False):
        assert json.loads(as_json(arrived, compact=compact)) == shown
    assert json.loads(as_line(arrived)) == shown


def test_the_same_twice_is_no_cycle() -> None:
    shared = [1]
    assert as_line([shared, {"x": shared}]) == '[[1], {"x": [1]}]'


def test_people_get_lines_and_programs_get_one() -> None:
    value = {"a": ["ü", 1]}
    assert as_json(value, compact=False) == '{\n  "a": [\n    "ü",\n    1\n  ]\n}'
    assert as_json(value, compact=True) == '{"a":["\\u00fc",1]}'


def test_nothing_that_acts_upon_a_terminal_is_printed() -> None:
    value = {"\x1b[31m": "\x07\x7f\x9b\u202e\u2028"}
    for text in (as_json(value, compact=False), as_json(value, compact=True), as_line(value)):
        assert text.replace("\n", "").isprintable()
        assert json.loads(text) == value


def test_what_is_nested_as_deep_as_messages_may_be_is_shown() -> None:
    value: object = 1
    for _ in range(512):
        value = [value]
    assert as_json(value, compact=True) == "[" * 512 + "1" + "]" * 512
    assert as_json(value, compact=False).count("[") == 512


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_MOST", 10_000)
    bomb: list[object] = []
    for _ in range(64):
        bomb = [bomb, bomb]
    with pytest.raises(Failure, match="too many") as caught:
        as_json(bomb, compact=True)
    assert caught.value.code == ExitCode.FAILED
    deep: object = 1
    for _ in range(9_000):
        deep = [deep]
    with pytest.raises(Failure, match="too deeply"):
        as_json(deep, compact=True)
