"""What is run while it is crashed: small steps that together take every way through commit, order and publication.

Pure: a workload is a workflow file, what each item becomes, and what must be found at the end of each of its phases.
A phase is one command, given until it ends as it must; the next phase finds what the one before left.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.checker import Expectation

STEP = "score"
TYPED = ("parquet", "arrow")
GROUP_ROWS = 20
"""Of a typed output, so that it has several groups."""


@functools.lru_cache
def typed_file(columns: str, rows: tuple[str, ...]) -> bytes:
    """A parquet file of texts as Arrow writes it, with nothing of batchflow's."""
    import pyarrow
    from pyarrow import parquet

    names = columns.split(",")
    values = list(zip(*(row.split(",") for row in rows), strict=True))
    buffer = io.BytesIO()
    table = pyarrow.table({name: list(one) for name, one in zip(names, values, strict=True)})
    parquet.write_table(table, buffer, row_group_size=GROUP_ROWS)
    return buffer.getvalue()


@dataclass(frozen=True)
class Phase:
    """One command."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the parallel step, beyond those of the workload."""
    exit_code: int = 0
    version: int = 1
    """Rows of different versions differ."""
    healed: bool = False
    """No item fails any more."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the run: fields of ``RunOptions``."""
    executed_max: int | None = None
    """For how many items ``run()`` may succeed in a run of this phase that nothing happens to; None: for all that had
    not been reported as done before."""


@dataclass(frozen=True)
class Workload:
    """A step over ``item_count`` items; those in ``poison`` raise, in ``killers`` kill their worker, in ``short``
    have no row."""

    name: str
    format: str | None = "text"
    order: str = "input"
    items: str = "at_least"
    item_count: int = 48
    mini_batch_size: int = 4
    workers: int = 2
    poison: frozenset[int] = frozenset()
    killers: frozenset[int] = frozenset()
    short: frozenset[int] = frozenset()
    dawdling: Mapping[int, int] = field(default_factory=dict)
    """Item → how many turns the first attempt of the mini-batch that begins with it takes longer."""
    window_size: int = 1 << 20
    """Bytes that may wait for an earlier mini-batch before they are written out of order."""
    verify_all_size: int = 1 << 30
    """Of larger outputs a resume checks the last commit only."""
    lingers_s: float = 0.0
    """How long a process that was forked from the driver outlives it."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    phases: tuple[Phase, ...] = (Phase(),)
    in_folder: bool = False
    """The output file lies in a folder that is the step's output."""

    @property
    def output(self) -> str | None:
        """Of the rows, below the workflow's folder."""
        if self.format is None:
            return None
        suffix = {"text": "txt"}.get(self.format, self.format)
        return "out/rows/rows.txt" if self.in_folder else f"out/rows.{suffix}"

    @property
    def is_typed(self) -> bool:
        return self.format in TYPED

    def is_durable(self, phase_index: int) -> bool:
        """Whether what is reported as done in that phase survives a power loss."""
        return {**self.keys, **self.phases[phase_index].keys}.get("durability", "full") == "full"

    def item(self, index: int) -> str:
        return f"item-{index:03d}"

    def row(self, index: int, version: int) -> str:
        """One line, 80 to 400 characters long."""
        text = hashlib.sha256(f"{index} {version}".encode()).hexdigest()
        value = (text * 6)[: 60 + index * 37 % 340]
        if self.format == "jsonl":
            return json.dumps({"item": self.item(index), "value": value})
        return f"{self.item(index)}{',' if self.columns else ' '}{value}"

    @property
    def columns(self) -> str:
        """What names them, where the format does; of typed rows the same text."""
        return "item,value" if self.format in ("csv", *TYPED) else ""

    def file_of(self, rows: Sequence[str]) -> bytes:
        """The complete output with these rows."""
        if self.is_typed:
            return typed_file(self.columns, tuple(rows))
        lines = [self.columns] * bool(self.columns) + [*rows]
        return "".join(line + "\n" for line in lines).encode()

    def fails(self, index: int, phase: Phase) -> bool:
        return not phase.healed and (index in self.poison or index in self.killers)

    def is_short(self, index: int, phase: Phase) -> bool:
        return not phase.healed and index in self.short

    def rows(self, start: int, count: int, phase: Phase) -> list[str]:
        """What ``run()`` returns for these items."""
        indices = range(start, start + count)
        return [self.row(index, phase.version) for index in indices if not self.is_short(index, phase)]

    def workflow_text(self, phase: Phase) -> str:
        """The workflow file; the items lie in ``../items``, the script is ``../score.py``."""
        keys: dict[str, Any] = {
            "entry_script": "../score.py",
            "mini_batch_size": self.mini_batch_size,
            "workers": self.workers,
            "order": self.order,
            "items": self.items,
            "arguments": ["--version", str(phase.version)],
            **({"output_action": "summary_only"} if self.format is None else {"output_format": self.format}),
            **self.keys,
            **phase.keys,
        }
        if self.in_folder:
            keys["append_row_file_name"] = "rows.txt"
        output = "out/rows/" if self.format is None or self.in_folder else self.output
        lines = [
            "schema = 1",
            'name = "crash"',
            "[datasets.items]",
            'files = "../items/*"',
            f"[steps.{STEP}]",
            'inputs = { items = "${datasets.items}" }',
            f"outputs = {{ rows = {json.dumps(output)} }}",
            f"[steps.{STEP}.parallel]",
            *(f"{key} = {json.dumps(value)}" for key, value in keys.items()),
        ]
        return "\n".join(lines) + "\n"

    def expectation(self, phase_index: int, base: Path) -> Expectation:
        """What must be found when that phase has ended; ``base`` holds the folders ``flow`` and ``items``."""
        phase = self.phases[phase_index]
        flow = base / "flow"
        names = [str(base / "items" / self.item(index)) for index in range(self.item_count)]
        failed = {index for index in range(self.item_count) if self.fails(index, phase)}
        short = {index for index in range(self.item_count) if self.is_short(index, phase)}
        kept = [index for index in range(self.item_count) if index not in failed | short]
        rows: dict[str, tuple[str, ...]] = {names[index]: (self.row(index, phase.version),) for index in kept}
        if self.items == "any":
            rows |= {names[index]: () for index in short}
        content = self.file_of([row for index in kept for row in rows[names[index]]])
        state = flow / ".batchflow" / "workflow" / "steps" / STEP
        output = None if self.output is None else flow / self.output
        return Expectation(
            items=tuple(names),
            rows=None if self.is_typed else rows,
            failed=frozenset(names[index] for index in failed),
            short=frozenset(names[index] for index in short if self.items != "any"),
            header="" if self.is_typed else self.columns,
            order=self.order,
            output=output,
            reference=content,
            row_count=len(kept) if self.is_typed else None,
            previous=self._previous(phase_index, base),
            failed_list=state / "failed.jsonl",
            receipt=state / "receipt.json",
            folders=self._folders(flow, state, may_be_retried=bool(failed | short) and self.is_typed),
        )

    def _previous(self, phase_index: int, base: Path) -> bytes | None:
        if phase_index == 0:
            return None
        if self.phases[phase_index - 1].exit_code == 0:
            return self.expectation(phase_index - 1, base).reference
        return self._previous(phase_index - 1, base)

    def _folders(self, flow: Path, state: Path, *, may_be_retried: bool) -> dict[Path, str]:
        final = "" if self.output is None else self.output.split("/")[-1]
        folders = {
            flow: r"\.batchflow|out|workflow\.toml",
            flow / "out": "rows" if self.format is None or self.in_folder else final,
            flow / ".batchflow" / "workflow": r"lock|records\.db|steps",
            state: r"journal\.db|failed\.jsonl|receipt\.json|logs" + (r"|rows\.arrow-stream" if may_be_retried else ""),
        }
        if self.in_folder:
            folders[flow / "out" / "rows"] = final
        return folders


_SLOW = {0: 6, 24: 5}
"""The first mini-batch and one in the middle keep those behind them waiting."""
_TOLERANT = {"error_threshold": -1}
_MANY: dict[str, Any] = {"mini_batch_size": 2}
"""So many mini-batches that workers hold more than one, and several results wait for one commit."""
_SPILLS: dict[str, Any] = {"dawdling": _SLOW, "window_size": 600, **_MANY}

WORKLOADS = {
    one.name: one
    for one in (
        Workload("text", dawdling={0: 2}, **_MANY),
        Workload("text-spill", **_SPILLS),
        Workload("large", verify_all_size=0, **_SPILLS),
        Workload("csv-spill", format="csv", workers=3, **_SPILLS),
        Workload("jsonl-completion", format="jsonl", order="completion", dawdling=_SLOW, **_MANY),
        Workload("failures", format="csv", poison=frozenset({5, 30}), short=frozenset({13, 14, 41}), keys=_TOLERANT),
        Workload("deaths", killers=frozenset({17}), keys=_TOLERANT),
        Workload("any", items="any", short=frozenset({1, 8, 9, 10, 11, 30}), **_SPILLS),
        Workload("summary", format=None, dawdling=_SLOW, **_MANY),
        Workload("process", keys={"durability": "process"}, **_SPILLS),
        Workload("again", phases=(Phase(), Phase(version=2)), item_count=16),
        Workload("folder", in_folder=True, phases=(Phase(), Phase(version=2)), item_count=16),
        Workload(
            "threshold",
            poison=frozenset({9, 20}),
            phases=(
                Phase({"error_threshold": 0}, exit_code=1),
                Phase({"error_threshold": 2, "mini_batch_size": 5, "workers": 3}),
            ),
        ),
        Workload(
            "stricter",
            poison=frozenset({20, 33}),
            phases=(
                Phase({"error_threshold": 0, "durability": "process"}, exit_code=1),
                Phase({"error_threshold": 2, "durability": "full"}),
            ),
            **_SPILLS,
        ),
        Workload(
            "restart",
            poison=frozenset({9}),
            item_count=16,
            phases=(
                Phase({"error_threshold": 0}, exit_code=1),
                Phase({"error_threshold": 1}, version=2, options={"restart": True}, executed_max=15),
            ),
        ),
        Workload(
            "retry",
            poison=frozenset({5, 30}),
            short=frozenset({13}),
            keys=_TOLERANT,
            phases=(Phase(), Phase(healed=True, options={"retry": True}, executed_max=6)),
        ),
        # The last ones: what they import makes every fork of their process take longer.
        Workload("parquet-spill", format="parquet", workers=3, **_SPILLS),
        Workload(
            "parquet-retry",
            format="parquet",
            poison=frozenset({5, 30}),
            short=frozenset({13}),
            keys=_TOLERANT,
            phases=(Phase(), Phase(healed=True, options={"retry": True}, executed_max=6)),
        ),
    )
}

LINGERING = Workload("lingering", item_count=16, lingers_s=0.2)
"""Each resume waits for the lock: too slow for every operation, so it is not among those above."""
