"""What a role allows, and who gets which."""

import hmac
import sys
from typing import Any

import pytest
from mainbus_broker import Match, Process, Role
from mainbus_broker.policy import DECISIONS_KEPT, Policies, Policy
from mainbus_broker.roles import VERBS

pytestmark = pytest.mark.contract("8.4")

if sys.platform == "win32":
    HERE, SPELT_OTHERWISE, ELSEWHERE = "pipe:app", "pipe:App", "pipe:other"
else:
    HERE, SPELT_OTHERWISE = "unix:/run/app/app.sock", "unix:/run/app/../app/app.sock"
    ELSEWHERE = "unix:/run/app/other.sock"

ME = Process(1, 1000, 1000)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_allowed_where_a_glob_grants_it_and_none_denies_it(verb: str) -> None:
    granted: dict[str, Any] = {verb: ["editor:*", "log", "???"]}
    policy = Policy("x", Role(**granted, deny={verb: ["editor:quit*", "l?g"]}))
    channels = [
        "editor:open",
        "editor:",
        "abc",
        "editor:quit",
        "editor:quit-now",
        "log",
        "Editor:open",
        "editor",
        "logs",
    ]
    assert [policy.allows(verb, channel.encode()) for channel in channels] == [True] * 3 + [False] * 6
    others = [other for other in VERBS if other != verb]
    assert not any(policy.allows(other, b"editor:open") for other in others)


def test_deny_wins_and_alone_grants_nothing() -> None:
    everything = Policy("x", Role(send=["*"], deny={"send": ["*"]}))
    assert not everything.allows("send", b"a")
    assert not Policy("x", Role(deny={"send": ["b"]})).allows("send", b"a")


def test_a_star_means_any_text() -> None:
    policy = Policy("x", Role(send=["*"]))
    assert all(policy.allows("send", text.encode()) for text in ["a", "line\nline\n", "ä" * 100, "*", "a:b/c.d"])


def test_names() -> None:
    policy = Policy("x", Role(names=["plugin-*"], deny={"names": ["plugin-main"]}))
    assert [policy.allows_name(name) for name in ("plugin-1", "plugin-main", "editor")] == [True, False, False]


def test_decisions_are_remembered_up_to_a_bound() -> None:
    policy = Policy("x", Role(send=["1*"]))
    for number in range(2 * DECISIONS_KEPT + 2):
        assert policy.allows("send", b"%d" % number) is str(number).startswith("1")
        assert len(policy._decided) <= DECISIONS_KEPT
    assert policy._decided["send", b"%d" % number] is False


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (Match(), True),
        (Match(uid=1000), True),
        (Match(uid=0), False),
        (Match(address=HERE), True),
        (Match(address=SPELT_OTHERWISE), True),
        (Match(address=ELSEWHERE), False),
        (Match(token="t"), True),
        (Match(token="T"), False),
        (Match(uid=1000, address=HERE, token="t"), True),
        (Match(uid=1000, address=HERE, token="T"), False),
        (Match(uid=1000, address="memory:", token="t"), False),
    ],
)
def test_all_that_a_match_names_must_fit(match: Match, fits: bool) -> None:
    assert Policies({"x": Role(match=match)}).role_of(ME, HERE, "t") == ("x" if fits else None)


def test_the_first_role_that_matches_counts() -> None:
    roles = {"none": Role(), "root": Role(match=Match(uid=0)), "b": Role(match=[Match(uid=0), Match()]), "a": Role()}
    assert Policies(roles).role_of(ME, HERE, None) == "b"
    assert Policies({}).role_of(ME, HERE, None) is None


def test_a_process_whose_user_is_unknown_fits_no_user() -> None:
    assert Policies({"x": Role(match=Match(uid=1000))}).role_of(Process(1, None, None), HERE, None) is None


def test_tokens_are_compared_in_constant_time_and_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def noting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noting)
    policies = Policies({name: Role(match=Match(uid=0, token=name)) for name in "abc"})
    assert policies.role_of(ME, HERE, "a") is None
    assert len(compared) == 3
    assert (policies.knows_token("a"), policies.knows_token("d")) == (True, False)
    assert len(compared) == 9
    policies = Policies({name: Role(match=Match(token=name)) for name in "abc"})
    assert policies.role_of(ME, HERE, "a") == "a"
    assert len(compared) == 12
    assert {len(one) for pair in compared for one in pair} == {32}
