"""The processes that are measured: they start, answer, and end with whoever started them."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import mainbus
import pytest
from mainbus_broker.cli import bench_ends
from mainbus_broker.cli.bench_ends import COUNT, ECHO, MESSAGE, NAME, Ends, loop_factory
from mainbus_broker.cli.failures import ExitCode, Failure

from tests.support.commands import Running


@pytest.fixture
def anyio_backend() -> str:
    """The processes have the same loop either way."""
    return "asyncio"


@pytest.mark.parametrize("target", [0, NAME])
async def test_both_ends_echo_and_count(target: int | str) -> None:
    ends = await asyncio.to_thread(Ends().__enter__)
    try:
        async with mainbus.connect(ends.address) as ipc_renderer:
            assert await ipc_renderer.invoke_to(target, ECHO, {"a": 1}) == {"a": 1}
            ipc_renderer.send_to(target, MESSAGE, 1)
            ipc_renderer.send_to(target, MESSAGE, 2)
            assert await ipc_renderer.invoke_to(target, COUNT) == 2
    finally:
        await asyncio.to_thread(ends.__exit__)
    assert not Path(ends.address.removeprefix("unix:")).parent.exists()


def test_a_folder_whose_path_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(Failure, match="set TMPDIR to a folder with a shorter path") as caught, Ends():
        pass
    assert caught.value.code == ExitCode.UNREACHABLE
    assert list(deep.iterdir()) == []


def test_one_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(Failure, match="the broker to be measured did not start"), Ends():
        pass


def test_the_loop_is_the_daemons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = loop_factory()
    assert factory is not None
    loop = factory()
    loop.close()
    assert type(loop).__module__ == "uvloop"
    monkeypatch.setattr(bench_ends, "find_spec", lambda name: None)
    assert loop_factory() is None


def test_they_end_with_whoever_started_them_however_that_ends(tmp_path: Path) -> None:
    start = "from mainbus_broker.cli.bench_ends import Ends; ends = Ends().__enter__(); print(ends.address, flush=True)"
    # As a shell starts what runs in the background.
    code = f"import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); {start}; signal.pause()"
    with Running(argv=[sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}) as parent:
        assert Path(parent.line().removeprefix("unix:")).is_socket()
        parent.process.kill()
        # They have it, too: it is at its end when the last of them is gone.
        assert parent.process.stderr is not None
        assert parent.process.stderr.read() == ""
