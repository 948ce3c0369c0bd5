"""The same project in odd surroundings: the same bytes, whatever the caller's language, limits, streams and signals."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from system.cli.terminals import TIMEOUT_S
from system.runner.processes import wait_until

WORKFLOW = """\
schema = 1

[datasets.files]
files = "data/"

[steps.score]
inputs = { files = "${datasets.files}" }
outputs = { rows = "rows.csv" }

[steps.score.parallel]
entry_script = "score.py"
mini_batch_size = 3
workers = 2
append_row_to = "rows"

[steps.count]
run = "python count.py ${steps.score.outputs.rows} ${outputs.count}"
outputs = { count = "count.txt" }
"""
SCRIPT = """\
import os
def run(mini_batch):
    print("é \u2192")
    names = {os.path.basename(path) for path in mini_batch}   # a set has no order of its own
    return [{"name": name, "size": 1 / 3, "word": "Iıİé"} for name in sorted(names, key=os.fsencode)]
"""
COUNT = """\
import sys
open(sys.argv[2], "w").write(str(len(open(sys.argv[1], "rb").readlines())))
"""
NAMES = [*(f"{number:02}".encode() for number in range(8)), "é".encode(), b"\xff", "日本".encode()]
EXPECTED = b"name,size,word\n" + b"".join(name + b",0.3333333333333333," + "Iıİé\n".encode() for name in sorted(NAMES))
RUN = ["-m", "batchflow", "run"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder / "data") + b"/" + name)).touch()
    (folder / "workflow.toml").write_text(WORKFLOW)
    (folder / "score.py").write_text(SCRIPT, "utf-8")
    (folder / "count.py").write_text(COUNT)
    return folder


def run(folder: Path, command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """What the command says on standard error; it must end well."""
    done = subprocess.run(
        command, cwd=folder, env=environment, timeout=TIMEOUT_S, check=False, capture_output=True, encoding="utf-8"
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    return done.stderr


def is_done(folder: Path) -> None:
    assert (folder / "rows.csv").read_bytes() == EXPECTED
    assert (folder / "count.txt").read_text() == str(len(NAMES) + 1)


@dataclass(frozen=True)
class Surroundings:
    """``change``: variables, None for one that is not there; ``before``: what the calling process has done."""

    change: dict[str, str | None] = field(default_factory=dict)
    python: tuple[str, ...] = ()
    before: str = "pass"


def odd(mark: pytest.MarkDecorator, name: str, **fields: object) -> object:
    return pytest.param(Surroundings(**fields), id=name, marks=mark)  # type: ignore[arg-type]


NOWHERE: dict[str, str | None] = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
ASCII: dict[str, str | None] = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
BLOCKED = "signal.signal(signal.SIGCHLD, signal.SIG_IGN); signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))"
LIMIT = "resource.setrlimit(resource.{0}, ({1}, {1}))"


@pytest.mark.parametrize(
    "around",
    [
        odd(pytest.mark.fault("M3"), "plain C", change=ASCII),
        odd(
            pytest.mark.fault("M3"),
            "Turkish",
            change={"LC_ALL": "tr_TR.UTF-8", "LANGUAGE": "tr", "TZ": "Antarctica/Troll"},
        ),
        odd(
            pytest.mark.fault("M3"),
            "no such language",
            change={"LC_ALL": "xx_YY.Z", "TZ": ":/no/such", "PYTHONIOENCODING": "latin-1"},
        ),
        odd(
            pytest.mark.fault("M4"),
            "no home",
            change={"HOME": None, "TMPDIR": None, "USER": None, "LOGNAME": None, "PATH": None},
        ),
        odd(pytest.mark.fault("M4"), "a home that is not there", change=NOWHERE),
        odd(pytest.mark.fault("M5"), "64 descriptors", before=LIMIT.format("RLIMIT_NOFILE", 64)),
        odd(pytest.mark.fault("M5"), "8 GiB of addresses", before=LIMIT.format("RLIMIT_AS", 8 << 30)),
        odd(pytest.mark.fault("M5"), "a stack of 1 MiB", before=LIMIT.format("RLIMIT_STACK", 1 << 20)),
        odd(pytest.mark.fault("G8"), "no locked memory", before=LIMIT.format("RLIMIT_MEMLOCK", 0)),
        odd(pytest.mark.fault("M10"), "signals blocked and ignored", before=BLOCKED),
        odd(pytest.mark.fault("M12"), "hash seed 1", change={"PYTHONHASHSEED": "1"}),
        odd(pytest.mark.fault("M12"), "hash seed 4242", change={"PYTHONHASHSEED": "4242"}),
        odd(pytest.mark.fault("M14"), "without assertions", python=("-OO",)),
        odd(pytest.mark.fault("M14"), "isolated", python=("-I", "-B")),
        odd(pytest.mark.fault("M14"), "with warnings as errors", python=("-W", "error", "-X", "dev")),
    ],
)
def test_the_bytes_are_the_same_in_any_surroundings(around: Surroundings, project: Path) -> None:
    environment = {key: value for key, value in (os.environ | around.change).items() if value is not None}
    code = f"import os, resource, signal, sys\n{around.before}\nos.execv(sys.argv[1], sys.argv[1:])"
    run(project, [sys.executable, "-c", code, sys.executable, *around.python, *RUN], environment)
    is_done(project)


@pytest.mark.fault("M1")
def test_the_bytes_are_the_same_under_a_clock_that_jumps(project: Path, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    library, source = tmp_path / "odd_clock.so", Path(__file__).with_name("odd_clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source], check=True)
    said = run(project, [sys.executable, *RUN], os.environ | {"LD_PRELOAD": str(library)})
    is_done(project)
    took = re.search(r"^done in ([\d.]+) s: ", said, re.MULTILINE)
    assert took is not None
    assert float(took[1]) < TIMEOUT_S
    assert "nothing to do" in run(project, [sys.executable, *RUN], os.environ | {"LD_PRELOAD": str(library)})


@pytest.mark.fault("M5", "E10")
@pytest.mark.parametrize("limit", [10, 12, 16, 24])
def test_too_few_descriptors_end_the_run_in_words_and_enough_continue_it(limit: int, project: Path) -> None:
    limited = f"import os, resource, sys\n{LIMIT.format('RLIMIT_NOFILE', limit)}\nos.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", limited, sys.executable, *RUN], cwd=project, capture_output=True, text=True, check=False
    )
    assert "Too many open files" in done.stderr or "unable to open database file" in done.stderr
    assert (done.returncode in (3, 4), "Traceback" in done.stderr) == (True, False), done.stderr
    run(project, [sys.executable, *RUN])
    is_done(project)


def in_a_namespace(*options: str) -> list[str]:
    """The beginning of a command in namespaces of its own, as an ordinary user may have them; skips where none may."""
    command = ["unshare", "--user", "--map-root-user", "--mount", *options]
    try:
        usable = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        usable = False
    if not usable:
        pytest.skip("namespaces of one's own are not allowed here")
    return command


@pytest.mark.fault("G1", "G5")
def test_a_small_shared_memory_file_system_is_neither_needed_nor_used(project: Path) -> None:
    shell = 'mount -t tmpfs -o size=64k none /dev/shm && "$@"; code=$?; ls -A /dev/shm; exit $code'
    done = subprocess.run(
        [*in_a_namespace(), "sh", "-c", shell, "sh", sys.executable, *RUN],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    is_done(project)


STUCK = "import time\ndef run(mini_batch):\n    open('stuck', 'w').close()\n    time.sleep(1000)\n"


@pytest.mark.fault("G5")
def test_killing_everything_at_once_leaves_no_shared_memory_and_the_same_command_goes_on(project: Path) -> None:
    (project / "score.py").write_text(STUCK)
    shell = """
    mount -t tmpfs none /dev/shm
    "$@" 2>/dev/null &
    while [ ! -e stuck ]; do sleep 0.01; done
    kill -9 -1
    wait
    ls -A /dev/shm
    """
    command = [*in_a_namespace("--pid", "--fork", "--mount-proc", "--kill-child"), "sh", "-c", shell, "sh"]
    done = subprocess.run(
        [*command, sys.executable, *RUN], cwd=project, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (project / "score.py").write_text(SCRIPT, "utf-8")
    run(project, [sys.executable, *RUN])
    is_done(project)


@pytest.mark.fault("M9")
def test_as_the_first_process_of_a_container(project: Path) -> None:
    command = [*in_a_namespace("--pid", "--fork", "--mount-proc", "--kill-child"), sys.executable, *RUN]
    run(project, command)
    is_done(project)


@pytest.mark.fault("M9")
def test_the_first_process_of_a_container_obeys_signals(project: Path) -> None:
    """The kernel drops signals for it that it has no handler for."""
    (project / "score.py").write_text(STUCK)
    command = [*in_a_namespace("--pid", "--fork", "--mount-proc", "--kill-child"), sys.executable, *RUN]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    try:
        wait_until((project / "stuck").exists)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for _ in range(2):
            os.kill(int(children[0]), signal.SIGTERM)
            assert process.stderr is not None
            while "stopping" not in process.stderr.readline():
                assert process.poll() is None
        assert process.wait(TIMEOUT_S) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
