"""How commands fail: which error has which exit code, and what is said to it."""

import re
from pathlib import Path

import pytest
from mainbus import errors
from mainbus.errors import by_code, from_wire
from mainbus_broker.cli.failures import ExitCode, explain

PAGE = Path(__file__).parents[3] / "docs/reference/command-line.md"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RemoteError("x", "ValueError", "wrong"), ExitCode.FAILED),
        (errors.NoHandlerError("x"), ExitCode.FAILED),
        (errors.ReplyNeverSent("x"), ExitCode.FAILED),
        (errors.PermissionDenied("send", "x"), ExitCode.FAILED),
        (errors.NoSuchRenderer("x"), ExitCode.FAILED),
        (errors.MessageTooLarge(2, 1), ExitCode.FAILED),
        (errors.InvokeTimeout("x", 1), ExitCode.TIMEOUT),
        (errors.ConnectRefused("unix:/x", "gone"), ExitCode.UNREACHABLE),
        (errors.ConnectionLost("gone"), ExitCode.UNREACHABLE),
        (errors.NameTaken("x"), ExitCode.UNREACHABLE),
        (errors.AddressError("unix:/x", "wrong"), ExitCode.UNREACHABLE),
        (errors.CloneError("args[0]", "function"), ExitCode.USAGE),
        (errors.ConfigError("wrong"), ExitCode.USAGE),
    ],
)
def test_each_error_has_its_exit_code(error: errors.MainbusError, code: ExitCode) -> None:
    failure = explain(error)
    assert failure.code == code
    assert str(failure).startswith(str(error))


@pytest.mark.parametrize("code", sorted(by_code))
def test_every_error_of_the_wire_can_be_explained(code: int) -> None:
    failure = explain(from_wire(code, "x", "text"))
    assert failure.code in (ExitCode.FAILED, ExitCode.USAGE, ExitCode.UNREACHABLE, ExitCode.TIMEOUT)
    assert "text" in str(failure)


def test_every_exit_code_is_documented() -> None:
    rows = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(set(map(int, rows))) == sorted(ExitCode)
