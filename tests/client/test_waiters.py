"""Those who wait for messages, and their end."""

import asyncio

import pytest
from mainbus.incoming import Incoming
from mainbus.waiters import Waiters


async def test_the_end_wakes_all() -> None:
    waiters, incoming = Waiters(), Incoming(1)
    future = asyncio.get_running_loop().create_future()
    done = asyncio.get_running_loop().create_future()
    done.set_result((1,))
    waiters.incoming.add(incoming)
    waiters.waiting |= {future, done}
    waiters.end()
    assert future.result() == ()
    assert done.result() == (1,)
    with pytest.raises(StopAsyncIteration):
        await anext(incoming)


def test_an_iterator_that_nobody_has_is_forgotten() -> None:
    waiters = Waiters()
    waiters.incoming.add(Incoming(1))
    assert not list(waiters.incoming)
