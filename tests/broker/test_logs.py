"""The daemon's log: lines for people, JSON lines for programs, and nothing that another process can forge in them."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from mainbus_broker.logs import DETAIL, JsonFormatter, LogFormat, LogLevel, TextFormatter, configure, visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    """Give the root logger back as it was: pytest listens there."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # So that configure() finds none that it would close.
    root.handlers[:] = []
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def record(message: str, *args: object, name: str = "mainbus.broker", **extra: object) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(name, logging.WARNING, __file__, 1, message, args, None, extra=extra)


def failing() -> logging.LogRecord:
    try:
        raise ValueError("no\x1b[31m such\nthing")
    except ValueError as error:
        made = record("it failed")
        made.exc_info = (ValueError, error, error.__traceback__)
        return made


@pytest.mark.parametrize(
    ("stream", "wanted", "is_json"),
    [
        (Terminal(), LogFormat.AUTO, False),
        (io.StringIO(), LogFormat.AUTO, True),
        (Terminal(), LogFormat.JSON, True),
        (io.StringIO(), LogFormat.TEXT, False),
    ],
)
def test_people_get_text_and_programs_json(stream: io.StringIO, wanted: LogFormat, is_json: bool) -> None:
    configure(log_format=wanted, stream=stream)
    logging.getLogger("mainbus.broker").info("hello %s", "you")
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("{") == is_json
    assert "hello you" in line


@pytest.mark.parametrize("level", LogLevel)
def test_a_level_is_the_least_that_is_logged(level: LogLevel) -> None:
    stream = io.StringIO()
    configure(level, stream=stream)
    for name in LogLevel:
        logging.getLogger("some.application").log(logging.getLevelNamesMapping()[name.upper()], name)
    logged = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert logged == list(LogLevel)[list(LogLevel).index(level) :]


def test_it_can_be_configured_again_and_takes_warnings() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first)
    configure(stream=second)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
    assert first.getvalue() == ""
    assert "careful" in json.loads(second.getvalue())["message"]


# Text


def test_a_line_for_people() -> None:
    line = TextFormatter().format(record("renderer %d", 7))
    clock, level, message = line.split(maxsplit=2)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d", clock)
    assert (level, message) == ("WARNING", "renderer 7")
    assert TextFormatter().format(record("x", name="my.app")).endswith(" my.app: x")


def test_nobody_can_forge_a_line_or_act_upon_the_terminal() -> None:
    line = TextFormatter().format(record("channel %s", "x\n12:00:00.000 INFO forged\x1b[2J\x9b\u202e"))
    assert line.isprintable()
    assert "x\\n12:00:00.000 INFO forged\\u001b[2J\\u009b\\u202e" in line


def test_a_traceback_follows_the_line() -> None:
    head, *trace = TextFormatter().format(failing()).split("\n")
    assert head.endswith("it failed")
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-2:] == ["ValueError: no\\u001b[31m such", "thing"]


# JSON


def test_a_line_for_programs() -> None:
    made = record("renderer %d: %s", 7, "ü\n", renderer=7, addresses=["unix:/x"])
    line = JsonFormatter().format(made)
    assert line.isascii()
    assert line.isprintable()
    entry = json.loads(line)
    when = datetime.fromisoformat(entry.pop("time"))
    assert when == datetime.fromtimestamp(made.created, UTC)
    assert list(entry.items()) == [
        ("level", "warning"),
        ("logger", "mainbus.broker"),
        ("message", "renderer 7: ü\n"),
        ("renderer", 7),
        ("addresses", ["unix:/x"]),
    ]


def test_a_traceback_is_a_field() -> None:
    entry = json.loads(JsonFormatter().format(failing()))
    assert entry["exception"].startswith("Traceback (most recent call last):\n")
    assert entry["exception"].endswith("ValueError: no\x1b[31m such\nthing")


def test_extras_cannot_pass_for_the_fixed_fields() -> None:
    entry = json.loads(JsonFormatter().format(record("x", level="fine", time=0, logger="you")))
    assert (entry["level"], entry["logger"]) == ("warning", "mainbus.broker")
    assert entry["time"] != 0


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("value", [object(), b"x", float("nan"), {1, 2}, CYCLE, {(1, 2): 3}])
def test_an_extra_that_json_has_no_type_for_is_its_text(value: object) -> None:
    entry = json.loads(JsonFormatter().format(record("x", thing=value, number=1)))
    assert entry["thing"] == repr(value)
    assert (entry["message"], entry["number"]) == ("x", 1)


def test_visible_keeps_what_can_be_seen() -> None:
    assert visible("ü ✓") == "ü ✓"
    assert visible("a\tb\n", keep="\n") == "a\\tb\n"
    assert visible("\ud800") == "\\ud800"


def test_what_says_other_extras_in_words_is_for_people() -> None:
    made = record("serving", address="unix:/x", **{DETAIL: "unix:/x\x1b"})
    assert TextFormatter().format(made).endswith(" WARNING serving unix:/x\\u001b")
    entry = json.loads(JsonFormatter().format(made))
    assert (entry["message"], entry["address"], DETAIL in entry) == ("serving", "unix:/x", False)
