"""What real shells make of the values that a command holds: always the value itself, never a command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from batchflow.workflow import load_workflow, render

HOSTILE = "a 'b' \"c\" $HOME $(touch injected) `touch injected` ${HOME} \\ \\n ; & | > x * ? ~ ! # é {a,b} -n"
PLACES = [
    "{}",
    '"{}"',
    "'{}'",
    'x"y{}z"',
    "x'y{}z'",
    '"$(printf %s "{}")"',
    "$(printf %s '{}' | cat >&3)",
    '"a $(printf %s "$(printf %s {} | tail -c +1)")"',
]
SHELLS = [shell for shell in ("sh", "bash", "dash") if shutil.which(shell)]


@pytest.mark.fault("S47")
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("namespace", ["params.v", "outputs.o"])
def test_a_value_reaches_the_program_unchanged(shell: str, place: str, namespace: str, tmp_path: Path) -> None:
    command = "exec 3> caught; printf %s " + place.replace("{}", f"${{{namespace}}}") + " > printed"
    text = f"[params]\nv = 'x'\n[steps.a]\nrun = '''\n{command}\n'''\noutputs = {{ o = 'o' }}\n"
    (tmp_path / "workflow.toml").write_text(text)
    workflow = load_workflow(tmp_path / "workflow.toml", environ={}, params={"v": HOSTILE})
    template = workflow.steps["a"].command
    assert isinstance(template, str)
    final = render(template, {"o": Path(HOSTILE)}, shell=True)
    subprocess.run([shell, "-c", final], cwd=tmp_path, check=True, timeout=60)
    assert not (tmp_path / "injected").exists()
    printed = (tmp_path / "printed").read_text() + (tmp_path / "caught").read_text()
    assert HOSTILE in printed
