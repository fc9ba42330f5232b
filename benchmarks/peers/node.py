"""Node: the same processes in JavaScript, on its net module; v8.serialize is the structured clone of Electron's IPC.

Its ends are not in Python, so it is a yardstick and no rival. Electron itself needs a display.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from common import Order, Role

from peers.base import Peer

WORKER: Final = str(Path(__file__).parent / "node_worker.js")


class Node(Peer):
    name = "node"
    title = "Node, 3 processes, all in JavaScript"
    programs = ("node",)
    rival = False
    driver: ClassVar[str] = "drive"

    def command(self, order: Order) -> list[str]:
        role = self.driver if order.role == "drive" else order.role
        return ["node", WORKER, replace(order, role=role).to_json()]

    def roles(self) -> dict[str, Role]:
        """Return nothing: its processes do not run Python."""
        return {}


class NodeMain(Node):
    name = "node-main"
    title = "Node, 2 processes, all in JavaScript"
    servers = ("broker",)
    workloads = frozenset({"latency", "in-flight", "one-way", "payload"})
    driver = "drive_main"


PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in (Node(), NodeMain())}
