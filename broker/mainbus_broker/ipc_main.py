"""IpcMain: who listens to a channel, and who handles it, in the main process."""

from __future__ import annotations

from mainbus.channels import Channels


class IpcMain(Channels):
    """Electron's `ipcMain`: listeners and handlers of the main process, by channel.

    `contents.ipc` and `frame.ipc` are the same, for one renderer. A listener is called with an `IpcMainEvent` and the
    message's arguments, a handler with an `IpcMainInvokeEvent` and them. Source: Electron's documentation of ipcMain.
    """

    __slots__ = ()
