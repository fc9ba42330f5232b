"""The project's files lie where they belong, and each rule about that catches who breaks it."""

from pathlib import Path

import pytest

from tests.checks import layout

DOC = '"""A module."""\n'
TIDY = {
    "README.md": "",
    ".ci/run": "",
    "client/mainbus/__init__.py": f"{DOC}from mainbus.emitter import Emitter\n",
    "client/mainbus/emitter.py": DOC,
    "client/mainbus/errors.py": DOC,
    "client/mainbus/testing.py": f"{DOC}import mainbus_broker\n",
    "client/mainbus/wire/__init__.py": "",
    "client/mainbus/wire/clone.py": f"{DOC}from mainbus import errors\nimport struct\n",
    "broker/mainbus_broker/__init__.py": DOC,
    "broker/mainbus_broker/listeners/__init__.py": f"{DOC}def listen(): ...\n",
    "broker/mainbus_broker/cli/__init__.py": f"{DOC}import mainbus\n",
    "broker/mainbus_broker/cli/send.py": f"{DOC}from mainbus.session import Session\n",
    "tests/conftest.py": DOC,
    "tests/client/test_emitter.py": DOC,
    "tests/client/test_emitter_order.py": DOC,
    "tests/client/test_errors.py": DOC,
    "tests/client/test_testing.py": DOC,
    "tests/client/wire/test_clone.py": DOC,
    "tests/client/wire/conftest.py": DOC,
    "tests/broker/listeners/test_listeners.py": DOC,
    "tests/broker/cli/test_send.py": DOC,
    "tests/integration/test_demo.py": DOC,
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_project_is_in_order() -> None:
    assert not (problems := layout.check()), "\n".join(problems)


def test_tidy_tree_passes(tmp_path: Path) -> None:
    assert layout.check(tree(tmp_path, TIDY)) == []


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("examples/demo.py", DOC, "examples: does not belong on the top level"),
        ("setup.py", DOC, "setup.py: does not belong on the top level"),
        ("client/mainbus/session.py", DOC, "client/mainbus/session.py: has no test file tests/client/test_session.py"),
        (
            "client/mainbus/transports/__init__.py",
            f"{DOC}class A: ...",
            "has no test file tests/client/transports/test_",
        ),
        ("tests/broker/test_router.py", DOC, "tests/broker/test_router.py: mirrors no module"),
        ("tests/client/helpers.py", DOC, "tests/client/helpers.py: mirrors no module"),
        ("tests/elsewhere/test_x.py", DOC, "tests/elsewhere/test_x.py: no such folder of tests"),
        ("tests/client/__init__.py", DOC, "tests/client/__init__.py: a folder of tests is no package"),
        ("client/mainbus/emitter.py", "import os\n", "client/mainbus/emitter.py: has no module docstring"),
        ("client/mainbus/emitter.py", DOC + "\n" * 500, "client/mainbus/emitter.py: 501 lines"),
        ("client/mainbus/emitter_fast.pyx", DOC + "\n" * 500, "client/mainbus/emitter_fast.pyx: 501 lines"),
        ("client/mainbus/wire/clone.py", f"{DOC}import asyncio\n", "mainbus.wire.clone: imports asyncio"),
        (
            "client/mainbus/wire/clone.py",
            f"{DOC}def f():\n    from time import time",
            "mainbus.wire.clone: imports time",
        ),
        ("client/mainbus/errors.py", f"{DOC}import socket\n", "mainbus.errors: imports socket"),
        ("client/mainbus/emitter.py", f"{DOC}import mainbus_broker.peer\n", "mainbus.emitter: imports mainbus_broker:"),
        ("client/mainbus/emitter.py", f"{DOC}from . import testing\n", "mainbus.emitter: imports mainbus.testing:"),
        ("broker/mainbus_broker/__init__.py", f"{DOC}from mainbus import connect\n", "imports mainbus.connect:"),
        ("broker/mainbus_broker/__init__.py", f"{DOC}from mainbus import blocking\n", "imports mainbus.blocking:"),
        (
            "broker/mainbus_broker/listeners/__init__.py",
            f"{DOC}from mainbus.session import x\n",
            "imports mainbus.session:",
        ),
    ],
)
def test_what_is_out_of_order_is_named(tmp_path: Path, name: str, text: str, problem: str) -> None:
    found = layout.check(tree(tmp_path, TIDY | {name: text}))
    assert any(problem in line for line in found), found


def test_missing_mirror_is_named(tmp_path: Path) -> None:
    files = dict(TIDY)
    del files["tests/client/wire/test_clone.py"]
    (problem,) = layout.check(tree(tmp_path, files))
    assert problem == "client/mainbus/wire/clone.py: has no test file tests/client/wire/test_clone.py"


def test_what_tools_leave_behind_does_not_count(tmp_path: Path) -> None:
    litter = {".venv/lib/x.py": "", "dist/x.py": "", "client/mainbus/__pycache__/x.py": ""}
    assert layout.check(tree(tmp_path, TIDY | litter)) == []
