"""Where in a file a byte is: its line, for messages.

Lines end with LF, CRLF or CR.  A file is read at most once from its beginning to the last byte that was asked for, as
long as questions come for later and later bytes; an earlier one begins at a mark.
"""

from __future__ import annotations

from bisect import bisect_right

from batchflow.tables.compressed import read_up_to, unpacked

_BLOCK_SIZE = 4 << 20
_MARKS_MAX = 1024


class Lines:
    """Line numbers of one file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._marks = [(0, 0)]
        """Offsets, and how many lines end before."""

    def line(self, offset: int) -> int | None:
        """From 1; of the text, if the file is compressed.  None if the file cannot be read so far."""
        place = bisect_right(self._marks, (offset, offset)) - 1
        begin, count = self._marks[place]
        try:
            with unpacked(self._path) as file:
                file.seek(begin)
                while begin < offset:
                    data = read_up_to(file, min(_BLOCK_SIZE, offset - begin))
                    if not data:
                        return None
                    count += _line_ends(data, read_up_to(file, 1))
                    begin += len(data)
                    file.seek(begin)
        except OSError:
            return None
        if len(self._marks) < _MARKS_MAX and place == len(self._marks) - 1 and begin > self._marks[-1][0]:
            self._marks.append((begin, count))
        return count + 1

    def place(self, offset: int) -> str:
        """``data/a.csv:17 (byte 1234)``."""
        line = self.line(offset)
        return f"{self._path}{'' if line is None else f':{line}'} (byte {offset})"


def _line_ends(data: bytes, following: bytes) -> int:
    """Line breaks that end in ``data``: not those whose LF follows it."""
    pairs = data.count(b"\r\n") + (data.endswith(b"\r") and following == b"\n")
    return data.count(b"\n") + data.count(b"\r") - pairs
