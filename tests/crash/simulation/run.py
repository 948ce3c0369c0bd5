"""Runs of one step, one after another until it is done, and what must hold then."""

from __future__ import annotations

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
    journal = Journal(case.item_count, settings.size)
    troubled: set[tuple[int, int]] = set()
    isolates = True
    for number in range(1, SESSIONS_MAX + 1):
        isolates = isolates and settings.isolate
        session = Session(case, settings, journal, troubled)
        try:
            try:
                session.run()
                if number == 1 and journal.state.totals.mini_batches != -(-case.item_count // session.settings.size):
                    raise Violation(f"mini-batches are not counted once each, {journal.state.totals}")
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
        elif (entry.first_item, entry.item_count) not in troubled:
            raise Violation(f"{entry.item_count} items from {entry.first_item} on are lost and never failed")
        elif entry.entry["message"].startswith(ODD_COLUMNS) and journal.was_ordered:
            if case.columns(entry.first_item, entry.item_count) in (columns, b""):
                raise Violation(f"{entry.item_count} items from {entry.first_item} on are lost for the right columns")
        elif isolates and entry.item_count > 1 and not case.odd_columns:
            raise Violation(f"{entry.item_count} items from {entry.first_item} on are lost together")
    if case.items == "at_least" and case.short & journal.done & ~short:
        raise Violation("missing items without a shortfall in the list")
    totals = journal.state.totals
    if totals.succeeded + totals.failed != case.item_count:
        raise Violation(f"the totals do not balance: {totals}")
    if bool(totals.failed) != bool(totals.failed_mini_batches):
        raise Violation(f"failed items without failed mini-batches, or the other way round: {totals}")
