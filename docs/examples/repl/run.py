"""A REPL that attaches to a running application: a daemon with the application, and a session that was written down.

For a live one, run `mainbus serve app:setup` in one terminal and `python repl.py` in another.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PATIENCE = 30.0

SESSION = """\
changes = listen("changed")
await invoke("add", "milk")
await asyncio.gather(invoke("add", "eggs"), invoke("list"))
for item in await invoke("list"):
    print(item.upper())

await invoke("add", 42)
changes.cancel()
send("clear")
await invoke("list")
"""


def main() -> int:
    """Run the two; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-repl-") as folder:
        path = Path(folder) / "log"
        env = {**os.environ, "MAINBUS_ADDRESS": f"unix:{folder}/app.sock"}
        with path.open("wb") as log:
            command = [sys.executable, "-m", "mainbus_broker", "serve", "app:setup"]
            daemon = subprocess.Popen(command, cwd=FOLDER, env=env, stderr=log)
            try:
                command = [sys.executable, "repl.py"]
                repl = subprocess.run(
                    command, cwd=FOLDER, env=env, input=SESSION, encoding="utf-8", timeout=PATIENCE, check=False
                )
                # Its last prompt had no answer.
                print(flush=True)
            finally:
                daemon.send_signal(signal.SIGTERM)
                ended = daemon.wait(PATIENCE)
        if repl.returncode or ended:
            print(f"The broker's log:\n{path.read_text()}", file=sys.stderr)
    return repl.returncode or ended


if __name__ == "__main__":
    print("A REPL at a running application", flush=True)
    sys.exit(main())
