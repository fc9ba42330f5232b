"""How many descriptors may be open, as the system says, and what is left of them for the application."""

import resource

import pytest
from mainbus import open_files


def test_the_limit_is_the_system_s_of_this_moment() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        assert open_files.most_files() == 400
        assert open_files.has_files(335)
        assert not open_files.has_files(336)
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        # A quarter, where there are few.
        assert open_files.has_files(74)
        assert not open_files.has_files(75)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_system_without_a_limit_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "resource", None)
    assert open_files.has_files(10**6)
