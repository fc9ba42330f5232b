"""The routes of one renderer: to the main process, to each renderer it talks to, and that of its broadcasts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mainbus.lobby import Lobby
from mainbus.outbox import Outbox
from mainbus.routes import Entry, Route
from mainbus.wire.packets import MAIN, Kind, build

BROADCASTS: Final = -1
"""The key of the broadcasts' route: they keep an order of their own."""

_APART: Final = (MAIN, BROADCASTS)
_KEPT: Final = 1024
_NAMES_KEPT: Final = 16 * 1024


class RouteTable:
    """Routes by what their target is addressed with: one for each renderer, whether by its id or by its name.

    A renderer never changes its name, and its id is never used again. So the route of a renderer that has a name is
    that of the name, whoever else has the name before or after it; nothing has to be told when a name passes on. Of
    an id one only has to know the name: `learn` says it, or the broker is asked once, and what is sent waits for that
    in the `lobby`.

    Args:
        outbox: What the routes lead to.
    """

    __slots__ = ("_broadcasts_held_by", "_can_ask", "_credit", "_lobby", "_open", "_outbox", "_routes", "main", "names")

    def __init__(self, outbox: Outbox) -> None:
        self.main = Route(outbox, 0)
        self.names: dict[int, str | None] = {}
        """The names of renderers by id, as far as somebody has told; None: it has no name."""
        self._outbox = outbox
        self._credit = 0
        self._routes: dict[int | str, Route] = {MAIN: self.main}
        self._open = self._routes
        """Where `to` looks: in the routes, or while the lobby is open in what waits there."""
        self._lobby = Lobby(outbox)
        self._can_ask = True
        # No set: an empty one has 216 bytes.
        self._broadcasts_held_by: dict[int, None] = {}

    # Public: the way to a target

    def to(self, target: int | str) -> Route:
        """Return the route to a target; a new one, if need be. What is put there keeps its order, whatever it is."""
        return self._open.get(target) or self._find(target)

    def get(self, target: int | str) -> Route | None:
        """Return the route to a target, if there is one."""
        key = self._key(target)
        return self._routes.get(target) or (self._routes.get(key) if key else None)

    def size(self, target: int | str) -> int:
        """Return the bytes that wait for a target."""
        return sum(route.size for route in {self._open.get(target), self.get(target)} if route is not None)

    def is_busy(self, target: int | str) -> bool:
        """Whether something waits that may be for a target, or it was asked to be left alone."""
        route = self.get(target)
        # Whatever waits in the lobby may be for it, however it is addressed.
        return not self._lobby.is_empty or (route is not None and (route.paused or route.size > 0))

    # Public: who is who

    def learn(self, peer: int, name: str | None) -> None:
        """Note the name of a renderer; None if it has none."""
        if len(self.names) >= _NAMES_KEPT:
            # Whoever is needed again is asked for again.
            self.names.clear()
        self.names[peer] = name

    def answered(self, peer: int, name: str | None, *, exists: bool) -> None:
        """Note what the broker has answered about an id; `leave_lobby` comes next."""
        waiting = self._lobby.asked.pop(peer, None)
        if exists:
            self.learn(peer, name)
        if waiting is not None and exists:
            waiting.key = name or peer
        elif waiting is not None:
            waiting.is_nobody = True
            # There may be one by the time of the next message, which asks again.
            del self._open[peer]

    def leave_lobby(self) -> Iterator[tuple[Entry, Route | None]]:
        """Move on what waits for no answer any more. Yields each message and its route; None: there is no target."""
        for waiting, entry in self._lobby.leave():
            if waiting.key is None:
                yield entry, None
            else:
                route = self._settle(waiting.target, waiting.key)
                route.adopt(entry)
                yield entry, route
        if self._lobby.is_empty and not self._lobby.asked:
            self._open = self._routes

    # Public: flow

    @property
    def any_paused(self) -> bool:
        """Whether any target was asked to be left alone for now."""
        return any(route.paused for route in self._routes.values())

    def pause(self, peer: int, name: str | None, *, broadcasts: bool) -> None:
        """Hold what goes to a renderer, and this renderer's broadcasts if they add to its queue too."""
        if peer != MAIN:
            self.learn(peer, name)
        self._settle(peer, name or peer).pause()
        if broadcasts:
            self._broadcasts_held_by[peer] = None
            self._settle(BROADCASTS, BROADCASTS).pause()

    def resume(self, peer: int) -> None:
        """Let go what `pause` has held."""
        route = self._routes.get(peer)
        if route is not None:
            route.resume()
        self._broadcasts_held_by.pop(peer, None)
        if not self._broadcasts_held_by and BROADCASTS in self._routes:
            self._routes[BROADCASTS].resume()

    def set_credit(self, credit: int) -> None:
        """Allow this many unanswered invokes on each route."""
        self._credit = credit
        for route in self._routes.values():
            route.set_credit(credit)

    # Public: from one connection to the next

    def reset(self) -> set[int]:
        """Make ready for another connection; returns the requests of the invokes that have not begun to leave."""
        self._can_ask = False
        self._broadcasts_held_by.clear()
        requests = {request for route in self._routes.values() for request in route.reset()}
        return requests | self._lobby.reset()

    def forget_ids(self) -> Iterator[bytes]:
        """Drop what is addressed to ids: another broker gives them to others. Yields the first packet of each."""
        self.names.clear()
        for routes in (self._routes, self._open):
            for target in [key for key in routes if isinstance(key, int) and key not in _APART]:
                # It may be the route of a name too; what is addressed by that stays.
                yield from routes.pop(target).forget_ids()
        yield from self._lobby.forget_ids()

    def restart(self) -> None:
        """Let everything leave that may; `leave_lobby` comes next."""
        self._can_ask = True
        for peer in self._lobby.asked:
            self._ask(peer)
        for route in self._routes.values():
            route.resume()

    # Private

    def _find(self, target: int | str) -> Route:
        key = self._key(target)
        if self._open is self._routes:
            if key is not None:
                return self._settle(target, key)
            self._open = {apart: self._settle(apart, apart) for apart in _APART}
        waiting = self._open[target] = self._lobby.enter(target, key)
        if isinstance(target, int) and key is None:
            self._lobby.asked[target] = waiting
            self._ask(target)
        return waiting

    def _key(self, target: int | str) -> int | str | None:
        """Return what the route of a target is called; None if nobody has told."""
        if isinstance(target, str) or target in _APART:
            return target
        return self.names[target] or target if target in self.names else None

    def _settle(self, target: int | str, key: int | str) -> Route:
        """Return the route that is called `key`; a new one, if need be. From now on `target` leads to it."""
        if len(self._routes) >= _KEPT and (key not in self._routes or target not in self._routes):
            for idle in [at for at, route in self._routes.items() if at not in _APART and route.idle]:
                del self._routes[idle]
        route = self._routes.get(key)
        if route is None:
            route = self._routes[key] = Route(self._outbox, self._credit)
        self._routes[target] = route
        return route

    def _ask(self, peer: int) -> None:
        if self._can_ask:
            self._outbox.put(build(Kind.WHO, peer))
