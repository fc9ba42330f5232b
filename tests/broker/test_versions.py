"""Which versions run."""

import asyncio
import sys
from importlib.metadata import version

from mainbus_broker.versions import loop_version, python_version, version_of


def test_an_installed_package_has_its_version() -> None:
    assert version_of("typer") == version("typer")


def test_one_that_is_only_imported_has_none() -> None:
    assert version_of("no-such-package") == "from source"


def test_python_has_one() -> None:
    assert sys.version.startswith(f"{python_version()} ")


async def test_a_loop_has_one() -> None:
    loop = asyncio.get_running_loop()
    uvloop = type(loop).__module__.startswith("uvloop")
    assert loop_version(loop) == (f"uvloop {version('uvloop')}" if uvloop else "asyncio")
