"""Types of the compiled core."""

from collections.abc import Iterable, Mapping, Sequence

# listing

class Listing:
    """The files of a dataset, packed in shared memory: a path, a size and a time for each item.  Immutable.

    Made by ``batchflow.data.list_files`` or, in another process, by ``attach``; freed with the object.
    """

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

    def digest(self) -> bytes:
        """16 bytes over every path, size and time in order: equal exactly for equal items."""

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
