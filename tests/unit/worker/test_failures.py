"""Any exception becomes bounded text: the user's frames, nothing of ours, no surprises from its own methods."""

from __future__ import annotations

import itertools
import json
import linecache
import os
import sys

import pytest

from batchflow.errors import ContractError, EntryScriptError, InternalError, UsageError
from batchflow.worker.entry_script import load_entry_script
from batchflow.worker.failures import FRAMES_MAX, MESSAGE_SIZE_MAX, TRACEBACK_SIZE_MAX, bounded, describe_failure
from batchflow.worker.results import make_encoder


def run_source(source, *arguments, filename="score.py"):
    """Execute ``run(*arguments)`` of some source and return what it raises."""
    lines = source.splitlines(keepends=True)
    linecache.cache[filename] = (len(source), None, lines, filename)
    names = {}
    exec(compile(source, filename, "exec"), names)
    try:
        names["run"](*arguments)
    except BaseException as error:
        # The frame of this function is not the user's.
        return error.with_traceback(error.__traceback__.tb_next)
    raise AssertionError("nothing was raised")


def test_an_exception_is_described_with_its_frames_outermost_first():
    error = run_source(
        "def helper(x):\n    return 1 / x\n\ndef run(batch):\n    return [helper(x) for x in batch]\n", [0]
    )
    failure = describe_failure(error)
    assert (failure["kind"], failure["error_type"], failure["message"]) == (
        "exception",
        "ZeroDivisionError",
        "division by zero",
    )
    text = failure["traceback"]
    assert text.startswith('Traceback (most recent call last):\n  File "score.py", line 5, in run\n')
    assert "    return 1 / x\n" in text
    assert text.index("in run") < text.index("in helper")
    assert text.endswith("ZeroDivisionError: division by zero\n")


class Custom(Exception):
    pass


def test_the_type_is_qualified():
    assert describe_failure(Custom("x"))["error_type"] == f"{__name__}.Custom"
    assert describe_failure(KeyError("x"))["error_type"] == "KeyError"
    assert describe_failure(json.JSONDecodeError("x", "", 0))["error_type"] == "json.decoder.JSONDecodeError"


def test_frames_of_ours_are_cut_off(tmp_path):
    def generate():
        yield "a"
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way") as caught:
        make_encoder(output_format="text").encode(generate(), 2)
    text = describe_failure(caught.value)["traceback"]
    assert "in generate" in text
    assert "batchflow/worker" not in text


def test_a_broken_contract_has_no_traceback_but_a_hint():
    with pytest.raises(ContractError) as caught:
        make_encoder(output_format="text").encode({"a": 1}, 2)
    failure = describe_failure(caught.value)
    assert failure["kind"] == "contract"
    assert failure["error_type"] == "batchflow.errors.ContractError"
    assert failure["message"].endswith("or None\nhint: return a list with one dict for each item")
    assert failure["traceback"] == ""


def test_a_script_that_cannot_be_imported_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", [])
    (tmp_path / "broken_script.py").write_text("1 / 0\n")
    with pytest.raises(EntryScriptError) as caught:
        load_entry_script(tmp_path / "broken_script.py", tmp_path, [])
    failure = describe_failure(caught.value)
    assert failure["traceback"] == caught.value.traceback
    assert "broken_script.py" in failure["traceback"]
    assert failure["traceback"].count("File") == 1


def test_a_bug_of_ours_keeps_our_frames():
    with pytest.raises(UsageError) as caught:
        make_encoder(output_format="csv", delimiter=";;")
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    assert "in make_encoder" in describe_failure(error)["traceback"]


@pytest.mark.fault("C8")
@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (SystemExit, "the script called sys.exit()"),
        (SystemExit(3), "the script called sys.exit(3)"),
        (SystemExit("x"), "the script called sys.exit('x')"),
        (KeyboardInterrupt, ""),
        (GeneratorExit, ""),
        (InternalError("odd", hint="tell us"), "odd\nhint: tell us"),
    ],
)
def test_what_escapes_except_exception_is_described(raised, message):
    error = run_source("def run(raised):\n    raise raised\n", raised)
    assert describe_failure(error)["message"] == message


class RaisingStr(Exception):
    def __str__(self):
        raise SystemExit(1)

    __repr__ = __str__


class NoText(Exception):
    def __str__(self):
        return 5


@pytest.mark.fault("C9")
@pytest.mark.parametrize(("raised", "second"), [(RaisingStr(), "SystemExit"), (NoText(), "TypeError")])
def test_an_exception_whose_str_raises(raised, second):
    failure = describe_failure(run_source("def run(raised):\n    raise raised\n", raised))
    assert failure["message"] == f"<the message is unknown: __str__ raised {second}>"
    assert '  File "score.py", line 2, in run\n' in failure["traceback"]


class RaisingEverywhere(Exception):
    def __getattribute__(self, name):
        raise RuntimeError(name)


def test_an_exception_whose_attributes_raise():
    failure = describe_failure(RaisingEverywhere("x"))
    assert failure["error_type"] == f"{__name__}.RaisingEverywhere"
    assert failure["traceback"] == "<the traceback is unknown: formatting it raised RuntimeError>"


@pytest.mark.fault("C9")
def test_a_huge_message_is_cut():
    failure = describe_failure(ValueError("ä" * 50_000_000))
    assert len(failure["message"].encode()) <= MESSAGE_SIZE_MAX
    assert failure["message"].startswith("ääää")
    assert failure["message"].endswith("ä… (50000000 characters)")
    assert len(failure["traceback"]) < MESSAGE_SIZE_MAX


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("abc", 3, "abc"),
        ("", 3, ""),
        ("x" * 100, 30, "x" * 10 + "… (100 characters)"),
        ("é" * 30, 59, "é" * 20 + "… (30 characters)"),
        (os.fsdecode(b"x\xe9"), 30, "x\\udce9"),
        ("\ud800", 30, "\\ud800"),
    ],
)
def test_bounded(text, size, expected):
    assert bounded(text, size) == expected
    assert len(expected.encode()) <= size


@pytest.mark.fault("C9")
def test_a_deep_recursion_keeps_its_ends():
    error = run_source(
        "def dive(n):\n    return sink(n)\ndef sink(n):\n    return dive(n + 1)\ndef run():\n    dive(0)\n"
    )
    failure = describe_failure(error)
    assert failure["error_type"] == "RecursionError"
    lines = failure["traceback"].splitlines()
    assert lines[1] == '  File "score.py", line 6, in run'
    assert sum(line.startswith("  File") for line in lines) == FRAMES_MAX
    (left_out,) = [line for line in lines if "more frames" in line]
    assert int(left_out.split()[1]) > 500
    assert lines[-1].startswith("RecursionError: maximum recursion depth exceeded")


def nested(depth):
    """A traceback of exactly ``depth`` frames of the user's, no two alike that follow each other."""
    source = (
        "def run(n):\n    if n == 1:\n        raise ValueError('deep')\n"
        "    if n % 2:\n        run(n - 1)\n    run(n - 1)\n"
    )
    return run_source(source, depth)


@pytest.mark.parametrize(("depth", "left_out"), [(1, 0), (63, 0), (64, 0), (65, 1), (70, 6)])
def test_frames_are_left_out_from_the_middle_only_beyond_the_limit(depth, left_out):
    text = describe_failure(nested(depth))["traceback"]
    assert text.count('  File "score.py"') == min(depth, FRAMES_MAX)
    assert ("more frames" in text) is bool(left_out)
    if left_out:
        assert f"  … {left_out} more frames …\n" in text
    assert text.count("raise ValueError('deep')") == 1


def test_causes_come_first_and_share_the_frames():
    error = run_source(
        "def run():\n"
        "    try:\n"
        "        try:\n"
        "            {}['a']\n"
        "        except KeyError:\n"
        "            1 / 0\n"
        "    except ZeroDivisionError as error:\n"
        "        raise ValueError('last') from error\n"
    )
    text = describe_failure(error)["traceback"]
    order = [
        "KeyError: 'a'\n",
        "\nDuring handling of the above exception, another exception occurred:\n",
        "ZeroDivisionError: division by zero\n",
        "\nThe above exception was the direct cause of the following exception:\n",
        "ValueError: last\n",
    ]
    assert sorted(order, key=text.index) == order
    assert text.count("Traceback (most recent call last):") == 3


def test_raise_from_none_hides_the_context():
    error = run_source(
        "def run():\n    try:\n        1 / 0\n    except Exception:\n        raise ValueError('x') from None\n"
    )
    assert "ZeroDivisionError" not in describe_failure(error)["traceback"]


def test_a_long_or_circular_chain_ends():
    errors = [ValueError(f"number {index}") for index in range(50)]
    for one, cause in itertools.pairwise(errors):
        one.__cause__ = cause
    text = describe_failure(errors[0])["traceback"]
    assert text.endswith("ValueError: number 0\n")
    assert text.count("ValueError") == 8
    errors[1].__cause__ = errors[0]
    assert describe_failure(errors[0])["traceback"].count("ValueError") == 2


def test_causes_do_not_add_frames_beyond_the_limit():
    error = nested(60)
    error.__cause__ = nested(60)
    text = describe_failure(error)["traceback"]
    assert text.count('  File "score.py"') == FRAMES_MAX
    assert "  … 56 more frames …\n" in text
    error.__cause__.__cause__ = nested(60)
    text = describe_failure(error)["traceback"]
    assert text.startswith("ValueError: deep\n\nThe above exception was the direct cause")
    assert text.count('  File "score.py"') == FRAMES_MAX


def test_the_whole_is_bounded():
    long_line = "x = '" + "y" * 200_000 + "'; raise ValueError(x)"
    error = run_source(f"def run():\n    {long_line}\n")
    failure = describe_failure(error)
    assert len(failure["traceback"].encode()) <= TRACEBACK_SIZE_MAX
    assert len(json.dumps(failure)) < TRACEBACK_SIZE_MAX


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups and notes came with Python 3.11")
def test_groups_show_their_members_and_notes():
    members = [nested(2), KeyError("k")]
    members[1].add_note("seen at 12:00")
    members[1].__notes__.append(5)
    group = BaseExceptionGroup("two things", members)  # noqa: F821
    text = describe_failure(group)["traceback"]
    assert text.startswith("ExceptionGroup: two things (2 sub-exceptions)\n  +---------------- 1 ----------------\n")
    assert '  |   File "score.py", line 6, in run\n' in text
    assert (
        "  | ValueError: deep\n  +---------------- 2 ----------------\n  | KeyError: 'k'\n  | seen at 12:00\n" in text
    )
    crowd = ExceptionGroup("crowd", [ValueError(str(index)) for index in range(1000)])  # noqa: F821
    text = describe_failure(crowd)["traceback"]
    assert text.count("ValueError") == 8
    assert text.endswith("  +---------------- 992 more\n")
    for _ in range(100):
        crowd = ExceptionGroup("outer", [crowd])  # noqa: F821
    assert describe_failure(crowd)["traceback"].endswith("more\n")


def test_a_frame_that_is_repeated_is_collapsed_as_python_does():
    source = "def run(depth):\n    if depth:\n        run(depth - 1)\n    raise ValueError('ground')\n"
    text = describe_failure(run_source(source, 200))["traceback"]
    assert text.count("run(depth - 1)") == 3
    assert "  [Previous line repeated 197 more times]\n" in text
    assert "more frames" not in text
    few = [describe_failure(run_source(source, depth))["traceback"] for depth in (3, 4)]
    assert "repeated" not in few[0]
    assert few[1].count("  [Previous line repeated 1 more time]\n") == 1


def test_what_sys_exit_means_is_said_once():
    text = describe_failure(run_source("import sys\ndef run():\n    sys.exit(3)\n"))["traceback"]
    assert text.splitlines()[-1] == "SystemExit: the script called sys.exit(3)"
