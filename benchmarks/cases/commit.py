"""*commit*: what the promise costs: rows that are written exactly once, a resume, a finished run that is recognised."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.cases.common import Outcome, list_names, partition
from benchmarks.commands import batchflow_command, timed, write_parallel
from benchmarks.entry import paced
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "commit"
RATE = 50_000_000
"""Bytes a second, of all workers together."""
ROW_SIZE = len(paced.ROW) + 1
SIZE = 100
TIME = Metric("whole", "time", "s", 1, 1.0)
ENTRY = Path(paced.__file__)


def setup(options: Options) -> list[Scenario]:
    rows = 10_000 if options.quick else 500_000
    many = 10_000 if options.quick else 1_000_000
    scenarios = [
        rows_scenario(
            options,
            "append",
            rows,
            "Workers that sleep give 50 MB of rows a second, which go to one file; `pool` writes them from its parent, "
            "with one sync at the end.",
            "pool, parent writes",
        ),
        rows_scenario(
            options,
            "busy",
            rows,
            "The same rows from workers that never rest, so that what the driver computes is taken from them; `halves` "
            "are processes that append their share to files of their own, with one sync at the end.",
            "halves",
        ),
        Scenario(
            case=LABEL,
            title="resume",
            explanation=f"A journal of {many:,} committed mini-batches, each an extent of its own, which is the worst "
            "case, opened, checked and searched for what is left.",
            metrics=(TIME,),
            workers=0,
            shows_costs=False,
            variants=(Variant("batchflow"),),
            settings={"way": "resume", "count": many},
        ),
    ]
    scenarios += [finished_scenario(options, count) for count in sorted({10_000, many})]
    return scenarios


def rows_scenario(options: Options, name: str, count: int, explanation: str, peer: str) -> Scenario:
    durabilities = ("full", "process")
    ours = tuple(Variant("batchflow", label=one, settings={"durability": one}) for one in durabilities)
    return Scenario(
        case=LABEL,
        title=f"{name}, 50 MB/s",
        explanation=explanation,
        metrics=(TIME,),
        workers=options.workers,
        folder=str(data.numbered_files(options.data, count)),
        item_count=count,
        mini_batch_size=SIZE,
        shows_costs=False,
        variants=(*ours, Variant(peer.partition(", ")[0], label=peer.partition(", ")[2])),
        settings={"way": name, "pause_s": ROW_SIZE * SIZE * options.workers / RATE, "busy": name == "busy"},
    )


def finished_scenario(options: Options, count: int) -> Scenario:
    return Scenario(
        case=LABEL,
        title=f"finished, {count:,} items",
        explanation="`batchflow run` as a command when there is nothing to do, and the listing alone, with size and "
        "mtime of every file and the digest of all that.",
        metrics=(TIME,),
        workers=0,
        shows_costs=False,
        folder=str(data.numbered_files(options.data, count)),
        item_count=count,
        mini_batch_size=1_000,
        variants=(Variant("batchflow"), Variant("manifest listing")),
        settings={"way": "finished"},
    )


def run(task: Task) -> Outcome:
    ways = {"append": run_rows, "busy": run_rows, "resume": run_resume, "finished": run_finished}
    return ways[task.settings["way"]](task)


def run_rows(task: Task) -> Outcome:
    folder = Path(task.scratch)
    sides: dict[str, Callable[[Task, Path], float]] = {
        "batchflow": append_rows,
        "pool": pool_append,
        "halves": halves_append,
    }
    seconds = sides[task.peer](task, folder)
    size = sum(path.stat().st_size for path in folder.glob("out/*"))
    expected = task.item_count * ROW_SIZE
    return Outcome({"whole": seconds}, complaint="" if size == expected else f"expected {expected} bytes, got {size}")


def append_rows(task: Task, folder: Path) -> float:
    """Seconds from the first worker's readiness to the end of the step."""
    import batchflow

    arguments = ["--pause-s", str(task.settings["pause_s"]), *(["--busy"] if task.settings["busy"] else [])]
    workflow = write_parallel(
        folder,
        files=f"{task.folder}/",
        size=task.mini_batch_size,
        workers=task.workers,
        durability=task.settings["durability"],
        script=ENTRY.read_text(),
        arguments=arguments,
    )
    timings = batchflow.run(workflow).receipt("score").details["timings"]
    return float(timings["dispatch"] + timings["finish"])


def pool_append(task: Task, folder: Path) -> float:
    """The same with a pool of the standard library: rows lost or doubled after any crash."""
    prepare(task)
    mini_batches = list(partition(list_names(task.folder), task.mini_batch_size))
    (folder / "out").mkdir()
    with (
        multiprocessing.get_context("fork").Pool(task.workers) as pool,
        (folder / "out" / "rows.txt").open("wb") as file,
    ):
        pool.map(len, ["x"] * task.workers)
        since_s = time.perf_counter()
        for rows in pool.imap(paced.run, mini_batches):
            file.write(("\n".join(rows) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
        return time.perf_counter() - since_s


def halves_append(task: Task, folder: Path) -> float:
    """The same rows by processes that share nothing."""
    prepare(task)
    (folder / "out").mkdir()
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(task.workers + 1)

    def append_share(number: int) -> None:
        with (folder / "out" / f"{number}.txt").open("wb") as file:
            gate.wait()
            for _ in range(number, task.item_count // task.mini_batch_size, task.workers):
                file.write(("\n".join(paced.run(["item"] * task.mini_batch_size)) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())

    shares = [context.Process(target=append_share, args=(number,)) for number in range(task.workers)]
    for share in shares:
        share.start()
    gate.wait()
    since_s = time.perf_counter()
    for share in shares:
        share.join()
    return time.perf_counter() - since_s


def prepare(task: Task) -> None:
    paced.prepare(pause_s=task.settings["pause_s"], busy=task.settings["busy"])


def run_resume(task: Task) -> Outcome:
    from batchflow.journal.commits import Journal
    from batchflow.mini_batches import MiniBatches

    folder, count = Path(task.scratch), task.settings["count"]
    fill_journal(folder, count)
    since_s = time.perf_counter()
    with Journal.open_for_run(folder) as journal:
        journal.check()
        work = MiniBatches.of(journal.gaps(), 10)
        seconds = time.perf_counter() - since_s
    return Outcome({"whole": seconds}, complaint="" if work.count == 1 else f"expected 1 gap, got {work.count}")


def fill_journal(folder: Path, count: int) -> None:
    """A journal of ``count`` mini-batches in no order, and one that is not there."""
    from batchflow._core import Extent
    from batchflow.journal.commits import Journal, State

    numbers = list(range(count))
    random.Random(0).shuffle(numbers)
    with Journal.open_for_run(folder) as journal:
        state = State(run_id="r", step="score", item_count=10 * count + 10, signature={}, mini_batch_size=10)
        journal.begin(state)
        for start in range(0, count, 10_000):
            extents = [
                Extent(number * 10, 10, (start + place) * 100, 100, 0, 10, 0, 1, 1)
                for place, number in enumerate(numbers[start : start + 10_000])
            ]
            size = (start + len(extents)) * 100
            journal.commit(extents, [], replace(journal.state or state, committed_size=size))


def run_finished(task: Task) -> Outcome:
    folder = Path(task.scratch)
    if task.peer != "batchflow":
        return Outcome({"whole": listing_s(task)})
    write_parallel(folder, files=f"{task.folder}/", size=task.mini_batch_size, workers=2)
    command = batchflow_command(folder, "run", "workflow.toml")
    timed(command, folder)
    before_ns = (folder / "out" / "rows.txt").stat().st_ctime_ns
    seconds = timed(command, folder).wall_s
    again = (folder / "out" / "rows.txt").stat().st_ctime_ns != before_ns
    return Outcome({"whole": seconds}, complaint="the step has run again" if again else "")


def listing_s(task: Task) -> float:
    """Listing with size and mtime of every file, and the digest of that."""
    from batchflow.data import list_files

    since_s = time.perf_counter()
    list_files((f"{task.folder}/",)).digest(os.fsencode(task.folder))
    return time.perf_counter() - since_s
