"""The contract check sees each mark, misses no rule, and knows the whole contract."""

from pathlib import Path

import pytest

from tests.checks import contract
from tests.checks.tree import ROOT

RULES = """
[clone]
"4.1" = { built = true, says = "types" }
"4.2" = { built = true, says = "patterns" }
"4.3" = { built = true, says = "errors" }
"4.4" = { built = true, says = "cycles" }
"6.1" = { built = false, later = "streams", says = "items" }
"""
MARKED = """
import pytest

pytestmark = pytest.mark.contract("4.1")

@pytest.mark.contract("4.2", "4.3")
async def test_both():
    pass

@pytest.mark.parametrize("value", [pytest.param(1, marks=pytest.mark.contract("4.4"))])
def test_parameter(value):
    pass
"""
# How many rules each section of the contract has.
SECTIONS = {2: 21, 3: 15, 4: 6, 5: 8, 6: 3, 7: 9, 8: 7, 9: 8}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "contract.toml").write_text(RULES)
    return tmp_path


def problems(project: Path, text: str) -> list[str]:
    (project / "tests" / "test_x.py").write_text(text)
    return contract.check(project)


def test_all_marks_are_seen(project: Path) -> None:
    assert problems(project, MARKED) == []


@pytest.mark.parametrize(
    ("mark", "rule"), [('"4.2", ', "4.2"), (', "4.3"', "4.3"), (', marks=pytest.mark.contract("4.4")', "4.4")]
)
def test_a_removed_mark_is_named(project: Path, mark: str, rule: str) -> None:
    (problem,) = problems(project, MARKED.replace(mark, ""))
    assert problem.startswith(f"rule {rule} has no test:")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"4.1"', '"4.1", "4.9"', "tests/test_x.py:4: the contract has no rule 4.9"),
        ('"4.1"', '"4.1", "6.1"', "tests/test_x.py:4: rule 6.1 has a test but is not marked as built"),
        ('"4.1"', '"4.1", RULE', "tests/test_x.py:4: a contract mark names its rules as literal strings"),
        ('"4.1"', "", "tests/test_x.py:4: a contract mark names its rules as literal strings"),
        ("def test_both", "def helper", "tests/test_x.py:6: this contract mark is not on a test"),
    ],
)
def test_a_wrong_mark_is_named(project: Path, old: str, new: str, problem: str) -> None:
    assert any(line.startswith(problem) for line in problems(project, MARKED.replace(old, new)))


def test_the_list_is_the_whole_contract() -> None:
    rules = contract.read_rules(ROOT / "tests" / "contract.toml")
    assert list(rules) == [f"{section}.{rule}" for section, count in SECTIONS.items() for rule in range(1, count + 1)]
    for number, rule in rules.items():
        assert rule.keys() - {"later"} == {"built", "says"}, number
        assert rule["built"] or rule.get("later"), f"{number} is neither built nor planned"


def test_check_fails_with_the_command_line_it_is_run_by(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.checks import __main__ as command

    monkeypatch.setitem(command.CHECKS, "contract", lambda: problems(project, MARKED.replace('"4.2", ', "")))
    assert command.main(["contract"]) == 1
    monkeypatch.setitem(command.CHECKS, "contract", lambda: problems(project, MARKED))
    assert command.main(["contract"]) == 0
    assert command.main(["no-such-check"]) == 2
