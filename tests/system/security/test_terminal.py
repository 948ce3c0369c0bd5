"""Names, rows, messages and tracebacks that try to write on the terminal what we did not say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from system.cli.terminals import terminal
from system.security.runs import batchflow, make

PAYLOAD = (
    "\x1b[66m\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b66m\x9d0;t\x9c\rCR\x08\x0b\x0c\x7f"
    "\u202egnp.\u2066x\u200b\u200d\ufeff\u00ad\u2028\u2029\U000e0041\nFORGED: done in 1 s\n\tFORGED"
)
IN_A_NAME = "".join(one for one in PAYLOAD if one > "\x7f")
"""A workflow's folder cannot have a control character of ASCII in its name: ``check`` refuses it."""
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]"
)
OURS = re.compile(r"\x1b\[[0-9;]*[mAKGHJ]|\x1b\[\?25[lh]|\x1b\[2K|\r")
"""What the moving display writes: colours, cursor up and down its own lines, erase a line, hide and show the cursor."""

TOML_PAYLOAD = "".join(f"\\U{ord(one):08x}" for one in PAYLOAD)
WORKFLOW = f"""
schema = 1
[params]
note = {{ default = "{TOML_PAYLOAD}", help = "{TOML_PAYLOAD}" }}
[datasets.files]
files = "data/*"
[steps.predict]
help = "{TOML_PAYLOAD}"
inputs = {{ files = "${{datasets.files}}" }}
outputs = {{ rows = "build/rows.jsonl" }}
[steps.predict.parallel]
entry_script = "score.py"
mini_batch_size = 1
run_max_try = 1
workers = 1
error_threshold = 1
append_row_to = "rows"
[steps.fetch]
run = "cat payload; printf '%s' '${{params.note}}'; exit 3"
outputs = {{ page = "build/page.txt" }}
[steps.store]
call = "store:main"
outputs = {{ done = "build/done.txt" }}
args = {{ note = "${{params.note}}" }}
"""
SCORE = f"""
import os
PAYLOAD = {PAYLOAD!r}
Evil = type("Evil" + PAYLOAD, (Exception,), {{}})

def run(mini_batch):
    print(PAYLOAD, flush=True)
    if "bad" in mini_batch[0]:
        raise Evil(mini_batch[0] + PAYLOAD)
    return [mini_batch[0] + PAYLOAD]
"""
STORE = f"def main(inputs, outputs, args):\n    raise OSError({PAYLOAD!r} + args['note'])\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / f"flow{IN_A_NAME}"
    make(folder, {"workflow.toml": WORKFLOW, "score.py": SCORE, "store.py": STORE, "payload": PAYLOAD}, item_count=0)
    for name in (f"bad{PAYLOAD[:50]}.txt", f"good{PAYLOAD[50:]}.txt"):
        (folder / "data").mkdir(exist_ok=True)
        (folder / "data" / name.replace("/", "")).write_text("x")
    return folder


def check(text: str, what: str) -> None:
    found = UNSAFE.search(text)
    assert found is None, f"{what}: {found[0]!r} in …{text[max(0, found.start() - 80) : found.start() + 20]!r}"
    assert not re.search(r"(?m)^\s{0,1}FORGED", text), f"{what}: a line of its own in {text!r}"


@pytest.mark.fault("S23", "S24", "O4", "H4", "K15")
def test_nothing_that_is_shown_controls_the_terminal_or_forges_a_line(folder: Path) -> None:
    refused = make(folder.parent / f"no{PAYLOAD[:60].replace('/', '')}", {"workflow.toml": WORKFLOW}, item_count=0)
    done = {
        verb: batchflow(folder, *verb.split())
        for verb in (
            "check",
            "plan -v",
            "list",
            "dag",
            "dag --format dot",
            "dag --format mermaid",
            "run -k -v",
            "status",
            "verify",
            "retry -k",
        )
    }
    done |= {
        "a wrong target": batchflow(folder, "run", PAYLOAD),
        "a wrong verb": batchflow(folder, PAYLOAD),
        "a wrong option": batchflow(folder, "run", f"--{PAYLOAD}"),
        "a wrong folder": batchflow(folder, "check", "-s", str(refused)),
        "a wrong file": batchflow(folder, "check", f"no{PAYLOAD}.toml"),
        "a wrong parameter": batchflow(folder, "plan", "--set", f"limit{PAYLOAD}={PAYLOAD}"),
        "a forced step": batchflow(folder, "run", "-R", PAYLOAD),
        "another folder": batchflow(folder, "init", f"sub{IN_A_NAME}"),
        "the failed ones again": batchflow(folder, "run", "-F", "predict"),
    }
    for what, one in done.items():
        check(one.stdout, f"stdout of {what}")
        check(one.stderr, f"stderr of {what}")
    assert done["run -k -v"].returncode == 1
    shown = done["run -k -v"].stderr
    assert "\\x1b]52;c;ZXZpbA==\\x07" in shown  # it was there, as text
    assert "\\u202egnp." in shown


@pytest.mark.fault("S23", "O4")
@pytest.mark.parametrize("verb", ["run -k", "status", "dag", "plan -v", "list"])
def test_on_a_terminal_only_the_display_moves_the_cursor(folder: Path, verb: str) -> None:
    subprocess.run([sys.executable, "-m", "batchflow", "run", "-k"], cwd=folder, capture_output=True, timeout=60)
    with terminal(
        [sys.executable, "-m", "batchflow", *verb.split(), *(["-F"] if "run" in verb else [])], folder
    ) as screen:
        screen.wait()
    assert "\x1b[66m" not in screen.text
    check(OURS.sub("", screen.text).replace("\r\n", "\n"), verb)


@pytest.mark.fault("S23")
def test_a_bug_of_ours_is_told_without_control_characters_too(tmp_path: Path) -> None:
    code = f"""
import sys
from batchflow.cli.main import main
class Backend:
    def find(self, start): raise KeyError({PAYLOAD!r})
sys.exit(main(["check"], Backend()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    check(done.stderr, "a bug")
    assert "hint: this is a bug in batchflow" in done.stderr


@pytest.mark.fault("S23")
def test_a_script_that_python_warns_about_writes_nothing_on_the_terminal(tmp_path: Path) -> None:
    script = (
        f"# {PAYLOAD.encode('unicode_escape').decode()}\nx = '\\d' is 3\ndef run(mini_batch):\n    return mini_batch\n"
    )
    text = WORKFLOW.replace("score.py", "sc\\u001bore.py")
    folder = make(tmp_path, {"workflow.toml": text, "sc\x1bore.py": script, "store.py": STORE}, item_count=1)
    for verb in ("check", "plan"):
        done = batchflow(folder, verb, environment={"PYTHONWARNINGS": "always"})
        assert done.returncode == 0, done.stderr
        check(done.stderr, verb)
        assert "Warning" not in done.stderr


@pytest.mark.fault("S24", "H4")
def test_events_are_one_to_a_line_whatever_the_names(folder: Path) -> None:
    done = batchflow(folder, "run", "-k", "--events", "events.jsonl", "--json")
    assert done.returncode == 1
    lines = (folder / "events.jsonl").read_bytes().splitlines()
    assert all(line.startswith(b'{"time": ') and line.endswith(b"}") and line.isascii() for line in lines)
    assert done.stdout.isascii()
    failed = (folder / ".batchflow/workflow/steps/predict/failed.jsonl").read_bytes()
    assert failed.isascii()
    assert len(failed.splitlines()) == 1
    assert os.listdir(folder / "data")[0].encode() not in failed
