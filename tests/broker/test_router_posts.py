"""POST with ports: to main or along a port, whatever else is under way, and as large as a message may be."""

import struct

from mainbus import MessageChannel, MessagePort
from mainbus.wire import clone
from mainbus_broker import Config, IpcMainEvent, Limits

from tests.support.bus import Bus, Calls
from tests.support.raw import CONTINUES, GOODBYE, POST, Packet, args, fragments, raw

NEW = struct.pack(">II", 1, 3)
"""A table with one port of a new channel."""

LARGE = "x" * 300_000
LIMIT = 300_000


async def test_a_post_to_a_renderer_may_stand_between_the_fragments_of_one_with_ports(address: str) -> None:
    async with Bus(address) as bus, raw(address) as one, raw(address) as two:
        heard = Calls()
        bus.ipc_main.on("ports", heard)
        parts = fragments(Packet(POST, channel=b"ports", value=1, body=NEW + args(LARGE)))
        other = fragments(Packet(POST, peer=two.id, channel=b"x", body=args(LARGE)))
        one.write(parts[0], other[0], parts[1], *other[1:], *parts[2:])
        assert (await two.message(POST)).said == [LARGE]
        await heard.wait(1)
        assert heard.args == [(LARGE,)]
        [(event, _)] = heard.calls
        assert isinstance(event, IpcMainEvent)
        assert [type(port) for port in event.ports] == [MessagePort]


async def test_a_fragment_behind_the_first_has_no_ports_whatever_its_value(address: str) -> None:
    async with Bus(address), raw(address) as one, raw(address) as two:
        first, *rest = fragments(Packet(POST, peer=two.id, channel=b"x", body=args(LARGE)))
        assert all(part.flags & CONTINUES for part in rest)
        one.write(first, *(part._replace(value=1) for part in rest))
        assert (await two.message(POST)).said == [LARGE]


async def test_ports_go_to_no_other_renderer_by_themselves(address: str) -> None:
    async with Bus(address) as bus, raw(address) as one, raw(address, "two") as two:
        for target in ({"peer": two.id}, {"name": b"two", "flags": 4}):
            async with raw(address) as stranger:
                stranger.write(Packet(POST, channel=b"x", value=1, body=NEW + args(1), **target))
                assert (await stranger.next(GOODBYE)).body == b"ports go to the main process, or along a port"
        assert await one.is_served()
        assert await two.is_served()
        assert len(bus.broker.web_contents.get_all_web_contents()) == 2


async def test_ports_come_along_with_the_longest_message(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(message=LIMIT))) as bus:
        sender, target, heard, taken = await bus.renderer("sender"), await bus.renderer("target"), Calls(), Calls()
        contents = bus.broker.web_contents.from_name("target")
        assert contents is not None
        bus.ipc_main.on("ports", lambda event, body: contents.post_message("ports", body, event.ports))
        target.on("ports", heard)

        # To main, from main, and along a port between two renderers: nobody is told that it is too long.
        channel = MessageChannel()
        sender.post_message("ports", longest([]), [channel.port2])
        await heard.wait(1)
        [port] = heard.calls[0][0].ports
        port.on("message", taken)
        port.start()
        channel.port1.post_message(longest(None), [MessageChannel().port1])
        await taken.wait(1)
        [(event,)] = taken.calls
        assert len(event.ports) == 1
        assert (sender.is_connected, target.is_connected) == (True, True)
        channel.port1.close()


def longest(frame: object) -> bytes:
    """Return bytes that make a body of LIMIT bytes, in an array or by themselves."""
    around = 1 if isinstance(frame, list) else 0
    found = bytes(LIMIT - 5 - around)
    assert len(clone.encode([found] if around else found)) == LIMIT
    return found
