"""One parallel step in one process: the runner over real rings and a real journal, its workers played by the test."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from unit.parallel.played import PlayedPool

from batchflow.clock import FakeClock
from batchflow.control import StopLevel, StopRequest
from batchflow.errors import InterruptedRunError, JournalError, ResourceError, RunAbortedError
from batchflow.model import Event, Notice, Receipt
from batchflow.parallel import runner as room
from batchflow.parallel.runner import run_parallel_step
from batchflow.parallel.values import OverInput, ParallelJob
from batchflow.pool.events import ForkFailed
from batchflow.workflow.values import ParallelSettings, Threshold

SIGNATURE: dict[str, Any] = {"settings": {}, "params": {}, "inputs": {}, "code": {}, "upstream": {}}
Play = Callable[["DrivenPool"], None]


class DrivenPool(PlayedPool):
    """Each time the runner waits, the test has its turn."""

    def __init__(self, play: Play, *arguments: Any) -> None:
        super().__init__(*arguments, None)
        self.play = play
        self.loaded = True

    def send_inputs(self, inputs: object) -> None:
        pass

    def close(self) -> None:
        super().close()
        os.close(self.event_fd)

    def wait(self, timeout_s: float = 0.0) -> list[Any]:
        self.play(self)
        return super().wait(timeout_s)


class Theatre:
    """Six items, mini-batches of two, two workers; ``perform`` is one run."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, **settings: Any) -> None:
        (folder / "in").mkdir()
        for item in range(6):
            (folder / f"in/{item}").touch()
        self.folder = folder
        self.pools: list[DrivenPool] = []
        self.patch = patch
        values = ParallelSettings(folder / "score.py", folder, ("files",), 2, append_row_to="rows", **settings)
        self.job = ParallelJob(
            step="score",
            run_id="r1",
            settings=values,
            arguments=(),
            inputs=(OverInput("files", (f"{folder}/in/",)),),
            folder=folder,
            state_folder=folder / ".batchflow" / "flow",
            output_path=folder / "rows.partial",
            output_name=f"{folder}/rows",
            output_folder=None,
            workers=2,
            signature=SIGNATURE,
        )
        self.events: list[Event] = []
        self.stop = StopRequest()
        self.clock = FakeClock()

    def perform(self, play: Play, **changes: Any) -> Receipt:
        self.job = replace(self.job, **changes)

        def make(spec: Any, limits: Any, **keys: Any) -> DrivenPool:
            self.pools.append(DrivenPool(play, spec, limits))
            return self.pools[-1]

        self.patch.setattr(room, "WorkerPool", make)
        return run_parallel_step(self.job, on_event=self.events.append, stop=self.stop, clock=self.clock)

    @property
    def notices(self) -> list[str]:
        return [one.message for one in self.events if isinstance(one, Notice)]

    @property
    def rows(self) -> bytes:
        return (self.folder / "rows.partial").read_bytes()


@pytest.fixture
def theatre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Theatre:
    return Theatre(tmp_path, monkeypatch)


def answer(pool: DrivenPool, number: int) -> bool:
    """The worker does the next thing it was asked for; False when there is nothing."""
    slot, port = pool.slots[number], pool.ports.get(number)
    if port is None or not slot.asked_for:
        return False
    if not slot.ready:
        port.publish_ready()
    if not slot.channel.in_flight:
        return False
    request = port.take()
    assert request is not None
    index, attempt, start, count = request
    text = b"".join(b"%d\n" % item for item in range(start, start + count))
    port.publish_result(index, attempt, count, b"", text)
    return True


def all_work(pool: DrivenPool) -> None:
    """Whoever was told to stop goes."""
    for number in range(2):
        answer(pool, number)
    if pool.stopped:
        for slot in pool.slots:
            if slot.asked_for:
                pool.die(slot.number, signal=None, exit_code=0)


ALL = b"0\n1\n2\n3\n4\n5\n"


def test_all_goes_well(theatre: Theatre) -> None:
    receipt = theatre.perform(all_work)
    assert (receipt.succeeded, receipt.rows_out, receipt.mini_batches, receipt.workers) == (6, 6, 3, 2)
    assert theatre.rows == ALL
    assert (theatre.notices, theatre.pools[0].closed) == ([], 1)


def test_what_was_left_out_and_what_there_was_too_much_of_is_told(theatre: Theatre) -> None:
    (theatre.folder / "in" / ".hidden").touch()

    def play(pool: DrivenPool) -> None:
        slot = pool.slots[0]
        if slot.asked_for and slot.channel.in_flight:
            request = pool.ports[0].take()
            assert request is not None
            pool.ports[0].publish_result(request[0], request[1], 3, b"", b"a\nb\nc\n")
            answer(pool, 1)
        else:
            all_work(pool)

    receipt = theatre.perform(play)
    assert receipt.surplus in (1, 2)
    assert (receipt.rows_out, receipt.details["skipped_hidden"]) == (6 + receipt.surplus, 1)
    assert any("hidden" in notice for notice in theatre.notices)
    assert any(f"{receipt.surplus} " in notice for notice in theatre.notices[1:])


def test_a_threshold_that_is_passed_ends_the_step_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theatre = Theatre(tmp_path, monkeypatch, run_max_try=1, isolate_failures=False)

    def play(pool: DrivenPool) -> None:
        slot = pool.slots[0]
        if slot.asked_for and slot.channel.in_flight:
            request = pool.ports[0].take()
            assert request is not None
            description = b'{"kind": "exception", "error_type": "E", "message": "m", "traceback": ""}'
            pool.ports[0].publish_failure(request[0], request[1], description)
        elif slot.asked_for:
            pool.ports[0].publish_ready()
            pool.ports[1].publish_ready()

    theatre.patch.setattr(room, "GRACE_S", 0.0)  # the other one never answers
    with pytest.raises(RunAbortedError, match="error_threshold: 2 items failed, 0 are tolerated"):
        theatre.perform(play)
    assert len((theatre.job.state_folder / "failed.jsonl").read_text().splitlines()) == 2


def test_who_dies_with_the_last_of_the_work_needs_no_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"error_threshold": Threshold(count=-1), "run_max_try": 1, "isolate_failures": False}
    theatre = Theatre(tmp_path, monkeypatch, order="completion", **settings)

    def play(pool: DrivenPool) -> None:
        theatre.clock.advance(1)  # whatever has arrived is committed
        slot = pool.slots[0]
        is_busy = slot.asked_for and slot.channel.in_flight
        if not is_busy or pool.stopped:
            all_work(pool)
        elif not answer(pool, 1) and not pool.slots[1].channel.in_flight:  # the other one has done the rest
            pool.ports[0].set_state("running")
            assert pool.ports[0].take() is not None
            pool.die(0)

    receipt = theatre.perform(play)
    assert (receipt.succeeded, receipt.failed, receipt.worker_deaths) == (4, 2, 1)
    assert theatre.pools[0].started == [0, 1]


def test_where_all_is_done_and_finished_no_pool_is_made(theatre: Theatre) -> None:
    first = theatre.perform(all_work)
    again = theatre.perform(all_work, resumes=True, run_id="r2")
    assert again == replace(first, run_id="r2")
    assert len(theatre.pools) == 1


def unfinished(theatre: Theatre, failures: bool = False) -> None:
    """Everything is committed, and the run dies before it can say that it is finished."""

    def dies(*arguments: object, **keys: object) -> None:
        raise KeyboardInterrupt

    def play(pool: DrivenPool) -> None:
        slot = pool.slots[0]
        if failures and slot.asked_for and slot.channel.in_flight:
            request = pool.ports[0].take()
            assert request is not None
            description = b'{"kind": "exception", "error_type": "E", "message": "m", "traceback": ""}'
            pool.ports[0].publish_failure(request[0], request[1], description)
            answer(pool, 1)
        else:
            all_work(pool)

    with theatre.patch.context() as patch:
        patch.setattr(room.Books, "write_failed", dies)
        with pytest.raises(KeyboardInterrupt):
            theatre.perform(play)


def test_where_all_is_done_but_not_finished_no_worker_is_started(theatre: Theatre) -> None:
    unfinished(theatre)
    receipt = theatre.perform(all_work, resumes=True)
    assert (receipt.succeeded, receipt.workers, theatre.rows) == (6, 0, ALL)
    (_, pool) = theatre.pools
    assert (pool.zygotes, pool.started) == (0, [])


def test_what_is_tolerated_no_longer_ends_the_step_that_has_nothing_left_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theatre = Theatre(tmp_path, monkeypatch, error_threshold=Threshold(count=-1), run_max_try=1, isolate_failures=False)
    unfinished(theatre, failures=True)
    settings = replace(theatre.job.settings, error_threshold=Threshold(count=0))
    with pytest.raises(RunAbortedError, match="error_threshold: 4 items failed, 0 are tolerated"):
        theatre.perform(all_work, resumes=True, settings=settings)
    assert theatre.pools[-1].started == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_machine_without_descriptors_or_memory_is_told_as_that(theatre: Theatre, number: int) -> None:
    def none(patterns: object) -> None:
        raise OSError(number, os.strerror(number))

    theatre.patch.setattr("batchflow.parallel.opening.list_files", none)
    with pytest.raises(
        ResourceError, match=f"the machine, or a limit of this process, has no more: .*{os.strerror(number)}"
    ):
        theatre.perform(all_work)
    assert theatre.pools[0].closed == 1


def test_a_journal_that_is_damaged_ends_the_step_before_anything_is_started(theatre: Theatre) -> None:
    theatre.job.state_folder.mkdir(parents=True, mode=0o700)
    (theatre.job.state_folder / "journal.db").write_text("nothing like a journal")
    with pytest.raises(JournalError, match="the journal of the step is damaged"):
        theatre.perform(all_work, resumes=True)
    assert theatre.pools == []


def test_a_worker_whose_requests_make_no_sense_is_condemned_and_its_work_done_by_another(theatre: Theatre) -> None:
    real, condemned = room.Feeder.fill, []

    def fill(feeder: Any, slots: Any) -> list[Any]:
        damaged = list(real(feeder, slots))
        if not condemned and slots[0].channel.in_flight:
            condemned.append(slots[0])
            damaged.append(slots[0])
        return damaged

    def play(pool: DrivenPool) -> None:
        if pool.killed and pool.slots[0] in condemned and pool.slots[0].asked_for:
            pool.die(0)
        else:
            all_work(pool)

    theatre.patch.setattr(room.Feeder, "fill", fill)
    receipt = theatre.perform(play)
    assert (receipt.succeeded, receipt.worker_deaths, theatre.pools[0].killed) == (6, 1, [0])
    assert theatre.rows == ALL


def test_a_worker_that_dies_while_the_step_is_being_stopped_gives_back_what_it_held(theatre: Theatre) -> None:
    def play(pool: DrivenPool) -> None:
        for number in range(2):
            if not pool.slots[number].ready and pool.slots[number].asked_for:
                pool.ports[number].publish_ready()
        if not all(slot.channel.in_flight for slot in pool.slots):
            return
        if theatre.stop.level == StopLevel.NONE:
            theatre.stop.request(StopLevel.DRAIN)
        else:
            answer(pool, 0)
            pool.die(1)
            pool.news.append(ForkFailed(1, "no more processes", 1))  # nobody is started any more

    with pytest.raises(InterruptedRunError, match="stopped with 2 of 6 items done"):
        theatre.perform(play)
    assert theatre.rows in (b"0\n1\n", b"2\n3\n")
    theatre.stop = StopRequest()
    receipt = theatre.perform(all_work, resumes=True)
    assert (receipt.succeeded, receipt.worker_deaths, theatre.rows) == (6, 1, ALL)


def test_after_a_sync_that_failed_nothing_is_written_any_more(theatre: Theatre) -> None:
    synced = []

    def fails(descriptor: int) -> None:
        synced.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    theatre.patch.setattr(os, "fdatasync", fails)
    with pytest.raises(ResourceError, match=r"cannot write .*rows.partial: Input/output error"):
        theatre.perform(all_work)
    assert len(synced) == 1
    assert theatre.pools[0].closed == 1


def test_a_stop_at_once_keeps_what_has_arrived(theatre: Theatre) -> None:
    def play(pool: DrivenPool) -> None:
        if answer(pool, 0):
            theatre.stop.request(StopLevel.NOW, 15)

    with pytest.raises(InterruptedRunError, match="stopped with 2 of 6 items done") as caught:
        theatre.perform(play)
    assert (caught.value.exit_code, theatre.rows) == (143, b"0\n1\n")


def test_workers_that_do_not_leave_are_killed_and_told(theatre: Theatre) -> None:
    def play(pool: DrivenPool) -> None:
        for number in range(2):
            answer(pool, number)
        if pool.stopped:
            theatre.clock.advance(1)
            if pool.slots[1].asked_for:
                pool.die(1, signal=None, exit_code=3)

    receipt = theatre.perform(play)
    assert receipt.succeeded == 6
    assert len(theatre.notices) == 2
    assert "3" in theatre.notices[0]
    assert theatre.notices[1] == "shutdown() took longer than 60 s in 1 workers, which were killed"


def test_where_nothing_goes_on_for_too_long_the_step_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theatre = Theatre(tmp_path, monkeypatch, progress_update_timeout_s=30.0)
    with pytest.raises(RunAbortedError, match="30 s"):
        theatre.perform(lambda pool: theatre.clock.advance(1))
    assert 30 <= theatre.clock.now_s <= 40
