"""What the doctor finds at the path: folder, socket, lock file."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mainbus.address import parse
from mainbus_broker.cli.doctor_files import examine_files
from mainbus_broker.cli.findings import Finding, Level

from tests.support.commands import Serving


def found(address: str) -> dict[str, Finding]:
    return {finding.topic: finding for finding in examine_files(parse(address))}


@pytest.fixture
def folder(address: str) -> Path:
    return Path(address.removeprefix("unix:")).parent


@contextmanager
def listening(folder: Path, mode: int = 0o600) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "s"))
        os.chmod(folder / "s", mode)
        sock.listen()
        yield


def test_before_a_broker_and_beside_one_all_is_well(address: str) -> None:
    before = found(address)
    assert {finding.level for finding in before.values()} == {Level.OK}
    assert list(before) == ["folder", "socket", "lock file"]
    with Serving(address) as daemon:
        beside = found(address)
        assert {finding.level for finding in beside.values()} == {Level.OK}
        assert beside["lock file"].text == f"held by process {daemon.process.pid}"
        # Looking at the lock has not taken it away.
        assert found(address) == beside


def test_what_a_killed_broker_leaves_is_stale(address: str) -> None:
    with Serving(address) as daemon:
        daemon.process.kill()
        daemon.process.wait()
        left = found(address)
    assert (left["socket"].level, left["socket"].remedy) == (Level.HINT, "`mainbus serve` replaces it")
    assert left["lock file"].level is Level.OK
    assert "left over and free" in left["lock file"].text


def test_a_socket_that_was_removed_under_its_broker(address: str, folder: Path) -> None:
    with Serving(address) as daemon:
        os.rename(folder / "s", folder / "kept")
        lock = found(address)["lock file"]
        os.rename(folder / "kept", folder / "s")
    assert lock.level is Level.WRONG
    assert f"process {daemon.process.pid} holds" in lock.text
    assert lock.remedy == f"end process {daemon.process.pid} and start it again"


def test_a_socket_without_a_lock_file(address: str, folder: Path) -> None:
    with listening(folder):
        assert found(address)["lock file"].level is Level.HINT
        with open(folder / "s.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert found(address)["lock file"].text == "held by a process"


def test_a_socket_for_everybody(address: str, folder: Path) -> None:
    with listening(folder, 0o666):
        finding = found(address)["socket"]
    assert (finding.level, finding.remedy) == (Level.WRONG, f"`chmod 600 {folder}/s`")


def test_a_socket_whose_queue_is_full_has_a_broker(address: str, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as first:
        sock.bind(str(folder / "s"))
        os.chmod(folder / "s", 0o600)
        sock.listen(0)
        first.connect(str(folder / "s"))
        assert found(address)["socket"].level is Level.OK


def test_something_else_at_the_path(address: str, folder: Path) -> None:
    (folder / "s").write_text("")
    (folder / "s.lock").mkdir()
    assert {found(address)[topic].level for topic in ("socket", "lock file")} == {Level.WRONG}
    (folder / "s.lock").rmdir()
    (folder / "s.lock").symlink_to("elsewhere")
    assert "cannot be opened" in found(address)["lock file"].text


def test_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = found(f"unix:{tmp_path}/not here/s").values()
    assert (finding.level, finding.remedy) == (Level.WRONG, f"`mkdir -p -m 700 '{tmp_path}/not here'` makes it")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (finding,) = found(f"unix:{tmp_path}/mainbus/s").values()
    assert finding.level is Level.OK
    (tmp_path / "file").write_text("")
    (finding,) = found(f"unix:{tmp_path}/file/s").values()
    assert finding.text.endswith("is no folder")


@pytest.mark.parametrize(
    ("mode", "level", "word"),
    [
        (0o700, Level.OK, "mode 0700"),
        (0o755, Level.HINT, "look into"),
        (0o777, Level.WRONG, "put a socket of their own"),
        (0o1777, Level.HINT, "shared"),
    ],
)
def test_the_mode_of_a_folder(mode: int, level: Level, word: str, address: str, folder: Path) -> None:
    folder.chmod(mode)
    finding = found(address)["folder"]
    folder.chmod(0o700)
    assert finding.level is level
    assert word in finding.text


def test_what_belongs_to_others(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = os.geteuid()
    with listening(folder):
        (folder / "s.lock").write_text("")
        monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
        theirs = found(address)
    assert {theirs[topic].level for topic in ("socket", "lock file")} == {Level.WRONG}
    # Root may do as it likes anyway.
    assert theirs["folder"].level is (Level.HINT if ours == 0 else Level.WRONG)
    monkeypatch.setattr(os, "geteuid", lambda: ours)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not make files" in found(address)["folder"].text
