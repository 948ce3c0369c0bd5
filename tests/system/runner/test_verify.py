"""``verify`` on a project that really ran: what is whole, damaged, interrupted; nothing is changed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from batchflow.cli.verify import Ways, verify_json, verify_lines
from batchflow.errors import RefusedError, UsageError
from batchflow.journal.lock import WorkflowLock
from batchflow.runner import run_workflow, verify_workflow
from batchflow.runner.values import RunOptions
from batchflow.workflow import load_workflow

WORKFLOW = """\
schema = 1
default = ["count", "name"]

[datasets.texts]
files = "in/*.txt"

[steps.score]
inputs = { texts = "${datasets.texts}" }
outputs = { rows = "build/rows.csv", parts = "build/parts/" }

[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = 3
workers = 2
append_row_to = "rows"
error_threshold = -1
run_max_try = 1

[steps.summary]
inputs = { texts = "${datasets.texts}" }
outputs = { files = "build/files/" }

[steps.summary.parallel]
entry_script = "score.py"
output_action = "summary_only"
error_threshold = -1

[steps.count]
run = "wc -l < ${inputs.rows} > ${outputs.count} && mkdir ${outputs.more}/a && echo x > ${outputs.more}/a/b"
inputs = { rows = "${steps.score.outputs.rows}" }
outputs = { count = "build/count.txt", more = "build/more/" }

[steps.name]
call = "naming:main"
outputs = { name = "build/name.txt" }
after = ["summary"]
"""
SCRIPT = """\
import os
def run(mini_batch, context):
    names = [os.path.basename(path) for path in mini_batch]
    if "13.txt" in names:
        raise ValueError("unlucky")
    if "02.txt" in names:
        names.pop()
    with open(os.path.join(context.output_dir, names[0]), "w") as file:
        file.write("x")
    return [{"name": name, "length": len(name)} for name in names]
"""
NAMING = "def main(inputs, outputs, args):\n    open(outputs['name'], 'w').write('me')\n"
STATE = ".batchflow/workflow/steps"
ROWS = "name,length\n" + "".join(f"{number:02}.txt,6\n" for number in range(20) if number not in (2, 13))


def crc32c(data: bytes) -> int:
    """Bit by bit, as the polynomial says."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


CHECKSUM = f"crc32c:{crc32c(ROWS.encode()):08x}"
WHOLE = [
    f"score: 20 items = 18 rows + 2 failed, 174 B, {CHECKSUM}, ok",
    "summary: 20 items = 18 succeeded + 2 failed, ok",
    "count: 2 outputs as recorded, ok",
    "name: 1 output as recorded, ok",
    "everything is as it was written",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after a run; tests get copies."""
    return make_project(tmp_path_factory.mktemp("finished") / "project")


def make_project(folder: Path) -> Path:
    """A project that has run once."""
    (folder / "in").mkdir(parents=True)
    for number in range(20):
        (folder / f"in/{number:02}.txt").touch()
    for name, text in {"workflow.toml": WORKFLOW, "score.py": SCRIPT, "naming.py": NAMING}.items():
        (folder / name).write_text(text)
    record = run_workflow(load_workflow(folder / "workflow.toml"), RunOptions())
    assert record.exit_code == 0, [step.error for step in record.steps.values()]
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def lines(folder: Path, *steps: str) -> list[str]:
    return verify_lines(verify_workflow(load_workflow(folder / "workflow.toml"), steps), folder, Ways())


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Everything below ``folder``; the index of a write-ahead log is nobody's memory."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.name.endswith("-shm")
    }


def test_what_is_whole_is_said_in_one_line_for_each_step_and_nothing_is_changed(project: Path) -> None:
    before = contents(project)
    assert lines(project) == WHOLE
    assert lines(project, "count") == [WHOLE[2], WHOLE[-1]]
    assert contents(project) == before


def flip(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def sql(statement: str) -> Callable[[Path], None]:
    def change(project: Path) -> None:
        with sqlite3.connect(project / STATE / "score/journal.db") as database:
            assert database.execute(statement).rowcount == 1
        database.close()

    return change


def same_times(path: Path, change: Callable[[Path], object]) -> None:
    info = path.stat()
    change(path)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "step", "first"),
    [
        (lambda p: flip(p / "build/rows.csv", 0), "score", "build/rows.csv, offset=0: the header is another one, exp"),
        (
            lambda p: flip(p / "build/rows.csv", 12),
            "score",
            "build/rows.csv, offset=12: the rows of items 0 to 2 are d",
        ),
        (
            lambda p: flip(p / "build/rows.csv", 173),
            "score",
            "build/rows.csv, offset=",
        ),
        (
            lambda p: os.truncate(p / "build/rows.csv", 100),
            "score",
            "build/rows.csv, offset=100: it is shorter than wha",
        ),
        (
            lambda p: os.truncate(p / "build/rows.csv", 175),
            "score",
            "build/rows.csv, offset=174: it is longer than what",
        ),
        (lambda p: (p / "build/rows.csv").unlink(), "score", "build/rows.csv: it is missing"),
        (
            lambda p: (p / "build/parts/new").touch(),
            "score",
            "build/parts: it is not what the step wrote, expected=8 files, found=9 files",
        ),
        (lambda p: flip(p / STATE / "score/receipt.json", 4), "score", "score/receipt.json: "),
        (lambda p: (p / STATE / "score/receipt.json").unlink(), "score", "score/receipt.json: it is missing"),
        (
            lambda p: replace(p / STATE / "score/receipt.json", '"rows_out": 18', '"rows_out": 19'),
            "score",
            "score/receipt.json: rows_out is not what the journal says, expected=18, found=19",
        ),
        (
            lambda p: replace(p / STATE / "summary/receipt.json", '"workers": ', '"workers": 1'),
            "summary",
            "summary/receipt.json: workers is not what was recorded, expected=",
        ),
        (
            lambda p: replace(p / STATE / "score/failed.jsonl", "unlucky", "lucky"),
            "score",
            "score/failed.jsonl, offset=",
        ),
        (lambda p: (p / STATE / "score/failed.jsonl").unlink(), "score", "score/failed.jsonl: it is missing"),
        (lambda p: (p / STATE / "score/journal.db").unlink(), "score", "score/journal.db: it is missing"),
        (
            lambda p: flip(p / STATE / "score/journal.db", 3),
            "score",
            "score/journal.db: the journal of the step is dam",
        ),
        (
            sql("UPDATE extents SET offset = offset + 1 WHERE first_item = 0"),
            "score",
            "score/journal.db: the journal of the step is damaged: the extents do not add up",
        ),
        (sql("UPDATE extents SET returned = 7 WHERE first_item = 0"), "score", "score/journal.db: the journal of the "),
        (
            sql("DELETE FROM extents WHERE first_item = 0"),
            "score",
            "score/journal.db: the journal of the step is damag",
        ),
        (
            lambda p: same_times(p / "build/count.txt", lambda path: path.write_text("99\n")),
            "count",
            "build/count.txt: its content is not what the step wrote",
        ),
        (
            lambda p: (p / "build/count.txt").write_text("1\n"),
            "count",
            "build/count.txt: it is not what the step wrote, expected=3 bytes, found=2 bytes",
        ),
        (
            lambda p: (p / "build/name.txt").unlink(),
            "name",
            "build/name.txt: it is not what the step wrote, expected=2",
        ),
        (
            lambda p: same_times(p / "build/more/a/b", lambda path: path.write_text("y\n")),
            "count",
            "build/more: its content is not what the step wrote",
        ),
        (
            lambda p: same_times(p / "build/parts/00.txt", lambda path: path.write_text("y")),
            "score",
            "build/parts: its content is not what the step wrote",
        ),
        (
            lambda p: replace(p / STATE / "score/failed.jsonl", "/in/13.txt", "/in/31.txt"),
            "score",
            "score/failed.jsonl, offset=0: the checksum is wrong, expected=crc32c:",
        ),
        (
            lambda p: replace(
                p / STATE / "summary/receipt.json", '"failed_checksum": "crc32c:', '"failed_checksum": "'
            ),
            "summary",
            "summary/receipt.json: failed_checksum is not what was recorded, expected=crc32c:",
        ),
        (
            lambda p: shutil.rmtree(p / "build/more/a"),
            "count",
            "build/more: it is not what the step wrote, expected=1 f",
        ),
    ],
)
def test_damage_is_told_with_its_file(damage: Callable[[Path], object], step: str, first: str, project: Path) -> None:
    damage(project)
    before = contents(project)
    found = lines(project)
    at = next(index for index, line in enumerate(found) if line.startswith(f"{step}: "))
    assert "problem" in found[at]
    assert found[at + 1].removeprefix(f"  {STATE}/").strip().startswith(first)
    assert found[-2].endswith(" found, nothing was changed")
    assert found[-1] == f"to make {step} anew: batchflow run {step} -f --restart"
    others = [line for line in WHOLE[:-1] if not line.startswith(f"{step}: ")]
    assert [line for line in found if line in others] == others
    assert contents(project) == before


def test_what_is_too_large_to_be_read_again_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchflow.runner.contents._SIZE_MAX", 3)
    record = run_workflow(load_workflow(project / "workflow.toml"), RunOptions(force_steps=("count",)))
    assert record.exit_code == 0
    assert lines(project, "count") == [
        "count: 2 outputs as recorded, ok; compared by size and time only: build/more",
        "what was read is as it was written",
    ]
    same_times(project / "build/more/a/b", lambda path: path.write_text("y\n"))
    assert lines(project, "count")[-1] == "what was read is as it was written"
    (project / "build/more/a/b").write_text("y\n")
    told = "  build/more: it is not what the step wrote, expected=1 file, found=1 file, some other or edited"
    assert lines(project, "count")[1] == told


def test_files_that_were_only_touched_are_whole(project: Path) -> None:
    for name in ("rows.csv", "count.txt", "name.txt", "more/a/b", "parts/00.txt"):
        os.utime(project / "build" / name, ns=(1, 1))
    assert lines(project) == WHOLE


def test_what_is_declared_elsewhere_now_is_checked_where_it_was_written(project: Path) -> None:
    replace(project / "workflow.toml", "build/rows.csv", "other/rows.csv")
    replace(project / "workflow.toml", "build/count.txt", "other/count.txt")
    assert lines(project) == WHOLE
    flip(project / "build/rows.csv", 20)
    assert lines(project)[1].startswith("  build/rows.csv, offset=12: ")


def test_as_json_every_problem_has_its_place(project: Path) -> None:
    flip(project / "build/rows.csv", 20)
    workflow = load_workflow(project / "workflow.toml")
    value = json.loads(json.dumps(verify_json(workflow.path, verify_workflow(workflow))))
    assert (value["version"], value["ok"]) == (1, False)
    score = value["steps"]["score"]
    assert (score["status"], score["row_count"], score["size"]) == ("succeeded", 18, 174)
    assert (score["committed"]["succeeded"], score["committed"]["failed"], score["committed"]["to_do"]) == (18, 2, 0)
    problem = score["problems"][0]
    assert (problem["path"], problem["offset"]) == (str(project / "build/rows.csv"), 12)
    assert problem["message"] == "the rows of items 0 to 2 are damaged"
    assert problem["expected"].startswith("crc32c:")
    assert value["steps"]["name"]["problems"] == []


def test_a_step_that_is_none_is_refused_and_so_is_a_live_run(project: Path) -> None:
    workflow = load_workflow(project / "workflow.toml")
    with pytest.raises(UsageError, match="there is no step scor") as caught:
        verify_workflow(workflow, ["scor"])
    assert caught.value.hint == "did you mean score?"
    with pytest.raises(UsageError) as caught:
        verify_workflow(workflow, ["xyz"])
    assert caught.value.hint == "steps: score, summary, count, name"
    with (
        WorkflowLock(workflow.state_folder),
        pytest.raises(RefusedError, match="a run of this workflow is going on, and changes what is checked: pid="),
    ):
        verify_workflow(workflow)


def test_before_the_first_run_there_is_nothing_to_verify(tmp_path: Path) -> None:
    (tmp_path / "workflow.toml").write_text(WORKFLOW)
    (tmp_path / "score.py").write_text(SCRIPT)
    (tmp_path / "naming.py").write_text(NAMING)
    assert lines(tmp_path) == [
        *(f"{name}: nothing to verify, it has not succeeded yet" for name in ("score", "summary", "count", "name")),
        "nothing was verified: no step has succeeded yet",
    ]
    assert not (tmp_path / ".batchflow").exists()


def test_a_journal_that_cannot_be_read_is_a_problem_of_a_step_that_never_succeeded_too(project: Path) -> None:
    (project / ".batchflow/workflow/records.db").unlink()
    flip(project / STATE / "score/journal.db", 3)
    assert lines(project, "score") == [
        "score: 1 problem",
        f"  {STATE}/score/journal.db: the journal of the step is damaged: it does not begin as a database does",
        "1 problem found, nothing was changed",
        "to make score anew: batchflow run score -f --restart",
    ]
