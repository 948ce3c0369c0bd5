"""Old signature, new signature → reasons, row by row."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.runner.builders import Flow

from batchflow.runner.freshness import compare, compare_outputs, judge, states
from batchflow.runner.signature import NEVER_STALE, settings_of, settle_code
from batchflow.workflow.values import ParallelSettings, Position, Threshold

FILE = {"kind": "file", "size": 1234, "mtime_ns": 10**18}
LISTING = {"kind": "files", "count": 10_000, "digest": "aa"}


def signature(**keys: Any) -> dict[str, Any]:
    return {
        "settings": {"run": "tool --limit 200"},
        "params": {"limit": 200},
        "inputs": {"images": LISTING},
        "code": {"tool.py": "d1", "log.txt": None},
        "upstream": {"prepare": "r1"},
    } | keys


def reasons(tmp_path: Path, **keys: Any) -> list[str]:
    flow = Flow(tmp_path, params={"limit": 500}).run("prepare", "true", outputs={"images": "images/"})
    flow.run("predict", "tool", inputs={"images": "prepare.images"}, params=("limit",))
    workflow = flow.build()
    return [one.describe() for one in compare(signature(), signature(**keys), workflow.steps["predict"], workflow)]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"inputs": {}}, []),
        (
            {"settings": {"run": "tool --limit 500"}, "params": {"limit": 500}},
            ["parameter changed limit: 200 → 500"],
        ),
        # The value counts only through the settings that count.
        ({"params": {"limit": 500}}, []),
        (
            {"settings": {"run": "tool --all"}},
            ["setting changed run: tool --limit 200 → tool --all"],
        ),
        (
            {"settings": {"run": "tool2 --limit 500"}, "params": {"limit": 500}},
            ["setting changed run: tool --limit 200 → tool2 --limit 500"],
        ),
        (
            {"settings": {"run": "tool --limit 200", "outputs.x": "y"}},
            ["setting changed outputs.x: - → y"],
        ),
        ({"inputs": {"images": LISTING | {"count": 10_002}}}, ["input changed images: 10,000 files → 10,002 files"]),
        (
            {"inputs": {"images": LISTING | {"digest": "bb"}}},
            ["input changed images: 10,000 files → 10,000 files, some other or edited"],
        ),
        ({"inputs": {"images": FILE}}, ["input changed images: 10,000 files → 1,234 bytes"]),
        ({"code": {"tool.py": "d2", "log.txt": "x"}}, ["code changed tool.py"]),
        ({"code": {"log.txt": None}}, ["code changed tool.py: no longer used"]),
        ({"code": {"tool.py": "d1", "new.py": "d"}}, ["code changed new.py: new"]),
        ({"upstream": {"prepare": "r2"}}, ["upstream prepare: r1 → r2"]),
        ({"upstream": {}}, []),
    ],
)
def test_each_change_is_one_reason(tmp_path: Path, changed: dict[str, Any], expected: list[str]) -> None:
    assert reasons(tmp_path, **changed) == expected


LOOSE = {"error_threshold": Threshold(count=-1)}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["error_threshold: 50 items failed, 0 are tolerated"]),
        ({"error_threshold": Threshold(count=50)}, []),
        ({"error_threshold": Threshold(percent=16)}, ["error_threshold: 50 items failed, 48 are tolerated"]),
        ({"error_threshold": Threshold(percent=17)}, []),
        (LOOSE, []),
        (LOOSE | {"mini_batch_error_threshold": Threshold(count=5)}, []),
        (
            LOOSE | {"mini_batch_error_threshold": Threshold(count=4)},
            ["mini_batch_error_threshold: 5 mini-batches failed, 4 are tolerated"],
        ),
        (
            LOOSE | {"allowed_failed_percent": 16.0},
            ["allowed_failed_percent: 16.7 % of the mini-batches failed, 16 % are tolerated"],
        ),
    ],
)
def test_a_past_success_is_judged_by_the_thresholds_of_now(
    tmp_path: Path, settings: dict[str, Any], expected: list[str]
) -> None:
    receipt = {"items_in": 300, "succeeded": 250, "failed": 50, "mini_batches": 30, "failed_mini_batches": 5}
    place = Position(tmp_path / "flow.toml", 9, 1)
    keys = {f"parallel.{name}": place for name in settings} or {"parallel.error_threshold": place}
    parallel = ParallelSettings(tmp_path / "score.py", tmp_path, ("images",), **settings)
    step = Flow(tmp_path).parallel("p", parallel, key_positions=keys).steps["p"]
    reasons = judge(receipt, step)
    assert [one.describe() for one in reasons] == expected
    assert [(one.kind, one.position) for one in reasons] == [("threshold", place)] * len(expected)
    assert judge(receipt, Flow(tmp_path).run("p", "true").steps["p"]) == []


LONG = "tool " + "--same " * 40


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a\nb\nc\n", "a\n  b2\nc\n", "line 2: b → b2"),
        ("a\nb\n", "a\n", "line 2: b → no line"),
        ("a\n", "a\n\nb", "line 2: no line → an empty line"),
        ("a", "a\nb", "line 2: no line → b"),
        ("a\nb", "a\nb\n", "the ends of its lines → others"),
        (f"{LONG}--old 1", f"{LONG}--new 1", f"…{LONG[-58:]}--old 1 → …{LONG[-58:]}--new 1"),
        (["x", "a\nb"], ["x", "c\nb"], '["x", "a\\nb"] → ["x", "c\\nb"]'),
        ("", "x", " → x"),
    ],
)
def test_of_long_settings_the_first_difference_is_shown(tmp_path: Path, old: Any, new: Any, expected: str) -> None:
    workflow = Flow(tmp_path).run("predict", "x").build()
    was, now = (
        {"settings": {"run": one}, "params": {}, "inputs": {}, "code": {}, "upstream": {}} for one in (old, new)
    )
    (reason,) = compare(was, now, workflow.steps["predict"], workflow)
    assert reason.describe() == f"setting changed run: {expected}"


def test_states_of_one_size_differ_by_their_times() -> None:
    was, now = states(FILE, FILE | {"mtime_ns": 10**18 + 5 * 10**9})
    assert was.startswith("1,234 bytes of 2001-09-")
    assert now.startswith("1,234 bytes of 2001-09-")
    assert was != now


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (FILE, FILE, []),
        (FILE, {"kind": "missing"}, ["output missing table"]),
        (FILE, FILE | {"size": 10}, ["output changed table: 1,234 bytes → 10 bytes"]),
    ],
)
def test_outputs_are_compared_with_what_the_last_success_left(
    tmp_path: Path, old: dict[str, Any], new: dict[str, Any], expected: list[str]
) -> None:
    step = Flow(tmp_path).run("make", "x", outputs={"table": "t.csv"}).steps["make"]
    assert [one.describe() for one in compare_outputs({"table": old}, {"table": new}, step)] == expected


def test_a_reason_names_the_place_in_the_file(tmp_path: Path) -> None:
    flow = Flow(tmp_path, params={"limit": 500}).run("predict", "x", params=("limit",))
    place = Position(flow.path, 12, 3)
    flow.change("predict", key_positions={"run": place})
    workflow, step = flow.build(), flow.steps["predict"]
    new = signature(settings={"run": "other"}, upstream={})
    (reason,) = compare(signature(upstream={}), new, step, workflow)
    assert reason.position == place
    new = signature(settings={"run": "tool --limit 500"}, params={"limit": 500}, upstream={})
    (reason,) = compare(signature(upstream={}), new, step, workflow)
    assert reason.position == Position(flow.path, 3, 9)


def test_what_says_only_how_a_step_is_run_is_no_setting(tmp_path: Path) -> None:
    plain = ParallelSettings(tmp_path / "score.py", tmp_path, ("images",))
    tuned = ParallelSettings(
        tmp_path / "score.py",
        tmp_path,
        ("images",),
        workers=3,
        error_threshold=Threshold(percent=1.0),
        mini_batch_error_threshold=Threshold(count=2),
        allowed_failed_percent=5.0,
        run_invocation_timeout_s=1.0,
        init_timeout_s=1.0,
        progress_update_timeout_s=1.0,
        run_max_try=9,
        logging_level="DEBUG",
        allow_reuse=False,
        durability="process",
    )
    assert len(NEVER_STALE) == 14
    first, second = (Flow(tmp_path).parallel("p", one).steps["p"] for one in (plain, tuned))
    assert settings_of(first, tmp_path) == settings_of(second, tmp_path)
    larger = ParallelSettings(tmp_path / "score.py", tmp_path, ("images",), mini_batch_size=20)
    third = Flow(tmp_path).parallel("p", larger).steps["p"]
    assert settings_of(first, tmp_path) != settings_of(third, tmp_path)


@pytest.mark.parametrize(("unit", "size"), [("items", 20), ("bytes", "20 bytes"), ("rows", "20 rows")])
def test_settings_are_named_as_in_the_file(unit: Any, size: object, tmp_path: Path) -> None:
    settings = ParallelSettings(
        tmp_path / "score.py", tmp_path, ("a", "b"), mini_batch_size=20, mini_batch_unit=unit, frame="arrow"
    )
    found = settings_of(Flow(tmp_path).parallel("p", settings).steps["p"], tmp_path)
    assert (found["parallel.as"], found["parallel.mini_batch_size"]) == ("arrow", size)
    assert found["parallel.over"] == ["a", "b"]
    assert "parallel.frame" not in found
    assert "parallel.mini_batch_unit" not in found
    alone = Flow(tmp_path).parallel("p", replace(settings, over=("a",))).steps["p"]
    assert settings_of(alone, tmp_path)["parallel.over"] == "a"


@pytest.mark.fault("K13")
def test_settings_do_not_hold_the_folder_nor_secrets(tmp_path: Path) -> None:
    settings = ParallelSettings(
        tmp_path / "score.py", tmp_path, ("images",), environment_variables={"TOKEN": "hunter2"}
    )
    flow = Flow(tmp_path).parallel("p", settings, inputs={"images": ["a/*.png"]}, outputs={"rows": "build/rows.csv"})
    found = settings_of(flow.steps["p"], tmp_path)
    assert str(tmp_path) + "/" not in repr(found)
    assert "hunter2" not in repr(found)
    assert found["inputs.images"] == ["a/*.png"]
    assert found["outputs.rows"] == "build/rows.csv"
    assert found["parallel.entry_script"] == "score.py"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{folder}", "."),
        ("{folder}/", ""),
        ("{folder}/a b.txt", "a b.txt"),
        ("cd {folder} && cat {folder}/x '{folder}/y'; ls {folder};", "cd . && cat x 'y'; ls .;"),
        ("{folder}2/x", "{folder}2/x"),
        ("{folder}.old", "{folder}.old"),
        ("/mnt{folder}/x", "/mnt{folder}/x"),
    ],
)
def test_settings_do_not_depend_on_where_the_folder_lies(tmp_path: Path, text: str, expected: str) -> None:
    step = Flow(tmp_path).run("p", text.format(folder=tmp_path)).steps["p"]
    assert settings_of(step, tmp_path)["run"] == expected.format(folder=tmp_path)


def test_quotes_that_only_the_name_of_the_folder_needs_do_not_count(tmp_path: Path) -> None:
    plain, spaced = Path("/home/me/project"), Path("/home/me/my project")
    commands = {plain: "sort {0}/x.csv '{0}/a b'", spaced: "sort '{0}/x.csv' '{0}/a b'"}
    for folder, command in commands.items():
        step = Flow(tmp_path).run("p", command.format(folder)).steps["p"]
        assert settings_of(step, folder)["run"] == "sort x.csv 'a b'"


def test_files_that_the_step_made_itself_are_no_code() -> None:
    before = {"a.py": "1", "b.log": "2", "c.cfg": "3"}
    after = {"a.py": "1*", "b.log": "2*", "c.cfg": "3", "made.log": "4"}
    expected = {"a.py": "1", "b.log": "2*", "c.cfg": "3", "made.log": None}
    assert settle_code(before, after, {}) == (expected, ["b.log"])
    assert settle_code(before, after, {"b.log": None}) == (expected | {"b.log": None}, [])
