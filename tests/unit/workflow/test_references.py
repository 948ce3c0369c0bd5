"""References: grammar, filling in, quoting, and what stays open until the step runs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.workflow.workflow_files import PARALLEL, load, refused

from batchflow.workflow import readable, references, render

VALUES = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
HOSTILE = st.one_of(VALUES, st.text(alphabet="$`'\"\\ {}()\n#;&|ao.utps*~!", max_size=20))
PARAMETERS = """[params]
n = 5
f = 0.5
t = true
s = "a b"
l = ["x", "y z"]
p = { type = "path", default = "data" }
"""


def command(folder: Path, text: str) -> object:
    return load(folder, PARAMETERS + f"[steps.a]\nrun = '''{text}'''\noutputs = {{ o = 'o.txt' }}\n").steps["a"].command


def args(folder: Path, value: str) -> object:
    text = PARAMETERS + f"[steps.a]\ncall = 'tasks:main'\nargs = {{ x = {value} }}\noutputs = {{ o = 'o.txt' }}\n"
    return load(folder, text).steps["a"].args["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("echo ${params.n} ${params.f} ${params.t}", "echo 5 0.5 true"),
        ("echo ${params.s}", "echo 'a b'"),
        ("echo ${params.l}", "echo x 'y z'"),
        ('echo "${params.s}"', 'echo ""\'a b\'""'),
        ("echo '${params.s}'", "echo '''a b'''"),
        ("echo x${params.n}y", "echo x5y"),
        ('echo "x${params.n}"', 'echo "x5"'),
        ("echo ${ params.n }", "echo 5"),
        ("echo $HOME ${HOME} ${X:-y} ${#a} $$ ${f%.png}", "echo $HOME ${HOME} ${X:-y} ${#a} $$ ${f%.png}"),
        ("echo $${params.n}", "echo ${$}{params.n}"),
        ("echo $${HOME}", "echo ${$}{HOME}"),
        ("echo ${outputs.o}", "echo ${outputs.o}"),
        ('echo "$(cat "${params.s}")"', 'echo "$(cat ""\'a b\'"")"'),
        ("echo ${workflow.name}", "echo workflow"),
    ],
)
def test_a_command_is_filled_in_and_quoted(tmp_path: Path, text: str, expected: str) -> None:
    assert command(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("a > ${outputs.o}", "a > '/t/x y'"),
        ('a > "${outputs.o}"', 'a > ""\'/t/x y\'""'),
        ("a > '${outputs.o}'", "a > '''/t/x y'''"),
        ("a $${outputs.o} ${HOME} $$", "a ${outputs.o} ${HOME} $$"),
        ("a ${params.s}${outputs.o}", "a 'a b''/t/x y'"),
    ],
)
def test_the_outputs_are_quoted_when_the_step_runs(tmp_path: Path, text: str, rendered: str) -> None:
    template = command(tmp_path, text)
    assert isinstance(template, str)
    assert render(template, {"o": Path("/t/x y")}, shell=True) == rendered


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("'${params.n}'", 5),
        ("'${params.f}'", 0.5),
        ("'${params.t}'", True),
        ("'${params.l}'", ["x", "y z"]),
        ("'n=${params.n}, t=${params.t}'", "n=5, t=true"),
        ("{ deep = ['${params.n}', 1] }", {"deep": [5, 1]}),
        ("'$${params.n}'", "${$}{params.n}"),
        ("'${HOME}'", "${HOME}"),
        ("'${outputs.o}'", "${outputs.o}"),
    ],
)
def test_a_lone_reference_keeps_its_type(tmp_path: Path, value: str, expected: object) -> None:
    found = args(tmp_path, value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_list_command_is_not_quoted_and_takes_several_words(tmp_path: Path) -> None:
    text = (
        PARAMETERS
        + "[steps.a]\nrun = ['x', '${params.l}', '${params.s}', '${params.p}/y', '${outputs.o}']\noutputs.o = 'o'\n"
    )
    template = load(tmp_path, text).steps["a"].command
    assert template == ("x", "x", "y z", "a b", f"{tmp_path}/data/y", "${outputs.o}")
    assert render(template, {"o": Path("/t/o o")}) == ("x", "x", "y z", "a b", f"{tmp_path}/data/y", "/t/o o")


def test_render_fills_nested_arguments() -> None:
    template: dict[str, references.Template] = {"a": ["${outputs.o}", 1, {"b": "x${outputs.o}${$}"}], "c": True}
    assert render(template, {"o": Path("/t")}) == {"a": ["/t", 1, {"b": "x/t$"}], "c": True}


def test_render_of_an_output_without_a_path_fails() -> None:
    with pytest.raises(KeyError, match="p"):
        render("${outputs.p}", {"o": Path("/t")})


def test_settings_take_the_type_of_the_parameter(tmp_path: Path) -> None:
    text = (
        PARAMETERS
        + PARALLEL
        + 'workers = "${params.n}"\nallow_reuse = "${params.t}"\nallowed_failed_percent = "${params.f}"\n'
    )
    parallel = load(tmp_path, text + 'environment_variables = { A = "${params.n}" }\n').steps["p"].parallel
    assert parallel is not None
    assert (parallel.workers, parallel.allow_reuse, parallel.allowed_failed_percent) == (5, True, 0.5)
    assert dict(parallel.environment_variables) == {"A": "5"}


def test_arguments_take_inputs_and_lists(tmp_path: Path) -> None:
    text = PARAMETERS + PARALLEL.replace('"data/"', '"data/", m = "models/small"') + "over = 'images'\n"
    parallel = load(
        tmp_path, text + "arguments = ['${inputs.m}', '${params.l}', '--n=${params.n}', '${outputs.rows}']\n"
    )
    settings_ = parallel.steps["p"].parallel
    assert settings_ is not None
    assert settings_.arguments == (f"{tmp_path}/models/small", "x", "y z", "--n=5", "${outputs.rows}")


def test_a_reference_to_what_is_wrong_is_not_a_second_error(tmp_path: Path) -> None:
    text = "[params]\nn = { default = 5, mim = 1 }\n" + PARALLEL + "workers = '${params.n}'\n"
    assert [one.code for one in refused(tmp_path, text).diagnostics] == ["BF012"]


@given(HOSTILE)
def test_any_value_survives_the_template(value: str) -> None:
    assert render(references.escape(value), {}) == value
    assert readable(references.escape(value)) == value


@given(HOSTILE, HOSTILE)
def test_no_value_becomes_a_reference_beside_another(first: str, second: str) -> None:
    template = references.escape(first) + "${outputs.o}" + references.escape(second)
    assert render(template, {"o": Path("/t")}) == first + "/t" + second


@given(
    st.lists(HOSTILE, min_size=1, max_size=3), st.sampled_from(["{}", "a{}b", '"a{}b"', "'a{}b'", '"a"{}', "x=1 {}; y"])
)
@settings(max_examples=300)
def test_a_quoted_value_is_one_word_of_the_shell_wherever_it_stands(values: list[str], place: str) -> None:
    from batchflow.workflow.shell import ShellScanner, quote_at

    before, after = place.split("{}")
    for value in values:
        scanner = ShellScanner()
        scanner.feed(before)
        words = shlex.split(before + quote_at(scanner.place, [value]) + after)
        plain = shlex.split(place.replace("{}", "VALUE"))
        assert words == [word.replace("VALUE", value) for word in plain]


@given(st.text(alphabet="a${}.'\"\\ params\n", max_size=40))
def test_the_text_of_a_file_comes_out_as_it_went_in(text: str) -> None:
    pieces = list(references.parse(text))
    if all(isinstance(piece, str) for piece in pieces):
        assert render("".join(str(piece) for piece in pieces), {}) == text.replace("$${", "${")


def test_a_value_and_the_text_after_it_make_no_reference(tmp_path: Path) -> None:
    step = "[steps.a]\ncall = 'tasks:main'\nargs = { x = '${params.d}{outputs.o}' }\noutputs.o = 'o.txt'\n"
    template = load(tmp_path, "[params]\nd = '$'\n" + step).steps["a"].args
    assert render(template, {"o": Path("/t")}) == {"x": "${outputs.o}"}


def test_the_names_of_open_outputs() -> None:
    assert references.open_outputs("${outputs.a} ${$} ${HOME} ${outputs.b-2}") == ("a", "b-2")
    assert references.is_reference("${params.x}")
    assert not references.is_reference("${params.x} ")
