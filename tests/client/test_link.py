"""One connection of a renderer, against brokers that behave as none of ours does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import cbor2
import mainbus
import pytest
from mainbus.address import parse
from mainbus.errors import ConnectionLost, ConnectRefused, NameTaken, RemoteProtocolError
from mainbus.link import Link
from mainbus.outbox import Outbox
from mainbus.wire.messages import Hello, Welcome
from mainbus.wire.packets import Head

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import until, within
from tests.support.raw import Packet, Raw

WELCOME = {"version": 1, "id": 3, "session": b"s", "instance": b"i", "lane": b"l", "name": None}


def welcome(**said: object) -> Packet:
    return Packet(wire.WELCOME, body=cbor2.dumps({**WELCOME, **said}))


def one_way(number: int) -> Packet:
    return Packet(wire.SEND, value=number, channel=b"c", body=wire.args())


@asynccontextmanager
async def broker(address: str, answer: Callable[[Raw], Awaitable[None]]) -> AsyncIterator[None]:
    """A broker that treats each connection as the test says, and then closes it."""
    done: list[tuple[Raw, asyncio.Task[Any]]] = []

    async def serve(client: Raw) -> None:
        try:
            await answer(client)
        finally:
            await client.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Raw(reader, writer)
        done.append((client, asyncio.ensure_future(serve(client))))

    server = await bare.serve(address, accept)
    try:
        yield
    finally:
        server.close()
        for client, task in done:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            # A task that has not begun closes nothing.
            client.writer.close()


class Client:
    """A link with what it hands on: the values of the packets, and the reasons of its end."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.ends: list[Exception | None] = []
        self.outbox = Outbox(asyncio.get_running_loop(), 10)
        self.link = Link(self)

    def receive(self, head: Head, data: bytes, at: int) -> None:
        self.received.append(head[8])

    def lost(self, link: Link, error: Exception | None) -> None:
        self.ends.append(error)

    async def open(self, address: str) -> Welcome:
        return await within(self.link.open(parse(address), Hello(name="editor")))


async def forever(client: Raw) -> None:
    await client.reader.read()


async def test_it_says_hello_and_takes_the_welcome(address: str) -> None:
    hellos: list[Packet | None] = []

    async def answer(client: Raw) -> None:
        hellos.append(await client.read())
        client.write(welcome(name="other", limits={"message": 77, "depth": 5, "pending": 6}))
        await forever(client)

    async with broker(address, answer):
        client = Client()
        got = await client.open(address)
        assert (got.id, got.name, got.limits.message) == (3, "other", 77)
        client.link.start(got)
        assert client.link.wire.max_message == 77
        [hello] = hellos
        assert hello is not None
        assert (hello.kind, hello.said["name"]) == (wire.HELLO, "editor")
        # The hello counts among what was written.
        assert client.outbox.written == 1
        client.link.abort()
        await until(lambda: client.ends)


async def test_what_comes_behind_the_welcome_is_handed_on_once_it_is_started(address: str) -> None:
    opened = asyncio.Event()

    async def answer(client: Raw) -> None:
        await client.read()
        client.write(welcome(), one_way(1))
        await opened.wait()
        client.write(*map(one_way, range(2, 5)))
        await forever(client)

    async with broker(address, answer):
        client = Client()
        got = await client.open(address)
        # More comes, in a piece of its own, before anybody takes it.
        opened.set()
        await until(lambda: client.link.wire._data.endswith(one_way(4).encode()))
        assert client.received == []
        client.link.start(got)
        assert client.received == [1, 2, 3, 4]
        client.link.abort()
        await until(lambda: client.ends)


@pytest.mark.contract("9.5")
async def test_an_end_before_the_start_is_told_after_it(address: str) -> None:
    async def answer(client: Raw) -> None:
        await client.read()
        client.write(welcome(), one_way(1))

    async with broker(address, answer):
        client = Client()
        got = await client.open(address)
        await until(lambda: client.link._is_lost)
        assert client.ends == []
        client.link.start(got)
        assert client.received == [1]
        await until(lambda: client.ends)
        assert client.ends == [None]


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        (Packet(wire.REFUSED, value=12, body=cbor2.dumps("The name is taken")), NameTaken, "The name is taken"),
        (Packet(wire.REFUSED, value=6, body=cbor2.dumps("not you")), ConnectRefused, "not you"),
        (Packet(wire.REFUSED, value=6), ConnectRefused, "The broker refused the connection"),
        (Packet(wire.REFUSED, value=6, body=b"\xff"), RemoteProtocolError, "reason of a refusal does not decode"),
        (Packet(wire.WELCOME, body=b"\xff"), RemoteProtocolError, "Welcome does not decode"),
        (welcome(version=2), RemoteProtocolError, "protocol version 2 where 1 is spoken"),
        (one_way(1), RemoteProtocolError, "unexpected packet of kind SEND while greeted"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", RemoteProtocolError, "packet of"),
        (b"", ConnectionLost, "the broker closed the connection during the handshake"),
    ],
    ids=["name", "user", "no text", "no CBOR", "bad welcome", "version", "kind", "garbage", "nothing"],
)
async def test_whatever_is_no_welcome_is_a_named_error(
    address: str, said: Packet | bytes, error: type[Exception], text: str
) -> None:
    async def answer(client: Raw) -> None:
        await client.read()
        client.write(said)

    async with broker(address, answer):
        client = Client()
        with pytest.raises(error, match=text):
            await client.open(address)
        assert client.ends == []


@pytest.mark.contract("8.1")
async def test_a_refusal_can_come_before_the_hello(address: str) -> None:
    async def answer(client: Raw) -> None:
        client.write(Packet(wire.REFUSED, value=6, body=cbor2.dumps("it serves its own user only")))
        await forever(client)

    async with broker(address, answer):
        with pytest.raises(ConnectRefused, match="its own user only"):
            await Client().open(address)


async def test_a_broker_that_never_answers_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainbus.link.HANDSHAKE_TIMEOUT", 0.01)
    async with broker(address, forever):
        with pytest.raises(TimeoutError, match="never answered"):
            await Client().open(address)


async def test_cancelling_the_opening_closes_the_connection(address: str) -> None:
    ended = asyncio.Event()

    async def answer(client: Raw) -> None:
        await client.read()
        opening.cancel()
        await forever(client)
        ended.set()

    async with broker(address, answer):
        opening = asyncio.ensure_future(Client().open(address))
        with pytest.raises(asyncio.CancelledError):
            await opening
        await within(ended.wait())


@pytest.mark.contract("8.7")
async def test_a_fault_of_the_broker_ends_an_open_connection_by_name(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(client: Raw) -> None:
        await client.read()
        client.write(welcome(), one_way(1), Packet(99), one_way(2))
        await forever(client)

    async with broker(address, answer):
        client = Client()
        client.link.start(await client.open(address))
        await until(lambda: client.ends)
        assert client.received == [1]
        [error] = client.ends
        assert isinstance(error, RemoteProtocolError)
        assert [record.getMessage() for record in caplog.records if "broke the protocol" in record.getMessage()] == [
            f"the broker broke the protocol: {error}"
        ]


@pytest.mark.contract("9.7")
async def test_whoever_opens_a_renderer_there_is_told_so_by_name(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainbus.link.HANDSHAKE_TIMEOUT", 0.01)
    async with broker(address, forever):
        with pytest.raises(ConnectRefused, match=r"never answered$"):
            _ = await mainbus.connect(address)


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("ends_first", [True, False])
async def test_of_a_connection_that_was_given_up_nobody_hears(ends_first: bool, address: str) -> None:
    async with broker(address, forever):
        client = Client()
        opening = asyncio.ensure_future(client.open(address))
        await until(lambda: client.link.transport)
        ends: list[Callable[[], object]] = [lambda: client.link.connection_lost(None), opening.cancel]
        for end in ends if ends_first else ends[::-1]:
            end()
        # Whoever opens it has not had a turn since: the one comes with the other.
        with pytest.raises((asyncio.CancelledError, ConnectionLost)):
            await opening
        client.link.abort()
        assert client.ends == []
