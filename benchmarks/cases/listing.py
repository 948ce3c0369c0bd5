"""*listing*: which files there are, by name alone and with the size and the modification time of each."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from batchflow.cpus import available_cpus
from benchmarks import data, process
from benchmarks.cases.common import MissingToolError, Outcome, list_manifest, list_names
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "listing"
REPEATS = 3
SOURCE = Path(__file__).parents[1] / "listing.c"
BLOCKS_MAX = 0.01
"""Python objects for each file that batchflow's driver may hold: none, but for a few that are not of files."""
EXPLANATIONS = {
    "names": "Every path below a folder, a thousand files in each folder, page cache warm; batchflow, os.scandir and "
    "the C loop that says so sort by name. The C loop calls getdents64, packs names and does nothing else; it is "
    "compiled for the run. ",
    "manifest": "The same with size and modification time of every file. batchflow and the last C loop use all cores. ",
}
MEMORY = "Memory is what listing added at its peak. `beyond names` is what batchflow keeps for a file but its name."
WAYS = {
    "names": ("batchflow", "C loop", "C loop, sorted", "os.scandir", "os.walk", "find -type f"),
    "manifest": ("batchflow", "C loop, sorted", "C loop, sorted on all cores", "os.scandir"),
}


def setup(options: Options) -> list[Scenario]:
    count = 20_000 if options.quick else 1_000_000
    metrics = (
        Metric("list", "time", "µs per file", count, 1e6),
        Metric("memory", "memory", "B per file", count, 1.0),
        Metric("beyond_names", "beyond names", "B per file", count, 1.0, compared=False),
        Metric("blocks", "Python objects", "per file", count, 1.0, compared=False),
    )
    return [
        Scenario(
            case=LABEL,
            title=title,
            explanation=EXPLANATIONS[title] + MEMORY,
            metrics=metrics,
            workers=0,
            shows_costs=False,
            folder=str(data.numbered_files(options.data, count)),
            item_count=count,
            mini_batch_size=data.FILES_PER_FOLDER,
            variants=tuple(
                Variant(way.partition(", ")[0], label=way.partition(", ")[2], settings={"way": way}) for way in ways
            ),
            settings={"title": title},
        )
        for title, ways in WAYS.items()
    ]


@dataclass(frozen=True)
class Listed:
    """One listing: how long it took, what it added to memory, why it is wrong."""

    seconds: float
    figures: dict[str, float]
    complaint: str = ""


def run(task: Task) -> Outcome:
    """The median of some repetitions, the memory of the first."""
    title, way = task.settings["title"], task.settings["way"]
    is_manifest = title == "manifest"
    sides: dict[str, Callable[[], Listed]] = {
        "batchflow": lambda: by_batchflow(task, stat=is_manifest),
        "C loop": lambda: by_c_loop(task, "plain", 1),
        "C loop, sorted": lambda: by_c_loop(task, "stat" if is_manifest else "sorted", 1),
        "C loop, sorted on all cores": lambda: by_c_loop(task, "stat", available_cpus()),
        "os.scandir": lambda: by_scandir(task, stat=is_manifest),
        "os.walk": lambda: by_walk(task),
        "find -type f": lambda: by_find(task),
    }
    listed = [sides[way]() for _ in range(REPEATS)]
    complaints = [one.complaint for one in listed if one.complaint]
    return Outcome(
        {"list": statistics.median(one.seconds for one in listed)},
        figures=listed[0].figures,
        complaint=complaints[0] if complaints else "",
    )


def expected_paths(task: Task) -> list[str]:
    return [
        f"{task.folder}/{number // data.FILES_PER_FOLDER:05d}/{name}"
        for number, name in enumerate(data.numbered_names(task.item_count))
    ]


def wrong_paths(task: Task, paths: list[str]) -> str:
    return "" if paths == expected_paths(task) else f"expected {task.item_count} paths, got others or {len(paths)}"


def by_batchflow(task: Task, *, stat: bool) -> Listed:
    from batchflow.data import list_files

    begin = measure_begin()
    since_s = time.perf_counter()
    listing = list_files((f"{task.folder}/",), stat=stat)
    seconds = time.perf_counter() - since_s
    figures = measure_end(begin)
    names_size = sum(map(len, data.numbered_names(task.item_count)))
    figures["beyond_names"] = listing.memory_size - names_size
    complaint = wrong_paths(task, listing.paths(0, len(listing)))
    if figures["blocks"] > BLOCKS_MAX * task.item_count + 1000:
        complaint = f"the driver holds {figures['blocks']:.0f} objects for {task.item_count} files"
    if stat and any(listing.size(index) != 0 or listing.mtime_ns(index) <= 0 for index in (0, len(listing) - 1)):
        complaint = "a size or a time is wrong"
    return Listed(seconds, figures, complaint)


def by_scandir(task: Task, *, stat: bool) -> Listed:
    begin = measure_begin()
    since_s = time.perf_counter()
    if stat:
        manifest = list_manifest(task.folder)
        paths = manifest[0]
    else:
        paths = list_names(task.folder)
    seconds = time.perf_counter() - since_s
    return Listed(seconds, measure_end(begin), wrong_paths(task, paths))


def by_walk(task: Task) -> Listed:
    begin = measure_begin()
    since_s = time.perf_counter()
    paths = [f"{folder}/{name}" for folder, _, names in os.walk(task.folder) for name in names]
    seconds = time.perf_counter() - since_s
    return Listed(seconds, measure_end(begin), wrong_paths(task, sorted(paths)))


def by_find(task: Task) -> Listed:
    """As a command, its start included; its memory is not measured."""
    find = shutil.which("find")
    if find is None:
        raise MissingToolError("find is not installed")
    output = Path(task.scratch) / "found"
    with output.open("wb") as file:
        since_s = time.perf_counter()
        subprocess.run([find, task.folder, "-type", "f"], stdout=file, check=True)
        seconds = time.perf_counter() - since_s
    return Listed(seconds, {}, wrong_paths(task, sorted(output.read_text().splitlines())))


def by_c_loop(task: Task, mode: str, shares: int) -> Listed:
    program = Path(task.scratch) / "listing"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise MissingToolError("there is no C compiler")
        subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True, capture_output=True)
    said = subprocess.run(
        [str(program), task.folder, mode, str(shares)], check=True, capture_output=True, text=True
    ).stdout.split()
    count, path_bytes, _checksum, peak_bytes = (int(word) for word in said[:4])
    expected = (task.item_count, sum(map(len, expected_paths(task))))
    complaint = "" if (count, path_bytes) == expected else f"expected {expected}, got {(count, path_bytes)}"
    return Listed(float(said[4]), {"memory": peak_bytes}, complaint)


def measure_begin() -> tuple[int, int]:
    """Resident bytes and Python's blocks before."""
    return process.reset_peak(), sys.getallocatedblocks()


def measure_end(begin: tuple[int, int]) -> dict[str, float]:
    memory, blocks = begin
    return {"blocks": max(0, sys.getallocatedblocks() - blocks), "memory": max(0, process.peak() - memory)}
