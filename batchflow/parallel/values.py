"""What the parallel-step runner is given.  Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchflow._core import Listing
from batchflow.journal.state_folder import ROWS_NAME
from batchflow.tables.typed import TYPED_FORMATS
from batchflow.workflow.values import ParallelSettings

if TYPE_CHECKING:
    from batchflow.tables.options import TableOptions


@dataclass(frozen=True)
class OverInput:
    """One input whose items are the work of a step."""

    name: str
    patterns: tuple[str, ...]
    """As in ``workflow.values.Input``, and the next ones, too."""
    listing: Listing | None = None
    """What ``patterns`` match, if somebody has looked already."""
    table: TableOptions | None = None
    partition_format: str | None = None


@dataclass(frozen=True)
class ParallelJob:
    """One parallel step, ready to run: every path absolute, every reference filled in."""

    step: str
    run_id: str
    settings: ParallelSettings
    arguments: tuple[str, ...]
    """``sys.argv[1:]`` of the entry script, final."""
    inputs: tuple[OverInput, ...]
    """What is split, one after another, each on its own; at least one, all files or all tables."""
    folder: Path
    """The workflow's folder: the workers' working directory."""
    state_folder: Path
    """``.batchflow/WORKFLOW/steps/STEP``: logs, ``failed.jsonl`` and ``receipt.json`` are written here."""
    output_path: Path | None
    """The file that takes the rows (a temporary path that the caller publishes); None with ``summary_only``."""
    output_name: str | None
    """The final path of that file, for the receipt."""
    output_folder: Path | None
    """``context.output_dir``: the folder for the files a script writes itself, if the step declares one."""
    workers: int
    cores: int = 1
    """CPUs that the workers share: each may use cores ÷ workers threads."""
    signature: Mapping[str, Any] = field(default_factory=dict)
    """What the step is made from, for the journal."""
    resumes: bool = False
    """Go on with what the journal in ``state_folder`` says; else begin anew, whatever is there."""
    reopens: bool = False
    """Have what failed done again, too."""
    copies: tuple[tuple[Path, Path], ...] = ()
    """Published outputs that are reopened, and their temporary paths."""
    is_published: bool = False
    """All is done and outputs have their names already: nothing but the receipt is wanted."""
    outputs: Mapping[str, Path] = field(default_factory=dict)
    """The temporary paths of what the caller publishes, but for copies of reports."""
    folders: Mapping[str, Path] = field(default_factory=dict)
    """The temporary folders among them, and those of files, that the script writes into."""
    profile: bool = False
    """Measure where the time goes: a ``StepProfiled`` says so at the end, however that is, and the receipt."""

    @property
    def is_typed(self) -> bool:
        """The output is made, in the end, of the rows, which are kept beside the journal until then."""
        return self.settings.output_format in TYPED_FORMATS and self.output_path is not None

    @property
    def rows_path(self) -> Path | None:
        """The file that results are committed to."""
        return self.state_folder / ROWS_NAME if self.is_typed else self.output_path

    @property
    def writes_header(self) -> bool:
        """Whether what names the columns stands before the rows: of a stream it is the beginning."""
        return self.settings.header or self.is_typed
