"""Types of the compiled core."""

from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

# listing

class Listing:
    """The files of a dataset, packed in shared memory: a path, a size and a time for each item.  Immutable.

    Made by ``batchflow.data.list_files`` or, in another process, by ``attach``; freed with the object.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Raises ``TypeError``: a listing is not made by hand."""

    @staticmethod
    def attach(fds: Sequence[int], description: Mapping[str, int]) -> Listing:
        """Map the listing that ``fds()`` and ``describe()`` stand for, read-only; the descriptors stay the caller's.

        Raises ``ValueError`` if the description does not fit what the descriptors hold.
        """

    def fds(self) -> tuple[int, ...]:
        """Descriptors of the columns, close-on-exec, open as long as the object lives."""

    def describe(self) -> dict[str, int]:
        """What ``attach`` needs beside the descriptors, as plain JSON values."""

    @property
    def item_count(self) -> int: ...
    @property
    def has_stat(self) -> bool: ...
    @property
    def memory_size(self) -> int:
        """Bytes of all columns."""

    @property
    def skipped_hidden(self) -> int:
        """How many names would have matched without their leading dot."""

    @property
    def skipped_special(self) -> int:
        """How many FIFOs, sockets and devices matched, and are no items."""

    @property
    def skipped_special_paths(self) -> tuple[str, ...]:
        """The first few of them; empty after ``attach``."""

    def __len__(self) -> int: ...
    def path(self, item_index: int, /) -> str:
        """Absolute path, as ``os.fsdecode`` gives it.  Raises ``IndexError``."""

    def paths(self, start: int, stop: int, /) -> list[str]:
        """Paths of items ``start`` (inclusive) to ``stop`` (exclusive).  Raises ``IndexError``, never cuts."""

    def size(self, item_index: int, /) -> int:
        """Bytes; -1 if the file vanished before it was looked at.  Raises ``ValueError`` without ``has_stat``."""

    def mtime_ns(self, item_index: int, /) -> int:
        """Last modification, nanoseconds.  Raises ``ValueError`` without ``has_stat``."""

    def digest(self, relative_to: str | bytes | None = None) -> bytes:
        """16 bytes over every path, size and time in order: equal exactly for equal items.

        Of paths below the folder ``relative_to`` only what follows it counts, so that the folder can be moved.
        """

class GlobPattern:
    """The components of one file pattern below its root folder, ready to be fed with names.

    A mask is a set of places in the pattern: bit k says that components k, k + 1, … are still to be matched.
    """

    def __init__(self, components: Iterable[bytes]) -> None: ...
    @property
    def components(self) -> tuple[bytes, ...]: ...
    @property
    def start(self) -> int:
        """The mask before the first name."""

    def step(self, mask: int, name: bytes, /) -> tuple[bool, int]:
        """Whether a file of that name matches, and the mask for what is below a folder of that name (0: nothing)."""

class ListingBuilder:
    """A listing while it grows: walk patterns and add single files, in order, then ``finish()`` once."""

    def __init__(self, stat: bool, core_count: int) -> None: ...
    @property
    def item_count(self) -> int: ...
    @property
    def skipped_hidden(self) -> int: ...
    @property
    def skipped_special(self) -> int: ...
    @property
    def skipped_special_paths(self) -> list[str]: ...
    @property
    def refused(self) -> int:
        """How many links led out of the root folder of the walk they were met in."""

    @property
    def refused_paths(self) -> list[str]:
        """The first few of them."""

    def add(self, folder: bytes, name: bytes, size: int, mtime_ns: int, /) -> None:
        """Append one file; ``folder`` is absolute and ends in ``/``."""

    def walk(
        self, root: bytes, patterns: Sequence[GlobPattern], masks: Sequence[int], taken: Sequence[bytes], /
    ) -> int | None:
        """Append what ``patterns[0]`` matches below ``root``, in byte order of the paths.

        Left out is what the other patterns match and what is in ``taken`` (sorted absolute paths): the listing has
        it already.  Returns how many files matched, those included; None if there is no folder ``root``.  Raises
        ``OSError`` with a path for whatever cannot be listed completely; the builder is of no use then.
        """

    def finish(self) -> Listing: ...

# rings

_Problem: TypeAlias = Literal[
    "NUL byte", "unclosed quote", "long field", "escape after quote", "escape at end", "changed"
]
_Lap: TypeAlias = Literal["init", "wait", "decode", "run", "encode", "publish", "blocked"]
LAPS: tuple[_Lap, ...]
PACKED_SIZE_MAX: int
"""Bytes of lines that ``Port.pack_lines`` takes."""
REQUEST_RUN: int
REQUEST_CALL: int
RESULT: int
FAILURE: int
READY: int
INIT_FAILED: int
COLUMNS_DIFFER: int
DAMAGED: int
PART: int

class Note(NamedTuple):
    """An answer that the driver's Python must look at; ``kind`` is one of this module's constants."""

    kind: int
    mini_batch_index: int
    attempt: int
    returned: int
    start: int
    """Its first item; for a call its index."""
    item_count: int
    columns: bytes
    payload: bytes
    """Rows, or a description; empty where columns differ."""

class Extent(NamedTuple):
    """Consecutive items whose rows are consecutive bytes of ``Gather.output()``.

    Made of all the results appended next to each other; one with a shortfall (``missing`` > 0) is of one result.
    """

    first_item: int
    item_count: int
    offset: int
    """From the first byte of ``output()``; a header lies in no extent."""
    size: int
    checksum: int
    """CRC-32C of its bytes."""
    returned: int
    missing: int
    attempt: int
    """The highest."""
    mini_batch_count: int
    """Mini-batches that begin here: of one in several extents, the first counts it."""

class Counts(NamedTuple):
    """What a gather has appended so far: mini-batches done; items succeeded, missing; rows; elements in surplus."""

    done: int
    succeeded: int
    missing: int
    rows: int
    surplus: int

class Channel:
    """The driver's end of one worker's rings.

    Owns the memfd until ``close_fd``.  ``flights()`` is what the worker was given and has not answered, in order.
    Ring sizes are in bytes, powers of two of at least a page.  Not thread-safe: one thread drives it.
    """

    def __new__(
        cls,
        *,
        request_size: int = ...,
        completion_size: int = ...,
        generation: int = 1,
        max_result_size: int = ...,
        start: int = 0,
    ) -> Channel: ...
    @property
    def fd(self) -> int: ...
    @property
    def generation(self) -> int: ...
    def close_fd(self) -> None:
        """Close the descriptor once the worker has it; the mapping stays."""

    def run(self, index: int, attempt: int, start: int, count: int, part: bool = False) -> bool:
        """Ask for one attempt of the mini-batch of items ``start`` to ``start + count``; False if the ring is full.

        ``part``: they are a piece of that mini-batch only, and the result comes as a note of kind ``PART``.
        """

    def run_range(self, first: int, stop: int, start: int, mini_batch_size: int, stop_item: int) -> int:
        """Ask for the first attempts of mini-batches ``first`` to ``stop``, as many as fit; returns how many did.

        They are the consecutive mini-batches of the items from ``start`` on, the last cut at ``stop_item``.
        """

    def call(self, index: int, attempt: int, payload: bytes) -> bool:
        """Ask for one attempt of a mini-batch sent as bytes; what does not fit is sent by ``flush``.

        Returns False, and takes nothing, while an earlier payload is still being sent.
        """

    def call_all(self, ready: deque[int], payloads: dict[int, bytes], attempts: dict[int, int], room: int) -> None:
        """Ask for the first ``room`` of the calls ``ready``, by their numbers; those that were taken go from it.

        ``attempts`` holds those that are not the first.
        """

    def call_first(self, calls: deque[tuple[int, bytes]], payloads: dict[int, bytes]) -> int:
        """Ask an idle worker for the first of ``calls``, and move it to ``payloads``; returns its size.

        Both or neither, whenever a signal comes.
        """

    def flush(self) -> bool:
        """Send more of the payload in hand; True when nothing is left to send."""

    def stop(self) -> bool:
        """Ask the worker to shut down after what it has; False if the ring is full."""

    @property
    def in_flight(self) -> int: ...
    def flights(self) -> list[tuple[int, int, int, int]]:
        """``(mini_batch_index, attempt, start, count)`` of each of them, in the order in which they were given."""

    @property
    def first_started(self) -> bool:
        """Has the worker begun the first flight?  Ask after a drain."""

    @property
    def started_sequence(self) -> int:
        """Grows with every request that the worker begins."""

    @property
    def state(self) -> Literal["starting", "init", "idle", "running", "shutdown", "unknown"]: ...
    @property
    def result_count(self) -> int:
        """Attempts answered so far."""

    @property
    def result_size(self) -> int:
        """Bytes of those answers."""

    @property
    def run_ns(self) -> int:
        """Nanoseconds that those attempts took in the worker."""

    @property
    def laps(self) -> tuple[_Lap, int, tuple[int, ...]] | None:
        """What the worker says its time has gone into so far, ``(lap, ns, nanoseconds of each of LAPS)``, or None.

        ``lap`` is what it does now, for ``ns``, which the others do not contain.  None: it keeps no laps.  Any number
        may stand there if the worker wrote over its memory.
        """

    @property
    def arrived_items(self) -> int:
        """Items of the mini-batches that came back with a result."""

    def set_low_water(self, request_count: int) -> None:
        """The worker shall wake a sleeping driver when no more than so many requests are left to it."""

    @property
    def is_drained(self) -> bool:
        """Nothing is published that was not taken."""

    def go_to_sleep(self) -> bool:
        """Say that the driver is about to sleep; False if this worker needs it: then do not sleep.

        It is needed when answers wait that the worker would wake it for, and when there is room again for a payload
        that is half sent.
        """

    def get_up(self) -> None:
        """Say that the driver is awake."""

    def set_spin(self, spin_ns: int, grace_ns: int = 0) -> None:
        """The worker may look so long for its next request before it sleeps; 0: another needs its processor.

        With nothing left to do it wakes a sleeping driver only after ``grace_ns``: the driver will look by itself.
        """

    def look(self, limit_ns: int) -> bool:
        """Look for an answer without sleeping, for up to ``limit_ns`` and never longer than 0.1 ms; True: there is one.

        The interpreter is free meanwhile.  After looks in vain the next ones are left out.
        """

    def drain(self) -> list[Note]:
        """Take every answer published so far, as a list of notes (see ``Gather.drain``)."""

    def drain_calls(
        self, payloads: dict[int, bytes], attempts: dict[int, int], values: dict[int, bytes], notes: list[Note]
    ) -> tuple[int, int]:
        """Take every answer published so far: results into ``values``, by the call's number; their calls are over.

        What is over goes from ``payloads`` and ``attempts``; what is no result goes to ``notes``.  Returns the bytes of
        the results, and those of their calls.
        """

class Port:
    """The worker's end: take requests, publish answers, keep the flight recorder.

    ``fd`` is the memfd, ``event_fd`` the eventfd that wakes the driver.  Raises ``ValueError`` if these are not rings
    of that generation.
    """

    def __new__(cls, fd: int, event_fd: int, generation: int) -> Port: ...
    def keep_home(self, fd: int) -> None:
        """Go back to the folder ``fd`` after each mini-batch, but for the shortest, and before the driver is woken.

        Where that fails, the script has closed descriptors: ``take`` and ``publish_…`` raise ``OSError``.
        """

    def set_state(self, state: Literal["starting", "init", "idle", "running", "shutdown"]) -> None: ...
    def begin_lap(self, lap: _Lap) -> None:
        """From now on this worker's time goes into ``lap``; before the first call into none."""

    def take(self) -> tuple[int, int, int, int] | None:
        """Wait for the next request for a range of the listing.

        Returns ``(mini_batch_index, attempt, first_item, item_count)``, None when the worker shall stop.
        Raises ``ValueError`` when the ring is damaged.
        """

    def take_call(self) -> tuple[int, int, bytes] | None:
        """Wait for the next request that comes as bytes.

        Returns ``(mini_batch_index, attempt, payload)``, None when the worker shall stop.
        Raises ``ValueError`` when the ring is damaged.
        """

    def publish_result(self, index: int, attempt: int, returned: int, columns: bytes, rows: bytes) -> None:
        """Publish what ``run()`` gave: how many elements, the bytes that name the columns, the bytes of the rows."""

    def pack_lines(self, result: object) -> bool:
        """Have a list of strings ready, as lines, for ``publish_packed``: the usual result on its shortest way.

        False, and nothing is ready, where ``text_rows`` must look closer, for any other type, and for more than
        ``PACKED_SIZE_MAX`` bytes.
        """

    def publish_packed(self, index: int, attempt: int) -> None:
        """Publish what ``pack_lines`` has made ready."""

    def publish_failure(self, index: int, attempt: int, description: bytes) -> None: ...
    def publish_ready(self) -> None: ...
    def publish_init_failed(self, description: bytes) -> None: ...

# rows

def text_rows(elements: list[Any]) -> bytes | None:
    """The UTF-8 lines of strings, one for each, or None where an element needs a closer look.

    That is: it is no ``str``, or one with a line break, or one that has no UTF-8.
    """

# records

RECORD_SCANS: tuple[str, ...]
"""The ways to scan that this processor has, the fastest first."""

class RecordSplit(NamedTuple):
    """Where the pieces of a file begin, and what was met."""

    begins: array[int]
    """First byte of each piece, which is the first of a record."""
    counts: array[int]
    """Records of each piece."""
    record_count: int
    exact_by: Literal["parity", "automaton"]
    """``automaton``: some of the file, or all, could not be split by the parity of its quotes."""
    notes: list[tuple[Literal["bare quote"], int, int]]
    """``(kind, byte offset, line)`` of quotes that quote nothing, the first 64 of ``note_count``."""
    note_count: int
    problem: tuple[_Problem, int, int] | None
    """Why there is no answer: ``(kind, byte offset, line)``; the other fields mean nothing then."""

def split_records(
    fd: int,
    start: int,
    stop: int,
    *,
    delimiter: int,
    quote: int,
    escape: int,
    lines: bool = False,
    size: int = 0,
    rows: int = 0,
    threads: int = 1,
    field_size_max: int,
    scan: str = "",
    grain: int = ...,
) -> RecordSplit:
    """Split the bytes ``start`` to ``stop`` of a file, the first of which begins a record, between its records.

    A piece begins at the first record that begins ``size`` bytes or more behind the begin of the piece before it, or
    ``rows`` records behind; with neither there is one piece.  ``delimiter``, ``quote`` and ``escape`` are ASCII
    characters, -1: there is none.  ``lines``: JSON Lines, where these do not matter and a record counts as one field.
    The file is read, never mapped; the interpreter is free meanwhile.

    ``scan``, one of ``RECORD_SCANS``, and ``grain``, bytes that are looked at together, change nothing but the time.

    Raises ``OSError`` where reading fails, ``ValueError`` for arguments that mean nothing.
    """

def record_range(
    data: bytes | bytearray | memoryview,
    skip: int,
    count: int,
    *,
    delimiter: int,
    quote: int,
    escape: int,
    lines: bool = False,
    field_size_max: int,
) -> tuple[int, int, int, tuple[_Problem, int] | None]:
    """``(begin, end, seen, problem)`` of records ``skip`` to ``skip + count`` of ``data``, which begins with one.

    ``end`` is where the record behind them begins, or the size of ``data``; ``seen`` counts the records that begin up
    to there, the one at ``end`` among them.  ``problem``: met before ``end``, ``(kind, byte offset)``.
    """

# frames

SIGNED: int
UNSIGNED: int
DOUBLE: int
FLOAT: int
BOOL: int
DATE: int
TEXT32: int
TEXT64: int
OBJECTS: int

class Column(NamedTuple):
    """One value for each row, from the value number ``first`` of its buffers on.

    ``SIGNED``, ``UNSIGNED``, ``DOUBLE``: ``values`` has 8 bytes for each; ``BOOL``: 1.
    ``FLOAT``: 4 bytes, written with an exponent unless it is below ``scale``.
    ``DATE``: 8 bytes, so many ticks since 1970, of which a second has ``scale``; years have four digits;
    ``digits``: 0, 3, 6 or 9 of the second behind the point, -1: the time is not written.
    ``TEXT32``, ``TEXT64``: offsets into ``text``, UTF-8, one more than values, of 4 or 8 bytes.
    ``OBJECTS``: ``values`` is a list, of nothing but str, int, float, bool and None.

    ``valid``: a bit for each value, from the lowest on, which is 0 where it is missing.  NaN is missing, and the lowest
    of dates.
    """

    kind: int
    values: Any
    text: Any = None
    valid: Any = None
    first: int = 0
    scale: int = 0
    digits: int = 0

def format_rows(columns: list[Column], row_count: int, delimiter: int) -> bytes | None:
    """The rows as the ``csv`` module writes what pandas gives it, lines ended with a newline, carriage returns quoted.

    ``delimiter``: of ASCII, and none that numbers are written with.  None where an object is of another type, or a
    text has no UTF-8.
    """

# gather

class Gather:
    """Collects the results of all workers and gives their bytes in input order (or as they come).

    What is in ``output()`` or was taken from it is done; ``next`` is the first mini-batch that is not.
    ``columns``: known from an earlier session, which has written the header.
    """

    def __new__(
        cls, *, in_order: bool = True, any_items: bool = False, write_header: bool = True, columns: bytes = b""
    ) -> Gather: ...
    def drain(self, channel: Channel) -> list[Note]:
        """Take every answer that the channel's worker has published, until there are some megabytes of output.

        Takes one at least, however much output there is.  Returns the notes: failures, readiness, parts, and results
        whose columns differ from those before: these are not done and may come again.  A last note of kind ``DAMAGED``
        means that the worker wrote what no worker of ours writes: end it.
        """

    def put(self, index: int, attempt: int, pieces: Sequence[tuple[int, int, int, bytes, bytes]]) -> list[Note]:
        """What was saved of a mini-batch: ``(start, count, returned, columns, rows)`` of each piece, in item order.

        Without pieces all of it is lost, and the order goes on without it.  Returns notes, as ``drain``; pieces whose
        columns differ are all given back by one note.  Raises ``ValueError`` if the mini-batch is appended or put
        already, or if the pieces overlap.
        """

    def spill(self) -> list[Note]:
        """Append everything that waits, out of order; mini-batches before it are appended as they come from now on.

        Does nothing as long as no columns are known and something that waits names some: they are for the first of
        the input to say.  Returns notes, as ``drain``.
        """

    def output(self) -> memoryview:
        """A copy-free view of the bytes to append to the output next; valid until ``clear`` or the next drain."""

    def take_extents(self) -> list[Extent]:
        """What ``output()`` is made of, in the order of its bytes, as far as it was not taken before."""

    def clear(self) -> None:
        """The bytes of ``output()`` have been written, and its extents taken."""

    def take_shortfalls(self) -> list[tuple[int, int, int, int, int, int]]:
        """``(mini_batch_index, attempt, returned, missing, start, count)`` of each shortfall since the last call."""

    @property
    def counts(self) -> Counts: ...
    @property
    def columns(self) -> bytes:
        """The bytes that name the columns, once a mini-batch with rows has been appended."""

    @property
    def next(self) -> int: ...
    @property
    def waiting(self) -> int:
        """How many mini-batches wait for an earlier one."""

    @property
    def held_bytes(self) -> int:
        """Memory held by them."""

def crc32c(data: bytes | bytearray | memoryview, seed: int = 0) -> int:
    """CRC-32C of ``data`` that follows bytes with the checksum ``seed``."""

def crc32c_combine(first: int, second: int, size: int) -> int:
    """CRC-32C of bytes that have ``first``, followed by ``size`` bytes that have ``second``."""

# numbers

def has_odd_numbers(
    data: bytes | bytearray | memoryview, kinds: bytes | bytearray | memoryview, *, delimiter: int, quote: int
) -> bool:
    """Whether in these records of CSV there may be a number that is not in its shortest form.

    That is: with a zero before a digit or an ``x``, with blanks around, or ``-0`` for an integer; in a column whose
    byte in ``kinds`` is 1, for integers, or 2, for doubles.  Never False where there is one.  ``quote``: -1 for none.
    """
