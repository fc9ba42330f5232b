"""The subcommands of `mainbus`: each is imported when it is needed, so that `mainbus send` starts without a broker."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

from mainbus_broker.cli.parsing import Command, MessageCommand, lighten

CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
"""Settings of every command: a wide terminal's help is wide, too."""


class _Entry(NamedTuple):
    module: str
    """In this package; it has the function, and `EXAMPLES` for the end of its help."""
    function: str
    kind: type[Command] = Command


COMMANDS: Final = {
    "serve": _Entry("serve", "serve"),
    "invoke": _Entry("invoke", "invoke", MessageCommand),
    "send": _Entry("send", "send", MessageCommand),
    "stream": _Entry("stream", "stream", MessageCommand),
    "listen": _Entry("listen", "listen"),
    "list": _Entry("list", "list_"),
    "doctor": _Entry("doctor", "doctor"),
    "bench": _Entry("bench", "bench"),
}


class Subcommands(TyperGroup):
    """A group whose commands are made when they are asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line up to the name of the command."""
        lighten(self, ctx)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None."""
        if cmd_name in COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _made(cmd_name, COMMANDS[cmd_name])
        return self.commands.get(cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the command line names; a typing error is answered with what was meant."""
        if args and args[0] not in COMMANDS and not ctx.resilient_parsing:
            close = get_close_matches(args[0], COMMANDS, n=2)
            meant = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(COMMANDS)}"
            ctx.fail(f"No such command: {args[0]}; {meant}")
        return super().resolve_command(ctx, args)


def _made(name: str, entry: _Entry) -> Any:
    module: ModuleType = import_module(f"mainbus_broker.cli.{entry.module}")
    one = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=CONTEXT)
    one.command(name=name, cls=entry.kind, epilog=f"\b\nExamples:{module.EXAMPLES}")(getattr(module, entry.function))
    return typer.main.get_command(one)
