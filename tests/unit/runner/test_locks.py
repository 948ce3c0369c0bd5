"""File systems that have no locks, or none that can be believed."""

from __future__ import annotations

import errno
import fcntl
import json
from pathlib import Path

import pytest

from batchflow.errors import RefusedError, ResourceError
from batchflow.journal.lock import LOCK_NAME, WorkflowLock, describe_live_holder, holder_is_alive


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow"


@pytest.mark.fault("F12")
@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOLCK, "file locks are not supported"),
        (errno.ENOTSUP, "file locks are not supported"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_file_system_without_locks_is_refused_in_words(
    state: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ResourceError, match=f"cannot lock path={state}/lock: {words}") as caught:
        WorkflowLock(state, wait_s=0.0).acquire()
    assert caught.value.exit_code == 4
    monkeypatch.undo()
    with WorkflowLock(state, wait_s=0.0):
        pass


@pytest.mark.fault("L2")
def test_a_run_on_another_machine_is_believed_to_live(state: Path) -> None:
    """Nobody here can tell: its plan says so, and its lock is asked, as any other is."""
    lock = state / LOCK_NAME
    with WorkflowLock(state, wait_s=0.0):
        holder = json.loads(lock.read_text()) | {"host": "another-machine", "pid": 1}
    lock.write_text(json.dumps(holder))
    assert holder_is_alive(state)
    assert (describe_live_holder(state) or "").startswith("pid=1, host=another-machine, started=")
    with lock.open("r+") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(RefusedError, match="another run of this workflow is going on: pid=1, host=another-machine"):
            WorkflowLock(state, wait_s=0.0).acquire()
    with WorkflowLock(state, wait_s=0.0):
        assert json.loads(lock.read_text())["host"] != "another-machine"
