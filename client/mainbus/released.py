"""Why a session cannot be used: the errors that all verbs of a renderer then raise."""

from __future__ import annotations

from mainbus.address import Address
from mainbus.errors import ConnectRefused, MainbusError, ObjectDestroyedError


def refused(address: Address, error: OSError) -> ConnectRefused:
    """Return the error for an address that cannot be connected to, with what to do about it."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return ConnectRefused(
            str(address),
            "no broker answers there; start one (`mainbus serve`), set MAINBUS_ADDRESS, or wait with connect_timeout",
        )
    return ConnectRefused(str(address), str(error))


def released() -> ObjectDestroyedError:
    """Return what every verb of a closed renderer raises."""
    return ObjectDestroyedError("IPC method called after context was released")


def again(error: MainbusError) -> MainbusError:
    """Return an equal error: each caller gets its own, for a shared one would collect their tracebacks."""
    # Past the constructor, which makes the text.
    new = type(error).__new__(type(error))
    new.args = error.args
    vars(new).update(vars(error))
    return new
