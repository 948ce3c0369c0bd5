from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.cli.layout import fit

FACTS = {
    "count": "156 of 400 items (39 %)",
    "failed": "30 failed",
    "rate": "38.5/s",
    "eta": "ETA 6 s",
    "workers": "2 workers",
    "elapsed": "4.1 s",
}
SHORT = "156/400 (39 %)"
NAME = "predict-pictures"


def line(width: int, name: str = NAME, facts: dict[str, str] = FACTS) -> tuple[str, int, str]:
    found = fit(name, facts, SHORT, has_bar=True, width=width)
    return found.name, found.bar_width, found.facts


@pytest.mark.parametrize(
    ("width", "bar_width", "facts"),
    [
        (120, 24, "156 of 400 items (39 %) · 30 failed · 38.5/s · ETA 6 s · 2 workers · 4.1 s"),
        (113, 21, "156 of 400 items (39 %) · 30 failed · 38.5/s · ETA 6 s · 2 workers · 4.1 s"),
        (93, 0, "156 of 400 items (39 %) · 30 failed · 38.5/s · ETA 6 s · 2 workers · 4.1 s"),
        (85, 0, "156 of 400 items (39 %) · 30 failed · 38.5/s · ETA 6 s · 4.1 s"),
        (75, 0, "156 of 400 items (39 %) · 30 failed · ETA 6 s · 4.1 s"),
        (67, 0, "156 of 400 items (39 %) · 30 failed · 4.1 s"),
        (55, 0, "156 of 400 items (39 %) · 30 failed"),
        (42, 0, "156 of 400 items (39 %)"),
        (33, 0, "156/400 (39 %)"),
    ],
)
def test_first_the_bar_shrinks_then_the_least_important_goes(width: int, bar_width: int, facts: str) -> None:
    assert line(width) == (NAME, bar_width, facts)


def test_a_name_that_leaves_no_room_is_shortened_before_the_count_is_lost() -> None:
    assert line(33, "a-step-with-a-very-long-name") == ("a-step-with-a-ver…", 0, SHORT)
    assert line(5) == ("predict…", 0, SHORT)


def test_a_step_that_counts_nothing_has_its_time() -> None:
    assert line(40, "train", {"elapsed": "4.1 s"})[2] == "4.1 s"


@given(st.text("ab", min_size=1, max_size=64), st.sets(st.sampled_from(sorted(FACTS))), st.integers(26, 200))
def test_no_line_is_wider_than_the_terminal(name: str, keys: set[str], width: int) -> None:
    facts = {key: text for key, text in FACTS.items() if key in keys}
    found = fit(name, facts, SHORT, has_bar=True, width=width)
    assert found.width <= width
    assert found.name.startswith(name[:7])
    assert "count" not in keys or "39 %" in found.facts
