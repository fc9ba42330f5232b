"""What outlives a connection: what is kept of it, in which order it goes on, and what leads nowhere any more."""

import asyncio

import pytest
from mainbus.backlog import Backlog
from mainbus.calls import Calls
from mainbus.errors import NoSuchRenderer
from mainbus.outbox import Outbox
from mainbus.reply import Reply
from mainbus.route_table import RouteTable
from mainbus.wire import port_table
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER, MAIN, MORE, Kind, build

pytestmark = pytest.mark.contract("9.1", "9.6")


def body(packet: bytes) -> bytes:
    """Return the body of a packet."""
    return packet[HEADER.size + packet[6] + packet[7] :]


class World:
    """A backlog, and what is around it. The name of renderer 5 is known, and that of 6."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(loop, 100)
        self.routes = RouteTable(self.outbox)
        self.routes.set_credit(8)
        self.routes.learn(5, "five")
        self.routes.learn(6, None)
        self.calls = Calls(loop, lambda reply: None)
        self.backlog = Backlog(self.outbox, self.routes, self.calls)

    def send(self, target: int | str, text: bytes) -> None:
        packet = self._packet(Kind.SEND, target, 0, text)
        self.routes.to(target).put(packet, len(packet))

    def invoke(self, target: int | str, request: int) -> Reply:
        route = self.routes.to(target)
        packet = self._packet(Kind.INVOKE, target, request, b"invoke %d" % request)
        reply = self.calls.open("c", request, route, None)
        route.put(packet, len(packet), request)
        return reply

    def bodies(self) -> list[bytes]:
        """Return the bodies of what is about to leave; the broker's to be asked is none."""
        return [body(packet) for packet in self.outbox.take() if HEADER.unpack_from(packet)[1] != Kind.WHO]

    @staticmethod
    def _packet(kind: Kind, target: int | str, request: int, text: bytes) -> bytes:
        peer, name = (0, target) if isinstance(target, str) else (target, "")
        return build(kind, peer, request, text, flags=BY_NAME if name else 0, name=name.encode(), channel=b"c")


async def test_what_was_about_to_leave_goes_on_first_and_in_order() -> None:
    world = World()
    world.send(MAIN, b"1")
    _ = world.invoke(MAIN, 1)
    world.routes.main.pause()
    world.send(MAIN, b"waits")
    _ = world.invoke("five", 2)
    world.routes.to("five").pause()
    _ = world.invoke("five", 3)
    assert world.backlog.is_empty
    assert world.backlog.salvage() == {1, 2, 3}
    assert not world.backlog.is_empty
    # Between two connections.
    world.send("five", b"behind")
    assert world.backlog.restore((), same_broker=True) == []
    assert world.backlog.is_empty
    assert world.bodies() == [b"1", b"invoke 1", b"invoke 2"]
    left = [[*map(body, iter(world.routes.to(target).next_packet, None))] for target in (MAIN, "five")]
    assert left == [[b"waits"], [b"invoke 3", b"behind"]]


async def test_what_speaks_of_the_lost_connection_is_dropped() -> None:
    world = World()
    for packet in (
        build(Kind.SEND, MAIN, body=b"a part", flags=MORE, channel=b"c"),
        build(Kind.SEND, MAIN, body=b"the rest", flags=CONTINUES),
        build(Kind.RESULT, 5, 9, b"an answer"),
        build(Kind.CANCEL, MAIN, 9),
        build(Kind.PAUSED, 5, 1),
        build(Kind.QUERY, MAIN, 4, b"a question", channel=b"peers"),
        build(Kind.BROADCAST, MAIN, body=b"to all", channel=b"c"),
    ):
        world.outbox.put(packet)
    assert world.backlog.salvage() == {4}
    world.backlog.restore((), same_broker=True)
    assert world.bodies() == [b"a question", b"to all"]


@pytest.mark.contract("7.3")
async def test_a_message_loses_its_ports_and_goes_on() -> None:
    world = World()
    table = port_table.pack([(3, 4)])
    world.outbox.put(build(Kind.POST, MAIN, body=table + b"body", value=1, channel=b"c"))
    world.backlog.salvage()
    world.backlog.restore((), same_broker=True)
    assert world.bodies() == [port_table.pack([(0, 0)]) + b"body"]


@pytest.mark.parametrize("same_broker", [True, False])
async def test_ids_mean_nobody_at_another_broker(same_broker: bool) -> None:
    world = World()
    world.send(5, b"left by id")
    world.send("five", b"left by name")
    left = world.invoke(6, 1)
    world.routes.to(6).pause()
    world.send(6, b"held by id")
    held = world.invoke(6, 2)
    world.backlog.salvage()
    lost = world.backlog.restore((), same_broker=same_broker)
    if same_broker:
        assert lost == []
        assert world.bodies() == [b"left by id", b"left by name", b"invoke 1"]
        assert not left.done()
        assert not held.done()
        return
    assert lost == [(5, "c"), (6, "c")]
    assert world.bodies() == [b"left by name"]
    for reply in (left, held):
        with pytest.raises(NoSuchRenderer):
            await reply
    # Only what had left has cost a credit.
    assert world.outbox.calls == 0


@pytest.mark.contract("3.7")
async def test_what_waits_for_word_of_a_stranger_goes_its_way_or_leads_nowhere() -> None:
    world = World()
    world.routes.restart()
    world.send(7, b"to nobody")
    failed = world.invoke(7, 1)
    world.routes.to(7).reply(build(Kind.RESULT, 7, 3, b"an answer"), 10)
    moved = world.invoke(8, 2)
    before = moved.route
    assert world.backlog.leave_lobby() == []
    world.routes.answered(7, None, exists=False)
    world.routes.answered(8, "eight", exists=True)
    assert world.backlog.leave_lobby() == [(7, "c")]
    with pytest.raises(NoSuchRenderer):
        await failed
    assert moved.route is not before
    assert moved.route is world.routes.to("eight")
    assert world.bodies() == []
    packet = moved.route.next_packet()
    assert packet is not None
    assert body(bytes(packet)) == b"invoke 2"
