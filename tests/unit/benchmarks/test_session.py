"""What becomes of a peer that is missing, fails, or gives wrong results; nothing is started."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import session
from benchmarks.load import Observed
from benchmarks.options import Options
from benchmarks.session import Session
from benchmarks.values import Metric, Scenario, Variant


def an_answer(seconds=1.0, *, complaint="", figures=None):
    return {
        "seconds": {"whole": seconds},
        "driver_cpu_s": 0.0,
        "figures": figures or {},
        "complaint": complaint,
        "left_cpu_s": 0.0,
        "tree_cpu_s": 0.0,
    }


def measure(monkeypatch, answers, *, runs=1):
    """The results of two variants whose processes say what ``answers`` says; what was asked of them."""
    asked = []

    def observe(command, environment, scratch, *, sample):
        task = json.loads(command[-1])
        asked.append(task)
        exit_code, answer = answers[task["peer"]]
        return Observed(json.dumps(answer), "last words", exit_code, 1.0, 0.5, 0.5, 0)

    monkeypatch.setattr(session, "observe", observe)
    scenario = Scenario(
        case="startup",
        title="t",
        explanation="e",
        metrics=(Metric("whole", "time", "s", 1, 1.0),),
        workers=0,
        variants=(Variant("batchflow", settings={"way": "ours"}), Variant("other", settings={"way": "theirs"})),
        settings={"way": "none", "repeats": 3},
    )
    options = Options(("startup",), None, True, runs, 10, 2, None, None, Path("d"), Path("o"), "n", 1.0)
    result = Session(options, lambda line: None).measure(scenario)
    return {one.variant.peer: one for one in result.results}, asked


def test_variants_get_the_settings_of_both(monkeypatch):
    results, asked = measure(monkeypatch, {"batchflow": (0, an_answer()), "other": (0, an_answer(2.0))})
    assert [len(one.counted(1.0)) for one in results.values()] == [1, 1]
    assert [task["settings"] for task in asked[:2]] == [{"way": "ours", "repeats": 3}, {"way": "theirs", "repeats": 3}]
    assert [task["watched"] for task in asked] == [True, True, False, False]


def test_a_missing_tool_is_said_to_be_missing_and_is_no_failure(monkeypatch):
    answers = {"batchflow": (0, an_answer()), "other": (0, {"missing": "there is no C compiler"})}
    results, asked = measure(monkeypatch, answers)
    assert (results["other"].missing, results["other"].runs) == ("there is no C compiler", ())
    assert [task["peer"] for task in asked].count("other") == 1


def test_a_peer_that_fails_is_out_and_says_why(monkeypatch):
    results, _ = measure(monkeypatch, {"batchflow": (0, an_answer()), "other": (3, {})})
    assert results["other"].missing == "failed: other failed in case startup, exit_code=3"


def test_only_what_was_disturbed_is_repeated_beside_ours(monkeypatch):
    """``disturbed`` is dropped each time: ``batchflow`` is repeated with it, ``other`` rests."""
    shares = {"batchflow": 0.5, "other": 0.5, "disturbed": 3.0}
    asked = []

    def observe(command, environment, scratch, *, sample):
        peer = json.loads(command[-1])["peer"]
        asked.append(peer)
        return Observed(json.dumps(an_answer()), "", 0, 1.0, shares[peer], shares[peer], 0)

    monkeypatch.setattr(session, "observe", observe)
    monkeypatch.setattr(session, "foreign_share", lambda machine_cpu_s, *_: machine_cpu_s / 3.0)
    scenario = Scenario(
        case="startup",
        title="t",
        explanation="e",
        metrics=(Metric("whole", "time", "s", 1, 1.0),),
        workers=0,
        variants=tuple(Variant(peer) for peer in shares),
    )
    options = Options(("startup",), None, True, 2, 10, 2, None, None, Path("d"), Path("o"), "n", 0.5)
    Session(options, lambda line: None).measure(scenario)
    assert Counter(asked) == {"batchflow": 5, "other": 3, "disturbed": 5}


@pytest.mark.parametrize("runs", [1, 2])
def test_a_complaint_of_the_case_makes_a_run_not_count(monkeypatch, runs):
    answers = {"batchflow": (0, an_answer()), "other": (0, an_answer(complaint="3 wrong results"))}
    results, _ = measure(monkeypatch, answers, runs=runs)
    assert {run.complaint for run in results["other"].runs} == {"3 wrong results"}
    assert results["other"].counted(1.0) == ()
    assert len(results["other"].runs) == 1 + runs * session.ROUND_FACTOR_MAX
