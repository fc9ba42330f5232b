"""Several processes want the same path, at the same time or after one of them was killed."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from mainbus.address import parse

# Each line of its input is an address to listen at, or "close". Answers with a line each.
DAEMON = """
import asyncio, json, sys
from mainbus.address import parse
from mainbus.errors import AddressError
from mainbus_broker.listeners import listen

async def answer(loop, listener, line):
    if line == "close":
        await listener.aclose()
        return None, "closed"
    try:
        return await listen(parse(line), asyncio.Protocol), "serves"
    except AddressError as error:
        return listener, {"address": error.address, "pid": error.pid, "text": str(error)}

async def main():
    loop, listener = asyncio.get_running_loop(), None
    print(json.dumps("ready"), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        listener, said = await answer(loop, listener, line.strip())
        print(json.dumps(said), flush=True)

asyncio.run(main())
"""


class Daemon:
    """A process that listens when it is told to."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", DAEMON]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.hear() == "ready"

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def hear(self) -> object:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, line: str) -> object:
        self.tell(line)
        return self.hear()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def daemons(count: int) -> Iterator[list[Daemon]]:
    with ExitStack() as stack:
        started = []
        for _ in range(count):
            started.append(Daemon())
            stack.callback(started[-1].kill)
        yield started


def race(racers: list[Daemon], address: str) -> Daemon:
    """Let all listen at once; check that one serves and that the others say who, and return that one."""
    for racer in racers:
        racer.tell(address)
    said = {racer: racer.hear() for racer in racers}
    (winner,) = (racer for racer in racers if said[racer] == "serves")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(parse(address).path)
    for racer in racers:
        if racer is not winner:
            answer = said[racer]
            assert isinstance(answer, dict)
            assert (answer["address"], answer["pid"]) == (address, winner.pid)
            assert address in answer["text"]
            assert str(winner.pid) in answer["text"]
    return winner


@pytest.mark.contract("8.3")
def test_of_several_that_start_together_one_serves(address: str) -> None:
    with daemons(3) as racers:
        for _ in range(60):
            assert race(racers, address).ask("close") == "closed"
    assert os.listdir(Path(parse(address).path).parent) == []


@pytest.mark.contract("8.3")
def test_of_several_one_takes_over_from_a_killed_one(address: str) -> None:
    with daemons(2) as racers:
        for _ in range(8):
            with daemons(1) as (holder,):
                assert holder.ask(address) == "serves"
            assert Path(parse(address).path).is_socket()
            assert Path(f"{parse(address).path}.lock").read_text() == f"{holder.pid}\n"
            assert race(racers, address).ask("close") == "closed"


@pytest.mark.contract("8.3")
def test_who_starts_while_another_one_stops_serves_or_says_so(address: str) -> None:
    with daemons(2) as (one, other):
        assert one.ask(address) == "serves"
        for _ in range(60):
            one.tell("close")
            other.tell(address)
            assert one.hear() == "closed"
            answer = other.hear()
            if answer != "serves":
                assert isinstance(answer, dict)
                assert answer["pid"] == one.pid
                assert other.ask(address) == "serves"
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(parse(address).path)
            one, other = other, one


@pytest.mark.contract("8.3")
def test_without_its_lock_file_a_holder_still_answers(address: str) -> None:
    with daemons(2) as (one, other):
        assert one.ask(address) == "serves"
        Path(f"{parse(address).path}.lock").unlink()
        answer = other.ask(address)
        assert isinstance(answer, dict)
        assert answer["pid"] == one.pid
        assert one.ask("close") == "closed"
        assert other.ask(address) == "serves"
