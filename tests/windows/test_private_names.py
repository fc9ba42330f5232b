"""What the pipes use of asyncio without asyncio having promised it, looked up in the source of each supported Python.

The source of the Windows loop is there on every system, so a Python that changes it is noticed wherever it runs.
"""

import ast
import asyncio
from pathlib import Path

import pytest

HERE = Path(asyncio.__file__).parent


def signature(file: str, cls: str, name: str) -> str:
    """Return a method's parameters as they are written."""
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    (found,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls]
    (method,) = [node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return ast.unparse(method.args)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("file", "cls", "name", "parameters"),
    [
        ("proactor_events.py", "BaseProactorEventLoop", "__init__", "self, proactor"),
        (
            "proactor_events.py",
            "BaseProactorEventLoop",
            "_make_duplex_pipe_transport",
            "self, sock, protocol, waiter=None, extra=None",
        ),
        ("proactor_events.py", "_ProactorDuplexPipeTransport", "can_write_eof", "self"),
        ("proactor_events.py", "_ProactorBasePipeTransport", "_set_extra", "self, sock"),
        ("windows_events.py", "IocpProactor", "accept_pipe", "self, pipe"),
        ("windows_utils.py", "PipeHandle", "__init__", "self, handle"),
        ("windows_utils.py", "PipeHandle", "fileno", "self"),
        ("windows_utils.py", "PipeHandle", "close", "self, *, CloseHandle=_winapi.CloseHandle"),
    ],
)
def test_asyncio_has_it(file: str, cls: str, name: str, parameters: str) -> None:
    assert signature(file, cls, name) == parameters


@pytest.mark.smoke
def test_the_loop_keeps_its_proactor_and_a_transport_its_pipe_where_they_are_looked_for() -> None:
    source = (HERE / "proactor_events.py").read_text(encoding="utf-8")
    assert "        self._proactor = proactor\n" in source
    assert "        self._extra['pipe'] = sock\n" in source
