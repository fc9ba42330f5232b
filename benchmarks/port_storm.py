"""Do channels that are made, used once and dropped leave anything behind? Neither in a registry nor in memory.

    python benchmarks/port_storm.py [--channels 100000] [--batch 10000] [--growth 4096]

The daemon and two renderers are three processes. The maker makes channels and sends one port of each to the main
process, which keeps every other one and passes the rest on to the user. A channel is used once and ends in one of three
ways; the table has the CPU time of a channel, and what each process holds and its resident memory after each batch. It
fails if anything is held then, or if a process has grown by more than so many KiB since the first batch.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
from typing import Any, Final

import mainbus
import uvloop
from alone import PATIENCE, end, machine, prepare, resident, start, start_daemon, tell, told, used
from mainbus import IpcRenderer, MessageChannel, MessagePort
from mainbus.port_end import End
from mainbus.port_registry import PortRegistry
from mainbus.port_remote import Remote
from mainbus_broker import Broker
from mainbus_broker.peer_ports import PeerPorts
from mainbus_broker.port_end import PortEnd, Return

ROUND: Final = 500
"""Channels that are under way at a time."""

PROCESSES: Final = ("daemon", "maker", "user")
_PARTS: Final = (MessagePort, End, Remote, PortEnd, Return)


def held() -> int:
    """Return how many parts of channels this process has, and entries in its registries."""
    gc.collect()
    objects = gc.get_objects()
    parts = sum(type(each) in _PARTS for each in objects)
    remotes = sum(len(each) for each in objects if isinstance(each, PortRegistry))
    return parts + remotes + sum(len(each.ports) for each in objects if isinstance(each, PeerPorts))


class Far:
    """The far end of channels: takes their one message, answers those that want it, and counts those that are over."""

    def __init__(self) -> None:
        self._over = 0
        self._changed = asyncio.Event()

    def take(self, port: MessagePort) -> None:
        """Take a port; here nobody holds it any longer than its channel lives."""
        port.on("message", lambda event, port=port: self._used(port, event.data))
        port.on("close", self._closed)
        port.start()

    async def over(self, _: object, count: int) -> None:
        """Wait until so many channels are over."""
        while self._over < count:
            self._changed.clear()
            await self._changed.wait()
        self._over -= count

    def _used(self, port: MessagePort, end: str) -> None:
        if end != "drop":
            port.post_message(end)
        if end == "closed far":
            port.close()

    def _closed(self) -> None:
        self._over += 1
        self._changed.set()


def setup(broker: Broker) -> None:
    """Be the main process: what `mainbus serve port_storm:setup` runs."""
    prepare()
    far = Far()

    def take(event: Any, number: int) -> None:
        contents = broker.web_contents.from_name("user")
        if number % 2 and contents is not None:
            contents.post_message("channel", number, event.ports)
        else:
            far.take(event.ports[0])

    broker.ipc_main.on("channel", take)
    broker.ipc_main.handle("over", far.over)
    broker.ipc_main.handle("held", lambda event: held())


async def user(address: str) -> None:
    """Be the renderer at the far end."""
    far = Far()
    async with mainbus.connect(address, name="user", connect_timeout=PATIENCE) as ipc_renderer:
        ipc_renderer.on("channel", lambda event, number: far.take(event.ports[0]))
        ipc_renderer.handle("over", far.over, senders="renderers")
        ipc_renderer.handle("held", lambda event: held(), senders="renderers")
        tell("ready")
        await asyncio.Event().wait()


async def maker(address: str, channels: int, batch: int) -> None:
    """Be the renderer that makes channels; tells after each batch what is held."""
    async with mainbus.connect(address, name="maker") as ipc_renderer:
        tell("ready")
        for done in range(batch, channels + 1, batch):
            for first in range(done - batch, done, ROUND):
                await make(ipc_renderer, first, min(ROUND, done - first))
            counts = {"daemon": await ipc_renderer.invoke("held"), "maker": held()}
            counts["user"] = await ipc_renderer.invoke_to("user", "held")
            tell([done, counts])


async def make(ipc_renderer: IpcRenderer, first: int, count: int) -> None:
    """Make channels, use them once, and wait until they are over at both ends."""
    left = 0
    over = asyncio.Event()

    def closed() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    for number in range(first, first + count):
        channel = MessageChannel()
        ipc_renderer.post_message("channel", number, [channel.port2])
        port = channel.port1
        # Two for each place: dropped unstarted, and closed here or there when the answer has come.
        how = ("drop", "closed here", "drop", "closed far")[number // 2 % 4]
        port.post_message(how)
        if how != "drop":
            left += 1
            port.on("close", closed)
            port.on("message", lambda event, port=port: port.close() if event.data == "closed here" else None)
            port.start()
    del port, channel
    in_user = sum(number % 2 for number in range(first, first + count))
    await ipc_renderer.invoke("over", count - in_user)
    await ipc_renderer.invoke_to("user", "over", in_user)
    if left:
        await over.wait()


# The parent.


def measure(channels: int, batch: int, most: int) -> list[str]:
    """Run the three processes and print a line for each batch; returns what is wrong."""
    with tempfile.TemporaryDirectory(prefix="mb") as folder:
        address = f"unix:{folder}/s"
        processes: dict[str, subprocess.Popen[str]] = {}
        try:
            processes["daemon"] = start_daemon("port_storm:setup", address)
            # Main passes ports on to the user, who therefore comes first.
            for role in ("user", "maker"):
                processes[role] = start(__file__, role, address, str(channels), str(batch))
                told(processes[role])
            return watch(processes, channels // batch, most)
        finally:
            end(*processes.values())


def watch(processes: dict[str, subprocess.Popen[str]], batches: int, most: int) -> list[str]:
    """Print a line for each batch; returns what is wrong."""
    print(f"{'channels':>10}{'CPU µs':>8}" + "".join(f"{f'{name} KiB':>14}{'held':>6}" for name in PROCESSES))
    wrong: list[str] = []
    first: dict[str, int] = {}
    done, before = 0, sum(map(used, processes.values()))
    for _ in range(batches):
        total, counts = told(processes["maker"])
        now = sum(map(used, processes.values()))
        memory = {name: resident(processes[name]) for name in PROCESSES}
        columns = (f"{memory[name]:>14,}{counts[name]:>6}" for name in PROCESSES)
        print(f"{total:>10,}{(now - before) / (total - done):>8,.0f}" + "".join(columns), flush=True)
        first = first or memory
        wrong += [f"after {total:,} channels the {name} holds {count}" for name, count in counts.items() if count]
        done, before = total, now
    growth = {name: memory[name] - first[name] for name in PROCESSES}
    return wrong + [f"the {name} has grown by {grown:,} KiB" for name, grown in growth.items() if grown > most]


def main() -> None:
    """Be one of the processes, or run them."""
    if sys.argv[1:2] and sys.argv[1] in ("user", "maker"):
        prepare()
        role, address, channels, batch = sys.argv[1:]
        uvloop.run(user(address) if role == "user" else maker(address, int(channels), int(batch)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--growth", type=int, default=4096, help="KiB that a process may grow by after the first batch")
    options = parser.parse_args()
    print(machine())
    wrong = measure(options.channels, options.batch, options.growth)
    print("\n".join(wrong) or "nothing is left behind")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
