from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.cli.text import one_line, rate, short_path, signal_label, size
from batchflow.text import count, duration, safe_text


@pytest.mark.fault("K15", "O4")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 漢", "plain ü 漢"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\x0db"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("line\u2028end", "line\\u2028end"),
        ("gar\udce7on.png", "gar\\xe7on.png"),
        ("\ud800", "\\ud800"),
        ("already \\x1b", "already \\x1b"),
    ],
)
def test_what_could_act_on_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert safe_text(text) == shown


def test_multiline_text_keeps_its_lines_and_tabs_and_nothing_else() -> None:
    assert safe_text("a\r\nb\tc\x1b", multiline=True) == "a\nb\tc\\x1b"


@pytest.mark.fault("O4")
@given(st.text())
def test_safe_text_is_printable_ascii_safe_and_idempotent(text: str) -> None:
    shown = safe_text(text)
    assert not any(ord(one) < 0x20 or 0x7F <= ord(one) <= 0x9F or 0xD800 <= ord(one) <= 0xDFFF for one in shown)
    assert safe_text(shown) == shown


@pytest.mark.fault("K13", "O9")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@host/x", "https://***@host/x"),
        ("https://h/x?sv=1&sig=abc%3D&se=2", "https://h/x?sv=1&sig=***&se=2"),
        ("AccountName=a;AccountKey=zzz==;End=1", "AccountName=a;AccountKey=***;End=1"),
        ("https://h/?X-Amz-Signature=00ff", "https://h/?X-Amz-Signature=***"),
        ("data/sig=1/part.png", "data/sig=1/part.png"),
        ("mail me@host", "mail me@host"),
    ],
)
def test_secrets_in_urls_are_not_shown(text: str, shown: str) -> None:
    assert safe_text(text) == shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.00 s"),
        (0.0831, "0.08 s"),
        (0.996, "1.0 s"),
        (4.24, "4.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (3 * 86_400 + 4 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("per_second", "text"), [(1234.5, "1,234/s"), (99.95, "100.0/s"), (12.34, "12.3/s"), (0.345, "0.34/s")]
)
def test_rates_have_three_digits_or_so(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("byte_count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (46_285, "45.2 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**4, "5.0 TiB"),
    ],
)
def test_sizes_are_in_binary_units(byte_count: int, text: str) -> None:
    assert size(byte_count) == text


def test_counts_agree_with_their_noun() -> None:
    assert [count(1, "item"), count(0, "item"), count(2, "entry", "entries")] == ["1 item", "0 items", "2 entries"]


def test_one_line_is_the_first_that_says_something_and_not_too_long() -> None:
    assert one_line("\n  \n first \nsecond") == "first"
    assert one_line("x" * 20, width=10) == "xxxxxxxxx…"
    assert one_line("") == ""


def test_paths_are_short_below_the_folder_and_whole_elsewhere() -> None:
    assert short_path(Path("/w/build/a\x1b.csv"), Path("/w")) == "build/a\\x1b.csv"
    assert short_path(Path("/v/a.csv"), Path("/w")) == "/v/a.csv"


def test_signals_have_names() -> None:
    assert [signal_label(2), signal_label(15), signal_label(99)] == ["Ctrl-C", "SIGTERM", "signal 99"]
