"""A receipt on disk is whole, typed and balanced, or refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest

from batchflow.errors import InternalError, JournalError, ResourceError
from batchflow.model import Receipt
from batchflow.output.receipt import read_receipt, write_receipt

RECEIPT = Receipt(
    step="score",
    run_id="r1",
    items_in=10,
    succeeded=8,
    failed=2,
    mini_batches=3,
    failed_mini_batches=1,
    rows_out=9,
    surplus=1,
    output="/data/out.txt",
    output_size=90,
    output_checksum="crc32c:0badcafe",
    workers=2,
    elapsed_s=1.5,
    attempts=4,
    worker_deaths=0,
    details={"inputs": {"images": 10}},
)


@pytest.mark.parametrize(
    "receipt", [RECEIPT, replace(RECEIPT, output=None, output_checksum="", details={}, elapsed_s=2.0)]
)
def test_it_reads_back_as_written(tmp_path, receipt):
    path = tmp_path / "new" / "receipt.json"
    write_receipt(path, receipt)
    assert read_receipt(path) == receipt
    assert os.listdir(path.parent) == ["receipt.json"]


def test_one_that_does_not_balance_is_not_written(tmp_path):
    with pytest.raises(InternalError) as caught:
        write_receipt(tmp_path / "receipt.json", replace(RECEIPT, failed=1))
    assert str(caught.value) == "the receipt of step 'score' does not balance: items_in=10, succeeded=8, failed=1"
    assert os.listdir(tmp_path) == []


def test_the_old_one_stays_until_the_new_one_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "receipt.json"
    write_receipt(path, RECEIPT)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match=r"cannot write .*/receipt.json: No space left on device"):
        write_receipt(path, replace(RECEIPT, run_id="r2"))
    assert read_receipt(path) == RECEIPT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"failed": 1}, "items_in=10, succeeded=8, failed=1 do not balance"),
        ({"workers": "2"}, "workers: expected int, got str"),
        ({"workers": True}, "workers: expected int, got bool"),
        ({"workers": 2.0}, "workers: expected int, got float"),
        ({"output": 5}, r"output: expected str \| None, got int"),
        ({"details": []}, r"details: expected Mapping\[str, Any\], got list"),
    ],
)
def test_a_damaged_one_is_refused(tmp_path, change, message):
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(RECEIPT.as_dict() | change))
    with pytest.raises(JournalError, match=r"receipt.json is not a receipt of ours: " + message):
        read_receipt(path)


@pytest.mark.parametrize(
    ("text", "message"), [("", "not JSON"), ("[]", "expected an object"), ("{}", "step: expected str, got nothing")]
)
def test_what_is_no_receipt_is_refused(tmp_path, text, message):
    path = tmp_path / "receipt.json"
    path.write_text(text)
    with pytest.raises(JournalError, match=message):
        read_receipt(path)
    with pytest.raises(FileNotFoundError):
        read_receipt(tmp_path / "none.json")
