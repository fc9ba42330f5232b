"""What every read and every answer does to a peer, in Python and, where that is to be had, compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from mainbus.quick import COMPILED
from mainbus.wire.packets import Kind, build
from mainbus.wire.states import Role
from mainbus_broker import peer_core
from mainbus_broker.turns import MOST_SHARES, PACKET_BYTES, TURN_PACKETS

from tests.support.wires import Wire

WAYS: dict[str, ModuleType] = {"python": peer_core}
if COMPILED:
    from mainbus_broker import peer_core_fast
    from mainbus_broker.router_fast import QuickRouter

    WAYS["compiled"] = peer_core_fast

pytestmark = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)

needs_taker = pytest.mark.skipif(not COMPILED, reason="nothing is compiled here, so nobody takes packets at once")

HARD = 1000
READY = build(Kind.READY)


class Hub:
    def __init__(self, way: ModuleType) -> None:
        limits = SimpleNamespace(pending=8, hard=HARD)
        self.config = SimpleNamespace(limits=limits)
        self.load = way.Load(100)
        self.holdings = self.loop = self
        self.stock_taken = 0

    def look_soon(self) -> None:
        self.stock_taken += 1

    def call_soon(self, call: Any) -> None:
        raise AssertionError("nothing of a turn waits for the next one")


def peer_of(way: ModuleType) -> Any:
    """Return a peer that notes in `did` what else it is to do."""

    class Peer(way.PeerCore):  # type: ignore[name-defined, misc]
        def _receive_out_of_turn(self, data: bytes) -> None:
            self.did.append(("later", data))

        def _go_on(self, *args: int) -> None:
            self.did.append(args)

        def _count_unread(self, size: int) -> None:
            self.did.append(("unread", size))

        def no_memory(self) -> None:
            self.did.append("no memory")

    peer = Peer(Hub(way), 3, b"name", Wire(Role.BROKER))
    peer.did = []
    return peer


def taken_at_once(peer: Any, then: Callable[[], None]) -> Any:
    """Return a peer whose packets are taken as they are found; a `READY` does what the test says."""
    limits = SimpleNamespace(high=1, pending=1, running=1, message=1, depth=1, pool=1)
    replies = SimpleNamespace(_asked={}, _serving={}, _cancelled=set(), streams=SimpleNamespace(_open={}))
    renderers = SimpleNamespace(ids={}, names_raw={})
    hub: Any = SimpleNamespace(config=SimpleNamespace(limits=limits), load=peer_core_fast.Load(0), replies=replies)
    hub.renderers, hub.flow, hub.main, hub.shared_pools = renderers, None, None, None
    peer.wire.owner, peer.wire.taker = peer, QuickRouter(hub)
    peer.contents = SimpleNamespace(dispatched=then)
    return peer


def test_what_a_peer_begins_with(way: ModuleType) -> None:
    peer = peer_of(way)
    load = peer._load
    assert (peer.id, peer.name_raw, peer.outbox.max_calls, peer.is_read, peer.lane) == (3, b"name", 8, True, None)
    assert (peer.closing, peer.owes, peer.unread, peer._scheduled) == (False, False, 0, False)
    assert (load.left, load.calm, load.hungry) == (100, 0, 0)


@pytest.mark.parametrize("name", ["wire", "outbox", "_load"])
def test_nobody_takes_away_what_compiled_code_reaches_without_a_look(way: ModuleType, name: str) -> None:
    peer = peer_of(way)
    with nullcontext() if way is peer_core else pytest.raises(AttributeError):
        delattr(peer, name)


def test_all_that_comes_is_counted_until_stock_is_due(way: ModuleType) -> None:
    peer = peer_of(way)
    peer.data_received(bytes(60))
    peer.data_received(bytes(40))
    assert (peer._load.left, peer._hub.stock_taken) == (0, 0)
    peer.data_received(b"x")
    assert (peer._load.left, peer._hub.stock_taken) == (-1, 1)


def test_nobody_hears_who_was_closed(way: ModuleType) -> None:
    peer = peer_of(way)
    peer.closing = True
    peer.data_received(b"xyz")
    assert (peer.did, peer.wire.fed, peer._load.left) == ([], [], 100)


@pytest.mark.parametrize("why", ["_scheduled", "owes"])
def test_who_waits_for_its_turn_is_not_served_before(way: ModuleType, why: str) -> None:
    peer = peer_of(way)
    setattr(peer, why, True)
    peer.data_received(b"xyz")
    assert (peer.did, peer._load.left) == ([("later", b"xyz")], 97)


@pytest.mark.contract("9.4")
@pytest.mark.parametrize("hungry", range(6))
def test_a_turn_is_shared_with_those_who_have_more_to_say(way: ModuleType, hungry: int) -> None:
    peer = peer_of(way)
    peer._load.hungry = hungry
    peer.data_received(b"xyz")
    count = TURN_PACKETS // min(hungry + 1, MOST_SHARES)
    assert peer.did == [(count, count * PACKET_BYTES, 0)]
    assert peer._load.calm == 0


def test_what_a_turn_says_leaves_with_it(way: ModuleType) -> None:
    peer = peer_of(way)
    left: list[bytes] = []
    peer.outbox.attach(SimpleNamespace(set_write_buffer_limits=lambda high: None, write=left.append))
    peer.wire.then = lambda: peer.outbox.put(b"answer")
    peer.data_received(b"xyz")
    assert left == [b"answer"]
    assert peer.outbox.hold(), "and nothing is held any more"


def test_what_was_scanned_before_is_not_served_twice(way: ModuleType) -> None:
    peer = peer_of(way)

    def scan() -> None:
        peer.wire._at, peer.wire.received = 100, 9

    peer.wire.then, peer.wire.received = scan, 7
    peer.data_received(b"xyz")
    assert peer.did == [(TURN_PACKETS, TURN_PACKETS * PACKET_BYTES - 100, 7)]


@needs_taker
def test_a_turn_in_which_all_was_served_makes_nothing_else_happen(way: ModuleType) -> None:
    peer = taken_at_once(peer_of(way), lambda: None)
    peer.wire.received = 7
    peer.data_received(READY * 3)
    assert (peer.did, peer._load.calm) == ([], 3)


@needs_taker
@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("owes", True),
        ("closing", True),
        ("is_read", False),
        ("lane", "a lane"),
        ("wire.failure", ValueError()),
        ("wire.expects_large", True),
    ],
)
def test_a_turn_that_was_unusual_in_the_end_ends_as_unusual_ones_do(way: ModuleType, what: str, value: object) -> None:
    def change() -> None:
        of, _, name = what.rpartition(".")
        setattr(peer.wire if of else peer, name, value)

    peer = taken_at_once(peer_of(way), change)
    peer.data_received(READY)
    assert (peer.did, peer._load.calm) == ([(0, TURN_PACKETS * PACKET_BYTES, 0)], 0)


def test_without_memory_for_what_has_come_it_is_told_once(way: ModuleType) -> None:
    peer = peer_of(way)

    def fail() -> None:
        raise MemoryError

    peer.wire.then = fail
    peer.data_received(b"xyz")
    assert peer.did == ["no memory"]
    assert peer.outbox.hold(), "nothing is held back because of it"


def test_another_error_is_nobody_elses(way: ModuleType) -> None:
    peer = peer_of(way)

    def fail() -> None:
        raise LookupError("a mistake of ours")

    peer.wire.then = fail
    with pytest.raises(LookupError, match="a mistake of ours"):
        peer.data_received(b"xyz")
    assert peer.outbox.hold()


def test_answers_are_counted_until_they_are_too_many(way: ModuleType) -> None:
    peer = peer_of(way)
    peer.charge(HARD - 1)
    peer.charge(1)
    assert (peer.unread, peer._load.left, peer.did) == (HARD, 100 - HARD, [])
    peer.charge(7)
    assert (peer.unread, peer.did) == (HARD + 7, [("unread", 7)])
    assert peer._hub.stock_taken == 0, "stock is taken behind the next read, not amid what is served"
