"""IDX files: what fits to the byte is read, everything else is a FormatError that says where."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnist import idx

# Two images of 2 x 3 pixels, and their labels, written out by hand.
IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003 000102030405 0a0b0c0d0eff")
LABELS = bytes.fromhex("00000801 00000002 07 09")


def test_images_are_read_in_order() -> None:
    pixels = idx.parse(IMAGES, "x", dimension_count=3)
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 255]]]


def test_files_are_read(tmp_path) -> None:
    (tmp_path / "i.gz").write_bytes(gzip.compress(IMAGES))
    (tmp_path / "l.gz").write_bytes(gzip.compress(LABELS))
    assert idx.read_images(tmp_path / "i.gz").shape == (2, 2, 3)
    assert idx.read_labels(tmp_path / "l.gz").tolist() == [7, 9]


@pytest.mark.fault("V5")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"x: offset 0: ends inside the header of 16 bytes"),
        (IMAGES[:15], r"x: offset 15: ends inside the header of 16 bytes"),
        (b"\x00\x00\x08\x01" + IMAGES[4:], r"x: offset 0: expected the magic number 00000803, got 00000801"),
        (b"\x00\x00\x0d\x03" + IMAGES[4:], r"x: offset 0: expected the magic number 00000803, got 00000d03"),
        (b"\x1f\x8b\x08\x03" + IMAGES[4:], r"x: offset 0: expected the magic number 00000803, got 1f8b0803"),
        (IMAGES[:-1], r"x: offset 27: the header promises 2 x 2 x 3 values, but the file ends 1 bytes too early"),
        (IMAGES[:16], r"x: offset 16: .* ends 12 bytes too early"),
        (IMAGES + b"\x00", r"x: offset 28: the header promises 2 x 2 x 3 values, but the file has bytes after its end"),
        (IMAGES[:4] + bytes(12) + b"!", r"x: offset 16: the header promises 0 x 0 x 0 values, but .* after its end"),
        (IMAGES[:4] + bytes(12), r"x: offset 4: holds no values"),
        (IMAGES[:4] + b"\xff" * 12 + IMAGES[16:], r"promises 4,294,967,295 x 4,294,967,295 x 4,294,967,295 values"),
    ],
    ids=["empty", "header", "labels", "floats", "gzip", "one less", "no values", "one more", "0 and more", "0", "huge"],
)
def test_what_does_not_fit_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(idx.FormatError, match=message):
        idx.parse(content, "x", dimension_count=3)


def test_a_label_above_9_is_named_with_its_offset(tmp_path) -> None:
    (tmp_path / "l.gz").write_bytes(gzip.compress(LABELS[:-1] + b"\x0a"))
    with pytest.raises(idx.FormatError, match=r"l\.gz: offset 9: expected a label from 0 to 9, got 10"):
        idx.read_labels(tmp_path / "l.gz")


@given(at=st.integers(0, 15), value=st.integers(0, 255))
def test_every_changed_header_byte_is_noticed(at, value) -> None:
    content = bytearray(IMAGES)
    if content[at] == value:
        return
    content[at] = value
    with pytest.raises(idx.FormatError):
        idx.parse(bytes(content), "x", dimension_count=3)


@given(shape=st.tuples(*[st.integers(1, 9)] * 3), data=st.data())
def test_what_is_written_is_read(shape, data) -> None:
    count = shape[0] * shape[1] * shape[2]
    values = data.draw(st.binary(min_size=count, max_size=count))
    pixels = idx.parse(struct.pack(">4B3I", 0, 0, 8, 3, *shape) + values, "x", dimension_count=3)
    assert pixels.shape == shape
    assert pixels.tobytes() == values


# gzip ---------------------------------------------------------------------------------------------------------------


def test_content_of_exactly_the_limit_is_read(tmp_path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"12345"))
    assert idx.read_gzip(tmp_path / "x.gz", 5) == b"12345"


@pytest.mark.fault("V5")
@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"", r"x\.gz: offset 0: the gzip file ends too early"),
        (b"plain text", r"x\.gz: damaged gzip file: .*incorrect header check"),
        (gzip.compress(b"12345", mtime=0)[:-1], r"x\.gz: offset 24: the gzip file ends too early"),
        (gzip.compress(b"12345", mtime=0)[:12], r"x\.gz: offset 12: the gzip file ends too early"),
        (gzip.compress(b"12345", mtime=0) + b"!", r"x\.gz: offset 25: 1 bytes follow the end of the gzip member"),
        (gzip.compress(b"12", mtime=0) + gzip.compress(b"345", mtime=0), r"x\.gz: offset 22: 23 bytes follow"),
        (gzip.compress(b"123456"), r"x\.gz: unpacks to more than 5 bytes"),
        (gzip.compress(bytes(10_000_000)), r"x\.gz: unpacks to more than 5 bytes"),
        (bytes(100_000), r"x\.gz: larger than any gzip file of 5 bytes of content"),
    ],
    ids=["empty", "text", "one less", "header", "one more", "two members", "too much", "bomb", "large"],
)
def test_a_bad_gzip_file_is_refused(tmp_path, packed, message) -> None:
    (tmp_path / "x.gz").write_bytes(packed)
    with pytest.raises(idx.FormatError, match=message):
        idx.read_gzip(tmp_path / "x.gz", 5)


@pytest.mark.fault("V6")
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    unpacked = []
    real = idx.zlib.decompressobj

    class Watched:
        def __init__(self, window) -> None:
            self.stream = real(window)

        def decompress(self, packed, size_max) -> bytes:
            unpacked.append(self.stream.decompress(packed, size_max))
            return unpacked[-1]

    monkeypatch.setattr(idx.zlib, "decompressobj", Watched)
    with pytest.raises(idx.FormatError, match="unpacks to more than 1,000 bytes"):
        idx.read_gzip(tmp_path / "x.gz", 1_000)
    assert [len(one) for one in unpacked] == [1_001]


@pytest.mark.fault("V5")
def test_every_flipped_bit_is_an_error_or_changes_nothing(tmp_path) -> None:
    good = gzip.compress(LABELS, mtime=0)
    harmless = set()
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x.gz").write_bytes(bad)
        try:
            assert idx.read_gzip(tmp_path / "x.gz", 1_000) == LABELS
        except idx.FormatError:
            continue
        harmless.add(bit // 8)
    # Flags, time stamp, level and operating system mean nothing here; nor do the bits that fill the last packed byte.
    assert harmless <= {*range(3, 10), len(good) - 9}


@pytest.mark.fault("V5")
@given(cut=st.integers(0, len(IMAGES) + 20))
def test_every_truncation_is_an_error(tmp_path_factory, cut) -> None:
    packed = gzip.compress(IMAGES, mtime=0)
    path = tmp_path_factory.getbasetemp() / "truncated.gz"
    path.write_bytes(packed[: min(cut, len(packed) - 1)])
    with pytest.raises(idx.FormatError, match="ends too early"):
        idx.read_gzip(path, 1_000)
