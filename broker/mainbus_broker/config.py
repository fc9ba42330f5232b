"""What can be set, with its defaults: frozen, validated once. docs/reference/configuration.md explains each key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from os import PathLike, fspath
from typing import Annotated, Any, Final, NamedTuple, Self, TypeVar, get_origin, get_type_hints

from mainbus.errors import ConfigError
from mainbus.wire.messages import MAX_MESSAGE
from mainbus.wire.packets import MAX_U32

from mainbus_broker.roles import Role, problems_of_roles, roles_of

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

C = TypeVar("C")

_DAY: Final = 86_400.0


class Allowed(NamedTuple):
    """What a number may be, both ends included."""

    least: float
    most: float
    unit: str

    def __str__(self) -> str:
        return f"{self.unit} from {self.least:.16g} to {self.most:.16g}"


Bytes = Annotated[int, Allowed(1, GIB, "a whole number of bytes")]
Count = Annotated[int, Allowed(1, MAX_U32, "a whole number")]
Seconds = Annotated[float, Allowed(0.001, _DAY, "a number of seconds")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one renderer may make the broker do or remember. Sizes in bytes, times in seconds.

    Raises:
        ConfigError: A value is not what its field takes, or two do not fit each other.
    """

    message: Bytes = MAX_MESSAGE
    """The body of one message, all its fragments together: 64 MiB of payload, and what CBOR puts around it."""
    # No more than renderers decode: a deeper message would count as a bad one.
    depth: Annotated[int, Allowed(1, 512, "a whole number")] = 512
    """Containers inside containers in one message."""
    pending: Count = 4096
    """Invokes of one renderer that have no answer yet, to all targets together."""
    running: Count = 256
    """Handlers that one renderer may have running at one target; announced to it as its credit."""
    unfinished: Count = 8192
    """Large messages that one renderer has begun and not finished, to all targets together; at more it is closed."""
    streams: Count = 1024
    """Streams that one renderer may have open, and that the main process may have open there."""
    ports: Count = 4096
    """Ends of message channels that one renderer may have."""
    frames: Count = 256
    """Child frames that one renderer may have open."""
    guests: Count = 256
    """Guests that one renderer may have, those included that have a token and have not connected."""
    high: Bytes = 1 * MIB
    """Bytes waiting for one renderer above which those who add to them are asked to pause."""
    low: Annotated[int, Allowed(0, GIB, "a whole number of bytes")] = 256 * KIB
    """Bytes below which they are asked to go on."""
    hard: Bytes = 64 * MIB
    """Bytes waiting for one renderer above which main gets SendQueueFull, and who leaves errors unread is closed."""
    overrun: Annotated[int, Allowed(0, GIB, "a whole number of bytes")] = 8 * MIB
    """Bytes that may still arrive from a renderer after it was asked to pause."""
    stall_timeout: Seconds = 30.0
    """Seconds in which a renderer with more than `low` waiting must have read something."""
    backlog: Bytes = 512 * MIB
    """Bytes that no pause holds back, answers above all, which may wait for one renderer that does not read them."""
    total: Annotated[int, Allowed(MIB, 1024 * GIB, "a whole number of bytes")] = 1 * GIB
    """Bytes that all renderers together may make the broker hold; none may hold more than is left for the others."""
    connections: Count = 8192
    """Renderers that may be connected, all together."""
    user_connections: Count = 1024
    """Of them, those of one user other than the broker's own, whom a role lets in."""
    entering: Count = 256
    """Connections before their hello, all together; another user may have half of them."""
    handshake_timeout: Seconds = 10.0
    """Seconds from a connection to its hello."""
    max_bad_messages: Count = 1
    """Bodies that did not decode after which their sender is closed."""

    def __post_init__(self) -> None:
        _check(self, "limits.")
        if self.low >= self.high:
            raise ConfigError(f"limits.low: {self.low} must be less than limits.high, which is {self.high}")
        if self.high > self.hard:
            raise ConfigError(f"limits.high: {self.high} must not be more than limits.hard, which is {self.hard}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a broker can be told.

    Raises:
        ConfigError: A value is not what its field takes.
    """

    limits: Limits = field(default_factory=Limits)
    """What one renderer may make the broker do or remember."""
    sync_reply_timeout: Seconds = 30.0
    """Seconds after which a send_sync that nobody answered is answered with ReplyNeverSent."""
    cancel_grace: Annotated[float, Allowed(0, _DAY, "a number of seconds")] = 5.0
    """Seconds that a cancelled handler has to clean up; one that still runs then is logged."""
    tracebacks: bool = False
    """Whether the traceback of a handler's exception may cross to the caller."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """What different renderers may do, by the roles' names; the first role that matches a renderer is its own."""

    def __post_init__(self) -> None:
        _check(self, "", problems_of_roles(self.roles))

    @classmethod
    def from_toml(cls, path: str | PathLike[str]) -> Self:
        """Read a file: the fields of this class as keys, those of `Limits` in the table `[limits]`,
        each role in a table `[roles.<name>]`.

        Args:
            path: The TOML file; what it leaves out has its default.

        Returns:
            The configuration; what the file leaves out has its default.

        Raises:
            ConfigError: The file cannot be read, or has an unknown key, or a wrong value; the text has a line for
                each of them that names the file, the key and what is allowed.
        """
        try:
            with open(path, "rb") as file:
                table = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"{fspath(path)}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            # tomllib's own, which names line and column, and UnicodeDecodeError.
            raise ConfigError(f"{fspath(path)}: is not TOML: {error}") from error
        try:
            return _from_table(cls, table)
        except ConfigError as error:
            raise ConfigError("\n".join(f"{fspath(path)}: {line}" for line in str(error).splitlines())) from None


def _from_table(cls: type[C], table: dict[str, Any]) -> C:
    limits = table.get("limits", {})
    problems = list(_problems_of_table(Config, {**table, "limits": Limits()}, ""))
    roles = roles_of(table.get("roles", {}), problems)
    if isinstance(limits, dict):
        problems += _problems_of_table(Limits, limits, "limits.")
    else:
        problems.append(f"limits: expected a table, [limits], but found {_as_toml(limits)}")
    if problems:
        raise ConfigError("\n".join(problems))
    return cls(**{**table, "limits": Limits(**limits), "roles": roles})


def _problems_of_table(cls: type, table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    known = [item.name for item in fields(cls)]
    yield from (f"{prefix}{key}: unknown key; {_remedy(key, known, prefix)}" for key in table if key not in known)
    yield from _problems(cls, table, prefix, _as_toml)


def _check(config: Any, prefix: str, more: Iterable[str] = ()) -> None:
    values = {name: getattr(config, name) for name, _, _ in _kinds(config.__class__)}
    if problems := [*_problems(config.__class__, values, prefix, _as_python), *more]:
        raise ConfigError("\n".join(problems))


def _problems(cls: type, values: Mapping[str, Any], prefix: str, show: Callable[[object], str]) -> Iterator[str]:
    """Yield a line for each value that is not what its field takes."""
    for name, kind, allowed in _kinds(cls):
        if name not in values:
            continue
        value = values[name]
        if not _is_a(value, kind):
            expected = "true or false" if kind is bool else str(allowed or f"a {kind.__name__}")
            yield f"{prefix}{name}: expected {expected}, but found {show(value)}"
        elif allowed and not allowed.least <= value <= allowed.most:
            yield f"{prefix}{name}: expected {allowed}, but found {value}"


def _as_python(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"


def _as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_as_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{key} = {_as_toml(item)}' for key, item in value.items())}}}"
    return str(value)


def _is_a(value: object, kind: type) -> bool:
    # A bool is an int to Python, to nobody else; a whole number of seconds is a number of seconds.
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


@cache
def _kinds(cls: type) -> tuple[tuple[str, type, Allowed | None], ...]:
    """Return name, type and range of each field; roles.py knows about roles."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        (name, hint.__origin__, hint.__metadata__[0]) if get_origin(hint) is Annotated else (name, hint, None)
        for name, hint in hints.items()
        if name != "roles"
    )


def _remedy(key: str, known: list[str], prefix: str) -> str:
    elsewhere = {"": Limits, "limits.": Config}[prefix]
    if key in (item.name for item in fields(elsewhere)):
        return "it belongs into [limits]" if elsewhere is Limits else "it belongs above the tables, not into [limits]"
    close = get_close_matches(key, known, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
