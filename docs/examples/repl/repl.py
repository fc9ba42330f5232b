"""A REPL that attaches to a running application: its prompt knows `await`, `invoke`, `send` and `listen`.

What is typed is evaluated in this process: the broker and the application see nothing but messages.
"""

import ast
import asyncio
import code
import contextlib
import inspect
import signal
import sys
import types
from typing import Any

import mainbus
from mainbus import ConnectRefused, IpcRenderer, IpcRendererEvent, Registration, Reply

with contextlib.suppress(ImportError):  # a prompt with history, where Python has it
    import readline  # noqa: F401

BANNER = """await invoke(channel, *args, to=0)  asks the main process, or the renderer `to`
send(channel, *args, to=0)          tells it
listen(channel)                     prints what comes from now on; its cancel() ends that
ipc_renderer                        is all the rest, such as await ipc_renderer.peers()"""


class Console(code.InteractiveConsole):
    """Reads in a thread and evaluates on the loop: messages are printed while the prompt waits for somebody to type."""

    def __init__(self, names: dict[str, Any]) -> None:
        super().__init__(names)
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._running: asyncio.Task[object] | None = None

    def interrupt(self) -> None:
        """Cancel what the prompt awaits."""
        if self._running is not None:
            self._running.cancel()

    def raw_input(self, prompt: str = "") -> str:
        """Read a line; one that comes from a file or a pipe is shown as if it had been typed."""
        line = super().raw_input(prompt)
        if not sys.stdin.isatty():
            print(line, flush=True)
        return line

    def runcode(self, code: types.CodeType) -> None:
        """Evaluate what was read, and print its error if it has one."""
        error = asyncio.run_coroutine_threadsafe(self._evaluate(code), self._loop).result()
        try:
            if error is not None:
                raise error
        except SystemExit:  # exit()
            raise
        except BaseException:  # noqa: BLE001 - the prompt comes back, whatever it was
            self.showtraceback()

    async def _evaluate(self, code: types.CodeType) -> BaseException | None:
        self._running = asyncio.current_task()
        try:
            result = types.FunctionType(code, self._names)()
            if inspect.iscoroutine(result):
                await result
        except BaseException as error:  # noqa: BLE001 - it belongs to the prompt, not to the loop
            return error
        finally:
            self._running = None
        return None


def helpers(ipc_renderer: IpcRenderer) -> dict[str, Any]:
    """Return what the prompt has by name."""

    def invoke(channel: str, *args: object, to: int | str = 0, timeout: float | None = 10) -> Reply:
        return ipc_renderer.invoke_to(to, channel, *args, timeout=timeout)

    def send(channel: str, *args: object, to: int | str = 0) -> None:
        ipc_renderer.send_to(to, channel, *args)

    def listen(channel: str) -> Registration:
        def show(event: IpcRendererEvent, *args: object) -> None:
            print(f"[{channel} from {event.sender_name or event.sender_id or 'main'}]", *args)

        return ipc_renderer.on(channel, show, senders="any")

    return {"ipc_renderer": ipc_renderer, "invoke": invoke, "send": send, "listen": listen, "asyncio": asyncio}


async def main(address: str | None) -> None:
    """Attach, and read to the end of the input."""
    async with mainbus.connect(address, connect_timeout=5) as ipc_renderer:
        console = Console(helpers(ipc_renderer))
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, console.interrupt)  # Ctrl-C
        ipc_renderer.events.on("disconnected", lambda reason: print(f"[disconnected: {reason}]"))
        with contextlib.suppress(SystemExit):
            await asyncio.to_thread(console.interact, BANNER, "")


try:
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
except ConnectRefused as error:
    sys.exit(str(error))
