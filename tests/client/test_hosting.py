"""What a session knows of its guests and its host."""

from typing import Any

import pytest
from mainbus import LocalProtocolError, ObjectDestroyedError
from mainbus.channels import Channels
from mainbus.emitter import Emitter
from mainbus.hosting import EVENTS, GuestState, Hosting
from mainbus.wire import clone
from mainbus.wire.messages import GuestClaim, Welcome, unpack
from mainbus.wire.packets import HEADER, HEADER_SIZE, Kind, Message

SECRET = bytes(16)


def welcome(**fields: Any) -> Welcome:
    return Welcome(id=1, session=b"s", instance=b"i", lane=b"l", **fields)


def guest(hosting: Hosting, wakes: list[int]) -> GuestState:
    """A guest that has its token."""
    number = hosting.next_number()
    state = GuestState(number, None, object(), Channels(), Emitter(EVENTS), lambda: wakes.append(number))
    state.token = f"token {number}"
    hosting._guests[number] = state
    return state


def joined(number: int, peer: int, name: bytes = b"") -> Message:
    return (Kind.GUEST, 0, peer, 0, 0, number, name, "", clone.encode(SECRET))


def left(number: int, peer: int, *, for_good: bool) -> Message:
    return (Kind.GUEST_CLOSED, 0, peer, int(for_good), 0, number, b"", "", b"")


@pytest.mark.contract("7.8")
def test_a_guest_comes_and_goes_and_comes_back() -> None:
    hosting, wakes = Hosting(), list[int]()
    state = guest(hosting, wakes)
    with pytest.raises(LocalProtocolError, match="not connected at this moment"):
        state.address()
    assert hosting.joined(joined(1, 7, "größe".encode())) is state
    assert (state.address(), state.name, hosting.guest(7)) == (7, "größe", state)
    assert hosting.left(left(1, 7, for_good=False)) is state
    # What it has sent may still wait for its turn.
    assert hosting.guest(7) is state
    hosting.forget(7)
    assert hosting.guest(7) is None
    with pytest.raises(LocalProtocolError):
        state.address()
    hosting.joined(joined(1, 9))
    assert (state.address(), state.name) == (9, None)
    hosting.left(left(1, 9, for_good=True))
    with pytest.raises(ObjectDestroyedError):
        state.address()
    assert wakes == [1, 1, 1]
    assert hosting.joined(joined(1, 10)) is None
    assert hosting.left(left(1, 10, for_good=True)) is None


@pytest.mark.contract("7.8", "9.6")
def test_a_reconnect_says_which_guests_there_are() -> None:
    hosting, wakes = Hosting(), list[int]()
    guest(hosting, wakes)
    known = guest(hosting, wakes)
    hosting.joined(joined(2, 7, b"viewer"))
    hosting.connection_lost()
    assert known.id is None
    assert hosting.guest(7) is None
    packets = list(hosting.announcements())
    assert [HEADER.unpack_from(packet)[8] for packet in packets] == [1, 2]
    first, second = (unpack(GuestClaim, packet[-len(packet) + HEADER_SIZE + packet[6] :]) for packet in packets)
    assert (second.link, second.token) == (SECRET, None)
    assert first.link is None
    assert first.token is not None
    assert len(first.token) == 32
    assert b"token" not in first.token


@pytest.mark.contract("7.8")
def test_guests_that_were_lost_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainbus.hosting._LOST_KEPT", 2)
    hosting = Hosting()
    states = [guest(hosting, []) for _ in range(4)]
    for state in states:
        hosting.joined(joined(state.number, 10 + state.number))
    for state in states[:3]:
        hosting.left(left(state.number, 10 + state.number, for_good=False))
    assert [state.is_over for state in states] == [True, False, False, False]


@pytest.mark.contract("7.8")
def test_a_guest_knows_its_host() -> None:
    hosting = Hosting()
    with pytest.raises(LocalProtocolError, match="this renderer has no host"):
        hosting.host()
    hosting.welcomed(welcome())
    assert not hosting.was_host(0)
    hosting.welcomed(welcome(host=3, guest=SECRET))
    assert (hosting.host(), hosting.link, hosting.was_host(3)) == (3, SECRET, True)
    hosting.host_is(8)
    assert hosting.host() == 8
    # What the former one has sent may still wait.
    assert hosting.was_host(3)
    hosting.connection_lost()
    with pytest.raises(LocalProtocolError, match="not connected at this moment"):
        hosting.host()
    hosting.welcomed(welcome(guest=SECRET))
    with pytest.raises(LocalProtocolError, match="not connected at this moment"):
        hosting.host()
    assert not hosting.was_host(8)
    hosting.host_is(0)
    assert hosting.link is None
    with pytest.raises(ObjectDestroyedError, match="host of this renderer has left"):
        hosting.host()


def test_the_end_wakes_those_who_wait() -> None:
    hosting, wakes = Hosting(), list[int]()
    state = guest(hosting, wakes)
    hosting.end()
    assert state.is_over
    assert wakes == [1]
