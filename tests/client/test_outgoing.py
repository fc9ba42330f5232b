"""What leaves a renderer: what is too much, what needs a connection, and what is said with each packet."""

import asyncio

import pytest
from mainbus import outgoing
from mainbus.errors import MessageTooLarge, SendQueueFull
from mainbus.outgoing import Outgoing
from mainbus.renderer_ports import RendererPorts
from mainbus.wire.messages import Welcome, WireLimits
from mainbus.wire.packets import BY_NAME, HEADER, MAIN, Head, Kind


def sending() -> Outgoing:
    """Return what sends to a broker that has said welcome and is gone."""
    made = Outgoing(asyncio.get_running_loop(), RendererPorts)
    made.welcome = Welcome(id=1, session=b"", instance=b"", lane=b"", limits=WireLimits(message=100))
    made.routes.set_credit(8)
    made.routes.learn(5, "five")
    return made


def left(made: Outgoing) -> list[Head]:
    """Return the headers of what is about to leave."""
    return [HEADER.unpack_from(packet) for packet in made.outbox.take()]


async def test_a_message_names_whom_it_is_for() -> None:
    made = sending()
    made.send(Kind.SEND, MAIN, None, b"c", b"body", frame=7)
    made.send(Kind.SEND, 5, None, b"c", b"body", frame=7)
    made.send(Kind.SEND, 0, "five", b"c", b"body", frame=7)
    made.send(Kind.BROADCAST, MAIN, None, b"c", b"body")
    # Kind, flags, peer and frame: only the main process gets to know of frames.
    assert [(head[1], head[2], head[5], head[7]) for head in left(made)] == [
        (Kind.SEND, 0, MAIN, 7),
        (Kind.SEND, 0, 5, 0),
        (Kind.SEND, BY_NAME, 0, 0),
        (Kind.BROADCAST, 0, MAIN, 0),
    ]


async def test_requests_have_a_number_and_say_how_long_they_wait() -> None:
    made = sending()
    replies = [
        made.invoke(Kind.INVOKE, MAIN, None, "c", b"c", b"body", 1.5),
        made.stream(5, None, "c", b"c", b"body", None),
        made.ask(Kind.QUERY, "peers", channel=b"peers"),
    ]
    assert [(head[1], head[5], head[6], head[8]) for head in left(made)] == [
        (Kind.INVOKE, MAIN, 1, 1500),
        (Kind.STREAM, 5, 2, 0),
        (Kind.QUERY, MAIN, 3, 0),
    ]
    assert len(made.calls) == len(replies) == 3


@pytest.mark.contract("9.2")
async def test_too_much_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = sending()
    monkeypatch.setattr(outgoing, "MAX_UNSENT", 60)
    with pytest.raises(MessageTooLarge):
        made.send(Kind.SEND, 5, None, b"c", bytes(101))
    made.routes.to(5).pause()
    made.send(Kind.SEND, 5, None, b"c", bytes(50))
    for refused in (
        lambda: made.send(Kind.SEND, 5, None, b"c", b""),
        lambda: made.invoke(Kind.INVOKE, 0, "five", "c", b"c", b"", None),
        lambda: made.stream(5, None, "c", b"c", b"", None),
        lambda: made.check_room("five", b""),
    ):
        with pytest.raises(SendQueueFull):
            refused()
    assert len(made.calls) == 0
    # Another target has room, and who was accepted before is not refused now.
    made.send(Kind.SEND, MAIN, None, b"c", b"")
    made.send(Kind.SEND, 5, None, b"c", b"", accepted=True)
    assert len(left(made)) == 1


async def test_what_speaks_of_a_connection_needs_one() -> None:
    made = sending()
    made.answer(5, 1, (Kind.RESULT, 0, b""))
    made.notice(Kind.PAUSED, 5, 1)
    made.tell(Kind.FRAME, channel=b"c")
    assert not left(made)
    # The rest waits for the next.
    made.post(b"c", b"body", [], 7)
    assert [(head[1], head[7]) for head in left(made)] == [(Kind.POST, 7)]
