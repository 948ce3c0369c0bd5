from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.profiles import (
    DRIVER,
    PHASES,
    WORKERS,
    StepProfile,
    WorkerTime,
    percents,
    round_number,
    straggling_s,
    with_rest,
    within,
    worker_time,
)

LAPS = ("init", "wait", "decode", "run", "encode", "publish", "blocked")


def profile(
    phases: dict[str, float] | None = None,
    driver: dict[str, float] | None = None,
    workers: dict[str, float] | None = None,
    **values: Any,
) -> StepProfile:
    """Ten seconds of dispatch with two workers who are in ``run()`` all the time, unless told otherwise."""
    phases = dict.fromkeys(PHASES, 0.0) | {"dispatch": 10.0} | (phases or {})
    dispatch = phases["dispatch"]
    spent = {"run": 2 * dispatch} if workers is None else workers
    numbers: dict[str, Any] = {
        "workers": 2,
        "cores": 2,
        "init_s": 0.0,
        "straggling_s": 0.0,
        "mini_batches": 100,
        "items": 10_000,
        "mini_batch_size": 100,
    }
    return StepProfile(
        phases,
        {"wait": 0.0} | with_rest(driver or {"wait": dispatch}, DRIVER, dispatch),
        with_rest(spent, WORKERS, 2 * dispatch),
        **numbers | values,
    )


def verdict(*arguments: Any, **values: Any) -> tuple[str, str, str]:
    found = profile(*arguments, **values).bottleneck
    return found.kind, found.what, found.hint


# What the bottleneck is


def test_run_itself() -> None:
    assert verdict(workers={"run": 19, "wait": 1}) == (
        "run",
        "your run(): 95 % of the workers' time",
        "more workers help only where cores are free (2 of 2 in use)",
    )
    assert verdict(cores=8)[2] == "more workers help only where cores are free (2 of 8 in use)"


def test_run_that_waits_more_than_it_computes() -> None:
    assert verdict(cpu_s=10.5)[2] == "more workers help only where cores are free (2 of 2 in use)"
    assert verdict(cpu_s=9.5)[2].startswith("it waits more than it computes")


def test_listing() -> None:
    kind, what, _ = verdict({"list": 30})
    assert (kind, what) == ("listing", "listing the input: 75 % of the step's time")


def test_import_and_init_share_the_start() -> None:
    assert verdict({"start": 30}, init_s=8)[:2] == ("import", "importing the script: 55 % of the step's time")
    assert verdict({"start": 30}, init_s=25)[:2] == ("init", "init(): 62 % of the step's time")
    assert "init_shared()" in verdict({"start": 30}, init_s=25)[2]


def test_a_later_worker_may_take_longer_for_init_than_the_first() -> None:
    assert verdict({"start": 30}, init_s=500)[:2] == ("init", "init(): 75 % of the step's time")


@pytest.mark.parametrize(
    ("phase", "kind"), [("prepare", "preparation"), ("partition", "preparation"), ("shutdown", "shutdown")]
)
def test_what_comes_before_and_after(phase: str, kind: str) -> None:
    assert verdict({phase: 30})[0] == kind


def test_the_end_depends_on_the_order() -> None:
    assert verdict({"finish": 30})[0::2] == (
        "finish",
        'order = "completion" spares putting rows in order; a faster disk for the output helps',
    )
    assert verdict({"finish": 30}, in_order=False)[2] == "a faster disk for the output helps"


def test_the_disk_where_the_driver_commits_while_workers_wait() -> None:
    kind, what, hint = verdict(driver={"wait": 2, "commit": 7, "drain": 1}, workers={"wait": 8, "blocked": 5, "run": 7})
    assert (kind, what) == ("disk", "waiting while the driver commits to the disk: 65 % of the workers' time")
    assert "durability" in hint


def test_the_driver_where_it_does_something_else() -> None:
    kind, _, hint = verdict(driver={"wait": 2, "feed": 5, "drain": 3}, workers={"wait": 15, "run": 5})
    assert (kind, hint) == ("driver", "try mini_batch_size = 1000 instead of 100")
    busy = {"driver": {"wait": 2, "feed": 5, "drain": 3}, "workers": {"wait": 15, "run": 5}}
    assert verdict(**busy, items=1000)[2] == "it takes fewer bytes for each item faster"


def test_results_that_the_driver_has_no_room_for() -> None:
    kind, _, hint = verdict(driver={"wait": 1, "drain": 9}, workers={"blocked": 15, "run": 5})
    assert (kind, hint.partition(",")[0]) == ("blocked", "return less for each item")


@pytest.mark.parametrize("part", ["decode", "encode", "publish"])
def test_what_workers_do_around_run(part: str) -> None:
    assert verdict(workers={part: 15, "run": 5})[0] == part


def test_workers_that_were_not_there() -> None:
    assert verdict(workers={"run": 5})[:2] == (
        "absent",
        "workers that were not ready, or dead: 75 % of the workers' time",
    )


def test_too_few_mini_batches() -> None:
    assert verdict(workers={"wait": 15, "run": 5}, mini_batch_size=2000, mini_batches=5)[0::2] == (
        "few",
        "try mini_batch_size = 500 instead of 2000",
    )


def test_waiting_for_no_reason_that_the_numbers_know() -> None:
    assert "something else" in verdict(workers={"wait": 15, "run": 5})[2]


def test_one_worker_that_had_work_while_the_other_waited() -> None:
    uneven = {"workers": {"wait": 9, "run": 11}, "straggling_s": 9.0}
    assert verdict(mini_batch_size=5000, mini_batches=2, **uneven) == (
        "stragglers",
        "waiting for the last worker at the end: 45 % of the workers' time",
        "try mini_batch_size = 500 instead of 5000",
    )
    assert "take much longer than others" in verdict(**uneven)[2]
    assert verdict(workers={"wait": 2, "run": 18}, straggling_s=2.0)[0] == "run"


def test_mini_batches_that_are_too_small() -> None:
    """A million of them, 10 µs in ``run()`` and 8 µs around it: 20 × as large there are 4 % left."""
    spent = {"run": 10.0, "wait": 4.0, "encode": 2.0, "publish": 1.0, "decode": 1.0}
    found = verdict(workers=spent, mini_batches=1_000_000, mini_batch_size=10, items=10_000_000)
    assert found == (
        "small",
        "what is done around run() for each mini-batch: 40 % of the workers' time",
        "try mini_batch_size = 200 instead of 10",
    )


def test_mini_batches_of_rows_are_told_of_in_rows() -> None:
    spent = {"wait": 12.0, "decode": 4.0, "run": 4.0}
    found = verdict(workers=spent, mini_batches=1_000_000, mini_batch_size=10, items=10_000_000, over_rows=True)
    assert found[2].startswith('try mini_batch_size = "')
    assert found[2].endswith(' rows": they have about 10 now')
    kind, what, hint = verdict(workers={"run": 5.0, "decode": 15.0}, over_rows=True)
    assert (kind, what) == ("decode", "reading rows: 75 % of the workers' time")
    assert hint == "columns = [...] in the dataset reads only these; Parquet is read faster than text"


def test_short_mini_batches_are_not_too_small_where_there_is_little_around_them() -> None:
    assert verdict(workers={"run": 18, "wait": 2}, mini_batches=1_000_000, items=100_000_000)[0] == "run"


def test_no_larger_size_is_suggested_than_gives_every_worker_some() -> None:
    one = profile(workers={"wait": 20.0}, mini_batches=100_000, mini_batch_size=1, items=100_000)
    assert one.bottleneck.hint == "try mini_batch_size = 10000 instead of 1"
    # With so few items there is nothing to gain by it.
    assert (
        profile(workers={"wait": 20.0}, mini_batches=100_000, mini_batch_size=100, items=1_000).bottleneck.kind
        != "small"
    )


def test_a_step_that_took_no_time_has_a_bottleneck_of_nothing() -> None:
    empty = profile(phases={"dispatch": 0.0}, workers={}, mini_batches=0, items=0)
    assert empty.bottleneck.share == 0.0


# Sums

SECONDS = st.floats(0, 1e6)
ANYTHING = st.floats() | st.just(math.inf) | st.just(math.nan)


def parts(names: tuple[str, ...], values: st.SearchStrategy[float] = SECONDS) -> st.SearchStrategy[dict[str, float]]:
    return st.fixed_dictionaries(dict.fromkeys(names, values))


PROFILES = st.builds(
    StepProfile,
    phases_s=parts(PHASES),
    dispatch_s=parts(DRIVER),
    workers_s=parts(WORKERS),
    workers=st.integers(0, 1000),
    cores=st.integers(1, 1000),
    init_s=SECONDS,
    straggling_s=SECONDS,
    mini_batches=st.integers(0, 10**10),
    items=st.integers(0, 10**11),
    mini_batch_size=st.integers(1, 10**9),
    in_order=st.booleans(),
    cpu_s=st.none() | SECONDS,
)


@given(PROFILES)
def test_whatever_the_numbers_are_there_is_a_verdict_with_a_hint(one: StepProfile) -> None:
    found = one.bottleneck
    assert 0 <= found.share <= 1
    assert found.hint
    assert StepProfile.from_dict(json.loads(json.dumps(one.as_dict()))) == one


@given(parts(WORKERS, ANYTHING), ANYTHING)
def test_the_rest_is_other_and_nothing_is_negative(some: dict[str, float], total: float) -> None:
    whole = with_rest(some, WORKERS, total)
    assert tuple(whole) == WORKERS
    assert all(part >= 0 and math.isfinite(part) for part in whole.values())
    if math.isfinite(total) and total >= sum(whole[name] for name in WORKERS[:-1]):
        assert sum(whole.values()) == pytest.approx(max(0.0, total))


@given(parts(WORKERS))
def test_percents_add_up(some: dict[str, float]) -> None:
    shares = percents(some)
    assert sum(shares.values()) == (100 if sum(some.values()) > 0 else 0)
    total = sum(some.values())
    assert all(abs(shares[name] - 100 * some[name] / total) < 1 + 1e-6 for name in some if total > 0)


def test_the_largest_remainders_are_rounded_up() -> None:
    assert percents({"a": 1, "b": 1, "c": 1}) == {"a": 34, "b": 33, "c": 33}
    assert percents({"a": 0.0}) == {"a": 0}


@given(PROFILES, SECONDS, SECONDS, SECONDS)
def test_the_whole_step_adds_up_to_its_time(one: StepProfile, list_s: float, more_s: float, after_s: float) -> None:
    before_s = list_s + more_s
    elapsed_s = before_s + one.elapsed_s + after_s
    whole = within(one, list_s=list_s, before_s=before_s, elapsed_s=elapsed_s, cpu_s=3.0)
    assert whole.cpu_s == 3.0
    assert whole.elapsed_s == pytest.approx(elapsed_s)
    assert whole.phases_s["list"] == pytest.approx(one.phases_s["list"] + list_s)
    assert whole.phases_s["dispatch"] == one.phases_s["dispatch"]


# What workers say


def test_the_lap_that_is_not_over_counts() -> None:
    spent = worker_time(("run", 500_000_000, (1_000_000_000, 0, 0, 250_000_000, 0, 0, 0)), LAPS, 2.0)
    assert spent == WorkerTime(
        {"init": 1.0, "wait": 0.0, "decode": 0.0, "run": 0.75, "encode": 0.0, "publish": 0.0, "blocked": 0.0}, 0.0
    )
    assert worker_time(("wait", 500_000_000, (0,) * 7), LAPS, 2.0).waiting_s == 0.5


def test_a_worker_without_laps_says_nothing() -> None:
    assert worker_time(None, LAPS, 2.0) == WorkerTime({}, 0.0)


@given(st.sampled_from(LAPS), st.integers(0, 2**64 - 1), st.tuples(*[st.integers(0, 2**64 - 1)] * 7), SECONDS)
def test_nobody_can_have_worked_longer_than_there_was_time(
    lap: str, open_ns: int, spent_ns: tuple[int, ...], limit_s: float
) -> None:
    time = worker_time((lap, open_ns, spent_ns), LAPS, limit_s)
    assert sum(time.spent_s.values()) <= limit_s
    assert all(seconds >= 0 for seconds in time.spent_s.values())


def test_stragglers_are_what_others_waited_longer_for() -> None:
    assert straggling_s([5.0, 1.0, 1.0]) == 4.0
    assert straggling_s([3.0]) == 0.0
    assert straggling_s([]) == 0.0


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [(0, 1, 1), (1, 1, 1), (3, 2, 5), (10, 10, 10), (99, 50, 100), (1e30, 5 * 10**18, 5 * 10**18)],
)
def test_round_numbers(value: float, down: int, up: int) -> None:
    assert (round_number(value), round_number(value, up=True)) == (down, up)
