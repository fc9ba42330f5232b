"""Ports of the main process that leave inside each other: nothing comes between a message and what goes in front."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cbor2
import pytest
from mainbus import MessageChannel
from mainbus.ports import MessagePort
from mainbus_broker import WebContents

from tests.support.bus import Bus, Calls, until, within
from tests.support.raw import PORT_CLOSE, PORT_CREDIT, PORT_MESSAGE, POST, Packet, Raw, args, raw

OVERHEAD = 4096
WINDOW = 64
"""Tiny messages after which the next one waits for credit."""


@asynccontextmanager
async def ports(address: str, *table: tuple[int, int]) -> AsyncIterator[tuple[Raw, list[MessagePort], WebContents]]:
    """Ports of the main process that have come with a table from a renderer, and that one, from both sides."""
    async with Bus(address) as bus:
        async with raw(address, "a") as a:
            taken = Calls()
            bus.ipc_main.on("take", taken)
            body = b"".join(number.to_bytes(4) for entry in table for number in entry)
            a.write(Packet(POST, channel=b"take", value=len(table), body=body + args()))
            a.write(*(Packet(PORT_CLOSE, peer=number) for number, _ in table))
            (event,) = await taken.wait()
            contents = bus.broker.web_contents.from_name("a")
            assert contents is not None
            yield a, event.ports, contents
        await until(lambda: not bus.hub.renderers)
        await until(lambda: not bus.hub.main_ports.ports)


def fill(port: MessagePort, count: int = WINDOW) -> None:
    """Use up the credit of a port, or that for so many tiny messages."""
    for _ in range(count):
        port.post_message("fills")


async def said(renderer: Raw) -> tuple[int, object]:
    """Return the number of the port that a message has come by, and the message, but for those of `fill`."""
    while True:
        packet = await renderer.message(PORT_MESSAGE)
        value = cbor2.loads(packet.body[8 * packet.value :])
        if value != "fills":
            return packet.peer, value


@pytest.mark.contract("7.2")
async def test_a_port_does_not_leave_before_the_message_that_has_brought_that_about(address: str) -> None:
    async with ports(address, (1, 3), (5, 7)) as (a, (one, two), _):
        fill(one)
        fill(two)
        inner = MessageChannel()
        two.post_message("inner", [inner.port2])
        one.post_message("two", [two])
        one.post_message("behind it")
        # When two leaves with the message before, and the inner port with what waits on two, this is posted again.
        inner.port1.post_message("one", [one])
        a.write(Packet(PORT_CREDIT, peer=3, value=OVERHEAD))
        assert [await said(a) for _ in range(4)] == [(7, "inner"), (3, "two"), (3, "behind it"), (2, "one")]
        inner.port1.close()


@pytest.mark.contract("7.2", "9.2")
async def test_the_credit_that_a_port_leaves_behind_lets_nothing_overtake_the_message_behind_it(address: str) -> None:
    # The third is the other end of the first.
    async with ports(address, (1, 3), (5, 7), (3, 0)) as (a, (one, two, other), contents):
        aiter(other)
        for _ in range(2):
            one.post_message("taken, which is told when the port leaves")
            await within(anext(other))
        fill(one, WINDOW - 2)
        fill(two)
        two.post_message("other", [other])
        one.post_message("two", [two])
        one.post_message("behind it")
        contents.post_message("c", None, [one])
        (_, first), (number, second), (same, third) = [await said(a) for _ in range(3)]
        assert (first, second, third) == ("other", "two", "behind it")
        assert number == same
