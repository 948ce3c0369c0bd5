"""What a step's journal looks like on disk: its tables, and the questions that are asked of several of them."""

from __future__ import annotations

from batchflow.journal.database import Kind

JOURNAL = Kind(
    title="the journal of the step",
    application_id=0x62666C6A,  # "bflj"
    version=1,
    schema=(
        "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL)",
        "CREATE TABLE extents (first_item INTEGER PRIMARY KEY, item_count INTEGER NOT NULL, offset INTEGER NOT NULL,"
        " size INTEGER NOT NULL, checksum INTEGER NOT NULL, returned INTEGER NOT NULL, missing INTEGER NOT NULL,"
        " attempt INTEGER NOT NULL, mini_batch_count INTEGER NOT NULL, commit_number INTEGER NOT NULL)",
        "CREATE TABLE failures (first_item INTEGER PRIMARY KEY, item_count INTEGER NOT NULL, kind TEXT NOT NULL,"
        " entry TEXT NOT NULL)",
        "CREATE TABLE cuts (id INTEGER PRIMARY KEY CHECK (id = 1), cuts BLOB NOT NULL)",
    ),
    cure="nothing was changed; `batchflow run --restart` drops what is in it and runs the step from the beginning",
)
FAILED = (
    "SELECT first_item, first_item + item_count, item_count FROM failures WHERE kind != 'shortfall'"
    " UNION ALL SELECT first_item, first_item + item_count, missing FROM extents WHERE missing > 0"
)
"""First item, the one after the last, and how many of them are failed or missing."""
DONE = (
    "SELECT first_item, first_item + item_count AS stop FROM extents"
    " UNION ALL SELECT first_item, first_item + item_count FROM failures WHERE kind != 'shortfall'"
)
ANY_ROWS = "SELECT EXISTS (SELECT 1 FROM extents) OR EXISTS (SELECT 1 FROM failures) OR EXISTS (SELECT 1 FROM cuts)"
