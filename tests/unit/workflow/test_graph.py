"""The order of steps, targets, cycles."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.workflow.workflow_files import PARALLEL, load, refused

from batchflow.errors import UsageError
from batchflow.workflow import step_order
from batchflow.workflow.graph import find_cycle

DIAMOND = """\
default = ["last"]
steps.last  = { run = "x", inputs = { l = "${steps.left.outputs.o}", r = "${steps.right.outputs.o}" } }
steps.right = { run = "x", outputs = { o = "r.txt" }, after = ["first"] }
steps.other = { run = "x" }
steps.left  = { run = "x", outputs = { o = "l/" }, after = ["first"] }
steps.first = { run = "x" }
"""


def test_steps_follow_what_they_need_in_the_order_of_the_file(tmp_path: Path) -> None:
    workflow = load(tmp_path, DIAMOND)
    assert workflow.steps["last"].dependencies == ("right", "left")
    assert step_order(workflow, []) == ("first", "right", "left", "last")
    assert step_order(workflow, ["left"]) == ("first", "left")
    assert step_order(workflow, ["other", "right"]) == ("other", "first", "right")


def test_a_target_can_be_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = load(tmp_path, DIAMOND)
    assert step_order(workflow, ["r.txt"]) == ("first", "right")
    assert step_order(workflow, [f"{tmp_path}/l/"]) == ("first", "left")
    monkeypatch.chdir(tmp_path / "data")
    assert step_order(workflow, ["../l"]) == ("first", "left")


def test_an_unknown_target_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no step or output `rihgt`") as caught:
        step_order(load(tmp_path, DIAMOND), ["rihgt"])
    assert caught.value.hint == "did you mean `right`?"
    assert caught.value.exit_code == 2


def test_the_name_of_an_output_as_target_leads_to_its_step(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no step or output `rows`") as caught:
        step_order(load(tmp_path, PARALLEL), ["rows"])
    assert caught.value.hint == "`rows` is the name of an output: write its step `p`, or its path `rows.csv`"


@pytest.mark.fault("K4")
@pytest.mark.parametrize(
    ("dependencies", "cycle"),
    [
        ({"a": [], "b": ["a"]}, None),
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        ({"z": ["a"], "a": ["b", "x"], "b": ["c"], "c": ["a"], "x": []}, ("a", "b", "c", "a")),
    ],
)
def test_the_cycle_is_found(dependencies: dict[str, list[str]], cycle: tuple[str, ...] | None) -> None:
    assert find_cycle(dependencies) == cycle


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3, unique=True)))
def test_a_found_cycle_is_one_and_none_is_missed(edges: dict[str, list[str]]) -> None:
    graph = {name: [one for one in edges.get(name, []) if one in edges] for name in edges}
    cycle = find_cycle(graph)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[before] for before, after in itertools.pairwise(cycle))
    else:
        done: set[str] = set()
        while ready := [name for name in graph if name not in done and done >= set(graph[name])]:
            done.update(ready)
        assert done == set(graph)


def test_a_chain_of_thousands_needs_no_stack(tmp_path: Path) -> None:
    graph = {str(number): [str(number + 1)] if number < 5000 else [] for number in range(5001)}
    assert find_cycle(graph) is None
    graph["5000"] = ["0"]
    cycle = find_cycle(graph)
    assert cycle is not None
    assert len(cycle) == 5002


def test_a_long_cycle_is_shown_short(tmp_path: Path) -> None:
    text = "".join(f"steps.s{number} = {{ run = 'x', after = ['s{(number + 1) % 40}'] }}\n" for number in range(40))
    message = refused(tmp_path, text).diagnostics[0].message
    assert message.startswith("steps wait for each other: `s0` → `s1` → ")
    assert message.endswith("`s7` → … 31 more … → `s39` → `s0`")
