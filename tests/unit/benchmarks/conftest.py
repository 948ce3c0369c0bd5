"""Makes ``benchmarks`` importable: it is a folder of the checkout, not a part of the installed package.

At the end of the path, so that the batchflow under test stays the one that is installed.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))
