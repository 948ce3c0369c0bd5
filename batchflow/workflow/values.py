"""The frozen result of reading a workflow file.

Everything here is resolved as far as it can be without running anything: paths are absolute, parameters have their
final typed values, every reference is known to exist.  What is only known while a step runs (the temporary paths of
its outputs) is left as a template and filled in by ``references.render``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from batchflow.tables.options import FrameKind, TableOptions
    from batchflow.workflow.diagnostics import Diagnostic

ParameterValue: TypeAlias = "bool | int | float | str | list[ParameterValue]"
Template: TypeAlias = "bool | int | float | str | list[Template] | dict[str, Template]"
"""A TOML value in which only ``${outputs.NAME}`` references to the step's own outputs are still open."""
OutputFormat: TypeAlias = Literal["text", "csv", "jsonl", "parquet", "arrow"]
MiniBatchUnit: TypeAlias = Literal["items", "bytes", "rows"]


@dataclass(frozen=True)
class Position:
    """A place in a file: ``line`` and ``column`` count from 1, ``length`` in characters (at least 1)."""

    path: Path
    line: int
    column: int
    length: int = 1


@dataclass(frozen=True)
class Parameter:
    """A declared parameter and the value it has in this run."""

    name: str
    type: Literal["bool", "int", "float", "str", "path", "list"]
    value: ParameterValue
    default: ParameterValue | None
    help: str
    origin: str
    """Where the value came from: ``default``, ``--set``, ``params FILE``, ``environment NAME`` or ``python``."""
    position: Position


@dataclass(frozen=True)
class FileDataset:
    """Named files: ``patterns`` are absolute; ``/`` at the end means every file below that folder, ``**`` any depth."""

    name: str
    patterns: tuple[str, ...]
    position: Position
    partition_format: str | None = None
    """Finds keys in the ends of paths: ``{user}/{genre}.wav``."""


@dataclass(frozen=True)
class TableDataset:
    """Named files whose items are the records in them; ``patterns`` as those of a ``FileDataset``."""

    name: str
    patterns: tuple[str, ...]
    options: TableOptions
    position: Position


@dataclass(frozen=True)
class Model:
    """A named model: one local file or folder."""

    name: str
    path: Path
    sha256: str | None
    version: str | None
    tags: Mapping[str, str]
    position: Position


def escape_pattern(path: str) -> str:
    """A pattern that matches exactly this path."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in path)


@dataclass(frozen=True)
class Input:
    """One declared input of a step.

    ``patterns`` has one absolute path for ``kind = "path"`` (a file or a folder; with ``/`` at the end if it is
    declared as a folder) and the dataset's patterns for ``kind = "dataset"``.
    """

    name: str
    kind: Literal["path", "dataset"]
    patterns: tuple[str, ...]
    producer: str | None
    """The step whose output this is, if any."""
    position: Position
    """Of the input; of the dataset's ``files`` or ``table`` if the input is a dataset."""
    table: TableOptions | None = None
    """None: the items are files."""
    partition_format: str | None = None
    """As in ``FileDataset``."""

    @property
    def listing_patterns(self) -> tuple[str, ...]:
        """The patterns that list exactly these files: what a plain path's own name holds is no wildcard."""
        return self.patterns if self.kind == "dataset" else tuple(map(escape_pattern, self.patterns))


@dataclass(frozen=True)
class Output:
    """One declared output of a step: a file, or a folder when the declaration ends in ``/``."""

    name: str
    path: Path
    is_folder: bool
    position: Position


@dataclass(frozen=True)
class Threshold:
    """How many failures are tolerated: a count (-1: any number) or a percentage of the whole input."""

    count: int | None = None
    percent: float | None = None

    def limit(self, total_count: int) -> int | None:
        """The number of failures that is still tolerated out of ``total_count``; None when all are."""
        if self.percent is not None:
            from decimal import Decimal

            # In decimals, as it was written: 0.57 % of 10,000 is 57, in binary fractions 56.
            return int(total_count * Decimal(str(self.percent)) / 100)
        return None if self.count is None or self.count < 0 else self.count


@dataclass(frozen=True)
class ParallelSettings:
    """The keys of ``[steps.NAME.parallel]`` with their defaults filled in; units as in the names."""

    entry_script: Path
    source_directory: Path
    over: tuple[str, ...]
    """The names of the inputs that are split, each on its own; at least one."""
    mini_batch_size: int = 10
    mini_batch_unit: MiniBatchUnit = "items"
    """What the size counts: the files of a list, or the bytes or the rows of a table."""
    frame: FrameKind = "pandas"
    """What ``run()`` gets of a table."""
    partition_keys: tuple[str, ...] = ()
    """Mini-batches are the items that have these in common, and ``mini_batch_size`` has no meaning."""
    append_row_to: str | None = None
    """The key of the output that takes the rows; None with ``summary_only``."""
    append_row_file_name: str | None = None
    """Set when the output ``append_row_to`` is a folder: the name of the file in it."""
    output_action: Literal["append_row", "summary_only"] = "append_row"
    output_format: OutputFormat | None = None
    """None with ``summary_only``."""
    header: bool = True
    delimiter: str | None = None
    newline: Literal["error", "keep"] = "error"
    order: Literal["input", "completion"] = "input"
    items: Literal["at_least", "exact", "any"] = "at_least"
    error_threshold: Threshold = Threshold(count=0)
    mini_batch_error_threshold: Threshold = Threshold(count=-1)
    allowed_failed_percent: float = 100.0
    run_invocation_timeout_s: float = 60.0
    init_timeout_s: float = 600.0
    progress_update_timeout_s: float | None = None
    run_max_try: int = 3
    isolate_failures: bool = True
    workers: int | None = None
    """None: as many as CPUs this process may use."""
    side_inputs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    """Templates, one string for each argument."""
    environment_variables: Mapping[str, str] = field(default_factory=dict)
    logging_level: Literal["WARNING", "INFO", "DEBUG"] = "INFO"
    max_items_per_worker: int | None = None
    worker_memory: int | None = None
    """Bytes."""
    allow_reuse: bool = True
    durability: Literal["full", "process"] = "full"
    max_result_size: int = 256 * 1024 * 1024
    gpus_per_worker: int = 0
    failed_to: str | None = None
    """The key of an output that takes a copy of ``failed.jsonl``."""
    receipt_to: str | None = None
    """The key of an output that takes a copy of ``receipt.json``."""


@dataclass(frozen=True)
class Step:
    """One node of the workflow's DAG."""

    name: str
    kind: Literal["run", "call", "parallel"]
    help: str
    inputs: Mapping[str, Input]
    outputs: Mapping[str, Output]
    after: tuple[str, ...]
    dependencies: tuple[str, ...]
    """All steps this one waits for, from references and ``after``, each once, in order of the file."""
    params: tuple[str, ...]
    """The names of the parameters that the step uses, directly, sorted."""
    command: str | tuple[str, ...] | None = None
    """``run``: a template, a string for the shell or a list without one."""
    function: str | None = None
    """``call``: ``"module:function"``."""
    args: Mapping[str, Template] = field(default_factory=dict)
    """``call``: templates of keyword values handed over as ``args``."""
    parallel: ParallelSettings | None = None
    position: Position = Position(Path(), 1, 1)
    key_positions: Mapping[str, Position] = field(default_factory=dict)
    """Where each key of the step stands, dotted below the step: ``"parallel.mini_batch_size"``; keys of a dataset that
    is an input below that input: ``"inputs.sales.delimiter"``."""


@dataclass(frozen=True)
class Workflow:
    """One workflow file, read, checked and resolved."""

    path: Path
    """Absolute path of the TOML file."""
    name: str
    default: tuple[str, ...]
    """The targets built when none is named; never empty."""
    params: Mapping[str, Parameter]
    datasets: Mapping[str, FileDataset | TableDataset]
    models: Mapping[str, Model]
    steps: Mapping[str, Step]
    """In the order of the file."""
    warnings: tuple[Diagnostic, ...] = ()
    """What is better changed, and no error."""

    @property
    def folder(self) -> Path:
        """The folder of the file: where relative paths start and steps run."""
        return self.path.parent

    @property
    def state_folder(self) -> Path:
        """Where batchflow keeps everything of its own about this workflow."""
        return self.folder / ".batchflow" / self.path.stem
