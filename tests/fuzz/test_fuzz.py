"""What has once been found by fuzzing stays found; a short run finds nothing new, and would find what is planted."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from mainbus.wire.port_table import is_fair, unpack

from tests.fuzz import corpus
from tests.fuzz.coverage import Coverage
from tests.fuzz.mutation import MOST, mutate
from tests.fuzz.run import ENOUGH, Fuzzer, fuzz
from tests.fuzz.targets import SEEDS, TARGETS, close


@pytest.fixture(autouse=True)
def _ended() -> Iterator[None]:
    yield
    close()


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_fails_no_more(name: str) -> None:
    kept = corpus.load(name)
    assert kept
    for data in [*SEEDS[name](), *kept]:
        TARGETS[name](data)


@pytest.mark.contract("4.6", "8.7")
def test_a_short_run_finds_nothing() -> None:
    found = fuzz(1.0, 1, list(TARGETS))
    for name, fuzzer in found.items():
        assert not fuzzer.failures, f"{name}: {fuzzer.failures}"
        assert fuzzer.inputs > 10
        assert len(fuzzer.coverage.seen) > 20


def test_what_is_planted_is_found_step_by_step_and_kept(tmp_path: Path) -> None:
    def target(data: bytes) -> None:
        found = unpack(data, 1)
        assert found is None or len(found[1]) != 3, "planted"

    fuzzer = Fuzzer(target, [b""], random.Random(1))
    fuzzer.run(float("inf"))
    assert len(fuzzer.failures) == ENOUGH
    assert "planted" in fuzzer.failures[0][1]
    corpus.keep("x", [data for data, _ in fuzzer.failures], tmp_path)
    assert set(corpus.load("x", tmp_path)) == {data for data, _ in fuzzer.failures}


def test_only_what_is_new_counts_and_only_ours() -> None:
    coverage = Coverage()
    assert coverage.trace(lambda: is_fair((1, 0)))
    assert not coverage.trace(lambda: is_fair((1, 0)))
    assert not coverage.trace(lambda: sorted([2, 1]))


def test_variations_are_bounded_and_follow_from_the_seed() -> None:
    one, again = random.Random(1), random.Random(1)
    data = b"seed"
    for _ in range(200):
        data = mutate(data, [b"other" * 500], one)
        assert len(data) <= MOST
    repeated = b"seed"
    for _ in range(200):
        repeated = mutate(repeated, [b"other" * 500], again)
    assert repeated == data
