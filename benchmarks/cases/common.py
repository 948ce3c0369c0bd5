"""What the cases share: listing as a peer lists, and the clock around start, dispatch and output."""

from __future__ import annotations

import importlib
import json
import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.peers import UNREAPED
from benchmarks.peers.base import Peer, Setting
from benchmarks.values import Task

OUTPUT_BUFFER_SIZE = 1 << 20


class MissingToolError(Exception):
    """A peer is not on this machine; the text names what is missing."""


@dataclass(frozen=True)
class Outcome:
    """What the peer process says of its run: seconds by phase, and the CPU time of this process alone.

    Phases: ``list``, ``start`` (workers up and initialised), ``dispatch`` (first mini-batch handed out to last byte
    written), ``finish`` (workers gone), ``whole`` (all of these).
    """

    seconds: dict[str, float]
    driver_cpu_s: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    """What was measured beside times: bytes, counts."""
    complaint: str = ""
    """Why the result was wrong, where the case itself checks it."""
    tree_cpu_s: float = 0.0
    """CPU time of the tree just before its processes ended, where nobody sums it up afterwards; else 0."""


def own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def tree_cpu_s() -> float:
    """CPU time of this process, of all its living descendants, and of whatever these have reaped."""
    total = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # user and system, its own and of the children it reaped
        except psutil.Error:
            continue
    return total


def list_names(folder: str) -> list[str]:
    """Paths of all files below a folder, sorted within each folder; folders come after the files beside them."""
    paths: list[str] = []
    folders = [folder]
    while folders:
        entries = sorted(os.scandir(folders.pop()), key=lambda entry: entry.name)
        paths += [entry.path for entry in entries if entry.is_file(follow_symlinks=False)]
        folders += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]
    return paths


def list_manifest(folder: str) -> tuple[list[str], list[int], list[int]]:
    """As ``list_names``, with the size and the modification time (ns) of every file."""
    paths: list[str] = []
    sizes: list[int] = []
    times: list[int] = []
    folders = [folder]
    while folders:
        entries = sorted(os.scandir(folders.pop()), key=lambda entry: entry.name)
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                paths.append(entry.path)
                sizes.append(status.st_size)
                times.append(status.st_mtime_ns)
        folders += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]
    return paths, sizes, times


def partition(items: list[str], mini_batch_size: int) -> Iterator[list[str]]:
    return (items[start : start + mini_batch_size] for start in range(0, len(items), mini_batch_size))


def make_peer(task: Task) -> Peer:
    """Raises ``ModuleNotFoundError`` where the tool is not installed."""
    module = importlib.import_module(f"benchmarks.peers.{task.peer.replace('-', '_')}")
    peer: Peer = module.Peer(Setting(task.script, task.arguments, task.workers, task.chunk, task.output_format))
    return peer


def text_rows(rows: Iterable[str]) -> str:
    return "\n".join(rows) + "\n"


def jsonl_rows(rows: Iterable[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FORMATS: dict[str, Callable[[Any], str]] = {"text": text_rows, "jsonl": jsonl_rows}


def run_to_file(task: Task, list_items: Callable[[str], list[str]]) -> Outcome:
    """From a folder to the output file, every phase on its own clock."""
    peer = make_peer(task)
    begin = time.perf_counter()
    peer.start()
    started = time.perf_counter()
    items = list_items(task.folder)
    listed = time.perf_counter()
    cpu_s = own_cpu_s()
    with Path(task.output).open("w", encoding="utf-8", buffering=OUTPUT_BUFFER_SIZE) as output:
        write = output.write
        text_of = FORMATS[task.output_format]
        for rows in peer.results(partition(items, task.mini_batch_size), -(-len(items) // task.mini_batch_size)):
            write(text_of(rows))
    dispatched = time.perf_counter()
    cpu_s = own_cpu_s() - cpu_s
    whole_cpu_s = tree_cpu_s() if task.peer in UNREAPED else 0.0
    ready = max(listed, getattr(peer, "ready_s", 0.0))
    peer.close()
    end = time.perf_counter()
    seconds = {
        "start": started - begin + ready - listed,
        "list": listed - started,
        "dispatch": dispatched - ready,
        "finish": end - dispatched,
        "whole": end - begin,
    }
    return Outcome(seconds, cpu_s, tree_cpu_s=whole_cpu_s)
