"""What becomes of interrupted work: every kind of change against every kind of wish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.runner.builders import Flow

from batchflow.errors import ChangedStepError, JournalError, RefusedError
from batchflow.journal.records import Success
from batchflow.journal.state import State, Totals
from batchflow.runner.places import step_folder
from batchflow.runner.prospects import Pasts, for_one_step, prospect, waiting
from batchflow.runner.resume import Past, Resumption, decide, past_of
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
        tmp_path / "score.py", tmp_path, ("files",), append_row_to="rows", error_threshold=Threshold(count=5)
    )
    inputs = {"files": ["in/*"], "model": "model.bin"}
    return Flow(tmp_path).parallel("score", settings, inputs=inputs, outputs={"rows": "rows.csv"}).build()


def interrupted(**changes: Any) -> Past:
    totals = Totals(succeeded=4_198, failed=2, failed_mini_batches=1)
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
        changed("settings", **{"parallel.order": "completion"}),
        changed("settings", **{"parallel.failed_to": "failed", "outputs.failed": "failed.jsonl"}),
        changed("settings", **{"parallel.receipt_to": "receipt", "outputs.receipt": "receipt.json"}),
        changed("settings", **{"inputs.files": ["in/", "in/*"]}),  # which are the same files
        changed("upstream", train="run-9"),
    ],
)
def test_what_makes_the_same_rows_goes_on(new: dict[str, Any], workflow: Workflow) -> None:
    assert decided(workflow, interrupted(), new) == Resumption(resumes=True, notices=(GOES_ON,))


def test_a_copy_of_a_report_may_go_or_move_too(workflow: Workflow) -> None:
    copies = {"parallel.failed_to": "failed", "outputs.failed": "failed.jsonl", "outputs.receipt": "receipt.json"}
    past = interrupted()
    old = changed("settings", **copies, **{"parallel.receipt_to": "receipt"})
    past = replace(past, state=replace(past.state, signature=old))
    moved = changed("settings", **copies | {"outputs.failed": "other.jsonl", "parallel.receipt_to": "receipt"})
    for new in (SIGNATURE, moved):
        assert decided(workflow, past, new) == Resumption(resumes=True, notices=(GOES_ON,))


@pytest.mark.parametrize(
    ("outputs", "keeps"),
    [
        ({"rows": "rows.csv"}, False),
        ({"rows": "rows.csv", "failed": "failed.jsonl", "receipt": "receipt.json"}, False),
        ({"rows": "rows.csv", "log": "log.txt"}, True),
        ({"rows": "rows.csv", "parts": "parts/"}, True),
        ({"rows": "out/"}, True),
    ],
)
def test_files_of_the_script_keep_the_mini_batches_they_were_named_by(
    outputs: dict[str, str], keeps: bool, tmp_path: Path
) -> None:
    reports = {f"{name}_to": name for name in ("failed", "receipt") if name in outputs}
    settings = ParallelSettings(tmp_path / "score.py", tmp_path, ("files",), append_row_to="rows", **reports)
    tolerant = replace(settings, error_threshold=Threshold(count=5), mini_batch_size=99)
    flow = Flow(tmp_path).parallel("score", tolerant, inputs={"files": ["in/*"]}, outputs=outputs)
    told = "mini-batches keep their 10 items: the script's own files may be named by them"
    kept = Resumption(True, False, (GOES_ON, told), 10) if keeps else Resumption(True, False, (GOES_ON,))
    assert decided(flow.build(), interrupted()) == kept
    done = interrupted(totals=Totals(succeeded=9_998, failed=2))
    assert decided(flow.build(), done).mini_batch_size is None
    assert decided(flow.build(), replace(done, is_over=True), retry=True).mini_batch_size == (10 if keeps else None)
    same = flow.change("score", parallel=replace(tolerant, mini_batch_size=10)).build()
    assert decided(same, interrupted()) == Resumption(resumes=True, notices=(GOES_ON,))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"mini_batch_size": 1 << 20, "mini_batch_unit": "bytes"}, False),
        ({"mini_batch_size": 1 << 20, "mini_batch_unit": "rows"}, True),
        ({"mini_batch_size": 1 << 21, "mini_batch_unit": "bytes"}, True),
        ({"partition_keys": ("store",)}, False),
    ],
)
def test_what_was_cut_stays_as_the_first_run_cut_it(settings: dict[str, Any], told: bool, tmp_path: Path) -> None:
    keys = ParallelSettings(
        tmp_path / "score.py", tmp_path, ("files",), append_row_to="rows", error_threshold=Threshold(5), **settings
    )
    outputs = {"rows": "rows.csv", "parts": "parts/"}
    flow = Flow(tmp_path).parallel("score", keys, inputs={"files": ["in/*"]}, outputs=outputs)
    past = interrupted(mini_batch_unit="bytes", cut_count=100)
    past = replace(past, state=replace(past.state, mini_batch_size=1 << 20))
    notice = ("mini-batches stay as the first run of the step made them",) if told else ()
    assert decided(flow.build(), past) == Resumption(resumes=True, notices=(*notice, GOES_ON))


@pytest.mark.parametrize(
    ("key", "is_kept"),
    [
        ("inputs.files.delimiter", False),
        ("inputs.files.header", False),
        ("inputs.files.partition_format", False),
        ("parallel.partition_keys", False),
        ("inputs.files.schema", True),
        ("inputs.files.null_values", True),
        ("parallel.frame", True),
    ],
)
def test_an_option_that_makes_other_items_leaves_nothing_of_use(key: str, is_kept: bool, workflow: Workflow) -> None:
    new = changed("settings", **{key: "another"})
    with pytest.raises(ChangedStepError) as caught:
        decided(workflow, interrupted(), new)
    assert caught.value.can_be_kept == is_kept
    assert key in caught.value.message


@pytest.mark.parametrize("wish", ["restart", "forced"])
def test_what_is_wished_is_dropped_with_one_line(wish: str, workflow: Workflow) -> None:
    assert decided(workflow, interrupted(), **{wish: True}) == Resumption(notices=(f"begins anew; {DROPPED}",))
    nothing = interrupted(totals=Totals())
    assert decided(workflow, nothing, **{wish: True}) == Resumption()


@pytest.mark.parametrize(
    ("new", "more"),
    [
        (ITEMS, ", 10,000 → 10,002 files"),
        (changed("inputs", files={"kind": "files", "count": 10_000, "digest": "b"}), ""),
    ],
)
@pytest.mark.parametrize("accept_changes", [False, True])
def test_other_files_begin_anew_whatever_was_done(
    new: dict[str, Any], more: str, accept_changes: bool, workflow: Workflow
) -> None:
    expected = f"begins anew (files of input files were added, removed or changed{more}); {DROPPED}"
    edited = new | {"settings": SIGNATURE["settings"] | {"parallel.delimiter": ";"}}
    for one in (new, edited):
        assert decided(workflow, interrupted(), one, accept_changes=accept_changes) == Resumption(notices=(expected,))


OTHER_PLACE = changed("settings", **{"outputs.rows": "other.csv"})
UNUSABLE = [
    (changed("settings", **{"inputs.files": ["other/*"]}) | {"inputs": ITEMS["inputs"]}, "inputs.files"),
    (changed("settings", **{"parallel.over": "model"}), "parallel.over"),
    (OTHER_PLACE, "outputs.rows"),
    (changed("settings", **{"parallel.append_row_to": "log"}), "parallel.append_row_to"),
    (changed("settings", **{"parallel.append_row_file_name": "a.txt"}), "parallel.append_row_file_name"),
    (changed("settings", **{"outputs.more": "more/"}), "outputs.more"),
    (changed("settings", **{"parallel.output_format": "jsonl"}), "parallel.output_format"),
    (
        changed("settings", **{"parallel.header": False, "parallel.delimiter": ";"}),
        "parallel.header and parallel.delimiter",
    ),
    # It was written by all the runs of the step, and is to be a copy now.
    (changed("settings", **{"parallel.failed_to": "rows"}), "outputs.rows"),
]


@pytest.mark.parametrize(("new", "keys"), UNUSABLE, ids=[keys for _, keys in UNUSABLE])
@pytest.mark.parametrize("accept_changes", [False, True])
def test_an_edit_that_leaves_no_use_for_much_work_is_refused(
    new: dict[str, Any], keys: str, accept_changes: bool, workflow: Workflow
) -> None:
    with pytest.raises(
        ChangedStepError, match=r"4,200 of 10,000 items were done \(12 min of work\), and has changed"
    ) as error:
        decided(workflow, interrupted(), new, accept_changes=accept_changes)
    last = f"with another {keys} nothing of what is done can be kept: put that back to go on"
    assert str(error.value).splitlines()[-1] == last
    assert (error.value.hint, error.value.exit_code) == ("--restart drops what is done", 6)
    assert not error.value.can_be_kept
    assert decided(workflow, interrupted(), new, restart=True).notices == (f"begins anew; {DROPPED}",)
    (notice,) = decided(workflow, interrupted(work_s=59.0), new, accept_changes=accept_changes).notices
    assert notice.startswith("begins anew (setting changed ")
    assert notice.endswith("); dropped: 4,200 of 10,000 items (59 s of work)")


def test_what_such_an_edit_changed_is_listed(workflow: Workflow) -> None:
    with pytest.raises(ChangedStepError) as caught:
        decided(workflow, interrupted(), OTHER_PLACE | {"code": {"score.py": "2"}})
    assert str(caught.value).splitlines()[1:] == [
        "  setting changed outputs.rows: rows.csv → other.csv",
        "  code changed score.py",
        "with another outputs.rows nothing of what is done can be kept: put that back to go on",
    ]


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
    assert (caught.value.exit_code, caught.value.can_be_kept) == (6, True)
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
    many = interrupted(totals=Totals(succeeded=4_000, failed=6, failed_mini_batches=6))
    found = decided(workflow, many)
    assert (found.resumes, found.reopens) == (True, True)
    assert found.notices[1:] == ("6 items that failed before are tried again",)
    few = interrupted(totals=Totals(succeeded=4_000, failed=5, failed_mini_batches=5))
    assert not decided(workflow, few).reopens


def test_as_long_as_there_are_items_to_do_not_every_item_has_failed(workflow: Workflow) -> None:
    step = workflow.steps["score"]
    assert step.parallel is not None
    tolerant = replace(step.parallel, error_threshold=Threshold(count=-1))
    flow = replace(workflow, steps={**workflow.steps, "score": replace(step, parallel=tolerant)})
    some = Totals(failed=4_000, failed_mini_batches=400)
    assert not decided(flow, interrupted(totals=some)).reopens
    every = Totals(failed=10_000, failed_mini_batches=1_000)
    assert decided(flow, interrupted(totals=every)).reopens


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


def test_retry_after_an_edit_that_leaves_no_use_is_refused(workflow: Workflow) -> None:
    message = "step score: outputs.rows changed since: the failed items alone cannot be tried again"
    with pytest.raises(RefusedError, match=message) as caught:
        decided(workflow, replace(interrupted(), is_over=True), OTHER_PLACE, retry=True)
    assert caught.value.hint == "batchflow run brings the step up to date"
    with pytest.raises(ChangedStepError):
        decided(workflow, interrupted(totals=Totals(succeeded=4_200)), OTHER_PLACE, retry=True)


def test_retry_without_a_journal_is_refused_unless_all_is_to_be_done_again(workflow: Workflow) -> None:
    message = "step score: its journal, which names what failed, is gone: the failed items alone cannot be tried again"
    with pytest.raises(RefusedError, match=message) as caught:
        decided(workflow, None, retry=True)
    assert (caught.value.hint, caught.value.exit_code) == ("batchflow run score -f does all of the step again", 6)
    assert decided(workflow, None, retry=True, restart=True) == Resumption()
    assert decided(workflow, None, retry=True, forced=True) == Resumption()


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
