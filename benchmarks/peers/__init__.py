"""Everything that is measured side by side: a file for each kind, all over one interface (`base.py`)."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from peers.base import Peer

FILES: Final = {
    "L0": "sockets",
    "L1": "sockets",
    "L2": "loops",
    "L2-codec": "loops",
    "L3": "loops",
    "multiprocessing": "pipes",
    "mainbus-main": "mainbus_bus",
    "mainbus": "mainbus_bus",
    "mainbus-socket": "mainbus_bus",
    "mainbus-port": "mainbus_ports",
    "nats": "nats_server",
    "zmq": "zeromq",
    "zmq-blocking": "zeromq",
    "dbus": "dbus_daemon",
    "redis": "redis_server",
    "rpyc": "rpyc_server",
    "node-main": "node",
    "node": "node",
}
"""The file that has each peer; of them all only one is imported in a measured process."""


def load(name: str) -> Peer:
    """Return one peer by its name."""
    found: Peer = import_module(f"peers.{FILES[name]}").PEERS[name]
    return found


def that_can(workload: str) -> list[str]:
    """Return the names of the peers that have a workload."""
    return [name for name in FILES if load(name).can(workload)]
