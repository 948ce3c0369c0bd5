"""What ``run()`` returns, counted and written: one row of the table, one thing to return."""

from __future__ import annotations

import csv
import json

import pytest
from system.parallel.steps import ALL, Steps, numbered, script

from batchflow.errors import RunAbortedError
from batchflow.workflow.values import Threshold


def returning(expression: str, *, before: str = "") -> str:
    """A script that returns ``expression``, in which the names of the mini-batch are ``names``."""
    return script(f"return {expression}", before=before)


@pytest.mark.fault("C5", "C6")
@pytest.mark.parametrize(
    "expression",
    [
        "names",
        "tuple(names)",
        "(one for one in names)",
        "map(str, names)",
        "dict.fromkeys(names).keys()",
        "__import__('numpy').array(names)",
        "__import__('pandas').Series(names)",
        "__import__('pandas').DataFrame({'name': names})",
        "__import__('pyarrow').table({'name': names})",
    ],
)
def test_whatever_holds_one_element_for_each_item_is_a_result(steps: Steps, expression: str) -> None:
    outcome = steps.run(returning(expression), workers=1)
    receipt = outcome.done()
    assert outcome.rows == numbered((0, 15))
    assert (receipt.succeeded, receipt.rows_out, receipt.surplus, receipt.attempts) == (15, 15, 0, 3)


@pytest.mark.fault("C2", "C13")
@pytest.mark.parametrize(
    ("expression", "got"),
    [
        ("7", "int"),
        ("'seven'", "str"),
        ("b'seven'", "bytes"),
        ("{'a': 1}", "dict"),
        ("{1, 2}", "set"),
        ("lambda: 1", "function"),
        ("open(os.devnull)", "_io.TextIOWrapper"),
        ("__import__('numpy').zeros((1, 2, 3))", "3 dimensions"),
    ],
)
def test_anything_else_is_a_failed_attempt_that_names_what_it_got(steps: Steps, expression: str, got: str) -> None:
    outcome = steps.run(returning(expression), error_threshold=ALL, run_max_try=2, files=10, workers=1)
    assert outcome.message(RunAbortedError).startswith("every item failed\n")
    assert sorted(outcome.failed_names) == numbered((0, 10))
    for entry in outcome.failed:
        # All five twice, then 2 + 3, 1 + 1 + 1 + 2, and of the last two 1 + 1.
        attempts = 5 if entry["item"][-1] in "3489" else 4
        assert (entry["kind"], entry["attempts"]) == ("contract", attempts)
        assert entry["error_type"] == "batchflow.errors.ContractError"
        assert got in entry["message"]


@pytest.mark.fault("C1", "C3")
@pytest.mark.parametrize(
    ("expression", "rows", "missing"),
    [
        ("None", 0, 5),
        ("[]", 0, 5),
        ("names[:3]", 3, 2),
        ("names[:-1]", 4, 1),
    ],
)
def test_a_shortfall_is_committed_and_the_missing_items_counted(
    steps: Steps, expression: str, rows: int, missing: int
) -> None:
    body = f"if '00007' in names: return {expression}"
    outcome = steps.run(script(body), error_threshold=Threshold(count=missing))
    receipt = outcome.done()
    assert outcome.rows == numbered((0, 5 + rows), (10, 15))
    assert (receipt.succeeded, receipt.failed, receipt.failed_mini_batches) == (15 - missing, missing, 1)
    assert (receipt.attempts, receipt.surplus) == (3, 0)
    assert outcome.failed == [
        {
            "kind": "shortfall",
            "mini_batch": 1,
            "attempts": 1,
            "returned_count": rows,
            "missing_count": missing,
            "candidates": [f"{steps.folder}/in/{number:05}" for number in range(5, 10)],
        }
    ]


def test_a_shortfall_over_the_threshold_says_so(steps: Steps) -> None:
    outcome = steps.run(script("if '00007' in names: return names[:3]"), error_threshold=Threshold(count=1))
    assert outcome.message(RunAbortedError).splitlines() == [
        "error_threshold: 2 items failed, 1 is tolerated",
        "first shortfall: mini_batch_index=1, run() returned 3 elements for 5 items",
        f"all failed items: {steps.folder}/state/failed.jsonl",
    ]


@pytest.mark.fault("C4")
def test_surplus_elements_are_kept_and_counted(steps: Steps) -> None:
    outcome = steps.run(returning("[one + x for one in names for x in 'ab']"), oracle=False)
    receipt = outcome.done()
    assert outcome.rows == [one + x for one in numbered((0, 15)) for x in "ab"]
    assert (receipt.succeeded, receipt.failed, receipt.rows_out, receipt.surplus) == (15, 0, 30, 15)


@pytest.mark.fault("C1", "C3", "C4")
@pytest.mark.parametrize(
    ("expression", "counted"), [("names[:-1]", "0 elements"), ("names * 2", "2 elements"), ("None", "None")]
)
def test_exact_makes_every_mismatch_a_failed_attempt(steps: Steps, expression: str, counted: str) -> None:
    body = f"if '00007' in names: return {expression}"
    outcome = steps.run(script(body), items="exact", error_threshold=ALL)
    assert outcome.rows == numbered((0, 7), (8, 15))
    (entry,) = outcome.failed
    assert (entry["kind"], entry["attempts"], outcome.failed_names) == ("contract", 3, ["00007"])
    assert entry["message"].startswith(f"run() returned {counted} for 1 item\nhint: ")


def test_a_mismatch_that_is_gone_when_an_item_is_alone_loses_nothing(steps: Steps) -> None:
    outcome = steps.run(script("if len(names) > 3: return names[:3]"), items="exact")
    assert (outcome.rows, outcome.failed) == (numbered((0, 15)), [])


def test_any_counts_no_elements(steps: Steps) -> None:
    outcome = steps.run(returning("names[:context.mini_batch_index]"), items="any", oracle=False)
    receipt = outcome.done()
    assert outcome.rows == ["00005", "00010", "00011"]
    assert (receipt.succeeded, receipt.failed, receipt.rows_out) == (15, 0, 3)


@pytest.mark.fault("G6")
def test_a_result_larger_than_the_ring_flows_through_it(steps: Steps) -> None:
    # 5 rows of 1 MB for each mini-batch, through rings of 1 MiB.
    outcome = steps.run(returning("[one + 'x' * 1_000_000 for one in names]"), oracle=False)
    assert outcome.rows == [one + "x" * 1_000_000 for one in numbered((0, 15))]


@pytest.mark.fault("A3")
def test_a_worker_killed_in_the_middle_of_a_large_result_leaves_none_of_it(steps: Steps) -> None:
    before = """
import threading


def end_soon():
    time.sleep(0.01 * os.getpid() % 0.05)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    body = """
if context.attempt == 1:
    threading.Thread(target=end_soon).start()
return [one + "x" * 3_000_000 for one in names]
"""
    outcome = steps.run(script(body, before=before), oracle=False, workers=3, run_max_try=5)
    assert outcome.rows == [one + "x" * 3_000_000 for one in numbered((0, 15))]


def test_a_result_above_its_limit_is_a_failed_attempt(steps: Steps) -> None:
    body = "if '00007' in names: return ['x' * 999] * 5"
    at_limit = steps.run(script(body), max_result_size=5000, error_threshold=ALL, oracle=False)
    assert at_limit.done().succeeded == 15
    outcome = steps.run(script(body), max_result_size=4999, error_threshold=ALL)
    assert outcome.rows == numbered((0, 7), (8, 15))
    (entry,) = outcome.failed
    assert (entry["kind"], entry["message"]) == ("contract", "the result has 5000 bytes, max_result_size=4999")


def test_a_line_break_in_an_element_is_refused_or_kept(steps: Steps) -> None:
    body = "if '00007' in names: return [one.replace('0007', '\\n7') for one in names]"
    outcome = steps.run(script(body), error_threshold=ALL)
    assert outcome.rows == numbered((0, 7), (8, 15))
    assert [entry["kind"] for entry in outcome.failed] == ["contract"]
    assert "newline" in outcome.failed[0]["message"]
    kept = steps.run(script(body), newline="keep", oracle=False)
    assert kept.rows == [*numbered((0, 7)), "0", "7", *numbered((8, 15))]


FRAME = """
import pandas


def frame(names, column):
    return pandas.DataFrame({{"name": names, column: [{value} for one in names]}})
"""


def test_csv_has_one_header_and_quotes_what_needs_it(steps: Steps) -> None:
    source = returning("frame(names, 'note')", before=FRAME.format(value="f'{one}, \"said\"\\nhe'"))
    outcome = steps.run(source, output_format="csv", mini_batch_size=2, workers=3, oracle=False)
    assert outcome.content.startswith(b'name,note\n00000,"00000, ""said""\nhe"\n')
    rows = list(csv.DictReader(outcome.content.decode().splitlines(keepends=True)))
    assert rows == [{"name": one, "note": f'{one}, "said"\nhe'} for one in numbered((0, 15))]
    assert outcome.done().rows_out == 15


def test_csv_without_a_header(steps: Steps) -> None:
    outcome = steps.run(
        returning("[{'a': one, 'b': 1.0} for one in names]"), output_format="csv", header=False, oracle=False
    )
    assert outcome.rows == [f"{one},1.0" for one in numbered((0, 15))]


@pytest.mark.parametrize("workers", [1, 3])
def test_columns_that_differ_later_fail_that_mini_batch_alone(steps: Steps, workers: int) -> None:
    body = "return frame(names, 'b' if '00007' in names else 'a')"
    outcome = steps.run(
        script(body, before=FRAME.format(value=1)),
        output_format="csv",
        error_threshold=ALL,
        workers=workers,
        oracle=False,
    )
    assert outcome.rows == ["name,a", *(f"{one},1" for one in numbered((0, 7), (8, 15)))]
    assert outcome.failed_names == ["00007"]
    for entry in outcome.failed:
        assert (entry["kind"], entry["attempts"]) == ("contract", 3)
        assert entry["message"] == (
            "the columns differ from those of the first mini-batch with rows, expected 'name,a', got 'name,b'"
        )


def test_the_first_mini_batch_in_input_order_names_the_columns(steps: Steps) -> None:
    """However late it comes: all that waited for it are measured against it."""
    body = """
(FOLDER / f"ran-{context.mini_batch_index}").touch()
if "00000" in names:
    while len(list(FOLDER.glob("ran-*"))) < 5:
        time.sleep(0.005)
return frame(names, "a" if "00000" in names else "b")
"""
    before = FRAME.format(value=1) + "\nFOLDER = Path(__file__).parent\n"
    outcome = steps.run(
        script(body, before=before), output_format="csv", mini_batch_size=3, error_threshold=ALL, oracle=False
    )
    assert outcome.rows == ["name,a", *(f"{one},1" for one in numbered((0, 3)))]
    assert sorted(outcome.failed_names) == numbered((3, 15))
    # Of each of the four others: all three twice, 1 + 2, and of the last two 1 + 1.
    assert outcome.done().attempts == 1 + 4 * 6


def test_a_first_mini_batch_without_rows_or_success_leaves_the_columns_to_the_next(steps: Steps) -> None:
    body = """
if "00000" in names:
    raise ValueError("never")
return [] if "00005" in names else frame(names, "a")
"""
    outcome = steps.run(
        script(body, before=FRAME.format(value=1)), output_format="csv", error_threshold=ALL, oracle=False
    )
    assert outcome.rows == ["name,a", *(f"{one},1" for one in numbered((1, 5), (10, 15)))]
    assert (outcome.done().succeeded, outcome.done().failed, outcome.done().failed_mini_batches) == (9, 6, 2)


def test_columns_that_are_right_the_second_time_are_right(steps: Steps) -> None:
    body = "return frame(names, 'b' if '00007' in names and context.attempt == 1 else 'a')"
    outcome = steps.run(script(body, before=FRAME.format(value=1)), output_format="csv", oracle=False)
    assert outcome.rows == ["name,a", *(f"{one},1" for one in numbered((0, 15)))]
    assert (outcome.failed, outcome.done().attempts) == ([], 4)


def test_jsonl_has_one_value_to_a_line(steps: Steps) -> None:
    source = returning("[{'name': one, 'text': 'ä\\n\"x\"', 'none': None, 'list': [1.5, True]} for one in names]")
    outcome = steps.run(source, output_format="jsonl", oracle=False)
    values = [json.loads(line) for line in outcome.rows]
    assert values == [{"name": one, "text": 'ä\n"x"', "none": None, "list": [1.5, True]} for one in numbered((0, 15))]


@pytest.mark.fault("C30")
def test_summary_only_counts_and_lets_the_script_write(steps: Steps) -> None:
    body = """
context.output_dir.mkdir(exist_ok=True)
for one in names:
    (context.output_dir / one).write_text(one * 2)
return [None] * (3 if "00007" in names else 5)
"""
    outcome = steps.run(
        script(body), output_action="summary_only", output_format=None, append_row_to=None, error_threshold=ALL
    )
    receipt = outcome.done()
    assert sorted(path.name for path in (steps.folder / "files").iterdir()) == numbered((0, 15))
    assert not (steps.folder / "rows.partial").exists()
    assert (receipt.succeeded, receipt.failed, receipt.rows_out) == (13, 2, 0)
    assert (receipt.output, receipt.output_size, receipt.output_checksum) == (None, 0, "")


@pytest.mark.fault("C14")
def test_a_mini_batch_that_the_script_spoils_is_whole_the_next_time(steps: Steps) -> None:
    body = "if context.attempt == 1:\n    mini_batch.clear()\n    raise ValueError('x')"
    assert steps.run(script(body)).rows == numbered((0, 15))


@pytest.mark.fault("C11")
@pytest.mark.parametrize("kind", ["text", "csv", "jsonl"])
def test_odd_elements_never_end_the_driver(steps: Steps, kind: str) -> None:
    odd = "[float('nan'), b'\\xff', '\\udcff', None, __import__('decimal').Decimal('1.10')]"
    outcome = steps.run(returning(odd), output_format=kind, error_threshold=ALL, files=5, oracle=False)
    if outcome.error is None:
        assert outcome.content.count(b"\n") == 5 + (kind == "csv")
    else:
        assert {entry["kind"] for entry in outcome.failed} <= {"contract", "exception"}
