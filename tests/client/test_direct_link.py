"""The socket of one direct port, both ends in one process: order across the switch and back, credit, and every end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from mainbus.wire import clone
from mainbus.wire.credit import DIRECT_OVERHEAD, WINDOW
from mainbus.wire.packets import Flag, Kind, build, fragments

from tests.support.bus import until, within
from tests.support.sides import LIMIT, bare, direct, pair

pytestmark = pytest.mark.contract("7.6")


async def test_messages_go_both_ways_in_order() -> None:
    async with direct() as (a, b):
        a.take()
        b.take()
        for number in range(300):
            a.port.post_message(number)
            b.port.post_message(-number)
        await until(lambda: len(a.got) == len(b.got) == 300)
        assert b.got == [*range(300)]
        assert a.got == [-number for number in range(300)]
        assert a.said == b.said == []


async def test_who_awaits_a_message_answers_in_the_same_turn_of_the_loop() -> None:
    async with bare() as (side, other):
        side.port.post_message("the first write of a transport may take longer")
        await within(side.link.flushed())
        other.setblocking(False)
        other.recv(1000)
        loop = asyncio.get_running_loop()
        heard, read = loop.create_future(), loop.create_future()

        def hear(event: object) -> None:
            # In front of whoever awaits it, and so in front of what would leave a turn later.
            loop.call_soon(loop.call_soon, lambda: read.set_result(other.recv(1000)))
            heard.set_result(event)

        side.port.on("message", hear)
        other.send(build(Kind.PORT_MESSAGE, body=clone.encode("question")))
        await within(heard)
        side.port.post_message("answer")
        assert (await within(read)).endswith(clone.encode("answer"))


async def test_a_large_message_is_one() -> None:
    async with direct() as (a, b):
        b.take()
        a.port.post_message(bytes(LIMIT - 10))
        a.port.post_message("behind it")
        await until(lambda: len(b.got) == 2)
        assert len(b.got[0]) == LIMIT - 10


async def test_what_is_posted_before_the_other_side_has_switched_waits_for_that() -> None:
    async with pair() as (a, b):
        b.take()
        a.port.post_message(1)
        a.port.post_message(2)
        a.open()
        # Its own word is what counts at either end.
        await within(a.link.flushed())
        assert b.got == a.said == []
        b.relayed(0)
        b.open()
        await until(lambda: len(b.got) == 3)
        assert b.got == [0, 1, 2]


async def test_back_at_the_relay_nothing_overtakes_what_is_still_in_the_socket() -> None:
    async with direct() as (a, b):
        b.take()
        for number in range(10):
            a.port.post_message(number)
        a.remote.leave_link()
        a.port.post_message(10)
        # That is faster than the socket.
        (posted,) = a.said
        b.relayed(posted)
        await until(lambda: len(b.got) == 11)
        assert b.got == [*range(11)]
        b.port.post_message("by the relay, too")
        assert b.said == ["by the relay, too"]
        await until(lambda: a.is_gone and b.is_gone)


async def test_what_the_other_side_writes_before_it_knows_still_arrives() -> None:
    async with direct() as (a, b):
        a.take()
        a.remote.leave_link()
        b.port.post_message(1)
        a.relayed(2)
        await until(lambda: len(a.got) == 2)
        assert a.got == [1, 2]


async def test_both_may_go_back_at_once() -> None:
    async with direct() as (a, b):
        a.take()
        b.take()
        a.port.post_message(1)
        b.port.post_message(-1)
        a.remote.leave_link()
        b.remote.leave_link()
        await until(lambda: a.is_gone and b.is_gone)
        assert (a.got, b.got) == ([-1], [1])


async def test_a_side_that_goes_back_unanswered_posts_by_the_relay_at_once() -> None:
    async with pair() as (a, b):
        b.take()
        a.port.post_message(1)
        a.remote.leave_link()
        assert a.said == [1]
        b.open()
        b.relayed(1)
        await until(lambda: b.got)
        assert b.got == [1]


async def test_a_close_comes_behind_what_was_posted() -> None:
    async with direct() as (a, b):
        a.take()
        b.take()
        b.port.post_message("never taken: it is closed by then")
        for number in range(200):
            a.port.post_message(number)
        a.port.close()
        await until(lambda: b.closes)
        assert b.got == [*range(200)]
        assert a.closes == 1
        await until(lambda: a.is_gone and b.is_gone)


async def test_what_both_hold_when_both_close_does_not_wait_for_each_other() -> None:
    async with direct() as (a, b):
        for side in (a, b):
            for number in range(200):
                side.port.post_message(number)
        a.port.close()
        b.port.close()
        await until(lambda: a.is_gone and b.is_gone)


async def test_the_sender_waits_for_who_does_not_take() -> None:
    async with direct() as (a, b):
        for _ in range(100):
            a.port.post_message(bytes(4096))
        assert b.port.end is not None
        end = b.port.end
        # All that may be under way, and no more: one is sent while less than the window is used.
        most = -(-WINDOW // (DIRECT_OVERHEAD + len(clone.encode(bytes(4096)))))
        await until(lambda: len(end.queue) >= most)
        await within(a.link.flushed())
        assert len(end.queue) == most
        waiting = asyncio.ensure_future(a.port.drain())
        b.take()
        await until(lambda: len(b.got) == 100)
        await within(waiting)


async def test_a_killed_partner_s_last_messages_are_read_although_a_write_fails() -> None:
    async with bare() as (side, other):
        body = clone.encode("last")
        for _ in range(50):
            other.send(build(Kind.PORT_MESSAGE, body=body))
        other.close()
        # Before the loop has had a chance to read.
        side.port.post_message("nobody is there")
        await until(lambda: side.is_gone)
        await until(lambda: len(side.got) == 50)
        # It is the broker who knows what has become of the port.
        assert not side.closes
        side.port.post_message("so this goes there")
        assert side.said == ["so this goes there"]
        side.relayed("more")
        await until(lambda: side.got[-1] == "more")


async def test_in_the_midst_of_a_message_the_end_is_only_that() -> None:
    async with bare() as (side, other):
        other.send(build(Kind.PORT_MESSAGE, body=clone.encode("whole")) + b"\0\0\0")
        other.close()
        await until(lambda: side.is_gone)
        await until(lambda: side.got)
        assert side.got == ["whole"]
        assert not side.closes


@pytest.mark.contract("8.6")
@pytest.mark.parametrize(
    "packets",
    [
        lambda: [build(Kind.PORT_MESSAGE, body=bytes(100_000))] * 4,
        lambda: [build(Kind.PORT_MESSAGE, value=1, body=bytes(8) + clone.encode(1))],
        lambda: [build(Kind.SEND, channel=b"c", body=clone.encode([]))],
        lambda: [build(Kind.PORT_MESSAGE, flags=int(Flag.CONTINUES), body=b"")],
        lambda: [bytes(part) for part in fragments(Kind.PORT_MESSAGE, 0, 0, bytes(LIMIT + 1))],
        lambda: [b"\xff" * 100],
    ],
    ids=["without credit", "with a port", "of another kind", "without a first fragment", "too large", "no packet"],
)
async def test_who_breaks_the_rules_loses_the_port_and_nothing_else(packets: Callable[[], list[bytes]]) -> None:
    async with bare() as (side, other):
        end = side.port.end
        assert end is not None
        end.pulled = True  # nothing is taken
        other.setblocking(False)
        loop = asyncio.get_running_loop()
        for packet in packets():
            try:
                await within(loop.sock_sendall(other, packet))
            except ConnectionError:
                break
        await until(lambda: side.is_gone)
        assert end.is_shut


@pytest.mark.contract("8.6")
async def test_credit_for_what_was_never_sent_closes_the_port() -> None:
    async with bare() as (side, other):
        side.port.post_message("one")
        other.send(build(Kind.PORT_CREDIT, value=WINDOW))
        await until(lambda: side.is_gone)
        assert side.closes


@pytest.mark.contract("8.6")
async def test_who_gives_credit_for_what_it_has_not_read_does_not_make_the_sender_hold_it() -> None:
    async with bare() as (side, other):
        body = bytes(50_000)
        credit = build(Kind.PORT_CREDIT, value=DIRECT_OVERHEAD + len(clone.encode(body)))
        while not side.closes:
            side.port.post_message(body)
            try:
                other.send(credit)
            except BrokenPipeError:
                break
            await asyncio.sleep(0)
            assert side.link._outbox.size < 4 * WINDOW
        await until(lambda: side.closes)


@pytest.mark.contract("8.6")
async def test_who_writes_and_reads_no_credit_does_not_make_the_receiver_hold_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mainbus.direct_link.MOST_WAITING", 1000)
    async with bare() as (side, other):
        # Half of what may be under way: each time it gets credit, which it does not read.
        messages = build(Kind.PORT_MESSAGE, body=clone.encode(bytes(WINDOW // 16))) * 8
        sent = 0
        while not side.closes and sent < 100_000:
            try:
                other.send(messages)
            except BrokenPipeError:
                break
            sent += 8
            await until(lambda: side.closes or len(side.got) == sent)  # noqa: B023 - it is awaited at once
        await until(lambda: side.is_gone)


@pytest.mark.contract("8.6")
async def test_who_has_gone_back_gets_no_more_credit_for_what_it_says_here() -> None:
    async with bare() as (side, other):
        other.setblocking(False)
        side.relayed("by the relay")
        loop = asyncio.get_running_loop()
        body = bytes(60_000)
        packet = build(Kind.PORT_MESSAGE, body=clone.encode(body))
        while not side.closes:
            try:
                await within(loop.sock_sendall(other, packet))
            except ConnectionError:
                break
        await until(lambda: side.closes)
        # All that may be under way, and nothing that follows it: it would have come too early.
        assert side.got == [body] * 5


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("is_closed", [False, True], ids=["gone back", "closed"])
async def test_who_is_said_to_have_ended_the_socket_and_does_not_is_not_waited_for(
    is_closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainbus.direct_link.PATIENCE", 0.001)
    async with bare() as (side, other):
        other.send(build(Kind.PORT_MESSAGE, body=clone.encode("before")))
        if is_closed:
            side.records.closed(side.remote.number)
        else:
            side.relayed("by the relay")
        await until(lambda: side.is_gone)
        await until(lambda: side.closes)
        assert side.got == ["before"]
        with pytest.raises(BrokenPipeError):
            other.send(b"more")


@pytest.mark.contract("7.3")
async def test_who_is_closed_by_the_broker_says_nothing_more() -> None:
    async with bare() as (side, other):
        other.send(build(Kind.PORT_MESSAGE, body=clone.encode("before")))
        side.records.closed(side.remote.number, is_cut=True)
        with pytest.raises(BrokenPipeError):
            other.send(build(Kind.PORT_MESSAGE, body=clone.encode("after")))
        await until(lambda: side.closes)
        assert side.got == ["before"]


@pytest.mark.contract("8.6")
async def test_a_closed_port_s_socket_does_not_wait_for_ever_for_who_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mainbus.direct_link.PATIENCE", 0.001)
    async with bare() as (side, _):
        side.port.post_message(bytes(LIMIT - 10))
        side.port.close()
        await until(lambda: side.is_gone)


async def test_a_body_that_does_not_decode_closes_the_port() -> None:
    async with bare() as (side, other):
        other.send(build(Kind.PORT_MESSAGE, body=b"\xff"))
        await until(lambda: side.closes)
        assert (await within(asyncio.get_running_loop().sock_recv(_free(other), 1000)))[4] == Kind.PORT_CLOSE


def _free(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock
