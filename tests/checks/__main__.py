"""Run the project's own checks: `python -m tests.checks` runs all of them, `python -m tests.checks docs` one."""

import sys
from collections.abc import Callable

from tests.checks import clean, contract, docs, layout

CHECKS: dict[str, Callable[[], list[str]]] = {
    "layout": layout.check,
    "contract": contract.check,
    "clean": clean.check,
    "docs": docs.check,
}


def main(names: list[str]) -> int:
    failed = False
    for name in names or CHECKS:
        if name not in CHECKS:
            print(f"no check {name!r}: there are {', '.join(CHECKS)}", file=sys.stderr)
            return 2
        problems = CHECKS[name]()
        print(f"{name}: {f'{len(problems)} problems' if problems else 'clean'}", *problems, sep="\n  ")
        failed |= bool(problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
