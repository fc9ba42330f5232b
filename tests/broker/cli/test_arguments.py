"""The arguments of a message on a command line: JSON, plain strings, files."""

import io
import sys
from pathlib import Path

import pytest
import typer
from mainbus_broker.cli import arguments
from mainbus_broker.cli.failures import ExitCode, Failure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        (" -1.5e3 ", -1500.0),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("true", True),
        ("null", None),
        ('"1"', "1"),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        ('"@file"', "@file"),
        # What is no JSON is a string, as it stands.
        ("", ""),
        (" ", " "),
        ("hello world", "hello world"),
        ("True", "True"),
        ("01", "01"),
        ("1 2", "1 2"),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"),
        ("{a: 1}", "{a: 1}"),
        ("'x'", "'x'"),
        ("user@host", "user@host"),
    ],
)
def test_json_or_a_plain_string(text: str, value: object) -> None:
    found = arguments.value(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("text", ["{a: 1}", "[1,", '"open'])
def test_what_looks_like_json_is_sent_with_a_warning(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert arguments.values(["[1]", text, "plain"]) == [[1], text, "plain"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mainbus: argument 2 looks like JSON but is not (line 1, column ")
    assert line.endswith("); sent as a string")


def test_a_file_holds_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a file.json"
    path.write_text('{"ü": [1]}\n', encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('"ü"'.encode())))
    assert arguments.values([f"@{path}", "x", "@-"]) == [{"ü": [1]}, "x", "ü"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "is not JSON: line 1, column 1: "),
        (b"[1]\n[2]\n", "is not JSON: line 2, column 1: there is more behind the value"),
        (b"", "is not JSON"),
        (b"[NaN]", "NaN is not JSON"),
        (b'"\xff"', "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 10_000, "is not JSON"),
    ],
)
def test_a_file_that_is_no_json_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(Failure, match=reason) as caught:
        arguments.value(f"@{path}")
    assert str(caught.value).startswith(f"@{path}: ")
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["@"], "cannot be read"),
        (["@/no/such/file"], "No such file or directory; a string that begins with @ is written as JSON"),
        (["@-", "1", "@-"], "only once"),
        (["[" * 100_000], "nested too deeply"),
        (["9" * 10_000], "99999999999999999999..."),
    ],
)
def test_what_cannot_be_an_argument_is_refused(texts: list[str], reason: str) -> None:
    with pytest.raises(Failure) as caught:
        arguments.values(texts)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.code == ExitCode.USAGE


@pytest.mark.parametrize(("text", "target"), [("7", 7), ("0", 0), ("editor", "editor"), ("-7", "-7"), ("²", "²")])
def test_a_target_of_digits_is_an_id(text: str, target: int | str) -> None:
    assert arguments.target(text) == target


def test_a_channel_is_checked_before_anything_is_asked() -> None:
    assert arguments.channel("x") == "x"
    with pytest.raises(typer.BadParameter, match="255 bytes"):
        arguments.channel("ü" * 128)
