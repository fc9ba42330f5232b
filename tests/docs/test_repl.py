"""The example of a REPL runs: it evaluates in its own process, and an error or Ctrl-C brings the prompt back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.checks.tree import ROOT

FOLDER = ROOT / "docs" / "examples" / "repl"
REPL = [sys.executable, "repl.py"]

SAID = """\
A REPL at a running application
>>> changes = listen("changed")
>>> await invoke("add", "milk")
[changed from main] ['milk']
1
>>> await asyncio.gather(invoke("add", "eggs"), invoke("list"))
[changed from main] ['milk', 'eggs']
[2, ['milk', 'eggs']]
>>> for item in await invoke("list"):
...     print(item.upper())
...\x20
MILK
EGGS
>>> await invoke("add", 42)
>>> changes.cancel()
>>> send("clear")
>>> await invoke("list")
[]
>>>\x20
"""


@pytest.fixture
def app(address: str) -> Iterator[str]:
    """Run the application at an address of its own."""
    command = [sys.executable, "-m", "mainbus_broker", "serve", "app:setup", "--address", address]
    with subprocess.Popen(command, cwd=FOLDER, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        assert any("serving" in line for line in daemon.stderr)
        yield address
        daemon.send_signal(signal.SIGTERM)
        daemon.stderr.read()
    assert daemon.returncode == 0


def test_a_session_that_was_written_down() -> None:
    command = [sys.executable, str(FOLDER / "run.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=80, check=False)
    assert (done.returncode, done.stdout) == (0, SAID)
    # The only error is the one that was typed.
    assert done.stderr.count("Traceback") == 1
    assert "ValidationError: Error invoking remote method 'add'" in done.stderr


def test_it_talks_to_other_renderers_too(app: str) -> None:
    lines = [
        f"async with mainbus.connect({app!r}, name='other') as other:",
        "    r = other.handle('double', lambda event, number: 2 * number, senders='renderers')",
        "    print(await invoke('double', 21, to='other'))",
        "",
        "exit()",
        "print('not reached')",
    ]
    typed = "\n".join(["import mainbus", *lines, ""])
    done = subprocess.run(
        [*REPL, app], cwd=FOLDER, input=typed, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-2:] == ["42", ">>> exit()"]
    assert "Traceback" not in done.stderr


def test_ctrl_c_cancels_what_the_prompt_awaits(app: str) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*REPL, app],
        cwd=FOLDER,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as repl:
        assert repl.stdin is not None
        assert repl.stdout is not None
        repl.stdin.write("print('for ever'); await asyncio.Event().wait()\n")
        repl.stdin.flush()
        assert any(line == "for ever\n" for line in repl.stdout)
        repl.send_signal(signal.SIGINT)
        printed, errors = repl.communicate("6 * 7\n", timeout=50)
    assert repl.returncode == 0
    assert printed.splitlines()[:2] == [">>> 6 * 7", "42"]
    assert "CancelledError" in errors


def test_without_an_application_it_says_what_to_do(address: str) -> None:
    path = (FOLDER / "repl.py").read_text()
    assert "connect_timeout=5" in path
    quick = path.replace("connect_timeout=5", "connect_timeout=0")
    done = subprocess.run(
        [sys.executable, "-c", quick, address], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 1
    assert address in done.stderr
    assert "Traceback" not in done.stderr
