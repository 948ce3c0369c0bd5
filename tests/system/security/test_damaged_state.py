"""Databases of ours with flipped bits, under the real verbs: refused with exit code 6 or as right as before."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from system.security.runs import PARALLEL, batchflow, make

from batchflow.cli.main import main

SCRIPT = """
def run(mini_batch):
    if mini_batch[0].endswith("3.txt"):
        raise ValueError("bad")
    return mini_batch
"""
VERBS = ("status", "plan", "verify", "status --json", "plan --json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow that has run."""
    files = {"workflow.toml": PARALLEL + "error_threshold = 1\n", "score.py": SCRIPT}
    folder = make(tmp_path_factory.mktemp("finished"), files)
    done = batchflow(folder, "run")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "flow"))


@pytest.mark.fault("S33", "F15")
@pytest.mark.parametrize("name", ["records.db", "steps/predict/journal.db"])
def test_no_verb_shows_a_traceback_or_another_result(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    path = folder / ".batchflow/workflow" / name
    good = path.read_bytes()

    def said(verb: str) -> tuple[int, str]:
        code = main(verb.split())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        assert "internal error" not in captured.err
        return code, re.sub(
            r" *(?:\d+ min \d+ s|\d+ min|[0-9.]+ s)\b", " AGE", re.sub(r"\bage\b", "", captured.out)
        ).replace(" ", "")

    truth = {verb: said(verb) for verb in VERBS}
    dice = random.Random(17)
    places = [index for index, byte in enumerate(good) if byte]
    refused = 0
    for number in range(100):
        bad = bytearray(good)
        bad[dice.choice(places)] ^= 1 << dice.randrange(8)
        path.write_bytes(bad)
        verb = VERBS[number % len(VERBS)]
        code, out = said(verb)
        assert code == 6 or (code, out) == truth[verb], f"{verb}: {out}"
        refused += code == 6
    assert refused > 10


@pytest.mark.fault("S33", "F15")
@pytest.mark.parametrize("name", ["records.db", "steps/predict/journal.db"])
def test_a_run_refuses_and_changes_nothing(folder: Path, name: str) -> None:
    path = folder / ".batchflow/workflow" / name
    good, dice = path.read_bytes(), random.Random(19)
    places = [index for index, byte in enumerate(good) if byte]
    outputs = (folder / "build/rows.csv").read_bytes()
    (folder / "score.py").write_text(SCRIPT + "# the step is stale\nX = 1\n")
    for _ in range(4):
        bad = bytearray(good)
        for _ in range(20):
            bad[dice.choice(places)] ^= 1 << dice.randrange(8)
        path.write_bytes(bad)
        done = batchflow(folder, "run")
        assert (done.returncode, "Traceback" in done.stderr) == (6, False), done.stderr
        assert path.read_bytes() == bytes(bad)
        assert (folder / "build/rows.csv").read_bytes() == outputs


PLANTED = (
    *(f".batchflow/workflow/{name}" for name in ("lock", "records.db", "records.db-wal", "records.db-shm")),
    *(f".batchflow/workflow/steps/predict/{name}" for name in ("journal.db", "journal.db-wal", "receipt.json")),
    *(".batchflow/workflow/steps/predict/failed.jsonl", "build/rows.csv", "score.py", "data/0.txt", "workflow.toml"),
)


@pytest.fixture
def said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], tuple[int, str]]]:
    """Runs a verb in this process, for at most a minute and in at most 8 GiB."""
    monkeypatch.chdir(folder)

    def say(verb: str) -> tuple[int, str]:
        code = main(verb.split())
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return code, captured.err + captured.out

    def complain(*_: object) -> None:
        raise AssertionError("it waits")

    before, memory = signal.signal(signal.SIGALRM, complain), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, memory[1]))
    signal.alarm(60)
    yield say
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    resource.setrlimit(resource.RLIMIT_AS, memory)


@pytest.mark.fault("S6", "S33")
@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_looking_never_waits_for_a_pipe_or_an_endless_device_that_somebody_planted(
    folder: Path, said: Callable[[str], tuple[int, str]], name: str, kind: str
) -> None:
    path = folder / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    for verb in ("status", "plan", "verify", "list"):
        code, text = said(verb)
        assert code in (0, 3, 6), text


@pytest.mark.fault("S33")
@pytest.mark.parametrize("name", ["lock", "steps/predict/receipt.json", "steps/predict/failed.jsonl"])
@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"1" * 5000, b"{}", b'{"pid": true, "host": 3, "started_at": []}', b"\xff\xfe", b'{"pid": 1e999}'],
    ids=["deep", "long number", "empty", "other types", "no text", "infinite"],
)
def test_looking_at_small_files_that_were_made_up_ends_in_words(
    folder: Path, said: Callable[[str], tuple[int, str]], name: str, content: bytes
) -> None:
    (folder / ".batchflow/workflow" / name).write_bytes(content)
    for verb in ("status", "plan", "verify"):
        code, text = said(verb)
        assert code in (0, 6), text
