"""Steps whose rows become a parquet or an arrow file: typed, in input order, exactly once, whatever is in the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from batchflow.errors import JournalError, RefusedError, ResourceError
from batchflow.journal.state_folder import ROWS_NAME
from batchflow.output import typed
from batchflow.output.typed import TypedJob, make_typed
from batchflow.runner import run_workflow, verify_workflow
from batchflow.runner.values import RunOptions, RunRecord
from batchflow.workflow import load_workflow
from batchflow.workflow.values import Workflow

COUNT = 20
ROWS = [{"name": f"{number:02}", "value": number / 4, "even": number % 2 == 0} for number in range(COUNT)]
DICTS = """\
    return [
        {"name": one[-2:], "value": int(one[-2:]) / 4, "even": int(one[-2:]) % 2 == 0} for one in mini_batch
    ]
"""
FRAMES = """\
    import pandas
    numbers = [int(one[-2:]) for one in mini_batch]
    return pandas.DataFrame({
        "name": [one[-2:] for one in mini_batch],
        "value": [number / 4 for number in numbers],
        "even": [number % 2 == 0 for number in numbers],
    })
"""
TABLES = FRAMES.replace("return pandas.DataFrame", "import pyarrow\n    return pyarrow.table")
FAULTY = """\
    if any(one[-2:] in ("05", "13") for one in mini_batch) and not os.path.exists("healed"):
        raise ValueError("unlucky")
"""


class Project:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / ".batchflow/flow/steps/score"
        self.stream = self.state / ROWS_NAME
        (folder / "in").mkdir()
        for number in range(COUNT):
            (folder / f"in/{number:02}").touch()

    def make(self, body: str = DICTS, output: str = "rows.parquet", **keys: Any) -> Workflow:
        (self.folder / "score.py").write_text("import os\n\ndef run(mini_batch):\n" + body)
        keys = {"entry_script": "score.py", "mini_batch_size": 3, "workers": 2, **keys}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        (self.folder / "flow.toml").write_text(
            'schema = 1\n[datasets.files]\nfiles = "in/*"\n[steps.score]\ninputs = { files = "${datasets.files}" }\n'
            f'outputs = {{ rows = "out/{output}" }}\n[steps.score.parallel]\n{lines}'
        )
        return load_workflow(self.folder / "flow.toml")

    def run(self, workflow: Workflow, **options: Any) -> RunRecord:
        return run_workflow(workflow, RunOptions(**options))

    def read(self, output: str = "rows.parquet") -> pa.Table:
        path = self.folder / "out" / output
        if path.suffix == ".parquet":
            return parquet.read_table(path)
        with pa.ipc.open_file(path) as file:
            return file.read_all()

    def problems(self, workflow: Workflow) -> list[str]:
        return [one.message for one in verify_workflow(workflow)["score"].problems]

    @property
    def receipt(self) -> dict[str, Any]:
        return json.loads((self.state / "receipt.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("output", ["rows.parquet", "rows.arrow", "rows.feather"])
@pytest.mark.parametrize("body", [DICTS, FRAMES, TABLES])
def test_rows_are_typed_and_in_order(project: Project, body: str, output: str) -> None:
    workflow = project.make(body, output)
    assert project.run(workflow).exit_code == 0
    table = project.read(output)
    assert table.to_pylist() == ROWS
    assert [str(kind) for kind in table.schema.types] == ["string", "double", "bool"]
    path = project.folder / "out" / output
    assert [one.name for one in path.parent.iterdir()] == [output]
    assert not project.stream.exists()
    receipt = project.receipt
    assert (receipt["rows_out"], receipt["output_size"], receipt["surplus"]) == (COUNT, path.stat().st_size, 0)
    assert project.problems(workflow) == []
    assert project.run(workflow).steps["score"].status == "up_to_date"


def test_the_bytes_know_no_workers_and_no_mini_batches(project: Project) -> None:
    found = set()
    for keys in ({}, {"workers": 1, "mini_batch_size": 20}, {"workers": 3, "mini_batch_size": 1}):
        assert project.run(project.make(**keys), force_all=True).exit_code == 0
        found.add((project.folder / "out/rows.parquet").read_bytes())
    assert len(found) == 1


def test_another_type_fails_by_its_column(project: Project) -> None:
    body = 'return [{"name": one[-2:], "value": "none" if one[-2:] == "07" else 1.5} for one in mini_batch]\n'
    workflow = project.make(textwrap.indent(body, "    "), error_threshold=-1)
    assert project.run(workflow).exit_code == 0
    assert project.read().to_pydict()["name"] == [f"{number:02}" for number in range(COUNT) if number != 7]
    (entry,) = [json.loads(line) for line in (project.state / "failed.jsonl").read_text().splitlines()]
    assert entry["item"].endswith("/07")
    assert entry["message"].startswith(
        "the columns differ from those of the first mini-batch with rows: column 'value' is of type string, expected "
        "double"
    )


def test_failed_items_are_tried_again_and_come_to_their_places(project: Project) -> None:
    workflow = project.make(FAULTY + DICTS, error_threshold=-1)
    assert project.run(workflow).exit_code == 0
    assert project.read().to_pylist() == [row for row in ROWS if row["name"] not in ("05", "13")]
    assert project.stream.stat().st_mode & 0o777 == 0o600
    assert project.problems(workflow) == []
    (project.folder / "healed").touch()
    assert project.run(workflow, retry=True).exit_code == 0
    assert project.read().to_pylist() == ROWS
    assert not project.stream.exists()
    assert project.problems(workflow) == []


def test_too_many_failures_leave_no_file_and_go_on_with_a_higher_threshold(project: Project) -> None:
    workflow = project.make(FAULTY + DICTS)
    assert project.run(workflow).exit_code == 1
    assert not (project.folder / "out/rows.parquet").exists()
    assert project.stream.exists()
    assert project.problems(workflow) == []
    assert project.run(project.make(FAULTY + DICTS, error_threshold=2)).exit_code == 0
    assert project.read().num_rows == COUNT - 2


def test_no_rows_at_all(project: Project) -> None:
    workflow = project.make("    return []\n", items="any")
    assert project.run(workflow).exit_code == 0
    assert project.read().shape == (0, 0)
    assert project.problems(workflow) == []


def test_rows_of_a_summary_are_only_counted(project: Project) -> None:
    """A folder as the output: the file in it is typed, too."""
    workflow = project.make(DICTS, "", append_row_file_name="rows.arrow")
    assert project.run(workflow).exit_code == 0
    assert project.read("rows.arrow").to_pylist() == ROWS


def test_damage_is_found(project: Project) -> None:
    workflow = project.make(FAULTY + DICTS, error_threshold=-1)
    project.run(workflow)
    path = project.folder / "out/rows.parquet"
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)
    rows = bytearray(project.stream.read_bytes())
    rows[-9] ^= 1
    project.stream.write_bytes(rows)
    assert len(project.problems(workflow)) == 2
    with pytest.raises(RefusedError, match="output rows is not as the step left it"):
        project.run(workflow, retry=True)


# The process that makes the file


def job(folder: Path, **changes: Any) -> TypedJob:
    from batchflow._core import crc32c
    from batchflow.worker.results import make_encoder

    one = make_encoder(output_format="parquet").encode(pd.DataFrame({"n": [1, 2, 3]}), 3)
    content = one.header + one.rows
    (folder / "rows").write_bytes(content)
    values = {"source": folder / "rows", "size": len(content), "checksum": crc32c(content), "output_format": "parquet"}
    return TypedJob(**{"target": folder / "rows.parquet", **values, **changes})


def test_it_says_what_it_wrote(tmp_path: Path) -> None:
    made = make_typed(job(tmp_path), lambda: False)
    assert made is not None
    assert (made.size, made.row_count) == ((tmp_path / "rows.parquet").stat().st_size, 3)


def test_what_is_wrong_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="rows is not as it was written: its checksum is wrong"):
        make_typed(job(tmp_path, checksum=1), lambda: False)
    with pytest.raises(ResourceError, match=r"cannot write /nowhere/rows: No such file"):
        make_typed(job(tmp_path, target=Path("/nowhere/rows")), lambda: False)


Played = Callable[[str], None]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Has another program take the part of the process."""

    def play(text: str) -> None:
        program = tmp_path / "played.py"
        program.write_text(textwrap.dedent(text))
        monkeypatch.setattr(typed, "typed_child", SimpleNamespace(__file__=str(program)))

    return play


def test_its_death_is_told_and_the_same_command_again_writes_the_file(
    project: Project, played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    played("import os, sys\nprint('no luck', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 9)")
    workflow = project.make()
    record = project.run(workflow)
    assert record.exit_code == ResourceError.exit_code
    assert "ended: signal 9 (SIGKILL); it said:\nno luck" in str(record.steps["score"].error)
    assert project.problems(workflow) == []
    monkeypatch.undo()
    (project.folder / "score.py").write_text((project.folder / "score.py").read_text())
    assert project.run(workflow).exit_code == 0
    assert project.read().to_pylist() == ROWS
    assert project.receipt["attempts"] == 7  # nothing was run again


def test_it_ends_when_the_run_is_stopped(tmp_path: Path, played: Played) -> None:
    played("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    os.chdir(tmp_path)
    assert (
        make_typed(job(tmp_path), lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").stat().st_size > 0) is None
    )
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


DRIVER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from batchflow.output import typed, typed_child
SLEEP = "    open('pid', 'w').write(str(os.getpid())); import time; time.sleep(60)\\n"
slow = Path("slow_child.py")
source = Path(typed_child.__file__).read_text()
package = str(Path(typed_child.__file__).parents[1])
source = source.replace('__file__.rpartition("/")[0].rpartition("/")[0]', repr(package))
slow.write_text(source.replace("    os.write(answer_fd", SLEEP + "    os.write(answer_fd"))
typed.typed_child = SimpleNamespace(__file__=str(slow))
size, checksum = map(int, sys.argv[1:])
typed.make_typed(typed.TypedJob(Path("rows"), size, checksum, Path("rows.parquet"), "parquet"), lambda: False)
"""


@pytest.mark.fault("E1")
def test_it_ends_with_the_driver(tmp_path: Path) -> None:
    one = job(tmp_path)
    command = [sys.executable, "-c", DRIVER, str(one.size), str(one.checksum)]
    driver = subprocess.Popen(command, cwd=tmp_path)
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.stat().st_size > 0)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not is_alive(int(pid.read_text())))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
