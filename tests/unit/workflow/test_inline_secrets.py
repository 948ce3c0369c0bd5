"""A secret in the workflow file is a warning with its place, and is never shown, not even by errors about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.workflow.workflow_files import PARALLEL, STEP, load, make_folder, refused

from batchflow import redaction
from batchflow.redaction import redact
from batchflow.workflow import load_workflow
from batchflow.workflow.diagnostics import render_warning


@pytest.fixture(autouse=True)
def nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", {})
    monkeypatch.setattr(redaction, "_hidden", ())


@pytest.mark.fault("K13", "S21")
def test_a_secret_is_warned_about_with_its_place_and_without_itself(tmp_path: Path) -> None:
    workflow = load(tmp_path, "[params]\nlimit = 3\napi_key = 'kolibri-17'\n" + STEP)
    (warning,) = workflow.warnings
    assert render_warning(warning, tmp_path) == (
        "warning[BF070]: a secret stands in the workflow file, in `params.api_key`\n"
        " --> workflow.toml:3:1\n"
        "  = help: give it a type instead of a default, and its value by the environment: "
        'BATCHFLOW_PARAM_API_KEY="…"'
    )
    assert redact("the key is kolibri-17") == "the key is ***"


@pytest.mark.fault("K13")
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[params.token]\nhelp = 'of the hub'\ndefault = 'kolibri-17'\n" + STEP, "params.token"),
        ("[params]\npasswords = ['kolibri-17', 'kolibri-18']\n" + STEP, "params.passwords"),
        ("[params]\npassword = 1234567\n" + STEP, "params.password"),
        ("[params]\nsource = 'postgres://me:kolibri-17@host/x'\n" + STEP, "params.source"),
        ("[steps.a]\nrun = 'tool --token kolibri-17'\n", "steps.a.run"),
        ("[steps.a]\nrun = ['tool', '--header', 'Authorization: Bearer kolibri-17']\n", "steps.a.run"),
        ("[steps.a]\nrun = 'tool --token kolibri-17 --n ${params.n}'\n[params]\nn = 1\n", "steps.a.run"),
        ("[steps.a]\ncall = 'tasks:main'\nargs = { db_password = 'kolibri-17' }\n", "steps.a.args.db_password"),
        (PARALLEL + "arguments = ['--api-key=kolibri-17']\n", "steps.p.parallel.arguments"),
        (PARALLEL + "arguments = ['--api-key', 'kolibri-17']\n", "steps.p.parallel.arguments"),
        (
            PARALLEL + "environment_variables = { HF_TOKEN = 'kolibri-17' }\n",
            "steps.p.parallel.environment_variables.HF_TOKEN",
        ),
    ],
)
def test_wherever_it_stands(tmp_path: Path, text: str, place: str) -> None:
    (warning,) = load(tmp_path, text).warnings
    assert warning.message == f"a secret stands in the workflow file, in `{place}`"
    assert "kolibri" not in render_warning(warning, tmp_path)
    assert warning.position is not None
    assert warning.position.line >= 1


@pytest.mark.parametrize(
    "text",
    [
        "[params]\nkey_columns = ['a']\npartition_key = 'id'\npad_token = '[PAD]'\nmax_tokens = 99\n" + STEP,
        "[params.token]\ntype = 'str'\nhelp = 'the token of the hub, see hf.co'\ndefault = ''\n" + STEP,
        "[params.t]\ntype = 'str'\n[steps.a]\nrun = 'tool --token ${params.t} --password $PASSWORD'\n",
        PARALLEL + "arguments = ['--token', '${params.t}', '--key', 'k']\n[params.t]\ntype = 'str'\n",
        "[steps.a]\nrun = 'true'\noutputs = { token = 'build/token.txt' }\n",
        "[steps.a]\ncall = 'tasks:main'\nargs = { api_key = '${params.key}' }\n[params]\nkey = 'x'\n",
    ],
)
def test_what_is_none_is_not_warned_about(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text, params={"t": "x"} if "params.t]" in text else {}).warnings == ()


@pytest.mark.fault("K13")
@pytest.mark.parametrize(
    "text",
    [
        "[params]\ntoken = { default = 'ab1', mim = 0 }\n" + STEP,
        "[params]\ntoken = { type = 'int', default = 'ab1' }\n" + STEP,
        "[params]\ntoken = { default = 'ab1', choices = ['x1', 'x2'] }\n" + STEP,
        "[params]\ntoken = { default = 'ab1', pattern = 'x' }\n" + STEP,
        "[params]\ntoken = { default = 'ab1'\n" + STEP,
        "[params]\ntoken = 'ab1\n" + STEP,
        PARALLEL + "environment_variables = { API_KEY = 'ab1', X = 5 }\n",
    ],
)
def test_no_error_about_it_shows_it(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text)
    assert "ab1" not in str(error)
    assert all("ab1" not in f"{one.message} {one.hint}" for one in error.diagnostics)


@pytest.mark.fault("S21")
@pytest.mark.parametrize("value", ["ab1", "kolibri-17"])
def test_a_secret_from_outside_is_not_shown_either(tmp_path: Path, value: str) -> None:
    text = "[params]\ntoken = { type = 'int' }\n" + STEP
    (tmp_path / "secrets.toml").write_text(f"token = '{value}'\n")
    for options in (
        {"overrides": [f"token={value}"]},
        {"environ": {"BATCHFLOW_PARAM_TOKEN": value}},
        {"params": {"token": value}},
        {"params_file": tmp_path / "secrets.toml"},
    ):
        error = refused(tmp_path, text, **options)
        assert value not in str(error)
        assert "which is not shown" in error.diagnostics[0].message


@pytest.mark.fault("S21")
def test_what_comes_from_the_environment_is_hidden_from_then_on(tmp_path: Path) -> None:
    path = make_folder(tmp_path, "[params.token]\ntype = 'str'\n" + STEP)
    environ = {"BATCHFLOW_PARAM_TOKEN": "kolibri-17", "HF_TOKEN": "kolibri-18", "HOME": "kolibri-19"}
    workflow = load_workflow(path, environ=environ, caller_folder=tmp_path)
    assert workflow.params["token"].value == "kolibri-17"
    assert workflow.warnings == ()
    assert redact("kolibri-17 kolibri-18 kolibri-19") == "*** *** kolibri-19"
