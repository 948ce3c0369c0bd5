"""CRC-32C of long inputs, which go through the processor in three lanes, against a table and their own pieces."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow import _core

SHORT, LONG = 3 * 256, 3 * 8192
DATA = random.Random(1).randbytes(3 * LONG)


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()


def by_table(data: bytes, seed: int = 0) -> int:
    value = seed ^ 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize("near", [0, SHORT, 2 * SHORT, LONG, LONG + SHORT, 2 * LONG, 2 * LONG + 2 * SHORT])
@pytest.mark.parametrize("more", [-1, 0, 1, 7, 13])
def test_the_ends_of_the_lanes(near: int, more: int) -> None:
    data = DATA[3 : 3 + max(0, near + more)]  # not on a boundary of the processor's words
    assert _core.crc32c(data, 0x12345678) == by_table(data, 0x12345678)


@given(st.lists(st.integers(0, len(DATA)), max_size=6))
def test_the_pieces_of_an_input_have_its_checksum(cuts: list[int]) -> None:
    checksum, begin = 0, 0
    for end in [*sorted(cuts), len(DATA)]:
        checksum = _core.crc32c(DATA[begin:end], checksum)
        begin = end
    assert checksum == _core.crc32c(DATA)


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 60_000))
def test_two_checksums_are_combined_without_the_bytes(first: bytes, second: bytes, longer: int) -> None:
    second += DATA[:longer]
    combined = _core.crc32c_combine(_core.crc32c(first), _core.crc32c(second), len(second))
    assert combined == _core.crc32c(first + second)


def test_combining_does_not_stop_at_four_gigabytes() -> None:
    half = _core.crc32c_combine(5, 0, 1 << 32)
    assert _core.crc32c_combine(half, 7, 1 << 32) == _core.crc32c_combine(5, 7, 1 << 33)
