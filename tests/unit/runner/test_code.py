"""Which code counts for a step, and which edits do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchflow.journal.records import Digest
from batchflow.runner.code import CodeReader, command_words, find_module

MAIN = "import helpers\n\nLIMIT = 3\n\n\ndef main(x):\n    return helpers.double(x) + LIMIT\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def script(folder: Path, name: str = "main.py") -> dict[str, str]:
    return CodeReader(folder, {}).script(folder / name, [(folder / name).parent])


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("# a comment\n" + MAIN, True),
        (MAIN.replace("\n\n", "\n\n\n\n"), True),
        (MAIN.replace("x", "( x )").replace("def main(( x ))", "def main( x )"), True),
        (MAIN.replace("3", "0x3"), True),
        (MAIN.replace("3", "4"), False),
        (MAIN.replace("3", "3.0"), False),
        (MAIN.replace("3", "True"), False),
        (MAIN.replace("+", "-"), False),
        (MAIN.replace("LIMIT", "LIMITS"), False),
    ],
)
def test_only_what_changes_the_syntax_tree_counts(tmp_path: Path, text: str, same: bool) -> None:
    write(tmp_path, {"main.py": MAIN})
    before = script(tmp_path)
    write(tmp_path, {"main.py": text})
    assert (script(tmp_path) == before) is same


def test_local_modules_count_wherever_they_are_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.py": "import json\nimport pack.one\ndef f():\n    from pack import two as t\n    import lone\n",
            "lone.py": "try:\n    import deep\nexcept ImportError:\n    pass\n",
            "deep.py": "import main\n",
            "pack/__init__.py": "from .inside import *\n",
            "pack/inside.py": "",
            "pack/one.py": "from . import sibling\nfrom ..nowhere import x\n",
            "pack/two.py": "from .sub.leaf import name\n",
            "pack/sibling.py": "",
            "pack/sub/__init__.py": "",
            "pack/sub/leaf.py": "name = 1\n",
            "unused.py": "",
        },
    )
    assert sorted(script(tmp_path)) == [
        "deep.py",
        "lone.py",
        "main.py",
        "pack/__init__.py",
        "pack/inside.py",
        "pack/one.py",
        "pack/sibling.py",
        "pack/sub/__init__.py",
        "pack/sub/leaf.py",
        "pack/two.py",
    ]


def test_a_namespace_folder_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import space.module\n", "space/module.py": ""})
    assert sorted(script(tmp_path)) == ["main.py", "space/module.py"]


def test_the_first_root_that_has_the_module_wins(tmp_path: Path) -> None:
    write(tmp_path, {"a/helpers.py": "", "b/helpers.py": "", "b/other.py": ""})
    roots = [tmp_path / "a", tmp_path / "b"]
    assert find_module("helpers", roots) == [tmp_path / "a/helpers.py"]
    assert find_module("other.Name", roots) == [tmp_path / "b/other.py"]
    assert find_module("numpy.linalg", roots) == []


def test_a_file_that_does_not_parse_counts_by_its_bytes(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "def broken(:\n"})
    before = script(tmp_path)
    write(tmp_path, {"main.py": "def broken(: # comment\n"})
    assert script(tmp_path) != before
    assert before["main.py"].startswith("bytes-")


def test_a_deeply_nested_expression_does_not_break_it(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "x = " + "+".join(["1"] * 5000)})
    assert script(tmp_path)["main.py"].startswith("bytes-")


def test_a_missing_script_is_told_from_every_existing_one(tmp_path: Path) -> None:
    assert script(tmp_path) == {"main.py": "missing"}


def test_code_is_never_executed(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import helpers\nopen('canary', 'w')\n", "helpers.py": "raise SystemExit\n"})
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        script(tmp_path)
    finally:
        os.chdir(before)
    assert not (tmp_path / "canary").exists()


def test_a_known_digest_is_used_while_size_and_time_are_the_same(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "import helpers\n", "helpers.py": "x = 1\n"})
    for name in ("main.py", "helpers.py"):
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    first = CodeReader(tmp_path, {})
    digests = first.script(tmp_path / "main.py", [tmp_path])
    assert len(first.fresh) == 2
    planted: dict[tuple[bytes, str], Digest] = {
        key: Digest(one.path, one.kind, one.size, one.mtime_ns, {**one.value, "digest": "planted"})
        for key, one in first.fresh.items()
    }
    second = CodeReader(tmp_path, planted)
    assert set(second.script(tmp_path / "main.py", [tmp_path]).values()) == {"planted"}
    assert second.fresh == {}
    os.utime(tmp_path / "helpers.py", ns=(10**18, 10**18 + 1))
    third = CodeReader(tmp_path, planted).script(tmp_path / "main.py", [tmp_path])
    assert third == {"helpers.py": digests["helpers.py"], "main.py": "planted"}


def test_a_file_edited_a_moment_ago_is_not_remembered(tmp_path: Path) -> None:
    write(tmp_path, {"main.py": "x = 1\n"})
    reader = CodeReader(tmp_path, {})
    os.utime(tmp_path / "main.py")
    reader.script(tmp_path / "main.py", [])
    assert reader.fresh == {}


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("python prepare.py --out x", ["prepare.py", "shared.py"]),
        (("python", "prepare.py"), ["prepare.py", "shared.py"]),
        ("cat<config.toml|sort", ["config.toml"]),
        ("tool --config=config.toml;true", ["config.toml"]),
        ("python -m pack.tool", ["pack/__init__.py", "pack/tool.py"]),
        ("python ./scripts/../prepare.py", ["prepare.py", "shared.py"]),
        ("'prepare.py'", ["prepare.py", "shared.py"]),
        ("echo it's config.toml", ["config.toml"]),
        ("echo x > config.toml", []),
        ("echo x >> config.toml 2> prepare.py", []),
        ("cat table.csv images/one.png ${outputs.out}", []),
        ("cat /etc/hostname ../outside.py", []),
        ("echo config.toml.old # prepare.py", ["prepare.py", "shared.py"]),
        ("cp -r scripts x", []),
    ],
)
def test_a_command_names_the_files_it_reads(tmp_path: Path, command: str | tuple[str, ...], names: list[str]) -> None:
    folder = tmp_path / "flow"
    write(
        folder,
        {
            "prepare.py": "import shared\n",
            "shared.py": "",
            "config.toml": "",
            "pack/__init__.py": "",
            "pack/tool.py": "",
            "scripts/other.sh": "",
            "table.csv": "",
            "images/one.png": "",
            "../outside.py": "",
        },
    )
    found = CodeReader(folder, {}).command(command, [folder / "table.csv", folder / "images"])
    assert sorted(found) == names


def test_other_files_count_by_content(tmp_path: Path) -> None:
    write(tmp_path, {"tool.sh": "echo 1\n"})
    before = CodeReader(tmp_path, {}).command("sh tool.sh", [])
    write(tmp_path, {"tool.sh": "echo 1 # comment\n"})
    assert CodeReader(tmp_path, {}).command("sh tool.sh", []) != before


@given(st.text())
def test_any_command_can_be_taken_apart(command: str) -> None:
    assert all(isinstance(word, str) for word in command_words(command))
