"""The tables of the pages: as the records say, and nothing else of the page is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import pages, paper
from benchmarks.records import Records

RESULTS = Path(pages.__file__).parent / "results"


def variant(name, median, ratio=None, *, chunk=None, metric="dispatch"):
    time = None if median is None else {"median": median, "least": median, "greatest": median, "count": 1}
    return {
        "name": name,
        "peer": name.partition(", ")[0],
        "chunk": chunk,
        "place": None,
        "correct": None,
        "missing": None,
        "counted": 5,
        "dropped": 1,
        "wrong": 0,
        "driver_cpu_us_per_mini_batch": None,
        "cpu_s": None,
        "pss_peak_bytes": None,
        "metrics": {metric: {"time": time, "ratio": ratio and {"median": ratio}}},
    }


def scenario(case, title, variants, *, metric="dispatch", unit="µs per mini-batch"):
    return {
        "case": case,
        "title": title,
        "explanation": "e",
        "items": 0,
        "mini_batch_size": 10,
        "mini_batches": 0,
        "workers": 0,
        "axis": "",
        "shows_costs": False,
        "curves": [],
        "metrics": [{"key": metric, "title": "time", "unit": unit, "compared": True}],
        "variants": variants,
    }


def write(folder, name, *scenarios, created="2026-01-01 00:00 UTC", quick=False, fits=()):
    record = {
        "created": created,
        "commit": "abc",
        "machine": {"cpus_usable": 2, "cpu": "CPU", "memory_bytes": 2**31, "kernel": "6.1.0-x", "python": "3.11.1"},
        "options": {"quick": quick, "foreign_limit": 0.1},
        "scenarios": scenarios,
        "fits": list(fits),
    }
    (folder / f"{name}.json").write_text(json.dumps(record))


def dispatch(ours):
    return scenario(
        "dispatch",
        "t",
        [
            variant("loop", ours * 0.8, 0.8),
            variant("pool, 1 a message", ours * 30, 30.0, chunk=1),
            variant("pool, 8 a message", ours * 3.26, 3.26, chunk=8),
            variant("batchflow", ours, 1.0),
        ],
    )


@pytest.mark.parametrize("path", pages.PAGES, ids=lambda path: path.name)
def test_the_page_is_up_to_date(path):
    text = path.read_text("utf-8")
    assert "<!-- measured " in text
    assert pages.render(text, Records.load(RESULTS)) == text, "run `python -m benchmarks --readme`"


def test_only_what_stands_in_a_place_is_replaced(tmp_path):
    write(tmp_path, "one", dispatch(2.0))
    text = "a\n<!-- measured slower -->\nold\n<!-- /measured -->\nb <!-- measured startup -->\n<!-- /measured -->\nc\n"
    assert pages.render(text, Records.load(tmp_path)) == (
        "a\n<!-- measured slower -->\n\n"
        "| case | what was faster | measure | its time ÷ batchflow's |\n|---|---|---|---:|\n"
        "| dispatch: t | loop | time | 0.80 |\n\n"
        "<!-- /measured -->\nb <!-- measured startup -->\n\nNot measured yet.\n\n<!-- /measured -->\nc\n"
    )


def test_the_table_of_the_readme_has_the_rows_that_were_measured(tmp_path):
    resume = scenario("commit", "resume", [variant("batchflow", 0.6071, metric="whole")], metric="whole", unit="s")
    write(tmp_path, "one", dispatch(1.5123), resume)
    assert pages.readme_lines(Records.load(tmp_path)) == [
        "| case, 2 workers | batchflow | plain loop | Pool, one a message | Pool, best chunk | executor, best "
        "| joblib, best |",
        "|---|---|---|---|---|---|---|",
        "| no-op `run()`, listed files → output file, mini-batches of 10 | 1.51 µs each "
        "| 0.8 × | 30 × | 3.3 × | – | – |",
        "",
        "| | batchflow | against | |",
        "|---|---|---|---|",
        "| finding what is left of 1,000,000 mini-batches | 0.607 s | – | – |",
    ]


def test_the_newest_record_counts_and_a_quick_one_never(tmp_path):
    write(tmp_path, "b", dispatch(1.0), created="2026-01-01 00:00 UTC")
    write(tmp_path, "a", dispatch(2.0), created="2026-02-01 00:00 UTC")
    write(tmp_path, "c", dispatch(3.0), created="2026-03-01 00:00 UTC", quick=True)
    records = Records.load(tmp_path)
    assert records.scenarios["dispatch", "t"]["variants"][-1]["metrics"]["dispatch"]["time"]["median"] == 2.0
    assert set(records.records) == {"a", "b"}


def test_the_targets_say_what_is_met_and_how_many_are_not_judged(tmp_path):
    write(tmp_path, "one", dispatch(2.0))
    lines = pages.target_lines(Records.load(tmp_path))
    assert "| dispatch: t | batchflow: time | ≤ 1.25 × that of loop | 1.25 × | met |" in lines
    assert "| dispatch: t | batchflow: time | ≥ 4 × less than pool, best | 3.26 × | **missed** |" in lines
    assert lines[-1].startswith("2 of 3 met; ")


def test_what_is_reckoned_on_paper_is_the_product_of_what_was_measured(tmp_path):
    resume = scenario("commit", "resume", [variant("batchflow", 0.5, metric="whole")], metric="whole", unit="s")
    write(tmp_path, "one", resume, fits=[{"name": "batchflow", "a_us": 0.1, "b_us": 2.0}])
    lines = paper.lines(Records.load(tmp_path))
    # 10,000,000 items a node: 1 s, and 100,000 mini-batches: 0.2 s.
    assert "| dispatch on each node | 0.1 µs an item + 2 µs a mini-batch | 1.2 s |" in lines
    # 10,000,000 mini-batches at half a microsecond.
    assert "| finding what is left, worst case | 0.5 µs a mini-batch | 5 s |" in lines
    assert "| listing by one driver | not measured yet | – |" in lines


def test_a_place_of_no_known_name_is_an_error(tmp_path):
    write(tmp_path, "one", dispatch(2.0))
    with pytest.raises(KeyError, match="nonsense"):
        pages.render("<!-- measured nonsense -->\n<!-- /measured -->\n", Records.load(tmp_path))
