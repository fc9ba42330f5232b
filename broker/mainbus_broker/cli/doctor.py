"""`mainbus doctor`: what is wrong with this set-up, and what to do about it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Final

import typer

from mainbus_broker.cli.arguments import Address, seconds
from mainbus_broker.cli.doctor_address import find_address
from mainbus_broker.cli.doctor_broker import examine_broker
from mainbus_broker.cli.doctor_here import examine_here
from mainbus_broker.cli.failures import ExitCode
from mainbus_broker.cli.findings import Finding, Level
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.terminal import Column, Styled, table

if sys.platform == "win32":
    from mainbus_broker.cli.doctor_pipe import examine_pipe as examine_place
else:
    from mainbus_broker.cli.doctor_files import examine_files as examine_place

EXAMPLES: Final = """
  mainbus doctor
  mainbus doctor --address unix:/run/user/1000/app.sock
  mainbus doctor --json | jq 'select(.level != "ok")'
"""

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="How long to wait for the broker.")
]
Lines = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each finding.")]

# Both grounds show these; the words alone say it, too.
_STYLES: Final = {Level.OK: "green", Level.HINT: "bold", Level.WRONG: "bold red"}
_COLUMNS: Final = (Column(""), Column(""), Column("", words=True))


def doctor(address: Address = None, timeout: Timeout = 5.0, as_lines: Lines = False) -> int:
    """Check this set-up and say what to do about it.

    It looks at the installation, the address, its folder, socket and lock file, and asks the broker, if one is there,
    for its versions and limits. It changes nothing. Exit code 0: nothing is wrong, hints may be there; 1: something is.
    """
    findings = list(_examine(address, timeout))
    if as_lines:
        for finding in findings:
            show(as_json(asdict(finding), compact=True))
    else:
        show(_report(findings))
    return ExitCode.FAILED if any(finding.level is Level.WRONG for finding in findings) else ExitCode.DONE


def _examine(text: str | None, timeout: float) -> Iterator[Finding]:
    yield from examine_here()
    address, findings = find_address(text)
    yield from findings
    if address is not None:
        yield from examine_place(address)
        yield from asyncio.run(examine_broker(address, timeout))


def _report(findings: list[Finding]) -> str:
    rows = [[Styled(finding.level, _STYLES[finding.level]), finding.topic, str(finding)] for finding in findings]
    counts = Counter(finding.level for finding in findings)
    found = [
        f"{count} {word}{'s' if count != 1 else ''}"
        for count, word in ((counts[Level.WRONG], "problem"), (counts[Level.HINT], "hint"))
        if count
    ]
    return f"{table(_COLUMNS, rows, heads=False)}\n\n{' and '.join(found) if found else 'all is well'}"
