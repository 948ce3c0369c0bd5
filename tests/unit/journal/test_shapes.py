"""What is read back has the types in which it was written, or is refused with the place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import pytest

from batchflow.journal.shapes import ShapeError, check_digest, check_receipt, check_signature, check_states, revived
from batchflow.model import Receipt


class Pair(NamedTuple):
    left: int
    right: str


@dataclass(frozen=True)
class Inner:
    number: int = 0


@dataclass(frozen=True)
class Sample:
    text: str
    number: int
    ratio: float = 0.5
    flag: bool = False
    maybe: str | None = None
    anything: Any = None
    kind: Literal["a", "b"] = "a"
    names: Mapping[str, int] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    pair: Pair = field(default_factory=lambda: Pair(0, ""))


FULL = Sample("t", 3, 2.0, True, "m", [1, {}], "b", {"x": 1}, Inner(4), Pair(5, "r"))


def test_what_was_written_comes_back() -> None:
    assert revived(Sample, json.loads(json.dumps(asdict(FULL)))) == FULL
    assert revived(Sample, {"text": "t", "number": 3}) == Sample("t", 3)
    assert revived(Sample, {"text": "t", "number": 3, "ratio": 1}).ratio == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": 3}, "Sample.text: a value of type int is not what belongs there"),
        ({"text": None}, "Sample.text: a value of type NoneType is not what belongs there"),
        ({"number": True}, "Sample.number: a value of type bool is not what belongs there"),
        ({"number": 1.0}, "Sample.number: a value of type float is not what belongs there"),
        ({"number": 2**63}, "Sample.number: a value of type int is not what belongs there"),
        ({"ratio": "1"}, "Sample.ratio: a value of type str is not what belongs there"),
        ({"ratio": True}, "Sample.ratio: a value of type bool is not what belongs there"),
        ({"ratio": float("inf")}, "Sample.ratio: a value of type float is not what belongs there"),
        ({"ratio": float("nan")}, "Sample.ratio: a value of type float is not what belongs there"),
        ({"flag": 1}, "Sample.flag: a value of type int is not what belongs there"),
        ({"maybe": 1}, "Sample.maybe: a value of type int is not what belongs there"),
        ({"kind": "c"}, "Sample.kind: a value of type str is not what belongs there"),
        ({"names": []}, "Sample.names: a value of type list is not what belongs there"),
        ({"inner": []}, "expected an object for Inner, got list"),
        ({"inner": {"number": "x"}}, "Inner.number: a value of type str is not what belongs there"),
        ({"pair": [1]}, "Sample.pair: expected 2 values"),
        ({"pair": {"left": 1, "right": ""}}, "Sample.pair: expected 2 values"),
        ({"pair": ["1", ""]}, "Sample.pair: a value of type str is not what belongs there"),
        ({"more": 1, "also": 2}, "Sample has no 'also'"),
    ],
)
def test_what_has_another_shape_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        revived(Sample, asdict(FULL) | {"pair": [1, ""]} | change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "expected an object for Sample, got list"),
        ({}, "Sample lacks 'number'"),
        ({"number": 3}, "Sample lacks 'text'"),
    ],
)
def test_what_lacks_something_is_refused(values: object, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        revived(Sample, values)
    assert str(caught.value) == message


def test_a_receipt_must_balance() -> None:
    receipt = Receipt("score", "r0", 3, 2, 1, 1, 0, 2, 0, None, 0, "", 1, 0.5, 1, 0).as_dict()
    check_receipt(None)
    check_receipt(receipt)
    with pytest.raises(ShapeError, match="a receipt does not balance"):
        check_receipt(receipt | {"failed": 0})
    with pytest.raises(ShapeError, match="expected an object for Receipt, got int"):
        check_receipt(3)


@pytest.mark.parametrize(
    ("digest", "message"),
    [
        ({"digest": "d", "imports": [[0, "os.path"], [2, ""], [100, "x"]]}, None),
        ({"digest": 3, "imports": []}, "digest: a value of type int"),
        ({"digest": "d"}, "imports of a code file are none"),
        ({"digest": "d", "imports": {}}, "imports of a code file are none"),
        ({"digest": "d", "imports": ["os"]}, "imports of a code file are none"),
        ({"digest": "d", "imports": [[0]]}, "imports of a code file are none"),
        ({"digest": "d", "imports": [[101, "os"]]}, "imports of a code file are none"),
        ({"digest": "d", "imports": [[-1, "os"]]}, "imports of a code file are none"),
        ({"digest": "d", "imports": [[True, "os"]]}, "imports of a code file are none"),
        ({"digest": "d", "imports": [[0, 3]]}, "import: a value of type int"),
    ],
)
def test_the_digest_of_a_code_file(digest: dict[str, Any], message: str | None) -> None:
    if message is None:
        check_digest(digest)
        return
    with pytest.raises(ShapeError, match=message):
        check_digest(digest)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"kind": "missing"}, None),
        ({"kind": "file", "size": 1, "mtime_ns": 2, "content": "c"}, None),
        ({"kind": "files", "count": 1, "digest": "d"}, None),
        ({"kind": "folder", "count": 1, "digest": "d"}, None),
        ({"kind": "device"}, "the state of x is of no kind that we write"),
        ({}, "the state of x is of no kind that we write"),
        (7, "the state of x is of no kind that we write"),
        ({"kind": "file", "size": 1}, "mtime_ns of x: a value of type NoneType"),
        ({"kind": "file", "size": "1", "mtime_ns": 2}, "size of x: a value of type str"),
        ({"kind": "missing", "content": 3}, "content of x: a value of type int"),
    ],
)
def test_the_state_of_what_lies_under_a_path(state: Any, message: str | None) -> None:
    if message is None:
        check_states({"x": state})
        return
    with pytest.raises(ShapeError, match=message):
        check_states({"x": state})


SIGNATURE: dict[str, Any] = {
    "settings": {},
    "params": {},
    "inputs": {"x": {"kind": "missing"}},
    "code": {"a.py": "d", "own.py": None},
    "upstream": {"prepare": "r0"},
}


@pytest.mark.parametrize("part", SIGNATURE)
def test_a_signature_has_all_its_parts(part: str) -> None:
    check_signature(SIGNATURE)
    for values in ({**SIGNATURE, part: []}, {name: one for name, one in SIGNATURE.items() if name != part}):
        with pytest.raises(ShapeError, match=f"a signature lacks '{part}'"):
            check_signature(values)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("inputs", {"x": {"kind": "file"}}, "size of x"),
        ("code", {"a.py": 3}, "code of a.py: a value of type int"),
        ("upstream", {"prepare": None}, "upstream prepare: a value of type NoneType"),
    ],
)
def test_the_parts_of_a_signature_have_their_shapes(part: str, value: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check_signature({**SIGNATURE, part: value})
