"""The program that makes the file of a typed output: ``python typed_child.py JOB_FD``, its answer on its output.

The job is one JSON object, the fields of ``typed.TypedJob``.  So is the answer: ``size``, ``checksum`` and
``row_count`` of what was written, or what went wrong: ``errno`` with ``path``, or ``damaged``, in words.

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
from typing import Any


def main() -> None:
    """Do the job, and end."""
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
    answer_fd = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    os.write(answer_fd, json.dumps(answer(job)).encode())
    os._exit(0)  # nothing of it is worth a tidy end


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Make the file; what came of it."""
    from pathlib import Path

    from batchflow.output.typed_file import DamagedRowsError, write_typed

    source, target = Path(job["source"]), Path(job["target"])
    try:
        written = write_typed(source, job["size"], job["checksum"], target, job["output_format"])
    except DamagedRowsError as error:
        return {"damaged": str(error)}
    except OSError as error:
        return {"errno": error.errno, "path": error.filename or job["target"]}
    return written._asdict()


if __name__ == "__main__":
    main()
