"""The records in a folder, and what stands in them: the newest figures of every scenario.  Reads, never writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.values import OURS


@dataclass(frozen=True)
class Records:
    """``records`` by the name of their file, ``scenarios`` by (case, title), each of the newest record that has it."""

    records: dict[str, dict[str, Any]]
    scenarios: dict[tuple[str, str], dict[str, Any]]

    @staticmethod
    def load(folder: Path) -> Records:
        """Every ``*.json`` of the folder but those of quick runs, which measure nothing."""
        found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
        found = {name: record for name, record in found.items() if not record["options"]["quick"]}
        scenarios = {
            (scenario["case"], scenario["title"]): scenario | {"record": name}
            for name, record in sorted(found.items(), key=lambda item: (item[1]["created"], item[0]))
            for scenario in record["scenarios"]
        }
        return Records(found, scenarios)

    def of_case(self, case: str) -> list[dict[str, Any]]:
        return [scenario for (name, _), scenario in self.scenarios.items() if name == case]

    def find(self, case: str, *, form: str = "", **fields: object) -> dict[str, Any] | None:
        """The first scenario of the case whose record has these fields, and ``form`` as a part of its title."""
        for one in self.of_case(case):
            is_of_form = not form or form in one["title"].split(", ")
            if is_of_form and all(one.get(key) == value for key, value in fields.items()):
                return one
        return None

    def fit(self, name: str) -> dict[str, Any] | None:
        """What was fitted to a variant of *dispatch*, from the newest record."""
        fits = [fit for record in self._by_age() for fit in record["fits"] if fit["name"] == name]
        return fits[-1] if fits else None

    def _by_age(self) -> Iterator[dict[str, Any]]:
        yield from sorted(self.records.values(), key=lambda record: str(record["created"]))


def median(scenario: dict[str, Any] | None, name: str, metric: str) -> float | None:
    """Of one metric of one variant, in the metric's unit; None where it was not measured."""
    if scenario is None:
        return None
    for variant in scenario["variants"]:
        if variant["name"] == name:
            time = variant["metrics"].get(metric, {}).get("time")
            return None if time is None else float(time["median"])
    return None


def ratio(scenario: dict[str, Any], name: str, metric: str) -> float | None:
    """``name ÷ batchflow``, where ``NAME, best`` is the fastest with more than one mini-batch a message."""
    peer, _, last = name.rpartition(", ")
    named = [one for one in scenario["variants"] if one["name"] == name]
    if last == "best":
        named = [one for one in scenario["variants"] if one["peer"] == peer and one["chunk"] != 1]
    ratios = [one["metrics"].get(metric, {}).get("ratio") for one in named]
    return min((float(one["median"]) for one in ratios if one), default=None)


def slower(scenario: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], float]]:
    """(peer, metric, ratio) wherever something that is not ours took less than batchflow."""
    for variant in scenario["variants"]:
        for metric in scenario["metrics"]:
            found = variant["metrics"].get(metric["key"], {}).get("ratio")
            is_ours = variant["name"].startswith((OURS, "rings"))
            if found and not is_ours and metric["compared"] and not scenario["axis"] and found["median"] < 1:
                yield variant["name"], metric, float(found["median"])
