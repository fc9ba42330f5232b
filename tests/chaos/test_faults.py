"""What goes wrong follows from the seed, and in a short run everything does."""

from itertools import pairwise

from tests.chaos.faults import KINDS, RESPITE, plan

NAMES = [f"r{number}" for number in range(8)]


def test_a_seed_brings_the_same_faults_again() -> None:
    assert list(plan(1, 60, NAMES)) == list(plan(1, 60, NAMES))
    assert list(plan(1, 60, NAMES)) != list(plan(2, 60, NAMES))


def test_all_kinds_come_within_the_duration_and_the_broker_has_a_respite() -> None:
    for seed in range(20):
        faults = list(plan(seed, 60, NAMES))
        assert {fault.kind for fault in faults} == set(KINDS)
        assert all(0 < fault.at < 60 for fault in faults)
        times = [fault.at for fault in faults if fault.victim == "main"]
        assert all(behind - before >= RESPITE for before, behind in pairwise(times))
