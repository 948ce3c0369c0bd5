"""Secrets in every place where a workflow can have one: afterwards none of them is found in anything that we wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

WORKFLOW = """
schema = 1
default = ["predict", "ready", "fetch", "store", "login"]
[params]
api_key = "kolibri-inline-01"
limit = 3
[params.token]
type = "str"
[params.password]
type = "str"
[params.db_password]
type = "str"
[params.source]
type = "str"

[steps.predict]
inputs = { files = "data/*.txt" }
outputs = { rows = "build/rows.csv" }
[steps.predict.parallel]
entry_script = "score.py"
mini_batch_size = 1
workers = 1
run_max_try = 1
error_threshold = -1
arguments = ["--token", "${params.token}", "--db-password=${params.db_password}", "--source", "${params.source}"]
append_row_to = "rows"
[steps.predict.parallel.environment_variables]
SERVICE_SECRET = "kolibri-table-02"

[steps.ready]
inputs = { files = "data/*.txt" }
outputs = { rows = "build/ready.csv" }
[steps.ready.parallel]
entry_script = "ready.py"
workers = 1
append_row_to = "rows"

[steps.fetch]
run = "tool --password ${params.password} --api-key kolibri-command-03"
outputs = { page = "build/page.txt" }

[steps.store]
call = "store:main"
args = { api_key = "${params.api_key}", limit = "${params.limit}" }
outputs = { done = "build/done.txt" }

[steps.login]
run = ["python", "login.py", "--token=${params.token}"]
outputs = { done = "build/login.txt" }
"""

SCORE = """
import argparse, os, sys
parser = argparse.ArgumentParser()
for name in ("--token", "--db-password", "--source"):
    parser.add_argument(name)
options = parser.parse_args()
COMMANDS = open("/proc/%d/cmdline" % os.getpid(), "rb").read() + open("/proc/%d/cmdline" % os.getppid(), "rb").read()

def run(mini_batch):
    if mini_batch[0].endswith("0.txt"):
        raise ValueError(f"the hub refuses {os.environ['HF_TOKEN']} and {options.token} and {options.db_password}")
    if mini_batch[0].endswith("1.txt"):
        password = "kolibri-source-04"; raise KeyError("https://me:kolibri-url-05@host/x")
    if mini_batch[0].endswith("2.txt"):
        print("signing with", os.environ["SERVICE_SECRET"], options.source, flush=True)
        os._exit(9)
    if mini_batch[0].endswith("3.txt"):
        raise OSError(f"cannot write {os.environ['DATABASE_URL']}")
    raise RuntimeError(repr(options.__dict__) + " " + str(COMMANDS))
"""

READY = """
def init():
    raise ConnectionError("DefaultEndpointsProtocol=https;AccountName=x;AccountKey=kolibrikey06+/==;EndpointSuffix=y")

def run(mini_batch):
    return mini_batch
"""

STORE = """
def main(inputs, outputs, args):
    raise PermissionError(f"https://x.blob.host/c?sv=1&sig=kolibri%2Fsas07&se=2 for {args['api_key']}")
"""

LOGIN = """
import os, sys
print("Authorization: Bearer kolibri.bearer.08", file=sys.stderr)
print(sys.argv, os.environ["HF_TOKEN"], "hf_" + "Kolibri09" * 4)
raise SystemExit(3)
"""

TOOL = """#!/bin/sh
echo "cannot log in with $*" >&2
exit 7
"""

SECRETS = {
    "HF_TOKEN": "kolibri-environment-10",
    "DATABASE_URL": "postgres://me:kolibri-database-11@host/x",
    "BATCHFLOW_PARAM_TOKEN": "kolibri-parameter-12",
    "BATCHFLOW_PARAM_SOURCE": "https://host/x?X-Amz-Credential=kolibri13&X-Amz-Signature=kolibri14",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {"workflow.toml": WORKFLOW, "score.py": SCORE, "ready.py": READY, "store.py": STORE, "login.py": LOGIN}
    files |= {f"data/{index}.txt": "x" for index in range(5)}
    files |= {"bin/tool": TOOL, "secrets.toml": "password = 'kolibri-params-file-15'\n"}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (tmp_path / "bin/tool").chmod(0o755)
    return tmp_path


def batchflow(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("BATCHFLOW")} | SECRETS
    environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
    command = [
        sys.executable,
        "-m",
        "batchflow",
        *words,
        "--params",
        "secrets.toml",
        "--set",
        "db_password=kolibri-set-16",
    ]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def written_by_us(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What lies in the folder of ours and in the outputs, but for logs, which are the user's own words."""
    for path in (*folder.glob(".batchflow/**/*"), *folder.glob("build/**/*"), folder / "events.jsonl"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and "/logs/" not in name and not name.endswith("log.txt"):
            yield name, path.read_bytes()


@pytest.mark.fault("S21", "S22", "K13", "O9")
def test_no_secret_is_found_in_anything_that_we_write(folder: Path) -> None:
    done = {
        "run": batchflow(folder, "run", "-k", "-v", "--events", "events.jsonl"),
        "run --json": batchflow(folder, "run", "-k", "--json"),
        **{
            " ".join(words): batchflow(folder, *words)
            for verb in ("check", "plan", "list", "dag", "status", "verify", "retry -n")
            for words in (verb.split(), [*verb.split(), "--json"])
        },
    }
    assert [done[verb].returncode for verb in ("run", "run --json", "check", "plan", "list")] == [1, 1, 0, 0, 0]
    texts = {
        f"{verb}: {name}": text
        for verb, one in done.items()
        for name, text in (("out", one.stdout), ("err", one.stderr))
    }
    files = dict(written_by_us(folder))
    assert {
        ".batchflow/workflow/records.db",
        ".batchflow/workflow/steps/predict/journal.db",
        "events.jsonl",
    } <= files.keys()
    assert {name for name, text in texts.items() if "olibri" in text} == set()
    assert {name for name, content in files.items() if b"olibri" in content} == set()

    # Each of them was there to be found: what was written says so, with stars.
    err = done["run"].stderr
    assert err.count("warning[BF070]") == 3
    assert "the hub refuses *** and *** and ***" in err
    assert "cannot log in with --password *** --api-key ***" in err
    assert "AccountKey=***;EndpointSuffix=y" in err
    assert "https://x.blob.host/c?sv=1&sig=***&se=2 for ***" in err
    assert "Authorization: Bearer ***" in err
    failed = [json.loads(line) for line in files[".batchflow/workflow/steps/predict/failed.jsonl"].splitlines()]
    by_item = {Path(entry["item"]).name: entry for entry in failed}
    assert by_item["1.txt"]["message"] == "'https://***@host/x'"
    assert 'password = "***"; raise KeyError("https://***@host/x")' in by_item["1.txt"]["traceback"]
    assert "signing with *** https://host/x?X-Amz-Credential=***&X-Amz-Signature=***" in by_item["2.txt"]["output_tail"]
    assert by_item["3.txt"]["message"] == "cannot write postgres://***@host/x"
    # What the zygote and its guard were started with is shown as it is, without stars: nothing had to be hidden.
    commands = by_item["4.txt"]["message"].partition("} ")[2]
    assert "boot.py" in commands
    assert "***" not in commands


@pytest.mark.fault("S21")
def test_a_secret_that_changes_is_noticed_and_still_not_shown(folder: Path) -> None:
    text = 'schema = 1\n[params.token]\ntype = "str"\n[steps.a]\nrun = "echo ${params.token} | wc -c > ${outputs.x}"\n'
    (folder / "workflow.toml").write_text(text + 'outputs = { x = "x.txt" }\n')

    def run(verb: str, token: str) -> str:
        environment = os.environ | {"BATCHFLOW_PARAM_TOKEN": token}
        command = [sys.executable, "-m", "batchflow", verb]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    run("run", "kolibri-one")
    assert "nothing to do" in run("run", "kolibri-one")
    plan = run("plan", "kolibri-two")
    assert "parameter changed token: ***" in plan
    assert "kolibri" not in plan
    assert not any(b"kolibri" in content for _, content in written_by_us(folder))
