"""What ``run(mini_batch, context)`` is told about its mini-batch.

Invariant: what is the same for all mini-batches of a worker is kept once, in a ``StepContext``; a ``MiniBatchContext``
is a handful of references, cheap enough to make one for each mini-batch.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from batchflow.private import make_private_folder
from batchflow.worker.inputs import DatasetRange, TableRange


class StepContext:
    """What all mini-batches of one worker share."""

    __slots__ = (
        "_scratch_made",
        "_scratch_path",
        "arguments",
        "keys",
        "locate",
        "logger",
        "output_dir",
        "run_id",
        "step",
    )

    def __init__(
        self,
        *,
        step: str,
        run_id: str,
        arguments: tuple[str, ...],
        locate: Callable[[int, int], DatasetRange | TableRange],
        keys: Callable[[int], Mapping[str, Any]],
        scratch_path: Path,
        output_dir: Path | None = None,
    ) -> None:
        """``locate`` and ``keys`` as in ``inputs.WorkerInputs``."""
        self.step = step
        self.run_id = run_id
        self.arguments = arguments
        self.locate = locate
        self.keys = keys
        self.output_dir = output_dir
        self.logger = logging.getLogger(f"batchflow.{step}")
        self._scratch_path = scratch_path
        self._scratch_made = False

    def scratch_dir(self) -> Path:
        """The worker's private folder, made when first asked for; whoever started the worker removes it."""
        if not self._scratch_made:
            for folder in (self._scratch_path.parent, self._scratch_path):
                with contextlib.suppress(FileExistsError):
                    make_private_folder(folder)
            self._scratch_made = True
        return self._scratch_path


class MiniBatchContext:
    """The second argument of ``run(mini_batch, context)``.

    ``mini_batch_index`` counts from 0, ``attempt`` from 1; ``partition_key_value`` is empty without partition keys.
    """

    __slots__ = ("_start", "_step", "_stop", "attempt", "mini_batch_index")

    def __init__(
        self,
        step: StepContext,
        mini_batch_index: int,
        attempt: int,
        start: int,
        stop: int,
    ) -> None:
        self._step = step
        self._start = start
        self._stop = stop
        self.mini_batch_index = mini_batch_index
        self.attempt = attempt

    @property
    def minibatch_index(self) -> int:
        return self.mini_batch_index

    @property
    def retry_count(self) -> int:
        """How often this mini-batch was tried before."""
        return self.attempt - 1

    @property
    def item_count(self) -> int:
        return self._stop - self._start

    @property
    def dataset(self) -> DatasetRange | TableRange:
        return self._step.locate(self._start, self._stop)

    @property
    def partition_key_value(self) -> Mapping[str, Any]:
        return self._step.keys(self._start)

    @property
    def step(self) -> str:
        return self._step.step

    @property
    def run_id(self) -> str:
        return self._step.run_id

    @property
    def arguments(self) -> tuple[str, ...]:
        """``sys.argv[1:]`` as declared."""
        return self._step.arguments

    @property
    def scratch_dir(self) -> Path:
        """A private folder of this worker; it is made on first use and removed at the end of the step."""
        return self._step.scratch_dir()

    @property
    def output_dir(self) -> Path | None:
        """The step's output folder for files that the script writes itself; None if it declares none."""
        return self._step.output_dir

    @property
    def logger(self) -> logging.Logger:
        return self._step.logger

    def __repr__(self) -> str:
        return (
            f"MiniBatchContext(step={self.step!r}, mini_batch_index={self.mini_batch_index}, "
            f"attempt={self.attempt}, item_count={self.item_count})"
        )
