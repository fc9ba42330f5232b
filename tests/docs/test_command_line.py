"""The page of the command line has every command and option."""

import re

import pytest
from mainbus_broker.cli import main
from mainbus_broker.cli.subcommands import COMMANDS

from tests.checks.tree import ROOT

PAGE = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_section_and_every_option_is_explained(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"\n## `mainbus {name}`\n" in PAGE
    main([name, "--help"])
    options = set(re.findall(r"^\s+(?:-\w, )?(--[\w-]+)", capsys.readouterr().out, flags=re.M)) - {"--help"}
    assert options
    assert [option for option in sorted(options) if option not in PAGE] == []
