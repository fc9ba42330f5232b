"""Who is at the other end, as the kernel says."""

import asyncio
import os
import struct
import subprocess
import sys

import pytest
from mainbus.address import parse
from mainbus.transports import connect
from mainbus_broker.listeners import listen
from mainbus_broker.listeners.identity import Process, _darwin, identify, same_user

NOBODY = 65534

# Connects as another user, and stays until it is told to go.
CONNECT = """
import os, socket, sys
path, uid = sys.argv[1], int(sys.argv[2])
if uid != os.geteuid():
    os.setgid(uid)
    os.setuid(uid)
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
sys.stdin.read()
"""


def client_process(path: str, uid: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", CONNECT, path, str(uid)], stdin=subprocess.PIPE)


class Accepted(asyncio.Protocol):
    """Identifies its peer."""

    def __init__(self) -> None:
        self.process: asyncio.Future[Process] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.process.set_result(identify(transport))


@pytest.mark.contract("8.1")
@pytest.mark.parametrize("uid", {os.geteuid(), NOBODY if os.geteuid() == 0 else os.geteuid()})
async def test_the_kernel_says_who_connected(address: str, uid: int) -> None:
    accepted = Accepted()
    listener = await listen(parse(address), lambda: accepted)
    path = listener.address.path
    # Else the other user would not get as far as being identified.
    os.chmod(path, 0o666)
    os.chmod(os.path.dirname(path), 0o711)
    with client_process(path, uid) as client:
        process = await accepted.process
        assert process == Process(client.pid, uid, uid if uid == NOBODY else os.getegid())
        assert same_user(process) == (uid == os.geteuid())
        if uid == os.geteuid():
            assert process.executable == os.readlink("/proc/self/exe")
        client.communicate()
        assert Process(client.pid, uid, uid).executable is None
    accepted.transport.close()
    await listener.aclose()


@pytest.mark.contract("8.1")
async def test_a_connection_inside_this_process_is_ours() -> None:
    accepted = Accepted()
    listener = await listen(parse("memory:app"), lambda: accepted)
    transport, _ = await connect(parse("memory:app"), asyncio.Protocol)
    process = await accepted.process
    assert process == Process(os.getpid(), os.geteuid(), os.getegid())
    assert same_user(process)
    transport.close()
    await listener.aclose()


@pytest.mark.contract("8.1")
def test_a_user_that_the_system_does_not_tell_is_another_one() -> None:
    assert not same_user(Process(os.getpid(), None, None))
    assert not same_user(Process(os.getpid(), os.geteuid() + 1, os.getegid()))


def test_a_process_is_small_and_cannot_be_changed() -> None:
    process = Process(1, 2, 3)
    assert not hasattr(process, "__dict__")
    with pytest.raises(AttributeError):
        process.uid = 0  # type: ignore[misc]


def test_the_layout_of_darwins_credentials() -> None:
    credentials = struct.pack("=IIhxx16I", 0, 501, 2, 20, 12, *[0] * 14)
    assert len(credentials) == 76
    assert _darwin(credentials, 1234) == Process(1234, 501, 20)
