"""What becomes of interrupted work: every kind of change against every kind of wish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.runner.builders import Flow

from batchflow.errors import ChangedStepError, JournalError, RefusedError
from batchflow.journal.commits import State, Totals
from batchflow.journal.records import Success
from batchflow.runner.prospects import Pasts, for_one_step, prospect, waiting
from batchflow.runner.resume import Past, Resumption, decide, past_of
from batchflow.runner.steps import step_folder
from batchflow.runner.values import Reason, RunOptions
from batchflow.workflow.values import ParallelSettings, Step, Threshold, Workflow

SIGNATURE: dict[str, Any] = {
    "settings": {
        "kind": "parallel",
        "parallel.entry_script": "score.py",
        "parallel.over": "files",
        "parallel.mini_batch_size": 10,
        "parallel.append_row_to": "rows",
        "inputs.files": ["in/*"],
        "outputs.rows": "rows.csv",
    },
    "params": {},
    "inputs": {
        "files": {"kind": "files", "count": 10_000, "digest": "a"},
        "model": {"kind": "file", "size": 1, "mtime_ns": 2},
    },
    "code": {"score.py": "1"},
    "upstream": {"train": "run-1"},
}
GOES_ON = "goes on: 4,200 of 10,000 items are done, 2 of them failed (12 min of work), 5,800 to do"
DROPPED = "dropped: 4,200 of 10,000 items (12 min of work)"


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    settings = ParallelSettings(
        tmp_path / "score.py", tmp_path, "files", append_row_to="rows", error_threshold=Threshold(count=5)
    )
    inputs = {"files": ["in/*"], "model": "model.bin"}
    return Flow(tmp_path).parallel("score", settings, inputs=inputs, outputs={"rows": "rows.csv"}).build()


def interrupted(**changes: Any) -> Past:
    totals = Totals(succeeded=4_198, failed=2, mini_batches=420, failed_mini_batches=1)
    values: dict[str, Any] = {"work_s": 720.0, "totals": totals} | changes
    return Past(State("run-2", "score", 10_000, SIGNATURE, 10, **values), is_over=False)


def changed(part: str, **values: Any) -> dict[str, Any]:
    return SIGNATURE | {part: SIGNATURE[part] | values}


EDITED = changed("code", **{"score.py": "2"})
ITEMS = changed("inputs", files={"kind": "files", "count": 10_002, "digest": "b"})


def decided(workflow: Workflow, past: Past | None, new: dict[str, Any] = SIGNATURE, **options: bool) -> Resumption:
    forced = options.pop("forced", False)
    return decide(workflow.steps["score"], workflow, past, new, RunOptions(**options), forced=forced)


def test_nothing_of_before_or_nothing_that_was_interrupted_is_no_matter(workflow: Workflow) -> None:
    assert decided(workflow, None) == Resumption()
    finished = replace(interrupted(), is_over=True)
    assert decided(workflow, finished) == decided(workflow, finished, EDITED) == Resumption()
    assert decided(workflow, finished, restart=True) == decided(workflow, finished, forced=True) == Resumption()


def test_a_success_that_is_recorded_is_over(workflow: Workflow) -> None:
    success = Success("score", "run-2", 1.0, SIGNATURE, {})
    state = interrupted().state
    assert not past_of(replace(state, phase="finished"), None).is_over
    assert not past_of(state, success).is_over
    assert not past_of(replace(state, phase="finished"), replace(success, run_id="run-1")).is_over
    assert past_of(replace(state, phase="finished"), success).is_over


@pytest.mark.parametrize(
    "new",
    [
        SIGNATURE,
        changed("settings", **{"parallel.mini_batch_size": 99}),
        changed("upstream", train="run-9"),
    ],
)
def test_what_makes_the_same_rows_goes_on(new: dict[str, Any], workflow: Workflow) -> None:
    assert decided(workflow, interrupted(), new) == Resumption(resumes=True, notices=(GOES_ON,))


@pytest.mark.parametrize("wish", ["restart", "forced"])
def test_what_is_wished_is_dropped_with_one_line(wish: str, workflow: Workflow) -> None:
    assert decided(workflow, interrupted(), **{wish: True}) == Resumption(notices=(f"begins anew; {DROPPED}",))
    nothing = interrupted(totals=Totals())
    assert decided(workflow, nothing, **{wish: True}) == Resumption()


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (ITEMS, "files of input files were added, removed or changed, 10,000 → 10,002 files"),
        (
            changed("inputs", files={"kind": "files", "count": 10_000, "digest": "b"}),
            "files of input files were added, removed or changed",
        ),
        (changed("settings", **{"inputs.files": ["other/*"]}), "input files is another one"),
        (changed("settings", **{"outputs.rows": "other.csv"}), "the outputs are declared otherwise"),
        (changed("settings", **{"parallel.append_row_to": "log"}), "the outputs are declared otherwise"),
        (changed("settings", **{"outputs.more": "more/"}), "the outputs are declared otherwise"),
        (changed("settings", **{"parallel.output_format": "jsonl"}), "the outputs are declared otherwise"),
        (changed("settings", **{"parallel.header": False}), "the outputs are declared otherwise"),
        (changed("settings", **{"parallel.delimiter": ";"}), "the outputs are declared otherwise"),
    ],
)
@pytest.mark.parametrize("accept_changes", [False, True])
def test_other_items_or_places_begin_anew_whatever_was_done(
    new: dict[str, Any], why: str, accept_changes: bool, workflow: Workflow
) -> None:
    expected = Resumption(notices=(f"begins anew ({why}); {DROPPED}",))
    assert decided(workflow, interrupted(), new, accept_changes=accept_changes) == expected


def test_an_edit_after_much_work_is_refused_with_what_changed(workflow: Workflow) -> None:
    new = EDITED | {"inputs": SIGNATURE["inputs"] | {"model": {"kind": "file", "size": 7, "mtime_ns": 2}}}
    with pytest.raises(ChangedStepError) as caught:
        decided(workflow, interrupted(), new)
    assert str(caught.value).splitlines() == [
        "step score was interrupted when 4,200 of 10,000 items were done (12 min of work), and has changed since:",
        "  input changed model: 1 bytes → 7 bytes",
        "  code changed score.py",
    ]
    assert caught.value.hint == (
        "--accept-changes keeps what is done (the output will hold rows of both versions), --restart drops it"
    )
    assert caught.value.exit_code == 6
    assert decided(workflow, interrupted(), new, restart=True).notices == (f"begins anew; {DROPPED}",)


def test_an_edit_that_is_accepted_goes_on(workflow: Workflow) -> None:
    kept = "4,200 items of before the change are kept (code changed score.py)"
    accepted = Resumption(resumes=True, notices=(kept, GOES_ON))
    assert decided(workflow, interrupted(), EDITED, accept_changes=True) == accepted
    assert decided(workflow, interrupted(), SIGNATURE, accept_changes=True).notices == (GOES_ON,)


@pytest.mark.parametrize(("work_s", "refused"), [(59.9, False), (60.0, True)])
def test_an_edit_after_little_work_begins_anew(work_s: float, refused: bool, workflow: Workflow) -> None:
    if refused:
        with pytest.raises(ChangedStepError):
            decided(workflow, interrupted(work_s=work_s), EDITED)
        return
    dropped = "dropped: 4,200 of 10,000 items (1 min of work)"
    assert decided(workflow, interrupted(work_s=work_s), EDITED) == Resumption(
        notices=(f"begins anew (code changed score.py); {dropped}",)
    )


def test_failures_that_are_no_longer_tolerated_are_tried_again(workflow: Workflow) -> None:
    many = interrupted(totals=Totals(succeeded=4_000, failed=6, mini_batches=401, failed_mini_batches=6))
    found = decided(workflow, many)
    assert (found.resumes, found.reopens) == (True, True)
    assert found.notices[1:] == ("6 items that failed before are tried again",)
    few = interrupted(totals=Totals(succeeded=4_000, failed=5, mini_batches=401, failed_mini_batches=5))
    assert not decided(workflow, few).reopens


def test_retry_has_the_failed_items_done_again_after_a_success_and_after_an_edit(workflow: Workflow) -> None:
    assert decided(workflow, interrupted(), retry=True) == Resumption(True, True, (GOES_ON,))
    finished = replace(interrupted(totals=Totals(succeeded=9_998, failed=2)), is_over=True)
    assert decided(workflow, finished, retry=True) == Resumption(True, True)
    kept = "9,998 items of before the change are kept (code changed score.py)"
    assert decided(workflow, finished, EDITED, retry=True) == Resumption(True, True, (kept,))


def test_retry_with_other_items_is_refused(workflow: Workflow) -> None:
    with pytest.raises(RefusedError, match="10,002 files since: the failed items alone cannot be tried again") as error:
        decided(workflow, interrupted(), ITEMS, retry=True)
    assert error.value.hint == "batchflow run brings the step up to date"
    without = interrupted(totals=Totals(succeeded=4_200))
    assert decided(workflow, without, ITEMS, retry=True).notices[0].startswith("begins anew (files of input files were")


def test_retry_is_for_the_steps_that_have_the_reason() -> None:
    options = RunOptions(retry=True, cores=3)
    assert for_one_step(options, (Reason("upstream", "a"),)) == RunOptions(cores=3)
    assert for_one_step(options, (Reason("retry", "", None, "1 failed item"),)) == options


def foretold(workflow: Workflow, past: Past | JournalError | None, *kinds: str, **options: bool) -> tuple[str, str]:
    """Note and refusal."""
    step: Step = workflow.steps["score"]
    reasons = tuple(Reason(kind, "rows") for kind in kinds)
    found = prospect(step, workflow, past, SIGNATURE, RunOptions(**options), reasons)
    return found.note, "" if found.refusal is None else str(found.refusal)


def test_a_prospect_is_the_decision_in_words(workflow: Workflow) -> None:
    damaged = JournalError("it is damaged")
    finished = replace(interrupted(), is_over=True)
    assert foretold(workflow, None) == ("", "")
    assert foretold(workflow, interrupted()) == (GOES_ON, "")
    assert foretold(workflow, interrupted(), "forced") == (f"begins anew; {DROPPED}", "")
    assert foretold(workflow, damaged) == foretold(workflow, damaged, "forced") == ("", "it is damaged")
    assert foretold(workflow, damaged, restart=True) == ("begins anew; dropped: it is damaged", "")
    refused = "step score: output rows is not as the step left it: the failed items alone cannot be tried again"
    for kind in ("output_missing", "output_changed"):
        assert foretold(workflow, finished, "retry", kind, retry=True) == ("", refused)
        assert foretold(workflow, interrupted(), "retry", kind, retry=True) == (GOES_ON, "")


def test_what_waits_for_other_steps_is_foretold_with_a_caveat(workflow: Workflow) -> None:
    found = waiting(interrupted(), ["prepare", "train"])
    assert found.note == f"{GOES_ON.removeprefix('goes on: ')}; what becomes of them is known when prepare has run"
    for past in (None, JournalError("damaged"), replace(interrupted(), is_over=True), interrupted(totals=Totals())):
        assert waiting(past, ["prepare"]).note == ""


def test_what_was_a_parallel_step_begins_anew(tmp_path: Path) -> None:
    built = Flow(tmp_path).run("score", "true", outputs={"rows": "rows.csv"}).build()
    found = decide(built.steps["score"], built, interrupted(), SIGNATURE, RunOptions())
    assert found == Resumption(notices=(f"begins anew (it was a parallel step); {DROPPED}",))


def test_a_journal_that_cannot_be_believed_is_looked_at_once_and_tells_nothing(workflow: Workflow) -> None:
    step = workflow.steps["score"]
    folder = step_folder(workflow, "score")
    folder.mkdir(parents=True, mode=0o700)
    (folder / "journal.db").write_text("nothing like a journal")
    pasts = Pasts(workflow, {})
    found = pasts.of(step)
    assert isinstance(found, JournalError)
    (folder / "journal.db").unlink()
    assert pasts.of(step) is found
    assert (pasts.is_over(step), pasts.committed(step)) == (False, None)
    assert pasts.left_over(step) == "a journal that cannot be believed"
