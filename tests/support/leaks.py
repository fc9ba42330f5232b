"""Pytest plugin: a test that leaves a task, thread, process or open file behind fails, and so does an error nobody saw.

The watchers are nested so that what a test's own fixtures clean up is gone when they look: fixtures of the test, then
the tasks on its still open loop, then, with the loop closed, what the operating system sees.
"""

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.nursery import NURSERY

if sys.platform == "win32":
    from tests.support.spares import SPARES

# A cancelled task ends within a few turns of the loop; one that needs longer was not waited for.
TURNS = 20
# The kernel takes its time to end a process or thread; only a failing test waits this long.
PATIENCE = 2.0
PROC = Path("/proc/self")
# Idle workers of a loop's executors: they are the loop's, which joins them when it is closed.
POOLED = ("asyncio_", "AnyIO worker thread")


def pytest_collection_finish() -> None:
    """Open what the first loop opens for good, and set aside what exists, so that a full collection is cheap."""
    if sys.platform != "win32":
        import uvloop

        uvloop.new_event_loop().close()
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    NURSERY.close()
    if sys.platform == "win32":
        SPARES.close()


@pytest.fixture(autouse=True, scope="module")
def _set_aside() -> Iterator[None]:
    """Set aside what a module's tests have left for good (what it imported, reports), for the same reason."""
    yield
    gc.collect()
    gc.freeze()


# The loop's side: only for tests that run on one.


@pytest.fixture
async def _watch_loop() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    usual = loop.get_exception_handler()
    reports: list[str] = []

    def record(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        # The runner re-raises exceptions but only logs what has none: a destroyed pending task, an unclosed transport.
        if not isinstance(context.get("exception"), Exception):
            reports.append(f"{context.get('message')} {context.get('task') or ''}")
        elif usual is not None:
            usual(loop, context)

    loop.set_exception_handler(record)
    before = asyncio.all_tasks()
    yield
    for _ in range(TURNS):
        left = {task for task in asyncio.all_tasks() - before if not _is_runner(task)}
        if not left:
            break
        await asyncio.sleep(0)
    names = sorted(f"{task.get_name()}: {task.get_coro()!r}" for task in left)
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=PATIENCE)
    del left
    gc.collect()  # an exception that nobody retrieved is reported when its future goes
    await asyncio.sleep(0)
    loop.set_exception_handler(usual)
    if names:
        raise AssertionError("tasks left behind:\n  " + "\n  ".join(names))
    if reports:
        raise AssertionError("the loop reported:\n  " + "\n  ".join(reports))


def _is_runner(task: asyncio.Task[object]) -> bool:
    """Tell whether the task is the test runner's own, which runs this very fixture."""
    return task is asyncio.current_task() or "TestRunner." in getattr(task.get_coro(), "__qualname__", "")


# The system's side.


@pytest.fixture
def _watch_system() -> Iterator[None]:
    files, threads, children = open_files(), _threads(), child_processes()
    yield
    left = {
        "threads": lambda: {thread.name for thread in _threads() - threads},
        "processes": lambda: {f"{pid} {_command(pid)}" for pid in child_processes() - children},
        "open files": lambda: {f"{number} {kind}" for number, kind in open_files() - files},
    }
    found = {what: names for what, look in left.items() if (names := _settled(look))}
    for pid in child_processes() - children:
        _end(pid)
    if found:
        lines = [f"{what} left behind: {', '.join(sorted(names))}" for what, names in found.items()]
        pytest.fail("\n".join(lines), pytrace=False)


@pytest.fixture(autouse=True)
def _no_leaks(_watch_system: None, request: pytest.FixtureRequest) -> None:
    """Watch every test. Its loop is there only if it has one, hence the late request."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("_watch_loop")


def _settled(look: Callable[[], set[str]]) -> set[str]:
    """Look until nothing is left or patience ends; the collector runs first, for what only a cycle keeps open."""
    deadline = time.monotonic() + PATIENCE
    found = look()
    if found:
        gc.collect()
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith(POOLED)}


def open_files() -> set[tuple[int, str]]:
    """Return number and kind of this process' file descriptors, where the system tells."""
    found = set()
    for entry in _listed(PROC / "fd"):
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue  # the listing's own descriptor
        found.add((int(entry.name), target))
    return {(number, target) for number, target in found if number != NURSERY.fileno}


def child_processes() -> set[int]:
    """Return the pids of this process' children, ended ones nobody waited for included, where the system tells."""
    found = _children(PROC)
    if NURSERY.pid is not None:
        found = found - {NURSERY.pid} | _children(Path(f"/proc/{NURSERY.pid}"))
    return found


def _children(process: Path) -> set[int]:
    found: set[int] = set()
    for task in _listed(process / "task"):
        try:
            found.update(int(pid) for pid in (task / "children").read_text().split())
        except OSError:
            continue  # the thread has ended, or the kernel keeps no such list
    return found


def _listed(folder: Path) -> list[Path]:
    if sys.platform == "win32":
        return []  # whose emulation on Linux shows the files of Linux; a pipe left open is a ResourceWarning there
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []  # no such system


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace") or "(ended)"
    except OSError:
        return "(gone)"


def _end(pid: int) -> None:
    """Stop a process that a test forgot, so that it cannot disturb the next one."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it ended by itself
