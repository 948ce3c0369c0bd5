"""The order of the rows, whatever the workers, their speed and their deaths."""

from __future__ import annotations

import pytest
from system.parallel.steps import ALL, Steps, numbered, script

from batchflow.parallel import books, feeder

STUMBLES = """
import random
random_numbers = random.Random(f"{context.mini_batch_index} {context.attempt} " + os.environ["BATCHFLOW_WORKER"])
time.sleep(random_numbers.random() * 0.01)
fate = random.Random(context.mini_batch_index).random()
if context.attempt == 1 and fate < 0.2:
    raise ValueError("stumbled")
if context.attempt == 1 and fate > 0.9:
    os._exit(9)
return [f"{one} {'x' * (context.mini_batch_index % 7 * 1000)}" for one in names]
"""


@pytest.mark.fault("C26")
def test_the_bytes_are_the_same_for_any_number_of_workers(steps: Steps) -> None:
    contents, checksums = [], []
    for workers in (1, 2, 4):
        outcome = steps.run(script(STUMBLES), files=100, mini_batch_size=3, workers=workers, oracle=False)
        assert outcome.done().worker_deaths > 0
        contents.append(outcome.content)
        checksums.append(outcome.done().output_checksum)
    expected = [f"{number:05} {'x' * (number // 3 % 7 * 1000)}\n".encode() for number in range(100)]
    assert contents == [b"".join(expected)] * 3
    assert len(set(checksums)) == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_completion_order_holds_every_row_once(steps: Steps, workers: int) -> None:
    outcome = steps.run(
        script(STUMBLES.rpartition("return")[0]), files=100, mini_batch_size=3, workers=workers, order="completion"
    )
    assert sorted(outcome.rows) == numbered((0, 100))


def test_completion_order_streams_past_a_slow_mini_batch(steps: Steps) -> None:
    body = """
rows = Path(__file__).parent / "rows.partial"
while "00000" in names and "00014" not in rows.read_text():
    time.sleep(0.005)
"""
    outcome = steps.run(script(body), order="completion")
    assert outcome.rows == numbered((5, 15), (0, 5))


def test_input_order_waits_for_a_slow_mini_batch(steps: Steps) -> None:
    body = """
(FOLDER / f"ran-{context.mini_batch_index}").touch()
while "00000" in names and not (FOLDER / "ran-2").exists():
    time.sleep(0.005)
if "00000" in names:
    time.sleep(0.2)
    (FOLDER / "seen").write_text((FOLDER / "rows.partial").read_text() + ".")
"""
    outcome = steps.run(script(body, before="FOLDER = Path(__file__).parent\n"))
    assert outcome.rows == numbered((0, 15))
    assert (steps.folder / "seen").read_text() == "."


def test_a_lost_mini_batch_leaves_no_gap(steps: Steps) -> None:
    """What waited behind it, from the first to the last, is written."""
    body = "if names[0] in ('00000', '00006', '00012'): raise ValueError('x')"
    outcome = steps.run(script(body), mini_batch_size=3, workers=3, error_threshold=ALL, isolate_failures=False)
    assert outcome.rows == numbered((3, 6), (9, 12))


def test_a_lost_item_leaves_no_gap(steps: Steps) -> None:
    body = "if not {'00000', '00007', '00014'}.isdisjoint(names): raise ValueError('x')"
    outcome = steps.run(script(body), mini_batch_size=3, workers=3, error_threshold=ALL)
    assert outcome.rows == numbered((1, 7), (8, 14))


@pytest.mark.fault("B10")
def test_more_results_wait_than_the_window_holds(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fresh is dispatched until the first one has come; it must come all the same."""
    monkeypatch.setattr(feeder, "WINDOW_SIZE", 1000)
    body = """
if "00000" in names and context.attempt == 1:
    time.sleep(0.2)
    raise ValueError("again")
return [one + "x" * 500 for one in names]
"""
    outcome = steps.run(script(body), files=60, mini_batch_size=1, workers=2, oracle=False)
    assert outcome.rows == [one + "x" * 500 for one in numbered((0, 60))]


@pytest.mark.parametrize("output_format", ["text", "csv", "jsonl"])
def test_what_waits_too_long_is_committed_and_put_in_order_at_the_end(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    monkeypatch.setattr(books, "SPILL_S", 0.0)
    body = f"""
rows = Path(__file__).parent / "rows.partial"
while "00003" in names and b"00014" not in rows.read_bytes():
    time.sleep(0.005)
return [{{"name": one, "size": 1}} for one in names] if {output_format!r} != "text" else names
"""
    outcome = steps.run(script(body), mini_batch_size=3, output_format=output_format, oracle=False)
    plain = steps.run(
        script(body.partition("while")[0] + "return" + body.rpartition("return")[2]),
        mini_batch_size=3,
        output_format=output_format,
        oracle=False,
        order="input",
        workers=1,
    )
    assert outcome.done().succeeded == 15
    assert outcome.content == plain.content
    assert outcome.content.count(b"\n") == 15 + (output_format == "csv")
