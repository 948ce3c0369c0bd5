"""``batchflow run`` over tables: what comes out, what goes wrong in them, and what is told."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from system.cli.tables import (
    FILES,
    ROWS,
    call,
    csv_text,
    expected,
    failed,
    make_project,
    output,
    receipt,
    rows_of,
    state,
    succeeds,
    write_workflow,
)
from system.cli.test_interrupted_runs import killed_at


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "csv.zst", "jsonl", "jsonl.gz", "parquet", "arrow"])
def test_the_rows_of_a_table_come_out_in_order(kind: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", kind)
    succeeds(project)
    assert output(project) == expected()
    found = receipt(project)
    assert (found["items_in"], found["succeeded"], found["rows_out"]) == (FILES * ROWS, FILES * ROWS, FILES * ROWS)
    files = [{"file": f"{project}/data/{file}.{kind}", "rows": ROWS, "failed": 0} for file in range(FILES)]
    assert found["details"]["inputs"] == {"rows": {"items": FILES * ROWS, "failed": 0, "files": files}}
    assert "nothing to do" in succeeds(project)
    assert "600 items = 600 rows + 0 failed" in call(project, "verify").stdout


@pytest.mark.parametrize(
    ("size", "count"), [("1KB", None), ("70 rows", 9), ("1_000 rows", 3), ("1 MiB", 3), ("1 rows", 600)]
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_mini_batches_are_of_bytes_or_rows_and_never_of_two_files(
    size: str, count: int | None, kind: str, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "p", kind, size=size, workers=1)
    succeeds(project)
    assert output(project) == expected()
    if count is not None and (kind, size) != ("parquet", "1 MiB"):
        assert receipt(project)["mini_batches"] == count


CONTEXT = """\
def run(mini_batch, context):
    one = context.dataset
    assert len(mini_batch) == context.item_count
    assert list(mini_batch.index) == list(range(len(mini_batch)))
    first = one.ranges[0][0]
    return [f"{context.mini_batch_index} {one.name} {first + k} {one.file[-5:]} {one.rows[0] + k} {row}"
            for k, row in enumerate(mini_batch["id"])]
"""


def test_a_script_is_told_where_its_rows_are(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", size="70 rows")
    (project / "score.py").write_text(CONTEXT)
    text = (project / "workflow.toml").read_text().replace("out/rows.csv", "out/rows.txt")
    (project / "workflow.toml").write_text(text)
    succeeds(project)
    lines = (project / "out/rows.txt").read_text().splitlines()
    assert lines == [
        f"{3 * file + k // 70} rows {ROWS * file + k} {file}.csv {k} {1000 * file + k}"
        for file in range(FILES)
        for k in range(ROWS)
    ]


# Interrupted


@pytest.mark.parametrize("kind", ["csv", "jsonl.gz", "parquet"])
def test_killed_runs_go_on_and_the_bytes_are_the_same(kind: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", kind)
    for place in ("after_pwrite", "before_commit", "resume_verified", "after_commit"):
        killed_at(place, project)
    said = succeeds(project)
    assert "goes on: " in said
    assert output(project) == expected()


def test_a_resume_goes_on_with_the_mini_batches_of_the_first_run(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", size="20 rows")
    killed_at("before_commit", project)
    write_workflow(project, size="7 rows", workers=1)
    said = succeeds(project)
    assert "mini-batches stay as the first run of the step made them" in said
    assert (output(project), receipt(project)["mini_batches"]) == (expected(), 30)


@pytest.mark.parametrize("what", ["removed", "damaged"])
def test_an_index_that_is_gone_is_made_again(what: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    killed_at("after_commit", project)
    index = state(project, "rows-rows.index")
    if what == "removed":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-9] + b"damaged!!")
    assert "goes on: " in succeeds(project)
    assert output(project) == expected()


@pytest.mark.fault("J19")
def test_a_table_that_changed_in_between_begins_anew(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    killed_at("after_commit", project)
    with (project / "data/2.csv").open("a") as file:
        file.write("2200,100.0,d\n")
    said = succeeds(project)
    assert "begins anew (files of input rows were added, removed or changed)" in said
    assert output(project) == expected() + b"2200,200.0,1\n"


def test_options_that_say_what_a_record_is_keep_nothing(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    killed_at("after_commit", project)
    write_workflow(project, options='delimiter = ";"')
    said = call(project, "plan").stdout
    assert "setting changed inputs.rows.delimiter: , → ;" in said
    assert "begins anew" in said


# What is wrong with the data


def spoil(project: Path, file: int, row: int, **values: Any) -> None:
    rows = rows_of(file)
    rows[row] |= values
    (project / f"data/{file}.csv").write_bytes(csv_text(rows).encode())


@pytest.mark.parametrize("size", ["1KB", "1 MiB"])
def test_a_value_that_does_not_fit_costs_its_row_alone_which_is_named(size: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", size=size, options="sample_rows = 10", settings="error_threshold = 1")
    spoil(project, 1, 123, x="none at all")
    said = succeeds(project)
    assert "1 item of step score failed" in said
    (entry,) = failed(project)
    text = (project / "data/1.csv").read_bytes()
    begin, end = entry["item"]["bytes"]
    assert entry["item"] == {"file": f"{project}/data/1.csv", "row": 123, "bytes": [begin, end]}
    assert text[begin:end].startswith(b"1123,none at all,")
    assert text[begin:end].count(b"1123") == 1
    for piece in ("1.csv", "'x'", "none at all", "double"):
        assert piece in entry["message"], entry["message"]
    assert output(project) == expected().replace(b"1123,123.0,1\n", b"")
    assert [one["failed"] for one in receipt(project)["details"]["inputs"]["rows"]["files"]] == [0, 1, 0]
    assert "1.csv, row 123" in said


def test_what_failed_is_done_again_and_comes_into_its_place(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", settings="error_threshold = 2\nrun_max_try = 1")
    script = (project / "score.py").read_text()
    (project / "score.py").write_text(
        script.replace(
            "def run(mini_batch):", "def run(mini_batch):\n    assert not {17, 1150} & set(mini_batch['id'])"
        )
    )
    assert "2 items of step score failed" in succeeds(project)
    assert [one["item"]["row"] for one in failed(project)] == [17, 150]
    (project / "score.py").write_text(script)
    succeeds(project, "retry")
    assert (output(project), failed(project)) == (expected(), [])
    assert call(project, "verify").returncode == 0


def test_what_failed_for_its_type_is_done_again_with_another_schema(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", options="sample_rows = 10", settings="error_threshold = 1")
    spoil(project, 1, 123, id="")
    assert 'hint: declare it: schema = { id = "int64?" }' in failed_message(succeeds(project), project)
    write_workflow(project, options='sample_rows = 10\nschema = { id = "int64?" }', settings="error_threshold = 1")
    said = succeeds(project, "retry")
    assert "inputs.rows.schema" in said
    assert (output(project), failed(project)) == (expected().replace(b"1123,123.0,1\n", b",123.0,1\n"), [])
    assert "nothing to do" in succeeds(project)


def failed_message(said: str, project: Path) -> str:
    (entry,) = failed(project)
    assert "1 item of step score failed" in said
    return str(entry["message"])


def test_a_corrected_file_is_other_rows_which_a_retry_says(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", options="sample_rows = 10", settings="error_threshold = 1")
    spoil(project, 1, 123, x="none at all")
    succeeds(project)
    spoil(project, 1, 123)
    done = call(project, "retry")
    assert done.returncode == 6, done.stderr
    assert "files of input rows were added, removed or changed" in done.stderr
    assert "batchflow run" in done.stderr
    succeeds(project)
    assert (output(project), failed(project)) == (expected(), [])


def test_too_few_elements_are_candidates_by_file_and_rows(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", size="70 rows", settings="error_threshold = 1")
    with (project / "score.py").open("a") as file:
        file.write("    return frame\ndef run(mini_batch, whole=run):\n    found = whole(mini_batch)\n")
        file.write("    return found[1:] if 1070 in list(mini_batch['id']) else found\n")
    succeeds(project)
    (entry,) = failed(project)
    (candidates,) = entry["candidates"]
    begin, end = candidates["bytes"]
    assert candidates == {"file": f"{project}/data/1.csv", "rows": [70, 140], "bytes": [begin, end]}
    assert (project / "data/1.csv").read_bytes()[begin:].startswith(b"1070,")
    assert call(project, "verify").returncode == 0


@pytest.mark.fault("J10", "J16")
def test_files_of_different_headers_are_refused_with_the_difference(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    text = (project / "data/1.csv").read_text()
    (project / "data/1.csv").write_text(text.replace("id,x,name", "id,y,name", 1))
    done = call(project)
    assert done.returncode == 3, done.stderr
    for piece in ("data/1.csv", "'x'", "'y'"):
        assert piece in done.stderr, done.stderr


@pytest.mark.fault("J9")
@pytest.mark.parametrize("text", ["", "id,x,name\n"])
def test_a_table_without_rows_is_refused(text: str, tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    for file in range(FILES):
        (project / f"data/{file}.csv").write_text(text)
    done = call(project)
    assert done.returncode == 3, done.stderr
    assert "no rows" in done.stderr or "empty" in done.stderr, done.stderr


@pytest.mark.skipif(find_spec("polars") is not None, reason="polars is there")
def test_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", settings='as = "polars"')
    done = call(project)
    assert done.returncode == 3, done.stderr
    assert 'as = "polars" needs polars\nhint: pip install polars' in done.stderr


def test_frames_of_arrow(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", settings='as = "arrow"')
    (project / "score.py").write_text(
        "import pyarrow as pa\nimport pyarrow.compute as pc\n"
        "def run(mini_batch):\n"
        "    assert type(mini_batch) is pa.Table\n"
        "    words = pc.add(pc.count_substring(mini_batch['name'], ' '), 1)\n"
        "    columns = [mini_batch['id'], pc.multiply(mini_batch['x'], 2), words]\n"
        "    return pa.table(columns, names=['id', 'y', 'words'])\n"
    )
    succeeds(project)
    assert output(project) == expected()


def test_a_mistyped_pattern_says_what_is_there(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    write_workflow(project, table="dta/*.csv")
    done = call(project)
    assert done.returncode == 3, done.stderr
    assert "there is no folder" in done.stderr
    assert "did you mean data?" in done.stderr
