"""Read IDX files, the format of MNIST, strictly: what does not fit to the byte is an error.

    0   two zero bytes, 0x08 (unsigned bytes), number of dimensions
    4   one big-endian uint32 for each dimension: count, height, width
    …   the values, last dimension fastest, and nothing after them

Knows no network.  Trusts no number in a file: nothing is allocated before the sizes agree.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
from common.images import DIGITS

UNSIGNED_BYTE = 0x08
UNPACKED_SIZE_MAX = 256 * 1024 * 1024
GZIP_WINDOW = 16 + zlib.MAX_WBITS


class FormatError(ValueError):
    """The content of a file is not what it must be; the message names the file and the offset."""


def read_images(path: Path) -> DIGITS:
    """The images of a gzip-compressed IDX file: count × height × width, grey values from 0 to 255."""
    return parse(read_gzip(path, UNPACKED_SIZE_MAX), str(path), dimension_count=3)


def read_labels(path: Path) -> DIGITS:
    """The labels of a gzip-compressed IDX file, 0 to 9."""
    labels = parse(read_gzip(path, UNPACKED_SIZE_MAX), str(path), dimension_count=1)
    wrong = np.flatnonzero(labels > 9)
    if len(wrong):
        index = int(wrong[0])
        raise FormatError(f"{path}: offset {8 + index}: expected a label from 0 to 9, got {labels[index]}")
    return labels


def read_gzip(path: Path, size_max: int) -> bytes:
    """The content of a gzip file with exactly one member, checksum verified, of at most ``size_max`` bytes.

    Raises ``FormatError``; a file that would unpack to more is given up without being unpacked further.
    """
    if path.stat().st_size > packed_size_max(size_max):
        raise FormatError(f"{path}: larger than any gzip file of {size_max:,} bytes of content")
    packed = path.read_bytes()
    stream = zlib.decompressobj(GZIP_WINDOW)
    try:
        content = stream.decompress(packed, size_max + 1)
    except zlib.error as error:
        raise FormatError(f"{path}: damaged gzip file: {error}") from None
    if len(content) > size_max:
        raise FormatError(f"{path}: unpacks to more than {size_max:,} bytes")
    if not stream.eof:
        raise FormatError(f"{path}: offset {len(packed)}: the gzip file ends too early")
    if stream.unused_data:
        raise FormatError(
            f"{path}: offset {len(packed) - len(stream.unused_data)}: {len(stream.unused_data):,} bytes follow "
            "the end of the gzip member"
        )
    return content


def packed_size_max(size_max: int) -> int:
    """No gzip file of ``size_max`` bytes of content is larger: 0.1 % for what cannot be compressed, and a header."""
    return size_max + size_max // 1000 + 64 * 1024


def parse(content: bytes, name: str, dimension_count: int) -> DIGITS:
    """The array in ``content``, read-only; ``name`` is for the ``FormatError``."""
    header_size = 4 + 4 * dimension_count
    if len(content) < header_size:
        raise FormatError(f"{name}: offset {len(content)}: ends inside the header of {header_size} bytes")
    magic = bytes((0, 0, UNSIGNED_BYTE, dimension_count))
    if content[:4] != magic:
        raise FormatError(f"{name}: offset 0: expected the magic number {magic.hex()}, got {content[:4].hex()}")
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, header_size, 4))
    size, expected = len(content) - header_size, math.prod(shape)
    if size != expected:
        promised = " x ".join(f"{one:,}" for one in shape)
        problem = f"ends {expected - size:,} bytes too early" if size < expected else "has bytes after its end"
        at = min(len(content), header_size + expected)
        raise FormatError(f"{name}: offset {at}: the header promises {promised} values, but the file {problem}")
    if expected == 0:
        raise FormatError(f"{name}: offset 4: holds no values")
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)
