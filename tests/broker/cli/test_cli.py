"""The entry point of the `mainbus` command: what happens before there is a command."""

import subprocess
import sys

INTERRUPTED = """
import sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "mainbus_broker.cli.command":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from mainbus_broker.cli import main
sys.exit(main(["--version"]))
"""


def test_an_interrupt_while_it_loads_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
