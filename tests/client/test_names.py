"""Names and ids of renderers: what is one."""

from typing import Any

import pytest
from mainbus.names import check_name, check_target


@pytest.mark.parametrize("name", ["x", "x" * 255, "é" * 127 + "x", "\0", "error"])
def test_any_text_of_1_to_255_bytes_is_a_name(name: str) -> None:
    assert check_name(name) == name
    assert check_target(name) == (0, name)


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128, "\ud800"])
def test_other_text_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        check_target(name)


@pytest.mark.parametrize("target", [0, 1, 2**32 - 1])
def test_an_id_is_a_number_of_32_bits(target: int) -> None:
    assert check_target(target) == (target, None)


@pytest.mark.parametrize("target", [-1, 2**32])
def test_other_numbers_are_none(target: int) -> None:
    with pytest.raises(ValueError, match="renderer's id"):
        check_target(target)


@pytest.mark.parametrize("target", [True, 1.5, None, b"x"])
def test_nothing_else_is_a_target(target: Any) -> None:
    with pytest.raises(TypeError, match="id or name"):
        check_target(target)
