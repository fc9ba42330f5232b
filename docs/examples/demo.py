"""The demo: a daemon and two renderers, each a process of its own, run Electron's four IPC patterns and send_sync.

Every message is printed where it arrives, with the processes at both ends. The exit code is 0 if all of them came.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

FOLDER = Path(__file__).resolve().parent / "demo_app"
PATIENCE = 30.0

# What is to come, in this order: sender, receiver, verb, channel.
Step = tuple[str, str, str, str]
SECTIONS: dict[str, list[Step]] = {
    "Pattern 1: renderer to main, one way": [("editor", "main", "send", "set-title")],
    "Pattern 2: renderer to main, and back": [
        ("editor", "main", "invoke", "dialog:open-file"),
        ("main", "editor", "result", "dialog:open-file"),
    ],
    "Pattern 3: main to renderer, and its reply": [
        ("editor", "main", "send", "menu:click"),
        ("main", "editor", "send", "update-counter"),
        ("editor", "main", "send", "counter-value"),
    ],
    "send_sync: the renderer stands still until the answer": [
        ("editor", "main", "send_sync", "get-counter"),
        ("main", "editor", "result", "get-counter"),
    ],
    "Pattern 4: renderer to renderer, through the broker": [
        ("editor", "preview", "send_to", "show-text"),
        ("editor", "preview", "invoke_to", "count-words"),
        ("preview", "editor", "result", "count-words"),
    ],
}


class DemoFailed(Exception):
    """What was to be shown did not happen."""


class Screen:
    """Prints the messages, aligned, in colour on a terminal that has it."""

    def __init__(self) -> None:
        utf8 = (sys.stdout.encoding or "").lower().startswith("utf")
        self._arrow = "──▶" if utf8 else "-->"
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def heading(self, text: str) -> None:
        print(f"\n{self._paint('1', text)}", flush=True)

    def process(self, process: dict[str, Any], what: str) -> None:
        print(f"  {self._end(process)}  {what}", flush=True)

    def message(self, sender: dict[str, Any], receiver: dict[str, Any], report: dict[str, Any]) -> None:
        data = ", ".join(json.dumps(item) for item in report["data"])
        verb = self._paint("2", f"{report['verb']:<9}")
        channel = self._paint("36", report["channel"])
        line = f"  {self._end(sender)} {self._arrow} {self._end(receiver)}  {verb} {channel}  {data}"
        print(line.rstrip(), flush=True)

    def _end(self, process: dict[str, Any]) -> str:
        name = self._paint("32" if process["id"] else "35", f"{process['name']:<7}")
        return f"{name} id {process['id']} pid {process['pid']:<7}"

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


class Demo:
    """The processes, and what they report on the one pipe that they share: its order is the order of events."""

    def __init__(self, log: IO[bytes]) -> None:
        self._deadline = time.monotonic() + PATIENCE
        self._log = log
        self._screen = Screen()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._known: dict[int, dict[str, Any]] = {}
        reading, self._pipe = os.pipe()
        self._reports = _lines(reading, self._deadline)

    def run(self, address: str) -> None:
        """Start everything, show what happens, end everything.

        Raises:
            DemoFailed: Something else happened.
        """
        env = {**os.environ, "MAINBUS_ADDRESS": address}
        try:
            self._screen.heading("Three processes")
            self._start("main", ["-m", "mainbus_broker", "serve", "app:ipc_main", "--address", address], env)
            # The editor speaks first, so the preview has to be there; both wait for the broker by themselves.
            self._start("preview", [str(FOLDER / "preview.py")], env)
            self._meet("main", "preview")
            self._start("editor", [str(FOLDER / "editor.py")], env)
            self._meet("editor")
            for heading, steps in SECTIONS.items():
                self._screen.heading(heading)
                for step in steps:
                    self._show(step)
            self._ended("editor")
            self._ended("preview")
            self._running["main"].send_signal(signal.SIGTERM)
            self._ended("main")
        finally:
            os.close(self._pipe)
            self._reports.close()
            for process in self._running.values():
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def _start(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        self._running[name] = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=FOLDER,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=self._pipe,
            stderr=self._log if name == "main" else None,
            # Ctrl-C is for the demo alone, which ends them.
            process_group=0,
        )

    def _meet(self, *names: str) -> None:
        """Wait until each of these processes has said who it is."""
        missing = set(names)
        while missing:
            report = self._next()
            name = report.get("name")
            if name not in missing:
                raise DemoFailed(f"expected to hear from {' and '.join(sorted(missing))} first, not {report}")
            missing.discard(name)
            if report["pid"] != self._running[name].pid:
                raise DemoFailed(f"{name} says it is process {report['pid']}, not {self._running[name].pid}")
            self._known[report["id"]] = report
            self._screen.process(report, "the main process, with the broker" if name == "main" else "a renderer")

    def _show(self, step: Step) -> None:
        report = self._next()
        sender, receiver = self._known.get(report.get("from", -1)), self._known.get(report.get("to", -1))
        if sender is None or receiver is None:
            raise DemoFailed(f"a message between strangers: {report}")
        if (sender["name"], receiver["name"], report["verb"], report["channel"]) != step:
            raise DemoFailed(f"expected {step}, not {report}")
        # Each end has said its process ID at its start; the main process has the sender's from the kernel as well.
        if report["to_pid"] != receiver["pid"] or report.get("from_pid", sender["pid"]) != sender["pid"]:
            raise DemoFailed(f"process IDs do not match: {report}")
        self._screen.message(sender, receiver, report)

    def _next(self) -> dict[str, Any]:
        for line in self._reports:
            if line.startswith(b"{"):
                report: dict[str, Any] = json.loads(line)
                return report
            for name, process in self._running.items():
                if not line and process.poll():
                    raise DemoFailed(f"{name} ended with exit code {process.returncode}")
        raise DemoFailed(f"nothing more happened in {PATIENCE:g} s")

    def _ended(self, name: str) -> None:
        try:
            code = self._running[name].wait(max(0.0, self._deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{name} does not end") from None
        if code:
            raise DemoFailed(f"{name} ended with exit code {code}")


def _lines(pipe: int, deadline: float) -> Generator[bytes]:
    """Yield what comes on a pipe line by line, and an empty line whenever nothing does, until the deadline."""
    rest = b""
    with selectors.DefaultSelector() as selector, os.fdopen(pipe, "rb", buffering=0) as stream:
        selector.register(stream, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if not selector.select(0.1):
                yield b""
                continue
            *lines, rest = (rest + stream.read(65536)).split(b"\n")
            yield from lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="write the broker's log to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mainbus-demo-") as folder:
        path: Path = options.log or Path(folder) / "log"
        try:
            with path.open("wb") as log:
                Demo(log).run(f"unix:{folder}/app.sock")
        except DemoFailed as error:
            print(f"\nThe demo failed: {error}\nThe broker's log:\n{path.read_text()}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print("\nAll messages arrived.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
