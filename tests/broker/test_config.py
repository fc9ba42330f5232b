"""Settings: from code and from TOML, with what is wrong named; and that each of them is explained."""

import ast
import dataclasses
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from mainbus.errors import ConfigError
from mainbus.wire.messages import WireLimits
from mainbus_broker import config
from mainbus_broker.config import Config, Limits

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples/mainbus.toml"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# From code


@pytest.mark.parametrize(
    ("cls", "values", "reason"),
    [
        (Limits, {"depth": 0}, "limits.depth: expected a whole number from 1 to 512, but found 0"),
        (Limits, {"depth": 513}, "limits.depth: expected a whole number from 1 to 512, but found 513"),
        (Limits, {"depth": "9"}, "limits.depth: expected a whole number from 1 to 512, but found '9' (str)"),
        (Limits, {"depth": 9.0}, "limits.depth: expected a whole number from 1 to 512, but found 9.0 (float)"),
        (
            Limits,
            {"running": True},
            "expected a whole number from 1 to 4294967295, but found True (bool)",
        ),
        (Limits, {"message": 0}, "limits.message: expected a whole number of bytes from 1 to 1073741824, but found 0"),
        (Limits, {"pending": None}, "limits.pending: expected a whole number from 1 to 4294967295, but found None"),
        (Limits, {"stall_timeout": 0}, "limits.stall_timeout: expected a number of seconds from 0.001 to 86400"),
        (Limits, {"stall_timeout": float("nan")}, "but found nan"),
        (Limits, {"handshake_timeout": float("inf")}, "but found inf"),
        (Limits, {"low": 1_048_576}, "limits.low: 1048576 must be less than limits.high, which is 1048576"),
        (Limits, {"high": 2, "low": 1, "hard": 1}, "limits.high: 2 must not be more than limits.hard, which is 1"),
        (Config, {"tracebacks": 1}, "tracebacks: expected true or false, but found 1 (int)"),
        (Config, {"cancel_grace": -1}, "cancel_grace: expected a number of seconds from 0 to 86400, but found -1"),
        (Config, {"limits": {"depth": 1}}, "limits: expected a Limits, but found {'depth': 1} (dict)"),
    ],
)
def test_what_is_wrong_is_named(cls: Any, values: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cls(**values)
    assert reason in str(caught.value)


def test_the_ends_of_a_range_are_in_it() -> None:
    least = Limits(depth=1, low=0, high=1, hard=1, overrun=0, stall_timeout=0.001)
    most = Limits(depth=512, message=1 << 30, stall_timeout=86_400)
    assert (least.low, most.message, Config(cancel_grace=0).cancel_grace) == (0, 1 << 30, 0)


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().tracebacks = True  # type: ignore[misc]


def test_the_defaults_are_those_that_renderers_assume() -> None:
    limits = Limits()
    announced = {name: getattr(limits, name) for name in WireLimits.__struct_fields__}
    assert WireLimits(**announced) == WireLimits()


# From TOML


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    text = "tracebacks = true\nsync_reply_timeout = 3\n[limits]\nrunning = 7\nstall_timeout = 0.5\n"
    found = Config.from_toml(written(tmp_path / "x.toml", text))
    assert found == Config(tracebacks=True, sync_reply_timeout=3, limits=Limits(running=7, stall_timeout=0.5))
    assert Config.from_toml(str(written(tmp_path / "empty.toml", ""))) == Config()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("traceback = true", "traceback: unknown key; did you mean tracebacks?"),
        ("zzz = 1", "zzz: unknown key; known are limits, sync_reply_timeout, cancel_grace, tracebacks"),
        ("[limits]\nstall_timeot = 1", "limits.stall_timeot: unknown key; did you mean stall_timeout"),
        ("[limit]\nhigh = 1", "limit: unknown key; did you mean limits?"),
        ("high = 1", "high: unknown key; it belongs into [limits]"),
        ("[limits]\ntracebacks = true", "limits.tracebacks: unknown key; it belongs above the tables"),
        ("limits = 3", "limits: expected a table, [limits], but found 3"),
        ("[[limits]]\nhigh = 1", "limits: expected a table, [limits], but found [{high = 1}]"),
        ("tracebacks = 'yes'", 'tracebacks: expected true or false, but found "yes"'),
        ("cancel_grace = true", "cancel_grace: expected a number of seconds from 0 to 86400, but found true"),
        ("cancel_grace = -1", "cancel_grace: expected a number of seconds from 0 to 86400, but found -1"),
        ("[limits]\nhigh = 1e6", "limits.high: expected a whole number of bytes"),
        ("[limits]\nstall_timeout = inf", "but found inf"),
        ("[limits]\nlow = 2_000_000", "limits.low: 2000000 must be less than limits.high"),
        ("tracebacks = ", "is not TOML: Invalid value (at end of document)"),
        ("tracebacks = true\ntracebacks = true", "is not TOML: "),
        (b"# \xff", "is not TOML: "),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(text: str | bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_all_that_is_wrong_in_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path / "x.toml", "trace = 1\ncancel_grace = '3'\n[limits]\nhihg = 1\ndepth = 1000\n")
    with pytest.raises(ConfigError) as caught:
        Config.from_toml(path)
    assert str(caught.value).splitlines() == [
        f"{path}: trace: unknown key; did you mean tracebacks?",
        f'{path}: cancel_grace: expected a number of seconds from 0 to 86400, but found "3"',
        f"{path}: limits.hihg: unknown key; did you mean high?",
        f"{path}: limits.depth: expected a whole number from 1 to 512, but found 1000",
    ]


def test_all_that_is_wrong_in_code_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"^limits\.message: .*\nlimits\.depth: .*found '1' \(str\)$"):
        Limits(depth="1", message=0)  # type: ignore[arg-type]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory|Permission denied"),
    ]:
        with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: cannot be read: ({reason})"):
            Config.from_toml(path)


# The documents


def explained(cls: type) -> dict[str, tuple[object, str]]:
    """Return default and explanation of each field: the string below it in the source."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(below, ast.Expr), f"{field.target.id} has no explanation"
            assert isinstance(below.value, ast.Constant)
            found[field.target.id] = (getattr(cls(), field.target.id), str(below.value.value))
    assert list(found) == [field.name for field in dataclasses.fields(cls)]
    return found


def as_toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("cls", [Config, Limits])
def test_every_key_is_explained_in_the_reference(cls: type) -> None:
    page = (DOCS / "reference/configuration.md").read_text(encoding="utf-8")
    _, keys, limits, _ = re.split(r"^## .*\n", page, flags=re.MULTILINE)
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*) \|$", keys if cls is Config else limits, re.MULTILINE)
    expected = [
        (key, as_toml(default), text)
        for key, (default, text) in explained(cls).items()
        if not isinstance(default, Limits | dict)
    ]
    assert [(key, default, text) for key, default, _, text in rows] == expected


def test_the_example_has_every_key_with_its_default_and_explanation() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    assert Config.from_toml(EXAMPLE) == Config()
    found = tomllib.loads(text)
    assert list(found.pop("limits")) == [field.name for field in dataclasses.fields(Limits)]
    assert ["limits", *found, "roles"] == [field.name for field in dataclasses.fields(Config)]
    for key, (default, explanation) in (explained(Config) | explained(Limits)).items():
        if isinstance(default, dict):
            assert f"\n# {explanation}\n" in text
        elif not isinstance(default, Limits):
            assert f"\n# {explanation}\n{key} = " in text


def test_the_ranges_in_the_reference_are_those_that_are_checked() -> None:
    page = (DOCS / "reference/configuration.md").read_text(encoding="utf-8")
    for cls in (Config, Limits):
        for name, _, allowed in config._kinds(cls):
            row = re.search(rf"^\| `{name}` \| .*? \| (.*?) \|", page, re.MULTILINE)
            if allowed is None or name in ("high", "low", "hard"):
                continue  # true or false, and those that bound each other
            assert row is not None
            most = {1 << 30: "1 GiB", 1 << 40: "1 TiB"}.get(int(allowed.most), f"{allowed.most:.0f}")
            assert row[1].removesuffix(" s") == f"{allowed.least:.16g} to {most}"
