"""Failpoints do nothing unless a test has armed them, by name and number."""

from __future__ import annotations

import importlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import batchflow
from batchflow import failpoints


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """The signals that would have been sent; afterwards nothing is armed."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    yield sent
    monkeypatch.undo()
    importlib.reload(failpoints)


def arm(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    importlib.reload(failpoints)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"BATCHFLOW_FAILPOINT": "before_pwrite"},
        {"BATCHFLOW_TEST_BUILD": "0", "BATCHFLOW_FAILPOINT": "before_pwrite"},
        {"BATCHFLOW_TEST_BUILD": "1"},
        {"BATCHFLOW_TEST_BUILD": "1", "BATCHFLOW_FAILPOINT": ""},
        {"BATCHFLOW_TEST_BUILD": "1", "BATCHFLOW_FAILPOINT": "after_pwrite"},
        {"BATCHFLOW_TEST_BUILD": "1", "BATCHFLOW_FAILPOINT": "before_pwrite:4"},
    ],
)
def test_nobody_dies_who_was_not_asked_to(
    monkeypatch: pytest.MonkeyPatch, killed: list[tuple[int, int]], variables: dict[str, str]
) -> None:
    arm(monkeypatch, **variables)
    for _ in range(3):
        failpoints.reach("before_pwrite")
    assert killed == []


@pytest.mark.parametrize(("number", "calls"), [("", 1), (":1", 1), (":3", 3)])
def test_who_was_asked_to_dies_at_that_place_at_that_time(
    monkeypatch: pytest.MonkeyPatch, killed: list[tuple[int, int]], number: str, calls: int
) -> None:
    arm(monkeypatch, BATCHFLOW_TEST_BUILD="1", BATCHFLOW_FAILPOINT=f"after_commit{number}")
    for _ in range(calls):
        assert killed == []
        failpoints.reach("before_commit")
        failpoints.reach("after_commit")
    assert killed == [(os.getpid(), signal.SIGKILL)]


def test_a_place_that_does_not_exist_is_an_error(
    monkeypatch: pytest.MonkeyPatch, killed: list[tuple[int, int]]
) -> None:
    with pytest.raises(ValueError, match="no such failpoint, name='nowhere'"):
        arm(monkeypatch, BATCHFLOW_TEST_BUILD="1", BATCHFLOW_FAILPOINT="nowhere:1")
    monkeypatch.delenv("BATCHFLOW_FAILPOINT")


def test_every_name_is_a_place_and_every_place_has_a_name() -> None:
    found = [
        name
        for path in Path(batchflow.__file__).parent.rglob("*.py")
        for name in re.findall(r'\breach\("(\w+)"\)', path.read_text("utf-8"))
        if path.name != "failpoints.py"
    ]
    assert set(found) == set(failpoints.NAMES)
    assert len(failpoints.NAMES) == len(set(failpoints.NAMES))
