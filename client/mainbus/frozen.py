"""What an exposed value is made of: a dict and a list that nobody changes. Only the context bridge makes them.

They are subclasses, so that structured clone, ``json`` and everything else that knows dicts and lists takes them.
"""

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["FrozenDict", "FrozenList"]


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refuse(self: object, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} is read-only")

    refuse.__name__ = name
    refuse.__doc__ = "Raise TypeError."
    return refuse


class FrozenDict(dict[Any, Any]):
    """A read-only dict whose members are attributes too; a member hides the dict's own method of that name.

    What copies it (``copy.copy``, ``copy.deepcopy``, ``pickle``, ``dict``) makes a dict that can be changed.
    """

    __slots__ = ()

    def __init__(self) -> None:
        # Not dict's: it would change the dict when called a second time.
        pass

    def __getattribute__(self, name: str) -> Any:
        # Names of Python's own are never members: what they mean is not the application's to say.
        if not name.startswith("__"):
            try:
                return dict.__getitem__(self, name)
            except KeyError:
                pass
        return super().__getattribute__(name)

    def __dir__(self) -> list[str]:
        return sorted(key for key in dict.keys(self) if type(key) is str)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Cannot assign to read only property {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Cannot delete property {name!r}", name=name, obj=self)

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return dict, (), None, None, iter(dict.items(self))


class FrozenList(list[Any]):
    """A read-only list. What copies it, a slice included, makes a list that can be changed."""

    __slots__ = ()

    def __init__(self) -> None:
        # Not list's: it would change the list when called a second time.
        pass

    def __reduce_ex__(self, _: object) -> tuple[Any, ...]:
        return list, (), None, list.__iter__(self)


CHANGES = {
    FrozenDict: "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update",
    FrozenList: "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort",
}

for _cls, _names in CHANGES.items():
    for _name in _names.split():
        setattr(_cls, _name, _refuse(_name))
