"""Databases that somebody damaged or prepared: refused in words, or as right as before; never a traceback.

Both files of ours, ``records.db`` and ``journal.db``: every kind of row is in them.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchflow._core import Extent
from batchflow.errors import JournalError, RefusedError
from batchflow.journal.commits import Journal
from batchflow.journal.records import Attempt, Digest, PastRun, Records, Success
from batchflow.journal.state import State
from batchflow.model import FailureEntry, Receipt

SIGNATURE = {
    "settings": {"kind": "parallel", "parallel.over": "files", "args.n": 2.5},
    "params": {"limit": [1, None]},
    "inputs": {"files": {"kind": "files", "count": 4, "digest": "d"}, "x": {"kind": "file", "size": 3, "mtime_ns": 4}},
    "code": {"x.py": "d", "own.py": None},
    "upstream": {"prepare": "r0"},
}
RECEIPT = Receipt("predict", "r1", 4, 3, 1, 2, 1, 3, 0, "/w/rows.csv", 9, "crc32c:0", 1, 0.5, 2, 0, {}).as_dict()


def write_records(folder: Path) -> Path:
    with Records.open_for_run(folder) as records:
        records.put_run(PastRun("r1", "then", {"limit": 3}))
        records.put_attempt(Attempt("r1", "prepare", "failed", 0.5, "StepFailedError", "exit code 3", "look"))
        done = Attempt("r1", "predict", "done", 1.0, receipt=RECEIPT)
        records.put_success(done, Success("predict", "r1", 1.0, SIGNATURE, {"out": SIGNATURE["inputs"]["x"]}, RECEIPT))
        records.put_claims("predict", [folder / "a.csv", Path("/b\udcff.csv")])
        records.put_digests([Digest(b"/x.py", "content", 1, 2, {"digest": "d", "imports": [[0, "os"]]})])
        records.put_run(PastRun("r1", "then", {"limit": 3}, 1, 2.0))
    return folder / "records.db"


def read_records(folder: Path) -> object:
    with Records.open_for_run(folder) as records:
        return (
            records.successes(),
            records.last_attempts(),
            records.claims(),
            {key: (one, one.value) for key, one in records.digests().items()},
            records.runs(9),
        )


def write_journal(folder: Path) -> Path:
    with Journal.open_for_run(folder) as journal:
        journal.begin(State("r1", "predict", 6, SIGNATURE, 2, file_id=7))
        state = replace(journal._begun(), committed_size=9, checksum=5, header_size=1)
        extents = [Extent(0, 2, 1, 4, 11, 2, 0, 1, 1), Extent(4, 2, 5, 4, 12, 1, 1, 2, 1)]
        failures = [
            FailureEntry(2, 1, "exception", {"message": "bad", "mini_batch": 1}),
            FailureEntry(4, 2, "shortfall", {"missing_count": 1}),
        ]
        journal.commit(extents, failures, state)
    return folder / "journal.db"


def read_journal(folder: Path) -> object:
    with Journal.open_for_run(folder) as journal:
        journal.check()
        return (
            journal.state,
            journal.gaps(),
            list(journal.extents()),
            list(journal.extents(by="offset")),
            list(journal.failures()),
            journal.failed_item_count(),
            journal.is_in_order(),
        )


KINDS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "records": (write_records, read_records),
    "journal": (write_journal, read_journal),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow"


def refused_or_same(folder: Path, read: Callable[[Path], object], truth: object) -> bool:
    """Whether it was refused; fails when it was believed and says something else."""
    try:
        found = read(folder)
    except RefusedError as error:
        assert error.exit_code == 6
        return True
    assert found == truth
    return False


@pytest.mark.fault("S33", "F15")
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_flipped_bits_are_refused_or_change_nothing(folder: Path, kind: str) -> None:
    write, read = KINDS[kind]
    path = write(folder)
    truth, good = read(folder), path.read_bytes()
    dice = random.Random(11)
    # Only where something is written: the rest of a page is empty.
    places = [index for index, byte in enumerate(good) if byte]
    refused = 0
    for _ in range(1000):
        bad = bytearray(good)
        bad[dice.choice(places)] ^= 1 << dice.randrange(8)
        forget_log(path)
        path.write_bytes(bad)
        refused += refused_or_same(folder, read, truth)
    assert refused > 500


@pytest.mark.fault("S33", "F15")
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_garbage_cuts_and_swapped_pages_are_refused_or_change_nothing(folder: Path, kind: str) -> None:
    write, read = KINDS[kind]
    path = write(folder)
    truth, good = read(folder), path.read_bytes()
    dice = random.Random(13)
    page = 4096
    for number in range(300):
        bad = bytearray(good)
        if number % 3 == 0:
            start = dice.randrange(len(good))
            bad[start : start + 64] = dice.randbytes(min(64, len(good) - start))
        elif number % 3 == 1:
            del bad[dice.randrange(1, len(good)) :]
        else:
            one, other = (page * dice.randrange(len(good) // page) for _ in range(2))
            bad[one : one + page], bad[other : other + page] = good[other : other + page], good[one : one + page]
        forget_log(path)
        path.write_bytes(bad)
        refused_or_same(folder, read, truth)


def forget_log(path: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()


# What somebody made up: every checksum is right.


def packed(value: object) -> str:
    body = value if isinstance(value, str) else json.dumps(value)
    return f"{zlib.crc32(f'() {body}'.encode()):08x} {body}"


def changed(path: Path, *statements: str, values: tuple[Any, ...] = ()) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement, values)
    connection.commit()
    connection.close()


ATTEMPT = {"run_id": "r1", "step": "predict", "status": "done", "elapsed_s": 1.0}
SUCCESS = ATTEMPT | {"signature": SIGNATURE, "outputs": {}}
del SUCCESS["status"]


@pytest.mark.fault("S33")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("success", "[" * 50_000),
        ("success", "1" * 5000),
        ("success", "not json"),
        ("success", [1]),
        ("success", SUCCESS | {"elapsed_s": "soon"}),
        ("success", SUCCESS | {"elapsed_s": True}),
        ("success", json.dumps(SUCCESS | {"elapsed_s": 1.5}).replace("1.5", "1e999")),
        ("success", SUCCESS | {"more": 1}),
        ("success", SUCCESS | {"step": "other"}),
        ("success", {"step": "predict"}),
        ("success", SUCCESS | {"signature": {}}),
        ("success", SUCCESS | {"signature": SIGNATURE | {"inputs": []}}),
        ("success", SUCCESS | {"signature": SIGNATURE | {"inputs": {"x": {"kind": "file"}}}}),
        ("success", SUCCESS | {"signature": SIGNATURE | {"code": {"x.py": 3}}}),
        ("success", SUCCESS | {"signature": SIGNATURE | {"upstream": {"a": None}}}),
        ("success", SUCCESS | {"outputs": {"out": {"kind": "file", "size": 1, "mtime_ns": 10**30}}}),
        ("success", SUCCESS | {"outputs": {"out": {"kind": "device"}}}),
        ("success", SUCCESS | {"outputs": {"out": 3}}),
        ("success", SUCCESS | {"receipt": {"items_in": 1}}),
        ("success", SUCCESS | {"receipt": RECEIPT | {"failed": 0}}),
        ("success", SUCCESS | {"receipt": RECEIPT | {"items_in": "4"}}),
        ("attempt", ATTEMPT | {"signature": {"settings": {}}}),
        ("attempt", ATTEMPT | {"error": 3}),
        ("attempt", ATTEMPT | {"receipt": []}),
        ("run", {"run_id": "r1", "started_at": 3, "params": {}}),
        ("run", {"run_id": "r1", "started_at": "then", "params": [], "exit_code": 0}),
        ("claim", {"path": "/etc/passwd", "step": "predict"}),
        ("claim", {"path": 3, "step": "predict"}),
    ],
)
def test_records_that_were_made_up_are_refused(folder: Path, column: str, value: object) -> None:
    path = write_records(folder)
    table = {"success": "successes", "attempt": "attempts", "run": "runs", "claim": "claims"}[column]
    changed(path, f"UPDATE {table} SET {column} = ?", values=(packed(value),))
    with pytest.raises(JournalError, match="the file of records is damaged"):
        read_records(folder)


@pytest.mark.fault("S33")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE successes SET step = 'other'",
        "UPDATE attempts SET step = 'other' WHERE step = 'predict'",
        "UPDATE digests SET size = 77",
        "UPDATE digests SET path = CAST('/y.py' AS BLOB)",
        "UPDATE claims SET path = CAST('/etc/passwd' AS BLOB) WHERE path = (SELECT min(path) FROM claims)",
        "UPDATE successes SET success = NULL",
        "UPDATE successes SET success = 7",
        "UPDATE successes SET success = x'ff00ff'",
    ],
)
def test_rows_under_another_key_are_refused(folder: Path, statement: str) -> None:
    path = write_records(folder)
    with contextlib.suppress(sqlite3.IntegrityError):
        changed(path, statement)
        with pytest.raises(JournalError, match="the file of records is damaged"):
            read_records(folder)


@pytest.mark.fault("S33")
@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TRIGGER t AFTER INSERT ON runs BEGIN DELETE FROM successes; END"],
        ["CREATE VIEW v AS SELECT 1"],
        ["CREATE TABLE more (x)"],
        ["CREATE INDEX i ON runs (run)"],
        [
            "DROP TABLE successes",
            "CREATE VIEW successes AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
            " SELECT x AS step, x AS success FROM n",
        ],
        ["DROP TABLE claims"],
        ["ALTER TABLE runs ADD COLUMN more TEXT"],
    ],
)
def test_another_schema_is_refused_before_anything_of_it_runs(folder: Path, statements: list[str]) -> None:
    changed(write_records(folder), *statements)
    for opener in (Records.open_for_run, Records.open_for_reading):
        with pytest.raises(JournalError, match="its tables are not those that batchflow makes"):
            opener(folder)


def journal_state(**keys: object) -> dict[str, object]:
    totals = dict.fromkeys(("succeeded", "failed", "failed_mini_batches"), 0)
    state = {"run_id": "r1", "step": "predict", "item_count": 6, "signature": SIGNATURE, "mini_batch_size": 2}
    return state | {"totals": totals, "sums": [0] * 9} | keys


@pytest.mark.fault("S33")
@pytest.mark.parametrize(
    "value",
    [
        "{",
        [1],
        {"run_id": "r1"},
        journal_state(totals=3),
        journal_state(totals={"succeeded": "many"}),
        journal_state(sums=[0, 0]),
        journal_state(sums={"items": 0}),
        journal_state(phase="over"),
        journal_state(item_count=2**70),
        journal_state(mini_batch_size=None),
        journal_state(mini_batch_size=0),
        journal_state(signature={"settings": {}}),
        journal_state(receipt={"items_in": 1}),
        journal_state(columns=["a"]),
        journal_state(is_suspect="no"),
    ],
)
def test_a_state_that_was_made_up_is_refused(folder: Path, value: object) -> None:
    path = write_journal(folder)
    changed(path, "UPDATE state SET state = ?", values=(packed(value),))
    with pytest.raises(JournalError, match="the journal of the step is damaged"):
        read_journal(folder)


@pytest.mark.fault("S33")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE extents SET offset = 'far' WHERE first_item = 0",
        "UPDATE extents SET item_count = 2.5 WHERE first_item = 0",
        "UPDATE extents SET item_count = 9223372036854775807 WHERE first_item = 4",
        "UPDATE extents SET size = -4 WHERE first_item = 0",
        "UPDATE extents SET size = size + 1, checksum = checksum - 1",
        "UPDATE extents SET first_item = 1 WHERE first_item = 0",
        "UPDATE failures SET first_item = 0 WHERE first_item = 2",
        "UPDATE failures SET first_item = 9 WHERE first_item = 2",
        "UPDATE failures SET item_count = 0.5 WHERE first_item = 2",
        "UPDATE failures SET entry = 'none'",
        "DELETE FROM extents WHERE first_item = 0",
        "INSERT INTO extents SELECT 2, 2, 9, 4, 0, 2, 0, 1, 1, 1",
    ],
)
def test_extents_that_were_made_up_are_refused(folder: Path, statement: str) -> None:
    changed(write_journal(folder), statement)
    with pytest.raises(JournalError, match="the journal of the step is damaged"):
        read_journal(folder)
