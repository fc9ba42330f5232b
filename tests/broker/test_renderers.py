"""The registry of renderers: by id, name and secret."""

import asyncio

import pytest
from mainbus_broker.renderers import Renderers

from tests.support.bus import Bus, until, within


@pytest.mark.contract("2.12")
def test_an_id_is_never_used_again() -> None:
    renderers = Renderers()
    assert [renderers.next_id() for _ in range(3)] == [1, 2, 3]


async def test_whoever_removes_a_renderer_removes_all_that_leads_to_it(address: str) -> None:
    async with Bus(address) as bus:
        named, nameless = bus.peer(await bus.renderer("é")), bus.peer(await bus.renderer())
        renderers = Renderers()
        renderers.add(named)
        renderers.add(nameless)
        renderers.watchers.add(named)
        assert len(renderers) == 2
        assert list(renderers) == [named, nameless]
        assert renderers.ids == {1: named, 2: nameless}
        assert renderers.names == {"é": named}
        assert renderers.names_raw == {"é".encode(): named}
        assert [renderers.by_secret(peer.secret) for peer in (named, nameless)] == [named, nameless]
        assert renderers.by_secret(None) is None
        assert renderers.by_secret(b"guessed") is None
        renderers.remove(named)
        assert renderers.by_secret(named.secret) is None
        assert not renderers.names
        assert not renderers.names_raw
        assert not renderers.watchers
        renderers.remove(nameless)
        assert len(renderers) == 0


async def test_renderers_may_go_while_they_are_gone_through(address: str) -> None:
    async with Bus(address) as bus:
        peers = [bus.peer(await bus.renderer()) for _ in range(3)]
        renderers = Renderers()
        for peer in peers:
            renderers.add(peer)
        seen = []
        for peer in renderers:
            renderers.remove(peer)
            seen.append(peer)
        assert seen == peers


async def test_a_role_waits_for_a_renderer_that_was_lost_but_not_for_one_that_left(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainbus_broker.renderers.LOST_KEPT", 2)
    async with Bus(address) as bus:
        renderers = Renderers()
        peers = [bus.peer(await bus.renderer()) for _ in range(4)]
        for peer in peers:
            peer.role = f"role {peer.id}"
            peer.said_goodbye = peer is peers[3]
            renderers.add(peer)
            renderers.remove(peer)
        assert [renderers.lost(peer.secret)[0] for peer in peers] == [None, "role 2", "role 3", None]
        # It is good for one reconnect.
        assert renderers.lost(peers[1].secret) == (None, None)


@pytest.mark.contract("9.6")
async def test_a_role_comes_back_after_the_broker_has_noticed_the_loss(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer(token=bus.hub.tokens.issue("editor", "tester"))
        former = bus.contents(renderer)
        back = asyncio.Event()
        renderer.events.on("reconnected", back.set)
        bus.peer(renderer).transport.abort()
        await until(former.is_destroyed)
        await within(back.wait())
        assert (bus.contents(renderer).role, bus.contents(renderer).name) == ("tester", "editor")
