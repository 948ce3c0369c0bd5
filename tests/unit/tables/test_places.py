"""Lines of bytes: whatever the line breaks, and however much is read at once."""

from __future__ import annotations

import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.tables import places
from batchflow.tables.places import Lines


@given(
    st.lists(st.sampled_from([b"x", b"\n", b"\r", b"\r\n"]), max_size=20).map(b"".join),
    st.integers(1, 5),
    st.lists(st.integers(0, 25), max_size=6),
)
def test_the_line_of_a_byte(tmp_path_factory, data, block, offsets):
    path = tmp_path_factory.mktemp("t") / "t"
    path.write_bytes(data)
    lines = Lines(str(path))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "_BLOCK_SIZE", block)
        for offset in offsets:
            # Between CR and LF the line has not ended yet.
            expected = 1 + sum(match.end() <= offset for match in re.finditer(b"\r\n|\r|\n", data))
            assert lines.line(offset) == (expected if offset <= len(data) else None)


def test_lines_of_a_compressed_file_are_those_of_its_text(tmp_path):
    path = tmp_path / "t.gz"
    path.write_bytes(gzip.compress(b"a\nb\nc\n"))
    assert Lines(str(path)).place(4) == f"{path}:3 (byte 4)"


def test_of_a_file_that_is_gone_only_the_byte_is_told(tmp_path):
    assert Lines(str(tmp_path / "x")).place(4) == f"{tmp_path}/x (byte 4)"
