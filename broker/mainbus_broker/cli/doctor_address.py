"""What `mainbus doctor` finds out about the address: which it is, where it comes from, whether it fits."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from typing import Final

from mainbus.address import PATH_LIMIT, Address, default_address, parse
from mainbus.errors import AddressError

from mainbus_broker.cli.findings import Finding, hint, ok, wrong

_EXAMPLE: Final = "pipe:app" if sys.platform == "win32" else "unix:/run/user/1000/app.sock"
_REMEDY: Final = f"give another one, such as --address {_EXAMPLE}, to both ends"


def find_address(text: str | None) -> tuple[Address | None, list[Finding]]:
    """Return the address that both ends would take, if there is one, and what is found.

    Args:
        text: What `--address` says, if anything.
    """
    try:
        address = default_address(across=True) if text is None else parse(text, across=True)
    except AddressError as error:
        # A fault of the folder says itself what to do.
        reason, _, remedy = str(error).partition("; ")
        return None, [wrong("address", f"{reason} ({_source(text)})", remedy or _REMEDY)]
    findings = [ok("address", f"{address}, {_source(text)}"), *_variables(text)]
    if address.scheme == "unix":
        length = len(os.fsencode(address.path))
        findings.append(ok("path", f"{length} bytes of the {PATH_LIMIT} that a socket's path can have"))
    return address, findings


def _source(text: str | None) -> str:
    """Say where the address comes from."""
    if text is not None:
        return "from --address"
    if os.environ.get("MAINBUS_ADDRESS"):
        return "from MAINBUS_ADDRESS"
    if sys.platform == "win32":
        return f"from {'MAINBUS_APP and ' if os.environ.get('MAINBUS_APP') else ''}the user's SID"
    app = "MAINBUS_APP and " if os.environ.get("MAINBUS_APP") else ""
    return f"from {app}{'the temporary folder' if _runtime_fault() else 'XDG_RUNTIME_DIR'}"


def _variables(text: str | None) -> Iterator[Finding]:
    """Yield what the variables may surprise with."""
    overrides = "--address" if text is not None else "MAINBUS_ADDRESS"
    if text is not None and (set_ := os.environ.get("MAINBUS_ADDRESS")) and set_ != text:
        yield hint("variables", f"MAINBUS_ADDRESS is {set_}, and --address overrides it here", "give it to both ends")
    if (text is not None or os.environ.get("MAINBUS_ADDRESS")) and os.environ.get("MAINBUS_APP"):
        yield hint("variables", f"MAINBUS_APP has no effect beside {overrides}", "`unset MAINBUS_APP`, or that one")
    if text is None and not os.environ.get("MAINBUS_ADDRESS") and (fault := _runtime_fault()):
        fallen = f"XDG_RUNTIME_DIR {fault}, so the address depends on TMPDIR"
        yield hint("variables", fallen, "set it, or MAINBUS_ADDRESS, for both ends")


def _runtime_fault() -> str | None:
    """Say why XDG_RUNTIME_DIR is not where the default address is; None if it is, or cannot be."""
    if sys.platform == "win32":
        return None
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime:
        return "is not set"
    if not os.path.isabs(runtime):
        return "is no absolute path"
    try:
        status = os.stat(runtime)
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    return None if status.st_uid == os.geteuid() else f"belongs to the user with uid {status.st_uid}"
