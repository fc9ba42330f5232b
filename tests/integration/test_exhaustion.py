"""A daemon that runs out of descriptors, of disk for its log, or of memory says so by name and goes on."""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from pathlib import Path

import cbor2
import mainbus
import mainbus.blocking
import pytest
from mainbus.errors import TooManyRequests

from tests.support import raw
from tests.support.commands import COMMAND, Running
from tests.support.raw import HELLO, REFUSED, WELCOME, Packet

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux'")

FILES = 96
ROOM = 48 * 1024 * 1024
HELLO_BYTES = Packet(HELLO, body=cbor2.dumps({"version": 1, "features": ["fragments", "lane"]})).encode()

APP = """
def setup(broker):
    broker.ipc_main.handle("echo", lambda event, value: value)
    broker.ipc_main.handle("size", lambda event, value: len(value))
    broker.ipc_main.handle("stats", lambda event: broker.stats())
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def serve(app: Path, *arguments: str) -> Running:
    return Running("serve", "app:setup", "--address", f"unix:{app}/s", *arguments, cwd=app)


def answer(address: str) -> tuple[socket.socket, int, object]:
    """Connect and say hello; returns the connection, and kind and body of the answer."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(raw.PATIENCE)
    client.connect(address.removeprefix("unix:"))
    with contextlib.suppress(BrokenPipeError):  # refused already
        client.sendall(HELLO_BYTES)
    head = client.recv(24, socket.MSG_WAITALL)
    length, kind = struct.unpack_from(">IB", head)
    return client, kind, cbor2.loads(client.recv(length - 24, socket.MSG_WAITALL))


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_without_descriptors_who_comes_is_refused_by_name_until_there_are_some(app: Path, loop: str) -> None:
    address = f"unix:{app}/s"
    with serve(app, "--loop", loop) as daemon:
        daemon.until("serving")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        clients: list[socket.socket] = []
        try:
            with mainbus.blocking.connect(address) as ipc_renderer:
                kind = WELCOME
                while kind == WELCOME:
                    client, kind, said = answer(address)
                    clients.append(client)
                assert len(clients) < FILES
                assert (kind, said) == (REFUSED, str(TooManyRequests(FILES, "The number of open files")))
                for _ in range(50):
                    client, kind, _ = answer(address)
                    clients.append(client)
                    assert kind == REFUSED
                assert ipc_renderer.invoke("echo", 1) == 1
                stats = ipc_renderer.invoke("stats")
                assert stats["refused"] == 51
                while clients:
                    clients.pop().close()
                while kind == REFUSED:
                    client, kind, _ = answer(address)
                    clients.append(client)
        finally:
            for client in clients:
                client.close()
        assert daemon.end(signal.SIGTERM) == 0
        told = [json.loads(line)["message"] for line in daemon.said]
        assert sum("refusing connections" in line and "number of open files" in line for line in told) == 1
        assert sum("letting connections in again" in line for line in told) == 1
        assert not [line for line in told if "out of system resource" in line]


@pytest.mark.contract("8.6")
def test_a_log_that_takes_nothing_ends_nothing(app: Path) -> None:
    command = [*COMMAND, "serve", "app:setup", "--address", f"unix:{app}/s"]
    with Running(argv=["sh", "-c", 'exec "$@" 2>/dev/full', "sh", *command], cwd=app) as daemon:
        with mainbus.blocking.connect(f"unix:{app}/s", connect_timeout=raw.PATIENCE) as ipc_renderer:
            for number in range(100):
                assert ipc_renderer.invoke("echo", number) == number
        client, kind, _ = answer(f"unix:{app}/s")
        client.sendall(b"\xff" * 100)
        while client.recv(1000):
            pass
        client.close()
        assert kind == WELCOME
        with mainbus.blocking.connect(f"unix:{app}/s") as ipc_renderer:
            assert ipc_renderer.invoke("echo", "still there") == "still there"
        assert daemon.end(signal.SIGTERM) == 0


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_without_memory_for_a_message_its_sender_is_told_and_the_others_go_on(app: Path, loop: str) -> None:
    address = f"unix:{app}/s"
    with serve(app, "--loop", loop) as daemon:
        daemon.until("serving")
        with mainbus.blocking.connect(address) as other:
            assert other.invoke("size", bytes(1000)) == 1000
            pages = int(Path(f"/proc/{daemon.process.pid}/statm").read_text().split()[0])
            most = pages * os.sysconf("SC_PAGE_SIZE") + ROOM // 2
            resource.prlimit(daemon.process.pid, resource.RLIMIT_AS, (most, most))
            with mainbus.blocking.connect(address, reconnect=False) as large:
                # asyncio may find no memory to read the rest either, and then the system cuts the goodbye off.
                told = "there is no memory for what it has sent" + ("|reset by peer" if loop == "asyncio" else "")
                with pytest.raises(mainbus.ConnectionLost, match=told):
                    large.invoke("size", bytes(ROOM))
            assert other.invoke("echo", "still there") == "still there"
            assert other.invoke("stats")["out_of_memory"] == 1
        assert daemon.end(signal.SIGTERM) == 0
        assert sum("there is no memory" in line for line in daemon.said) == 1
