"""RegExp: flags in JavaScript's letters, compiled by the receiver alone."""

import dataclasses
import re

import pytest
from mainbus.wire.regexp import RegExp, of_pattern

from tests.support.clones import Codec


@pytest.mark.contract("4.2")
@pytest.mark.parametrize(
    ("pattern", "arrives"),
    [
        (re.compile("a"), RegExp("a", "")),
        (re.compile("a", re.I | re.M | re.S), RegExp("a", "ims")),
        (re.compile("(?i)a"), RegExp("(?i)a", "i")),
        (re.compile("a", re.A), RegExp("(?a)a", "")),
        (re.compile("a  # b", re.X | re.I), RegExp("(?x)a  # b", "i")),
        (re.compile("(?x) a"), RegExp("(?x) a", "")),
        (re.compile("(?x)(?s) a", re.A), RegExp("(?a)(?x)(?s) a", "s")),
        (re.compile("(?P<name>a)(?:b)"), RegExp("(?P<name>a)(?:b)", "")),
        (re.compile(""), RegExp("", "")),
    ],
    ids=repr,
)
def test_patterns_arrive_with_their_meaning(codec: Codec, pattern: re.Pattern[str], arrives: RegExp) -> None:
    assert of_pattern(pattern) == arrives
    (arrived,) = codec.clone([pattern])
    assert arrived == arrives
    assert arrived.compile().flags == pattern.flags


@pytest.mark.contract("4.2")
def test_can_be_sent_on(codec: Codec) -> None:
    regexp = RegExp("[", "gimsuy")
    assert codec.clone(codec.clone([regexp, {regexp: {regexp}}])) == [regexp, {regexp: {regexp}}]


@pytest.mark.contract("4.2")
def test_compiling_is_the_receivers_choice() -> None:
    assert RegExp("a.b", "sgi").compile().fullmatch("A\nB")
    assert not RegExp("a", "gyduv").compile().flags & (re.I | re.M | re.S)
    with pytest.raises(re.error):
        RegExp("(").compile()


def test_flags_are_checked_and_sorted() -> None:
    assert RegExp("a", "smi") == RegExp("a", "ims")
    assert hash(RegExp("a", "smi")) == hash(RegExp("a", "ims"))
    for flags in ("x", "ii", "I", "g "):
        with pytest.raises(ValueError, match="Invalid flags"):
            RegExp("a", flags)
    for parts in ((b"a", ""), ("a", None), (re.compile("a"), "")):
        with pytest.raises(TypeError, match="two strings"):
            RegExp(*parts)


def test_is_frozen() -> None:
    regexp = RegExp("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        regexp.source = "b"  # type: ignore[misc]
    assert not hasattr(regexp, "__dict__")
