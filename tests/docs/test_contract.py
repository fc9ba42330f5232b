"""Pages end with the numbers of the contract's rules that they tell of, and every rule that is built is told of."""

import re

from tests.checks.contract import read_rules
from tests.checks.tree import ROOT

LINE = re.compile(r"^\[Contract\]\((?:\.\./reference/)?contract\.md\): (\d+\.\d+(?:, \d+\.\d+)*)$", re.M)
RULES = read_rules(ROOT / "tests" / "contract.toml")
CITED = {
    str(page.relative_to(ROOT)): line.split(", ")
    for page in sorted((ROOT / "docs").glob("**/*.md"))
    for line in LINE.findall(page.read_text(encoding="utf-8"))
}


def test_pages_cite_rules_that_there_are() -> None:
    assert not [(page, rule) for page, rules in CITED.items() for rule in rules if rule not in RULES]


def test_every_rule_that_is_built_is_cited() -> None:
    built = {number for number, rule in RULES.items() if rule["built"]}
    assert built
    assert built <= {rule for rules in CITED.values() for rule in rules}
