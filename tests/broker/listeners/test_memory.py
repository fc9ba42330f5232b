"""A listener inside this process."""

import asyncio
import os

import pytest
from mainbus.address import parse
from mainbus.errors import AddressError
from mainbus.transports import connect
from mainbus_broker.listeners.memory import listen

APP = parse("memory:app")


@pytest.mark.contract("3.15")
async def test_it_accepts_until_it_is_stopped() -> None:
    listener = listen(APP, asyncio.Protocol)
    assert listener.address == APP
    transport, _ = await connect(APP, asyncio.Protocol)
    await asyncio.sleep(0)
    listener.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        await connect(APP, asyncio.Protocol)
    await listener.aclose()
    await listener.aclose()
    assert not transport.is_closing()
    transport.close()


async def test_a_name_in_use_is_refused() -> None:
    first = listen(APP, asyncio.Protocol)
    with pytest.raises(AddressError, match=r"memory:app: in use") as caught:
        listen(APP, asyncio.Protocol)
    assert caught.value.pid == os.getpid()
    await first.aclose()
    second = listen(APP, asyncio.Protocol)
    await first.aclose()
    with pytest.raises(AddressError):
        listen(APP, asyncio.Protocol)
    await second.aclose()
