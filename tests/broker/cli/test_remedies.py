"""What is said when the channel was the wrong one, or the command was."""

import pytest
from mainbus import NoHandlerError, RemoteError
from mainbus_broker.cli.failures import ExitCode
from mainbus_broker.cli.remedies import is_streamed, unhandled

from tests.support.bus import Bus


@pytest.mark.parametrize(
    ("target", "channel", "word"),
    [
        (0, "nope", "`mainbus list`"),
        (0, "heard", "`mainbus send`"),
        ("editor", "heard", "senders='renderers'"),
    ],
)
async def test_a_channel_that_nobody_handles(address: str, target: int | str, channel: str, word: str) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.on("heard", print)
        failure = await unhandled(NoHandlerError(channel), await bus.renderer(), target, channel)
    assert str(failure).startswith(f"{NoHandlerError(channel)}; ")
    assert word in str(failure)
    assert failure.code == ExitCode.FAILED


async def test_a_handler_that_streams_is_told_from_one_that_fails(address: str) -> None:
    async def items(event: object) -> object:
        yield 1

    def fail(event: object) -> None:
        raise TypeError("something else")

    async with Bus(address) as bus:
        bus.ipc_main.handle("items", items)
        bus.ipc_main.handle("fail", fail)
        renderer = await bus.renderer()
        found = {}
        for channel in ("items", "fail"):
            try:
                await renderer.invoke(channel)
            except RemoteError as error:
                found[channel] = is_streamed(error)
    assert found == {"items": True, "fail": False}
