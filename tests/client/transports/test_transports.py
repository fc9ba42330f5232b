"""The way to each scheme's transport, and what is looked at before."""

import asyncio
import os
import socket
import tempfile
from pathlib import Path

import pytest
from mainbus.address import Address, default_address, parse
from mainbus.errors import AddressError
from mainbus.transports import Endpoint, connect, connect_blocking
from mainbus.transports.memory import MemoryServer


async def test_memory() -> None:
    server = MemoryServer(parse("memory:app"), asyncio.Protocol)
    transport, protocol = await connect(parse("memory:app"), asyncio.Protocol)
    assert transport.get_extra_info("peername") == "memory:app"
    assert type(protocol) is asyncio.Protocol
    transport.close()
    endpoint: Endpoint = connect_blocking(parse("memory:app"), None)
    endpoint.close()
    server.close()


async def test_unix(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(parse(address).path)
        server.listen()
        transport, _ = await connect(parse(address), asyncio.Protocol)
        assert transport.get_extra_info("peername") == parse(address).path
        transport.abort()
        endpoint: Endpoint = connect_blocking(parse(address), None)
        endpoint.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize("text", ["unix:/does/not/exist", "memory:nobody"])
async def test_the_systems_error_goes_up_untouched(text: str) -> None:
    with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        await connect(parse(text), asyncio.Protocol)
    with pytest.raises((FileNotFoundError, ConnectionRefusedError)):
        connect_blocking(parse(text), None)


@pytest.mark.contract("8.2")
async def test_a_strangers_folder_is_refused_at_each_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="mb") as temporary:
        os.chmod(temporary, 0o1777)
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        address = default_address()
        await refuses(address, FileNotFoundError)
        # While we are away a stranger takes the place, with a socket that would answer.
        elsewhere = Path(temporary, "elsewhere")
        elsewhere.mkdir()
        Path(address.path).parent.symlink_to(elsewhere)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(address.path)
            server.listen()
            await refuses(address, AddressError)


async def refuses(address: Address, error: type[Exception]) -> None:
    with pytest.raises(error):
        await connect(address, asyncio.Protocol)
    with pytest.raises(error):
        connect_blocking(address, None)
