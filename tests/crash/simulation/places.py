"""Where every item is, at a moment when the driver has nothing half done.

The invariant of the product, looked at from inside: every item is in exactly one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from batchflow.parallel.outcomes import Outcomes
from batchflow.parallel.pieces import Pieces
from batchflow.plan import Plan
from tests.crash.simulation.case import mask
from tests.crash.simulation.disk import Journal, Violation
from tests.crash.simulation.workers import Collector, Worker


def places(
    plan: Plan, outcomes: Outcomes, pieces: Pieces, gather: Collector, workers: Iterable[Worker], journal: Journal
) -> Iterator[tuple[str, int]]:
    """What each place is called, and a set of items that is in it."""
    yield "committed", journal.done
    yield "failed in the journal", journal.failed
    yield "held by the gather", gather.held_items
    if plan.fresh_count:
        for index in range(plan.fresh_index, plan.mini_batches.count):
            start, stop = plan.mini_batches.range(index)
            yield "fresh", mask(start, stop - start)
    for _, start, count, _, _ in plan._ready:
        yield "ready", mask(start, count)
    for isolation in plan._isolations.values():
        for part in isolation._waiting.values():
            yield "a half that waits", mask(part.start, part.item_count)
    for worker in workers:
        if worker.asked_for:
            for _, _, start, count, _ in worker.channel.held:
                yield "in flight", mask(start, count)
    for undecided in outcomes._undecided:
        yield "undecided", mask(undecided.part.start, undecided.part.count)
    for kept in pieces._pieces.values():
        for piece in kept:
            yield "saved", mask(piece.start, piece.item_count)
    for entry in (*outcomes._entries, *outcomes._provisional):
        if entry.kind != "shortfall":
            yield "failed", mask(entry.first_item, entry.item_count)


def check(all_items: int, found: Iterable[tuple[str, int]]) -> None:
    """Raise ``Violation`` unless every item is in one place."""
    seen = 0
    where: list[tuple[str, int]] = []
    for place, items in found:
        if seen & items:
            first = seen & items
            others = [name for name, there in where if there & items]
            raise Violation(f"item {(first & -first).bit_length() - 1} is in two places: {place}, {', '.join(others)}")
        seen |= items
        where.append((place, items))
    if seen != all_items:
        lost = all_items & ~seen
        raise Violation(f"item {(lost & -lost).bit_length() - 1} is nowhere")
