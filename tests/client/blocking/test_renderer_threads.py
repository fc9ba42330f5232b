"""One blocking renderer and many threads, Ctrl-C, forks and losses."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from textwrap import dedent
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread


@pytest.mark.contract("3.14", "2.19")
def test_order_of_one_thread_is_kept_over_all_verbs(broker: BrokerThread) -> None:
    seen: list[int] = []
    note = lambda event, number, *rest: seen.append(number)  # noqa: E731
    for channel in ("send", "post"):
        broker.ipc_main.on(channel, note)
    broker.ipc_main.handle("invoke", note)

    @broker.ipc_main.on("sync")
    def sync(event: Any, number: int) -> None:
        seen.append(number)
        event.return_value = number

    large = bytes(600_000)
    with mainbus.blocking.connect(broker.address) as renderer:
        for number in range(0, 600, 6):
            renderer.send("send", number)
            renderer.send("send", number + 1, large if number % 60 == 0 else b"")
            assert renderer.send_sync("sync", number + 2) == number + 2
            renderer.send("send", number + 3)
            renderer.invoke("invoke", number + 4)
            renderer.send("send", number + 5)
        renderer.drain()
        renderer.invoke("echo")
    assert seen == list(range(600))


@pytest.mark.contract("3.14", "3.13", "2.19")
def test_many_threads_use_one_renderer(broker: BrokerThread) -> None:
    seen: dict[int, list[int]] = {thread: [] for thread in range(6)}
    broker.ipc_main.on("send", lambda event, thread, number: seen[thread].append(number))

    @broker.ipc_main.on("sync")
    async def sync(event: Any, thread: int, number: int) -> None:
        seen[thread].append(number)
        await asyncio.sleep(0)
        event.return_value = [thread, number]

    def work(renderer: BlockingRenderer, thread: int) -> None:
        for number in range(0, 100, 2):
            renderer.send("send", thread, number)
            if thread % 2:
                assert renderer.send_sync("sync", thread, number + 1) == [thread, number + 1]
            else:
                renderer.send("send", thread, number + 1)
                assert renderer.invoke("echo", thread, number) == [thread, number]

    with mainbus.blocking.connect(broker.address) as renderer:
        for wait in [in_thread(partial(work, renderer, thread)) for thread in seen]:
            wait()
        renderer.invoke("echo")
    assert seen == {thread: list(range(100)) for thread in seen}


@pytest.mark.contract("3.14")
def test_call_of_one_thread_holds_up_no_other(broker: BrokerThread) -> None:
    called, go_on = threading.Event(), asyncio.Event()

    @broker.ipc_main.on("slow")
    async def slow(event: Any) -> None:
        called.set()
        await go_on.wait()
        event.return_value = "slow"

    @broker.ipc_main.on("fast")
    def fast(event: Any) -> None:
        event.return_value = "fast"

    with mainbus.blocking.connect(broker.address) as renderer:
        waiting = in_thread(lambda: renderer.send_sync("slow"))
        assert called.wait(PATIENCE)
        assert renderer.invoke("echo", 1) == [1]
        assert renderer.send_sync("fast") == "fast"
        broker.call(go_on.set)
        assert waiting() == "slow"


@pytest.mark.contract("3.14")
def test_on_the_thread_of_the_brokers_own_loop_it_would_wait_for_itself(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address) as renderer:
        for verb in ("invoke", "send_sync"):
            with pytest.raises(
                RuntimeError, match=r"the broker's own loop would wait for itself; use mainbus\.connect"
            ):
                broker.call(getattr(renderer, verb), "echo")
        broker.call(renderer.send, "x")


@pytest.mark.contract("3.14")
@pytest.mark.parametrize("verb", ["invoke", "send_sync"])
def test_ctrl_c_interrupts_a_call_and_cancels_it(broker: BrokerThread, verb: str) -> None:
    ended = threading.Event()
    main = threading.get_ident()

    async def interrupt(event: Any) -> None:
        signal.pthread_kill(main, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    broker.ipc_main.handle("wait", interrupt)
    broker.ipc_main.on("wait", interrupt)
    with mainbus.blocking.connect(broker.address) as renderer:
        with pytest.raises(KeyboardInterrupt):
            getattr(renderer, verb)("wait")
        if verb == "invoke":
            assert ended.wait(PATIENCE)
        assert renderer.invoke("echo", 1) == [1]


def test_ctrl_c_interrupts_the_opening(address: str) -> None:
    main = threading.get_ident()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address.removeprefix("unix:"))
        server.listen()

        def never_answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                signal.pthread_kill(main, signal.SIGINT)
                while connection.recv(65536):
                    pass

        wait = in_thread(never_answer)
        with pytest.raises(KeyboardInterrupt):
            mainbus.blocking.connect(address).open()
        wait()


FORK = """
import os, sys, mainbus.blocking
with mainbus.blocking.connect(sys.argv[1]) as renderer:
    pid = os.fork()
    if pid == 0:
        renderer.close()
        for verb in (renderer.send, renderer.invoke, renderer.send_sync, renderer.wait_for):
            try:
                verb("echo")
            except RuntimeError as error:
                print(error, flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(renderer.invoke("echo", 1))
"""


@pytest.mark.contract("3.13", "3.14")
def test_fork_cannot_use_it(broker: BrokerThread) -> None:
    argv = [sys.executable, "-W", "ignore", "-c", dedent(FORK), broker.address]
    *errors, last = subprocess.run(
        argv, capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout.splitlines()
    assert last == "[1]"
    assert len(errors) == 4
    assert all("loop.call_soon_threadsafe" in error and "mainbus.blocking" in error for error in errors)


@pytest.mark.contract("3.14", "9.6")
def test_it_comes_back_after_a_loss(address: str) -> None:
    told, got = Box(), Box()
    renderer = mainbus.blocking.connect(address, name="a")
    for event in ("disconnected", "reconnected", "gap"):
        renderer.events.on(event, partial(told, event))
    with BrokerThread(address):
        renderer.open()
        assert renderer.invoke("echo", 1) == [1]
    assert told.get()[0] == "disconnected"
    with pytest.raises(mainbus.ConnectionLost):
        renderer.send_sync("x")
    renderer.send("item", "held")
    with BrokerThread(address) as broker:
        broker.ipc_main.on("item", got)
        assert [told.get()[0], told.get()[0]] == ["reconnected", "gap"]
        assert renderer.invoke("echo", 2) == [2]
        renderer.close()
    assert renderer.stats()["reconnects"] == 1


@pytest.mark.contract("3.14")
def test_what_waits_when_the_broker_goes_is_told(address: str) -> None:
    called = threading.Event()

    async def forever(event: Any) -> None:
        called.set()
        await asyncio.Event().wait()

    with BrokerThread(address) as broker:
        broker.ipc_main.handle("forever", forever)
        broker.ipc_main.on("forever", forever)
        renderer = mainbus.blocking.connect(address, reconnect=False).open()
        messages = renderer.listen("x")
        invoked = in_thread(lambda: renderer.invoke("forever"))
        assert called.wait(PATIENCE)
        called.clear()
        synced = in_thread(lambda: renderer.send_sync("forever"))
        assert called.wait(PATIENCE)
        waited = in_thread(lambda: renderer.wait_for("x"))
    for wait in (invoked, synced):
        with pytest.raises((mainbus.ReplyNeverSent, mainbus.ConnectionLost)):
            wait()
    with pytest.raises(mainbus.ConnectionLost):
        waited()
    assert list(messages) == []
    for verb in (renderer.send, renderer.invoke):
        with pytest.raises(mainbus.ConnectionLost):
            verb("x")
    renderer.close()
