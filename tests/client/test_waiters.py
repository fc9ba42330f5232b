"""Those who wait for messages, and their end."""

import asyncio
import gc

import pytest
from mainbus.incoming import Incoming, Mailbox
from mainbus.waiters import Waiters


async def test_the_end_wakes_all() -> None:
    waiters, mailbox = Waiters(asyncio.get_running_loop()), Mailbox(1)
    incoming = Incoming(mailbox, waiters.post)
    future = asyncio.get_running_loop().create_future()
    done = asyncio.get_running_loop().create_future()
    done.set_result((1,))
    waiters.mailboxes.add(mailbox)
    waiters.waiting.update((future, done))
    waiters.end()
    assert future.result() == ()
    assert done.result() == (1,)
    with pytest.raises(StopAsyncIteration):
        await anext(incoming)


async def test_an_iterator_that_nobody_has_is_forgotten() -> None:
    waiters, mailbox = Waiters(asyncio.get_running_loop()), Mailbox(1)
    waiters.mailboxes.add(mailbox)
    dropped = Incoming(mailbox, waiters.post)
    del dropped
    # On the loop, since it may be dropped in any thread.
    assert not mailbox.closed
    await asyncio.sleep(0)
    assert mailbox.closed
    del mailbox
    gc.collect()
    assert not list(waiters.mailboxes)


def test_without_a_loop_there_is_nobody_to_disturb() -> None:
    waiters = Waiters()
    calls: list[int] = []
    waiters.post(lambda: calls.append(1))
    assert calls == [1]
