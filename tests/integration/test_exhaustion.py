"""A daemon that runs out of descriptors, of disk for its log, or of memory says so by name and goes on."""

import contextlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cbor2
import mainbus
import mainbus.blocking
import pytest
from mainbus.errors import ReplyNeverSent, TooManyRequests
from mainbus.quick import COMPILED

from tests.support import raw
from tests.support.commands import COMMAND, Running
from tests.support.raw import HELLO, REFUSED, WELCOME, Packet

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux'")

FILES = 96
ROOM = 48 * 1024 * 1024
HELLO_BYTES = Packet(HELLO, body=cbor2.dumps({"version": 1, "features": ["fragments", "lane"]})).encode()

APP = """
def setup(broker):
    ipc_main = broker.ipc_main
    ipc_main.handle("echo", lambda event, value: value)
    ipc_main.handle("size", lambda event, value: len(value))
    ipc_main.handle("stats", lambda event: broker.stats())
    ipc_main.handle("swells when read", lambda event: [0] * 4_000_000)
    ipc_main.on("swells when read", lambda event: setattr(event, "return_value", [0] * 4_000_000))
    ipc_main.on("push", lambda event: event.sender.send("pushed", [0] * 4_000_000))

    async def coroutine(event):
        return ["x" * 1_000_000] * 48

    async def stream(event):
        yield ["x" * 1_000_000] * 48

    ipc_main.handle("plain", lambda event: ["x" * 1_000_000] * 48)
    ipc_main.handle("coroutine", coroutine)
    ipc_main.handle("stream", stream)
"""
"""A main process with results that take little memory before they are sent, or until they are read."""

RENDERER = """
import asyncio, sys
import mainbus, mainbus.blocking

def say(*words):
    print(*words, flush=True)

def prepare(renderer):
    renderer.handle("size", lambda event, value: len(value), senders="any")
    renderer.handle("plain", lambda event: ["x" * 1_000_000] * 48, senders="any")
    renderer.on("pushed", lambda event, value: say("has got it"))
    for event in ("disconnected", "reconnected", "gap"):
        renderer.events.on(event, lambda *reason, event=event: say(event, *reason))
    return renderer

def sync(renderer):
    try:
        say(len(renderer.send_sync("swells when read")))
    except MemoryError:
        say("no memory for an answer")

async def loop():
    async with prepare(mainbus.connect(sys.argv[1], name="limited")) as renderer:
        say("ready")
        while channel := (await asyncio.to_thread(sys.stdin.readline)).strip():
            try:
                renderer.send(channel) if channel == "push" else say(len(await renderer.invoke(channel)))
            except MemoryError as error:
                say(error)
                sync(renderer)

def threads():
    with prepare(mainbus.blocking.connect(sys.argv[1], name="limited")) as renderer:
        say("ready")
        while channel := sys.stdin.readline().strip():
            try:
                renderer.send(channel) if channel == "push" else say(len(renderer.invoke(channel)))
            except MemoryError as error:
                say(error)
                sync(renderer)

asyncio.run(loop()) if sys.argv[2] == "loop" else threads()
"""
"""A renderer that asks for what it reads on standard input, with a loop or without."""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


def serve(app: Path, *arguments: str) -> Running:
    return Running("serve", "app:setup", "--address", f"unix:{app}/s", *arguments, cwd=app)


def limit(process: subprocess.Popen[str], room: int) -> None:
    """Leave a process so many bytes more than it has."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + room
    resource.prlimit(process.pid, resource.RLIMIT_AS, (most, most))


@contextlib.contextmanager
def limited(address: str, kind: str = "loop") -> Iterator[Running]:
    """Run `RENDERER` with little memory."""
    argv = [sys.executable, "-c", RENDERER, address, kind]
    # Else glibc sets memory aside for each thread, beyond the limit.
    env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    with Running(argv=argv, stdin=subprocess.PIPE, env=env) as renderer:
        assert renderer.line() == "ready"
        limit(renderer.process, ROOM // 2)
        yield renderer
        assert renderer.end(signal.SIGKILL) == -signal.SIGKILL
        assert "Traceback" not in "".join(renderer.said)


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
            limit(daemon.process, ROOM // 2)
            with mainbus.blocking.connect(address, reconnect=False) as large:
                # asyncio may find no memory to read the rest either, and then the system cuts the goodbye off.
                told = "there is no memory for what it has sent" + ("|reset by peer" if loop == "asyncio" else "")
                with pytest.raises(mainbus.ConnectionLost, match=told):
                    large.invoke("size", bytes(ROOM))
            assert other.invoke("echo", "still there") == "still there"
            assert other.invoke("stats")["out_of_memory"] == 1
        assert daemon.end(signal.SIGTERM) == 0
        assert sum("there is no memory" in line for line in daemon.said) == 1


@pytest.mark.skipif(not COMPILED, reason="cbor2 ends a process that has no memory for what it encodes")
@pytest.mark.contract("8.6", "5.1")
def test_without_memory_to_send_a_result_its_caller_is_told(app: Path) -> None:
    address = f"unix:{app}/s"
    with serve(app) as daemon:
        daemon.until("serving")
        with mainbus.blocking.connect(address) as caller, limited(address):
            limit(daemon.process, ROOM // 2)
            told = "There is no memory for the result"
            for channel in ("plain", "coroutine"):
                with pytest.raises(mainbus.RemoteError, match=told):
                    caller.invoke(channel)
            with pytest.raises(mainbus.RemoteError, match=told):
                caller.invoke_to("limited", "plain")
            with pytest.raises(mainbus.RemoteError, match="There is no memory for the item"):
                next(caller.stream("stream"))
            assert caller.invoke("echo", "still there") == "still there"


@pytest.mark.contract("8.6", "9.1")
@pytest.mark.parametrize("kind", ["loop", "threads"])
def test_a_renderer_without_memory_for_what_arrives_loses_that_and_says_so(app: Path, kind: str) -> None:
    address = f"unix:{app}/s"
    with serve(app) as daemon:
        daemon.until("serving")
        with mainbus.blocking.connect(address) as other, limited(address, kind) as renderer:
            with pytest.raises(ReplyNeverSent):
                other.invoke_to("limited", "size", bytes(ROOM))
            lost = ["disconnected there is no memory for what has arrived", "reconnected", "gap"]
            assert [renderer.line() for _ in lost] == lost
            assert other.invoke_to("limited", "size", b"small") == 5
            # What is short on the wire takes its memory only when it is decoded.
            assert renderer.process.stdin is not None
            print("push", file=renderer.process.stdin, flush=True)
            assert [renderer.line() for _ in lost] == lost
            print("swells when read", file=renderer.process.stdin, flush=True)
            assert renderer.line() == "there is no memory for the result of 'swells when read'"
            assert renderer.line() == "no memory for an answer"
            assert other.invoke_to("limited", "size", b"small") == 5
        assert daemon.end(signal.SIGTERM) == 0
