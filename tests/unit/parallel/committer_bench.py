"""A committer on a played disk, and short words for what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unit.parallel.item_model import extent, rows
from unit.parallel.played_disk import PlayedDisk

from batchflow._core import Extent
from batchflow.clock import FakeClock
from batchflow.errors import NoRoomError
from batchflow.journal.commits import Journal
from batchflow.journal.state import State
from batchflow.model import FailureEntry, Receipt
from batchflow.output.segment import Segment
from batchflow.parallel.committer import Committer, Progress

SIGNATURE: dict[str, Any] = {"settings": {}, "params": {}, "inputs": {}, "code": {}, "upstream": {}}
RECEIPT = Receipt("score", "r0", 1, 1, 0, 1, 0, 1, 0, None, 0, "", 1, 0.5, 1, 0).as_dict()
SHORT = FailureEntry(2, 2, "shortfall", {"missing_count": 1})
DEAD = FailureEntry(2, 2, "died", {"signal": 9})


def a(first: int, count: int = 2, missing: int = 0) -> Extent:
    """A mini-batch; where its rows lie comes out."""
    return extent(first, count, 0, missing)


class Bench:
    """A committer and what it writes; ``put`` commits mini-batches, ``again`` is the next process."""

    def __init__(self, folder: Path, disk: PlayedDisk, *, rows: bool = True, files: bool = False) -> None:
        self.disk = disk
        self.path = disk.path if rows else None
        self.files = folder / "files.partial" if files else None
        self.state_folder = folder / ".batchflow" / "flow"
        self.clock = FakeClock()
        self.answers: list[bool] = []
        self.told: list[str] = []
        self.committer = self._open()

    def _open(self) -> Committer:
        self.journal = Journal.open_for_run(self.state_folder)
        segment = None if self.path is None else Segment(self.path)
        folders = {} if self.files is None else {"files": self.files}
        return Committer(self.journal, segment, folders=folders, clock=self.clock, wait_for_room=self._wait)

    def _wait(self, error: NoRoomError) -> bool:
        self.told.append(error.message)
        return self.answers.pop(0)

    @property
    def state(self) -> State:
        return self.committer.state

    def begin(self, item_count: int = 10, **keys: Any) -> None:
        self.committer.begin(State("r0", "score", item_count, SIGNATURE, 2, **keys))

    def put(self, *extents: Extent, failures: tuple[FailureEntry, ...] = (), header: bytes = b"") -> None:
        """Offsets of the extents do not count: they are laid one behind the other."""
        view, laid = header, []
        for one in extents:
            laid.append(one._replace(offset=len(view)))
            view += rows(one.first_item, one.item_count, one.missing)
        header_size = self.state.header_size or len(header)
        columns = self.state.columns.encode() or header
        self.committer.commit(
            memoryview(view if self.path else b""),
            laid if self.path else [one._replace(offset=0, size=0, checksum=0) for one in laid],
            failures,
            Progress(self.state.totals, 1.0, columns, header_size),
        )

    def again(self) -> Committer:
        self.committer.close()
        self.committer = self._open()
        return self.committer

    def resume(self, run_id: str = "r1", durability: Any = "full") -> Committer:
        self.again().resume(run_id, SIGNATURE, durability)
        return self.committer

    def content(self) -> bytes:
        assert self.path is not None
        return self.path.read_bytes()

    def close(self) -> None:
        self.committer.close()
