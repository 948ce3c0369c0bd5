"""Runs every variant of a scenario in its own process, in turn, round after round, and checks each result.

Round 0 measures memory and the driver's CPU time and warms up; its times are thrown away.  The later rounds are timed
and interleaved, each beginning with another variant.  A run with much foreign load is kept in the record, not counted,
and made up for by another round, up to twice the number asked for.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from batchflow.cpus import available_cpus
from batchflow.worker.variables import THREAD_VARIABLES
from benchmarks import data
from benchmarks.load import Observed, foreign_share, observe
from benchmarks.options import Options
from benchmarks.peers import ALONE, BUNDLING, CHUNKED, MODULES
from benchmarks.values import OURS, Expectation, Run, Scenario, ScenarioResult, Task, Variant, VariantResult

ROUND_FACTOR_MAX = 2


class PeerFailedError(Exception):
    """A peer ended without an answer."""


class PeerMissingError(Exception):
    """A peer cannot be had on this machine; the text says why."""


class Session:
    """``say`` takes lines of progress."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._tuned: dict[tuple[str, str], dict[str, float]] = {}

    def measure(self, scenario: Scenario) -> ScenarioResult:
        """Tune, warm up, then round after round until every variant has enough undisturbed runs."""
        results = [VariantResult(variant) for variant in scenario.variants]
        results += [result for peer in scenario.peers for result in self._variants(scenario, peer)]
        present = [number for number, result in enumerate(results) if not result.missing]
        for round_number in range(1 + self._options.runs * ROUND_FACTOR_MAX):
            lacking = {number for number in present if not self._enough(results[number])}
            if not lacking:
                break
            # In a round that is only there for what was disturbed, the others rest, but for ours: ratios are of pairs.
            extra = round_number > self._options.runs
            called = [one for one in present if not extra or one in lacking or results[one].variant.peer == OURS]
            shift = round_number % len(called)
            for number in called[shift:] + called[:shift]:
                results[number] = self._one_more(scenario, results[number], round_number)
            present = [number for number in present if not results[number].missing]
        return ScenarioResult(scenario, tuple(results))

    def _one_more(self, scenario: Scenario, result: VariantResult, round_number: int) -> VariantResult:
        """The result with one more run; a peer that fails is out of the race, and says why."""
        try:
            run = self.run_once(scenario, result.variant, round_number)
        except PeerMissingError as error:
            self._say(f"  missing  {result.variant.name}: {error}")
            return replace(result, missing=str(error))
        except PeerFailedError as error:
            self._say(f"error: {error}")
            return replace(result, missing=f"failed: {str(error).splitlines()[0]}")
        self._say(f"  round {round_number}  {result.variant.name:32} {describe(run, scenario)}")
        return replace(result, runs=(*result.runs, run))

    def run_once(self, scenario: Scenario, variant: Variant, round_number: int) -> Run:
        """One process, one run, checked.

        Raises ``PeerFailedError`` with the peer's last words, ``PeerMissingError``.
        """
        if scenario.folder:
            data.warm(Path(scenario.folder), contents=scenario.model is not None)
        with scratch_folder() as scratch:
            task = make_task(scenario, variant, scratch, watched=round_number == 0)
            observed, answer = ask(task)
            complaint, correct = answer["complaint"], None
            if scenario.expectation is not None and not complaint:
                complaint, correct = check(Path(task.output), scenario.expectation)
        cpu_s = max(observed.cpu_s + answer["left_cpu_s"], answer["tree_cpu_s"])
        return Run(
            round_number=round_number,
            seconds=answer["seconds"] | {"command": observed.wall_s},
            cpu_s=cpu_s,
            driver_cpu_s=answer["driver_cpu_s"],
            foreign_share=foreign_share(observed.machine_cpu_s, cpu_s, observed.wall_s, os.cpu_count() or 1),
            pss_peak_bytes=observed.pss_peak_bytes,
            complaint=complaint,
            correct=correct,
            figures=answer["figures"],
        )

    def _enough(self, result: VariantResult) -> bool:
        return len(result.counted(self._options.foreign_limit)) >= self._options.runs

    def _variants(self, scenario: Scenario, peer: str) -> list[VariantResult]:
        """How a peer is measured: as it is, or with one mini-batch a message and with the best number found."""
        if peer not in CHUNKED:
            return [self._probe(scenario, Variant(peer))]
        single = self._probe(scenario, Variant(peer, 1, "1 a message"))
        if single.missing or not scenario.chunks:
            return [single]
        try:
            tuned = self._tune(scenario, peer)
        except PeerMissingError as error:
            return [replace(single, missing=str(error))]
        except PeerFailedError as error:
            self._say(f"error: {error}")
            return [replace(single, missing=f"failed: {str(error).splitlines()[0]}")]
        best = min(tuned, key=lambda chunk: tuned[chunk])
        results = [] if peer in BUNDLING else [single]
        results.append(VariantResult(Variant(peer, int(best), f"{best} a message"), tuned=tuned))
        if peer == "joblib":
            results.insert(1, VariantResult(Variant(peer, "auto", "auto")))
        return results

    def _probe(self, scenario: Scenario, variant: Variant) -> VariantResult:
        """The variant, or that its tool is not installed."""
        module = MODULES.get(variant.peer)
        if module is not None and not importable(module):
            return VariantResult(variant, missing=f"{module} is not installed")
        return VariantResult(variant)

    def _tune(self, scenario: Scenario, peer: str) -> dict[str, float]:
        """Chunk size → seconds of dispatching, one run each; asked once for scenarios with the same key."""
        key = (scenario.tuning_key, peer)
        if key not in self._tuned:
            timed = {}
            for chunk in scenario.chunks:
                run = self.run_once(scenario, Variant(peer, chunk), 1)
                timed[str(chunk)] = run.seconds["dispatch"]
                self._say(f"  tuning   {peer}, {chunk} a message: {run.seconds['dispatch']:.3f} s")
            self._tuned[key] = timed
        return self._tuned[key]


def importable(module: str) -> bool:
    """Whether there is such a module; it is not executed, as the heavy ones take seconds."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def describe(run: Run, scenario: Scenario) -> str:
    """One line of progress."""
    times = ", ".join(
        f"{value / metric.count * metric.factor:.3g} {metric.unit}"
        for metric in scenario.metrics
        if (value := run.value(metric.key)) is not None
    )
    return f"{times}, others {run.foreign_share:.0%}" + (f", WRONG: {run.complaint}" if run.complaint else "")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="batchflow-benchmark-") as folder:
        yield Path(folder)


def make_task(scenario: Scenario, variant: Variant, scratch: Path, *, watched: bool) -> Task:
    work = scratch / "work"
    work.mkdir()
    return Task(
        case=scenario.case,
        peer=variant.peer,
        chunk=variant.chunk,
        folder=scenario.folder,
        item_count=scenario.item_count,
        mini_batch_size=scenario.mini_batch_size,
        script=scenario.script,
        arguments=scenario.arguments,
        output_format=scenario.output_format,
        workers=scenario.workers,
        output=str(scratch / "rows.txt"),
        scratch=str(work),
        watched=watched,
        settings={**scenario.settings, **variant.settings},
    )


def ask(task: Task) -> tuple[Observed, dict[str, Any]]:
    """Run the peer process; threads are capped to CPUs ÷ workers, a lone loop may use them all."""
    threads = max(1, available_cpus() // (1 if task.peer in ALONE else max(1, task.workers)))
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    command = [sys.executable, "-m", "benchmarks.peer", json.dumps(asdict(task))]
    observed = observe(command, environment, Path(task.output).parent, sample=task.watched)
    if observed.exit_code != 0:
        last = "\n".join(observed.errors.strip().splitlines()[-15:])
        raise PeerFailedError(f"{task.peer} failed in case {task.case}, exit_code={observed.exit_code}\n{last}")
    answer: dict[str, Any] = json.loads(observed.output)
    if "missing" in answer:
        raise PeerMissingError(answer["missing"])
    return observed, answer


def check(output: Path, expected: Expectation) -> tuple[str, int | None]:
    """Why the rows are wrong (empty: they are right), and how many labels were right where there are labels."""
    rows = output.read_text("utf-8").splitlines() if output.exists() else []
    if len(rows) != expected.row_count:
        return f"expected {expected.row_count} rows, got {len(rows)}", None
    if expected.digest is not None and data.digest_of_rows(rows) != expected.digest:
        return "the rows are not the expected ones", None
    if not expected.labels:
        return "", None
    predictions = dict(split_prediction(row) for row in rows)
    if predictions.keys() != expected.labels.keys():
        return f"expected {len(expected.labels)} different images, got {len(predictions)}", None
    correct = sum(predictions[name] == label for name, label in expected.labels.items())
    if correct < expected.correct_min:
        return f"expected at least {expected.correct_min} right predictions, got {correct}", correct
    return "", correct


def split_prediction(row: str) -> tuple[str, str]:
    """A row of an entry script as (file name, label): ``00041.png: 7``, or an object with ``file`` and ``digit``."""
    if row.startswith("{"):
        fields = json.loads(row)
        return fields["file"], str(fields["digit"])
    name, _, label = row.partition(": ")
    return name, label
