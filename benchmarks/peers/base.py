"""What a peer is, and what runs in its workers.

The functions here are found by name in the workers, so this module imports nothing that a worker does not need.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

MEETING_TIMEOUT_S = 120.0

_run: Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Setting:
    """What a peer is made for: the entry script with its arguments, how many workers, mini-batches a message, rows."""

    script: str
    arguments: tuple[str, ...]
    workers: int
    chunk: int | str | None
    output_format: str = "text"
    """``text``: rows are strings; ``jsonl``: they are objects."""


class Peer(Protocol):
    """One way to call ``run()`` on every mini-batch.  Used once: ``start``, ``results`` until it ends, ``close``.

    A tool that starts its workers with the first task only has an attribute ``ready_s``: when, by ``perf_counter``,
    the last of them had called ``init()``.
    """

    def start(self) -> None:
        """Return when every worker is up and has called ``init()``."""

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[str]]: ...

    def close(self) -> None:
        """Return when no process is left."""


def load(script: str, arguments: tuple[str, ...]) -> None:
    """Execute the entry script in this process and call its ``init()``: the initializer of a worker."""
    global _run
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    spec = importlib.util.spec_from_file_location("entry_script", script)
    if spec is None or spec.loader is None:
        raise ValueError(f"not a Python file, script={script}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["entry_script"] = module
    spec.loader.exec_module(module)
    if hasattr(module, "init"):
        module.init()
    _run = module.run


def entry_function() -> Callable[[list[str]], list[str]]:
    """The ``run`` that ``load`` found."""
    return _run


def call(mini_batch: list[str]) -> list[str]:
    """What a worker does with a mini-batch."""
    return _run(mini_batch)


def call_all(mini_batches: list[list[str]]) -> list[list[str]]:
    """What a worker does with a bundle of mini-batches."""
    return [_run(mini_batch) for mini_batch in mini_batches]


def bundles(mini_batches: Iterable[list[str]], size: int) -> Iterator[list[list[str]]]:
    """``size`` mini-batches at a time; the last bundle may be short."""
    rest = iter(mini_batches)
    while bundle := list(islice(rest, size)):
        yield bundle


def pack(rows: Iterable[Any], output_format: str) -> list[str]:
    """Rows as strings, for tools whose results are columns."""
    return list(rows) if output_format == "text" else [json.dumps(row) for row in rows]


def unpack(rows: list[str], output_format: str) -> list[Any]:
    """What ``pack`` was given."""
    return rows if output_format == "text" else [json.loads(row) for row in rows]


def meet(folder: str, count: int) -> int:
    """Wait until ``count`` processes are in here: submitted ``count`` times, each process gets exactly one.

    Raises ``TimeoutError`` when they do not all come.
    """
    place = Path(folder)
    (place / str(os.getpid())).touch()
    deadline = time.monotonic() + MEETING_TIMEOUT_S
    while (came := sum(1 for _ in place.iterdir())) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"workers did not all start, expected={count} came={came}")
        time.sleep(0.001)
    return os.getpid()


def let_all_meet(submit: Callable[[Callable[..., Any], list[tuple[str, int]]], object], workers: int) -> None:
    """Return when every worker has been initialised: ``submit(meet, arguments)`` must call it once for each tuple."""
    with tempfile.TemporaryDirectory() as folder:
        submit(meet, [(folder, workers)] * workers)
