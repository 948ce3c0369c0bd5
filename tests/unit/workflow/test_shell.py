"""What surrounds a place in a shell command."""

from __future__ import annotations

import pytest

from batchflow.workflow.shell import ShellScanner, quote_at


@pytest.mark.parametrize(
    ("before", "place"),
    [
        ("", "plain"),
        ("echo ", "plain"),
        ('echo "', "double"),
        ('echo "a" ', "plain"),
        ('echo "a\\"', "double"),
        ("echo '", "single"),
        ("echo 'a\\' ", "plain"),
        ("echo \\' ", "plain"),
        ("echo \"it's ", "double"),
        ('echo "$(', "plain"),
        ('echo "$(cat "', "double"),
        ('echo "$(cat "x") ', "double"),
        ('echo "$((1 + 2)) ', "double"),
        ("echo $(( ", "plain"),
        ("(cd x; ", "plain"),
        ("echo `", "backtick"),
        ("echo `a` ", "plain"),
        ('echo "`a "', "backtick"),
        ("echo # ", "comment"),
        ("echo # don't\n", "plain"),
        ("echo a#b ", "plain"),
        ("echo ${#a} $# ", "plain"),
        ("echo $'", "ansi"),
        ("echo $'a\\'b' ", "plain"),
        ("cat <<EOF ", "plain"),
        ("cat <<EOF\n", "here-document"),
        ("cat <<-'EOF'\nx\n", "here-document"),
        ("cat <<<word\n", "plain"),
        ("echo $((1<<2))\n", "plain"),
        ("x=$(case a in a) ", "case"),
        ("case a in a) ", "plain"),
    ],
)
def test_the_place_after(before: str, place: str) -> None:
    scanner = ShellScanner()
    scanner.feed(before)
    assert scanner.place == place


def test_pieces_may_be_fed_one_by_one() -> None:
    scanner = ShellScanner()
    for piece in ("echo ", "'a", " b"):
        scanner.feed(piece)
    assert scanner.place == "single"


def test_a_hash_after_a_value_begins_no_comment() -> None:
    scanner = ShellScanner()
    scanner.feed("echo ")
    scanner.inserted()
    scanner.feed("#x ")
    assert scanner.place == "plain"


def test_several_words_stay_several() -> None:
    assert quote_at("plain", ["a", "b c", ""]) == "a 'b c' ''"
