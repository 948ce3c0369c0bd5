"""Durations, sizes, thresholds."""

from __future__ import annotations

import pytest

from batchflow.workflow.quantities import QuantityError, parse_duration, parse_size, parse_threshold
from batchflow.workflow.values import Threshold


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (60, 60),
        (0.5, 0.5),
        ("2 min", 120),
        ("90s", 90),
        ("1.5 h", 5400),
        ("250 ms", 0.25),
        ("1 d", 86400),
        ("1_000 S", 1000),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.fault("K2")
@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        -0.0,
        float("nan"),
        float("inf"),
        10**400,
        True,
        None,
        [],
        "",
        "s",
        "2",
        "-1 s",
        "0 s",
        "2 m",
        "1 2 s",
        "٣ s",
        "1e3 s",
    ],
)
def test_wrong_durations(value: object) -> None:
    with pytest.raises(QuantityError, match="duration"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1, 1),
        ("1024KB", 1 << 20),
        ("10MB", 10 << 20),
        ("1 MiB", 1 << 20),
        ("0.5 kib", 512),
        ("2 TiB", 2 << 40),
        ("7 B", 7),
    ],
)
def test_sizes_are_1024_based(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.fault("K12")
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "1", "MiB", "1 PiB", "0.1 B", 10**30, "99999999 TiB", None])
def test_wrong_sizes(value: object) -> None:
    with pytest.raises(QuantityError, match="size"):
        parse_size(value)


@pytest.mark.parametrize(
    ("value", "threshold"),
    [(0, Threshold(0)), (-1, Threshold(-1)), ("1%", Threshold(percent=1)), ("0.5 %", Threshold(percent=0.5))],
)
def test_thresholds(value: object, threshold: Threshold) -> None:
    assert parse_threshold(value) == threshold


@pytest.mark.parametrize("value", [-2, 1.0, True, "5", "%", "-1%", "100.1%", "1e2%", None, 10**30])
def test_wrong_thresholds(value: object) -> None:
    with pytest.raises(QuantityError, match="expected"):
        parse_threshold(value)


@pytest.mark.parametrize("parse", [parse_duration, parse_size, parse_threshold])
def test_a_number_in_quotes_is_told_to_lose_them(parse: object) -> None:
    with pytest.raises(QuantityError) as caught:
        parse("5")  # type: ignore[operator]
    assert (caught.value.code, caught.value.hint) == ("BF010", "remove the quotes")
