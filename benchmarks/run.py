"""Run the benchmarks: `make bench`, or `python benchmarks/run.py --only latency --repetitions 9 --json out.json`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import broadcast
import connections
import direct
import goals
import growth
import latency
import one_way
import payload
import peers
import pipelined
import plots
import published
import report
from processes import Options
from rounds import Question, Results, run

QUESTIONS: Final[dict[str, Question]] = {
    file.QUESTION.name: file.QUESTION
    for file in (
        latency,
        pipelined,
        one_way,
        broadcast,
        payload,
        connections,
        direct,
        growth,
    )
}

QUICK: Final = Options(seconds=0.2, repetitions=1)

RESULTS: Final = Path(__file__).parent / "results"
"""Where the figures of the last run are, unless the command line says so."""


def main(only: Sequence[str] = ()) -> None:
    """Measure what the command line asks for, print tables, write JSON, draw plots."""
    arguments = _parser(only).parse_args()
    if arguments.json is None:
        # A part of the questions must not take the place of all of them.
        arguments.json = RESULTS / ("bench.json" if arguments.only == ",".join(QUESTIONS) else f"{arguments.only}.json")
    if arguments.again:
        found = json.loads(arguments.json.read_text())
        results = report.results(found)
    else:
        results, found = _measured(arguments)
    print(report.headline(found), flush=True)
    for name in found["questions"]:
        print(QUESTIONS[name].text(results))
    rows = goals.table(results)
    if found["shrink"] == 1 and len(rows) > 1:
        print(report.table("Must and goal", rows))
    print(report.absent(results))
    if arguments.write:
        published.publish(results, found)
    else:
        plots.draw(results, arguments.json.parent)


def _measured(arguments: argparse.Namespace) -> tuple[Results, dict[str, Any]]:
    options = QUICK if arguments.quick else Options()
    options = Options(
        arguments.seconds or options.seconds,
        arguments.repetitions or options.repetitions,
        arguments.loop,
        arguments.shrink,
    )
    questions = [QUESTIONS[name] for name in arguments.only.split(",")]
    results = run(questions, options, arguments.peers, arguments.workloads)
    measured = dict.fromkeys(cell.peer for cell in results.figures)
    found = {
        **report.surroundings(options, measured),
        "questions": [question.name for question in questions],
        "missing": results.missing,
        "failed": results.failed,
        "results": report.figures(results),
    }
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return results, found


def _parser(only: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", type=_questions, default=",".join(only or QUESTIONS), help=f"some of {','.join(QUESTIONS)}"
    )
    parser.add_argument("--peers", type=_peers, default=[], help=f"some of {','.join(peers.FILES)}")
    parser.add_argument(
        "--workloads", type=lambda text: text.split(","), default=[], help='such as "latency,payload:65536"'
    )
    parser.add_argument("--quick", action="store_true", help=f"one round of {QUICK.seconds:g} s")
    parser.add_argument("--seconds", type=float, help=f"of one measurement; {Options.seconds:g}")
    parser.add_argument("--repetitions", type=int, help=f"rounds; {Options.repetitions}")
    parser.add_argument(
        "--loop", choices=["uvloop", "asyncio"], default="asyncio" if sys.platform == "win32" else "uvloop"
    )
    parser.add_argument("--json", type=Path, help="the file of all figures; plots lie beside it")
    parser.add_argument("--shrink", type=int, default=1, help="divide the numbers of connections by this, to try it")
    parser.add_argument("--again", action="store_true", help="measure nothing: take the figures of that file")
    parser.add_argument("--write", action="store_true", help="put the table into README.md and the plots into docs/")
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
