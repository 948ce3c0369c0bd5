"""Books and whose they are, for tests of them: a real journal, real rings, files in a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from unit.parallel.driven import Table

from batchflow.clock import FakeClock
from batchflow.control import StopRequest
from batchflow.data import list_files
from batchflow.model import Receipt
from batchflow.parallel.books import Books
from batchflow.parallel.inputs import FileItems, Split, StepInputs
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.workflow.values import ParallelSettings

SIGNATURE: dict[str, Any] = {"settings": {}, "params": {}, "inputs": {}, "code": {}, "upstream": {}}


def inputs_of(job: ParallelJob, size: int) -> StepInputs:
    (over,) = job.inputs
    return StepInputs([FileItems(over, list_files(over.patterns))], Split(size, "items"))


class Desk:
    """Books, and whose they are; ``again`` is the next run."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        values = ParallelSettings(folder / "score.py", folder, ("files",), 3, **{"append_row_to": "rows"} | settings)
        summary_only = values.append_row_to is None
        self.job = ParallelJob(
            step="score",
            run_id="r1",
            settings=values,
            arguments=(),
            inputs=(OverInput("files", (f"{folder}/in/",)),),
            folder=folder,
            state_folder=folder / ".batchflow" / "flow",
            output_path=None if summary_only else folder / "rows.partial",
            output_name=None if summary_only else f"{folder}/rows",
            output_folder=None,
            workers=2,
            signature=SIGNATURE,
        )
        (folder / "in").mkdir()
        for item in range(10):
            (folder / f"in/{item}").touch()
        self.inputs = inputs_of(self.job, 3)
        self.clock = FakeClock()
        self.stop = StopRequest()
        self.notices: list[str] = []
        self.books = self._open()

    def _open(self) -> Books:
        return Books(self.job, self.clock, self.stop, self.notices.append)

    def begin(self) -> Table:
        self.books.begin(self.inputs)
        return self.follow()

    def follow(self, **keys: Any) -> Table:
        table = Table(**keys)
        self.books.follow(table.plan, table.gather, table.outcomes)
        return table

    def again(self, **changes: Any) -> Books:
        self.books.close()
        self.job = replace(self.job, resumes=True, **changes)
        self.books = self._open()
        return self.books

    def content(self) -> bytes:
        return (self.folder / "rows.partial").read_bytes()


ALL = b"".join(b"%d\n" % item for item in range(10))


def work_off(table: Table, rows: bytes | None = None) -> None:
    table.ask(4)
    for _ in range(4):
        table.worker.answer(rows=rows)
    table.read()


def finished(desk: Desk, table: Table, **changes: Any) -> Receipt:
    desk.books.write_failed(lambda: desk.inputs)
    desk.books.committer.put_in_order()
    receipt = desk.books.receipt(desk.inputs, workers=2, elapsed_s=1.5, details={"timings": {"list": 0.5}})
    return desk.books.finish(replace(receipt, **changes))
