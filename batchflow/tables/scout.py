"""What the driver does not find out for itself: the one schema of a dataset, and pieces of files that it cannot split.

Runs in a process of its own: a hostile file may end it.  Reads a sample from the beginning of each text file, the whole
of compressed ones, and of Parquet and Arrow files what they say about themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.tables.options import TableOptions


def scout(job: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """``job``: ``options``, ``paths``, and of a piece its ``size`` in bytes or its ``rows``; 0: none is given.

    ``say`` is told the path of each file before it is opened, as JSON.

    Returns ``schema``; ``pieces`` of compressed, Parquet and Arrow files, ``[file, begin, end, rows]``, where ``file``
    is a place among the paths; ``warnings``.  Or ``error`` and ``hint``.
    """
    options = TableOptions.from_json(job["options"])
    paths = [str(path) for path in job["paths"]]

    def tell(path: str) -> None:
        say(json.dumps({"path": path}))

    try:
        from batchflow.tables.arrow_floor import require_safe_arrow

        require_safe_arrow()
        if options.format in ("csv", "jsonl"):
            from batchflow.tables.scout_text import look_at_texts

            schema, pieces, warnings = look_at_texts(options, paths, tell)
        else:
            from batchflow.tables.scout_columnar import look_at_columnar

            schema, pieces, warnings = look_at_columnar(options, paths, job["size"], job["rows"], tell)
    except BatchflowError as error:
        return {"error": error.message, "hint": error.hint}
    return {"schema": schema.as_json(), "pieces": pieces, "warnings": warnings}
