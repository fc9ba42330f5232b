"""The build hook that compiles the codec and what every message passes; without a compiler it is plain Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from sysconfig import get_config_var
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("client/mainbus", "broker/mainbus_broker")


class CompiledParts(BuildHookInterface[Any]):
    """Builds what can be compiled beside its source, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say that the wheel is for this Python and platform."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        sources = sorted(_found(root, "*_fast.pyx"))
        # Only what this Python loads: an editable install of another one may stand beside it.
        libraries = f"*_fast{get_config_var('EXT_SUFFIX')}"
        for old in _found(root, libraries):
            old.unlink()
        command = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", *map(str, sources)]
        # They use each other, across both packages.
        paths = [str((root / package).parent) for package in PACKAGES]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])])}
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=env)
        built = [str(path.relative_to(root)) for path in _found(root, libraries)]
        for source in sources:
            source.with_suffix(".c").unlink(missing_ok=True)
        if done.returncode or len(built) != len(sources):
            # All or none: they are made for each other.
            for library in built:
                (root / library).unlink()
            reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["a library is missing"]
            self.app.display_warning(f"mainbus is built without its compiled parts, and will be slower: {reason[0]}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"] += built


def _found(root: Path, pattern: str) -> Iterator[Path]:
    for package in PACKAGES:
        yield from (root / package).rglob(pattern)
