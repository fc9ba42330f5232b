"""What `mainbus doctor` finds in this process: versions, event loop, codec, open files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

import mainbus
from mainbus.wire import CODEC

from mainbus_broker.cli.findings import Finding, hint, ok
from mainbus_broker.versions import python_version, version_of

if sys.platform == "win32":
    from mainbus.windows import current_user
else:
    import resource

_FEW_FILES: Final = 4096
"""Descriptors below which a broker may run out of them: each renderer has one, or two."""


def examine_here() -> Iterator[Finding]:
    """Yield what is found."""
    where = os.path.dirname(mainbus.__file__)
    yield ok("mainbus", f"{version_of('mainbus')}, in {where}")
    yield ok("python", f"{python_version()}, {sys.executable}")
    if sys.platform == "win32":
        yield ok("user", current_user())
    else:
        yield _user()
    yield _loop()
    yield _codec()
    if sys.platform != "win32":
        yield _files()


def _user() -> Finding:
    uid, behind = os.geteuid(), os.environ.get("SUDO_UID")
    if behind is not None and behind != str(uid):
        text = f"uid {uid} in place of {behind}, through sudo: a broker serves its own user only"
        return hint("user", text, "run both ends as one user")
    return ok("user", f"uid {uid}")


def _loop() -> Finding:
    if sys.platform == "win32":
        return ok("loop", "asyncio with the Proactor of Windows")
    if find_spec("uvloop") is not None:
        return ok("loop", f"uvloop {version_of('uvloop')}")
    return hint("loop", "asyncio: uvloop is not installed, which is faster", "`pip install uvloop`")


def _codec() -> Finding:
    if CODEC == "compiled":
        return ok("codec", "compiled")
    if os.environ.get("MAINBUS_PURE"):
        return hint("codec", "pure Python, which is slower: MAINBUS_PURE is set", "`unset MAINBUS_PURE`")
    return hint("codec", "pure Python, which is slower: nothing was compiled", "reinstall mainbus with a C compiler")


def _files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ok("open files", "as many as may be")
    if soft < _FEW_FILES:
        most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
        text = f"at most {soft} (up to {most}), and a broker needs one or two for each renderer"
        return hint("open files", text, f"`ulimit -n {_FEW_FILES}` before `mainbus serve` if there are many")
    return ok("open files", f"at most {soft}")
