"""Large messages between renderers: where the rest of each goes, and what no sender may do with its fragments."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from mainbus_broker import Config, Limits

from tests.support.bus import Bus
from tests.support.raw import (
    ABORT,
    BROADCAST,
    BY_NAME,
    CONTINUES,
    ERROR,
    GOODBYE,
    INVOKE,
    MORE,
    POST,
    RESULT,
    SEND,
    UNDELIVERABLE,
    Packet,
    Raw,
    args,
    fragments,
    raw,
)

SIZE = 100
BODY = args(bytes(range(256)), "the end")
CONFIG = Config(limits=Limits(message=1000, pending=2))
ELSEWHERE = 999
"""An id that no renderer has."""


@asynccontextmanager
async def renderers(address: str, *names: str) -> AsyncIterator[tuple[Bus, list[Raw]]]:
    """A broker with small limits, and raw renderers with these names."""
    async with Bus(address, config=CONFIG) as bus, AsyncExitStack() as stack:
        yield bus, [await stack.enter_async_context(raw(address, name)) for name in names]


def parts(kind: int, body: bytes = BODY, **fields: Any) -> list[Packet]:
    """Return a large message in fragments."""
    channel = b"" if kind in (RESULT, ERROR) else b"item"
    made = fragments(Packet(kind, channel=channel, body=body, **fields), SIZE)
    assert len(made) > 2
    return made


async def refused(sender: Raw) -> str:
    """Return why the broker closes a connection, and see it end."""
    reason = (await sender.next(GOODBYE)).body.decode()
    assert await sender.rest() == []
    return reason


# Where the rest goes.


@pytest.mark.contract("2.19")
@pytest.mark.parametrize("kind", [SEND, POST, INVOKE, BROADCAST])
@pytest.mark.parametrize("by_name", [False, True])
async def test_each_fragment_goes_on_at_once_to_where_the_first_went(address: str, kind: int, by_name: bool) -> None:
    async with renderers(address, "sender", "target") as (_, [sender, target]):
        if kind == BROADCAST:
            whom: dict[str, Any] = {}
        elif by_name:
            whom = {"name": b"target", "flags": BY_NAME}
        else:
            whom = {"peer": target.id}
        for _ in range(2):
            request = 7 if kind == INVOKE else 0
            for part in parts(kind, request=request, **whom):
                sender.write(part)
                got = await target.next(kind)
                assert got == part._replace(peer=sender.id, name=b"sender")
            if request:
                target.write(Packet(RESULT, peer=sender.id, request=request, body=args()))
                assert (await sender.next(RESULT)).request == request
        assert await sender.is_served()


async def test_a_large_answer_goes_to_its_caller_alone(address: str) -> None:
    async with renderers(address, "caller", "callee", "other") as (_, [caller, callee, other]):
        caller.write(Packet(INVOKE, peer=callee.id, request=3, channel=b"ask"))
        await callee.next(INVOKE)
        for part in parts(RESULT, peer=caller.id, request=3):
            callee.write(part)
            assert await caller.next(RESULT) == part._replace(peer=callee.id, name=b"callee")
        # It has been answered now: a second answer goes nowhere.
        callee.write(*parts(RESULT, peer=caller.id, request=3))
        assert await callee.is_served()
        assert await caller.is_served()
        assert await other.is_served()


@pytest.mark.contract("3.7")
@pytest.mark.parametrize(("kind", "told"), [(SEND, UNDELIVERABLE), (INVOKE, ERROR)])
async def test_the_rest_of_what_has_no_target_goes_nowhere_and_is_told_once(address: str, kind: int, told: int) -> None:
    async with renderers(address, "sender", "other") as (_, [sender, other]):
        first, *rest = parts(kind, peer=ELSEWHERE, request=4)
        sender.write(first)
        assert (await sender.next(told)).request == (4 if told == ERROR else 0)
        sender.write(*rest)
        sender.write(Packet(SEND, peer=other.id, channel=b"item"))
        await other.next(SEND)
        # Nothing more was said to the sender than that it left in good order.
        sender.write(Packet(GOODBYE))
        assert [packet.kind for packet in await sender.rest()] == [GOODBYE]


async def test_who_takes_the_name_of_a_target_that_went_gets_no_half_of_a_message(address: str) -> None:
    async with renderers(address, "sender", "target") as (_, [sender, target]):
        first, *rest = parts(SEND, name=b"target", flags=BY_NAME)
        sender.write(first)
        await target.next(SEND)
        target.write(Packet(GOODBYE))
        await target.next(GOODBYE)
        async with raw(address, "target") as new:
            whole = Packet(SEND, name=b"target", flags=BY_NAME, channel=b"whole")
            sender.write(*rest, whole)
            got = await new.next(SEND)
            assert (got.channel, got.body) == (b"whole", b"")


async def test_a_broadcast_to_nobody_goes_nowhere(address: str) -> None:
    async with renderers(address, "sender") as (_, [sender]):
        first, *rest = parts(BROADCAST)
        sender.write(first)
        async with raw(address, "late") as late:
            sender.write(*rest, Packet(BROADCAST, channel=b"whole"))
            assert (await late.next(BROADCAST)).channel == b"whole"


@pytest.mark.contract("2.19")
async def test_the_streams_of_a_pair_mix_and_each_stays_whole(address: str) -> None:
    async with renderers(address, "sender", "target") as (_, [sender, target]):
        target.write(Packet(INVOKE, peer=sender.id, request=6, channel=b"ask"))
        await sender.next(INVOKE)
        bodies = {number: args(number, bytes(300)) for number in range(4)}
        streams = [
            parts(SEND, bodies[0], peer=target.id),
            parts(SEND, bodies[1], name=b"target", flags=BY_NAME),
            parts(BROADCAST, bodies[2]),
            parts(RESULT, bodies[3], peer=target.id, request=6),
        ]
        for row in zip(*streams, strict=True):
            sender.write(*row)
        got: dict[tuple[int, int], bytes] = {}
        for _ in range(sum(map(len, streams))):
            packet = await target.next(SEND, BROADCAST, RESULT)
            key = (packet.kind, packet.flags & BY_NAME)
            got[key] = got.get(key, b"") + packet.body
        assert got == {
            (SEND, 0): bodies[0],
            (SEND, BY_NAME): bodies[1],
            (BROADCAST, 0): bodies[2],
            (RESULT, 0): bodies[3],
        }
        assert await sender.is_served()


async def test_a_large_message_to_one_target_lets_those_to_others_pass(address: str) -> None:
    async with renderers(address, "sender", "target", "other") as (_, [sender, target, other]):
        first, *rest = parts(SEND, peer=target.id)
        sender.write(first, Packet(SEND, peer=other.id, channel=b"whole"), *parts(SEND, peer=other.id))
        assert (await other.next(SEND)).channel == b"whole"
        assert (await other.message(SEND)).body == BODY
        sender.write(*rest)
        assert (await target.message(SEND)).body == BODY


# An invoke that is refused.


@pytest.mark.contract("9.3")
async def test_the_rest_of_a_refused_invoke_goes_nowhere(address: str) -> None:
    async with renderers(address, "caller", "callee") as (_, [caller, callee]):
        for request in (1, 2):
            caller.write(Packet(INVOKE, peer=callee.id, request=request, channel=b"ask"))
            await callee.next(INVOKE)
        caller.write(*parts(INVOKE, peer=callee.id, request=3))
        assert (await caller.next(ERROR)).request == 3
        # The stream is free again.
        caller.write(*parts(SEND, peer=callee.id))
        assert (await callee.read() or Packet(0)).kind == SEND
        callee.write(Packet(RESULT, peer=caller.id, request=1, body=args()))
        await caller.next(RESULT)


@pytest.mark.contract("8.7")
async def test_a_large_invoke_under_a_number_in_use_closes_its_caller(address: str) -> None:
    async with renderers(address, "caller", "callee") as (_, [caller, callee]):
        caller.write(Packet(INVOKE, peer=callee.id, request=1, channel=b"ask"))
        await callee.next(INVOKE)
        caller.write(*parts(INVOKE, peer=callee.id, request=1))
        assert await refused(caller) == "request 1 is pending already"
        assert await callee.is_served()


# Faults: the sender's.


def inside(target: Raw) -> dict[str, tuple[Packet, Packet]]:
    """Return first fragments, each with what may not follow before the rest."""
    by_id = parts(SEND, peer=target.id)[0]
    by_name = parts(SEND, name=b"target", flags=BY_NAME)[0]
    return {
        "a second first": (by_id, by_id),
        "a second first by name": (by_name, by_name),
        "a whole one": (by_id, Packet(SEND, peer=target.id, channel=b"c")),
        "a whole one by name": (by_name, Packet(SEND, name=b"target", flags=BY_NAME, channel=b"c")),
        "a whole one of another kind": (by_id, Packet(INVOKE, peer=target.id, request=1, channel=b"c")),
        "a name for the same renderer": (by_id, Packet(SEND, name=b"target", channel=b"c")),
        "a first by name for the same renderer": (by_id, parts(SEND, name=b"target")[0]),
        "a second broadcast": (parts(BROADCAST)[0], parts(BROADCAST)[0]),
        "a whole broadcast": (parts(BROADCAST)[0], Packet(BROADCAST, channel=b"c")),
        "a second first to nobody": (parts(SEND, peer=ELSEWHERE)[0], parts(SEND, peer=ELSEWHERE)[0]),
    }


INSIDE = [
    "a second first",
    "a second first by name",
    "a whole one",
    "a whole one by name",
    "a whole one of another kind",
    "a name for the same renderer",
    "a first by name for the same renderer",
    "a second broadcast",
    "a whole broadcast",
    "a second first to nobody",
]


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("what", INSIDE)
async def test_nothing_begins_inside_a_message_of_the_same_stream(address: str, what: str) -> None:
    async with renderers(address, "sender", "target") as (_, [sender, target]):
        cases = inside(target)
        assert list(cases) == INSIDE
        first, second = cases[what]
        sender.write(first)
        if what != "a second first to nobody":
            await target.next(SEND, BROADCAST)
        sender.write(second)
        kind = {SEND: "SEND", INVOKE: "INVOKE", BROADCAST: "BROADCAST"}[second.kind]
        assert await refused(sender) == f"packet of kind {kind} inside another message"
        if what != "a second first to nobody":
            assert (await target.read() or Packet(0)).kind == ABORT
        assert await target.is_served()


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("second", [parts(RESULT)[0], Packet(RESULT), Packet(ERROR)], ids=["first", "whole", "error"])
async def test_no_answer_begins_inside_another_one(address: str, second: Packet) -> None:
    async with renderers(address, "caller", "callee") as (_, [caller, callee]):
        for request in (1, 2):
            caller.write(Packet(INVOKE, peer=callee.id, request=request, channel=b"ask"))
            await callee.next(INVOKE)
        callee.write(parts(RESULT, peer=caller.id, request=1)[0])
        await caller.next(RESULT)
        callee.write(second._replace(peer=caller.id, request=2))
        kind = "ERROR" if second.kind == ERROR else "RESULT"
        assert await refused(callee) == f"packet of kind {kind} inside another message"
        # Both calls end, and what has come of the first answer is given up.
        got = [await caller.next(ERROR, ABORT) for _ in range(3)]
        assert {packet.request for packet in got if packet.kind == ERROR} == {1, 2}
        assert [packet.peer for packet in got if packet.kind == ABORT] == [callee.id]


def strays(target: Raw) -> dict[str, tuple[list[Packet], Packet]]:
    """Return what comes first, each with a fragment that does not continue it."""
    first, second, *_ = parts(SEND, peer=target.id)
    call = parts(INVOKE, peer=target.id, request=1)
    return {
        "nothing before it": ([], second),
        "a broadcast of nothing": ([], parts(BROADCAST)[1]),
        "an answer of nothing": ([], parts(RESULT, peer=target.id, request=1)[1]),
        "all before it": (parts(SEND, peer=target.id), second),
        "another target": ([first], second._replace(peer=ELSEWHERE)),
        "another kind": ([first], second._replace(kind=POST)),
        "another stream": ([first], second._replace(flags=second.flags | BY_NAME)),
        "another request": ([call[0]], call[1]._replace(request=2)),
    }


STRAYS = [
    "nothing before it",
    "a broadcast of nothing",
    "an answer of nothing",
    "all before it",
    "another target",
    "another kind",
    "another stream",
    "another request",
]


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("what", STRAYS)
async def test_a_fragment_continues_its_first_or_closes_its_sender(address: str, what: str) -> None:
    async with renderers(address, "sender", "target") as (_, [sender, target]):
        cases = strays(target)
        assert list(cases) == STRAYS
        before, stray = cases[what]
        assert stray.flags & CONTINUES
        sender.write(*before, stray)
        assert (await refused(sender)).endswith("without its first")
        assert await target.is_served()


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("excess", [0, 1])
async def test_fragments_have_the_limit_of_one_message_together(address: str, excess: int) -> None:
    limit = CONFIG.limits.message
    async with renderers(address, "sender", "target") as (_, [sender, target]):
        sender.write(*parts(SEND, bytes(limit + excess), peer=target.id))
        if not excess:
            assert len((await target.message(SEND)).body) == limit
            assert await sender.is_served()
            return
        reason = await refused(sender)
        assert str(limit) in reason
        # The receiver never sees more than the limit, and learns that the rest will not come.
        got = 0
        while (packet := await target.next(SEND, ABORT)).kind == SEND:
            assert packet.flags & MORE
            got += len(packet.body)
        assert got <= limit
        assert packet.peer == sender.id
        assert await target.is_served()
