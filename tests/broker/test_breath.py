"""Who sends what is large is read for a turn, and then others have theirs."""

from __future__ import annotations

from typing import Any

import pytest
from mainbus_broker.breath import Breath
from mainbus_broker.quick import Load


class Loop:
    """A turn of a loop ends when `end_turn` is called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def call_soon(self, call: Any) -> None:
        self.calls.append(call)

    def end_turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Hub:
    def __init__(self) -> None:
        self.load = Load(0)
        self.load.calm = 1000
        self.loop = Loop()


class Peer:
    """A renderer, of which each packet is counted among those of all who are content."""

    def __init__(self) -> None:
        self.closing = False
        self.is_read = True
        self.transport = self
        self.said: list[str] = []

    def pause_reading(self) -> None:
        self.said.append("pause")

    def resume_reading(self) -> None:
        self.said.append("resume")


@pytest.fixture
def ends() -> tuple[Hub, Peer, Breath]:
    hub: Any = Hub()
    peer: Any = Peer()
    return hub, peer, Breath(hub, peer)


def send(hub: Hub, breath: Breath, others: int = 0) -> None:
    """Let the renderer send a packet that fills its room, while others say so many."""
    hub.load.calm += 1 + others
    breath.take()


def test_alone_a_renderer_has_two_packets_a_turn(ends: tuple[Hub, Peer, Breath]) -> None:
    hub, peer, breath = ends
    for _ in range(3):
        send(hub, breath)
        assert peer.said == []
        send(hub, breath)
        assert peer.said == ["pause"]
        hub.loop.end_turn()
        assert peer.said == ["pause", "resume"]
        peer.said.clear()


@pytest.mark.contract("9.4")
def test_beside_others_it_has_one(ends: tuple[Hub, Peer, Breath]) -> None:
    hub, peer, breath = ends
    for _ in range(3):
        send(hub, breath, others=1)
        assert peer.said == ["pause"]
        hub.loop.end_turn()
        peer.said.clear()


@pytest.mark.contract("9.4")
def test_beside_those_who_wait_for_their_turn_it_has_one(ends: tuple[Hub, Peer, Breath]) -> None:
    hub, peer, breath = ends
    hub.load.hungry = 1
    for _ in range(3):
        send(hub, breath)
        assert peer.said == ["pause"]
        hub.loop.end_turn()
        peer.said.clear()


@pytest.mark.parametrize("why", [{"is_read": False}, {"closing": True}])
def test_whoever_is_not_read_for_another_reason_is_left_alone(
    why: dict[str, bool], ends: tuple[Hub, Peer, Breath]
) -> None:
    hub, peer, breath = ends
    send(hub, breath, others=1)
    vars(peer).update(why)
    hub.loop.end_turn()
    send(hub, breath, others=1)
    assert (peer.said, hub.loop.calls) == (["pause"], [])
