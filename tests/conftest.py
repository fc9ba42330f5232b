"""What every test has: the loops it runs on, an address of its own, and the watchers of tests/support."""

import asyncio
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester", "tests.support.leaks", "tests.support.skips", "tests.support.left_out"]

Backend = tuple[str, dict[str, object]]

if sys.platform != "win32":
    # `make test-windows` runs them.
    collect_ignore = [
        "broker/cli/test_doctor_pipe.py",
        "broker/listeners/test_pipe.py",
        "client/test_address_pipe.py",
        "client/test_windows.py",
        "client/transports/test_pipe.py",
        "windows/test_command.py",
        "windows/test_patterns.py",
    ]

LOOPS: list[tuple[str, dict[str, object]]] = [("asyncio", {"use_uvloop": False})]

if sys.platform != "win32":
    LOOPS.append(("uvloop", {"use_uvloop": True}))

# How long the drawing of an example takes is the machine's business. `make fuzz` draws more of them. What is computed
# from them is the same everywhere: under Wine a few are enough.
EXAMPLES = 50 if sys.platform != "win32" else 10
settings.register_profile("mainbus", deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mainbus")

if sys.version_info >= (3, 12):

    def _eager_loop() -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        return loop

    LOOPS.append(("eager", {"loop_factory": _eager_loop}))


def pytest_configure() -> None:
    """Keep the developer's own daemon and settings out of the tests, and give them a Ctrl-C.

    Whoever runs them in the background of a shell has SIGINT ignored, and so would all their processes; and where
    bytecode is not kept, each of those hundreds of processes would compile all sources anew.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Whether what is compiled is tested, or what is not, is for whoever runs them.
    for name in [name for name in os.environ if name.startswith("MAINBUS_") and name != "MAINBUS_PURE"]:
        del os.environ[name]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a test's daemon in this process does to logging."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="module", params=[pytest.param(("asyncio", options), id=name) for name, options in LOOPS])
def anyio_backend(request: pytest.FixtureRequest) -> Backend:
    """Run each async test, and the async fixtures it uses, once on every loop."""
    backend: Backend = request.param
    return backend


@pytest.fixture
def address() -> Iterator[str]:
    """An address that nobody else uses: on Windows a pipe, else in a folder of mode 0700 and short enough."""
    if sys.platform == "win32":
        yield f"pipe:mb-{secrets.token_hex(8)}"
        return
    folder = Path(tempfile.mkdtemp(prefix="mb"))
    yield f"unix:{folder}/s"
    shutil.rmtree(folder)
