"""Which pyarrow may read files: up to 14.0.0, reading Parquet or Arrow data can run code that is hidden in them.

That is CVE-2023-47248.  pip sees to it that pyarrow is newer; an environment that was put together otherwise may not.
"""

from __future__ import annotations

import re

from batchflow.errors import DatasetError

FLOOR = (14, 0, 1)


def require_safe_arrow() -> None:
    """Raises ``DatasetError`` if the pyarrow of this process must not read files."""
    import pyarrow

    version = tuple(int(part) for part in re.findall(r"\d+", pyarrow.__version__)[: len(FLOOR)])
    if version < FLOOR:
        raise DatasetError(
            f"pyarrow {pyarrow.__version__} can be made to run code by the files that it reads (CVE-2023-47248)",
            hint="pip install --upgrade pyarrow",
        )
