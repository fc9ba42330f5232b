"""The build hook that compiles the codec; without a compiler mainbus is plain Python, and slower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "client/mainbus/wire/clone_fast.pyx"


class CompiledCodec(BuildHookInterface[Any]):
    """Builds the codec beside its source, for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say that the wheel is for this Python and platform."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        for old in root.glob(SOURCE.replace(".pyx", ".*.so")):
            old.unlink()
        command = [sys.executable, "-m", "Cython.Build.Cythonize", "--inplace", "--quiet", SOURCE]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        built = [str(path.relative_to(root)) for path in root.glob(SOURCE.replace(".pyx", ".*.so"))]
        (root / SOURCE).with_suffix(".c").unlink(missing_ok=True)
        if done.returncode or not built:
            reason = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no library was made"]
            self.app.display_warning(f"mainbus is built without its compiled codec, and will be slower: {reason[0]}")
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["artifacts"] += built
