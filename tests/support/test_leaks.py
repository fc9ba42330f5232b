"""The watchers of leaks.py fail a test that leaves something behind, and only such a test."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LEAKY = """
import asyncio, os, subprocess, sys, threading
from tests.support.nursery import NURSERY

async def test_task():
    asyncio.create_task(asyncio.Event().wait(), name="forgotten-task")

async def test_error_nobody_retrieved():
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("unseen"))
    cycle = [future]
    cycle.append(cycle)

async def test_report_without_error():
    asyncio.get_running_loop().call_exception_handler({"message": "something odd"})

def test_file():
    os.open(os.devnull, os.O_RDONLY)

def test_loop_never_closed():
    global kept
    kept = asyncio.new_event_loop()

def test_process():
    global child
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

def test_program():
    order = {"source": "import time; time.sleep(1000)", "args": [], "env": {}, "folder": "/"}
    number, its = os.pipe()
    with open(os.devnull, "r+b") as null, open(number) as fate:
        NURSERY.fork(order, [*[null.fileno()] * 3, its])
        os.close(its)
        assert fate.readline()

def test_thread():
    threading.Thread(target=threading.Event().wait, name="forgotten-thread", daemon=True).start()
"""

TIDY = """
import asyncio, subprocess, sys
import pytest
from tests.support.bus import Program

@pytest.fixture
async def server():
    task = asyncio.create_task(asyncio.Event().wait())
    yield
    task.cancel()

@pytest.fixture(scope="module")
async def shared_by_the_module():
    task = asyncio.create_task(asyncio.Event().wait())
    yield
    task.cancel()

async def test_task_of_a_fixture(server):
    pass

async def test_task_of_the_module(shared_by_the_module):
    pass

async def test_task_cancelled_but_not_awaited():
    async def cleans_up():
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)

    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    task.cancel()

async def test_process_waited_for():
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    assert await process.wait() == 0

async def test_program_that_ends():
    async with Program("say(input())") as program:
        program.process.stdin.write(b"hello\\n")
        assert await program.line() == "hello"

async def test_worker_thread():
    await asyncio.to_thread(int)

def test_sync():
    subprocess.run([sys.executable, "-c", ""], check=True)
"""

CONFTEST = """
import pytest

pytest_plugins = ["tests.support.leaks"]

def pytest_configure(config):
    config.pluginmanager.get_plugin("tests.support.leaks").PATIENCE = 0.2  # nothing here ends late

@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request):
    return "asyncio", {"use_uvloop": request.param}
"""


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project of its own with nothing but the watchers."""
    pytester.makeini(f"[pytest]\nanyio_mode = auto\npythonpath = '{ROOT}'\nfilterwarnings = error")
    pytester.makeconftest(CONFTEST)
    return pytester


def test_what_is_left_behind_fails(inner: pytest.Pytester) -> None:
    inner.makepyfile(LEAKY)
    result = inner.runpytest_subprocess("-q", "-p", "no:cacheprovider")
    output = result.stdout.str()
    on_loops = ("test_task", "test_error_nobody_retrieved", "test_report_without_error")
    failed = {f"{name}[{loop}]" for name in on_loops for loop in ("asyncio", "uvloop")}
    failed |= {"test_file", "test_loop_never_closed", "test_process", "test_program", "test_thread"}
    assert failed == {
        line.split()[1].partition("::")[2] for line in output.splitlines() if line.startswith("ERROR ")
    }, output
    told = "forgotten-task", "unseen", "something odd", "forgotten-thread", "input()", "nursery", "/dev/null"
    for words in (*told, "eventpoll"):
        assert words in output, output


def test_what_is_cleaned_up_passes(inner: pytest.Pytester) -> None:
    inner.makepyfile(TIDY)
    inner.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=13)


def test_what_the_first_loop_opens_for_good_is_no_leak(inner: pytest.Pytester) -> None:
    inner.makepyfile("async def test_nothing(): pass")
    inner.runpytest_subprocess("-q", "-p", "no:cacheprovider").assert_outcomes(passed=2)
