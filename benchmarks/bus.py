"""mainbus over its public API, with its default configuration: what a user gets."""

from __future__ import annotations

from typing import Any

import common
import mainbus
from mainbus_broker import Broker, IpcMain
from processes import Subject

TO_MAIN = Subject("mainbus, renderer to main", __file__, servers=("broker",), driver="drive_main")
TO_RENDERER = Subject("mainbus, renderer to renderer", __file__, servers=("broker", "answer"))
ONE_WAY_TO_MAIN = Subject("mainbus, send to main", __file__, servers=("sink_main",), driver="drive_main")
ONE_WAY_TO_RENDERER = Subject("mainbus, send_to a renderer", __file__, servers=("broker", "sink"))


async def _serve(order: common.Order, ipc_main: IpcMain) -> None:
    async with Broker(f"unix:{order.path}", ipc_main=ipc_main) as running:
        common.ready()
        await running.serve_forever()


async def broker(order: common.Order) -> None:
    ipc_main = IpcMain()
    ipc_main.handle("echo", lambda event, value: value)
    await _serve(order, ipc_main)


async def sink_main(order: common.Order) -> None:
    counter = common.Sink()
    ipc_main = IpcMain()
    ipc_main.on("message", counter.hit)
    ipc_main.on("end", counter.end)
    await _serve(order, ipc_main)


async def answer(order: common.Order) -> None:
    async with mainbus.connect(f"unix:{order.path}", name="answer") as ipc_renderer:
        ipc_renderer.handle("echo", lambda event, value: value, senders="renderers")
        common.ready()
        await common.forever()


async def sink(order: common.Order) -> None:
    counter = common.Sink()
    async with mainbus.connect(f"unix:{order.path}", name="sink") as ipc_renderer:
        ipc_renderer.on("message", counter.hit, senders="renderers")
        ipc_renderer.on("end", counter.end, senders="renderers")
        common.ready()
        await common.forever()


async def drive_main(order: common.Order) -> None:
    async with mainbus.connect(f"unix:{order.path}") as ipc_renderer:
        await common.drive(
            order,
            lambda: ipc_renderer.invoke("echo", common.PAYLOAD),
            lambda: ipc_renderer.send("message", common.PAYLOAD),
            ipc_renderer.drain,
        )
        ipc_renderer.send("end")


async def drive(order: common.Order) -> None:
    async with mainbus.connect(f"unix:{order.path}") as ipc_renderer:
        await common.drive(
            order,
            lambda: ipc_renderer.invoke_to("answer", "echo", common.PAYLOAD),
            lambda: ipc_renderer.send_to("sink", "message", common.PAYLOAD),
            ipc_renderer.drain,
        )
        if order.workload == "one-way":
            ipc_renderer.send_to("sink", "end")


ROLES: dict[str, Any] = {
    "broker": broker,
    "sink_main": sink_main,
    "answer": answer,
    "sink": sink,
    "drive_main": drive_main,
    "drive": drive,
}

if __name__ == "__main__":
    common.main(ROLES)
