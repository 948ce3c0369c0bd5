"""The starter project, and what is imported when."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.errors import RefusedError
from batchflow.workflow import load_workflow, starter


def test_the_starter_is_a_workflow_without_fault(tmp_path: Path) -> None:
    written = starter(tmp_path / "new")
    assert {path.relative_to(tmp_path / "new").as_posix() for path in written} == {
        "workflow.toml",
        "count_bytes.py",
        *(f"data/{name}.txt" for name in ("one", "three", "ten", "empty", "newline")),
    }
    workflow = load_workflow(tmp_path / "new/workflow.toml", environ={})
    assert (workflow.name, workflow.default) == ("count-bytes", ("count",))
    parallel = workflow.steps["count"].parallel
    assert parallel is not None
    assert (parallel.mini_batch_size, parallel.output_format) == (2, "csv")


def test_its_entry_script_counts_bytes(tmp_path: Path) -> None:
    starter(tmp_path)
    module: dict[str, object] = {}
    exec(compile((tmp_path / "count_bytes.py").read_text(), "count_bytes.py", "exec"), module)
    module["init"]()  # type: ignore[operator]
    paths = [str(tmp_path / "data" / name) for name in ("ten.txt", "empty.txt", "newline.txt")]
    assert module["run"](paths) == [  # type: ignore[operator]
        {"file": "ten.txt", "bytes": 10},
        {"file": "empty.txt", "bytes": 0},
        {"file": "newline.txt", "bytes": 1},
    ]


@pytest.mark.parametrize("name", ["workflow.toml", "data/ten.txt"])
def test_nothing_is_overwritten_and_nothing_is_written_beside_it(tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(RefusedError, match=f"refused, nothing written: {name} in .* already there"):
        starter(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import batchflow.workflow

    with pytest.raises(AttributeError, match="no attribute 'load'"):
        _ = batchflow.workflow.load
