"""The oracle: looks at the public files of a step that has run and says what is wrong with them.

Imports nothing of batchflow and nothing beyond the standard library; reads the output, ``failed.jsonl``,
``receipt.json`` and the folders they lie in.  What must be there comes from an ``Expectation``, made from the input
alone and, where there is one, from the output of a run that nothing interrupted.

    I1  every item has exactly one set of rows, or one failure, or is one of a shortfall's
    I2  the output's bytes are those of the uninterrupted run (for order="completion": its lines are)
    I3  no row is torn, empty or alien
    I8  the final name holds a complete file or what was there before, at every moment

    python -m tests.crash.checker EXPECTATION.json        prints each violation, exits with 1 if there is one
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SHOWN = 100
"""Characters of a row that a violation shows."""


@dataclass(frozen=True)
class Expectation:
    """What must be found.  Items are the strings that ``failed.jsonl`` names them by, in input order."""

    items: tuple[str, ...]
    rows: Mapping[str, tuple[str, ...]] | None = None
    """Item → its lines in the output, without line ends; no line belongs to two items.  None: known by bytes only.

    An item that must have no row, and is no failure either, has none here; one that fell short is not in it."""
    failed: frozenset[str] = frozenset()
    """Items that must end as failures."""
    short: frozenset[str] = frozenset()
    """Items that have no row: each must be a candidate of exactly one shortfall.  Where mini-batches begin and end is
    free: after a resume it depends on what was done before."""
    header: str = ""
    order: str = "input"
    output: Path | None = None
    reference: bytes | None = None
    """The bytes of the uninterrupted run, header included."""
    row_count: int | None = None
    """Of an output that is no text; None: each line is a row."""
    previous: bytes | None = None
    """What stood under the output's name before: until the new output is complete, that is right too."""
    failed_list: Path | None = None
    receipt: Path | None = None
    folders: Mapping[Path, str] = field(default_factory=dict)
    """Folder → a pattern that every name in it must match in full."""

    @classmethod
    def load(cls, path: Path) -> Expectation:
        """From JSON: fields as here, bytes as the path of a file that holds them."""
        values: dict[str, Any] = json.loads(path.read_text())
        for name in ("output", "failed_list", "receipt"):
            if values.get(name) is not None:
                values[name] = Path(values[name])
        for name in ("reference", "previous"):
            if values.get(name) is not None:
                values[name] = Path(values[name]).read_bytes()
        if values.get("rows") is not None:
            values["rows"] = {item: tuple(rows) for item, rows in values["rows"].items()}
        values["items"] = tuple(values["items"])
        values["failed"] = frozenset(values.get("failed", ()))
        values["short"] = frozenset(values.get("short", ()))
        values["folders"] = {Path(folder): pattern for folder, pattern in values.get("folders", {}).items()}
        return cls(**values)


def check_finished(expected: Expectation) -> list[str]:
    """Everything that is wrong after a command that said it is done."""
    found = list(_output_violations(expected)) if expected.output is not None else []
    found += _failed_list_violations(expected)
    found += _receipt_violations(expected)
    for folder, pattern in expected.folders.items():
        names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
        found += [f"leftover {folder.name}/{name}" for name in names if not re.fullmatch(pattern, name)]
    return found


def check_unfinished(expected: Expectation) -> list[str]:
    """Everything that is wrong after a command that ended in any way, or was killed: I8 alone can be asked for."""
    if expected.output is None:
        return []
    content = _read(expected.output)
    if content == expected.previous or (content is not None and not list(_output_violations(expected))):
        return []
    got = "is missing" if content is None else f"has {len(content)} bytes"
    wanted = "what was there before" if expected.previous is not None else "nothing"
    return [f"I8 {expected.output.name} {got}: it is neither complete nor {wanted}"]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _output_violations(expected: Expectation) -> Iterator[str]:
    assert expected.output is not None
    content = _read(expected.output)
    if content is None:
        yield f"I8 {expected.output.name} is missing"
        return
    if expected.reference is not None:
        yield from _difference(content, expected.reference, expected.order)
    if expected.rows is not None:
        yield from _row_violations(content, expected, expected.rows)


def _difference(content: bytes, reference: bytes, order: str) -> Iterator[str]:
    if order == "completion":
        content, reference = (b"".join(sorted(one.splitlines(keepends=True))) for one in (content, reference))
    if content != reference:
        at = next((k for k, (one, two) in enumerate(zip(content, reference, strict=False)) if one != two), None)
        at = min(len(content), len(reference)) if at is None else at
        yield f"I2 bytes differ at {at}: {content[at : at + 20]!r}, expected {reference[at : at + 20]!r}" + (
            f"; {len(content)} bytes, expected {len(reference)}" if len(content) != len(reference) else ""
        )


def _row_violations(content: bytes, expected: Expectation, rows: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """I1 and I3 by the rows themselves: whose is each of them, and how often is it there?"""
    text = content.decode("utf-8", "surrogateescape")
    if text and not text.endswith("\n"):
        yield f"I3 the last row is torn: {text.rpartition(chr(10))[2][:_SHOWN]!r}"
    lines = text.split("\n")[:-1]
    if expected.header:
        first = lines.pop(0) if lines else ""
        if first != expected.header:
            yield f"I3 the header is {first[:_SHOWN]!r}"
    owner = {row: item for item, own in rows.items() for row in own}
    seen = Counter(lines)
    for row, count in seen.items():
        if row not in owner:
            yield f"I3 {'torn or alien' if row else 'empty'} row, {count} times: {row[:_SHOWN]!r}"
    entries = Counter(_failed_items(expected))
    for item in expected.items:
        own = rows.get(item, ())
        counts = [seen[row] for row in own]
        listed = entries[item]
        if item in expected.failed:
            good = not any(counts) and (listed == 1 or expected.failed_list is None)
        else:
            good = all(count == 1 for count in counts) and listed == 0 and (item in rows or item in expected.short)
        if not good:
            yield f"I1 {item.rpartition('/')[2]}: rows {counts}, entries in the failed list {listed}"


def _entries(expected: Expectation) -> list[dict[str, Any]]:
    if expected.failed_list is None or not expected.failed_list.exists():
        return []
    entries = [json.loads(line) for line in expected.failed_list.read_text(encoding="utf-8").splitlines()]
    for entry in entries:
        if isinstance(entry.get("item"), dict):  # a row of a table
            entry["item"] = f"{entry['item']['file']}#{entry['item']['row']}"
    return entries


def _failed_items(expected: Expectation) -> list[str]:
    return [entry["item"] for entry in _entries(expected) if "item" in entry]


def _failed_list_violations(expected: Expectation) -> Iterator[str]:
    if expected.failed_list is None:
        return
    if not expected.failed_list.exists():
        yield f"{expected.failed_list.name} is missing"
        return
    try:
        entries = _entries(expected)
    except ValueError as error:
        yield f"{expected.failed_list.name} is torn: {error}"
        return
    items = [entry["item"] for entry in entries if "item" in entry]
    if sorted(items) != sorted(expected.failed):
        extra, missing = set(items) - expected.failed, expected.failed - set(items)
        yield f"I1 the failed list has {len(items)} items, too many {sorted(extra)}, missing {sorted(missing)}"
    place = {item: index for index, item in enumerate(expected.items)}
    if [place.get(item, -1) for item in items] != sorted(place.get(item, -1) for item in items):
        yield f"the failed list is not in input order: {items}"
    yield from _shortfall_violations(expected, [entry for entry in entries if "item" not in entry])


def _shortfall_violations(expected: Expectation, entries: list[dict[str, Any]]) -> Iterator[str]:
    times = Counter(item for entry in entries for item in entry["candidates"])
    for item in expected.items:
        if times[item] > 1 or (item in expected.short and not times[item]):
            yield f"I1 {item.rpartition('/')[2]} is a candidate of {times[item]} shortfalls"
    for entry in entries:
        missing = len(expected.short.intersection(entry["candidates"]))
        if entry["missing_count"] != missing:
            yield f"I1 a shortfall has missing_count={entry['missing_count']}, expected {missing}"


def _receipt_violations(expected: Expectation) -> Iterator[str]:
    if expected.receipt is None:
        return
    try:
        receipt = json.loads(expected.receipt.read_text())
    except (OSError, ValueError) as error:
        yield f"{expected.receipt.name}: {error}"
        return
    failed_count = len(expected.failed) + len(expected.short)
    wanted: dict[str, object] = {
        "items_in": len(expected.items),
        "succeeded": len(expected.items) - failed_count,
        "failed": failed_count,
    }
    content = None if expected.output is None else _read(expected.output)
    if content is not None:
        wanted |= {"output_size": len(content), "output_checksum": f"crc32c:{crc32c(content):08x}"}
        lines = content.count(b"\n") - bool(expected.header)
        wanted["rows_out"] = lines if expected.row_count is None else expected.row_count
    for name, value in wanted.items():
        if receipt.get(name) != value:
            yield f"receipt: {name}={receipt.get(name)!r}, expected {value!r}"


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), a byte at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def main(arguments: list[str]) -> int:
    violations = check_finished(Expectation.load(Path(arguments[0])))
    for one in violations:
        print(one)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
