"""The routes of one renderer: to the main process, to each renderer it talks to, and that of its broadcasts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mainbus.outbox import Outbox
from mainbus.routes import Route
from mainbus.wire.packets import MAIN

BROADCASTS: Final = -1
"""The key of the broadcasts' route: they keep an order of their own."""

_APART: Final = (MAIN, BROADCASTS)
_KEPT: Final = 1024


class RouteTable:
    """Routes by what their target is addressed with: its id, or its name.

    Args:
        outbox: What the routes lead to.
    """

    __slots__ = ("_broadcasts_held_by", "_credit", "_outbox", "_routes", "main")

    def __init__(self, outbox: Outbox) -> None:
        self.main = Route(outbox, 0)
        self._outbox = outbox
        self._credit = 0
        self._routes: dict[int | str, Route] = {MAIN: self.main}
        self._broadcasts_held_by: set[int] = set()

    def get(self, target: int | str) -> Route | None:
        """Return the route to a target, if there is one."""
        return self._routes.get(target)

    def to(self, target: int | str) -> Route:
        """Return the route to a target; a new one, if need be."""
        route = self._routes.get(target)
        if self._outbox.held and target not in _APART and (route is None or not route.size):
            busy = self._busy_otherwise(target)
            if busy is not None:
                return busy
        if route is None:
            if len(self._routes) >= _KEPT:
                self._routes = {key: route for key, route in self._routes.items() if key == MAIN or not route.idle}
            route = self._routes[target] = Route(self._outbox, self._credit)
        return route

    def _busy_otherwise(self, target: int | str) -> Route | None:
        """Return a route that is busy and may lead to the same renderer, addressed the other way.

        A name and an id may mean one renderer, and only the broker knows. What is paused is known by both.
        """
        others = (
            route
            for key, route in self._routes.items()
            if type(key) is not type(target) and key not in _APART and route.is_leaving
        )
        return max(others, key=lambda route: route.size, default=None)

    @property
    def any_paused(self) -> bool:
        """Whether any target was asked to be left alone for now."""
        return any(route.paused for route in self._routes.values())

    def pause(self, peer: int, name: str | None, *, broadcasts: bool) -> None:
        """Hold what goes to a renderer, and this renderer's broadcasts if they add to its queue too."""
        route = self._routes.get(peer) or (self._routes.get(name) if name else None) or self.to(peer)
        # One renderer, two ways to address it: both lead to the same route while it is paused.
        self._routes.setdefault(peer, route).pause()
        if name:
            named = self._routes.get(name)
            if named is None or not named.size:
                named = self._routes[name] = route
            named.pause()
        if broadcasts:
            self._broadcasts_held_by.add(peer)
            self.to(BROADCASTS).pause()

    def resume(self, peer: int, name: str | None) -> None:
        """Let go what `pause` has held."""
        for key in (peer, name):
            if key is not None and (route := self._routes.get(key)):
                route.resume()
        self._broadcasts_held_by.discard(peer)
        if not self._broadcasts_held_by and (broadcasts := self._routes.get(BROADCASTS)):
            broadcasts.resume()

    def set_credit(self, credit: int) -> None:
        """Allow this many unanswered invokes on each route."""
        self._credit = credit
        for route in self._routes.values():
            route.set_credit(credit)

    def reset(self) -> set[int]:
        """Make ready for another connection; returns the requests of the invokes that have not begun to leave."""
        self._broadcasts_held_by.clear()
        return {request for route in self._routes.values() for request in route.reset()}

    def forget_ids(self) -> Iterator[bytes]:
        """Drop what is addressed to ids: another broker gives them to others. Yields the first packet of each."""
        for target in [key for key in self._routes if isinstance(key, int) and key not in (MAIN, BROADCASTS)]:
            # While it was paused this may have been the route of the target's name too; that one stays.
            yield from self._routes.pop(target).forget_ids()

    def restart(self) -> None:
        """Let everything leave that may."""
        for route in self._routes.values():
            route.resume()
