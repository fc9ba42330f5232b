"""What the ports of one loop share, and what becomes of that when the loop is closed."""

import asyncio
import threading

import pytest
from mainbus import MessageChannel, port_loop
from mainbus.port_end import End
from mainbus.ports import MessagePort

from tests.support.bus import until


async def test_a_loop_has_one() -> None:
    found = port_loop.running(MessagePort)
    assert port_loop.running(MessagePort) is found
    assert found.loop is asyncio.get_running_loop()
    assert MessageChannel().port1.release().loop is found


def test_another_loop_has_another_and_a_closed_one_is_forgotten() -> None:
    async def here() -> port_loop.PortLoop:
        return port_loop.running(MessagePort)

    first = asyncio.run(here())
    second = asyncio.run(here())
    assert first is not second
    assert first.loop not in port_loop._loops


def test_there_is_none_without_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        port_loop.running(MessagePort)


async def test_a_handle_is_of_the_end() -> None:
    loop = port_loop.running(MessagePort)
    end = End(loop)
    port = loop.handle(end)
    assert isinstance(port, MessagePort)
    assert port.end is end


@pytest.mark.contract("7.3", "3.13")
async def test_an_end_that_another_thread_drops_is_closed_in_its_own() -> None:
    channel = MessageChannel()
    closed: list[threading.Thread] = []
    channel.port1.on("close", lambda: closed.append(threading.current_thread()))
    channel.port1.start()
    last = [channel.port2]
    del channel.port2
    thread = threading.Thread(target=last.clear)
    thread.start()
    thread.join()
    assert closed == []
    await until(lambda: closed)
    assert closed == [threading.current_thread()]


def test_a_port_may_outlive_its_loop() -> None:
    async def make() -> MessageChannel:
        return MessageChannel()

    channel = asyncio.run(make())
    end = channel.port1.end
    assert end is not None
    del channel
    # Nobody is there to be told, and nothing is raised where nobody would see it.
    assert not end.finished


async def test_a_listener_that_fails_is_logged_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    channel = MessageChannel()

    async def fail(event: object) -> None:
        raise ValueError("no")

    channel.port2.on("message", fail)
    channel.port2.start()
    channel.port1.post_message("m")
    await until(lambda: caplog.records)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("mainbus", "ERROR")
    assert record.getMessage() == "a listener of a port failed on a message"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    channel.port1.close()
