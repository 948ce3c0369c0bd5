"""Are the outputs what the records, the journals and the receipts say?  Offline: locks, runs and changes nothing.

A step that succeeded is checked by its outputs as they were recorded; the rows of a parallel step byte for byte, by the
journal's extents, and its items, failures and receipt against each other.  What an interrupted step has committed is
checked in the same way.

Invariant: nothing of what is checked decides what it is checked against.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from batchflow.errors import JournalError, RefusedError, UsageError
from batchflow.journal.commits import JOURNAL_NAME, Journal
from batchflow.journal.lock import describe_live_holder
from batchflow.journal.records import Records, Success
from batchflow.journal.state import State
from batchflow.journal.state_folder import ROWS_NAME
from batchflow.model import Receipt
from batchflow.output.audit import Problem, Rows, check_failed_list, check_rows, check_whole
from batchflow.output.checksums import checksum_text
from batchflow.output.ordering import ordered_path
from batchflow.output.receipt import read_receipt
from batchflow.runner.contents import content_of
from batchflow.runner.freshness import states
from batchflow.runner.places import step_folder
from batchflow.runner.resume import past_of
from batchflow.runner.signature import Observer, output_places
from batchflow.runner.values import Committed
from batchflow.tables.typed import TYPED_FORMATS
from batchflow.temporary import partial_path
from batchflow.workflow.values import Workflow

_TOTALS = (
    "succeeded",
    "failed",
    "failed_mini_batches",
    "surplus",
    "attempts",
    "worker_deaths",
)
"""What journal and receipt both count."""


@dataclass
class StepReport:
    """What was found about one step; complete when ``verify_workflow`` gives it away."""

    step: str
    status: Literal["succeeded", "unfinished", "nothing"] = "nothing"
    """``unfinished``: a parallel step that was interrupted; ``nothing``: there is nothing to check."""
    committed: Committed | None = None
    """The items of a parallel step."""
    row_count: int | None = None
    size: int = 0
    """Bytes of its rows."""
    checksum: str = ""
    output_count: int = 0
    """Outputs that are recorded."""
    unread: list[Path] = field(default_factory=list)
    """Outputs that nobody has read: they are there, and of a success their sizes and times are as recorded."""
    problems: list[Problem] = field(default_factory=list)


def verify_workflow(workflow: Workflow, steps: Sequence[str] = ()) -> Mapping[str, StepReport]:
    """Check the ``steps``, all if none is named.

    Raises ``UsageError`` for a step that does not exist, ``RefusedError`` while a run is going on, ``JournalError``
    for records that cannot be read.
    """
    for name in steps:
        if name not in workflow.steps:
            near = difflib.get_close_matches(name, workflow.steps, n=1)
            hint = f"did you mean {near[0]}?" if near else "steps: " + ", ".join(workflow.steps)
            raise UsageError(f"there is no step {name}", hint=hint)
    _check_idle(workflow)
    records = Records.open_for_reading(workflow.state_folder)
    successes: Mapping[str, Success] = {}
    if records is not None:
        with records:
            successes = records.successes()
    reports = {
        name: _Check(workflow, name, successes.get(name)).report()
        for name in workflow.steps
        if not steps or name in steps
    }
    _check_idle(workflow)
    return reports


def _check_idle(workflow: Workflow) -> None:
    holder = describe_live_holder(workflow.state_folder)
    if holder is not None:
        raise RefusedError(
            f"a run of this workflow is going on, and changes what is checked: {holder}",
            hint="verify again when it has ended",
        )


class _Check:
    """Of one step; ``report`` once."""

    def __init__(self, workflow: Workflow, step: str, success: Success | None) -> None:
        self._folder = workflow.folder
        self._state_folder = step_folder(workflow, step)
        self._success = success
        self._report = StepReport(step)

    def report(self) -> StepReport:
        report, success = self._report, self._success
        covered: set[str] = set()
        if success is not None:
            report.status = "succeeded"
        if success is None or _is_parallel(success.signature):
            covered = self._check_journal()
        if success is not None:
            self._check_outputs(success, covered)
        return report

    def _found(self, path: Path, message: str, expected: object = "", found: object = "") -> None:
        self._report.problems.append(Problem(path, message, None, str(expected), str(found)))

    # What the journal says

    def _check_journal(self) -> set[str]:
        """Check the journal and what it speaks of; returns the outputs that need no other check."""
        path = self._state_folder / JOURNAL_NAME
        try:
            journal = Journal.open_for_reading(self._state_folder)
            if journal is None:
                if self._success is not None:
                    self._found(path, "it is missing")
                return set()
            with journal:
                return set() if journal.state is None else self._check_opened(journal, journal.state)
        except JournalError as error:
            self._found(path, error.message.replace(f", path={path}", ""))
            return set()

    def _check_opened(self, journal: Journal, state: State) -> set[str]:
        report, totals = self._report, state.totals
        journal.check_pages()
        journal.check()
        is_over = past_of(state, self._success).is_over
        report.status = "succeeded" if is_over else "unfinished"
        report.committed = Committed(state.item_count, totals.succeeded, totals.failed, state.work_s)
        self._check_sums(journal, state)
        place = _rows_place(state, self._folder, published=is_over)
        if place is not None:
            name, rows_path = place
            self._check_rows(journal, state, rows_path, is_over=is_over)
        if not is_over:
            self._check_unfinished(state, place)
            # One that is finished takes the place of the last success just now: neither of them is recorded as it is.
            return set(output_places(state.signature, self._folder)) if state.phase == "finished" else set()
        report.problems += check_failed_list(
            self._state_folder / "failed.jsonl", journal.failures(), (state.receipt or {}).get("failed_checksum", "")
        )
        self._check_receipt(state)
        # A folder holds more than the rows.
        return set() if place is None or state.signature["settings"][f"outputs.{name}"].endswith("/") else {name}

    def _check_rows(self, journal: Journal, state: State, path: Path, *, is_over: bool) -> None:
        report = self._report
        is_typed = _is_typed(state)
        is_made = is_typed and state.phase == "finished"
        report.row_count = state.totals.rows
        report.size, checksum = state.committed_size, state.checksum
        if is_made:
            report.size, checksum = state.output_size, state.output_checksum
            report.problems += check_whole(Rows(path, report.size, checksum))
        report.checksum = checksum_text(checksum)
        if is_typed:
            path = self._state_folder / ROWS_NAME
            path = ordered_path(path) if state.phase == "ordered" and ordered_path(path).exists() else path
        # What failed may be tried again, and its rows put among the others: so these are kept.
        # A run that ended before anything was committed may have ended before there was a file.
        if state.totals.failed if is_made else (is_over or state.committed_size):
            header = state.columns.encode("latin-1")[: state.header_size]
            rows = Rows(path, state.committed_size, state.checksum, header, may_be_longer=not is_over)
            report.problems += check_rows(rows, journal.extents(by="offset"))

    def _check_unfinished(self, state: State, rows: tuple[str, Path] | None) -> None:
        """What the script of an interrupted step has made is there; nobody knows what it should be."""
        settings = state.signature["settings"]
        reports = {settings.get(f"parallel.{key}") for key in ("failed_to", "receipt_to")}
        for name, final in output_places(state.signature, self._folder).items():
            partial = partial_path(final)
            is_file_of_rows = rows is not None and rows[0] == name and not settings[f"outputs.{name}"].endswith("/")
            if name in reports or is_file_of_rows or not state.totals.succeeded:
                continue
            # One that is finished may have been interrupted while it was given its name.
            place = final if state.phase == "finished" and not partial.exists() else partial
            if place.exists():
                self._report.unread.append(place)
            else:
                self._found(partial, "it is missing")

    def _check_sums(self, journal: Journal, state: State) -> None:
        """Every item is in one extent or failure, and the totals are what they add up to."""
        totals, sums = state.totals, state.sums
        done = state.item_count - sum(stop - start for start, stop in journal.gaps())
        short = sum(int(one.entry["missing_count"]) for one in journal.failures() if one.kind == "shortfall")
        for what, expected, found in (
            ("items in extents and failures", totals.succeeded + totals.failed, done),
            ("items that succeeded", totals.succeeded, sums.items - sums.missing),
            ("items that failed", totals.failed, journal.failed_item_count()),
            ("items missing in shortfalls", sums.missing, short),
            ("rows", totals.rows, sums.returned),
            ("bytes in extents", state.committed_size - state.header_size, sums.size),
            ("items to do", 0 if state.phase == "finished" else state.item_count - done, state.item_count - done),
        ):
            if expected != found:
                self._found(journal.path, f"the number of {what} is wrong", expected, found)

    def _check_receipt(self, state: State) -> None:
        path = self._state_folder / "receipt.json"
        try:
            receipt = read_receipt(path)
        except FileNotFoundError:
            self._found(path, "it is missing")
            return
        except (JournalError, OSError) as error:
            self._found(path, str(error))
            return
        expected: dict[str, Any] = {name: getattr(state.totals, name) for name in _TOTALS}
        expected |= {"run_id": state.run_id, "step": state.step, "items_in": state.item_count}
        expected["mini_batches"] = state.mini_batch_count
        if self._report.row_count is not None:
            expected |= {"rows_out": state.totals.rows, "output_size": state.output_size}
            expected["output_checksum"] = checksum_text(state.output_checksum)
        self._compare_receipts(path, expected, receipt)

    def _compare_receipts(self, path: Path, expected: Mapping[str, Any], receipt: Receipt) -> None:
        found = receipt.as_dict()
        for name, value in expected.items():
            if found[name] != value:
                self._found(path, f"{name} is not what the journal says", value, found[name])
        recorded = {} if self._success is None else dict(self._success.receipt or {})
        for name in recorded.keys() & found.keys() - expected.keys():
            if found[name] != recorded[name]:
                self._found(path, f"{name} is not what was recorded", recorded[name], found[name])

    # What was recorded with the success

    def _check_outputs(self, success: Success, covered: set[str]) -> None:
        self._report.output_count = len(success.outputs)
        rows = success.signature["settings"].get("parallel.append_row_to")
        for name, path in output_places(success.signature, self._folder).items():
            if name in covered or name not in success.outputs:
                continue
            was = success.outputs[name]
            receipt = success.receipt or {}
            if name == rows and was["kind"] == "file" and receipt.get("output_checksum"):
                checksum = int(str(receipt["output_checksum"]).removeprefix("crc32c:"), 16)
                self._report.problems += check_whole(Rows(path, int(receipt["output_size"]), checksum))
            else:
                self._check_output(path, was)

    def _check_output(self, path: Path, was: Mapping[str, Any]) -> None:
        now = Observer(self._folder).look_at(path)
        is_same = was["kind"] == now["kind"] and all(was[key] == now[key] for key in now)
        content = was.get("content")
        # What was only touched is as it was; what had its time put back may not be.
        if content and was["kind"] == now["kind"] and was.get("size") == now.get("size"):
            if content_of(path) == content:
                return
            if is_same or now["kind"] == "file":
                self._found(path, "its content is not what the step wrote")
                return
        if is_same:
            self._report.unread.append(path)
        else:
            self._found(path, "it is not what the step wrote", *states(was, now))


def _is_typed(state: State) -> bool:
    return state.signature["settings"].get("parallel.output_format") in TYPED_FORMATS


def _is_parallel(signature: Mapping[str, Any]) -> bool:
    return bool(signature["settings"].get("kind") == "parallel")


def _rows_place(state: State, folder: Path, *, published: bool) -> tuple[str, Path] | None:
    """The output that takes the rows, and the file they are in just now; None with ``summary_only``."""
    settings = state.signature["settings"]
    name = settings.get("parallel.append_row_to")
    if name is None:
        return None
    final = output_places(state.signature, folder)[name]
    inner = settings.get("parallel.append_row_file_name") or "parallel_run_step.txt"
    is_folder = str(settings[f"outputs.{name}"]).endswith("/")

    def rows_in(output: Path) -> Path:
        return output / inner if is_folder else output

    if published:
        return name, rows_in(final)
    temporary = rows_in(partial_path(final))
    if state.phase == "ordered" and ordered_path(temporary).exists():
        return name, ordered_path(temporary)
    # A run may have ended between the renaming of its output and the record of it.
    is_renamed = state.phase == "finished" and final.exists()
    if is_renamed and (not temporary.exists() or final.stat().st_ino == state.output_ids.get(name)):
        return name, rows_in(final)
    return name, temporary
