"""What the user reads when a step ends badly: the cause first, then where, then what to look at."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow._core import Channel, Port
from batchflow.mini_batches import FailedMiniBatches, MiniBatches, UniformGrid
from batchflow.model import Dispatch, Failure, Shortfall, WorkerExit
from batchflow.parallel import messages
from batchflow.plan import Before, Lost, Plan, Policy
from batchflow.pool.events import LoadedLate, WorkerDied
from batchflow.pool.slot import Slot
from batchflow.pool.watch import Watch

SCRIPT = Path("/w/score.py")
DESCRIPTION = {"error_type": "OSError", "message": "no model", "traceback": ""}
TRACEBACK = 'Traceback (most recent call last):\n  File "/w/score.py", line 3, in run\nOSError: no model\n'


class Books:
    """What ``aborted`` asks the outcomes for."""

    def __init__(self, *, lost: Lost | None = None, shortfall: Shortfall | None = None) -> None:
        self.first_lost = lost
        self.first_shortfall = shortfall


class Files:
    """What is asked of the inputs."""

    def told(self, start: int, stop: int) -> str:
        return f"items {start} to {stop - 1}"


WORK = MiniBatches.of([(0, 1000)], 10)


def lost(count: int = 3, **values: Any) -> Lost:
    defaults: dict[str, Any] = {"kind": "exception", "error_type": "OSError", "message": "no model"}
    dispatch = Dispatch(4, 3, 45, count)
    return Lost(dispatch, Failure(dispatch, **(defaults | values)))


def death(tail: str, *, signal: int | None = 9, exit_code: int | None = None, **facts: Any) -> WorkerDied:
    how = WorkerExit(3, 1, 42, signal, exit_code)
    return replace(WorkerDied(3, Channel(), how, False, True, False, False, 0, tail, ""), **facts)


def aborted(books: Any) -> list[str]:
    files: Any = Files()
    return messages.aborted("too many", books, WORK, files, Path("/s/failed.jsonl")).splitlines()


@pytest.mark.parametrize(
    ("reason", "failed_items", "failed_mini_batches", "setting"),
    [
        ("error_threshold: 3 items failed, 2 are tolerated", 3, 1, "error_threshold = 3 or more"),
        ("mini_batch_error_threshold: 2 failed", 3, 2, "mini_batch_error_threshold = 2 or more"),
        ("allowed_failed_percent: 30 % of the mini-batches failed", 3, 1, "allowed_failed_percent = 34 or more"),
        ("every item failed", 30, 3, ""),
        ("error_threshold: 30 items failed, 2 are tolerated", 30, 3, ""),
    ],
)
def test_a_threshold_names_what_would_tolerate_it(
    reason: str, failed_items: int, failed_mini_batches: int, setting: str
) -> None:
    failed = FailedMiniBatches(UniformGrid(10, 30))
    failed.add(0, 10 * failed_mini_batches)
    work = MiniBatches.of([], 10, input_count=30)
    plan = Plan(work, Policy(), Before(30 - failed_items, failed_items, failed))
    assert messages.tolerated_with(reason, plan) == setting
    ways = "fix the cause, then `batchflow retry`"
    ways += f"; or tolerate them: {setting}, then `batchflow run`" if setting else ""
    assert messages.ways_on(setting) == ways


CRASH = """\
Fatal Python error: Segmentation fault

Current thread 0x00007f (most recent call first):
{frames}  File "/w/score.py", line 8 in run
  File "/w/score.py", line 2 in start

Extension modules: numpy (total: 1)"""
IN_LIBRARIES = (
    f'  File "{Path(os.__file__).parent}/ctypes/__init__.py", line 519 in string_at\n'
    '  File "/venv/lib/python3/site-packages/fast/__init__.py", line 3 in go\n'
    '  File "<frozen runpy>", line 88 in _run_code\n'
)


@pytest.mark.parametrize("frames", ["", IN_LIBRARIES])
def test_a_crash_says_where_the_users_code_was(frames: str) -> None:
    tail = f'  File "/w/old.py", line 1 in printed\n{CRASH.format(frames=frames)}'
    died = death(tail, signal=11)
    assert died.crashed_at == "score.py line 8 in run"
    assert messages.death(died) == "worker 3 died, signal 11 (SIGSEGV) at score.py line 8 in run, pid=42"


def test_a_crash_in_libraries_alone_names_the_innermost_and_no_dump_nothing() -> None:
    head, _, _ = CRASH.partition("{frames}")
    assert death(head + IN_LIBRARIES, signal=11).crashed_at == "__init__.py line 519 in string_at"
    assert death(head, signal=11).crashed_at == ""
    assert death('  File "/w/score.py", line 8 in run', signal=9).crashed_at == ""
    assert death(CRASH.format(frames=""), signal=None, exit_code=1).crashed_at == ""


def test_a_threshold_shows_the_first_failure_with_its_traceback() -> None:
    assert aborted(Books(lost=lost(traceback=TRACEBACK))) == [
        "too many",
        "first failure: mini_batch_index=4, attempt=3, items 45 to 47",
        *TRACEBACK.splitlines(),
        "all failed items: /s/failed.jsonl",
    ]


@pytest.mark.parametrize(
    ("error_type", "message", "traceback", "shown"),
    [
        ("KeyboardInterrupt", "", "  File x\nKeyboardInterrupt\n", "  File x\nKeyboardInterrupt"),
        ("KeyboardInterrupt", "", "", "KeyboardInterrupt"),
        ("OSError", "no", "  File x\nOSError: no\na note\n", "  File x\nOSError: no\na note"),
        ("SyntaxError", "bad (x.py, line 3)", "  File x\nSyntaxError: bad\n", "  File x\nSyntaxError: bad"),
        (
            "OSError",
            "no",
            f"{TRACEBACK}\nTraceback (most recent call last):\n  File x",
            f"{TRACEBACK}\nTraceback (most recent call last):\n  File x\nOSError: no",
        ),
        ("batchflow.errors.ContractError", "3 rows", "  File x", "  File x\nbatchflow.errors.ContractError: 3 rows"),
    ],
)
def test_the_cause_is_said_once(error_type: str, message: str, traceback: str, shown: str) -> None:
    description = {"error_type": error_type, "message": message, "traceback": traceback}
    assert messages.init_failed(2, description) == f"init() failed 2 times in a row\n{shown}"


def test_without_a_traceback_the_error_stands_alone() -> None:
    assert aborted(Books(lost=lost(1))) == [
        "too many",
        "first failure: mini_batch_index=4, attempt=3, items 45 to 45",
        "OSError: no model",
        "all failed items: /s/failed.jsonl",
    ]


def test_a_traceback_that_does_not_name_the_error_is_followed_by_it() -> None:
    lines = aborted(Books(lost=lost(traceback='  File "/w/score.py", line 3 in run', message="too long")))
    assert lines[2:4] == ['  File "/w/score.py", line 3 in run', "OSError: too long"]


def test_the_last_output_of_a_dead_worker_is_shown() -> None:
    tail = "\n".join(f"line {number}" for number in range(12))
    lines = aborted(Books(lost=lost(output_tail=tail)))
    assert lines[3:] == [
        "last output of the worker:",
        *(f"  line {number}" for number in range(2, 12)),
        "all failed items: /s/failed.jsonl",
    ]


def test_a_shortfall_is_shown_when_nothing_failed() -> None:
    assert aborted(Books(shortfall=Shortfall(4, 1, 2, 8, 40, 10))) == [
        "too many",
        "first shortfall: mini_batch_index=4, run() returned 2 elements for 10 items",
        "all failed items: /s/failed.jsonl",
    ]
    assert aborted(Books()) == ["too many", "all failed items: /s/failed.jsonl"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            messages.load_failed(SCRIPT, DESCRIPTION),
            "the entry script cannot be used: /w/score.py\nOSError: no model",
        ),
        (
            messages.init_failed(3, DESCRIPTION | {"traceback": TRACEBACK}),
            f"init() failed 3 times in a row\n{TRACEBACK.rstrip()}",
        ),
        (
            messages.loaded_late(LoadedLate(3, "torch"), SCRIPT),
            "importing score.py started 2 threads (it was torch), so each worker imports it for itself; "
            "start threads in init() to share the import",
        ),
        (
            messages.loaded_late(LoadedLate(2, None), SCRIPT),
            "importing score.py started 1 threads, so each worker imports it for itself; "
            "start threads in init() to share the import",
        ),
        (
            messages.keep_dying("6 workers died one after another while idle", death("bye")),
            "6 workers died one after another while idle, the last one of signal 9 (SIGKILL)\nits last output:\nbye",
        ),
        (messages.death(death("")), "worker 3 died, signal 9 (SIGKILL), pid=42"),
        (messages.death(death("", timed_out=True)), "worker 3 was killed, run() took too long, pid=42"),
        (messages.death(death("", memory_held=3 << 30)), "worker 3 was killed, it held 3,072 MiB, pid=42"),
        (
            messages.death(death("", out_of_memory=True, peak_rss=300 << 20)),
            "worker 3 was killed by the kernel because memory ran out, peak memory 300 MiB, pid=42",
        ),
        (
            messages.death(death("", stuck=True, timed_out=True)),
            "worker 3 does not end although it was killed: the kernel holds it, pid=42",
        ),
        (
            messages.describe_init_death(death("", out_of_memory=True))["message"],
            "worker 3 died before it was ready: memory ran out, pid=42",
        ),
        (
            messages.keep_dying("6 workers died", death("", signal=None, exit_code=3)),
            "6 workers died, the last one of exit code 3",
        ),
        (
            messages.zygote_died(-9, "", None),
            "the process that workers are forked from keeps dying, status=-9",
        ),
        (
            messages.zygote_died(3, "bye", SCRIPT),
            "importing /w/score.py ends the process that does it, status=3\nits last output:\nbye",
        ),
        (
            messages.bad_shutdown(death("a\nb", signal=None, exit_code=70)),
            "worker 3 ended badly in shutdown(), exit code 70: b",
        ),
        (messages.bad_shutdown(death("")), "worker 3 ended badly in shutdown(), signal 9 (SIGKILL)"),
    ],
)
def test_the_words(text: str, expected: str) -> None:
    assert text == expected


def test_a_death_before_readiness_has_the_form_of_a_failure() -> None:
    assert messages.describe_init_death(death("bye")) == {
        "error_type": "WorkerDiedError",
        "message": "worker 3 died before it was ready: signal 9 (SIGKILL), pid=42\nlast output of the worker:\nbye",
        "traceback": "",
    }


def test_no_progress_says_what_every_living_worker_does() -> None:
    slots = [Slot(number, Channel(), Watch(10.0), pid=40 + number, asked_for=number != 1) for number in range(3)]
    slots[0].channel.run(5, 2, 0, 1)
    Port(slots[0].channel.fd, -1, 1).take()
    slots[0].watch.look("x", 0.0)
    slots[0].watch.look("x", 7.0)
    assert messages.no_progress(1.5, slots, WORK).splitlines() == [
        "nothing was completed for progress_update_timeout=1.5 s",
        "worker 0, pid=40: running, mini_batch_index=5, attempt=2 for 7 s",
        "worker 2, pid=42: starting for 0 s",
    ]
