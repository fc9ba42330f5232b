"""Pytest plugin: with CI=true or --strict-skips, a skipped test that tests/skips.toml does not list fails the run."""

import os
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LIST = Path(__file__).resolve().parents[1] / "skips.toml"


@dataclass(frozen=True)
class Skip:
    """One entry of the list: which tests may be skipped, and the words their reason must contain."""

    test: str
    reason: str

    def allows(self, test: str, reason: str) -> bool:
        """Tell whether this entry is about that test, skipped for that reason."""
        return fnmatchcase(test.partition("[")[0], self.test) and self.reason in reason


def read(path: Path) -> list[Skip]:
    """Read the list; an entry without a test or a reason is a ValueError that names it."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("skip", [])
    for entry in entries:
        if set(entry) != {"test", "reason"} or not all(isinstance(text, str) and text for text in entry.values()):
            raise ValueError(f"{path.name}: an entry has a test and a reason, and nothing else: {entry}")
    return [Skip(**entry) for entry in entries]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mainbus")
    group.addoption("--strict-skips", action="store_true", help="fail on a skipped test that is not listed")
    group.addoption("--skips-list", type=Path, default=LIST, help="the list of tests that may be skipped")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--strict-skips") or os.environ.get("CI") == "true":
        config.pluginmanager.register(StrictSkips(read(config.getoption("--skips-list"))), "strict-skips")


class StrictSkips:
    """Collects what was skipped and, at the end, fails the run for what nobody listed."""

    def __init__(self, listed: list[Skip]) -> None:
        self.listed = listed
        self.unlisted: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test; one that was expected to fail, and did, proves as little."""
        if report.skipped:
            self._note(report.nodeid, _reason(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a whole file that was skipped."""
        if report.skipped:
            self._note(report.nodeid, _reason(report))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unlisted and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.unlisted:
            terminalreporter.section("skipped, but not listed in tests/skips.toml", red=True)
            terminalreporter.write_line("\n".join(self.unlisted))

    def _note(self, test: str, reason: str) -> None:
        if not any(entry.allows(test, reason) for entry in self.listed):
            self.unlisted.append(f"{test}: {reason or 'no reason'}")


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    expected_failure = getattr(report, "wasxfail", None)
    if expected_failure is not None:
        return str(expected_failure)
    return report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else str(report.longrepr)
