"""Laboratories side by side: processes that the shim is loaded into, each with tasks from one queue.

A task is a function of a module of ``tests.crash``, named as ``module:function``, and plain JSON arguments; it is
called with the laboratory's ``Player`` first and returns plain JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.crash.control import Control, NoShimError, environment

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Task:
    """One call; tasks of one ``key`` go to one laboratory where possible, since it remembers logs."""

    function: str
    arguments: dict[str, Any] = field(default_factory=dict)


class Crew:
    """``size`` laboratories, working until the block is left."""

    def __init__(self, size: int, product: Path | None = None) -> None:
        self._size = size
        self._product = product or ROOT
        self._stack = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Crew:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="batchflow-crew-")))
        for number in range(self._size):
            control = Control(folder / f"control-{number}")
            path = os.pathsep.join([str(self._product), str(ROOT)])
            variables = os.environ | environment(control.path) | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
            command = [sys.executable, "-m", "tests.crash.crew"]
            process = subprocess.Popen(
                command, env=variables, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            self._processes.append(process)
            self._stack.callback(_end, process)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def work(self, tasks: Sequence[Task], on_result: Callable[[Task, Any], None]) -> None:
        """Have every task done; ``on_result`` is called in this thread.  Raises what a laboratory died of."""
        queue: SimpleQueue[Task] = SimpleQueue()
        results: SimpleQueue[tuple[Task, Any]] = SimpleQueue()
        for task in tasks:
            queue.put(task)
        threads = [threading.Thread(target=_feed, args=(one, queue, results)) for one in self._processes]
        for thread in threads:
            thread.start()
        for _ in tasks:
            task, result = results.get()
            if isinstance(result, Exception):
                while not queue.empty():
                    queue.get()
                raise result
            on_result(task, result)
        for thread in threads:
            thread.join()


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _feed(process: subprocess.Popen[str], queue: SimpleQueue[Task], results: SimpleQueue[tuple[Task, Any]]) -> None:
    assert process.stdin is not None and process.stdout is not None
    while not queue.empty():
        with contextlib.suppress(Exception):
            task = queue.get_nowait()
            try:
                process.stdin.write(json.dumps([task.function, task.arguments]) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = ""
            if not line:
                results.put((task, RuntimeError(f"a laboratory died, task={task}")))
                return
            results.put((task, json.loads(line)))


def _serve() -> None:
    """The laboratory's process: one task for each line of standard input."""
    from tests.crash.lab import laboratory
    from tests.crash.scenario import Player

    control = Control(Path(os.environ["CRASH_SHIM_CONTROL"]))
    control.check()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may print between the answers
    with laboratory(control) as lab:
        player = Player(lab)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            module, _, function = name.partition(":")
            result = getattr(importlib.import_module(f"tests.crash.{module}"), function)(player, **arguments)
            answers.write(json.dumps(result) + "\n")
            answers.flush()


def chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def shim_is_missing() -> str | None:
    """Why nothing of this can run here; None if it can."""
    from tests.crash.control import build

    if not sys.platform.startswith("linux"):
        return "only on Linux"
    try:
        build()
    except NoShimError as error:
        return str(error)
    return None


if __name__ == "__main__":
    _serve()
