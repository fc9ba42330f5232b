"""Logged exceptions of the application begin at its own first line."""

import traceback
from collections.abc import Callable
from types import TracebackType

import mainbus
import pytest
from mainbus.user_frames import user_frames

from tests.support.bus import Bus, until


def names(at: TracebackType | None) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(at)]


def fails(event: object = None) -> None:
    raise ValueError("mine")


async def fails_later(event: object) -> None:
    fails()


def test_what_the_application_calls_itself_is_whole() -> None:
    with pytest.raises(ValueError, match="mine") as caught:
        fails()
    assert names(user_frames(caught.value)[2]) == [test_what_the_application_calls_itself_is_whole.__name__, "fails"]


def test_of_what_mainbus_raised_alone_there_is_no_traceback() -> None:
    with pytest.raises(mainbus.AddressError) as caught:
        _ = mainbus.connect("nonsense:")
    error = caught.value
    whole = error.__traceback__
    assert whole is not None
    error.__traceback__ = whole.tb_next
    assert user_frames(error) == (type(error), error, None)
    assert error.__traceback__ is whole.tb_next


@pytest.mark.parametrize(
    ("fn", "thread", "frames"),
    [(fails, False, ["fails"]), (fails, True, ["fails"]), (fails_later, False, ["fails_later", "fails"])],
)
@pytest.mark.parametrize("verb", ["send", "invoke"])
async def test_the_log_begins_where_the_application_does(
    verb: str,
    fn: Callable[..., object],
    thread: bool,
    frames: list[str],
    address: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.on("note", fn, thread=thread)
        bus.ipc_main.handle("note", fn, thread=thread)
        if verb == "send":
            renderer.send("note")
        else:
            with pytest.raises(ValueError, match="mine"):
                await renderer.invoke("note")
        await until(lambda: [record for record in caplog.records if record.exc_info])
    (logged,) = [record.exc_info for record in caplog.records if record.exc_info]
    assert names(logged[2]) == frames
