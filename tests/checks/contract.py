"""Check that every rule in tests/contract.toml that is built has a test marked with its number."""

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from tests.checks.tree import ROOT, parse


@dataclass(frozen=True)
class Mark:
    """One rule named by one pytest.mark.contract; `rule` is None where it is no literal string."""

    rule: str | None
    place: str
    on_test: bool


def check(root: Path = ROOT) -> list[str]:
    """Return what is wrong, a line each."""
    rules = read_rules(root / "tests" / "contract.toml")
    marks = [mark for path in sorted((root / "tests").rglob("test_*.py")) for mark in marks_in(path, root)]
    problems = []
    for mark in marks:
        if mark.rule is None:
            problems.append(f"{mark.place}: a contract mark names its rules as literal strings")
        elif mark.rule not in rules:
            problems.append(f"{mark.place}: the contract has no rule {mark.rule}")
        elif not rules[mark.rule]["built"]:
            problems.append(
                f"{mark.place}: rule {mark.rule} has a test but is not marked as built in tests/contract.toml"
            )
        if not mark.on_test:
            problems.append(f"{mark.place}: this contract mark is not on a test")
    proven = {mark.rule for mark in marks if mark.on_test}
    for number, rule in rules.items():
        if rule["built"] and number not in proven:
            problems.append(f"rule {number} has no test: {rule['says']}")
    return problems


def read_rules(path: Path) -> dict[str, dict[str, object]]:
    """Read all rules by number."""
    sections: dict[str, dict[str, dict[str, object]]] = tomllib.loads(path.read_text(encoding="utf-8"))
    return {number: rule for section in sections.values() for number, rule in section.items()}


def marks_in(path: Path, root: Path = ROOT) -> Iterator[Mark]:
    """Find the contract marks of one test file without running it."""
    tree = parse(path)
    misplaced = _marks_off_tests(tree)
    for node in ast.walk(tree):
        if _is_mark(node):
            place = f"{path.relative_to(root)}:{node.lineno}"
            named = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
            for rule in named or [None]:
                yield Mark(rule if isinstance(rule, str) else None, place, node not in misplaced)


def _marks_off_tests(tree: ast.Module) -> set[ast.expr]:
    """Find marks that decorate a helper, where pytest would never look at them."""
    found: set[ast.expr] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_test = node.name.startswith("Test" if isinstance(node, ast.ClassDef) else "test_")
            found.update(mark for mark in node.decorator_list if _is_mark(mark) and not is_test)
    return found


def _is_mark(node: ast.AST) -> TypeGuard[ast.Call]:
    """Tell whether this is `pytest.mark.contract(...)`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.mark.contract", "mark.contract")
