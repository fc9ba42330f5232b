"""The way to each scheme's listener."""

import asyncio
import socket

import pytest
from mainbus.address import parse
from mainbus_broker.listeners import Listener, listen
from mainbus_broker.listeners.memory import MemoryListener
from mainbus_broker.listeners.unix import UnixListener


@pytest.mark.contract("3.15")
async def test_memory() -> None:
    listener: Listener = await listen(parse("memory:app"), asyncio.Protocol)
    assert isinstance(listener, MemoryListener)
    await listener.aclose()


async def test_unix(address: str) -> None:
    listener: Listener = await listen(parse(address), asyncio.Protocol)
    assert isinstance(listener, UnixListener)
    assert str(listener.address) == address
    await listener.aclose()


async def test_a_socket_that_was_handed_over(address: str) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(parse(address).path)
    sock.listen()
    # Where it really is counts, not where it was expected.
    listener: Listener = await listen(parse("unix:/expected/elsewhere"), asyncio.Protocol, sock=sock)
    assert str(listener.address) == address
    await listener.aclose()
