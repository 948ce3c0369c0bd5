"""What the list of peers promises, and which of them a run asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import peers, session
from benchmarks.__main__ import PEERS, parse
from benchmarks.peers.base import bundles, pack, unpack
from benchmarks.session import Session
from benchmarks.values import Expectation, Metric, Run, Scenario


def quick(*arguments):
    return parse(["--quick", *arguments])[0]


def a_scenario(*names, chunks=(2, 8)):
    return Scenario(
        case="dispatch",
        title="t",
        explanation="e",
        metrics=(Metric("dispatch", "time", "s", 1, 1.0),),
        workers=2,
        item_count=100,
        peers=names,
        chunks=chunks,
        expectation=Expectation(100),
    )


@pytest.fixture
def measured(monkeypatch):
    """Measure a scenario with every tool there and every run 1 s, 0.5 s with 8 a message; names and the missing."""

    def run_once(self, scenario, variant, round_number):
        return Run(round_number, {"dispatch": 0.5 if variant.chunk == 8 else 1.0}, 1.0, 0.1, 0.0)

    def measure(scenario, installed=lambda module: True):
        monkeypatch.setattr(Session, "run_once", run_once)
        monkeypatch.setattr(session, "importable", installed)
        results = Session(quick(), lambda line: None).measure(scenario).results
        return {result.variant.name: result.missing for result in results}

    return measure


def test_every_peer_has_its_module_and_every_list_names_known_peers():
    folder = Path(peers.__file__).parent
    assert all((folder / f"{name.replace('-', '_')}.py").is_file() for name in PEERS)
    for names in (peers.MODULES, peers.CHUNKED, peers.BUNDLING, peers.ALONE, peers.UNREAPED):
        assert set(names) <= set(PEERS)
    assert set(peers.BUNDLING) <= set(peers.CHUNKED)


def test_a_quick_run_leaves_the_heavy_peers_out_unless_they_are_named():
    assert quick().chosen(("loop", "dask", "batchflow")) == ("loop", "batchflow")
    assert quick("--peers", "dask").chosen(("loop", "dask", "batchflow")) == ("dask", "batchflow")
    assert replace(quick(), quick=False).chosen(("loop", "dask", "batchflow")) == ("loop", "dask", "batchflow")


def test_a_tool_that_is_not_installed_is_missing_and_no_error(measured):
    found = measured(a_scenario("mpire", "spark", "loop"), installed=lambda module: module is None)
    assert found == {"mpire, 1 a message": "mpire is not installed", "spark": "pyspark is not installed", "loop": ""}


def test_tools_made_for_large_tasks_are_measured_with_bundles_alone(measured):
    assert list(measured(a_scenario("mpire", "dask", "spark"))) == [
        "mpire, 1 a message",
        "mpire, 8 a message",
        "dask, 8 a message",
        "spark",
    ]


def test_without_a_choice_of_bundles_one_mini_batch_makes_a_message(measured):
    assert list(measured(a_scenario("mpire", "dask", chunks=()))) == ["mpire, 1 a message", "dask, 1 a message"]


def test_only_what_can_be_found_counts_as_installed():
    assert session.importable("json")
    assert not session.importable("no_such_tool")
    assert not session.importable("no_such_tool.core")


def test_bundles_hold_so_many_mini_batches_and_the_last_one_the_rest():
    assert list(bundles(iter([["a"], ["b"], ["c"]]), 2)) == [[["a"], ["b"]], [["c"]]]
    assert list(bundles([], 2)) == []


@pytest.mark.parametrize(("rows", "form"), [(["a", "b"], "text"), ([{"digit": 7}, {"digit": 1}], "jsonl")])
def test_rows_survive_as_a_column_of_strings(rows, form):
    column = pack(rows, form)
    assert {type(row) for row in column} == {str}
    assert unpack(column, form) == rows
