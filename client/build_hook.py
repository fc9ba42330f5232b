"""The build hook that compiles codec and packets; without a compiler mainbus is plain Python, and slower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from sysconfig import get_config_var
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WIRE = "client/mainbus/wire"


class CompiledWire(BuildHookInterface[Any]):
    """Builds what can be compiled beside its source, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say that the wheel is for this Python and platform."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        wire = root / WIRE
        sources = sorted(wire.glob("*_fast.pyx"))
        # Only what this Python loads: an editable install of another one may stand beside it.
        libraries = f"*_fast{get_config_var('EXT_SUFFIX')}"
        for old in wire.glob(libraries):
            old.unlink()
        command = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", *map(str, sources)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        built = [str(path.relative_to(root)) for path in wire.glob(libraries)]
        for source in sources:
            source.with_suffix(".c").unlink(missing_ok=True)
        if done.returncode or len(built) != len(sources):
            reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["a library is missing"]
            self.app.display_warning(f"mainbus is built without its compiled parts, and will be slower: {reason[0]}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"] += built
