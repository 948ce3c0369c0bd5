"""The frozen values that the session, the cases and the peers hand to each other.  Imports nothing of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OURS = "batchflow"
"""The side that all others are compared with."""


@dataclass(frozen=True)
class Expectation:
    """What a right result is: ``row_count`` rows, and either their digest or how many name the right label."""

    row_count: int
    digest: str | None = None
    """SHA-256 of the sorted rows, each ended by a newline; None where predictions may differ in rounding."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """File name → the label that a right row gives it; empty where rows are no predictions."""
    correct_min: int = 0


@dataclass(frozen=True)
class Metric:
    """One measure of a run: ``Run.value(key)``, shown per unit (``count`` of them) times ``factor``; less is better."""

    key: str
    title: str
    unit: str
    count: int
    factor: float
    compared: bool = True
    """Whether ratios of it say something."""


@dataclass(frozen=True)
class Scenario:
    """One thing to measure: what every side is given, and what must come out."""

    case: str
    title: str
    explanation: str
    metrics: tuple[Metric, ...]
    workers: int
    folder: str = ""
    """The folder of the input files, absolute; every file below it is an item.  Empty where there are none."""
    item_count: int = 0
    mini_batch_size: int = 1
    script: str = ""
    """The entry script that every side runs: ``init()`` and ``run(mini_batch)``."""
    arguments: tuple[str, ...] = ()
    output_format: Literal["text", "csv", "jsonl"] = "text"
    """Of the file that every side writes: rows that are strings, or objects."""
    peers: tuple[str, ...] = ()
    chunks: tuple[int, ...] = ()
    """Chunk sizes to try for the peers that have one; the best is measured."""
    expectation: Expectation | None = None
    """None: the case itself checks each result."""
    model: str | None = None
    """Which model scores; ratios are only taken within one model."""
    tuning_key: str = ""
    """Scenarios with the same key share the chunk sizes found best."""
    variants: tuple[Variant, ...] = ()
    """Measured as they are; what ``peers`` names comes after them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the case hands to itself in the peer process; plain JSON values."""
    axis: str = ""
    """What the variants' ``place`` counts: they are points of one curve, and nothing is compared."""
    shows_costs: bool = True
    """Whether CPU time and memory of the tree say something: not where a process of ours only starts commands."""

    @property
    def mini_batch_count(self) -> int:
        return -(-self.item_count // self.mini_batch_size)


@dataclass(frozen=True)
class Variant:
    """A peer as it is used: ``chunk`` mini-batches a message, ``"auto"``, or None where it has no such knob."""

    peer: str
    chunk: int | str | None = None
    label: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Added to those of the scenario."""
    place: float | None = None
    """On the scenario's axis."""

    @property
    def name(self) -> str:
        return f"{self.peer}, {self.label}" if self.label else self.peer


@dataclass(frozen=True)
class Task:
    """What one peer process is told, as JSON on its command line."""

    case: str
    peer: str
    chunk: int | str | None
    folder: str
    item_count: int
    mini_batch_size: int
    script: str
    arguments: tuple[str, ...]
    output_format: Literal["text", "csv", "jsonl"]
    workers: int
    output: str
    """The file that takes the rows."""
    scratch: str
    """An empty folder for whatever else the run writes."""
    watched: bool
    """Whether this is the untimed round, in which the driver's CPU time is measured too."""
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One run of one variant, measured from outside and inside."""

    round_number: int
    """0 is the first, untimed round, in which memory and the driver's CPU time are measured."""
    seconds: Mapping[str, float]
    cpu_s: float
    """CPU time of the whole tree of processes."""
    driver_cpu_s: float
    foreign_share: float
    """Share of the machine's CPU time that others used meanwhile, 0 to 1."""
    pss_peak_bytes: int = 0
    complaint: str = ""
    """Why the result was wrong; empty when it was right."""
    correct: int | None = None
    """How many predictions were right, where there are labels."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What was measured beside times."""

    def value(self, key: str) -> float | None:
        """A time or another figure; None where this variant has none of that name."""
        return self.seconds.get(key, self.figures.get(key))


@dataclass(frozen=True)
class VariantResult:
    """All runs of one variant, or why there are none."""

    variant: Variant
    runs: tuple[Run, ...] = ()
    missing: str = ""
    tuned: Mapping[str, float] = field(default_factory=dict)
    """Chunk size → seconds of the runs that chose the best one."""

    def counted(self, foreign_limit: float) -> tuple[Run, ...]:
        """The timed runs that were right and not disturbed."""
        return tuple(
            run for run in self.runs if run.round_number and not run.complaint and run.foreign_share <= foreign_limit
        )


@dataclass(frozen=True)
class ScenarioResult:
    """What a scenario gave, one result for each variant, in the order in which they were named."""

    scenario: Scenario
    results: tuple[VariantResult, ...]
