"""A record is judged by the targets, and by nothing that it does not have."""

from __future__ import annotations

import pytest

from benchmarks import targets
from benchmarks.targets import Target, Verdict


def variant(name, median, *, chunk=None):
    time = None if median is None else {"median": median, "least": median, "greatest": median, "count": 1}
    return {
        "name": name,
        "peer": name.partition(", ")[0],
        "chunk": chunk,
        "cpu_s": 1.0,
        "pss_peak_bytes": None,
        "driver_cpu_us_per_mini_batch": None,
        "metrics": {"dispatch": {"time": time, "ratio": None}},
    }


def scenario(*variants, case="dispatch", size=10, title="t"):
    metrics = [{"key": "dispatch", "title": "time", "unit": "µs per mini-batch"}]
    return {"case": case, "title": title, "mini_batch_size": size, "metrics": metrics, "variants": list(variants)}


def judged(record):
    return {verdict.wanted: (verdict.is_met, verdict.found) for verdict in targets.verdicts(record)}


def test_each_target_is_a_ratio_of_two_medians():
    record = scenario(
        variant("loop", 1.0),
        variant("pool, 1 a message", 60.0, chunk=1),
        variant("pool, 8 a message", 9.0, chunk=8),
        variant("batchflow", 2.0),
    )
    assert judged(record) == {
        "≤ 1.25 × that of loop": (False, "2 ×"),
        "≥ 25 × less than pool, 1 a message": (True, "30 ×"),
        "≥ 4 × less than pool, best": (True, "4.5 ×"),
    }


def test_what_is_not_there_is_not_judged():
    assert judged(scenario(variant("loop", None), variant("batchflow", 2.0))) == {}
    assert judged(scenario(variant("loop", 1.0))) == {}
    assert judged(scenario(variant("loop", 1.0), variant("batchflow", 2.0), size=10_000)) == {}


@pytest.mark.parametrize(("measured", "is_met"), [(2.0, True), (2.1, False)])
def test_a_bound_without_a_peer_is_in_its_own_unit(measured, is_met):
    verdict = Verdict(Target("dispatch", "dispatch", 2.0), scenario(), measured)
    assert verdict.is_met is is_met
    assert (verdict.wanted, verdict.found) == ("≤ 2 µs per mini-batch", f"{measured:g} µs per mini-batch")


def test_a_form_is_a_part_of_the_title():
    sides = (variant("static", 1.0), variant("batchflow", 1.0))
    together = scenario(*sides, case="mnist", title="10 images, one call of the model a mini-batch, a model")
    assert judged(together) == {"≤ 1.03 × that of static": (True, "1 ×")}
    assert judged(scenario(*sides, case="mnist", title="10 images, tuned, a model")) == {}


def test_costs_are_judged_like_metrics():
    record = scenario({**variant("batchflow", 1.0), "driver_cpu_us_per_mini_batch": 0.6})
    assert judged(record) == {"≤ 0.5 µs per mini-batch": (False, "0.6 µs per mini-batch")}
    assert [verdict.measure for verdict in targets.verdicts(record)] == ["driver's CPU time"]
