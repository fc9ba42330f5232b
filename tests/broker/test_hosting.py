"""Guests and hosts at the broker: hand-built packets that no client of ours would send, and what is kept of whom."""

import pytest
from mainbus_broker import Config, Limits
from mainbus_broker.hosting import Link

from tests.support.bus import Bus, Calls, until
from tests.support.raw import (
    BROADCAST,
    ERROR,
    FRAME,
    FRAME_CLOSED,
    GOODBYE,
    GUEST,
    GUEST_CLOSED,
    HOST,
    INVOKE,
    RESULT,
    SEND,
    TO_HOST,
    UNDELIVERABLE,
    Packet,
    Raw,
    args,
    fragments,
    raw,
)

SECRET = b"0123456789abcdef"


async def guest_of(host: Raw, number: int = 1, name: bytes = b"") -> str:
    """Ask for a guest; returns its token."""
    host.write(Packet(GUEST, request=number, value=number, name=name))
    token: str = (await host.next(RESULT)).said
    return token


@pytest.mark.contract("7.8")
async def test_both_ends_are_told_of_each_other(address: str) -> None:
    async with Bus(address) as bus, raw(address, "host") as host:
        token = await guest_of(host, name=b"viewer")
        async with raw(address, token=token) as guest:
            assert (guest.welcome["host"], guest.welcome["name"]) == (host.id, "viewer")
            told = await host.next(GUEST)
            assert (told.peer, told.value, told.name, told.said) == (guest.id, 1, b"viewer", guest.welcome["guest"])
            assert token not in str(bus.hub.hosting._links)
            guest.write(Packet(SEND, TO_HOST, peer=host.id, channel=b"x", body=args(1)))
            came = await host.next(SEND)
            assert (came.flags, came.peer, came.body) == (TO_HOST, guest.id, args(1))
            host.write(*fragments(Packet(SEND, TO_HOST, peer=guest.id, channel=b"y", body=args(b"x" * 300_000))))
            assert (await guest.message(SEND)).flags == TO_HOST
        gone = await host.next(GUEST_CLOSED)
        assert (gone.peer, gone.value, gone.request) == (guest.id, 1, 0)


@pytest.mark.contract("7.8", "3.2")
@pytest.mark.parametrize("size", [1, 300_000])
async def test_nobody_but_guest_and_host_uses_the_flag(address: str, size: int) -> None:
    async with Bus(address) as bus, raw(address, "host") as host, raw(address) as stranger:
        token = await guest_of(host)
        async with raw(address, token=token) as guest:
            body = args(b"x" * size)
            for packet in (
                Packet(SEND, TO_HOST, peer=guest.id, channel=b"x", body=body),
                Packet(SEND, TO_HOST, name=b"host", channel=b"x", body=body),
                Packet(SEND, TO_HOST, peer=99, channel=b"x", body=body),
            ):
                stranger.write(*fragments(packet))
                refused = await stranger.next(UNDELIVERABLE)
                assert refused.body == b"neither guest nor host"
            assert await stranger.is_served()
            stranger.write(Packet(SEND, peer=guest.id, channel=b"x", body=args(2)))
            assert (await guest.next(SEND)).body == args(2)
            # To the main process the flag says nothing.
            got = Calls()
            bus.ipc_main.on("x", got)
            stranger.write(Packet(SEND, TO_HOST, channel=b"x", body=args(3)))
            await got.wait()


@pytest.mark.contract("8.7", "3.2")
@pytest.mark.parametrize("kind", [BROADCAST, INVOKE, RESULT])
async def test_no_other_kind_may_have_the_flag(address: str, kind: int) -> None:
    async with Bus(address), raw(address) as host:
        channel = b"" if kind == RESULT else b"x"
        host.write(Packet(kind, TO_HOST, peer=1, request=1, channel=channel, body=args(1)))
        assert b"between a guest and its host" in (await host.next(GOODBYE)).body


@pytest.mark.contract("8.7")
@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        ([Packet(GUEST, value=0)], b"guest 0 was asked for before"),
        ([Packet(GUEST, value=1), Packet(GUEST, value=1)], b"guest 1 was asked for before"),
        ([Packet(GUEST, value=1, body=b"\xff")], b"GuestClaim does not decode"),
        ([Packet(GUEST, value=1, body=bytes.fromhex("a1646c696e6b4101"))], b"has 16 bytes, not 1"),
        ([Packet(FRAME, frame=0)], b"frame 0 was opened before"),
        ([Packet(FRAME, frame=2), Packet(FRAME, frame=1)], b"frame 1 was opened before"),
        ([Packet(HOST, peer=1)], b"unexpected packet of kind HOST"),
    ],
)
async def test_faults_are_named(address: str, packets: list[Packet], reason: bytes) -> None:
    async with Bus(address), raw(address) as client:
        client.write(*packets)
        assert reason in (await client.next(GOODBYE)).body


@pytest.mark.contract("7.7")
async def test_frames_that_nobody_has_opened(address: str) -> None:
    async with Bus(address) as bus, raw(address) as client:
        got = Calls()
        bus.ipc_main.on("x", got)
        client.write(Packet(FRAME, frame=1, request=1, value=7, name=b"in none"))
        assert (await client.next(ERROR)).value == 10
        client.write(Packet(FRAME_CLOSED, frame=9), Packet(SEND, frame=9, channel=b"x", body=args()))
        event = (await got.wait())[0]
        assert (event.frame_id, event.sender_frame) == (9, None)
        assert await client.is_served()


@pytest.mark.contract("8.6", "7.8")
async def test_guests_are_bounded_and_nothing_is_left_of_them(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(guests=2))) as bus, raw(address) as host:
        await guest_of(host, 1)
        await guest_of(host, 2)
        host.write(Packet(GUEST, request=3, value=3))
        assert (await host.next(ERROR)).value == 13
        assert len(bus.hub.tokens._open) == 2
        host.write(Packet(GUEST_CLOSED, value=2), Packet(GUEST_CLOSED, value=99))
        await guest_of(host, 4)
        await host.close()
        await until(lambda: not bus.hub.tokens._open)
        assert not bus.hub.hosting


@pytest.mark.contract("9.6", "7.8")
async def test_either_end_comes_back_and_waits_for_the_other(address: str) -> None:
    """What both would say to another broker, which knows neither."""
    async with Bus(address) as bus:
        claim = bytes.fromhex("a1646c696e6b50") + SECRET
        async with raw(address, "guest", guest=SECRET) as guest:
            assert (guest.welcome["host"], guest.welcome["guest"]) == (None, SECRET)
            async with raw(address, "host") as host:
                host.write(Packet(GUEST, value=5, body=claim))
                told = await host.next(GUEST)
                assert (told.peer, told.value, told.name) == (guest.id, 5, b"guest")
                assert (await guest.next(HOST)).peer == host.id
                # One who says the same is too late: the guest has its host, and the host its guest.
                async with raw(address, guest=SECRET) as thief:
                    assert (thief.welcome["host"], thief.welcome["guest"]) == (None, None)
                    thief.write(Packet(GUEST, value=1, body=claim))
                    assert await thief.is_served()
                    assert bus.hub.renderers.ids[guest.id].hosted is not None
                    thief.write(Packet(SEND, TO_HOST, peer=guest.id, channel=b"x", body=args()))
                    assert (await thief.next(UNDELIVERABLE)).body == b"neither guest nor host"
            await until(lambda: host.id not in bus.hub.renderers.ids)
            assert await guest.is_served()
            async with raw(address, "host") as host:
                host.write(Packet(GUEST, value=1, body=claim))
                await host.next(GUEST)
        gone = len(bus.hub.hosting)
        await until(lambda: not bus.hub.hosting)
        assert gone <= 1


@pytest.mark.contract("9.6", "7.8")
async def test_a_host_that_is_first_waits_for_its_guests(address: str) -> None:
    async with Bus(address) as bus, raw(address, "host") as host:
        claim = bytes.fromhex("a1646c696e6b50") + SECRET
        host.write(Packet(GUEST, value=5, body=claim))
        assert await host.is_served()
        async with raw(address, guest=SECRET) as guest:
            assert guest.welcome["host"] == host.id
            assert (await host.next(GUEST)).value == 5
            host.write(Packet(GUEST_CLOSED, value=5))
            assert (await guest.next(HOST)).peer == 0
        assert not bus.hub.hosting


@pytest.mark.contract("7.8")
async def test_lost_guests_are_kept_up_to_a_bound(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainbus_broker.hosting._LOST_KEPT", 2)
    async with Bus(address) as bus, raw(address) as host:
        for number in range(1, 5):
            async with raw(address, token=await guest_of(host, number)):
                pass
            await host.next(GUEST_CLOSED)
        assert len(bus.hub.hosting) == 2
        assert list(bus.hub.renderers.ids[host.id].guests or ()) == [3, 4]


@pytest.mark.contract("7.8")
async def test_a_renderer_that_hosts_itself_harms_nobody(address: str) -> None:
    async with Bus(address) as bus:
        for farewell in ((), (Packet(GOODBYE),)):
            async with raw(address, guest=SECRET) as client:
                client.write(Packet(GUEST, value=1, body=bytes.fromhex("a1646c696e6b50") + SECRET))
                await client.next(GUEST)
                client.write(Packet(SEND, TO_HOST, peer=client.id, channel=b"x", body=args()))
                await client.next(SEND)
                client.write(*farewell)
            await until(lambda: not bus.hub.renderers.ids)
            assert not bus.hub.hosting


def test_a_link_is_lost_when_its_guest_has_been_there() -> None:
    link = Link(None, 1, None)
    assert not link.is_lost
    link.secret = SECRET
    assert link.is_lost
