"""The application: `mainbus serve app:setup` runs it. It knows nothing of the REPL."""

from mainbus_broker import Broker, IpcMainEvent, IpcMainInvokeEvent

items: list[str] = []


def setup(broker: Broker) -> None:
    """Say what is done with what renderers ask."""

    @broker.ipc_main.handle("list")
    def list_items(event: IpcMainInvokeEvent) -> list[str]:
        return items

    @broker.ipc_main.handle("add")
    def add(event: IpcMainInvokeEvent, item: str) -> int:
        if item in items:
            raise ValueError(f"{item} is there already")
        items.append(item)
        broker.web_contents.broadcast("changed", items)
        return len(items)

    @broker.ipc_main.on("clear")
    def clear(event: IpcMainEvent) -> None:
        items.clear()
