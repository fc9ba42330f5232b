"""What the doctor finds out about the address."""

from pathlib import Path

import pytest
from mainbus.address import PATH_LIMIT
from mainbus_broker.cli.doctor_address import find_address
from mainbus_broker.cli.findings import Level


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAINBUS_ADDRESS", "MAINBUS_APP", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_one_that_is_given() -> None:
    address, findings = find_address("unix:/x/y")
    assert str(address) == "unix:/x/y"
    assert [str(finding) for finding in findings] == [
        "unix:/x/y, from --address",
        f"4 bytes of the {PATH_LIMIT} that a socket's path can have",
    ]


def test_that_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINBUS_ADDRESS", "unix:/x/y")
    monkeypatch.setenv("MAINBUS_APP", "editor")
    address, (first, variables, _) = find_address(None)
    assert str(address) == "unix:/x/y"
    assert first.text == "unix:/x/y, from MAINBUS_ADDRESS"
    assert (variables.level, variables.topic) == (Level.HINT, "variables")
    assert "MAINBUS_APP has no effect beside MAINBUS_ADDRESS" in variables.text


def test_the_option_overrides_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINBUS_ADDRESS", "unix:/x/y")
    _, (_, variables, _) = find_address("unix:/z")
    assert "--address overrides it here" in variables.text
    assert len(find_address("unix:/x/y")[1]) == 2


def test_the_default_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MAINBUS_APP", "editor")
    address, (first, _) = find_address(None)
    assert str(address) == f"unix:{tmp_path}/mainbus/editor.sock"
    assert first.text == f"{address}, from MAINBUS_APP and XDG_RUNTIME_DIR"


@pytest.mark.parametrize(
    ("runtime", "fault"),
    [
        ("", "is not set"),
        ("run", "is no absolute path"),
        ("/no/such/folder", "cannot be used (No such file or directory)"),
        (__file__, "is no folder"),
    ],
)
def test_without_a_runtime_folder_it_depends_on_another_one(
    runtime: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    _, (first, variables, _) = find_address(None)
    assert first.text.endswith("from the temporary folder")
    assert variables.level is Level.HINT
    assert variables.text == f"XDG_RUNTIME_DIR {fault}, so the address depends on TMPDIR"


@pytest.mark.parametrize("text", ["memory:", "/x/y", f"unix:/{'x' * 200}", "unix:@x", "unix:"])
def test_one_that_cannot_be(text: str) -> None:
    address, (finding,) = find_address(text)
    assert address is None
    assert (finding.level, finding.topic) == (Level.WRONG, "address")
    assert "(from --address)" in finding.text
    assert finding.remedy
