"""Run the benchmarks: `make bench`, or `python benchmarks/run.py --only latency --repetitions 9 --json out.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import broadcast
import latency
import one_way
import payload
import peers
import pipelined
import report
from processes import Options
from rounds import Question, run

QUESTIONS: Final[dict[str, Question]] = {
    file.QUESTION.name: file.QUESTION for file in (latency, pipelined, one_way, broadcast, payload)
}

RESULTS: Final = Path(__file__).parent / "results" / "bench.json"
"""Where the figures of the last run are, unless the command line says so."""


def main(only: Sequence[str] = ()) -> None:
    """Measure what the command line asks for, print tables, write JSON."""
    arguments = _parser(only).parse_args()
    options = Options(arguments.seconds, arguments.repetitions, arguments.loop)
    questions = [QUESTIONS[name] for name in arguments.only.split(",")]
    names = list(dict.fromkeys(cell.peer for question in questions for cell in question.cells))
    where = report.surroundings(options, [name for name in names if name in arguments.peers or not arguments.peers])
    print(report.headline(where), flush=True)
    results = run(questions, options, arguments.peers)
    for question in questions:
        print(question.text(results))
    print(report.absent(results))
    found = {**where, "missing": results.missing, "failed": results.failed, "results": report.figures(results)}
    arguments.json.parent.mkdir(exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def _parser(only: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", type=_questions, default=",".join(only or QUESTIONS), help=f"some of {','.join(QUESTIONS)}"
    )
    parser.add_argument("--peers", type=_peers, default=[], help=f"some of {','.join(peers.FILES)}")
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="time of one measurement")
    parser.add_argument("--repetitions", type=int, default=Options.repetitions, help="how often each is repeated")
    parser.add_argument(
        "--loop", choices=["uvloop", "asyncio"], default="asyncio" if sys.platform == "win32" else "uvloop"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="write all figures to this file")
    return parser


def _questions(text: str) -> str:
    for name in text.split(","):
        if name not in QUESTIONS:
            raise argparse.ArgumentTypeError(f"there is no benchmark {name!r}")
    return text


def _peers(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in peers.FILES:
            raise argparse.ArgumentTypeError(f"there is no peer {name!r}")
    return names


if __name__ == "__main__":
    main()
