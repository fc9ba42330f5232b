"""A skipped test fails a strict run unless tests/skips.toml lists it with the reason it gives."""

from pathlib import Path

import pytest

from tests.support import skips

ROOT = Path(__file__).resolve().parents[2]

SKIPPING = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.skip(reason="no such kernel here")
def test_skipped(n):
    pass

@pytest.mark.xfail(reason="known to fail")
def test_expected_to_fail():
    assert False

def test_runs():
    pass
"""

BOTH = """
[[skip]]
test = "test_skipping.py::test_skipped"
reason = "no such kernel"
[[skip]]
test = "test_skipping.py::test_expected_*"
reason = "known to fail"
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of its own with tests that are skipped."""
    monkeypatch.delenv("CI", raising=False)
    pytester.makeini(f"[pytest]\npythonpath = '{ROOT}'")
    pytester.makeconftest('pytest_plugins = ["tests.support.skips"]')
    pytester.makepyfile(test_skipping=SKIPPING)
    return pytester


def run(inner: pytest.Pytester, listed: str, *options: str) -> pytest.RunResult:
    path = inner.path / "list.toml"
    path.write_text(listed)
    return inner.runpytest_inprocess("-p", "no:cacheprovider", f"--skips-list={path}", *options)


def test_unlisted_skips_fail(inner: pytest.Pytester) -> None:
    result = run(inner, "", "--strict-skips")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*test_skipped[[]1]: no such kernel here", "*test_expected_to_fail: known to fail"])


def test_ci_is_strict(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert run(inner, "").ret == pytest.ExitCode.TESTS_FAILED


def test_listed_skips_pass(inner: pytest.Pytester) -> None:
    assert run(inner, BOTH, "--strict-skips").ret == pytest.ExitCode.OK


def test_another_reason_than_the_listed_one_fails(inner: pytest.Pytester) -> None:
    listed = BOTH.replace("no such kernel", "no such user")
    assert run(inner, listed, "--strict-skips").ret == pytest.ExitCode.TESTS_FAILED


def test_a_skipped_file_fails(inner: pytest.Pytester) -> None:
    inner.makepyfile(test_skipping="import pytest\npytest.skip('not here', allow_module_level=True)")
    result = run(inner, BOTH, "--strict-skips")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_skipping.py: not here"])


def test_who_is_not_strict_may_skip(inner: pytest.Pytester) -> None:
    assert run(inner, "").ret == pytest.ExitCode.OK


def test_an_entry_without_a_reason_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "skips.toml"
    path.write_text('[[skip]]\ntest = "test_x.py::test_y"\nreason = ""')
    with pytest.raises(ValueError, match="an entry has a test and a reason"):
        skips.read(path)


def test_every_listed_test_exists() -> None:
    for entry in skips.read(skips.LIST):
        file, _, name = entry.test.partition("::")
        assert (ROOT / file).is_file(), f"tests/skips.toml lists {entry.test}: no such file"
        function = name.rpartition("::")[2]
        assert "*" in function or f"def {function}(" in (ROOT / file).read_text(), f"no such test: {entry.test}"
