"""Checksums of files and of parts of them, however they are cut into blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchflow._core import crc32c
from batchflow.output.checksums import blocks, checksum_text, file_checksum, read_checksum


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
