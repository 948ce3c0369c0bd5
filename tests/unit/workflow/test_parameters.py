"""Parameters: types, precedence, where relative paths start, wrong values from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.workflow.workflow_files import PARALLEL, STEP, load, make_folder, refused

from batchflow.workflow import load_workflow

LIMIT = "[params]\nlimit = { default = 1, max = 99 }\n" + STEP


def value(folder: Path, declaration: str, **options: object) -> object:
    return load(folder, f"[params]\nx = {declaration}\n" + STEP, **options).params["x"].value


def test_the_nearest_source_wins(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("limit = 2\n")
    file = {"params_file": Path("p.toml")}
    environment = {"environ": {"BATCHFLOW_PARAM_LIMIT": "3"}}
    python = {"params": {"limit": 4}}
    setting = {"overrides": ["limit=5"]}
    options: dict[str, object] = {}
    expected = [
        (1, "default"),
        (2, "params p.toml"),
        (3, "environment BATCHFLOW_PARAM_LIMIT"),
        (4, "python"),
        (5, "--set"),
    ]
    for source, (number, origin) in zip(({}, file, environment, python, setting), expected, strict=True):
        options = {**options, **source}
        parameter = load(tmp_path, LIMIT, **options).params["limit"]
        assert (parameter.value, parameter.origin, parameter.default) == (number, origin, 1)


def test_the_last_set_wins(tmp_path: Path) -> None:
    assert load(tmp_path, LIMIT, overrides=["limit=5", "params.limit=6"]).params["limit"].value == 6


def test_a_variable_of_the_exact_name_wins_over_capitals(tmp_path: Path) -> None:
    environ = {"BATCHFLOW_PARAM_LIMIT": "3", "BATCHFLOW_PARAM_limit": "4", "OTHER": "x"}
    assert load(tmp_path, LIMIT, environ=environ).params["limit"].value == 4


@pytest.mark.parametrize(
    ("declaration", "text", "expected"),
    [
        ("{ type = 'int' }", "1_000", 1000),
        ("{ type = 'int' }", "-5", -5),
        ("{ type = 'float' }", "1", 1.0),
        ("{ type = 'float' }", "2.5e-3", 0.0025),
        ("{ type = 'float' }", ".5", 0.5),
        ("true", "false", False),
        ("false", "True", True),
        ("'a'", "5", "5"),
        ("'a'", "", ""),
        ("'a'", "b=c", "b=c"),
        ("[1]", "[2, 3]", [2, 3]),
        ("[1]", "2,3", [2, 3]),
        ("['a']", "b,c", ["b", "c"]),
        ("['a']", "", []),
    ],
)
def test_text_is_parsed_by_the_declared_type(tmp_path: Path, declaration: str, text: str, expected: object) -> None:
    found = value(tmp_path, declaration, overrides=[f"x={text}"])
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("declaration", "text", "message"),
    [
        ("1", "ten", "expected a whole number, got 'ten'"),
        ("1", "1.0", "expected a whole number, got '1.0'"),
        ("1", "9" * 5000, "expected a whole number, got '999"),
        ("1", "9" * 25, "more than 64 bits"),
        ("1.0", "nan", "expected a number, got 'nan'"),
        ("1.0", "1e999", "expected a finite number"),
        ("true", "yes", "expected true or false, got 'yes'"),
        ("[1]", "[2", "expected an array"),
        ("[1]", "[[2]]", "expected an array of true, false, numbers and strings"),
        ("{ default = 1, min = 1 }", "0", "expected at least 1, got 0"),
        ("{ default = 'a', choices = ['a', 'bees'] }", "bee", "expected one of 'a', 'bees', got 'bee'"),
        ("{ default = 'a', pattern = '[a-z]' }", "aa", "'aa' does not match the pattern [a-z]"),
    ],
)
def test_a_wrong_text_names_the_argument(tmp_path: Path, declaration: str, text: str, message: str) -> None:
    error = refused(tmp_path, f"[params]\nx = {declaration}\n" + STEP, overrides=[f"x={text}"])
    assert [one.code for one in error.diagnostics] == ["BF022"]
    assert message in error.diagnostics[0].message
    assert f" --> --set x={text[:50]}" in str(error)


@pytest.mark.parametrize(
    ("declaration", "given", "expected"),
    [("1", 2, 2), ("1.0", 2, 2.0), ("'a'", "b", "b"), ("true", False, False), ("[1]", (2, 3), [2, 3])],
)
def test_values_from_python_keep_their_type(tmp_path: Path, declaration: str, given: object, expected: object) -> None:
    found = value(tmp_path, declaration, params={"x": given})
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("declaration", "given"),
    [("1", "2"), ("1", True), ("1", 2.0), ("'a'", 1), ("true", 1), ("[1]", [object()]), ("1.0", float("inf"))],
)
def test_values_from_python_are_not_converted(tmp_path: Path, declaration: str, given: object) -> None:
    error = refused(tmp_path, f"[params]\nx = {declaration}\n" + STEP, params={"x": given})
    assert [one.code for one in error.diagnostics] == ["BF022"]
    assert "params={'x':" in str(error)


def test_relative_paths_start_where_they_were_written(tmp_path: Path) -> None:
    caller, presets, folder = tmp_path / "caller", tmp_path / "presets", tmp_path / "flow"
    for one in (caller, presets, folder):
        one.mkdir()
    (presets / "p.toml").write_text("x = 'here/'\n")
    text = "[params]\nx = { type = 'path', default = 'here' }\n" + STEP
    options: dict[str, object] = {"caller_folder": caller}

    def found(**more: object) -> object:
        return load(folder, text, **options, **more).params["x"].value

    assert found() == f"{folder}/here"
    assert found(params_file=Path("../presets/p.toml")) == f"{presets}/here/"
    assert found(environ={"BATCHFLOW_PARAM_X": "here"}) == f"{caller}/here"
    assert found(params={"x": Path("here")}) == f"{caller}/here"
    assert found(overrides=["x=../here"]) == f"{tmp_path}/here"
    assert found(overrides=["x=/abs"]) == "/abs"


def test_an_empty_path_stays_empty(tmp_path: Path) -> None:
    workflow = load(tmp_path, "[params]\nx = { type = 'path', default = '' }\n[steps.a]\nrun = ['x', '${params.x}']\n")
    assert workflow.params["x"].value == ""
    assert workflow.steps["a"].command == ("x", "")


def test_a_required_parameter_takes_a_value(tmp_path: Path) -> None:
    assert value(tmp_path, "{ type = 'int' }", overrides=["x=5"]) == 5


@pytest.mark.fault("K14")
def test_unknown_names_are_refused_wherever_they_come_from(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("\nlimti = 2\n")
    error = refused(
        tmp_path,
        LIMIT,
        params_file=Path("p.toml"),
        environ={"BATCHFLOW_PARAM_LIMIX": "3"},
        params={"limix": 4},
    )
    assert [(one.code, one.hint) for one in error.diagnostics] == [("BF020", "did you mean `limit`?")] * 3
    assert "p.toml:2:1" in str(error)
    assert "--> BATCHFLOW_PARAM_LIMIX=3" in str(error)


def test_a_wrong_value_in_a_params_file_is_shown_there(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("# mine\nlimit = '5'\n")
    error = refused(tmp_path, LIMIT, params_file=Path("p.toml"))
    found = error.diagnostics[0]
    assert found.position is not None
    assert (found.position.path.name, found.position.line, found.position.column) == ("p.toml", 2, 9)
    assert found.hint == "remove the quotes"


def test_a_params_file_that_is_missing(tmp_path: Path) -> None:
    error = refused(tmp_path, LIMIT, params_file=Path("none.toml"))
    assert "none.toml: no such file or directory" in str(error)
    assert "--> --params none.toml" in str(error)


def test_dotted_keys_of_the_file_can_be_set(tmp_path: Path) -> None:
    workflow = load(tmp_path, PARALLEL, overrides=["steps.p.parallel.workers=8", "steps.p.help=two words"])
    step = workflow.steps["p"]
    assert step.parallel is not None
    assert (step.parallel.workers, step.help) == (8, "two words")


def test_a_path_that_is_set_starts_at_the_caller(tmp_path: Path) -> None:
    text = "datasets.d.files = 'x/*'\n" + STEP
    workflow = load(tmp_path, text, overrides=["datasets.d.files=x/*"], caller_folder=tmp_path / "y")
    assert workflow.datasets["d"].patterns == (f"{tmp_path}/y/x/*",)


@pytest.mark.parametrize(
    ("override", "code", "message", "hint"),
    [
        ("steps.p.parallel.workers=0", "BF011", "`workers`: expected at least 1, got 0", ""),
        ("steps.p.parallel.workerz=1", "BF012", "unknown key `workerz`", "`workers`"),
        ("steps.q.parallel.workers=1", "BF020", "no step `q` to set a key of", "`p`"),
        ("steps.p.parallel.workers.x=1", "BF010", "`workers`", ""),
        ("steps.p.parallel.entry_script.x=1", "BF024", "`entry_script` is not a table", ""),
        ("stpes.p.help=1", "BF020", "no key `stpes.p.help` can be set", "`steps`"),
        ("limit", "BF024", "expected KEY=VALUE, got 'limit'", "NAME=VALUE"),
        ("=5", "BF024", "expected KEY=VALUE", ""),
        ("a..b=5", "BF024", "expected KEY=VALUE", ""),
        (".".join("a" * 5000) + "=1", "BF024", "expected KEY=VALUE", ""),
        ("workers=8", "BF020", "no parameter `workers`", ""),
    ],
)
def test_a_wrong_set_names_the_argument(tmp_path: Path, override: str, code: str, message: str, hint: str) -> None:
    error = refused(tmp_path, PARALLEL, overrides=[override])
    assert error.diagnostics[0].code == code, str(error)
    assert message in error.diagnostics[0].message
    assert hint in (error.diagnostics[0].hint or "")
    assert error.diagnostics[0].position is None
    assert f" --> --set {override[:50]}" in str(error)


def test_a_value_that_is_set_cannot_bring_further_keys(tmp_path: Path) -> None:
    workflow = load(tmp_path, PARALLEL, overrides=["steps.p.help=1\nname = 'evil'"])
    assert workflow.steps["p"].help == "1\nname = 'evil'"


def test_the_environment_of_the_process_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCHFLOW_PARAM_LIMIT", "7")
    assert load_workflow(make_folder(tmp_path, LIMIT)).params["limit"].value == 7


def test_the_parameters_of_what_a_step_refers_to_are_its_own(tmp_path: Path) -> None:
    text = (
        "[params]\na = 'x'\nb = 'y'\nc = 'small'\nd = 1\ne = 2\n"
        "[datasets.d]\nfiles = '${params.a}/*.png'\n[models.m]\npath = 'models/${params.c}'\n"
        "[steps.s]\nrun = 'x ${params.d}'\noutputs = { o = '${params.b}.csv' }\n"
        "[steps.t]\nrun = 'x ${inputs.o}'\n"
        "inputs = { d = '${datasets.d}', m = '${models.m}', o = '${steps.s.outputs.o}' }\n"
    )
    steps = load(tmp_path, text).steps
    assert steps["s"].params == ("b", "d")
    assert steps["t"].params == ("a", "b", "c")
    assert steps["t"].command == f"x {tmp_path}/y.csv"


@pytest.mark.parametrize(("name", "text"), [("p.yaml", "limit: 5\n"), ("p.json", '{"limit": 5}\n')])
def test_a_params_file_of_another_format_is_told_which_one_is_read(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    error = refused(tmp_path, "[params]\nlimit = 1\n" + STEP, params_file=Path(name))
    assert error.diagnostics[0].code == "BF004"
    assert error.diagnostics[0].hint == "--params takes a TOML file: NAME = VALUE on each line, texts in quotes"
