"""*startup*: commands and scripts that do next to nothing, from their start to their end or to their first result."""

from __future__ import annotations

import compileall
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import batchflow
from benchmarks.cases.common import Outcome
from benchmarks.commands import (
    SNAKEFILE,
    Ended,
    batchflow_command,
    snakemake_command,
    timed,
    write_parallel,
    write_shell_steps,
)
from benchmarks.options import Options
from benchmarks.values import Metric, Scenario, Task, Variant

LABEL = "startup"
ENTRY = Path(__file__).parents[1] / "entry"
EXIT = Metric("exit", "from command to exit", "ms", 1, 1e3)
FIRST = Metric("first", "to the first result", "ms", 1, 1e3)
STEPS = 20
SLOW = ("snakemake -n, one rule", "snakemake, one shell job")


def setup(options: Options) -> list[Scenario]:
    # As an installed package is, and as the peers are: not compiled anew by each start.
    compileall.compile_dir(Path(batchflow.__file__).parent, quiet=1)
    repeats = 1 if options.quick else 9
    return [
        scenario("--version", "The interpreter and the least that a command can do.", repeats, "python -c pass"),
        scenario(
            "--help", "The stub has as many subcommands and options, in plain argparse.", repeats, "argparse stub"
        ),
        scenario(
            "run -n on 20 steps",
            "What would be done: twenty shell steps in a row, in a fresh folder and asked again. Snakemake is asked "
            "about one rule.",
            repeats,
            "snakemake -n, one rule",
            "batchflow, again",
        ),
        scenario(
            "a trivial step",
            "One parallel step over ten files with two workers, journal, receipt and sync included. Snakemake runs one "
            "shell job; so does batchflow in the last row.",
            repeats,
            "snakemake, one shell job",
            "batchflow, one shell step",
        ),
        scenario(
            "first result in a script",
            "A Python script of a few lines, from the start of the interpreter: two workers, one no-op result; "
            "`batchflow.run` runs the trivial step. A script that does nothing but start a second interpreter shows "
            "the least that workers can cost which are not forked from the caller.",
            repeats,
            "multiprocessing.Pool",
            "batchflow.run",
            "a second interpreter",
            metrics=(FIRST, EXIT),
        ),
    ]


def scenario(
    title: str, explanation: str, repeats: int, *peers: str, metrics: tuple[Metric, ...] = (EXIT,)
) -> Scenario:
    names = ("batchflow", *peers)
    return Scenario(
        case=LABEL,
        title=title,
        explanation=explanation,
        metrics=metrics,
        workers=0,
        shows_costs=False,
        variants=tuple(
            Variant(name.partition(", ")[0], label=name.partition(", ")[2], settings={"way": name}) for name in names
        ),
        settings={"title": title, "repeats": repeats},
    )


def run(task: Task) -> Outcome:
    """The median of some repetitions, each in a folder of its own; what a command prints is checked."""
    title, way = task.settings["title"], task.settings["way"]
    act = WAYS[title, way]
    repeats = 1 if way in SLOW else task.settings["repeats"]
    ended = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(dir=task.scratch) as folder:
            ended.append(act(Path(folder)))
    seconds = {"exit": statistics.median(one.wall_s for one in ended)}
    if title == "first result in a script":
        seconds["first"] = statistics.median(float(one.output.split()[0]) - one.begin_s for one in ended)
    return Outcome(seconds)


def version(folder: Path) -> Ended:
    return telling(timed(batchflow_command(folder, "--version"), folder), "batchflow")


def bare(folder: Path) -> Ended:
    return timed([sys.executable, "-c", "pass"], folder)


def help_page(folder: Path) -> Ended:
    return telling(timed(batchflow_command(folder, "--help"), folder), "verify")


def stub(folder: Path) -> Ended:
    return telling(timed([sys.executable, str(ENTRY / "argparse_stub.py"), "--help"], folder), "verify")


def plan(folder: Path) -> Ended:
    write_shell_steps(folder, STEPS)
    return telling(timed(batchflow_command(folder, "run", "-n", "workflow.toml"), folder), f"step_{STEPS - 1:03}")


def plan_again(folder: Path) -> Ended:
    plan(folder)
    return plan(folder)


def snakemake_plan(folder: Path) -> Ended:
    command = snakemake_command("-n", "--quiet")
    (folder / "Snakefile").write_text(SNAKEFILE)
    return timed(command, folder)


def parallel_step(folder: Path) -> Ended:
    prepare_parallel(folder)
    ended = timed(batchflow_command(folder, "run", "workflow.toml"), folder)
    return having(ended, folder / "out" / "rows.txt", "".join(f"{number:08}.dat\n" for number in range(10)))


def shell_step(folder: Path) -> Ended:
    write_shell_steps(folder, 1)
    return having(timed(batchflow_command(folder, "run", "workflow.toml"), folder), folder / "out" / "000.txt", "0\n")


def snakemake_job(folder: Path) -> Ended:
    command = snakemake_command("--cores", "1", "--quiet", "all")
    (folder / "Snakefile").write_text(SNAKEFILE)
    return having(timed(command, folder), folder / "out" / "1.txt", "1\n")


def script(name: str, answer: str) -> Callable[[Path], Ended]:
    def act(folder: Path) -> Ended:
        prepare_parallel(folder)
        ended = timed([sys.executable, str(ENTRY / name)], folder)
        if ended.output.split()[1:] != [answer]:
            raise RuntimeError(f"expected {answer}, got {ended.output!r}")
        return ended

    return act


def prepare_parallel(folder: Path) -> None:
    (folder / "in").mkdir()
    for number in range(10):
        (folder / "in" / f"{number:08}.dat").touch()
    write_parallel(folder)


def telling(ended: Ended, word: str) -> Ended:
    """Raises ``RuntimeError`` where the output does not have ``word``."""
    if word not in ended.output:
        raise RuntimeError(f"expected {word!r} in the output, got {ended.output!r}")
    return ended


def having(ended: Ended, path: Path, text: str) -> Ended:
    """Raises ``RuntimeError`` where the file is not what it should be."""
    if path.read_text() != text:
        raise RuntimeError(f"wrong output, path={path.name}")
    return ended


WAYS: dict[tuple[str, str], Callable[[Path], Ended]] = {
    ("--version", "batchflow"): version,
    ("--version", "python -c pass"): bare,
    ("--help", "batchflow"): help_page,
    ("--help", "argparse stub"): stub,
    ("run -n on 20 steps", "batchflow"): plan,
    ("run -n on 20 steps", "batchflow, again"): plan_again,
    ("run -n on 20 steps", "snakemake -n, one rule"): snakemake_plan,
    ("a trivial step", "batchflow"): parallel_step,
    ("a trivial step", "batchflow, one shell step"): shell_step,
    ("a trivial step", "snakemake, one shell job"): snakemake_job,
    ("first result in a script", "batchflow"): script("first_batchflow.py", "1"),
    ("first result in a script", "multiprocessing.Pool"): script("first_pool.py", "1"),
    ("first result in a script", "a second interpreter"): script("first_interpreter.py", "1"),
    ("first result in a script", "batchflow.run"): script("first_run.py", "10"),
}
