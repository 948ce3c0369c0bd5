"""One parallel step, and what earlier runs left of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unit.runner.builders import Flow

from batchflow._core import Extent, crc32c
from batchflow.journal.commits import Journal
from batchflow.journal.records import Success
from batchflow.journal.state import State
from batchflow.model import FailureEntry
from batchflow.output.publish import PendingOutput
from batchflow.runner.parallel_steps import (
    Beginning,
    begin,
    kept_outputs,
    written_folders,
)
from batchflow.runner.steps import pending_outputs
from batchflow.runner.values import RunOptions
from batchflow.workflow.values import ParallelSettings, Step, Threshold

SIGNATURE: dict[str, Any] = {
    "settings": {"parallel.over": "files"},
    "params": {},
    "inputs": {"files": {"kind": "files", "count": 4, "digest": "a"}},
    "code": {},
    "upstream": {},
}
ROWS = b"one\ntwo\n"
OURS = frozenset({"rows", "files", "more", "note"})


def flow(folder: Path, **settings: Any) -> Flow:
    keys = {"append_row_to": "rows", "failed_to": "failed", "receipt_to": "receipt", "mini_batch_size": 2} | settings
    parallel = ParallelSettings(folder / "score.py", folder, ("files",), error_threshold=Threshold(count=1), **keys)
    outputs = {"rows": "rows.csv", "files": "files/", "more": "more/", "note": "note.txt"}
    outputs |= {"failed": "failed.jsonl", "receipt": "receipt.json"}
    return Flow(folder).parallel("score", parallel, inputs={"files": ["in/*"]}, outputs=outputs)


@dataclass
class Scene:
    """One step, and what earlier runs left of it."""

    folder: Path
    flow: Flow

    @property
    def step(self) -> Step:
        return self.flow.steps["score"]

    @property
    def outputs(self) -> dict[str, PendingOutput]:
        return pending_outputs(self.step)

    @property
    def state_folder(self) -> Path:
        return self.folder / ".batchflow" / "flow" / "steps" / "score"

    def begin(self, success: Success | None = None, *, forced: bool = False, **options: Any) -> Beginning:
        return begin(
            self.step,
            self.flow.build(),
            self.state_folder,
            self.outputs,
            SIGNATURE,
            success,
            RunOptions(**options),
            forced=forced,
        )

    def write(self) -> None:
        """What a run leaves that is complete but for its names."""
        for output in self.outputs.values():
            if output.is_folder:
                output.temporary.mkdir(parents=True)
                (output.temporary / "new").touch()
            else:
                output.temporary.parent.mkdir(exist_ok=True)
                output.temporary.write_bytes(ROWS)

    def journal(self, phase: Any, *, failed: int = 0) -> None:
        kept = {name: self.outputs[name].temporary for name in kept_outputs(self.step)}
        folders = written_folders(self.step, self.outputs)
        with Journal.open_for_run(self.state_folder) as journal:
            journal.begin(State("r1", "score", 4, SIGNATURE, 2))
            state = replace(
                journal._begun(),
                phase=phase,
                committed_size=len(ROWS),
                checksum=crc32c(ROWS),
                output_size=len(ROWS),
                output_checksum=crc32c(ROWS),
                work_s=5.0,
                folder_ids={name: path.stat().st_ino for name, path in folders.items() if path.exists()},
                output_ids={name: path.stat().st_ino for name, path in kept.items() if path.exists()},
            )
            failures = [FailureEntry(4 - failed, failed, "died", {"signal": 9})] if failed else []
            journal.commit([Extent(0, 4 - failed, 0, len(ROWS), crc32c(ROWS), 2, 0, 1, 2)], failures, state)

    def publish(self, *names: str) -> None:
        for name in names:
            output = self.outputs[name]
            output.temporary.rename(output.final)

    def success(self) -> Success:
        return Success("score", "r1", 1.0, SIGNATURE, {})
