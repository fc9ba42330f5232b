"""How much everybody together may hold: connections, and those that have not said who they are."""

from contextlib import AsyncExitStack

import mainbus
import pytest
from mainbus import TooManyRequests
from mainbus_broker import Config, Limits, Match, Role

from tests.support import raw as wire
from tests.support.bus import USER, Bus, until, within
from tests.support.bystanders import bystanders
from tests.support.raw import Packet, raw

pytestmark = pytest.mark.contract("8.6")

OTHERS = {"other": Role(match=Match(uid=USER), invoke=["*"], handle=["*"], names=["*"], send_to=["*"])}


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process is another user's, as for the broker; only root could start one here."""
    for module in ("entrance", "hub", "quota"):
        monkeypatch.setattr(f"mainbus_broker.{module}.same_user", lambda process: False)


async def test_connections_without_a_hello_are_bounded(address: str) -> None:
    async with (
        Bus(address, config=Config(limits=Limits(entering=2))) as bus,
        bystanders(bus),
        AsyncExitStack() as stack,
    ):
        silent = [await stack.enter_async_context(raw(address, hello=False)) for _ in range(2)]
        await until(lambda: len(bus.hub.entering) == 2)
        async with raw(address, hello=False) as third:
            [refused] = await third.rest()
            assert (refused.kind, refused.value) == (wire.REFUSED, TooManyRequests.wire_code)
            assert refused.said == "The number of connections without a hello exceeds the limit of 2"
        assert bus.broker.stats()["refused"] == 1
        # Those that were there are not harmed, and make room when they have said who they are.
        assert (await silent[0].hello()).kind == wire.WELCOME
        assert (await within(bus.renderer())).is_connected
        assert (await silent[1].hello()).kind == wire.WELCOME
        assert not bus.hub.entering


@pytest.mark.usefixtures("strangers")
async def test_another_user_has_half_of_them(address: str) -> None:
    config = Config(limits=Limits(entering=5), roles=OTHERS)
    async with Bus(address, config=config) as bus, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(raw(address, hello=False))
        async with raw(address, hello=False) as third:
            [refused] = await third.rest()
            text = f"The number of connections of uid {USER} without a hello exceeds the limit of 2"
            assert (refused.value, refused.said) == (TooManyRequests.wire_code, text)
        assert len(bus.hub.entering) == 2


async def test_renderers_are_bounded_and_a_reconnect_takes_its_own_place(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(connections=3))) as bus, bystanders(bus):
        async with raw(address, "third") as third:
            with pytest.raises(TooManyRequests, match="The number of renderers exceeds the limit of 3"):
                async with mainbus.connect(address):
                    pass
            session = {"session": third.welcome["session"], "instance": third.welcome["instance"]}
            async with raw(address, hello=False) as again:
                assert (await again.hello("third", **session)).kind == wire.WELCOME
        await until(lambda: len(bus.hub.renderers) == 2)
        assert (await bus.renderer()).is_connected


@pytest.mark.usefixtures("strangers")
async def test_renderers_of_another_user_are_bounded(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(user_connections=2), roles=OTHERS)) as bus, bystanders(bus):
        text = f"The number of renderers of uid {USER} exceeds the limit of 2"
        with pytest.raises(TooManyRequests, match=text):
            async with mainbus.connect(address):
                pass


async def test_who_never_says_a_whole_hello_holds_no_more_than_a_packet(address: str) -> None:
    async with Bus(address) as bus, raw(address, hello=False) as stranger:
        stranger.write(Packet(wire.HELLO, body=bytes(200_000)))
        [refused] = await stranger.rest()
        assert refused.kind == wire.REFUSED
        assert bus.broker.stats()["refused"] == 1
