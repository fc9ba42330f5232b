"""Steps: each behind the one that it comes from."""

import pytest
from mainbus_broker.steps import Steps


def test_a_step_is_done_at_once_unless_another_is_under_way() -> None:
    steps, log = Steps(), []

    def outer() -> None:
        steps(lambda: log.append("inner"))
        log.append("outer")

    steps(outer)
    assert log == ["outer", "inner"]


def test_within_it_nothing_is_done_before_the_end() -> None:
    steps, log = Steps(), []
    with steps:
        steps(lambda: log.append(1))
        with steps:
            steps(lambda: log.append(2))
        assert log == []
    assert log == [1, 2]


def test_steps_go_as_deep_as_anybody_likes() -> None:
    steps, left = Steps(), [10_000]

    def step() -> None:
        left[0] -= 1
        if left[0]:
            steps(step)

    steps(step)
    assert left == [0]


def test_one_that_fails_leaves_the_others_to_the_next() -> None:
    steps, log = Steps(), []

    def fail() -> None:
        steps(lambda: log.append("left"))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        steps(fail)
    steps(lambda: log.append("next"))
    assert log == ["left", "next"]
