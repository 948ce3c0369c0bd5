"""Disks that are full, slow, read-only, or fail.  Whatever happens: words, a documented exit code, and the same command
goes on once the machine works again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from system.cli import faulty
from system.cli.terminals import TIMEOUT_S
from system.cli.test_environments import LIMIT, in_a_namespace

FILES = 20
WORKFLOW = """\
schema = 1
[datasets.files]
files = "data/"
[steps.score]
inputs = { files = "${datasets.files}" }
outputs = { rows = "out/rows.csv" }
[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = 1
workers = 2
append_row_to = "rows"
"""
SCRIPT = """\
import os, time
from pathlib import Path
def run(mini_batch):
    time.sleep(0.005)
    number = os.path.basename(mini_batch[0])
    {more}
    return [number + "x" * 10_000]
"""
EXPECTED = "result\n" + "".join(f"{number:03}{'x' * 10_000}\n" for number in range(FILES))
RUN = [sys.executable, "-m", "batchflow", "run"]
EVERY_GROUP = "batchflow.parallel.committer:GROUP_S=0"
HASTE = f"{EVERY_GROUP} batchflow.parallel.books:DISK_FULL_WAIT_S=0.3 batchflow.parallel.books:DISK_FULL_PAUSE_S=0.05"
ROWS = "rows.csv.partial"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def make_project(folder: Path, more: str = "pass") -> Path:
    (folder / "data").mkdir(parents=True)
    for number in range(FILES):
        (folder / "data" / f"{number:03}").touch()
    (folder / "workflow.toml").write_text(WORKFLOW)
    write_script(folder, more)
    return folder


def write_script(folder: Path, more: str = "pass") -> None:
    (folder / "score.py").write_text(SCRIPT.replace("{more}", more))


def call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def on_a_machine_with(faults: str, folder: Path) -> subprocess.CompletedProcess[str]:
    done = call([sys.executable, faulty.__file__, f"{HASTE} {faults}", "run"], folder)
    assert "Traceback" not in done.stderr
    return done


def the_same_command_goes_on(folder: Path) -> None:
    done = call(RUN, folder)
    assert done.returncode == 0, done.stderr
    is_done(folder)


def is_done(folder: Path) -> None:
    assert (folder / "out/rows.csv").read_text() == EXPECTED
    assert os.listdir(folder / "out") == ["rows.csv"]


def stops_in_words(done: subprocess.CompletedProcess[str], folder: Path, *words: str) -> None:
    """Exit code 4, the cause and the command that goes on are told, and there is no final output."""
    assert done.returncode == 4, done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert done.stderr.splitlines()[-1].startswith("to continue: ")
    assert not (folder / "out/rows.csv").exists()


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(f"pwrite:{ROWS}=SHORT@1+", marks=pytest.mark.fault("F3")),
        pytest.param(f"pwrite:{ROWS}=SHORT@2 pwrite:{ROWS}=ENOSPC@3", marks=pytest.mark.fault("F1", "F3")),
        pytest.param(f"pwrite:{ROWS}=EDQUOT@2", marks=pytest.mark.fault("F4")),
        pytest.param("interrupted", marks=pytest.mark.fault("F17")),
    ],
)
def test_what_passes_is_not_even_seen_in_the_output(faults: str, project: Path) -> None:
    done = on_a_machine_with(faults, project)
    assert done.returncode == 0, done.stderr
    is_done(project)


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        pytest.param(f"pwrite:{ROWS}=EDQUOT@2+", "Disk quota exceeded", marks=pytest.mark.fault("F4")),
        pytest.param(f"pwrite:{ROWS}=EIO@2", "Input/output error", marks=pytest.mark.fault("F5")),
        pytest.param(f"fdatasync:{ROWS}=EIO@1", "Input/output error", marks=pytest.mark.fault("F6")),
        pytest.param(f"fdatasync:{ROWS}=EIO@3", "Input/output error", marks=pytest.mark.fault("F6")),
        pytest.param(f"close:{ROWS}=EIO@1", "Input/output error", marks=pytest.mark.fault("F20")),
        pytest.param(f"rename:{ROWS}=EXDEV@1", "Invalid cross-device link", marks=pytest.mark.fault("F19")),
    ],
)
def test_what_does_not_pass_stops_the_run_which_goes_on_later(faults: str, words: str, project: Path) -> None:
    stops_in_words(on_a_machine_with(faults, project), project, words)
    the_same_command_goes_on(project)


@pytest.mark.fault("F19")
def test_after_a_failed_rename_the_complete_output_is_there_with_the_command_that_moves_it(project: Path) -> None:
    done = on_a_machine_with(f"rename:{ROWS}=EPERM@1", project)
    stops_in_words(done, project, f"mv {project}/out/rows.csv.partial {project}/out/rows.csv")
    assert (project / "out/rows.csv.partial").read_text() == EXPECTED


@pytest.mark.fault("F6")
def test_a_failed_sync_is_never_tried_again(project: Path) -> None:
    """The second one would report success and lose the bytes of the first."""
    done = on_a_machine_with(f"fdatasync:{ROWS}=EIO@2 fdatasync:{ROWS}=ENOTSUP@3", project)
    stops_in_words(done, project, "Input/output error")
    assert "not supported" not in done.stderr


IN_A_SMALL_FOLDER = """
set -u
mkdir -p "$FOLDER" && mount -t tmpfs -o "mode=700,$SMALL" none "$FOLDER" || exit 100
"$@" > said 2>&1; echo $?
mount -o "$LARGE" none "$FOLDER" || exit 100
batchflow run > later 2>&1; echo $?
cp -r out after
"""


@pytest.mark.parametrize(
    ("where", "small", "large"),
    [
        pytest.param("out", "size=100k", "remount,size=4m", id="rows", marks=pytest.mark.fault("F1")),
        pytest.param("out", "nr_inodes=1", "remount,nr_inodes=100", id="inodes", marks=pytest.mark.fault("F18")),
        pytest.param("out", "ro", "remount,rw", id="read-only", marks=pytest.mark.fault("F7")),
        pytest.param(".batchflow", "size=100k", "remount,size=4m", id="journal", marks=pytest.mark.fault("F2")),
    ],
)
def test_a_file_system_without_room_stops_the_run_which_goes_on_when_there_is(
    where: str, small: str, large: str, project: Path
) -> None:
    script = IN_A_SMALL_FOLDER.replace("batchflow run", " ".join(RUN))
    shell = [*in_a_namespace(), "env", f"FOLDER={where}", f"SMALL={small}", f"LARGE={large}", "sh", "-c", script, "sh"]
    done = call([*shell, sys.executable, faulty.__file__, HASTE, "run"], project)
    said = (project / "said").read_text()
    assert done.stdout.split() == ["4", "0"], (said, (project / "later").read_text(), done.stderr)
    assert any(words in said for words in ("No space left", "disk is full", "Read-only file system")), said
    assert "Traceback" not in said
    assert (project / "after/rows.csv").read_text() == EXPECTED
    assert os.listdir(project / "after") == ["rows.csv"]


@pytest.mark.fault("F11")
def test_a_limit_on_the_size_of_files_stops_the_run_and_is_named(project: Path) -> None:
    limited = "import os, resource, sys\n" + LIMIT.format("RLIMIT_FSIZE", 3 << 19)
    limited += "\nos.execv(sys.argv[1], sys.argv[1:])"
    (project / "score.py").write_text(SCRIPT.replace("{more}", "pass").replace("10_000", "100_000"))
    done = call([sys.executable, "-c", limited, *RUN], project)
    stops_in_words(done, project, "File too large", "ulimit -f")
    done = call(RUN, project)
    assert done.returncode == 0, done.stderr
    assert (project / "out/rows.csv").read_text() == EXPECTED.replace("x" * 10_000, "x" * 100_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param("os.rename('out', 'gone')", "", marks=pytest.mark.fault("F8")),
        pytest.param("rows.open('a').write('alien')", "was changed by another program", marks=pytest.mark.fault("F9")),
        pytest.param("rows.open('r+').write('alien')", "was changed by another program", marks=pytest.mark.fault("F9")),
        pytest.param("rows.unlink()", "was removed by another program", marks=pytest.mark.fault("F10")),
        pytest.param(
            "rows.write_bytes(b'alien'); rows.rename('x'); __import__('shutil').copy('x', rows)",
            " by another program",
            marks=pytest.mark.fault("F10"),
        ),
    ],
)
def test_an_output_that_somebody_else_touches_meanwhile_is_refused(change: str, words: str, tmp_path: Path) -> None:
    guarded = f"rows = Path('out/{ROWS}')\n    if number == '012': {change}"
    folder = make_project(tmp_path / "project", guarded)
    done = on_a_machine_with("", folder)
    assert done.returncode in (4, 6), done.stderr
    assert words in done.stderr
    assert not (folder / "out/rows.csv").exists()
    write_script(folder)
    done = call([*RUN, "-F"], folder)
    assert done.returncode == 0, done.stderr
    is_done(folder)
