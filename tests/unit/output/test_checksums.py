"""Checksums of files and of parts of them, however they are cut into blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow._core import Extent, crc32c
from batchflow.output.checksums import blocks, checksum_text, checksum_with, file_checksum, read_checksum


def test_a_checksum_is_shown_with_its_name_and_all_its_digits() -> None:
    assert checksum_text(crc32c(b"123456789")) == "crc32c:e3069283"  # the check value of CRC-32C
    assert checksum_text(0xBAD) == "crc32c:00000bad"


@pytest.mark.parametrize("block_size", [1, 3, 7, 8, 100])
def test_any_part_of_a_file_in_blocks(block_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchflow.output.checksums._BLOCK", block_size)
    path = tmp_path / "file"
    path.write_bytes(b"abcdefgh")
    with path.open("rb") as file:
        found = list(blocks(file.fileno(), 1, 6))
        assert (b"".join(found), max(map(len, found))) == (b"bcdefg", min(block_size, 6))
        assert list(blocks(file.fileno(), 0, 5, 2)) == [b"ab", b"cd", b"e"]
        assert b"".join(blocks(file.fileno(), 6, 100)) == b"gh"
        assert list(blocks(file.fileno(), 8, 5)) == list(blocks(file.fileno(), 0, 0)) == []
        assert read_checksum(file.fileno(), 2, 4) == crc32c(b"cdef")
        assert read_checksum(file.fileno(), 2, 4, crc32c(b"ab")) == crc32c(b"abcdef")
        assert read_checksum(file.fileno(), 9, 4, 77) == 77
    assert file_checksum(path) == (8, crc32c(b"abcdefgh"))


def test_of_an_empty_file_and_of_none(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert file_checksum(tmp_path / "empty") == (0, 0)
    with pytest.raises(FileNotFoundError):
        file_checksum(tmp_path / "none")


@given(
    st.lists(st.tuples(st.integers(0, 50), st.sampled_from([0, 1, 65_535, 65_536, 70_000])), max_size=4), st.binary()
)
def test_what_is_known_of_parts_is_not_computed_again(parts: list[tuple[int, int]], rest: bytes) -> None:
    """Bytes of no extent lie between, before and behind them."""
    view, extents = b"", []
    for between, size in parts:
        view += b"-" * between
        part = bytes([size % 251]) * size
        extents.append(Extent(0, 1, len(view), size, crc32c(part), 1, 0, 1, 1))
        view += part
    view += rest
    assert checksum_with(memoryview(view), extents, 0xBAD) == crc32c(view, 0xBAD)
