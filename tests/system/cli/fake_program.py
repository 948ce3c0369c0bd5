"""The command line on rooms that pretend to score items until they are told to stop.

``python fake_program.py MODE …`` is ``batchflow …``; MODE is how the pretended run behaves:
``quick`` does ten items, ``endless`` goes on until it is stopped, ``deaf`` stops only at once, ``noisy`` posts many
events, ``silent`` is a long step that says nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from unit.cli.cli_fakes import FakeRooms

from batchflow.cli.main import main
from batchflow.control import StopLevel, StopRequest
from batchflow.model import Event, StepFinished, StepProgress, StepSkipped, StepStarted
from batchflow.runner.values import RunOptions, RunRecord, StepRecord
from batchflow.workflow.values import Workflow


class PretendingRooms(FakeRooms):
    def __init__(self, mode: str) -> None:
        super().__init__(Path.cwd())
        self.mode = mode

    def run(
        self, workflow: Workflow, options: RunOptions, on_event: Callable[[Event], None], stop: StopRequest
    ) -> RunRecord:
        began = time.monotonic()
        kind = "call" if self.mode == "silent" else "parallel"
        on_event(StepStarted("predict", kind, "never run"))
        enough = StopLevel.NOW if self.mode == "deaf" else StopLevel.DRAIN
        done = 0
        while stop.level < enough and (done < 10 or self.mode not in ("quick", "noisy")):
            done += 1
            if self.mode != "silent":
                on_event(StepProgress("predict", done, 0, 1_000, 4, time.monotonic() - began))
            for _ in range(2_000 if self.mode == "noisy" else 0):
                on_event(StepSkipped("x" * 50))
            time.sleep(0.05)
        elapsed_s = time.monotonic() - began
        exit_code = 128 + stop.signal_number if stop.level else 0
        if not stop.level:
            on_event(StepFinished("predict", elapsed_s, ()))
        record = StepRecord("predict", "not_run" if stop.level else "done", elapsed_s, {})
        return RunRecord("r1", workflow.path, exit_code, elapsed_s, {"predict": record})


if __name__ == "__main__":
    mode = sys.argv.pop(1)
    sys.argv[0] = "batchflow"
    raise SystemExit(main(backend=PretendingRooms(mode)))
