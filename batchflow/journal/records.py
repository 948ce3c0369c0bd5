"""What batchflow remembers of a workflow between runs: one SQLite file, ``records.db``.

```
runs       one row for each run
attempts   how each step ended in each run that started it
successes  each step's last success: what it was made from (signature) and what it made (outputs)
claims     the output paths that this workflow writes
digests    code files already parsed, by size and mtime
```

Written only by the run that holds the workflow's lock.  A reader creates nothing and locks nothing.  Values reach SQL
as parameters only: paths as bytes, since a name need not be UTF-8; everything that has parts as JSON with a checksum.

Invariant: a success is recorded after its outputs are published and durable, so a crash can only make a step run again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from batchflow.journal.database import Database, Kind, pack
from batchflow.journal.shapes import ShapeError, check_digest, check_receipt, check_signature, check_states

RECORDS_NAME = "records.db"
FORMAT_VERSION = 1
_SCHEMA = (
    "CREATE TABLE runs (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, run TEXT NOT NULL)",
    "CREATE TABLE attempts (number INTEGER PRIMARY KEY, run_id TEXT NOT NULL, step TEXT NOT NULL,"
    " attempt TEXT NOT NULL, UNIQUE (run_id, step))",
    "CREATE TABLE successes (step TEXT PRIMARY KEY, success TEXT NOT NULL)",
    "CREATE TABLE claims (path BLOB PRIMARY KEY, step TEXT NOT NULL, claim TEXT NOT NULL)",
    "CREATE TABLE digests (path BLOB NOT NULL, kind TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,"
    " value TEXT NOT NULL, PRIMARY KEY (path, kind))",
)
_KIND = Kind(
    title="the file of records",
    application_id=0x62666C77,  # "bflw"
    version=FORMAT_VERSION,
    schema=_SCHEMA,
    cure="move {path} away and run with -F: every step runs again, outputs are replaced",
)


@dataclass(frozen=True)
class Attempt:
    """How a step ended in one run; ``status`` is ``running``, ``done``, ``failed`` or ``interrupted``."""

    run_id: str
    step: str
    status: str
    elapsed_s: float
    error_type: str | None = None
    error: str | None = None
    hint: str | None = None
    receipt: Mapping[str, Any] | None = None
    signature: Mapping[str, Any] | None = None
    """What it was made from, if it did not succeed."""


@dataclass(frozen=True)
class Success:
    """The last success of a step; ``signature`` and ``outputs`` are plain JSON values."""

    step: str
    run_id: str
    elapsed_s: float
    signature: Mapping[str, Any]
    outputs: Mapping[str, Any]
    receipt: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class PastRun:
    """One run in the history; ``exit_code`` is None when it did not come to its end."""

    run_id: str
    started_at: str
    params: Mapping[str, Any]
    exit_code: int | None = None
    elapsed_s: float | None = None


@dataclass(frozen=True)
class Digest:
    """What was found in a code file of this size and mtime; ``value`` is JSON."""

    path: bytes
    kind: str
    size: int
    mtime_ns: int
    value: Mapping[str, Any] = field(compare=False)


@dataclass(frozen=True)
class _Claim:
    """``path``: relative to the workflow's folder where it lies below it."""

    path: str
    step: str


class Records:
    """An open ``records.db``; made by ``open_for_run`` or ``open_for_reading``, a context manager that closes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # FOLDER/.batchflow/STEM/records.db: claims are kept relative to FOLDER, so that it can be moved.
        self._folder = database.path.parents[2]

    @classmethod
    def open_for_run(cls, state_folder: Path) -> Records:
        """Open, and create if needed; the caller holds the workflow's lock.

        Raises ``JournalError`` if the file is damaged, foreign, or of a newer version.
        """
        return cls(Database.open_for_writing(state_folder / RECORDS_NAME, _KIND))

    @classmethod
    def open_for_reading(cls, state_folder: Path) -> Records | None:
        """Open what is there without creating or locking anything; None if nothing is recorded.

        Raises ``JournalError`` as ``open_for_run`` does.
        """
        database = Database.open_for_reading(state_folder / RECORDS_NAME, _KIND)
        if database is None:
            return None
        try:
            database.check_pages()
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Fold the log into the file and close it."""
        self._database.close()

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def put_run(self, run: PastRun) -> None:
        """Record a run when it begins, and again when it ends."""
        with self._database.transaction():
            self._database.execute(
                "INSERT INTO runs (run_id, run) VALUES (?, ?) ON CONFLICT (run_id) DO UPDATE SET run = excluded.run",
                (run.run_id, pack(asdict(run))),
            )

    def put_attempt(self, attempt: Attempt) -> None:
        """Record how a step stands in a run, in place of what that run said about it before."""
        with self._database.transaction():
            self._put_attempt(attempt)

    def put_success(self, attempt: Attempt, success: Success) -> None:
        """Record a step's end and what it was made from, both or neither."""
        with self._database.transaction():
            self._put_attempt(attempt)
            self._database.execute(
                "INSERT OR REPLACE INTO successes (step, success) VALUES (?, ?)",
                (success.step, pack(asdict(success))),
            )

    def put_claims(self, step: str, paths: Iterable[Path]) -> None:
        """Say that ``step`` writes exactly ``paths``."""
        with self._database.transaction():
            self._database.execute("DELETE FROM claims WHERE step = ?", (step,))
            for path in paths:
                below = path.relative_to(self._folder) if self._folder in path.parents else path
                self._database.execute(
                    "INSERT OR REPLACE INTO claims (path, step, claim) VALUES (?, ?, ?)",
                    (os.fsencode(below), step, pack(asdict(_Claim(str(below), step)))),
                )

    def drop_claims_except(self, steps: Iterable[str]) -> None:
        """Forget the claims of steps that the workflow no longer has."""
        kept = set(steps)
        with self._database.transaction():
            for (step,) in self._database.read("SELECT DISTINCT step FROM claims"):
                if step not in kept:
                    self._database.execute("DELETE FROM claims WHERE step = ?", (step,))

    def put_digests(self, digests: Iterable[Digest]) -> None:
        with self._database.transaction():
            for one in digests:
                self._database.execute(
                    "INSERT OR REPLACE INTO digests (path, kind, size, mtime_ns, value) VALUES (?, ?, ?, ?, ?)",
                    (*(key := (one.path, one.kind, one.size, one.mtime_ns)), pack(one.value, key)),
                )

    def successes(self) -> dict[str, Success]:
        """The last success of each step that ever succeeded."""
        found: dict[str, Success] = {}
        for step, text in self._database.read("SELECT step, success FROM successes"):
            one = found[step] = self._database.revive(Success, text)
            with self._database.believing():
                check_signature(one.signature)
                check_states(one.outputs)
                check_receipt(one.receipt)
                _check_key(step, one.step)
        return found

    def last_attempts(self) -> dict[str, Attempt]:
        """How each step ended in the last run that started it."""
        rows = self._database.read(
            "SELECT step, attempt FROM attempts WHERE number IN (SELECT max(number) FROM attempts GROUP BY step)"
        )
        found: dict[str, Attempt] = {}
        for step, text in rows:
            one = found[step] = self._database.revive(Attempt, text)
            with self._database.believing():
                if one.signature is not None:
                    check_signature(one.signature)
                check_receipt(one.receipt)
                _check_key(step, one.step)
        return found

    def claims(self) -> dict[Path, str]:
        """The step that writes each output path of this workflow."""
        found = {}
        for path, text in self._database.read("SELECT path, claim FROM claims"):
            claim = self._database.revive(_Claim, text)
            with self._database.believing():
                _check_key(path, os.fsencode(claim.path))
            found[Path(self._folder, claim.path)] = claim.step
        return found

    def digests(self) -> dict[tuple[bytes, str], Digest]:
        found = {}
        for *key, text in self._database.read("SELECT path, kind, size, mtime_ns, value FROM digests"):
            value = self._database.unpack(text, tuple(key))
            path, kind, size, mtime_ns = key
            with self._database.believing():
                check_digest(value)
            found[path, kind] = Digest(path, kind, size, mtime_ns, value)
        return found

    def runs(self, limit: int) -> tuple[PastRun, ...]:
        """The last ``limit`` runs, newest first."""
        rows = self._database.read("SELECT run FROM runs ORDER BY number DESC LIMIT ?", (limit,))
        return tuple(self._database.revive(PastRun, text) for (text,) in rows)

    def _put_attempt(self, attempt: Attempt) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO attempts (run_id, step, attempt) VALUES (?, ?, ?)",
            (attempt.run_id, attempt.step, pack(asdict(attempt))),
        )


def _check_key(column: object, value: object) -> None:
    """The columns by which rows are found have no checksum of their own: they repeat what has one."""
    if column != value:
        raise ShapeError("a row in it is not the one of its key")
