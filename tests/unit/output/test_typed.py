"""What the driver makes of what the process that makes a file says, or does not say; the process is played."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchflow._core import crc32c
from batchflow.errors import JournalError, NoRoomError, ResourceError
from batchflow.output import typed, typed_child
from batchflow.output.typed import TypedJob, Written, make_typed
from batchflow.worker.results import make_encoder


class Played:
    """In the place of a process: what it says, and how it ends."""

    says = b""
    complains = b""
    status: int | None = 0
    started: Any = None

    def __init__(self, command: list[str], *, stderr: int, pass_fds: list[int], **keys: Any) -> None:
        os.write(stderr, self.complains)
        os.lseek(pass_fds[0], 0, os.SEEK_SET)
        type(self).started = (command[1:], json.loads(os.read(pass_fds[0], 1 << 16)), keys["start_new_session"])
        reader, writer = os.pipe()
        os.write(writer, self.says)
        self._writer = writer
        if self.status is not None:
            os.close(writer)
        self.stdout = os.fdopen(reader, "rb")
        self.was_killed = False

    def poll(self) -> int | None:
        return self.status

    def wait(self) -> int | None:
        return self.status

    def kill(self) -> None:
        os.close(self._writer)
        type(self).killed = True

    def communicate(self) -> None:
        self.stdout.close()

    killed = False


JOB = TypedJob(Path("/p/rows"), 7, 8, Path("/p/rows.parquet"), "parquet")


def played(monkeypatch: pytest.MonkeyPatch, **values: Any) -> type[Played]:
    kind = type("One", (Played,), values)
    monkeypatch.setattr(typed.subprocess, "Popen", kind)
    return kind


def test_it_is_told_its_job_and_says_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    process = played(monkeypatch, says=b'{"size": 1, "checksum": 2, "row_count": 3}')
    assert make_typed(JOB, lambda: False) == Written(1, 2, 3)
    (program, _), job, has_own_session = process.started
    assert (program, job, has_own_session) == (typed_child.__file__, JOB.as_json(), True)
    assert job["source"] == "/p/rows"


def test_it_is_ended_when_the_run_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    process = played(monkeypatch, status=None)
    answers = iter([False, True])
    assert make_typed(JOB, lambda: next(answers)) is None
    assert process.killed


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"says": b'{"damaged": "odd"}'}, JournalError, "/p/rows is not as it was written: odd"),
        ({"says": b'{"errno": 28, "path": "/p/rows.parquet"}'}, NoRoomError, "cannot write /p/rows.parquet: No space"),
        ({"says": b'{"errno": 5, "path": "/p/rows"}'}, ResourceError, "cannot write /p/rows: Input/output error"),
        ({"status": -9}, ResourceError, r"writes /p/rows.parquet ended: signal 9 \(SIGKILL\)$"),
        ({"status": 1, "complains": b"ouch\n"}, ResourceError, "ended: exit code 1; it said:\nouch$"),
        ({"says": b'{"si', "status": 3}, ResourceError, "ended: exit code 3$"),
        ({"says": b"{}"}, ResourceError, "ended: exit code 0$"),
    ],
)
def test_what_goes_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], error: type[Exception], message: str
) -> None:
    played(monkeypatch, **values)
    with pytest.raises(error, match=message):
        make_typed(JOB, lambda: False)


def test_a_machine_without_processes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(typed.subprocess, "Popen", none_left)
    with pytest.raises(ResourceError, match=r"cannot start the process that writes /p/rows\.parquet: Resource temp"):
        make_typed(JOB, lambda: False)


def test_one_without_an_output_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mute(Played):
        def communicate(self) -> None:
            """Nothing is open."""

        def poll(self) -> int | None:
            return 0

    def start(*arguments: Any, **keys: Any) -> Played:
        process = Mute(*arguments, **keys)
        process.stdout.close()
        vars(process)["stdout"] = None
        return process

    monkeypatch.setattr(typed.subprocess, "Popen", start)
    with pytest.raises(ResourceError, match="ended: exit code 0"):
        make_typed(JOB, lambda: False)


def test_the_answer_of_the_program(tmp_path: Path) -> None:
    one = make_encoder(output_format="arrow").encode([1, 2], 2)
    content = one.header + one.rows
    (tmp_path / "rows").write_bytes(content)
    job = TypedJob(tmp_path / "rows", len(content), crc32c(content), tmp_path / "rows.arrow", "arrow").as_json()
    answer: Callable[[dict[str, Any]], dict[str, Any]] = typed_child.answer
    assert answer(job) == {
        "size": (tmp_path / "rows.arrow").stat().st_size,
        "checksum": crc32c((tmp_path / "rows.arrow").read_bytes()),
        "row_count": 2,
    }
