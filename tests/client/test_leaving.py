"""The quick way out says the same, byte for byte, as the one that takes everything; or it says nothing."""

import asyncio
import datetime
from typing import Any

import pytest
from mainbus.channels import check_channel
from mainbus.names import check_target
from mainbus.outgoing import Outgoing
from mainbus.quick import COMPILED
from mainbus.renderer_ports import RendererPorts
from mainbus.verbs import encode
from mainbus.wire.messages import Welcome, WireLimits
from mainbus.wire.packets import INVOKE, MAIN, MAX_FRAGMENT, SEND

pytestmark = pytest.mark.skipif(not COMPILED, reason="nothing is compiled here, so nothing is quick")

LIMITS = WireLimits(message=2 * MAX_FRAGMENT, depth=5)
LIST: list[object] = [1]


def sending() -> Outgoing:
    """Return what sends to a broker that has said welcome, with routes to main, to 5 and to "five"."""
    made = Outgoing(asyncio.get_running_loop(), RendererPorts)
    made.welcome = Welcome(id=1, session=b"", instance=b"", lane=b"", limits=LIMITS)
    made.leaving.limit(LIMITS.message, LIMITS.depth)
    made.routes.set_credit(3)
    made.routes.learn(5, None)
    for target in (5, "five", "Ünf"):
        made.routes.to(target)
    check_channel("c")
    check_channel("größe")
    return made


def slowly(made: Outgoing, target: Any, channel: str, args: tuple[object, ...], frame: int, *, invokes: bool) -> Any:
    """Send as everything can be sent."""
    peer, name = check_target(target)
    raw, body = check_channel(channel), encode(made, args)  # type: ignore[arg-type]
    if invokes:
        return made.invoke(INVOKE, peer, name, channel, raw, body, None, frame=frame)
    return made.send(SEND, peer, name, raw, body, frame=frame)


@pytest.mark.parametrize("target", [MAIN, 5, "five", "Ünf"])
@pytest.mark.parametrize("channel", ["c", "größe"])
@pytest.mark.parametrize("args", [(), (1, "zwei", 3.5, None, True, b"x"), ({"a": [1, {}]}, LIST, LIST), ("x" * 9_000,)])
async def test_what_is_quick_says_the_same(target: Any, channel: str, args: tuple[object, ...]) -> None:
    quick, slow = sending(), sending()
    for frame in (0, 7):
        quickly = quick.leaving.send(target, channel, args, frame)
        slowly(slow, target, channel, args, frame, invokes=False)
        reply = quick.leaving.invoke(target, channel, args, frame)
        other = slowly(slow, target, channel, args, frame, invokes=True)
        if not quickly:
            # Shared, and so a case for whoever knows all of structured clone; then it is left alone.
            assert args == ({"a": [1, {}]}, LIST, LIST)
            assert reply is None
            assert not quick.outbox.take()
            continue
        assert reply is not None
        said = [(one.channel, one.request, one.timeout, one.is_answered, one.done()) for one in (reply, other)]
        assert said[0] == said[1]
        assert reply.route is quick.routes.to(target)
        assert quick.outbox.queued == slow.outbox.queued
        assert quick.outbox.take() == slow.outbox.take()
        assert (quick.outbox.calls, reply.route.unanswered) == (slow.outbox.calls, other.route.unanswered)
        assert len(quick.calls) == len(slow.calls)
        assert quick.calls.next_request() == slow.calls.next_request()


@pytest.mark.parametrize(
    ("target", "channel", "args"),
    [
        (True, "c", ()),
        (-1, "c", ()),
        (6, "c", ()),
        (1 << 40, "c", ()),
        ("six", "c", ()),
        (None, "c", ()),
        (["five"], "c", ()),
        (MAIN, "never checked", ()),
        (MAIN, 5, ()),
        (MAIN, ["c"], ()),
        (MAIN, "c", (print,)),
        (MAIN, "c", ("\ud800",)),
        (MAIN, "c", (datetime.date(2020, 1, 1),)),
        (MAIN, "c", ([[[[[]]]]],)),
        (MAIN, "c", ("x" * MAX_FRAGMENT,)),
    ],
    # Windows has no room for a whole fragment in the name of a test.
    ids=lambda value: repr(value)[:40],
)
async def test_what_is_unusual_or_wrong_is_left_alone(target: Any, channel: Any, args: tuple[object, ...]) -> None:
    made = sending()
    assert not made.leaving.send(target, channel, args, 0)
    assert made.leaving.invoke(target, channel, args, 0) is None
    assert not made.outbox.take()
    assert (made.outbox.calls, len(made.calls), made.calls.next_request()) == (0, 0, 1)


@pytest.mark.contract("9.2", "9.3", "2.19")
async def test_nothing_is_quick_that_has_to_wait() -> None:
    made = sending()
    made.routes.to(5).pause()
    assert not made.leaving.send(5, "c", (), 0)
    assert made.leaving.send("five", "c", (), 0)
    replies = [made.leaving.invoke(MAIN, "c", (), 0) for _ in range(4)]
    # Three of them have credit.
    assert [reply is not None for reply in replies] == [True, True, True, False]
    slowly(made, MAIN, "c", (), 0, invokes=True)
    assert not made.leaving.send(MAIN, "c", (), 0), "it would overtake the invoke that waits"
    assert not sending().leaving.send(MAIN, "c", ("x" * LIMITS.message,), 0)


async def test_a_quick_invoke_is_cancelled_like_any_other() -> None:
    told: list[object] = []
    made = sending()
    made.calls._cancel = told.append
    reply = made.leaving.invoke(MAIN, "c", (), 0)
    assert reply is not None
    assert reply.cancel()
    assert told == [reply]


async def test_before_the_welcome_nothing_is_quick() -> None:
    made = Outgoing(asyncio.get_running_loop(), RendererPorts)
    check_channel("c")
    assert not made.leaving.send(MAIN, "c", (), 0)
    assert made.leaving.invoke(MAIN, "c", (), 0) is None
