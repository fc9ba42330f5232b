"""Which versions run: for the daemon's start line, `mainbus --version`, and what a broker tells of itself."""

from __future__ import annotations

import asyncio
import sys
from functools import cache


@cache
def version_of(package: str) -> str:
    """Return the version of a package that is installed, or "from source" if it is only imported."""
    # Slow to import, and needed once.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "from source"


def python_version() -> str:
    """Return the version of Python, as in "3.13.0"."""
    return sys.version.partition(" ")[0]


def loop_version(loop: asyncio.AbstractEventLoop) -> str:
    """Return which event loop it is: "uvloop" with its version, or "asyncio"."""
    return f"uvloop {version_of('uvloop')}" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"
