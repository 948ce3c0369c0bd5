"""The program that calls the function of a ``call`` step, in a process of its own.

Run as ``python call_child.py JOB_FD REPORT_FD``.  The job is one JSON object: ``package`` (the folder of the driver's
batchflow), ``folder`` (the workflow's), ``function`` ("module:name"), ``inputs``, ``outputs``, ``args``.  The report is
one JSON object: ``{"done": true}``, or ``type``, ``message`` and ``traceback`` of what the function raised.

What it needs itself it has imported before the user's folder comes to ``sys.path``, so a ``json.py`` of the user's
changes nothing here.  Invariant: the report says ``done`` only after the function has returned.
"""

from __future__ import annotations

import sys

if sys.path and sys.path[0] == __file__.rpartition("/")[0]:
    # The folder of this file is no place to import from: a module in it could hide one of the standard library's.
    del sys.path[0]

import importlib
import importlib.util
import json
import os
import traceback
from types import TracebackType
from typing import Any


def main() -> int:
    """Call the function and report; returns the exit code."""
    job_descriptor, report_descriptor = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(report_descriptor, False)
    with os.fdopen(job_descriptor, "rb") as file:
        job = json.loads(file.read())
    _import_package(job["package"])
    sys.argv = [job["function"]]
    sys.path.insert(0, job["folder"])
    try:
        _call(job)
    except BaseException as error:
        if not (isinstance(error, SystemExit) and error.code in (None, 0)):
            _write(report_descriptor, _describe(error))
            return 1
    _write(report_descriptor, {"done": True})
    return 0


def _import_package(folder: str) -> None:
    """Import the driver's batchflow by its place, whatever of that name lies in the current folder."""
    spec = importlib.util.spec_from_file_location(
        "batchflow", f"{folder}/__init__.py", submodule_search_locations=[folder]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package in folder={folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["batchflow"] = module
    spec.loader.exec_module(module)


def _call(job: dict[str, Any]) -> None:
    module_name, _, function_name = job["function"].partition(":")
    module = importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise AttributeError(f"{module_name} ({module.__file__}) has no function {function_name!r}")
    function(job["inputs"], job["outputs"], job["args"])


def _describe(error: BaseException) -> dict[str, str]:
    """Type, message and traceback of ``error``, the traceback beginning with the user's own frames."""
    kept = _skip_ours(error.__traceback__)
    lines = traceback.format_exception(type(error), error.with_traceback(kept), kept)
    if kept is None and not isinstance(error, SyntaxError):
        lines = lines[-1:]
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {"type": name, "message": _text_of(error), "traceback": "".join(lines)}


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"<its message cannot be made: {type(second).__name__}>"


def _skip_ours(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None:
        name = frames.tb_frame.f_code.co_filename
        if name != __file__ and not name.startswith("<frozen importlib") and name != importlib.__file__:
            return frames
        frames = frames.tb_next
    return None


def _write(descriptor: int, report: dict[str, Any]) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.ftruncate(descriptor, 0)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(json.dumps(report).encode())


if __name__ == "__main__":
    raise SystemExit(main())
