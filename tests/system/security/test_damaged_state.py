"""Databases of ours with flipped bits, under the real verbs: refused with exit code 6 or as right as before."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from system.security.runs import PARALLEL, batchflow, make

from batchflow.cli.main import main

SCRIPT = "def run(mini_batch):\n    if '3' in mini_batch[0]:\n        raise ValueError('bad')\n    return mini_batch\n"
VERBS = ("status", "plan", "verify", "status --json", "plan --json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = make(tmp_path, {"workflow.toml": PARALLEL + "error_threshold = 1\n", "score.py": SCRIPT})
    assert batchflow(folder, "run").returncode == 0
    return folder


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
        return code, re.sub(r" *[0-9.]+ s\b", " AGE", re.sub(r"\bage\b", "", captured.out)).replace(" ", "")

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
