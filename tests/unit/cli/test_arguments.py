from __future__ import annotations

from pathlib import Path

import pytest

from batchflow.cli.arguments import Arguments, next_words, parse
from batchflow.cli.help import VERBS
from batchflow.errors import UsageError


def test_nothing_but_the_verb_means_search_and_the_defaults() -> None:
    assert parse(["run"]) == Arguments("run")


@pytest.mark.parametrize("verb", ["run", "retry"])
def test_where_the_time_goes_is_said_where_something_runs(verb: str) -> None:
    assert parse([verb, "--profile-run"]).profile
    assert not parse([verb]).profile
    with pytest.raises(UsageError, match="unknown option --profile-run"):
        parse(["plan", "--profile-run"])


def test_the_flags_a_snakemake_user_types() -> None:
    words = (
        "run flow.toml predict -j 4 -C a=1 --config b=2 --configfile p.toml -R prepare -f -k -q -qv --events e x.csv"
    )
    assert parse([*words.split(), "--json"]) == Arguments(
        "run",
        file=Path("flow.toml"),
        targets=("predict", "x.csv"),
        cores=4,
        overrides=("a=1", "b=2"),
        params_file=Path("p.toml"),
        force_steps=("prepare",),
        force_targets=True,
        keep_going=True,
        verbosity=-1,
        events=Path("e"),
        json=True,
    )


@pytest.mark.parametrize(
    ("words", "file", "targets"),
    [
        ("predict flow.toml", "flow.toml", ("predict",)),
        ("flow.toml build/config.toml", "flow.toml", ("build/config.toml",)),
        ("-s flow.toml other.toml", "flow.toml", ("other.toml",)),
        ("predict", None, ("predict",)),
        ("flow.toml -- -odd --json", "flow.toml", ("-odd", "--json")),
        ("flow.toml -n -- predict", "flow.toml", ("predict",)),
    ],
)
def test_which_argument_is_the_file(words: str, file: str | None, targets: tuple[str, ...]) -> None:
    arguments = parse(["run", *words.split()])
    assert (arguments.file and str(arguments.file), arguments.targets) == (file, targets)


def test_a_folder_is_the_file_only_if_a_workflow_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "batchflow.toml").touch()
    (tmp_path / "images").mkdir()
    assert parse(["run", str(tmp_path / "project")]).file == tmp_path / "project"
    assert parse(["run", str(tmp_path / "images")]).targets == (str(tmp_path / "images"),)


@pytest.mark.parametrize(("words", "cores"), [("-c all", None), ("-c 3", 3), ("-c3", 3), ("--cores=2", 2)])
def test_cores(words: str, cores: int | None) -> None:
    assert parse(["run", *words.split()]).cores == cores


def test_retry_takes_what_run_takes_but_nothing_that_drops_results() -> None:
    words = "retry flow.toml predict -c 2 --set a=1 --params p.toml -k -v --events e --json -n"
    assert parse(words.split()) == Arguments(
        "retry",
        file=Path("flow.toml"),
        targets=("predict",),
        cores=2,
        overrides=("a=1",),
        params_file=Path("p.toml"),
        keep_going=True,
        verbosity=1,
        events=Path("e"),
        json=True,
        dry_run=True,
        retry=True,
    )
    for option in ("-F", "-f", "-R=x", "--restart", "--accept-changes"):
        with pytest.raises(UsageError, match=f"unknown option {option.split('=')[0]}"):
            parse(["retry", option])


def test_what_becomes_of_interrupted_work_can_be_said_in_one_way_only() -> None:
    assert (parse(["run", "--restart"]).restart, parse(["plan", "--accept-changes"]).accept_changes) == (True, True)
    with pytest.raises(UsageError, match="--accept-changes keeps what is done and --restart drops it"):
        parse(["run", "--restart", "--accept-changes"])


def test_verify_takes_steps() -> None:
    assert parse(["verify", "flow.toml", "a", "b", "--json"]) == Arguments(
        "verify", file=Path("flow.toml"), targets=("a", "b"), json=True
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("run", "retry"),
        ("run -F flow.toml predict", "retry flow.toml predict"),
        (
            "run predict --restart -kvvF --cores=3 -C a=b=c --params p.toml -R x flow.toml --events e",
            "retry flow.toml --set a=b=c --params p.toml --cores 3 --keep-going predict",
        ),
        ("run flow.toml -- -odd", "retry flow.toml -- -odd"),
    ],
)
def test_the_command_that_tries_again_what_failed_repeats_what_matters(words: str, expected: str) -> None:
    again = next_words("retry", parse(words.split()))
    assert again == expected.split()
    assert parse(again).verb == "retry"


def test_plan_is_a_dry_run() -> None:
    assert parse(["plan"]).dry_run
    assert parse(["run", "-n"]).dry_run
    assert parse(["run", "-nF"]).force_all


@pytest.mark.fault("K17")
@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        ("rum", "unknown verb 'rum'", "did you mean batchflow run?"),
        ("frobnicate", "unknown verb 'frobnicate'", "verbs: run, retry, plan"),
        ("flow.toml", "unknown verb 'flow.toml'", "a verb comes first"),
        ("-n run", "unknown option -n", "a verb comes first"),
        ("--versoin", "unknown option --versoin", "did you mean batchflow --version?"),
        ("run --jobs 3", "unknown option --jobs", "did you mean -j or --cores?"),
        ("run --jobs=3", "unknown option --jobs", "did you mean -j or --cores?"),
        ("run --kep-going", "unknown option --kep-going", "did you mean --keep-going?"),
        ("run --xyz", "unknown option --xyz", "--help shows the options"),
        ("run --dry", "unknown option --dry", "did you mean --dry-run?"),
        ("run --profile=x", "option --profile is not yet supported", "--help shows the options"),
        ("run -c 0", "expected a number of at least 1, or all, got '0'", "batchflow run --help"),
        ("run -c many", "expected a number of at least 1, or all, got 'many'", "batchflow run --help"),
        ("run --set limit", "expected NAME=VALUE, got 'limit'", "batchflow run --help"),
        ("run --set", "option -C/--set/--config: expected one argument", "batchflow run --help"),
        ("plan --events x", "unknown option --events", "--help shows the options"),
        ("check a.toml predict", "unexpected argument 'predict'", "takes one workflow file"),
        ("schema x", "unexpected argument 'x'", "--help shows the options"),
        ("init a b", "unexpected argument 'b'", "takes one folder"),
        ("dag --format svg", "invalid choice: 'svg'", "batchflow dag --help"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(words: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(words.split())
    assert message in str(caught.value)
    assert caught.value.hint is not None
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["-h"], ["help"], *([verb, "-h"] for verb in VERBS), ["help", "run"]]
)
def test_help_fits_one_screen_with_the_examples_first(words: list[str]) -> None:
    text = parse(words).help
    assert text is not None
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(len(line) for line in lines) <= 80
    assert text.index("examples:") < text.index("options:")


def test_help_wins_over_what_else_is_on_the_line() -> None:
    assert parse(["run", "flow.toml", "--nonsense", "--help"]).help


def test_init_and_schema_take_their_own() -> None:
    assert parse(["init"]).folder == Path()
    assert parse(["init", "digits"]).folder == Path("digits")
    assert parse(["schema", "-o", "x.json"]).output == Path("x.json")
