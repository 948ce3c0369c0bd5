"""Where the time of a parallel step went, and what its bottleneck was.  Pure: numbers in, numbers and words out.

Invariant: the parts of a sum add up to it; what nobody measured is called ``other``; no part is negative, whatever the
numbers were that it is made from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

PHASES = ("prepare", "list", "partition", "start", "dispatch", "shutdown", "finish")
"""What the driver does, one after the other: from ``start`` on until the first worker is ready, from ``dispatch`` until
the last mini-batch is committed, from ``shutdown`` until the last worker has ended."""
DRIVER = ("feed", "drain", "commit", "wait", "other")
"""What it does during ``dispatch``; ``wait`` until a worker has something to say."""
WORKERS = ("wait", "decode", "run", "encode", "publish", "blocked", "other")
"""What workers do meanwhile; ``blocked`` until there is room for more of a result, ``other``: not ready, or dead."""

SMALL_S = 0.001
"""A mini-batch that takes longer is not too small, whatever it does in that time."""
OVERHEAD_AIM = 0.05
"""The part of ``run()`` that everything around it should take at most."""
STRAGGLING = 0.15
"""The part of the workers' time from which on waiting for the last of them is worth a hint."""
WAITING = 0.5
"""A step whose workers used less of a processor than this part of their time in ``run()`` waits there."""
PER_WORKER = 8
"""Mini-batches that each worker should have at least, so that none waits long at the end."""


class StepProfile(NamedTuple):
    """Seconds by what they went into; the driver's add up to ``elapsed_s``, the workers' to those of all of them."""

    phases_s: Mapping[str, float]
    dispatch_s: Mapping[str, float]
    workers_s: Mapping[str, float]
    workers: int
    cores: int
    init_s: float
    """The longest that a worker's ``init()`` took, with the import of the script where each worker imports it."""
    straggling_s: float
    """Of ``workers_s["wait"]``, the time between a worker's last answer and that of the last worker."""
    mini_batches: int
    """Attempts that were answered."""
    items: int
    mini_batch_size: int
    """Items of one; of rows, which come in mini-batches of different sizes, the mean."""
    in_order: bool = True
    """Rows are written in the order of the input."""
    cpu_s: float | None = None
    """CPU time of the workers and what they come from; None until all of them have ended."""
    over_rows: bool = False
    """The items are rows of tables."""

    @property
    def elapsed_s(self) -> float:
        return sum(self.phases_s.values())

    @property
    def bottleneck(self) -> Bottleneck:
        return find_bottleneck(self)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, with what follows from the others."""
        return self._asdict() | {"elapsed_s": self.elapsed_s, "bottleneck": self.bottleneck._asdict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StepProfile:
        return cls(*(values[name] for name in cls._fields))


class Bottleneck(NamedTuple):
    """``share`` is that of the workers' time while they had work, or of the whole step: ``what`` says of which."""

    kind: str
    share: float
    what: str
    hint: str


class WorkerTime(NamedTuple):
    """What one worker said: seconds by what they went into, and for how long it has been waiting now."""

    spent_s: Mapping[str, float]
    waiting_s: float


def within(
    profile: StepProfile, *, list_s: float, before_s: float, elapsed_s: float, cpu_s: float | None = None
) -> StepProfile:
    """Of the whole step: ``before_s`` of ``elapsed_s`` were before the profile began, ``list_s`` of these listing."""
    phases_s = dict(profile.phases_s)
    phases_s["list"] += list_s
    phases_s["prepare"] += max(0.0, before_s - list_s)
    phases_s["finish"] += max(0.0, elapsed_s - before_s - profile.elapsed_s)
    return profile._replace(phases_s=phases_s, cpu_s=cpu_s)


# Sums


def with_rest(parts: Mapping[str, float], names: Iterable[str], total: float) -> dict[str, float]:
    """``names`` with their parts; the last gets what is missing in ``total``, unless the parts are more already."""
    *known, rest = names
    found = {name: _sane(parts.get(name, 0.0)) for name in known}
    return found | {rest: max(0.0, _sane(total) - sum(found.values()))}


def percents(parts: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that add up to 100, or all 0: the largest remainders are rounded up."""
    total = sum(parts.values())
    if total <= 0:
        return dict.fromkeys(parts, 0)
    exact = {name: 100 * part / total for name, part in parts.items()}
    whole = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda one: whole[one] - exact[one])[: 100 - sum(whole.values())]:
        whole[name] += 1
    return whole


def worker_time(laps: tuple[str, int, tuple[int, ...]] | None, names: Iterable[str], limit_s: float) -> WorkerTime:
    """From ``Channel.laps``, ``names`` being those of its numbers.

    Nothing at all where the worker said more than there was time: it wrote over its memory.
    """
    if laps is None:
        return WorkerTime({}, 0.0)
    now, open_ns, spent_ns = laps
    spent_s = {name: ns / 1e9 for name, ns in zip(names, spent_ns, strict=True)}
    spent_s[now] += open_ns / 1e9
    if sum(spent_s.values()) > limit_s:
        return WorkerTime({}, 0.0)
    return WorkerTime(spent_s, open_ns / 1e9 if now == "wait" else 0.0)


def straggling_s(waiting_s: Iterable[float]) -> float:
    """What workers have waited longer than the last one that had work; ``waiting_s`` for each until now."""
    waits = list(waiting_s)
    return sum(waits) - len(waits) * min(waits, default=0.0)


def _sane(seconds: float) -> float:
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


# The verdict


def find_bottleneck(profile: StepProfile) -> Bottleneck:
    """What most of the time went into, and what to do about it."""
    parts = _parts(profile)
    kind = max(parts, key=lambda one: parts[one])
    if kind == "run":
        if parts["small"] >= parts["run"] / 2:
            kind = "small"
        elif parts["stragglers"] >= STRAGGLING * profile.phases_s["dispatch"]:
            kind = "stragglers"
    if kind in _OF_THE_STEP:
        share, of = _share(parts[kind], profile.elapsed_s), "of the step's time"
    else:
        share, of = _share(parts[kind], profile.phases_s["dispatch"]), "of the workers' time"
    what, hint = _WORDS[kind]
    if kind == "decode" and profile.over_rows:
        what = "reading rows"
    hint = _own_hint(profile, kind) or hint
    return Bottleneck(kind, share, f"{what}: {100 * share:.0f} % {of}", hint)


def _parts(profile: StepProfile) -> dict[str, float]:
    """The step's elapsed time by what is to blame: a second of dispatch is shared out as the workers spent it."""
    phases, dispatch_s = profile.phases_s, profile.phases_s["dispatch"]
    scale = _share(dispatch_s, sum(profile.workers_s.values()))
    spent = {name: scale * profile.workers_s[name] for name in WORKERS}
    init_s = min(profile.init_s, phases["start"])
    straggling = min(scale * profile.straggling_s, spent["wait"])
    parts = {
        "listing": phases["list"],
        "preparation": phases["prepare"] + phases["partition"],
        "import": phases["start"] - init_s,
        "init": init_s,
        "shutdown": phases["shutdown"],
        "finish": phases["finish"],
        "run": spent["run"],
        "small": 0.0,
        "stragglers": straggling,
        "few": 0.0,
        "disk": 0.0,
        "driver": 0.0,
        "blocked": 0.0,
        "decode": spent["decode"],
        "encode": spent["encode"],
        "publish": spent["publish"],
        "absent": spent["other"],
    }
    working = {name: profile.dispatch_s[name] for name in DRIVER if name != "wait"}
    is_disk = 2 * working["commit"] > sum(working.values()) and working["commit"] > dispatch_s / 4
    waiting = spent["wait"] - straggling
    parts["disk" if is_disk else "blocked"] += spent["blocked"]
    if _is_small(profile):
        parts["small"] = waiting + sum(parts.pop(name) for name in ("decode", "encode", "publish"))
    elif is_disk:
        parts["disk"] += waiting
    else:
        is_driver = 2 * sum(working.values()) > dispatch_s
        parts["driver" if is_driver else "few"] += waiting
    return parts


def _is_small(profile: StepProfile) -> bool:
    """Whether mini-batches are so short that what is done once for each counts, and could be larger."""
    spent, count = profile.workers_s, profile.mini_batches
    at_work = sum(spent.values()) - spent["other"] - spent["blocked"] - profile.straggling_s
    return count > 0 and at_work < count * SMALL_S and _can_grow(profile)


def _can_grow(profile: StepProfile) -> bool:
    return 2 * profile.mini_batch_size <= _size_max(profile)


def _size_max(profile: StepProfile) -> int:
    """The largest mini-batches with which every worker still gets some."""
    return profile.items // (PER_WORKER * max(1, profile.workers))


def larger_size(profile: StepProfile) -> int:
    """The size with which what is around ``run()`` would be ``OVERHEAD_AIM`` of it, if there are items enough."""
    spent = profile.workers_s
    around = spent["wait"] - profile.straggling_s + spent["decode"] + spent["encode"] + spent["publish"]
    most = _size_max(profile)
    wanted = profile.mini_batch_size * around / (OVERHEAD_AIM * spent["run"]) if spent["run"] > 0 else most
    return round_number(max(2 * profile.mini_batch_size, min(most, wanted)), up=True)


def round_number(value: float, *, up: bool = False) -> int:
    """The largest of 1, 2, 5, 10, 20, 50 … up to ``value``, at least 1; ``up``: the smallest from ``value`` on."""
    numbers: list[int] = [digit * 10**power for power in range(19) for digit in (1, 2, 5)]
    if up:
        return next((number for number in numbers if number >= value), numbers[-1])
    return max((number for number in numbers if number <= value), default=1)


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


_OF_THE_STEP = frozenset({"listing", "preparation", "import", "init", "shutdown", "finish"})
_LESS = "return less for each item, or write what is large to files in context.output_dir"
_WORDS: Mapping[str, tuple[str, str]] = {
    "listing": ("listing the input", "a narrower pattern, fewer folders or a local disk make it shorter"),
    "preparation": (
        "what comes before the work",
        "it reads code, journal and what an earlier run left: local disks help",
    ),
    "import": ("importing the script", "import only what run() needs; it is the same time for any number of items"),
    "init": ("init()", "what all workers can share goes into init_shared(), which runs once, before they are forked"),
    "shutdown": ("shutdown() of the workers", "leave out of it what the end of a process does as well"),
    "finish": ("finishing the output", "a faster disk for the output helps"),
    "run": ("your run()", ""),
    "small": ("what is done around run() for each mini-batch", ""),
    "stragglers": (
        "waiting for the last worker at the end",
        "some items take much longer than others: have them early in the input, or in smaller mini-batches",
    ),
    "few": (
        "workers without a mini-batch",
        "there was work, so something else kept the machine busy, or fewer do as well",
    ),
    "disk": (
        "waiting while the driver commits to the disk",
        'a faster disk for output and .batchflow helps; durability = "process" does not wait for the disk',
    ),
    "driver": ("waiting for the driver", "it takes fewer bytes for each item faster"),
    "blocked": ("waiting until the driver has room for results", _LESS),
    "decode": ("making the lists of paths", "a smaller mini_batch_size keeps them in the processor's cache"),
    "encode": ("encoding what run() returned", "a list of strings with output_format = text is encoded fastest"),
    "publish": ("handing results to the driver", _LESS),
    "absent": (
        "workers that were not ready, or dead",
        "the logs of the workers say what init() or their death was about",
    ),
}
"""What takes the time, and what helps unless the numbers tell better."""


def _try_size(profile: StepProfile, size: int) -> str:
    if profile.over_rows:
        return f'try mini_batch_size = "{size:_} rows": they have about {profile.mini_batch_size:,} now'
    return f"try mini_batch_size = {size} instead of {profile.mini_batch_size}"


def _own_hint(profile: StepProfile, kind: str) -> str:
    if kind == "run":
        if profile.cpu_s is not None and profile.cpu_s < WAITING * profile.workers_s["run"]:
            return "it waits more than it computes: for others' programs, or for files, and then more workers may help"
        in_use = f"{min(profile.workers, profile.cores)} of {profile.cores} in use"
        return f"more workers help only where cores are free ({in_use})"
    if kind == "small" or (kind == "driver" and _can_grow(profile)):
        return _try_size(profile, larger_size(profile))
    smaller = round_number(_size_max(profile))
    if kind in ("few", "stragglers") and smaller < profile.mini_batch_size:
        return _try_size(profile, smaller)
    if kind == "decode" and profile.over_rows:
        return "columns = [...] in the dataset reads only these; Parquet is read faster than text"
    if kind == "finish" and profile.in_order:
        return 'order = "completion" spares putting rows in order; a faster disk for the output helps'
    return ""
