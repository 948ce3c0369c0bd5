"""The example workflows import each other from their own folder, as the steps do when batchflow runs them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "workflows"))
