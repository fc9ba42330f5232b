"""Which codec runs: the compiled one where there is one, unless Python was asked for."""

import os
import subprocess
import sys

from mainbus.wire import CODEC

SAY = "from mainbus.wire import CODEC; print(CODEC)"


def test_a_process_that_is_asked_for_python_has_python() -> None:
    said = subprocess.run(
        [sys.executable, "-c", SAY], env={**os.environ, "MAINBUS_PURE": "1"}, capture_output=True, text=True, check=True
    )
    assert said.stdout == "pure\n"


def test_these_tests_run_what_was_asked_for() -> None:
    assert CODEC == "pure" or not os.environ.get("MAINBUS_PURE")
