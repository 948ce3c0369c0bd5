"""Another entry script's ``run()``, called for each image alone, as the tutorials do: one call of the model an image.

Arguments: that script's path, then its own arguments.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(sys.argv.pop(1))  # before the script is executed: it finds its arguments where they always are

sys.path.insert(0, str(SCRIPT.parent))
spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
if spec is None or spec.loader is None:
    raise ValueError(f"not a Python file, script={SCRIPT}")
together = importlib.util.module_from_spec(spec)
spec.loader.exec_module(together)


def init() -> None:
    together.init()


def run(mini_batch: list[str]) -> list[Any]:
    return [row for path in mini_batch for row in together.run([path])]
