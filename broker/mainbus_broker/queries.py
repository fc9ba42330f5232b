"""What a renderer may ask the broker itself: who is there, and what the main process offers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from mainbus.answers import Answers, Outcome
from mainbus.channels import check_channel
from mainbus.errors import NoHandlerError, ValidationError
from mainbus.wire import CODEC
from mainbus.wire.packets import MAIN

from mainbus_broker.roles import VERBS
from mainbus_broker.versions import loop_version, python_version, version_of

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.ipc_main import IpcMain
    from mainbus_broker.peer import Peer


ASKED_WITH_ARGS: Final = frozenset({"granted"})
"""Questions that have arguments; of the others the body is not looked at."""


def answer_query(hub: Hub, asker: Peer, query: str, args: Sequence[object], answers: Answers) -> Outcome:
    """Return the answer to a QUERY packet, as `Answers` does."""
    if query == "granted":
        return _granted(asker, args, answers)
    if query == "peers":
        if asker.policy is not None and not asker.policy.sees_others:
            return answers.result([])
        return answers.result([[peer.id, peer.name] for peer in hub.renderers if peer is not asker])
    if query == "status":
        return answers.result(status(hub))
    return answers.refused(NoHandlerError(query))


def status(hub: Hub) -> dict[str, object]:
    """Return what the broker tells of itself to `mainbus list` and `mainbus doctor`."""
    now = hub.loop.time()
    return {
        "pid": os.getpid(),
        "uptime": round(now - hub.started, 3),
        "version": version_of("mainbus"),
        "python": python_version(),
        "loop": loop_version(hub.loop),
        "codec": CODEC,
        "limits": asdict(hub.config.limits),
        "renderers": [
            {
                "id": peer.id,
                "name": peer.name,
                "role": peer.role,
                "pid": peer.process.pid,
                "uptime": round(now - peer.joined, 3),
                "queued": peer.queued,
            }
            for peer in hub.renderers
        ],
        "channels": list(_channels(hub)),
    }


def _granted(asker: Peer, args: Sequence[Any], answers: Answers) -> Outcome:
    """Tell whether the role of who asks grants a verb on a channel."""
    verb, channel = args if len(args) == 2 else ("", "")
    if verb not in VERBS:
        return answers.refused(ValidationError(f"expected one of {', '.join(VERBS)}, and a channel"))
    try:
        raw = check_channel(channel)
    except TypeError as error:
        return answers.refused(ValidationError(str(error)))
    return answers.result(asker.policy is None or asker.policy.allows(verb, raw))


def _channels(hub: Hub) -> Iterator[dict[str, object]]:
    """Yield the channels of the main process, then what it has for one renderer or frame (`contents.ipc`)."""
    yield from _rows(hub.main.ipc_main, MAIN, None)
    for peer in hub.renderers:
        for frame, ipc in peer.contents.own_registries():
            yield from _rows(ipc, peer.id, frame)


def _rows(ipc: IpcMain, renderer: int, frame: int | None) -> Iterator[dict[str, object]]:
    for channel, info in ipc.channels().items():
        offer = {"channel": channel, "listeners": info.listeners, "handler": info.has_handler}
        yield {**offer, "renderer": renderer, "frame": frame}
