"""The lobby: who waits, in which order they go, and what a connection that is gone leaves of them."""

import asyncio

from mainbus.lobby import Lobby
from mainbus.outbox import Outbox
from mainbus.wire.packets import BY_NAME, Kind, build


def _lobby() -> tuple[Outbox, Lobby]:
    outbox = Outbox(asyncio.get_running_loop(), 100)
    return outbox, Lobby(outbox)


def _gone(lobby: Lobby) -> list[bytes]:
    return [bytes(packet) for _, entry in lobby.leave() for packet in entry.packets]


async def test_nothing_passes_what_waits_for_an_answer() -> None:
    outbox, lobby = _lobby()
    known, stranger = lobby.enter("name", "name"), lobby.enter(5, None)
    known.put(b"1", 1)
    stranger.put(b"2", 1)
    known.put(b"3", 1)
    known.reply(b"4", 1)
    stranger.put(iter((b"5a", b"5b")), 4)
    assert (known.size, stranger.size, outbox.held) == (3, 5, 8)
    assert _gone(lobby) == [b"1"]
    assert not _gone(lobby)
    assert not lobby.is_empty
    stranger.key = "name"
    assert _gone(lobby) == [b"2", b"3", b"4", b"5a", b"5b"]
    assert lobby.is_empty
    assert (known.size, stranger.size, outbox.held) == (0, 0, 0)
    assert not outbox.take()


async def test_what_is_for_nobody_goes_too() -> None:
    _, lobby = _lobby()
    nobody = lobby.enter(5, None)
    nobody.put(b"1", 1)
    nobody.is_nobody = True
    assert [(waiting, entry.size) for waiting, entry in lobby.leave()] == [(nobody, 1)]


async def test_what_is_withdrawn_leaves_no_gap() -> None:
    outbox, lobby = _lobby()
    waiting = lobby.enter(5, 5)
    for request in (1, 2, 3):
        waiting.put(b"%d" % request, 1, request)
    assert waiting.withdraw(2)
    assert outbox.held == 2
    assert _gone(lobby) == [b"1", b"3"]


async def test_nothing_leaves_from_here_by_itself() -> None:
    _, lobby = _lobby()
    waiting = lobby.enter(5, None)
    waiting.put(b"1", 1)
    waiting.reply(b"2", 1)
    assert waiting.next_packet() is None


async def test_a_reset_drops_the_replies_and_keeps_the_rest() -> None:
    outbox, lobby = _lobby()
    waiting, other = lobby.enter(5, 5), lobby.enter("name", "name")
    waiting.put(b"1", 1, 1)
    waiting.reply(b"stale", 5)
    other.put(b"2", 1, 2)
    assert lobby.reset() == {1, 2}
    assert outbox.held == 2
    waiting.put(b"3", 1)
    assert _gone(lobby) == [b"1", b"2", b"3"]


async def test_ids_are_forgotten_and_names_stay() -> None:
    outbox, lobby = _lobby()
    stranger, nobody, named = lobby.enter(5, None), lobby.enter(6, None), lobby.enter("name", "name")
    nobody.is_nobody = True
    lobby.asked[5] = stranger
    by_name = build(Kind.SEND, name=b"name", flags=BY_NAME, channel=b"c")
    by_id = [build(Kind.INVOKE, 5, 1, channel=b"c"), build(Kind.INVOKE, 6, 2, channel=b"c")]
    stranger.put(by_id[0], 30, 1)
    named.put(by_name, len(by_name))
    nobody.put(by_id[1], 30, 2)
    assert [*lobby.forget_ids()] == by_id
    assert not lobby.asked
    assert _gone(lobby) == [by_name]
    assert outbox.held == 0
