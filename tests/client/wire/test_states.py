"""The states as data, and that docs/reference/protocol.md says the same: diagram, tables, numbers, codes."""

import re
from collections import Counter
from pathlib import Path

import pytest
from mainbus.errors import by_code
from mainbus.wire.credit import DIRECT_OVERHEAD, OVERHEAD, WINDOW
from mainbus.wire.messages import MAX_MESSAGE, WireLimits
from mainbus.wire.packets import MAX_FRAGMENT, Flag, Kind
from mainbus.wire.port_table import MAX_PORTS
from mainbus.wire.states import CHANNELED, FIRST, FRAGMENTED, MOVES, READABLE, Role, State

from tests.checks.docs import split
from tests.support.clones import parse_tables

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "protocol.md"


def table(title: str) -> list[list[str]]:
    """The rows of the page's table whose first column has this title."""
    return parse_tables(PAGE.read_text(encoding="utf-8"))[title]


def named(cell: str) -> set[str]:
    return set(re.findall(r"`([A-Z_]+)`", cell))


# The data.


def test_every_state_has_its_moves_and_what_may_be_read() -> None:
    assert set(MOVES) == set(State)
    for role in Role:
        assert set(READABLE[role]) == set(State)


def test_whatever_moves_may_be_read_by_one_end_at_least() -> None:
    for state, moves in MOVES.items():
        for kind in moves:
            assert any(kind in READABLE[role][state] for role in Role), (state, kind)


def test_nothing_is_read_at_the_end_and_nothing_leads_away_from_it() -> None:
    assert not MOVES[State.CLOSED]
    assert not any(READABLE[role][State.CLOSED] for role in Role)


def test_every_state_is_reached_and_can_end() -> None:
    reached = {*FIRST} | {state for moves in MOVES.values() for state in moves.values()}
    assert reached == set(State)
    for state in set(State) - {State.CLOSED}:
        assert State.CLOSED in _reachable(state)


def _reachable(state: State) -> set[State]:
    found, todo = set(), [state]
    while todo:
        for following in MOVES[todo.pop()].values():
            if following not in found:
                found.add(following)
                todo.append(following)
    return found


def test_every_kind_can_be_read_by_somebody() -> None:
    read = {kind for states in READABLE.values() for kinds in states.values() for kind in kinds}
    assert read == set(Kind)


# The page.


def test_the_diagram_has_each_state_once_and_each_move() -> None:
    diagram, _ports = [block.text for block in split(PAGE)[1] if "'---" in block.text]
    words = Counter(re.findall(r"[A-Za-z_]{2,}", diagram))
    assert words == Counter(
        [*(state.value for state in State), *(kind.name for moves in MOVES.values() for kind in moves)]
    )


def test_the_page_says_what_each_end_reads() -> None:
    rows = {row[0]: row[1:] for row in table("State")}
    said = {
        role: {state: named(rows[state.value][column]) for state in State}
        for column, role in enumerate((Role.BROKER, Role.RENDERER))
    }
    assert said == {
        role: {state: {kind.name for kind in kinds} for state, kinds in READABLE[role].items()} for role in Role
    }


def test_the_page_has_every_kind_with_its_number() -> None:
    rows = table("Number")
    assert {(int(row[0]), row[1].strip("`")) for row in rows} == {(int(kind), kind.name) for kind in Kind}


def test_the_page_has_every_flag_with_its_bit() -> None:
    rows = table("Bit")
    assert {(int(row[0]), row[1].strip("`")) for row in rows} == {(int(flag), flag.name) for flag in Flag}


@pytest.mark.contract("5.8")
def test_the_page_has_every_error_with_its_code() -> None:
    rows = table("Code")
    assert {(int(row[0]), row[1].strip("`")) for row in rows} == {(code, cls.__name__) for code, cls in by_code.items()}


def test_the_page_names_the_kinds_that_need_a_channel_and_those_in_fragments() -> None:
    text = PAGE.read_text(encoding="utf-8")
    [channeled] = re.findall(r"^(`SEND`.*) need a channel", text, re.MULTILINE)
    assert named(channeled) == {kind.name for kind in CHANNELED}
    [fragmented] = re.findall(r"Only ([^.]*) may\.", text)
    assert named(fragmented) == {kind.name for kind in FRAGMENTED}


def test_the_page_has_the_limits() -> None:
    said = {row[0]: row[1] for row in table("What")}
    limits = WireLimits()
    assert said["Body of one packet"] == f"{MAX_FRAGMENT:,} bytes"
    assert said["Body of one message"] == f"{MAX_MESSAGE:,} bytes"
    assert said["Containers inside containers in a body"] == f"{limits.depth}"
    assert said["Unanswered invokes of one renderer"] == f"{limits.pending:,}"
    assert said["Ends of channels of one renderer"] == f"{limits.ports:,}"
    assert said["Direct ports of one renderer"] == f"{limits.direct}"
    assert said["What a port's messages cost before it becomes direct"] == f"{limits.direct_after:,} bytes"
    assert said["Ports of one message"] == f"{MAX_PORTS:,}"
    assert said["Credit of one port"] == f"{WINDOW:,} bytes"
    costs = f"{OVERHEAD:,} bytes; {DIRECT_OVERHEAD} on a direct port's socket"
    assert said["What each message on a port costs beside its body"] == costs
