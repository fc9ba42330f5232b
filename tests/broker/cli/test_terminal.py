"""What people see: tables in the width of a terminal, durations, sizes."""

import pytest
from mainbus_broker.cli.terminal import Column, Styled, duration, size, styled, table

COLUMNS = [Column("N", right=True), Column("NAME"), Column("X")]


def test_columns_are_aligned() -> None:
    assert table(COLUMNS, [[1, "a", None], [22, "bbbb\n", Styled("3.5", "bold red")]]).splitlines() == [
        " N  NAME    X",
        " 1  a       -",
        "22  bbbb\\n  3.5",
    ]
    assert table(COLUMNS[1:], [[Styled("ok", "green"), 1]]).splitlines()[1] == "ok    1"
    assert table(COLUMNS[1:], []) == "NAME  X"
    assert table([Column("", words=True)], [["a"]], heads=False) == "a"


def test_nobody_breaks_the_lines_of_a_pipe() -> None:
    assert table([Column("A")], [["x" * 5000]]).splitlines()[1] == "x" * 5000


def test_markup_of_others_is_text() -> None:
    assert table([Column("A")], [["[bold]x[/bold] :smile:"]]).splitlines()[1] == "[bold]x[/bold] :smile:"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (59.9, "59.9s"),
        (59.96, "1m00s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (90_061, "1d01h"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        ((64 << 20) + (1 << 16), "64 MiB"),
        (10_200, "10 KiB"),
        (3 << 30, "3 GiB"),
    ],
)
def test_sizes_are_for_people(number: int, text: str) -> None:
    assert size(number) == text


def test_what_is_no_terminal_gets_no_style() -> None:
    assert styled("x", "bold red") == "x"
