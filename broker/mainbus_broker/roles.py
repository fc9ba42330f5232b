"""Roles: who gets one, and what it grants; the config reads them. docs/how-to/secure-a-broker.md explains them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any, Final

from mainbus.address import parse
from mainbus.errors import AddressError, ConfigError
from mainbus.wire.packets import MAX_U32

VERBS: Final = ("send", "invoke", "handle", "listen", "send_to", "broadcast", "direct", "monitor")
GRANTED: Final = ("names", *VERBS)
"""What a role grants, or denies, by globs."""

MAX_NAME: Final = 64
"""Characters of a role's name: logs and lists show it."""

_DIGEST: Final = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Who gets a role: whoever fits all that is given here. Nothing at all fits everybody.

    Args:
        uid: The user whose process it is, from the kernel (on Windows a SID). Other users are let in only so.
        token: What the renderer shows at `connect(token=...)`; or "sha256:" and the digest of it, in hexadecimal.
        address: Where it has connected, of those where the broker listens.

    Raises:
        ConfigError: A value is not what it should be.
    """

    uid: int | str | None = None
    token: str | None = field(default=None, repr=False)
    address: str | None = None

    def __post_init__(self) -> None:
        if problems := list(_problems_of_match(self)):
            raise ConfigError("\n".join(problems))

    @property
    def digest(self) -> bytes | None:
        """SHA-256 of the token: nothing else of it is compared."""
        if self.token is None:
            return None
        if self.token.startswith(_DIGEST):
            return bytes.fromhex(self.token.removeprefix(_DIGEST))
        return hashlib.sha256(self.token.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What the renderers of one kind may do: what it grants and does not deny. Each is a list of globs.

    Args:
        match: Who gets it: one `Match`, or any of several; none: only renderers that `broker.spawn` starts with it.
        names: Names that they may have.
        send: Channels of messages to the main process: `send`, `post_message`, `send_sync`.
        invoke: Channels of requests to the main process: `invoke`, `stream`.
        handle: Channels on which they are invoked, by whomever.
        listen: Channels on which they get messages, from whomever.
        send_to: Channels of all that goes to other renderers: `send_to`, `invoke_to`, `stream_to`, guests and hosts.
        broadcast: Channels of broadcasts.
        direct: Channels over which ports may come that connect two renderers past the broker.
        monitor: Channels that they may watch; any at all lets them ask who is connected (`mainbus list`).
        deny: The same keys, with what is refused although it is granted.

    Raises:
        ConfigError: A value is not what it should be.
    """

    match: Match | Sequence[Match] = ()
    names: Sequence[str] = ()
    send: Sequence[str] = ()
    invoke: Sequence[str] = ()
    handle: Sequence[str] = ()
    listen: Sequence[str] = ()
    send_to: Sequence[str] = ()
    broadcast: Sequence[str] = ()
    direct: Sequence[str] = ()
    monitor: Sequence[str] = ()
    deny: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if problems := list(_problems_of_role(self)):
            raise ConfigError("\n".join(problems))

    @property
    def matches(self) -> Sequence[Match]:
        """Who gets it, as a sequence."""
        return (self.match,) if isinstance(self.match, Match) else self.match


def problems_of_roles(roles: object) -> Iterator[str]:
    """Yield what is wrong with the roles of a config made in code."""
    if not isinstance(roles, Mapping):
        yield f"roles: expected a mapping of names to roles, but found {type(roles).__name__}"
        return
    for name, role in roles.items():
        if not isinstance(role, Role):
            yield f"roles.{name}: expected a Role, but found {type(role).__name__}"
        elif problem := _problem_of_name(name):
            yield problem


def roles_of(table: object, problems: list[str]) -> dict[str, Role]:
    """Return the roles of the tables `[roles.<name>]`, and add what is wrong with them to `problems`."""
    if not isinstance(table, dict):
        problems.append("roles: expected tables, [roles.<name>]")
        return {}
    found = {}
    for name, items in table.items():
        prefix = f"roles.{name}"
        if problem := _problem_of_name(name):
            problems.append(problem)
        elif not isinstance(items, dict):
            problems.append(f"{prefix}: expected a table, [{prefix}]")
        elif (role := _role(items, prefix, problems)) is not None:
            found[name] = role
    return found


def _role(table: dict[str, Any], prefix: str, problems: list[str]) -> Role | None:
    values = {key: value for key, value in table.items() if key in _ROLE_KEYS}
    wrong = list(_unknown(table, _ROLE_KEYS, prefix))
    if "match" in values:
        values["match"] = _matches(values["match"], f"{prefix}.match", wrong)
    role = _made(Role, values, prefix, wrong)
    problems += wrong
    return None if wrong else role


def _matches(value: Any, prefix: str, wrong: list[str]) -> list[Match]:
    tables = value if isinstance(value, list) else [value]
    if not all(isinstance(table, dict) for table in tables):
        wrong.append(f"{prefix}: expected a table, such as {{ uid = 1001 }}, or an array of them")
        return []
    found = []
    for table in tables:
        wrong += _unknown(table, _MATCH_KEYS, prefix)
        match = _made(Match, {key: value for key, value in table.items() if key in _MATCH_KEYS}, prefix, wrong)
        found += [match] if match is not None else []
    return found


def _made(cls: Any, values: dict[str, Any], prefix: str, wrong: list[str]) -> Any:
    try:
        return cls(**values)
    except ConfigError as error:
        wrong += [f"{prefix}.{line}" for line in str(error).splitlines()]
        return None


def _problem_of_name(name: object) -> str | None:
    if isinstance(name, str) and 1 <= len(name) <= MAX_NAME and name.isprintable():
        return None
    return f"roles.{name}: a role's name has 1 to {MAX_NAME} printable characters"


def _problems_of_match(match: Match) -> Iterator[str]:
    # As found: types are what is checked here.
    uid: Any = match.uid
    token: Any = match.token
    address: Any = match.address
    if uid is not None and not _is_user(uid):
        sid = ' or a SID, such as "S-1-5-18"' if sys.platform == "win32" else ""
        yield f"uid: expected a user ID, a whole number from 0{sid}, but found {uid!r}"
    # No word of what was found: it may well be a secret.
    if token is not None and (not isinstance(token, str) or not token):
        yield "token: expected a text that is not empty"
    elif token is not None and token.startswith(_DIGEST) and not _is_digest(token.removeprefix(_DIGEST)):
        yield f"token: expected 64 hexadecimal digits behind {_DIGEST!r}"
    if address is not None:
        try:
            parse(address if isinstance(address, str) else "")
        except AddressError as error:
            yield f"address: {error.reason}"


def _is_user(uid: object) -> bool:
    if sys.platform == "win32" and isinstance(uid, str):
        return uid.startswith("S-1-")
    return isinstance(uid, int) and not isinstance(uid, bool) and 0 <= uid <= MAX_U32


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdefABCDEF" for letter in text)


def _problems_of_role(role: Role) -> Iterator[str]:
    found: Any = role.match
    if not isinstance(found, Match | list | tuple) or not all(isinstance(match, Match) for match in role.matches):
        yield "match: expected a Match, or a list of them"
    for key in GRANTED:
        yield from _problems_of_globs(getattr(role, key), key)
    deny: Any = role.deny
    if not isinstance(deny, Mapping):
        yield 'deny: expected a table, such as { send = ["secret:*"] }'
        return
    yield from _unknown(deny, GRANTED, "deny")
    for key in deny:
        if key in GRANTED:
            yield from _problems_of_globs(deny[key], f"deny.{key}")


def _problems_of_globs(globs: object, key: str) -> Iterator[str]:
    if not isinstance(globs, list | tuple) or not all(isinstance(glob, str) and glob for glob in globs):
        yield f'{key}: expected an array of globs, such as ["editor:*"], but found {globs!r}'


def _unknown(table: Mapping[str, object], known: Sequence[str], prefix: str) -> Iterator[str]:
    for key in table:
        if key not in known:
            close = get_close_matches(str(key), known, n=3)
            remedy = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(known)}"
            yield f"{prefix}.{key}: unknown key; {remedy}"


_ROLE_KEYS: Final = [item.name for item in fields(Role)]
_MATCH_KEYS: Final = [item.name for item in fields(Match)]
