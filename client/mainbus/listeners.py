"""Who listens to which name, in order: the registry behind emitters and channels."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

__all__ = ["Listeners"]


class Listener(Protocol):
    """What is registered: a function and whatever the owner keeps with it."""

    @property
    def fn(self) -> Callable[..., object]: ...


L = TypeVar("L", bound=Listener)


class Listeners(Generic[L]):
    """Listeners by name, in the order of registration.

    Attributes:
        by_name: a tuple for each name that has any. A change makes a new tuple, so whoever looks one up has a
            snapshot, and the hot path copies nothing.
    """

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name: dict[str, tuple[L, ...]] = {}

    def get(self, name: str) -> tuple[L, ...]:
        """Return a snapshot of a name's listeners."""
        return self.by_name.get(name, ())

    def add(self, name: str, listener: L) -> None:
        """Append a listener; a function may be there any number of times."""
        self.by_name[name] = (*self.get(name), listener)

    def remove(self, name: str, listener: L) -> None:
        """Take out exactly this listener, if it is there."""
        self._keep(name, tuple(found for found in self.get(name) if found is not listener))

    def remove_latest(self, name: str, fn: Callable[..., object]) -> None:
        """Take out the latest listener with this function, if there is one."""
        # Equal, not identical: every look at a bound method makes a new object.
        latest = next((found for found in reversed(self.get(name)) if found.fn == fn), None)
        if latest is not None:
            self.remove(name, latest)

    def clear(self, name: str | None = None) -> None:
        """Take out all listeners of a name; of every name, if it is None."""
        if name is None:
            self.by_name.clear()
        else:
            self.by_name.pop(name, None)

    def _keep(self, name: str, listeners: tuple[L, ...]) -> None:
        if listeners:
            self.by_name[name] = listeners
        else:
            self.by_name.pop(name, None)
