"""`mainbus.blocking.connect`: where a renderer for threads comes from."""

from __future__ import annotations

import os

from mainbus.address import default_address, parse
from mainbus.blocking.renderer import BlockingRenderer
from mainbus.names import check_name


def connect(
    address: str | None = None,
    *,
    name: str | None = None,
    token: str | None = None,
    connect_timeout: float = 0,
    reconnect: bool = True,
    poll: bool = False,
) -> BlockingRenderer:
    """Return a renderer that is not open yet: `with` or `open()` opens it.

    Args:
        address: Where the broker is, such as "unix:/run/user/1000/app.sock"; None: the default address.
        name: The name by which other renderers can reach this one; it belongs to one renderer at a time.
        token: What the broker may ask for; None: the token in MAINBUS_TOKEN, if the broker started this process.
        connect_timeout: Seconds to wait for a broker that is not there yet.
        reconnect: Whether to come back when the connection is lost.
        poll: Run listeners and handlers in the thread that opens the renderer, while it is in `poll`, `wait_for` or
            the iteration of `listen`; else they run in a thread of their own.

    Raises:
        AddressError: The address is none, or too long.
        ValueError: The name is not of 1 to 255 bytes of UTF-8.
    """
    if name is not None:
        check_name(name)
    return BlockingRenderer(
        parse(address) if address is not None else default_address(),
        name,
        # A token is good for one renderer: the next one of this process, and its children, must not find it.
        token if token is not None else os.environ.pop("MAINBUS_TOKEN", None),
        connect_timeout,
        reconnect,
        poll,
    )
