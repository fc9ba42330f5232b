"""What a renderer may ask the broker itself: who is there, and what the main process offers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mainbus.answers import Answers, Outcome
from mainbus.errors import NoHandlerError

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer


def answer_query(hub: Hub, asker: Peer, query: str, answers: Answers) -> Outcome:
    """Return the answer to a QUERY packet, as `Answers` does."""
    if query == "peers":
        return answers.result([[peer.id, peer.name] for peer in hub.renderers if peer is not asker])
    if query == "status":
        return answers.result(status(hub))
    return answers.refused(NoHandlerError(query))


def status(hub: Hub) -> dict[str, object]:
    """Return what `mainbus list` shows."""
    now = hub.loop.time()
    return {
        "pid": os.getpid(),
        "renderers": [
            {
                "id": peer.id,
                "name": peer.name,
                "role": peer.role,
                "pid": peer.process.pid,
                "uptime": round(now - peer.joined, 3),
                "queued": peer.contents.queued,
            }
            for peer in hub.renderers
        ],
        "channels": {
            channel: {"listeners": info.listeners, "handler": info.has_handler}
            for channel, info in hub.main.ipc_main.channels().items()
        },
    }
