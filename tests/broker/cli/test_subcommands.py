"""The subcommands: found by name, made when they are asked for, each with examples that are commands."""

import shlex
import subprocess
import sys
from importlib import import_module

import pytest
from mainbus_broker.cli.subcommands import COMMANDS

MODULES = {name: import_module(f"mainbus_broker.cli.{entry.module}") for name, entry in COMMANDS.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_are_of_the_command(name: str) -> None:
    examples = MODULES[name].EXAMPLES.strip("\n").splitlines()
    assert len(examples) >= 2
    for line in examples:
        assert line.startswith(f"  mainbus {name}") or f"| mainbus {name} " in line
        assert shlex.split(line)
        # As wide as a help page: what is longer would be broken.
        assert len(line) <= 78


def test_only_the_one_that_is_asked_for_is_imported() -> None:
    code = "import sys; from mainbus_broker.cli import main; main(['list', '-h']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.rpartition(".")[2] for name in done.stdout.split() if name.startswith("mainbus_broker.cli.")}
    assert loaded & {entry.module for entry in COMMANDS.values()} == {"list"}
