"""The program that reads what the driver does not: ``python scout_child.py JOB_FD``, its answer on its output.

A hostile file may end it, and nobody else.  The job is one JSON object, see ``tables.scout``, or
``tables.shuffle`` if it has ``keys``; each line of the output
is one, too: what it is reading, and in the last line the result.

Standard input is a pipe whose other end only the driver has: with the driver this process ends, whatever it is doing.
"""

from __future__ import annotations

import sys

if sys.path and sys.path[0] == __file__.rpartition("/")[0]:
    # The folder of this file is no place to import from: a module in it could hide one of the standard library's.
    del sys.path[0]

import json
import os
from importlib.util import module_from_spec, spec_from_file_location


def main() -> int:
    """Do the job; returns the exit code."""
    package = __file__.rpartition("/")[0].rpartition("/")[0]
    spec = spec_from_file_location("batchflow", f"{package}/__init__.py", submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise SystemExit(f"batchflow is not where it was: {package}")
    module = module_from_spec(spec)
    sys.modules["batchflow"] = module
    spec.loader.exec_module(module)
    from batchflow.worker import dumps, lifeline

    dumps.leave_none()
    lifeline.hang_on(0)
    with os.fdopen(int(sys.argv[1]), "rb") as file:
        file.seek(0)
        job = json.loads(file.read())
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)  # what libraries print is none of our lines
    if "keys" in job:
        from batchflow.tables.shuffle import shuffle as work
    else:
        from batchflow.tables.scout import scout as work

    def say(line: str) -> None:
        output.write(line.rstrip("\n") + "\n")

    result = work(job, say)
    output.write(json.dumps({"result": result}) + "\n")
    output.flush()
    os._exit(0)  # nothing of it is worth a tidy end


if __name__ == "__main__":
    raise SystemExit(main())
