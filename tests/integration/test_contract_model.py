"""Random programs on one bus: mainbus and a simple model of its contract agree, whatever happens in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.support.contract_model import MAIN, RUNNING, World

NAMES = ("a", "b", "c")
NAME = st.sampled_from(NAMES)
COUNT = st.sampled_from([1, 3, 3 * RUNNING])
INDEX = st.integers(0, 1000)


class Contract(RuleBasedStateMachine):
    """One example: a bus, and what happens on it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World()
        self.run(self.world.open())

    def run(self, step: Coroutine[object, object, None]) -> None:
        self.runner.run(step)

    def teardown(self) -> None:
        try:
            self.run(self.world.close())
        finally:
            self.runner.close()

    def pick(self, index: int) -> str:
        return sorted(self.world.programs)[index % len(self.world.programs)]

    def takes(self, target: str) -> bool:
        """Whether nothing of a target waits for its gate, so that it answers at once."""
        return target not in self.world.programs or self.world.programs[target].gate.is_set()

    @rule(name=NAME)
    def connect(self, name: str) -> None:
        self.run(self.world.connect(name))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX)
    def handle(self, index: int) -> None:
        self.run(self.world.handle(self.pick(index)))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX)
    def remove_handler(self, index: int) -> None:
        self.run(self.world.remove_handler(self.pick(index)))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX, other=st.sampled_from([*NAMES, MAIN, "nobody"]), count=COUNT)
    def send(self, index: int, other: str, count: int) -> None:
        self.run(self.world.send(self.pick(index), other, count))

    @rule(other=NAME, count=COUNT)
    def send_from_main(self, other: str, count: int) -> None:
        self.run(self.world.send(MAIN, other, count))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX)
    def broadcast(self, index: int) -> None:
        self.run(self.world.broadcast(self.pick(index)))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX, other=st.sampled_from([*NAMES, MAIN, "nobody"]))
    def invoke(self, index: int, other: str) -> None:
        if self.takes(other):
            self.run(self.world.invoke(self.pick(index), other))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX, other=st.sampled_from([*NAMES, MAIN]))
    def call(self, index: int, other: str) -> None:
        source = self.pick(index)
        there = other == MAIN or other in self.world.programs
        waiting = sum((call.caller, call.callee) == (source, other) for call in self.world.calls)
        # One of those that may run at a time is left for the calls that are answered at once.
        if there and self.takes(other) and source != other and waiting < RUNNING - 1:
            self.run(self.world.call(source, other))

    @precondition(lambda self: self.world.calls)
    @rule(index=INDEX)
    def answer(self, index: int) -> None:
        self.run(self.world.answer(self.world.calls[index % len(self.world.calls)]))

    @precondition(lambda self: self.world.calls)
    @rule(index=INDEX)
    def cancel(self, index: int) -> None:
        self.run(self.world.cancel(self.world.calls[index % len(self.world.calls)]))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX, other=st.sampled_from([*NAMES, MAIN]))
    def time_out(self, index: int, other: str) -> None:
        if (other == MAIN or other in self.world.programs) and self.takes(other):
            self.run(self.world.time_out(self.pick(index), other))

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX)
    def stop_taking(self, index: int) -> None:
        self.world.programs[self.pick(index)].gate.clear()

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX)
    def take_again(self, index: int) -> None:
        self.world.programs[self.pick(index)].gate.set()
        self.run(self.world.pump())

    @precondition(lambda self: self.world.programs)
    @rule(index=INDEX, comes_back=st.booleans())
    def lose(self, index: int, comes_back: bool) -> None:
        self.run(self.world.lose(self.pick(index), comes_back=comes_back))


@pytest.mark.contract("2.4", "2.19", "3.7", "5.2", "5.5", "5.7", "9.1", "9.2", "9.5", "9.6")
class TestContract(Contract.TestCase):  # type: ignore[misc, valid-type]
    """The same few examples each time, which take some seconds; `derandomize=False` finds others."""

    settings = settings(
        max_examples=15,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
