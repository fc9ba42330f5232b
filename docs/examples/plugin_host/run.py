"""A host for plugins that it does not trust: each is a renderer process with a role that grants one channel.

The host asks, and plugins answer. What one wants beyond that the broker refuses; one that hangs is killed. A role holds
on the bus: what a plugin may do to files is up to the operating system, so run it as another user, or in a sandbox.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from mainbus import InvokeTimeout, RemoteError
from mainbus_broker import Broker, Config, IpcMain, IpcMainInvokeEvent, Match, Role, Spawned

PLUGINS = Path(__file__).resolve().parent / "plugins"
PATIENCE = 60.0
ANSWER = 2.0
"""Seconds that a plugin has to answer."""

ROLES = {
    # Nothing but to be asked on this channel: no `send`, no `invoke`, no other plugins. `broker.spawn` gives it.
    "plugin": Role(handle=["transform"]),
    # Everybody else, such as a plugin that connects once more without its token: nothing at all.
    "stranger": Role(match=Match()),
}

ipc_main = IpcMain()


def show(text: str) -> None:
    """Print what the host has to say."""
    print(f"  host     pid {os.getpid():<7} {text}", flush=True)


@ipc_main.handle("delete-file")
def delete_file(event: IpcMainInvokeEvent, path: str) -> None:
    """Do what only the host's own windows may ask for."""
    show(f"{event.sender.name} has deleted {path}")


async def ask(name: str, plugin: Spawned) -> None:
    """Have a plugin transform a text; one that does not answer in time is ended."""
    try:
        answer = await plugin.contents.invoke("transform", "hello", timeout=ANSWER)
        # It comes from a stranger: a plugin may answer with anything.
        show(f"{name} says {answer}" if isinstance(answer, str) else f"{name} says nonsense")
    except InvokeTimeout:
        show(f"{name} does not answer, and is killed")
        plugin.process.kill()
    except RemoteError as error:
        show(f"{name} has failed with {error.type_name}")


async def main() -> int:
    """Start all plugins, ask each, and end them; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-plugins-") as folder:
        broker = Broker(f"unix:{folder}/app.sock", ipc_main=ipc_main, config=Config(roles=ROLES))
        async with broker, asyncio.timeout(PATIENCE):
            plugins: dict[str, Spawned] = {}
            try:
                for path in sorted(PLUGINS.glob("*.py")):
                    plugins[path.stem] = await broker.spawn([sys.executable, str(path)], name=path.stem, role="plugin")
                for name, plugin in plugins.items():
                    await ask(name, plugin)
                show(f"{broker.stats()['denied']} times somebody wanted more")
            finally:
                for plugin in plugins.values():
                    if plugin.process.returncode is None:
                        plugin.process.kill()
                    await plugin.process.wait()
    return 0


if __name__ == "__main__":
    print("A host for plugins", flush=True)
    sys.exit(asyncio.run(main()))
