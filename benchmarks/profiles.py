"""Where do the microseconds go? The functions that the processes of mainbus spend their time in, under one workload.

    python benchmarks/profiles.py [--workload one-way] [--seconds 5] [--peer mainbus] [--flame FOLDER]

py-spy looks at each process many times a second, which needs the right to trace it: the same user where the system
allows that, or root. With `--native` the frames of compiled parts are told apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import peers
from processes import Options, Process, Stage

SHOWN: Final = 15
MAIN_THREAD: Final = "<module> (worker.py"
RATE: Final = 500
"""Looks a second."""


def record(process: Process, path: str, form: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Begin to look at a process."""
    command = ["py-spy", "record", "--pid", str(process.pid), "--format", form, "--output", path]
    command += [
        "--rate",
        str(RATE),
        "--duration",
        str(options.seconds),
        "--function",
        *(["--native"] if options.native else []),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def hottest(path: str) -> tuple[Counter[str], int]:
    """Return how often each function was found at work, and how often one was."""
    found: Counter[str] = Counter()
    for line in Path(path).read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        # Threads that wait for the parent are none of the workload.
        if MAIN_THREAD not in stack:
            continue
        found[stack.rpartition(";")[2]] += int(count)
    return found, found.total()


def main() -> None:
    """Run the processes and look at them."""
    options = _arguments()
    peer = peers.load(options.peer)
    with Stage(Options(seconds=options.seconds)) as stage:
        processes: dict[str, Process] = {}
        for role in peer.servers:
            processes[role] = stage.start(peer.command, stage.order(role))
            processes[role].wait_until_ready()
        processes["drive"] = stage.start(peer.command, stage.order("drive", [options.workload]))
        processes["drive"].wait_until_ready()
        processes["drive"].go()
        form, folder = ("flamegraph", options.flame) if options.flame else ("raw", Path(stage.folder))
        paths = {role: f"{folder}/{role}.{'svg' if options.flame else 'raw'}" for role in processes}
        lookers = [record(process, paths[role], form, options) for role, process in processes.items()]
        if any(looker.wait() for looker in lookers):
            sys.exit("py-spy may not look at the processes, or they have failed")
        for role, path in paths.items():
            if options.flame:
                print(path)
            else:
                _show(f"{options.workload}: {role}", *hottest(path))


def _show(title: str, found: Counter[str], total: int) -> None:
    print(f"\n{title}, {total:,} looks")
    for name, count in found.most_common(SHOWN):
        print(f"{count / total:6.1%}  {name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="in-flight", help="latency, in-flight, one-way or payload:BYTES")
    parser.add_argument(
        "--peer", choices=[name for name in peers.FILES if name.startswith("mainbus")], default="mainbus"
    )
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--native", action="store_true", help="look into compiled parts, too")
    parser.add_argument("--flame", type=Path, metavar="FOLDER", help="write flame graphs there instead")
    options = parser.parse_args()
    if shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") is None:
        parser.error("this needs py-spy: pip install py-spy")
    return options


if __name__ == "__main__":
    main()
