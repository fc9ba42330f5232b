"""Write tests/constraints.txt from the environment this runs in: `make lock` makes a fresh one for it."""

import subprocess
import sys

from tests.checks.tree import ROOT

HEADER = """\
# Every package that mainbus, its tests and its checks use, direct or not, at a version that works with the others.
# Written by `make lock`, which resolves all of them anew in an empty environment. Do not edit.
"""


def main() -> int:
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable"]
    frozen = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
    odd = [line for line in frozen if "==" not in line]
    if odd:
        print("cannot be locked by version:", *odd, sep="\n  ", file=sys.stderr)
        return 1
    (ROOT / "tests" / "constraints.txt").write_text(HEADER + "\n".join(frozen) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
