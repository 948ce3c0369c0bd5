"""Runs of one step, one after another until it is done, and what must hold then."""

from __future__ import annotations

from batchflow.mini_batches import UniformGrid
from tests.crash.simulation.case import SESSIONS_MAX, Case, mask
from tests.crash.simulation.disk import ODD_COLUMNS, Crash, DiskError, Journal, Violation
from tests.crash.simulation.session import Session, Stopped


def simulate(seed: int) -> str | None:
    """What went wrong, in words; None if all held."""
    try:
        _simulate(seed)
    except Violation as violation:
        return str(violation)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"
    return None


def _simulate(seed: int) -> None:
    case = Case(seed)
    settings = case.settings(0)
    journal = Journal(case.item_count, settings.size, case.grid)
    troubled: set[tuple[int, int]] = set()
    isolates = True
    for number in range(1, SESSIONS_MAX + 1):
        isolates = isolates and settings.isolate
        session = Session(case, settings, journal, troubled)
        try:
            try:
                session.run()
                break
            except Stopped:
                session.save()
        except (Crash, DiskError):
            pass
        journal.resume()
        settings = case.settings(number)
    _check_end(case, journal, troubled, isolates=isolates)


def _check_end(case: Case, journal: Journal, troubled: set[tuple[int, int]], *, isolates: bool) -> None:
    if journal.gaps():
        raise Violation(f"left to do when all is done: {journal.gaps()}")
    if case.always_fails & ~journal.failed:
        raise Violation("an item succeeded that no attempt survives")
    columns = journal.state.columns.encode()
    for one in journal.extents:
        returned, rows = case.rows(one.first_item, one.item_count, columns)
        if bytes(journal.output[one.offset : one.offset + one.size]) != rows:
            raise Violation(f"the rows of {one.item_count} items from {one.first_item} on are others")
        missing = 0 if case.items == "any" else one.item_count - returned
        if (one.returned, one.missing) != (returned, missing):
            raise Violation(f"{one.returned} elements and {one.missing} missing, not {returned} and {missing}")
    if bytes(journal.output[: journal.state.header_size]) != columns:
        raise Violation("the header is not of these columns")
    short = 0
    for entry in journal.failures:
        if entry.kind == "shortfall":
            short |= mask(entry.first_item, entry.item_count)
            continue
        here, number_of = (entry.first_item, entry.item_count), _number_of(journal)
        tried = [one for one in troubled if here in _pieces(*one, number_of)]
        if not tried:
            raise Violation(f"{entry.item_count} items from {entry.first_item} on are lost and never failed")
        if entry.entry["message"].startswith(ODD_COLUMNS) and journal.was_ordered:
            if all(case.columns(*one) in (columns, b"") for one in tried):
                raise Violation(f"{entry.item_count} items from {entry.first_item} on are lost for the right columns")
        elif isolates and entry.item_count > 1 and not case.odd_columns:
            raise Violation(f"{entry.item_count} items from {entry.first_item} on are lost together")
    if case.items == "at_least" and case.short & journal.done & ~short:
        raise Violation("missing items without a shortfall in the list")
    totals = journal.state.totals
    if totals.succeeded + totals.failed != case.item_count:
        raise Violation(f"the totals do not balance: {totals}")
    _check_failed_mini_batches(journal)


def _number_of(journal: Journal) -> list[int]:
    """The mini-batch of the grid that each item is in."""
    if isinstance(journal.grid, UniformGrid):
        return [item // journal.state.mini_batch_size for item in range(journal.state.item_count)]
    return [sum(cut <= item for cut in journal.grid.cuts) - 1 for item in range(journal.state.item_count)]


def _pieces(start: int, count: int, number_of: list[int]) -> list[tuple[int, int]]:
    """What each mini-batch of the grid has of these items: first and how many."""
    places = [*range(start, start + count)]
    numbers = sorted({number_of[item] for item in places})
    cut = [[item for item in places if number_of[item] == number] for number in numbers]
    return [(items[0], len(items)) for items in cut]


def _check_failed_mini_batches(journal: Journal) -> None:
    """Each counts once, by the split of the first run, whatever became of its pieces since."""
    number_of, count = _number_of(journal), journal.state.totals.failed_mini_batches
    short: set[int] = set()
    failed: set[int] = set()
    for entry in journal.failures:
        numbers = range(number_of[entry.first_item], number_of[entry.first_item + entry.item_count - 1] + 1)
        if entry.entry["mini_batch"] != numbers[0]:
            raise Violation(f"mini-batch {entry.entry['mini_batch']} has not item {entry.first_item}")
        if entry.kind == "shortfall":
            short.update(numbers)
        elif len(numbers) > 1:
            raise Violation(f"one entry for the mini-batches {numbers}")
        else:
            failed.update(numbers)
    if not len(failed) <= count <= len(failed | short):
        raise Violation(f"{count} failed mini-batches are counted, not {len(failed)} to {len(failed | short)}")
