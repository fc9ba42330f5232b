"""The check for traces of one machine finds them, and lets ordinary text pass."""

from pathlib import Path

import pytest

from tests.checks import clean

HOST = "py" + "pi.org"


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("docs/a.md", "see /" + "work/main/x", "a path of one machine"),
        ("a.py", "HOME = '/" + "root/.cache'", "a path of one machine"),
        (".ci/run", f"pip install -i https://{HOST}/simple", "a package registry"),
        ("README.md", "made by a sub" + "agent", "how the work was organised"),
        ("tests/constraints.txt", "cbor2 @ https://example.org/cbor2.whl", "no addresses or options"),
        ("tests/constraints.txt", "-e .", "no addresses or options"),
    ],
)
def test_traces_are_named(tmp_path: Path, name: str, line: str, problem: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"first\n{line}\n")
    found = clean.check(tmp_path)
    assert any(line.startswith(name) and problem in line for line in found), found


def test_the_folder_of_the_project_is_a_path_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(f"run {tmp_path}/demo.py")
    assert clean.check(tmp_path) == [f"a.md:1: names a path of this machine: {tmp_path}/"]


def test_ordinary_text_passes(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "unix:/run/user/1000/app.sock, /tmp/x.sock, a/work/b, $HOME/work, the session's secret"
    )
    (tmp_path / "constraints.txt").write_text("# how it is made\ncbor2==6.2.1\n")
    (tmp_path / "picture.png").write_bytes(b"\xff\xfe\x00")
    assert clean.check(tmp_path) == []
