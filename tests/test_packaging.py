"""What is built and installed: exactly the two packages, typed, from the sources as from an archive of them."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from sysconfig import get_config_var

import pytest

from tests.checks.tree import ROOT

# A compiler takes its time.
pytestmark = pytest.mark.timeout(300)

PACKAGES = {"mainbus": ROOT / "client", "mainbus_broker": ROOT / "broker"}


def build(folder: Path) -> dict[str, Path]:
    """Build a source archive of the project, and the wheel from that archive."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    # That the compiled parts are there is what counts, not how fast they are.
    quick = {**os.environ, "CFLAGS": "-O0 -g0"}
    built = subprocess.run(command, env=quick, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return {path.suffix: path for path in folder.iterdir()}


def sources() -> set[str]:
    """Name the files of both packages, as they lie in a wheel."""
    files = (
        path.relative_to(folder)
        for name, folder in PACKAGES.items()
        for path in (folder / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and is_for_this_python(path)
    )
    return {str(path) for path in files}


def is_for_this_python(path: Path) -> bool:
    return path.suffix != ".so" or path.name.endswith(get_config_var("EXT_SUFFIX"))


def wheel_holds_exactly_the_two_packages(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives[".whl"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == set(PACKAGES)
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert names == sources()


def wheel_carries_licence_and_command(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives[".whl"]) as wheel:
        told = {name.partition(".dist-info/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
        assert b"MIT License" in wheel.read(told["licenses/LICENSE"])
        assert b"mainbus = mainbus_broker.cli:main" in wheel.read(told["entry_points.txt"])


def source_archive_holds_what_the_tests_need(archives: dict[str, Path]) -> None:
    with tarfile.open(archives[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "pyproject.toml", "tests/constraints.txt", "tests/conftest.py", "LICENSE"} <= names
    litter = {".venv", ".git", "__pycache__", "build", "dist"}
    assert not [name for name in names if litter & set(name.split("/"))]


def wheel_imports_without_the_sources(archives: dict[str, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(archives[".whl"]) as wheel:
        wheel.extractall(tmp_path)
    for name, place in imported_from(tmp_path, path=tmp_path).items():
        assert place == tmp_path / name / "__init__.py"


def test_what_is_built_is_complete(tmp_path: Path) -> None:
    # In one test: to build takes longer than all else.
    archives = build(tmp_path / "dist")
    wheel_holds_exactly_the_two_packages(archives)
    wheel_carries_licence_and_command(archives)
    source_archive_holds_what_the_tests_need(archives)
    wheel_imports_without_the_sources(archives, tmp_path)


@pytest.mark.smoke
def test_editable_install_imports_from_anywhere(tmp_path: Path) -> None:
    for name, place in imported_from(tmp_path).items():
        assert place == PACKAGES[name] / name / "__init__.py"


def imported_from(folder: Path, path: Path | None = None) -> dict[str, Path]:
    """Say which file each package comes from in a new Python that runs in that folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    ask = f"import importlib\nfor name in {list(PACKAGES)}: print(name, importlib.import_module(name).__file__)"
    command = [sys.executable, "-P", "-c", ask]
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    return {name: Path(place) for name, place in (line.split(maxsplit=1) for line in said.splitlines())}
