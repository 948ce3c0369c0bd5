from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchflow.cli.profile import profile_lines, short_duration, step_lines
from batchflow.profiles import PHASES, StepProfile
from batchflow.runner.values import RunRecord, StepRecord

PROFILE = StepProfile(
    phases_s=dict.fromkeys(PHASES, 0.0) | {"list": 0.1, "start": 4.1, "dispatch": 7.9, "finish": 0.2},
    dispatch_s={"feed": 0.05, "drain": 0.1, "commit": 0.15, "wait": 7.6, "other": 0.0},
    workers_s={"wait": 0.3, "decode": 0.1, "run": 15.0, "encode": 0.3, "publish": 0.1, "blocked": 0.0, "other": 0.0},
    workers=2,
    cores=2,
    init_s=1.25,
    straggling_s=0.0,
    mini_batches=1000,
    items=100_000,
    mini_batch_size=100,
    cpu_s=15.2,
)
WIDE = """\
where the time of step score went (2 workers, 1,000 mini-batches, 12 s, workers 15 s of CPU)
  driver      prepare 0.0 ms · list 0.10 s · partition 0.0 ms · start 4.1 s (init() 1.2 s) · dispatch 7.9 s · \
shutdown 0.0 ms · finish 0.20 s
  dispatch    feed 50 ms · drain 0.10 s · commit 0.15 s · waiting for workers 7.6 s · other 0.0 ms
  workers     wait 2 % · decode 1 % · run() 95 % · encode 2 % · publish 0 % · blocked on the driver 0 % · other 0 % \
(of 2 × 7.9 s)
  bottleneck  your run(): 95 % of the workers' time; more workers help only where cores are free (2 of 2 in use)
"""
NARROW = """\
where the time of step score went (2
    workers, 1,000 mini-batches, 12 s,
    workers 15 s of CPU)
  driver      prepare 0.0 ms ·
              list 0.10 s ·
              partition 0.0 ms ·
              start 4.1 s (init() 1.2 s) ·
              dispatch 7.9 s ·
              shutdown 0.0 ms ·
              finish 0.20 s
"""


def test_a_table_on_a_wide_terminal() -> None:
    assert "\n".join(step_lines("score", PROFILE, 10_000)) + "\n" == WIDE


def test_on_a_narrow_one_no_number_is_parted_from_its_name() -> None:
    assert "\n".join(step_lines("score", PROFILE, 42)).startswith(NARROW)
    assert max(len(line) for line in step_lines("score", PROFILE, 42)) <= 42


@pytest.mark.parametrize("width", [0, 1, 38, 60, 80, 200])
def test_at_any_width_the_same_words_come_in_the_same_order(width: int) -> None:
    lines = step_lines("score", PROFILE, width)
    assert " ".join(lines).split() == WIDE.split()
    assert all(len(line) <= max(width, 42) for line in lines)


def test_a_step_that_dispatched_nothing_has_less_to_say() -> None:
    early = PROFILE._replace(phases_s=PROFILE.phases_s | {"dispatch": 0.0}, init_s=0.0)
    lines = step_lines("score", early, 10_000)
    assert [line.split()[0] for line in lines] == ["where", "driver", "bottleneck"]
    assert "init()" not in lines[1]


def test_a_name_cannot_forge_a_line() -> None:
    assert step_lines("a\n\x1b[2Jb", PROFILE, 10_000)[0].startswith("where the time of step a\\n\\x1b[2Jb went (")


def test_all_steps_of_a_run_and_what_is_left_of_its_time() -> None:
    steps = {
        "glue": StepRecord("glue", "done", 1.0, {}, cpu_s=0.02),
        "score": StepRecord("score", "failed", 12.3, {}, error="x", profile=PROFILE, cpu_s=15.2),
    }
    lines = profile_lines(RunRecord("r1", Path("w.toml"), 1, 13.55, steps), 10_000)
    assert lines == [
        "step glue took 1.0 s, 20 ms of CPU",
        *WIDE.splitlines(),
        "outside of steps: 0.25 s (plan and records)",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 ms"),
        (0.00004, "0.0 ms"),
        (0.0003, "0.3 ms"),
        (0.012, "12 ms"),
        (0.0994, "99 ms"),
        (0.1, "0.10 s"),
        (4.12, "4.1 s"),
        (75, "1 min 15 s"),
    ],
)
def test_short_durations(seconds: float, text: str) -> None:
    assert short_duration(seconds) == text


def test_the_table_in_the_documentation_has_the_parts_that_are_shown() -> None:
    page = (Path(__file__).parents[3] / "docs/performance.md").read_text("utf-8")
    shown = page.partition("```text\nwhere the time")[2].partition("```")[0]
    now = "\n".join(step_lines("score", PROFILE._replace(cpu_s=1.0), 10_000))
    assert without_numbers("where the time" + shown) == without_numbers(now)


def without_numbers(text: str) -> list[str]:
    return re.sub(r"[\d.,]+( ms| s| %)?", "#", text).split()
