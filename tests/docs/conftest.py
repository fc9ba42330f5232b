"""What tests of programs with a window need."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec

import pytest


@pytest.fixture
def display() -> Iterator[str]:
    """Run an X server that nobody sees; it picks its number itself."""
    if find_spec("_tkinter") is None or shutil.which("Xvfb") is None:
        pytest.skip("needs tkinter and Xvfb")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        try:
            with os.fdopen(reading) as pipe:
                yield f":{pipe.readline().strip()}"
        finally:
            server.terminate()
