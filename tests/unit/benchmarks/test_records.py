"""From runs to the table: what counts, what is dropped, what is wrong, what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report, summary
from benchmarks.data import digest_of_rows
from benchmarks.session import check, split_prediction
from benchmarks.values import Expectation, Metric, Run, Scenario, ScenarioResult, Variant, VariantResult


def a_run(round_number, seconds, *, foreign=0.0, complaint=""):
    return Run(
        round_number=round_number,
        seconds={"dispatch": seconds, "command": seconds + 1},
        cpu_s=2.0,
        driver_cpu_s=0.5 if round_number == 0 else 7.0,
        foreign_share=foreign,
        pss_peak_bytes=1 << 20 if round_number == 0 else 0,
        complaint=complaint,
    )


def a_scenario(*results, mini_batch_size=10):
    scenario = Scenario(
        case="dispatch",
        title="t",
        explanation="e",
        folder="f",
        item_count=100,
        mini_batch_size=mini_batch_size,
        script="s",
        arguments=(),
        output_format="text",
        workers=2,
        peers=("loop", "batchflow"),
        chunks=(),
        metrics=(Metric("dispatch", "time", "µs per mini-batch", 100 // mini_batch_size, 1e6),),
        expectation=Expectation(100),
    )
    return summary.scenario_record(ScenarioResult(scenario, results), foreign_limit=0.1)


def variant(record, name):
    return next(one for one in record["variants"] if one["name"] == name)


def test_only_timed_right_and_undisturbed_runs_count():
    runs = (
        a_run(0, 99.0),
        a_run(1, 1.0),
        a_run(2, 50.0, foreign=0.11),
        a_run(3, 50.0, complaint="expected 100 rows, got 99"),
        a_run(4, 3.0, foreign=0.1),
    )
    loop = variant(a_scenario(VariantResult(Variant("loop"), runs)), "loop")
    assert (loop["counted"], loop["dropped"], loop["wrong"]) == (2, 1, 1)
    assert loop["complaints"] == ["expected 100 rows, got 99"]
    time = loop["metrics"]["dispatch"]["time"]
    assert (time["median"], time["least"], time["greatest"]) == pytest.approx((200_000, 100_000, 300_000))
    assert loop["pss_peak_bytes"] == 1 << 20
    assert loop["driver_cpu_us_per_mini_batch"] == pytest.approx(50_000)


def test_a_ratio_is_the_median_over_the_rounds_that_both_sides_kept():
    record = a_scenario(
        VariantResult(Variant("loop"), (a_run(1, 4.0), a_run(2, 9.0), a_run(3, 8.0, foreign=0.5))),
        VariantResult(Variant("batchflow"), (a_run(1, 2.0), a_run(2, 3.0), a_run(3, 1.0))),
    )
    ratio = variant(record, "loop")["metrics"]["dispatch"]["ratio"]
    assert (ratio["median"], ratio["count"]) == (2.5, 2)
    assert variant(record, "batchflow")["metrics"]["dispatch"]["ratio"]["median"] == 1.0


def test_without_batchflow_there_is_no_ratio():
    record = a_scenario(VariantResult(Variant("loop"), (a_run(1, 4.0),)))
    assert variant(record, "loop")["metrics"]["dispatch"]["ratio"] is None


def test_the_fit_uses_both_mini_batch_sizes():
    # 2 s for 100 items and 0.1 s for each mini-batch.
    small = a_scenario(VariantResult(Variant("loop"), (a_run(1, 2.0 + 10 * 0.1),)))
    large = a_scenario(VariantResult(Variant("loop"), (a_run(1, 2.0 + 0.1),)), mini_batch_size=100)
    (fit,) = summary.fits([small, large])
    assert (fit["name"], fit["a_us"], fit["b_us"]) == ("loop", pytest.approx(20_000), pytest.approx(100_000))
    assert summary.fits([small]) == []


def test_the_table_says_what_is_missing_dropped_and_wrong():
    record = a_scenario(
        VariantResult(Variant("loop"), (a_run(1, 1.0), a_run(2, 1.0, foreign=0.9))),
        VariantResult(Variant("pool", 8, "8 a message"), (a_run(1, 1.0, complaint="too few"),)),
        VariantResult(Variant("joblib"), missing="joblib is not installed"),
        VariantResult(Variant("batchflow"), (a_run(1, 0.5),)),
    )
    text = "\n".join(report.scenario_lines(json.loads(json.dumps(record))))
    assert "| loop | 100,000 (100,000–100,000) | 2.00 × |" in text
    assert "| 1, 1 dropped |" in text
    assert "| pool, 8 a message | – | – |" in text
    assert "| 0, 1 wrong: too few |" in text
    assert "| joblib | – | – | – | – | – | missing: joblib is not installed |" in text
    assert "| **batchflow** | 50,000 (50,000–50,000) | 1.00 × |" in text


def test_a_curve_has_no_ratios_and_its_fit_below_it(tmp_path):
    points = [
        VariantResult(Variant("batchflow", label=f"{place:,}", place=place), (a_run(1, 2.0 + place * 1e-6),))
        for place in (1_000, 1_000_000)
    ]
    scenario = Scenario(
        case="growth",
        title="items",
        explanation="e",
        metrics=(Metric("dispatch", "time", "s", 1, 1.0),),
        workers=2,
        axis="items",
        shows_costs=False,
    )
    record = summary.scenario_record(ScenarioResult(scenario, tuple(points)), foreign_limit=0.1)
    text = "\n".join(report.scenario_lines(record))
    assert "| items | time, s | runs |\n| --- | ---: | ---: |\n| 1,000 | 2 (2–2) | 1 |\n" in text
    assert "- time ≈ 2 s + 1 s for each million items; between the last two points it grows with the power 0.06" in text
    report.chart({"scenarios": [record]}, [tmp_path / "c.png"])
    report.curves_chart([record, record], tmp_path / "d.png")
    for name in ("c.png", "d.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"


def test_a_figure_that_only_some_sides_have_is_left_out_for_the_others():
    with_figure = replace(a_run(1, 1.0), figures={"memory": 300.0})
    scenario = Scenario(
        case="listing",
        title="names",
        explanation="e",
        metrics=(Metric("memory", "memory", "B per file", 100, 1.0, compared=False),),
        workers=0,
        shows_costs=False,
    )
    results = (
        VariantResult(Variant("batchflow"), (with_figure,)),
        VariantResult(Variant("find -type f"), (a_run(1, 1.0),)),
    )
    record = summary.scenario_record(ScenarioResult(scenario, results), foreign_limit=0.1)
    assert report.table_lines(record) == [
        "|  | memory, B per file | runs |",
        "| --- | ---: | ---: |",
        "| **batchflow** | 3 (3–3) | 1 |",
        "| find -type f | – | 1 |",
    ]


def test_a_chart_is_drawn_from_the_record_alone(tmp_path):
    record = {"scenarios": [a_scenario(VariantResult(Variant("loop"), (a_run(1, 1.0),)))]}
    report.chart(record, [tmp_path / "c.png", tmp_path / "c.svg"])
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert "</svg>" in (tmp_path / "c.svg").read_text()


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (["b", "a"], ""),
        (["a"], "expected 2 rows, got 1"),
        (["a", "a"], "the rows are not the expected ones"),
        (None, "expected 2 rows, got 0"),
    ],
)
def test_rows_are_checked_by_number_and_content(tmp_path, rows, complaint):
    output = tmp_path / "rows.txt"
    if rows is not None:
        output.write_text("".join(f"{row}\n" for row in rows))
    assert check(output, Expectation(2, digest_of_rows(["a", "b"]))) == (complaint, None)


@pytest.mark.parametrize(
    ("rows", "result"),
    [
        (["0.png: 5", "1.png: 7"], ("", 2)),
        (["0.png: 5", "1.png: 1"], ("", 1)),
        (["0.png: 4", "1.png: 1"], ("expected at least 1 right predictions, got 0", 0)),
        (["0.png: 5", "0.png: 5"], ("expected 2 different images, got 1", None)),
    ],
)
def test_predictions_are_checked_by_label(tmp_path: Path, rows, result):
    output = tmp_path / "rows.txt"
    output.write_text("".join(f"{row}\n" for row in rows))
    assert check(output, Expectation(2, labels={"0.png": "5", "1.png": "7"}, correct_min=1)) == result


def test_both_shapes_of_a_prediction_are_read():
    assert split_prediction("00041.png: 7") == ("00041.png", "7")
    assert split_prediction('{"file": "00041.png", "digit": 7, "confidence": 0.9}') == ("00041.png", "7")
