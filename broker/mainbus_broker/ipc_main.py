"""IpcMain: who listens to a channel, and who handles it, in the main process."""

from __future__ import annotations

from typing import Self

from mainbus.channels import Channels
from mainbus.ownership import Owner


class IpcMain(Channels):
    """Electron's `ipcMain`: listeners and handlers of the main process, by channel.

    `contents.ipc` and `frame.ipc` are the same, for one renderer. A listener is called with an `IpcMainEvent` and the
    message's arguments, a handler with an `IpcMainInvokeEvent` and them. Any thread may register until a broker that
    uses it has started; from then on it belongs to the thread of the broker's loop. Source: Electron's documentation of
    ipcMain.
    """

    __slots__ = ("_owner",)

    def __init__(self) -> None:
        super().__init__()
        self._owner: Owner | None = None

    # For the broker

    def belong_to(self, owner: Owner) -> Self:
        """Let nobody but `owner`'s thread change it from now on: a broker uses it. Returns itself."""
        self._owner = owner
        return self

    def let_go(self, owner: Owner) -> None:
        """Let every thread change it again, unless another broker has it."""
        if self._owner is owner:
            self._owner = None

    def _check_thread(self) -> None:
        if self._owner is not None:
            self._owner.check()
