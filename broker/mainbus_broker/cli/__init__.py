"""The `mainbus` command: one file a subcommand."""

from mainbus_broker.cli.command import main

__all__ = ["main"]
