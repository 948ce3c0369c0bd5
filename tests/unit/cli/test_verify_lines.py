from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.cli.verify import Ways, verify_lines
from batchflow.output.audit import Problem
from batchflow.runner.values import Committed
from batchflow.runner.verify import StepReport


@pytest.mark.parametrize(
    ("report", "line"),
    [
        (StepReport("a"), "a: nothing to verify, it has not succeeded yet"),
        (
            StepReport("a", "succeeded", Committed(10_000, 9_999, 1, 5.0), 9_999, 1_258_291, "crc32c:0000abcd", 1),
            "a: 10,000 items = 9,999 rows + 1 failed, 1.2 MiB, crc32c:0000abcd, ok",
        ),
        (
            StepReport("a", "succeeded", Committed(2, 1, 1, 5.0), 7, 20, "crc32c:0000abcd", 1),
            "a: 2 items = 1 succeeded + 1 failed, 7 rows, 20 B, crc32c:0000abcd, ok",
        ),
        (StepReport("a", "succeeded", Committed(1, 1, 0, 5.0)), "a: 1 item = 1 succeeded + 0 failed, ok"),
        (
            StepReport("a", "unfinished", Committed(100, 50, 2, 5.0), 50, 20, "crc32c:0000abcd"),
            "a: unfinished: 52 of 100 items = 50 rows + 2 failed, 48 to do, 20 B, crc32c:0000abcd, ok",
        ),
    ],
)
def test_what_was_verified_of_a_step_is_one_line(report: StepReport, line: str) -> None:
    end = "everything is as it was written"
    if report.status == "nothing":
        end = "nothing was verified: no step has succeeded yet"
    assert verify_lines({"a": report}, Path("/w"), Ways()) == [line, end]
    if report.status == "nothing":
        both = {"a": report, "b": StepReport("b", "succeeded", output_count=1)}
        assert verify_lines(both, Path("/w"), Ways())[-1] == "everything is as it was written"


def test_what_nobody_read_is_named(tmp_path: Path) -> None:
    succeeded = StepReport("a", "succeeded", output_count=3, unread=[tmp_path / "big\x1b.bin", Path("/else/folder")])
    unfinished = StepReport("b", "unfinished", Committed(2, 1, 0, 5.0), unread=[tmp_path / "out.partial"])
    assert verify_lines({"a": succeeded, "b": unfinished}, tmp_path, Ways()) == [
        "a: 3 outputs as recorded, ok; compared by size and time only: big\\x1b.bin, /else/folder",
        "b: unfinished: 1 of 2 items = 1 succeeded + 0 failed, 1 to do, ok; only seen to be there: out.partial",
        "what was read is as it was written",
    ]


def test_what_is_wrong_follows_with_its_place(tmp_path: Path) -> None:
    report = StepReport("a", "succeeded", output_count=1)
    report.problems.append(Problem(tmp_path / "b\x1b.csv", "bytes belong to no item", 20, "20", "30"))
    report.problems.append(Problem(Path("/else/where"), "it is missing"))
    reports = {"a": report, "b": StepReport("b"), "c": StepReport("c", "succeeded", output_count=1)}
    reports["c"].problems.append(Problem(tmp_path / "c", "it is missing"))
    assert verify_lines(reports, tmp_path, Ways("batchflow run f.toml", {"c"})) == [
        "a: 1 output as recorded, 2 problems",
        "  b\\x1b.csv, offset=20: bytes belong to no item, expected=20, found=30",
        "  /else/where: it is missing",
        "b: nothing to verify, it has not succeeded yet",
        "c: 1 output as recorded, 1 problem",
        "  c: it is missing",
        "3 problems found, nothing was changed",
        "to make a anew: batchflow run a -f --restart",
        "batchflow run f.toml makes c again",
    ]
