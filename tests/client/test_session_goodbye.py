"""Closing a renderer whose broker never answers the goodbye."""

import asyncio
from typing import cast

import mainbus
import pytest
from mainbus import session
from mainbus.wire.messages import Welcome, pack

from tests.support import bare


class Silent(asyncio.Protocol):
    """A broker that welcomes and then never says a word."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(pack(Welcome(id=1, session=b"s" * 16, instance=b"i" * 16, lane=b"l" * 16)))
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


@pytest.mark.contract("3.10")
async def test_it_ends_all_the_same(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GOODBYE_TIMEOUT", 0.01)
    silent = Silent()
    server = await bare.serve_protocol(address, lambda: silent)
    try:
        async with asyncio.timeout(10):
            ipc_renderer = await mainbus.connect(address)
            await ipc_renderer.aclose()
            await silent.gone.wait()
        assert not ipc_renderer.is_connected
        with pytest.raises(mainbus.ObjectDestroyedError, match="IPC method called after context was released"):
            ipc_renderer.send("channel")
    finally:
        server.close()
