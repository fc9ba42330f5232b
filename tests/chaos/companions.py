"""What a renderer of the chaos run has beside itself: child frames that speak for it, and guests that it talks to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import mainbus
from mainbus.errors import MainbusError

from tests.chaos.flow import PATIENCE

if TYPE_CHECKING:
    from tests.chaos.renderer import Worker


async def frame(worker: Worker, to: str) -> None:
    """Open a frame, send through it in the flow of its renderer, and see that main's replies come to the frame."""
    total, got = worker.dice.randrange(1, 40), list[int]()
    lost, outcome = worker.losses, "ok"
    try:
        async with await worker.renderer.create_frame("chaos") as own:
            own.on("framed", lambda event, number: got.append(number))
            for number in range(total):
                worker.numbers.send_one(own, to)
                own.send("frame", number)
                if worker.dice.random() < 0.1:
                    await asyncio.sleep(0.01)
            # Behind it no reply is missing.
            await own.invoke("flush")
    except MainbusError as error:
        outcome = type(error).__name__
    _check(worker, "replies to a frame", got, total, lost == worker.losses and outcome == "ok")
    worker.ledger.note("companion", "frame", total, len(got), outcome)


async def guest(worker: Worker) -> None:
    """Have a guest, which is another renderer of this process, and talk to it both ways."""
    total, up, down = worker.dice.randrange(1, 40), list[int](), list[int]()
    losses, outcome = [worker.losses], "ok"
    host_end = None
    try:
        host_end = await worker.renderer.create_guest()
        host_end.on("ipc-message", lambda event: up.append(event.args[0]))
        async with mainbus.connect(worker.address, token=host_end.token, reconnect=False) as guest_end:
            guest_end.on("down", lambda event, number: down.append(number))
            guest_end.events.on("disconnected", losses.append)
            await asyncio.wait_for(host_end.ready(), PATIENCE)
            for number in range(total):
                guest_end.send_to_host("up", number)
                host_end.send("down", number)
            await _until(lambda: len(losses) > 1 or worker.losses > losses[0] or len(up) == len(down) == total)
    except (MainbusError, TimeoutError) as error:
        outcome = type(error).__name__
    finally:
        with contextlib.suppress(MainbusError):
            if host_end is not None:
                host_end.close()
    whole = losses == [worker.losses] and outcome == "ok"
    _check(worker, "messages of a guest", up, total, whole)
    _check(worker, "messages to a guest", down, total, whole)
    worker.ledger.note("companion", "guest", 2 * total, len(up) + len(down), outcome)


async def _until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not reached():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.01)


def _check(worker: Worker, what: str, got: list[int], total: int, whole: bool) -> None:
    """Numbers come in their order and once; all of them, if no connection was lost."""
    if got != sorted(set(got)) or (whole and len(got) != total):
        worker.ledger.note("wrong", f"{what}: {got} of {total} have arrived")
