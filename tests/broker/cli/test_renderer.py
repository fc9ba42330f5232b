"""How a command becomes a renderer: how it connects, and how what goes wrong reaches its end."""

import logging
import signal

import mainbus
import pytest
from mainbus import IpcRenderer, session
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.renderer import run

from tests.support.commands import Serving


def test_the_work_gets_an_open_renderer(address: str) -> None:
    got: list[tuple[str | None, bool]] = []

    async def work(ipc_renderer: IpcRenderer) -> None:
        got.append((ipc_renderer.name, ipc_renderer.is_connected))
        await ipc_renderer.status()

    with Serving(address):
        run(work, address=address, name="shell", connect_timeout=1)
    assert got == [("shell", True)]


def test_errors_of_mainbus_become_failures(address: str) -> None:
    async def work(ipc_renderer: IpcRenderer) -> None:
        await ipc_renderer.invoke("nothing")

    with pytest.raises(Failure, match="no broker answers there") as caught:
        run(work, address=address)
    assert caught.value.code == ExitCode.UNREACHABLE
    with Serving(address), pytest.raises(Failure, match="No handler registered") as caught:
        run(work, address=address)
    assert caught.value.code == ExitCode.FAILED


def test_errors_of_its_own_are_no_failures(address: str) -> None:
    async def work(ipc_renderer: IpcRenderer) -> None:
        raise LookupError("a bug")

    with Serving(address), pytest.raises(LookupError, match="a bug"):
        run(work, address=address)


def test_a_broker_that_stands_still_is_one_failure(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session, "GOODBYE_TIMEOUT", 0.05)
    with Serving(address) as daemon:

        async def work(ipc_renderer: IpcRenderer) -> None:
            daemon.send(signal.SIGSTOP)
            await ipc_renderer.invoke("x", timeout=0.05)

        with pytest.raises(Failure, match="no reply within") as caught:
            run(work, address=address)
        daemon.send(signal.SIGCONT)
    assert caught.value.code == ExitCode.TIMEOUT
    # Python prints what loggers say that nobody has given a handler; the goodbye that failed is mainbus' own.
    assert [record for record in caplog.records if not record.name.startswith("mainbus")] == []
    assert logging.getLogger("mainbus").hasHandlers()
    assert mainbus.connect(address).is_connected is False
