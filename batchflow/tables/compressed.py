"""Text files that are compressed: by ``.gz`` or ``.zst`` at the end of their names.

Several compressed files one after the other are the texts one after the other.  What is damaged, cut off or followed by
something else is an error.  Nothing is unpacked beyond what the caller asks for.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SUFFIXES = {".gz": "gzip", ".zst": "zstd"}


def compression_of(path: str) -> str | None:
    """``gzip``, ``zstd`` or None, by the name."""
    return next((name for suffix, name in SUFFIXES.items() if path.lower().endswith(suffix)), None)


@contextmanager
def unpacked(path: str) -> Iterator[IO[bytes]]:
    """The text of a file, compressed or not, to be read from its beginning.

    Raises ``OSError``, for damaged data too.
    """
    compression = compression_of(path)
    if compression is None:
        with Path(path).open("rb") as file:
            yield file
        return
    try:
        if compression == "gzip":
            with gzip.open(path, "rb") as text:
                yield text  # type: ignore[misc]
        else:
            import pyarrow as pa

            with pa.OSFile(path) as packed, pa.CompressedInputStream(packed, "zstd") as stream:
                yield stream
    except (EOFError, zlib.error) as error:
        raise OSError(f"damaged or cut off: {error}") from None


def read_up_to(stream: IO[bytes], size: int) -> bytes:
    """The next ``size`` bytes, fewer at the end."""
    buffer = io.BytesIO()
    while size > 0 and (part := stream.read(min(size, 4 << 20))):
        buffer.write(part)
        size -= len(part)
    return buffer.getvalue()
