"""The records: what is put in comes out, and whatever lies there instead is refused in words."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import stat
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchflow.errors import BatchflowError, JournalError, RefusedError, ResourceError
from batchflow.journal.records import Attempt, Digest, PastRun, Records, Success
from batchflow.model import Receipt

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


SIGNATURE = {
    "settings": {"run": "x", "limit": 2.5},
    "params": {"limit": [1, None]},
    "inputs": {
        "rows": {"kind": "file", "size": 3, "mtime_ns": 4},
        "images": {"kind": "files", "count": 1, "digest": "d"},
    },
    "code": {"x.py": "d", "own.py": None},
    "upstream": {"prepare": "r0"},
}
RECEIPT = Receipt("predict", "r1", 3, 2, 1, 1, 0, 2, 0, None, 0, "", 1, 0.5, 1, 0, {"timings": {"list": 0.1}}).as_dict()


def folder_of(tmp_path: Path) -> Path:
    return tmp_path / ".batchflow" / "flow"


def success(step: str = "predict", run_id: str = "r1", **keys: object) -> Success:
    return Success(step, run_id, 1.5, SIGNATURE, {"out": {"kind": "missing"}}, **keys)  # type: ignore[arg-type]


def test_a_success_is_recorded_together_with_its_attempt(tmp_path: Path) -> None:
    with Records.open_for_run(folder_of(tmp_path)) as records:
        records.put_run(PastRun("r1", "then", {"limit": 3}))
        records.put_attempt(Attempt("r1", "predict", "running", 0.0))
        done = Attempt("r1", "predict", "done", 1.5, receipt=RECEIPT)
        records.put_success(done, success(receipt=RECEIPT))
        records.put_run(PastRun("r1", "then", {"limit": 3}, 0, 2.0))
    with Records.open_for_run(folder_of(tmp_path)) as records:
        assert records.successes() == {"predict": success(receipt=RECEIPT)}
        assert records.last_attempts() == {"predict": done}
        (run,) = records.runs(5)
        assert (run.run_id, run.params, run.exit_code, run.elapsed_s) == ("r1", {"limit": 3}, 0, 2.0)


def test_the_last_attempt_counts_and_a_failure_keeps_the_success(tmp_path: Path) -> None:
    with Records.open_for_run(folder_of(tmp_path)) as records:
        for run_id in ("r1", "r2"):
            records.put_run(PastRun(run_id, "then", {}))
        records.put_success(Attempt("r1", "predict", "done", 1.0), success())
        failed = Attempt("r2", "predict", "failed", 0.5, "StepFailedError", "exit code 3", "look")
        records.put_attempt(failed)
        assert records.last_attempts() == {"predict": failed}
        assert records.successes() == {"predict": success()}
        assert [run.run_id for run in records.runs(1)] == ["r2"]
        assert [run.exit_code for run in records.runs(9)] == [None, None]


def test_claims_below_the_folder_of_the_workflow_move_with_it(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with Records.open_for_run(folder_of(old)) as records:
        records.put_claims("one", [old / "build/x.csv", tmp_path / "beside.csv"])
    old.rename(new)
    with Records.open_for_run(folder_of(new)) as records:
        assert records.claims() == {new / "build/x.csv": "one", tmp_path / "beside.csv": "one"}


def test_claims_follow_the_steps(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(b"/data/\xff\xfe.csv"))
    with Records.open_for_run(folder_of(tmp_path)) as records:
        records.put_claims("one", [odd, Path("/b")])
        records.put_claims("two", [Path("/c")])
        records.put_claims("two", [Path("/d")])
        assert records.claims() == {odd: "one", Path("/b"): "one", Path("/d"): "two"}
        records.drop_claims_except(["two"])
        assert records.claims() == {Path("/d"): "two"}


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), json_values))
def test_any_json_value_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]
) -> None:
    folder = folder_of(tmp_path_factory.mktemp("records"))
    value |= {"name": "\udcff", "digest": "d", "imports": [[0, "os.path"], [2, ""]]}
    with Records.open_for_run(folder) as records:
        records.put_digests([Digest(b"/x\xff.py", "content", 1, 2, value)])
        (digest,) = records.digests().values()
        assert (digest.value, digest.path, digest.size, digest.mtime_ns) == (value, b"/x\xff.py", 1, 2)


def test_only_the_owner_can_read_the_state(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Records.open_for_run(folder_of(tmp_path)).close()
    finally:
        os.umask(old)
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / ".batchflow", *(tmp_path / ".batchflow").rglob("*")]
    }
    assert modes == {".batchflow": 0o700, ".batchflow/flow": 0o700, ".batchflow/flow/records.db": 0o600}


@pytest.mark.fault("E13")
def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert Records.open_for_reading(folder_of(tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
    Records.open_for_run(folder_of(tmp_path)).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    records = Records.open_for_reading(folder_of(tmp_path))
    assert records is not None
    with records:
        assert records.successes() == {}
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_reader_sees_what_a_run_wrote_while_the_run_goes_on(tmp_path: Path) -> None:
    with Records.open_for_run(folder_of(tmp_path)) as writer:
        writer.put_success(Attempt("r1", "predict", "done", 1.0), success())
        reader = Records.open_for_reading(folder_of(tmp_path))
        assert reader is not None
        with reader:
            assert list(reader.successes()) == ["predict"]
            writer.put_success(Attempt("r1", "other", "done", 1.0), success("other"))
            assert sorted(reader.successes()) == ["other", "predict"]


@pytest.mark.fault("L6")
def test_records_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    Records.open_for_run(folder_of(tmp_path)).close()
    path = folder_of(tmp_path) / "records.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    before = path.read_bytes()
    for opener in (Records.open_for_run, Records.open_for_reading):
        with pytest.raises(JournalError, match=r"written by a newer batchflow, path=.*, version=2, known=1") as caught:
            opener(folder_of(tmp_path))
        assert caught.value.hint is not None
    assert path.read_bytes() == before


def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    Records.open_for_run(folder_of(tmp_path)).close()
    path = folder_of(tmp_path) / "records.db"
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(JournalError, match="not a file of batchflow's"):
        Records.open_for_run(folder_of(tmp_path))


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be looked at " * 40, b"x", b"\0" * 4096]
)
def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    folder = folder_of(tmp_path)
    Records.open_for_run(folder).close()
    (folder / "records.db").write_bytes(content)
    for opener in (Records.open_for_run, Records.open_for_reading):
        with pytest.raises(JournalError, match=r"damaged|not a file of batchflow's"):
            opener(folder)


def test_an_empty_file_is_where_a_run_begins(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    Records.open_for_run(folder).close()
    (folder / "records.db").write_bytes(b"")
    assert Records.open_for_reading(folder) is None
    with Records.open_for_run(folder) as records:
        assert records.successes() == {}


def half_made(folder: Path) -> None:
    """A new records.db as its maker leaves it when killed between two writes of the first transaction."""
    path = folder / "being-made"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE runs (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL)")
        connection.executemany("INSERT INTO runs (run_id) VALUES (?)", [("x" * 1000,)] * 40)
        shutil.copy(path, folder / "records.db")
        shutil.copy(folder / "being-made-journal", folder / "records.db-journal")
    path.unlink()


def test_a_file_whose_maker_was_killed_is_made_by_the_next_run(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir(mode=0o700, parents=True)
    half_made(folder)
    assert (folder / "records.db").stat().st_size > 4096
    assert Records.open_for_reading(folder) is None
    with Records.open_for_run(folder) as records:
        assert records.successes() == {}
    assert [path.name for path in folder.iterdir()] == ["records.db"]


@pytest.mark.parametrize("log_size", [0, 20, 32, 40, 56, 1000, 4152, 5000])
@pytest.mark.parametrize("index", [b"", bytes(32768)], ids=["created", "empty"])
def test_a_log_that_was_only_begun_is_read_at_once(tmp_path: Path, log_size: int, index: bytes) -> None:
    folder, live = tmp_path / ".batchflow" / "killed", tmp_path / ".batchflow" / "live"
    Records.open_for_run(folder).close()
    with Records.open_for_run(live) as records:
        records.put_run(PastRun("r1", "then", {}))
        (folder / "records.db-wal").write_bytes((live / "records.db-wal").read_bytes()[:log_size])
    (folder / "records.db-shm").write_bytes(index)
    started_s = time.monotonic()
    for _ in range(3):
        with Records.open_for_reading(folder) or pytest.fail("nothing was read") as reader:
            assert reader.runs(1) == ()
    assert time.monotonic() - started_s < 8, "SQLite waits ten seconds for the writer of an index"


def test_a_file_that_is_whole_is_read_whatever_lies_beside_it(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with Records.open_for_run(folder) as records:
        records.put_success(Attempt("r1", "predict", "done", 1.0), success())
    (folder / "records.db-journal").touch()
    with Records.open_for_reading(folder) or pytest.fail("nothing was read") as reader:
        assert list(reader.successes()) == ["predict"]


@pytest.mark.fault("F15")
def test_no_flipped_byte_ends_in_anything_but_an_error_of_ours(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    with Records.open_for_run(folder) as records:
        records.put_run(PastRun("r1", "then", {"limit": 3}))
        records.put_success(Attempt("r1", "predict", "done", 1.0), success())
        records.put_claims("predict", [Path("/a")])
        records.put_digests([Digest(b"/x.py", "content", 1, 2, {"digest": "d", "imports": []})])
    path = folder / "records.db"
    good = path.read_bytes()
    dice = random.Random(7)
    # Only where something is written: the rest of a page is empty.
    places = [index for index, byte in enumerate(good) if byte]
    refused = 0
    for _ in range(300):
        bad = bytearray(good)
        bad[dice.choice(places)] ^= 1 << dice.randrange(8)
        path.write_bytes(bytes(bad))
        try:
            opened = Records.open_for_reading(folder)
            if opened is not None:
                with opened:
                    opened.successes(), opened.last_attempts(), opened.claims(), opened.digests(), opened.runs(9)
        except BatchflowError as error:
            assert isinstance(error, (JournalError, ResourceError, RefusedError))
            refused += 1
    assert refused > 20


def test_a_folder_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / ".batchflow").write_text("in the way")
    with pytest.raises(ResourceError, match=r"batchflow cannot keep its state, folder=.*flow"):
        Records.open_for_run(folder_of(tmp_path))


def test_a_link_in_place_of_the_records_is_not_followed(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    folder.mkdir(parents=True)
    (folder / "records.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResourceError, match=r"cannot open path=.*records\.db"):
        Records.open_for_run(folder)
    assert not (tmp_path / "elsewhere").exists()
