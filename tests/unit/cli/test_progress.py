from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.cli.live import LiveDisplay
from batchflow.cli.progress import PlainDisplay, line_interval_s
from batchflow.cli.streams import QuietStream
from batchflow.cli.views import StepView
from batchflow.clock import FakeClock
from batchflow.model import StepFailed, StepFinished, StepProgress, StepStarted

STARTED = StepStarted("predict", "parallel", "never run", 1_000)


def progress(done: int, elapsed_s: float, failed: int = 0, note: str = "", workers: int = 2) -> StepProgress:
    return StepProgress("predict", done, failed, 1_000, workers, elapsed_s, note)


def test_a_view_before_the_first_item_says_what_it_waits_for() -> None:
    view = StepView(STARTED, now=100.0)
    view.update(progress(0, 1.0, note="starting workers"), now=101.0)
    assert list(view.facts(102.0).values()) == ["0 of 1,000 items (0 %)", "2 workers", "2.0 s", "starting workers"]


def test_a_view_in_the_middle_has_rate_and_time_to_go() -> None:
    view = StepView(STARTED, now=0.0)
    view.update(progress(100, 1.0), now=1.0)
    view.update(progress(295, 3.0, failed=5), now=3.0)
    assert list(view.facts(4.0).values()) == [
        "300 of 1,000 items (30 %)",
        "5 failed",
        "100/s",
        "ETA 6 s",
        "2 workers",
        "4.0 s",
    ]


def test_the_rate_is_that_of_the_last_seconds() -> None:
    view = StepView(STARTED, now=0.0)
    for second in range(31):
        view.update(progress(10 * min(second, 20) + max(0, second - 20), float(second)), now=float(second))
    assert view.rate() == pytest.approx(1.0)


def test_a_jump_at_the_start_is_no_rate() -> None:
    view = StepView(STARTED, now=0.0)
    view.update(progress(900, 0.5), now=0.5)
    assert view.rate() is None
    assert view.eta_s(0.5) is None


def test_what_earlier_runs_did_is_no_part_of_the_pace() -> None:
    view = StepView(STARTED, now=0.0)
    # 600 of 1,000 items are kept; the other 400 come at 10/s, from the third second on.
    for second, done, note in [(0, 600, "listing files"), (3, 600, "starting workers"), (4, 610, ""), (5, 620, "")]:
        view.update(StepProgress("predict", done, 0, 1_000, 4, float(second), note, kept=600), now=float(second))
    assert view.short_count == "620/1,000 (62 %)"
    assert view.rate() == pytest.approx(10.0, rel=0.2)
    assert view.eta_s(5.0) == pytest.approx(38.0)


def test_mini_batches_that_end_together_do_not_make_the_eta_jump() -> None:
    view = StepView(StepStarted("predict", "parallel", "r", 100_000), now=0.0)
    ends, tick = [], 0.0
    for second in range(120):
        # 1,000 items every four seconds: 250/s, seen once a second.
        done = 1_000 * (second // 4)
        view.update(StepProgress("predict", done, 0, 100_000, 4, float(second)), now=float(second))
        tick = view.eta_s(float(second)) or tick
        ends.append(second + tick)
    late = ends[60:]
    assert max(late) - min(late) < 60
    assert sum(late) / len(late) == pytest.approx(400, rel=0.05)


def test_the_time_until_the_workers_are_ready_is_no_part_of_the_eta() -> None:
    view = StepView(STARTED, now=0.0)
    for second in range(31):
        view.update(progress(0, float(second), note="starting workers"), now=float(second))
    view.update(progress(100, 31.0), now=31.0)
    assert view.eta_s(31.0) == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("remaining", "text"), [(1, "ETA 1 s"), (590, "ETA 59 s"), (933, "ETA 1 min 35 s"), (7_000, "ETA 11 min 30 s")]
)
def test_a_guess_is_shown_as_one(remaining: int, text: str) -> None:
    view = StepView(StepStarted("predict", "parallel", "r", remaining + 10), now=0.0)
    for second in (0, 1):
        view.update(StepProgress("predict", 10 * second, 0, remaining + 10, 2, float(second)), now=float(second))
    assert view.facts(1.0)["eta"] == text


def test_a_listing_without_a_total_counts_what_it_has() -> None:
    view = StepView(StepStarted("predict", "parallel", "r"), now=0.0)
    view.update(StepProgress("predict", 0, 0, None, 0, 1.0, "listing"), now=1.0)
    assert list(view.facts(1.0).values()) == ["1.0 s", "listing"]


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=20), st.floats(0, 1e6)
)
def test_no_sequence_of_events_breaks_a_view(events: list[tuple[float, int, int]], now: float) -> None:
    view = StepView(STARTED, now=0.0)
    for elapsed_s, done, failed in events:
        view.update(progress(done, elapsed_s, failed), elapsed_s)
        assert "%" in view.facts(now)["count"]
        assert (view.eta_s(now) or 0.0) >= 0.0


class Screen:
    def __init__(self, verbosity: int = 0) -> None:
        self.text = io.StringIO()
        self.clock = FakeClock()
        self.display = PlainDisplay(QuietStream(self.text), self.clock, verbosity)

    def lines(self) -> list[str]:
        return self.text.getvalue().splitlines()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)
            self.display.tick()


@pytest.mark.fault("O10")
def test_plain_lines_come_after_two_seconds_and_then_every_five() -> None:
    screen = Screen()
    screen.display.show(STARTED)
    screen.wait(1.5)
    assert len(screen.lines()) == 1
    screen.wait(0.5)
    assert screen.lines()[1:] == ["predict: 0 of 1,000 items (0 %), 2.0 s"]
    screen.wait(4.5)
    assert len(screen.lines()) == 2
    screen.wait(10.5)
    assert [line.rsplit(", ", 1)[1] for line in screen.lines()[1:]] == ["2.0 s", "7.0 s", "12 s", "17 s"]


def test_a_step_that_counts_nothing_says_less() -> None:
    screen = Screen()
    screen.display.show(StepStarted("train", "call", "never run"))
    screen.wait(60)
    assert screen.lines()[1:] == ["train: 10 s", "train: 40 s"]


def test_nothing_is_shown_of_a_step_that_ended() -> None:
    screen = Screen()
    screen.display.show(STARTED)
    screen.display.show(StepFinished("predict", 1.0, ()))
    screen.display.show(StepFailed("other", 1.0, "E", "m"))
    screen.wait(30)
    assert screen.lines()[1:] == ["predict: done in 1.0 s", "other: failed after 1.0 s: m"]


def test_quiet_shows_no_progress_but_failures() -> None:
    screen = Screen(verbosity=-1)
    screen.display.show(STARTED)
    screen.wait(30)
    screen.display.show(StepFailed("predict", 30.0, "E", "m"))
    screen.display.say("stopping\x1b")
    assert screen.lines() == ["predict: failed after 30 s: m", "stopping\\x1b"]


@pytest.mark.fault("O10")
@pytest.mark.parametrize(("elapsed_s", "interval_s"), [(2, 5), (299, 5), (1_200, 20), (36_000, 60)])
def test_long_runs_write_fewer_lines(elapsed_s: float, interval_s: float) -> None:
    assert line_interval_s(StepView(STARTED, 0.0), elapsed_s) == interval_s


@pytest.mark.parametrize("width", ["1", "2", "10", "40", "200"])
def test_the_live_display_draws_at_any_width(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("TERM", "xterm")
    text, clock = io.StringIO(), FakeClock()
    text.isatty = lambda: True  # type: ignore[method-assign]
    display = LiveDisplay(QuietStream(text), clock, 0)
    display.show(STARTED)
    for second in range(3):
        display.show(progress(100 * second, float(second)))
        clock.advance(1.0)
        display.tick()
    display.say("stopping")
    display.show(StepFinished("predict", 3.0, ()))
    display.close()
    assert "stopping" in text.getvalue().replace("\n", "")
    if width == "40":
        assert "predict 200 of 1,000 items (20 %)" in re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", text.getvalue())
    if width == "200":
        assert "200 of 1,000 items (20 %) · 100/s · ETA 7 s" in text.getvalue()
