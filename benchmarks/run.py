"""Run the benchmarks: `make bench`, or `python benchmarks/run.py --only latency --repetitions 9 --json out.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import latency
import report
import throughput
from processes import Options

QUESTIONS: Final[dict[str, ModuleType]] = {latency.NAME: latency, throughput.NAME: throughput}


def main(only: Sequence[str] = ()) -> None:
    """Measure what the command line asks for, print tables, write JSON."""
    arguments = _parser(only).parse_args()
    options = Options(arguments.seconds, arguments.repetitions, arguments.loop)
    where = report.surroundings(options)
    print(report.headline(where), flush=True)
    results: list[dict[str, Any]] = []
    for name in arguments.only.split(","):
        text, figures = QUESTIONS[name].run(options)
        print(text, flush=True)
        results += figures
        if arguments.json:
            arguments.json.write_text(json.dumps({**where, "results": results}, indent=2) + "\n")


def _parser(only: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", type=_questions, default=",".join(only or QUESTIONS), help=f"some of {','.join(QUESTIONS)}"
    )
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="time of one measurement")
    parser.add_argument("--repetitions", type=int, default=Options.repetitions, help="how often each is repeated")
    parser.add_argument(
        "--loop", choices=["uvloop", "asyncio"], default="asyncio" if sys.platform == "win32" else "uvloop"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


def _questions(text: str) -> str:
    for name in text.split(","):
        if name not in QUESTIONS:
            raise argparse.ArgumentTypeError(f"there is no benchmark {name!r}")
    return text


if __name__ == "__main__":
    main()
