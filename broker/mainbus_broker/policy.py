"""May this renderer? What its role says, decided once for each verb and channel; and which role it gets."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, Final

from mainbus.address import parse

from mainbus_broker.roles import GRANTED, Match, Role
from mainbus_broker.tokens import digest_of

if TYPE_CHECKING:
    from mainbus_broker.listeners import Process

DECISIONS_KEPT: Final = 4096
"""Decisions that a role remembers; whoever tries channel after channel pays for it in time, not in memory."""

_NOTHING: Final = re.compile(r"(?!)")


class Policy:
    """What one role allows. All its renderers share it.

    Args:
        name: The role's name.
        role: What it grants.
    """

    __slots__ = ("_decided", "_denied", "_granted", "name", "sees_others")

    def __init__(self, name: str, role: Role) -> None:
        self.name = name
        self.sees_others = bool(role.send_to)
        """Whether it is told of other renderers: who can send to none has no use for them."""
        self._granted = {key: _pattern(getattr(role, key)) for key in GRANTED}
        self._denied = {key: _pattern(role.deny.get(key, ())) for key in GRANTED}
        self._decided: dict[tuple[str, bytes], bool] = {}

    def allows(self, verb: str, channel: bytes) -> bool:
        """Tell whether a verb is granted on a channel, given as UTF-8."""
        try:
            return self._decided[verb, channel]
        except KeyError:
            if len(self._decided) >= DECISIONS_KEPT:
                self._decided.clear()
            decision = self._decided[verb, channel] = self._decide(verb, channel.decode())
            return decision

    def allows_name(self, name: str) -> bool:
        """Tell whether its renderers may have a name."""
        return self._decide("names", name)

    @property
    def may_look(self) -> bool:
        """Whether its renderers may ask who is connected: they may watch something."""
        return self._granted["monitor"] is not _NOTHING

    @property
    def may_be_direct(self) -> bool:
        """Whether any of its renderers' ports may become direct."""
        return self._granted["direct"] is not _NOTHING

    def _decide(self, key: str, text: str) -> bool:
        return self._granted[key].match(text) is not None and self._denied[key].match(text) is None


class Policies:
    """The roles of one broker.

    Args:
        roles: By name; the first one that matches a renderer is its role.
    """

    __slots__ = ("_by_name", "_rules", "_uids")

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self._by_name = {name: Policy(name, role) for name, role in roles.items()}
        self._rules = [(name, _Rule(match)) for name, role in roles.items() for match in role.matches]
        self._uids = frozenset(match.uid for role in roles.values() for match in role.matches if match.uid is not None)

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str | None) -> Policy | None:
        """Return the policy of a role; None: it restricts nothing."""
        return self._by_name.get(name) if name is not None else None

    def admits(self, process: Process) -> bool:
        """Tell whether some role is meant for a process of that user, who may then connect."""
        return process.uid in self._uids

    def role_of(self, process: Process, address: str, token: str | None) -> str | None:
        """Return the name of the role that a renderer gets by who and where it is; None: no role matches."""
        digest = digest_of(token) if token is not None else None
        # All are tried, so that the time does not tell which token came near.
        found = [name for name, rule in self._rules if rule.fits(process, address, digest)]
        return found[0] if found else None

    def knows_token(self, token: str) -> bool:
        """Tell whether some role asks for a token."""
        digest = digest_of(token)
        found = [rule.has_token(digest) for _, rule in self._rules]
        return True in found


class _Rule:
    """A `Match` with its texts understood."""

    __slots__ = ("_address", "_digest", "_uid")

    def __init__(self, match: Match) -> None:
        self._uid = match.uid
        self._digest = match.digest
        self._address = None if match.address is None else str(parse(match.address))

    def has_token(self, digest: bytes) -> bool:
        return self._digest is not None and hmac.compare_digest(self._digest, digest)

    def fits(self, process: Process, address: str, digest: bytes | None) -> bool:
        shown = self._digest is None or (digest is not None and self.has_token(digest))
        return shown and self._uid in (None, process.uid) and self._address in (None, address)


def _pattern(globs: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, globs))) if globs else _NOTHING
