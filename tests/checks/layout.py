"""Check the shape of the house: what lies where, which test mirrors which module, who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.checks.imports import check_imports
from tests.checks.tree import ROOT, parse, project_files

FOLDERS = {"broker", "client", "tests", "benchmarks", "docs"}
FILES = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "Makefile"}
# Each package and the folder of tests that mirrors it.
MIRRORS = {"broker/mainbus_broker": "tests/broker", "client/mainbus": "tests/client"}
FREE_TESTS = {"integration", "chaos", "checks", "docs", "fuzz", "support", "vectors", "windows"}
MOST_LINES = 500


def check(root: Path = ROOT) -> list[str]:
    """Return what is wrong, a line each."""
    files = project_files(root)
    sources = [path for path in files if path.suffix == ".py"]
    compiled = [path for path in files if path.suffix == ".pyx"]
    problems = [*_top_level(files, root), *_lengths([*sources, *compiled], root), *_docstrings(sources, root)]
    for package, tests in MIRRORS.items():
        modules = [path for path in sources if path.is_relative_to(root / package)]
        mirrored = [path for path in sources if path.is_relative_to(root / tests)]
        problems += _mirror(modules, root / package, mirrored, root / tests, root)
    return [*problems, *_test_folders(sources, root), *check_imports(sources, root)]


def _top_level(files: list[Path], root: Path) -> Iterator[str]:
    for name in sorted({path.relative_to(root).parts[0] for path in files}):
        allowed = FOLDERS if (root / name).is_dir() else FILES
        if name not in allowed and not name.startswith("."):
            yield f"{name}: does not belong on the top level"


def _lengths(sources: list[Path], root: Path) -> Iterator[str]:
    for path in sources:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST_LINES:
            yield f"{path.relative_to(root)}: {lines} lines; a file holds one noun, in at most {MOST_LINES}"


def _docstrings(sources: list[Path], root: Path) -> Iterator[str]:
    for path in sources:
        if path.stat().st_size and not ast.get_docstring(parse(path)):
            yield f"{path.relative_to(root)}: has no module docstring"


def _test_folders(sources: list[Path], root: Path) -> Iterator[str]:
    for path in sources:
        if path.is_relative_to(root / "tests"):
            name, parts = path.relative_to(root), path.relative_to(root / "tests").parts
            if path.name == "__init__.py":
                yield f"{name}: a folder of tests is no package"
            if len(parts) > 1 and parts[0] not in FREE_TESTS | {Path(tests).name for tests in MIRRORS.values()}:
                yield f"{name}: no such folder of tests"


# Mirror: mainbus/wire/clone.py has client/wire/test_clone.py, and further test_clone_*.py where one would be too long.


def _mirror(modules: list[Path], package: Path, tests: list[Path], folder: Path, root: Path) -> Iterator[str]:
    owed = {path: _tests_of(path, package, folder) for path in modules if not _is_trivial(path)}
    for path, places in owed.items():
        if not any(place in tests for place in places):
            yield f"{path.relative_to(root)}: has no test file {places[0].relative_to(root)}"
    homes = [place for path in modules for place in _tests_of(path, package, folder)]
    for path in tests:
        if path.name != "conftest.py" and not any(_belongs(path, home) for home in homes):
            yield f"{path.relative_to(root)}: mirrors no module"


def _tests_of(module: Path, package: Path, folder: Path) -> list[Path]:
    """Name where a module's tests may be: one place, or two for a package's __init__.py."""
    beside = folder / module.relative_to(package).parent
    if module.name != "__init__.py":
        return [beside / f"test_{module.stem.strip('_')}.py"]
    return [beside / f"test_{module.parent.name}.py", beside / "test_init.py"]


def _belongs(test: Path, home: Path) -> bool:
    return test == home or (test.parent == home.parent and test.stem.startswith(f"{home.stem}_"))


def _is_trivial(module: Path) -> bool:
    """Tell whether a package's own file only gathers or starts what other files define."""
    defines = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return module.name in ("__init__.py", "__main__.py") and not any(
        isinstance(node, defines) for node in ast.walk(parse(module))
    )
