"""Whatever the file holds: a workflow or a ``WorkflowError``, nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from unit.workflow.test_good_files import MNIST
from unit.workflow.workflow_files import PARALLEL, make_folder

from batchflow.errors import WorkflowError
from batchflow.workflow import load_workflow, rules
from batchflow.workflow.values import Workflow

KEYS = st.sampled_from(
    [
        *("schema", "name", "default", "params", "datasets", "models", "steps", "a", "p", "run", "call", "parallel"),
        *("inputs", "outputs", "after", "args", "files", "path", "help", "entry_script", "over", "mini_batch_size"),
        *("arguments", "append_row_to", "workers", "error_threshold", "environment_variables", "type", "min"),
        *("choices", "pattern", "output_action", "failed_to", "side_inputs"),
        *("table", "format", "delimiter", "quote", "encoding", "columns", "null_values", "sample_rows"),
        *("partition_keys", "partition_format", "as", "output_format"),
    ]
)
LEAVES = st.one_of(
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        [
            *("${params.a}", "${outputs.a}", "${steps.a.outputs.a}", "${inputs.a}", "${models.a}", "${datasets.a}"),
            *("$${x}", "data/", "data.csv", "*.png", "score.py", "tasks:main", "summary_only", "1%", "2 min", "int"),
            *("path", "list", "", "*.csv", "d.parquet", "csv", "utf-16", "1 MiB", "10 rows", "{a}/{b}.wav", "int64?"),
        ]
    ),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
FILES = st.dictionaries(KEYS, TREES, max_size=6)
PEOPLE = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)


def as_toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value).replace("\x7f", "\\u007F") if not isinstance(value, str) else quoted(value)


def quoted(text: str) -> str:
    return (
        '"' + "".join(one if " " <= one < "\x7f" and one not in '"\\' else f"\\U{ord(one):08X}" for one in text) + '"'
    )


def try_load(path: Path) -> Workflow | WorkflowError:
    try:
        return load_workflow(path, environ={}, caller_folder=path.parent)
    except WorkflowError as error:
        assert str(error)
        assert "\x1b" not in str(error)
        return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("fuzz")).parent


@pytest.mark.fault("K16")
@PEOPLE
@given(tree=FILES)
@example(tree={"steps": {"a": {"run": "x", "outputs": {"a": "a"}, "inputs": {"a": "${steps.a.outputs.a}"}}}})
@example(tree={"params": {"a": []}, "steps": {"a": {"parallel": {"entry_script": "${params.a}"}}}})
@example(tree={"params": 1, "datasets": [], "models": "", "steps": {"a": 1}})
@example(tree={"steps": {"a": {"inputs": [], "outputs": 1, "after": [1], "args": [], "parallel": []}}})
@example(tree={"models": {"a": {"path": "${models.a}"}}, "steps": {"a": {"run": [], "call": "é:é"}}})
def test_any_tree(tree: dict[str, object], folder: Path) -> None:
    text = "".join(f"{json.dumps(key)} = {as_toml(value)}\n" for key, value in tree.items())
    path = folder / "workflow.toml"
    path.write_text(text)
    result = try_load(path)
    assert "not valid TOML" not in str(result), text


SMALL = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), LEAVES, max_size=2)


@settings(PEOPLE, max_examples=400)
@given(
    dataset=st.dictionaries(st.sampled_from([*rules.DATASET.keys, "x"]), SMALL, max_size=4),
    parallel=st.dictionaries(
        st.sampled_from(["over", "mini_batch_size", "partition_keys", "as", "x"]), SMALL, max_size=3
    ),
    kind=st.sampled_from(["files", "table"]),
)
def test_any_dataset(dataset: dict[str, object], parallel: dict[str, object], kind: str, folder: Path) -> None:
    step = {
        "inputs": {"a": "${datasets.d}"},
        "outputs": {"a": "a.csv"},
        "parallel": {"entry_script": "score.py"} | parallel,
    }
    tree = {"datasets": {"d": {kind: "*.csv"} | dataset}, "steps": {"a": step}}
    path = folder / "workflow.toml"
    path.write_text("".join(f"{json.dumps(key)} = {as_toml(value)}\n" for key, value in tree.items()))
    try_load(path)


@pytest.mark.fault("K16")
@PEOPLE
@given(data=st.data())
def test_any_damage_to_a_good_file(data: st.DataObject, folder: Path) -> None:
    raw = data.draw(st.sampled_from([MNIST, PARALLEL])).encode()
    start = data.draw(st.integers(0, len(raw)))
    end = data.draw(st.integers(start, min(len(raw), start + 20)))
    middle = data.draw(st.binary(max_size=4) | st.text(alphabet="[]{}=\"'.${}#\n\\", max_size=6).map(str.encode))
    path = folder / "workflow.toml"
    path.write_bytes(raw[:start] + middle + raw[end:])
    try_load(path)


@pytest.mark.fault("K16")
@PEOPLE
@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes, folder: Path) -> None:
    path = folder / "workflow.toml"
    path.write_bytes(data)
    try_load(path)


@PEOPLE
@given(override=st.text(alphabet="a.pstew=[{\"'1\n$", max_size=20))
def test_any_override(override: str, folder: Path) -> None:
    path = folder / "workflow.toml"
    path.write_text(PARALLEL)
    try:
        load_workflow(path, environ={}, overrides=[f"steps.p.{override}", override], caller_folder=folder)
    except WorkflowError as error:
        assert "--set" in str(error)
