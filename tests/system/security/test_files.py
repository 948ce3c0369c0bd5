"""Every file and folder that a run makes: ours for nobody else, the user's as the umask says, links not followed."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest
from system.security.runs import PARALLEL, WAITING, batchflow, make, running

SCORE = """
import os
from pathlib import Path

def run(mini_batch, context):
    (context.scratch_dir / "x").mkdir()
    (context.scratch_dir / "x").rmdir()
    if mini_batch[0].endswith("3.txt"):
        raise ValueError("bad")
    return [f"{oct(os.stat(context.scratch_dir).st_mode)} {oct(os.stat(context.scratch_dir.parent).st_mode)}"]
"""
OTHERS = '[steps.fetch]\nrun = "echo x > ${outputs.page}"\noutputs = { page = "build/page.txt" }\n'
TOLERANT = PARALLEL + "error_threshold = 1\n"


def modes(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


@pytest.mark.fault("S7")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_ours_is_private_and_what_is_the_users_follows_the_umask(tmp_path: Path, umask: int) -> None:
    folder = make(tmp_path, {"workflow.toml": TOLERANT + OTHERS, "score.py": SCORE})
    done = batchflow(folder, "run", umask=umask)
    assert done.returncode == 0, done.stderr
    found = modes(folder)
    ours = {name: mode for name, mode in found.items() if name.startswith(".batchflow")}
    assert {
        name: oct(mode) for name, mode in ours.items() if mode != (0o700 if (folder / name).is_dir() else 0o600)
    } == {}
    written = {Path(name).name for name in ours}
    assert {"records.db", "journal.db", "lock", "failed.jsonl", "receipt.json", "worker-0.log", "log.txt"} <= written
    assert (found["build/rows.csv"], found["build/page.txt"]) == (0o666 & ~umask, 0o666 & ~umask)
    assert (found["build"], found["build/more"]) == (0o777 & ~umask, 0o777 & ~umask)
    rows = (folder / "build/rows.csv").read_text().split("\n")
    assert rows[1:] == ["0o40700 0o40700"] * 3 + [""]


@pytest.mark.fault("S7")
def test_what_is_ours_is_private_while_it_runs(tmp_path: Path) -> None:
    folder = make(tmp_path, {"workflow.toml": PARALLEL, "score.py": WAITING})
    with running(folder):
        found = modes(folder / ".batchflow")
    assert {name: oct(mode) for name, mode in found.items() if mode not in (0o700, 0o600)} == {}
    assert {"workflow/records.db-wal", "workflow/steps/predict/journal.db-wal"} <= found.keys()


@pytest.mark.fault("S7", "S5")
def test_planted_links_are_replaced_and_never_written_through(tmp_path: Path) -> None:
    folder = make(tmp_path / "flow", {"workflow.toml": TOLERANT + OTHERS, "score.py": SCORE})
    assert batchflow(folder, "run").returncode == 0
    precious = tmp_path / "precious"
    (precious / "below").mkdir(parents=True)
    (precious / "file").write_text("precious")
    state = folder / ".batchflow/workflow/steps/predict"
    planted = [
        folder / "build/rows.csv.partial",
        folder / "build/page.txt.partial",
        folder / "build/rows.csv.partial.ordered",
    ]
    planted += [state / "failed.jsonl.partial", state / "receipt.json.partial"]
    for path in planted:
        path.symlink_to(precious / "file")
    for path in (state / "logs", state / "scratch", folder / "build/more.partial"):
        if path.is_dir():
            for log in path.iterdir():
                log.unlink()
            path.rmdir()
        path.symlink_to(precious)
    done = batchflow(folder, "run", "-F")
    assert done.returncode == 0, done.stderr
    assert (precious / "file").read_text() == "precious"
    assert sorted(path.name for path in precious.iterdir()) == ["below", "file"]
    assert not (state / "logs").is_symlink()


@pytest.mark.fault("S8")
@pytest.mark.parametrize("level", [".batchflow", ".batchflow/workflow", ".batchflow/workflow/steps/predict"])
def test_a_state_folder_that_others_can_write_is_refused(tmp_path: Path, level: str) -> None:
    folder = make(tmp_path, {"workflow.toml": TOLERANT, "score.py": SCORE})
    assert batchflow(folder, "run").returncode == 0
    (folder / level).chmod(0o777)
    done = batchflow(folder, "run", "-F")
    assert done.returncode == 6
    assert "other users can write to it, mode=0777" in done.stderr
    assert "chmod -R go-w" in done.stderr
    assert batchflow(folder, "status").returncode == 0


@pytest.mark.fault("S45")
def test_a_worker_that_crashes_leaves_no_memory_dump(tmp_path: Path) -> None:
    """A limit of one byte: 0 would not keep the kernel from piping a dump to a program."""
    script = "import resource\ndef run(mini_batch):\n    return [resource.getrlimit(resource.RLIMIT_CORE)[0]]\n"
    folder = make(tmp_path, {"workflow.toml": PARALLEL, "score.py": script}, item_count=1)
    assert batchflow(folder, "run").returncode == 0
    assert (folder / "build/rows.csv").read_text().splitlines()[1:] == [
        "0" if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 else "1"
    ]


@pytest.mark.fault("S46")
def test_links_that_a_script_leaves_in_its_scratch_folder_are_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "below").mkdir(parents=True)
    script = f"""
def run(mini_batch, context):
    (context.scratch_dir / "link").symlink_to({str(precious)!r})
    return mini_batch
"""
    folder = make(tmp_path / "flow", {"workflow.toml": PARALLEL, "score.py": script}, item_count=1)
    done = batchflow(folder, "run")
    assert done.returncode == 0, done.stderr
    assert not (folder / ".batchflow/workflow/steps/predict/scratch").exists()
    assert (precious / "below").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
@pytest.mark.fault("S8", "M11")
def test_a_state_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, {"workflow.toml": PARALLEL, "score.py": SCORE})
    (folder / ".batchflow").mkdir(mode=0o700)
    os.chown(folder / ".batchflow", 12345, 12345)
    done = batchflow(folder, "run")
    assert done.returncode == 6
    assert "it belongs to another user, uid=12345" in done.stderr
    assert list((folder / ".batchflow").iterdir()) == []
