"""A guest and its host: an editor starts a plugin that may talk to it and to the main process.

This starts the daemon with the main process in it, and the editor, and waits for both.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
PATIENCE = 30.0


def main() -> int:
    """Run the two; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-guest-") as folder:
        path = Path(folder) / "log"
        env = {**os.environ, "MAINBUS_ADDRESS": f"unix:{folder}/app.sock"}
        with path.open("wb") as log:
            command = [sys.executable, "-m", "mainbus_broker", "serve", "app:ipc_main"]
            daemon = subprocess.Popen(command, cwd=FOLDER, env=env, stderr=log)
            try:
                command = [sys.executable, "editor.py"]
                code = subprocess.run(command, cwd=FOLDER, env=env, timeout=PATIENCE, check=False).returncode
            finally:
                daemon.send_signal(signal.SIGTERM)
                ended = daemon.wait(PATIENCE)
        if code or ended:
            print(f"The broker's log:\n{path.read_text()}", file=sys.stderr)
    return code or ended


if __name__ == "__main__":
    print("A guest and its host", flush=True)
    sys.exit(main())
