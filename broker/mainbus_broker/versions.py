"""Which versions run: for the daemon's start line and `mainbus --version`."""

import sys


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
