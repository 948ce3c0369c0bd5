"""Opens what a step is over: lists the files, and finds the rows of tables."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib.util import find_spec

from batchflow._core import Listing
from batchflow.control import StopRequest
from batchflow.data import list_files
from batchflow.errors import DatasetError
from batchflow.journal.state import State
from batchflow.parallel.inputs import FileItems, InputItems, Split, StepInputs
from batchflow.parallel.values import OverInput, ParallelJob


def split_of(job: ParallelJob, state: State | None) -> Split:
    """How the input is split: ``state`` is that of the step's first run, None if this one is the first.

    Files of one input may come in mini-batches of another size than in the first run; whatever is cut stays as it is.
    """
    settings = job.settings
    keys = settings.partition_keys
    if state is not None:
        return Split(state.mini_batch_size, state.mini_batch_unit, keys)
    return Split(0, "keys", keys) if keys else Split(settings.mini_batch_size, settings.mini_batch_unit)


def open_inputs(
    job: ParallelJob,
    split: Split,
    *,
    stop: StopRequest,
    say: Callable[[str], None],
    notice: Callable[[str], None],
) -> StepInputs:
    """``say`` is told what is being done, ``notice`` what users should know.

    Raises ``DatasetError``, ``ResourceError``, ``InterruptedRunError``.
    """
    say("listing files")
    _discard_others(job, split)
    opened: list[InputItems] = []
    with contextlib.ExitStack() as stack:
        for over in job.inputs:
            listing = over.listing or list_files(over.patterns)
            one = _open(job, over, listing, split, stop, say, notice)
            stack.callback(one.close)
            opened.append(one)
        stack.pop_all()
    return StepInputs(opened, split)


def _discard_others(job: ParallelJob, split: Split) -> None:
    """Remove the rows by their keys that runs have left that were by keys, or over another input."""
    wanted = {f"rows-{one.name}.keys" for one in job.inputs} if split.keys else set()
    for folder in job.state_folder.glob("rows-*.keys"):
        if folder.name not in wanted:
            from batchflow.tables.shuffle import discard  # few steps have any

            with contextlib.suppress(OSError):
                discard(folder)


def _open(
    job: ParallelJob,
    over: OverInput,
    listing: Listing,
    split: Split,
    stop: StopRequest,
    say: Callable[[str], None],
    notice: Callable[[str], None],
) -> InputItems:
    if over.table is None:
        return FileItems(over, listing, split.keys)
    if job.settings.frame == "polars" and find_spec("polars") is None:
        raise DatasetError('as = "polars" needs polars', hint="pip install polars")
    from batchflow.parallel.tables import TableOpener  # where there are only files, nobody waits for its import

    folder = job.state_folder
    opener = TableOpener(
        over,
        listing,
        split,
        folder / f"rows-{over.name}.index",
        folder / "logs" / f"scout-{over.name}.log",
        job.cores,
        stop=stop,
        say=say,
        notice=notice,
    )
    return opener.open()
