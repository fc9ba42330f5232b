"""python -m mainbus_broker: the `mainbus` command; without a subcommand it serves."""

import sys

from mainbus_broker.cli import main

_arguments = sys.argv[1:]
_first = _arguments[0] if _arguments else ""
_own = ("-h", "--help", "--version", "--install-completion", "--show-completion")
# No subcommand has a colon, every target has one.
if _first not in _own and (not _first or _first.startswith("-") or ":" in _first):
    _arguments.insert(0, "serve")
sys.exit(main(_arguments))
