"""Where a worker's time goes, as it writes it into its shared page and the driver reads it there."""

from __future__ import annotations

import mmap
import os
import struct
import threading

import pytest

from batchflow import _core

PAGE = 4096
WORKER_SLEEPING, LAP_SINCE, LAP = 644, 1024, 1088
LAST = {"init": 0, "wait": 1, "decode": 2, "run": 3, "encode": 4, "publish": 5, "blocked": 6}


@pytest.fixture
def ends() -> tuple[_core.Channel, _core.Port, mmap.mmap]:
    channel = _core.Channel(generation=1, request_size=PAGE, completion_size=PAGE)
    port = _core.Port(channel.fd, -1, 1)
    return channel, port, mmap.mmap(channel.fd, 3 * PAGE)


Ends = tuple[_core.Channel, _core.Port, mmap.mmap]


def test_the_names_are_those_of_the_numbers() -> None:
    assert {name: number for number, name in enumerate(_core.LAPS)} == LAST


def test_a_worker_that_keeps_no_laps_says_nothing(ends: Ends) -> None:
    channel, port, memory = ends
    channel.run(0, 1, 0, 1)
    assert port.take() == (0, 1, 0, 1)
    port.publish_result(0, 1, 1, b"", b"x\n")
    assert channel.laps is None
    assert memory[LAP_SINCE:PAGE] == bytes(PAGE - LAP_SINCE)


def test_a_lap_ends_where_the_next_begins_and_is_never_counted_twice(ends: Ends) -> None:
    channel, port, memory = ends
    port.begin_lap("run")
    began = struct.unpack_from("=Q", memory, LAP_SINCE)[0]
    name, open_ns, spent = channel.laps or ("", 0, ())
    assert (name, spent) == ("run", (0,) * 7)
    assert open_ns > 0
    port.begin_lap("encode")
    encoding = struct.unpack_from("=Q", memory, LAP_SINCE)[0]
    port.begin_lap("run")
    again = struct.unpack_from("=Q", memory, LAP_SINCE)[0]
    assert channel.laps is not None
    assert channel.laps[0] == "run"
    assert channel.laps[2] == (0, 0, 0, encoding - began, again - encoding, 0, 0)


def test_a_lap_of_another_name_is_refused(ends: Ends) -> None:
    with pytest.raises(KeyError, match="lunch"):
        ends[1].begin_lap("lunch")  # type: ignore[arg-type]


def test_a_worker_that_waits_for_room_is_blocked(ends: Ends) -> None:
    channel, port, memory = ends
    channel.run(0, 1, 0, 1)
    assert port.take() is not None
    port.begin_lap("publish")
    answering = threading.Thread(target=port.publish_result, args=(0, 1, 1, b"", bytes(3 * PAGE)), daemon=True)
    answering.start()
    while not memory[WORKER_SLEEPING]:
        os.sched_yield()
    assert channel.laps is not None
    assert channel.laps[0] == "blocked"
    while not channel.drain():
        os.sched_yield()
    answering.join(60)
    assert not answering.is_alive()
    assert channel.laps is not None
    now, _, spent = channel.laps
    assert now == "publish"
    assert spent[LAST["blocked"]] > 0
    assert spent[LAST["publish"]] > 0


@pytest.mark.parametrize("lap", [7, 0xFFFFFFFF])
def test_a_lap_that_does_not_exist_says_nothing_and_hurts_nobody(lap: int, ends: Ends) -> None:
    channel, port, memory = ends
    port.begin_lap("run")
    struct.pack_into("=I", memory, LAP, lap)
    assert channel.laps is None
    port.begin_lap("wait")  # goes into the first
    assert channel.laps is not None
    assert [bool(ns) for ns in channel.laps[2]] == [True] + [False] * 6


def test_wild_numbers_are_handed_on_as_they_are(ends: Ends) -> None:
    channel, port, memory = ends
    port.begin_lap("run")
    struct.pack_into("=8Q", memory, LAP_SINCE, *[2**64 - 1] * 8)
    assert channel.laps == ("run", 0, (2**64 - 1,) * 7)
