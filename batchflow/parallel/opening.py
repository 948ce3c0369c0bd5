"""Opens what a step is over: lists the files."""

from __future__ import annotations

from collections.abc import Callable

from batchflow.data import list_files
from batchflow.journal.state import State
from batchflow.parallel.inputs import FileItems, Split, StepInputs
from batchflow.parallel.values import ParallelJob


def split_of(job: ParallelJob, state: State | None) -> Split:
    """How the input is split: ``state`` is that of the step's first run, None if this one is the first.

    Files of one input may come in mini-batches of another size than in the first run; whatever is cut stays as it is.
    """
    settings = job.settings
    keys = settings.partition_keys
    if state is not None:
        return Split(state.mini_batch_size, state.mini_batch_unit, keys)
    return Split(0, "keys", keys) if keys else Split(settings.mini_batch_size, settings.mini_batch_unit)


def open_inputs(job: ParallelJob, split: Split, *, say: Callable[[str], None]) -> StepInputs:
    """``say`` is told what is being done.  Raises ``DatasetError`` and ``ResourceError``."""
    say("listing files")
    opened = [FileItems(over, over.listing or list_files(over.patterns), split.keys) for over in job.inputs]
    return StepInputs(opened, split)
