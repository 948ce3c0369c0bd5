"""Each peer that is installed runs a no-op and gives every row once, in order where it promises order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3]))  # at the end: the batchflow under test stays the installed one

from benchmarks import data
from benchmarks.__main__ import PEERS
from benchmarks.cases import noop
from benchmarks.peers import CHUNKED, HEAVY
from benchmarks.session import PeerMissingError, ask, scratch_folder
from benchmarks.values import Task

FILES = 1_230
"""The last mini-batch is short, and so is the last message."""


@pytest.mark.parametrize(
    ("peer", "chunk"),
    [
        pytest.param(peer, chunk, marks=[pytest.mark.slow] if peer in HEAVY else [])
        for peer in PEERS
        if peer != "tf-data"
        for chunk in ((1, 7) if peer in CHUNKED else (None,))
    ],
)
def test_every_row_comes_back_once_and_in_order(tmp_path, monkeypatch, peer, chunk):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    folder = data.numbered_files(tmp_path, FILES)
    with scratch_folder() as scratch:
        (scratch / "work").mkdir()
        task = Task(
            case="dispatch",
            peer=peer,
            chunk=chunk,
            folder=str(folder),
            item_count=FILES,
            mini_batch_size=4,
            script=str(noop.SCRIPT),
            arguments=(),
            output_format="text",
            workers=2,
            output=str(scratch / "rows.txt"),
            scratch=str(scratch / "work"),
            watched=False,
            settings={},
        )
        try:
            _, answer = ask(task)
        except PeerMissingError as missing:
            pytest.skip(str(missing))
        rows = (scratch / "rows.txt").read_text().splitlines()
    if peer == "pool-unordered":
        rows.sort()
    assert rows == data.numbered_names(FILES)
    seconds = answer["seconds"]
    assert 0 < seconds["dispatch"] <= seconds["whole"]
