"""Outputs get their names only when complete; every state that a crash can leave is recovered from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from batchflow.errors import RefusedError, ResourceError, StepFailedError
from batchflow.output import publish as publishing
from batchflow.output.publish import (
    RECOVERY,
    PendingOutput,
    Recovery,
    check_final,
    check_written,
    discard,
    exchange,
    final_states,
    prepare,
    publish,
    recover,
)


def file_output(folder: Path, name: str = "table.csv", *, keeps_name: bool = True) -> PendingOutput:
    return PendingOutput("table", folder / name, is_folder=False, keeps_name=keeps_name)


def folder_output(folder: Path, name: str = "images") -> PendingOutput:
    return PendingOutput("images", folder / name, is_folder=True, keeps_name=False)


def fill(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text(text)


def tree(folder: Path) -> dict[str, str]:
    return {str(one.relative_to(folder)): one.read_text() for one in sorted(folder.rglob("*")) if one.is_file()}


def test_a_file_that_tools_see_keeps_its_own_name_while_it_is_written(tmp_path: Path) -> None:
    output = file_output(tmp_path, "confusion.png")
    assert output.temporary == tmp_path / "confusion.png.partial" / "confusion.png"


def test_rows_are_written_beside_their_final_name(tmp_path: Path) -> None:
    output = file_output(tmp_path, "rows.csv", keeps_name=False)
    assert output.temporary == tmp_path / "rows.csv.partial"


@pytest.mark.parametrize("keeps_name", [True, False])
def test_a_published_file_replaces_its_predecessor_and_leaves_nothing_else(tmp_path: Path, keeps_name: bool) -> None:
    output = file_output(tmp_path / "deep" / "er", keeps_name=keeps_name)
    for text in ("first", "second"):
        prepare(output)
        output.temporary.write_text(text)
        check_written([output], {})
        assert publish([output]) == ()
        assert tree(tmp_path) == {"deep/er/table.csv": text}
        assert [one.name for one in output.final.parent.iterdir()] == ["table.csv"]


@pytest.mark.fault("F21")
@pytest.mark.parametrize("kernel_can", [True, False])
def test_a_published_folder_replaces_its_predecessor_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_can: bool
) -> None:
    if not kernel_can:
        monkeypatch.setattr(publishing, "exchange", lambda first, second: False)
    output = folder_output(tmp_path)
    fill(output.final, "old")
    (output.final / "gone.txt").write_text("old")
    prepare(output)
    assert list(output.temporary.iterdir()) == []
    fill(output.temporary, "new")
    publish([output])
    assert tree(tmp_path) == {"images/a.txt": "new"}
    assert [one.name for one in tmp_path.iterdir()] == ["images"]


def test_files_that_were_not_declared_are_named_and_removed(tmp_path: Path) -> None:
    output = file_output(tmp_path, "model.h5")
    prepare(output)
    output.temporary.write_text("weights")
    output.temporary.with_name("model.h5.index").write_text("stray")
    assert [path.name for path in publish([output])] == ["model.h5.index"]
    assert tree(tmp_path) == {"model.h5": "weights"}


def test_discarding_leaves_the_final_output_as_it_was(tmp_path: Path) -> None:
    output = file_output(tmp_path)
    output.final.write_text("old")
    prepare(output)
    output.temporary.write_text("half")
    discard(output)
    assert tree(tmp_path) == {"table.csv": "old"}
    assert not output.partial.exists()


def test_preparing_removes_what_an_interrupted_step_left(tmp_path: Path) -> None:
    output = folder_output(tmp_path)
    fill(output.temporary, "half")
    prepare(output)
    assert list(output.temporary.iterdir()) == []


def make_missing(output: PendingOutput) -> None:
    output.temporary.unlink()


def make_folder(output: PendingOutput) -> None:
    output.temporary.unlink()
    output.temporary.mkdir()


def make_link(output: PendingOutput) -> None:
    output.temporary.rename(output.final.with_name("elsewhere"))
    output.temporary.symlink_to(output.final.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (make_missing, r"output table was not written, path=.*/table\.csv$"),
        (make_folder, r"output table is not a file, path=.*/table\.csv$"),
        (make_link, r"output table is not a file, path=.*/table\.csv$"),
    ],
)
def test_an_output_not_written_as_declared_is_named(
    tmp_path: Path, spoil: Callable[[PendingOutput], None], message: str
) -> None:
    output = file_output(tmp_path)
    prepare(output)
    output.temporary.write_text("x")
    spoil(output)
    with pytest.raises(StepFailedError, match=message):
        check_written([output], {})


def test_a_file_where_a_folder_is_declared_is_an_error(tmp_path: Path) -> None:
    output = folder_output(tmp_path)
    output.temporary.write_text("x")
    with pytest.raises(StepFailedError, match="output images is not a folder"):
        check_written([output], {})


def test_an_output_written_past_its_temporary_path_is_told_from_one_not_written(tmp_path: Path) -> None:
    direct = r"^table\.csv was written directly: write to \$\{outputs\.table\}, a temporary path that batchflow renames"
    output = file_output(tmp_path)
    for text in ("new", "changed"):
        prepare(output)
        before = final_states([output])
        with pytest.raises(StepFailedError, match="output table was not written, path="):
            check_written([output], before)
        output.final.write_text(text)
        with pytest.raises(StepFailedError, match=direct):
            check_written([output], before)
        assert output.final.read_text() == text
    output.temporary.write_text("as it should be")
    check_written([output], before)


def test_a_folder_filled_past_its_temporary_path_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    output = folder_output(tmp_path)
    fill(output.final, "old")
    prepare(output)
    before = final_states([output])
    check_written([output], before)
    (output.final / "b.txt").write_text("new")
    with pytest.raises(StepFailedError, match=r"^images was written directly: write to "):
        check_written([output], before)
    fill(output.temporary, "as it should be")
    check_written([output], before)


def test_the_recovery_table_is_exhaustive() -> None:
    assert set(RECOVERY) == set(itertools.product([False, True], repeat=3))


# (final, temporary, previous) before → what stands under the final name and the temporary one after.
RECOVERED = {
    (False, False, False): (None, None),
    (False, False, True): ("previous", None),
    (False, True, False): (None, "new"),
    (False, True, True): ("new", None),
    (True, False, False): ("final", None),
    (True, False, True): ("final", None),
    (True, True, False): ("final", "new"),
    (True, True, True): ("final", "new"),
}


@pytest.mark.parametrize("state", list(itertools.product([False, True], repeat=3)))
def test_every_state_recovers_to_one_complete_output(tmp_path: Path, state: tuple[bool, bool, bool]) -> None:
    output = folder_output(tmp_path)
    for exists, path, text in zip(
        state, (output.final, output.temporary, output.previous), ("final", "new", "previous"), strict=True
    ):
        if exists:
            fill(path, text)
    recover(output)
    final, temporary = RECOVERED[state]
    expected = {} if final is None else {"images/a.txt": final}
    expected |= {} if temporary is None else {"images.partial/a.txt": temporary}
    assert tree(tmp_path) == expected
    assert recover(output) is Recovery.NOTHING


class PowerCut(Exception):
    """The process ends here."""


@pytest.mark.parametrize("kernel_can", [True, False])
@pytest.mark.parametrize("survived", range(12))
def test_a_crash_at_any_operation_leaves_the_old_output_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int, kernel_can: bool
) -> None:
    output = folder_output(tmp_path)
    fill(output.final, "old")
    prepare(output)
    fill(output.temporary, "new")
    done = 0

    def counted(operation: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            nonlocal done
            if done == survived:
                raise PowerCut
            done += 1
            return operation(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "exchange", counted(exchange if kernel_can else lambda first, second: False))
        for name in ("_sync", "sync_file_system", "_remove"):
            patch.setattr(publishing, name, counted(getattr(publishing, name)))
        patch.setattr(Path, "rename", counted(Path.rename))
        try:
            publish([output])
        except PowerCut:
            pass
        else:
            assert survived >= done > 3
    recover(output)
    assert (output.final / "a.txt").read_text() in ("old", "new")
    prepare(output)
    assert sorted(tree(tmp_path)) == ["images/a.txt"]


@pytest.mark.fault("F13")
def test_what_batchflow_did_not_make_is_not_replaced(tmp_path: Path) -> None:
    output = file_output(tmp_path)
    check_final(output, is_ours=False)
    output.final.write_text("precious")
    with pytest.raises(RefusedError, match="exists already and no run of this workflow wrote it") as caught:
        check_final(output, is_ours=False)
    assert caught.value.hint == "move it away, or run with -F to replace it"
    check_final(output, is_ours=True)


def test_an_empty_folder_stands_in_nobodys_way(tmp_path: Path) -> None:
    output = folder_output(tmp_path)
    output.final.mkdir()
    check_final(output, is_ours=False)
    fill(output.final, "precious")
    with pytest.raises(RefusedError, match="exists already"):
        check_final(output, is_ours=False)


@pytest.mark.fault("F14", "S3")
def test_a_symbolic_link_is_never_replaced(tmp_path: Path) -> None:
    output = file_output(tmp_path)
    output.final.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="output table is neither a file nor a folder"):
        check_final(output, is_ours=True)


@pytest.mark.fault("S7", "S46")
@pytest.mark.parametrize("make", [file_output, folder_output])
def test_a_link_under_the_temporary_name_is_never_kept(tmp_path: Path, make: Callable[[Path], PendingOutput]) -> None:
    output, precious = make(tmp_path), tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    output.partial.parent.mkdir(parents=True, exist_ok=True)
    output.partial.symlink_to(precious)
    prepare(output, keep=True)
    assert not output.partial.is_symlink()
    assert (precious / "file").exists()


@pytest.mark.fault("F19")
def test_a_failed_rename_keeps_the_complete_output_and_says_how_to_move_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = file_output(tmp_path)
    prepare(output)
    output.temporary.write_text("complete")

    def refuse(path: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(ResourceError, match=r"cannot write output table, path=.*: Permission denied") as caught:
        publish([output])
    assert caught.value.hint == f"if it is complete: mv {output.temporary} {output.final}"
    assert output.temporary.read_text() == "complete"


def test_the_cure_never_moves_a_folder_into_the_one_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = folder_output(tmp_path)
    fill(output.final, "old")
    prepare(output)
    fill(output.temporary, "new")

    def busy(first: Path, second: Path) -> bool:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(publishing, "exchange", busy)
    with pytest.raises(ResourceError, match="Device or resource busy") as caught:
        publish([output])
    final = output.final
    assert caught.value.hint == f"if it is complete: move {final} away, then mv {output.temporary} {final}"


@pytest.mark.fault("F21")
def test_where_there_is_nothing_yet_there_is_nothing_to_move(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file in the place of a folder")
    with pytest.raises(ResourceError, match="cannot write output x") as caught:
        prepare(PendingOutput("x", tmp_path / "build/x.txt", is_folder=False, keeps_name=False))
    assert caught.value.hint is None


def test_exchange_swaps_two_folders_or_says_that_it_cannot(tmp_path: Path) -> None:
    fill(tmp_path / "one", "1")
    fill(tmp_path / "two", "2")
    if exchange(tmp_path / "one", tmp_path / "two"):
        assert tree(tmp_path) == {"one/a.txt": "2", "two/a.txt": "1"}
    else:
        assert tree(tmp_path) == {"one/a.txt": "1", "two/a.txt": "2"}
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "missing")
