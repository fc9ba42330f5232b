"""What `mainbus doctor` finds at the pipe of the address, on Windows. It opens the pipe at most."""

import sys
from collections.abc import Iterator

from mainbus import windows
from mainbus.address import Address
from mainbus.transports import pipe as pipes

from mainbus_broker.cli.findings import Finding, hint, ok, wrong

assert sys.platform == "win32"

__all__ = ["examine_pipe"]


def examine_pipe(address: Address) -> Iterator[Finding]:
    """Yield what is found."""
    name = pipes.path_of(address)
    try:
        handle = pipes.open_pipe(address)
    except FileNotFoundError:
        yield ok("pipe", f"{name} is not there: no broker has this address")
    except PermissionError as error:
        # Windows' own word, or that the pipe is another user's.
        yield wrong("pipe", f"{name} cannot be used: {error.strerror or error}", "choose another address")
    except OSError as error:
        yield wrong("pipe", f"{name} cannot be opened: {error.strerror}", "choose another address")
    else:
        if handle is None:
            yield hint("pipe", f"{name} is there, and too busy to accept", "try again")
            return
        server = windows.server_of(handle)
        pipes.PipeEndpoint(handle).close()
        yield ok("pipe", f"{name}, made by process {server} of this user")
