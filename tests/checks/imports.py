"""Check who imports whom: the wire core does no I/O, a client knows no broker, a broker no client of its own side."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.checks.tree import parse

# What would give the wire core a clock, a socket, a thread, a process or a loop.
IMPURE = {"_thread", "anyio", "asyncio", "concurrent", "fcntl", "multiprocessing", "os", "queue", "random", "sched"}
IMPURE |= {"secrets", "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess"}
IMPURE |= {"tempfile", "threading", "time", "trio", "uvloop"}
CORE = "mainbus.wire"
# The renderer's side, with the names that the package re-exports from it.
RENDERERS_OWN = {"mainbus.session", "mainbus.renderer", "mainbus.blocking", "mainbus.connect", "mainbus.IpcRenderer"}
# Commands are renderers, and the test kit is a broker with renderers: both sides by their nature.
COMMANDS = "mainbus_broker.cli"
TEST_KIT = "mainbus.testing"

Imports = dict[str, set[str]]


def check_imports(sources: list[Path], root: Path) -> Iterator[str]:
    """Yield what is wrong, a line each."""
    imports: Imports = {}
    for folder in (root / "broker", root / "client"):
        for path in sources:
            if path.is_relative_to(folder):
                imports[_module(path, folder)] = set(imported(path, _module(path, folder)))
    for module, names in sorted(imports.items()):
        if _within(module, "mainbus") and module != TEST_KIT:
            yield from _refuse(module, names, {"mainbus_broker", TEST_KIT}, "a client knows no broker")
        if _within(module, "mainbus_broker") and not _within(module, COMMANDS):
            yield from _refuse(module, names, RENDERERS_OWN, "a broker uses none of the renderer's own")
    yield from _impure_core(imports)


def imported(path: Path, module: str) -> Iterator[str]:
    """Name all that a file imports, wherever in it, as absolute dotted names; `from a import b` is `a` and `a.b`."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _impure_core(imports: Imports) -> Iterator[str]:
    """Follow the core's imports through our own modules: what it uses must be as pure as it is."""
    todo = [module for module in imports if _within(module, CORE)]
    seen = set(todo)
    while todo:
        module = todo.pop()
        yield from _refuse(module, imports[module], IMPURE, "the wire core has no clock, socket, thread or loop")
        # Packages on the way only gather names: mainbus/__init__.py is not what the core uses.
        ours = {name for name in imports[module] if name in imports and name != "mainbus"} - seen
        seen |= ours
        todo += ours


def _refuse(module: str, names: set[str], forbidden: set[str], why: str) -> Iterator[str]:
    found = {shut for name in names for shut in forbidden if _within(name, shut)}
    yield from (f"{module}: imports {name}: {why}" for name in sorted(found))


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _module(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
