"""Good workflow files: what each key becomes."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError
from pathlib import Path

import jsonschema
import pytest
import tomli
from unit.workflow.workflow_files import PARALLEL, STEP, load, make_folder

from batchflow.errors import WorkflowError
from batchflow.workflow import find_workflow, json_schema, load_workflow
from batchflow.workflow.values import FileDataset, Position, Threshold

MNIST = """\
#:schema ./workflow.schema.json
schema  = 1                                   # version of this format
name    = "mnist-digits"
default = ["evaluate"]                        # what `batchflow run` builds when no target is named

[params]                                      # typed, documented, overridable with --set
limit        = { default = 10_000, min = 1, help = "number of test images to score" }
batch        = { default = 100, min = 1, help = "images in one run() call" }
min_accuracy = 0.95                           # shorthand: a float with this default

[datasets.images]                             # named data
files = "build/mnist/png/**/*.png"

[models.mnist]
path = "models/mnist"                         # optional sha256, version, tags

[steps.prepare]
help    = "Unpack MNIST into one PNG for each digit"
run     = "python prepare.py --limit ${params.limit} --out ${outputs.images} --labels ${outputs.labels}"
outputs = { images = "build/mnist/png/", labels = "build/mnist/labels.csv" }   # trailing / = folder

[steps.predict]
inputs  = { images = "${steps.prepare.outputs.images}", model = "${models.mnist}" }
outputs = { predictions = "build/predictions.csv" }

[steps.predict.parallel]                      # this table makes it a parallel step
entry_script    = "digit_identification.py"
over            = "images"
mini_batch_size = "${params.batch}"           # a string that is only a reference keeps the type
arguments       = ["--model", "${inputs.model}"]
append_row_to   = "predictions"
error_threshold = 10

[steps.evaluate]
call    = "evaluate:main"                     # a Python function: main(inputs, outputs, args)
inputs  = { predictions = "${steps.predict.outputs.predictions}", labels = "${steps.prepare.outputs.labels}" }
outputs = { metrics = "build/metrics.json", confusion = "build/confusion.png" }
args    = { min_accuracy = "${params.min_accuracy}" }
"""


def mnist_folder(folder: Path) -> Path:
    (folder / "models/mnist").mkdir(parents=True)
    (folder / "digit_identification.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    (folder / "evaluate.py").write_text("def main(inputs, outputs, args):\n    pass\n")
    (folder / "workflow.toml").write_text(MNIST)
    return folder / "workflow.toml"


def test_the_example_of_the_format_is_read_whole(tmp_path: Path) -> None:
    workflow = load_workflow(mnist_folder(tmp_path), environ={})
    assert (workflow.name, workflow.default) == ("mnist-digits", ("evaluate",))
    assert {name: (one.type, one.value, one.origin) for name, one in workflow.params.items()} == {
        "limit": ("int", 10_000, "default"),
        "batch": ("int", 100, "default"),
        "min_accuracy": ("float", 0.95, "default"),
    }
    assert workflow.datasets["images"].patterns == (f"{tmp_path}/build/mnist/png/**/*.png",)
    assert workflow.models["mnist"].path == tmp_path / "models/mnist"
    prepare, predict, evaluate = workflow.steps.values()
    assert (prepare.kind, predict.kind, evaluate.kind) == ("run", "parallel", "call")
    assert prepare.command == "python prepare.py --limit 10000 --out ${outputs.images} --labels ${outputs.labels}"
    assert (prepare.params, predict.params, evaluate.params) == (("limit",), ("batch",), ("min_accuracy",))
    assert (prepare.dependencies, predict.dependencies, evaluate.dependencies) == (
        (),
        ("prepare",),
        ("prepare", "predict"),
    )
    assert (prepare.outputs["images"].path, prepare.outputs["images"].is_folder) == (tmp_path / "build/mnist/png", True)
    assert (prepare.outputs["labels"].path, prepare.outputs["labels"].is_folder) == (
        tmp_path / "build/mnist/labels.csv",
        False,
    )
    assert predict.inputs["images"].patterns == (f"{tmp_path}/build/mnist/png/",)
    assert (predict.inputs["images"].kind, predict.inputs["images"].producer) == ("path", "prepare")
    assert predict.inputs["model"].patterns == (f"{tmp_path}/models/mnist",)
    assert (evaluate.function, dict(evaluate.args)) == ("evaluate:main", {"min_accuracy": 0.95})


def test_the_parallel_step_of_the_example(tmp_path: Path) -> None:
    settings = load_workflow(mnist_folder(tmp_path), environ={}).steps["predict"].parallel
    assert settings is not None
    assert settings.entry_script == tmp_path / "digit_identification.py"
    assert settings.source_directory == tmp_path
    assert (settings.over, settings.side_inputs, settings.mini_batch_size) == (("images",), ("model",), 100)
    assert settings.arguments == ("--model", f"{tmp_path}/models/mnist")
    assert (settings.append_row_to, settings.append_row_file_name, settings.output_format) == (
        "predictions",
        None,
        "csv",
    )
    assert settings.error_threshold == Threshold(count=10)
    assert settings.mini_batch_error_threshold == Threshold(count=-1)


def test_positions_are_those_of_the_keys(tmp_path: Path) -> None:
    workflow = load_workflow(mnist_folder(tmp_path), environ={})
    predict = workflow.steps["predict"]
    assert workflow.params["batch"].position == Position(workflow.path, 8, 1, 5)
    assert workflow.datasets["images"].position == Position(workflow.path, 11, 11, 6)
    assert predict.position == Position(workflow.path, 22, 8, 7)
    assert predict.inputs["model"].position == Position(workflow.path, 23, 55 + 2, 5)
    assert predict.key_positions["parallel.mini_batch_size"] == Position(workflow.path, 29, 1, 15)
    assert workflow.steps["evaluate"].key_positions["args.min_accuracy"].line == 38


def test_the_workflow_is_frozen(tmp_path: Path) -> None:
    workflow = load(tmp_path, STEP)
    with pytest.raises(FrozenInstanceError):
        workflow.name = "b"  # type: ignore[misc]
    with pytest.raises(TypeError):
        workflow.steps["b"] = workflow.steps["a"]  # type: ignore[index]


def test_every_key_of_a_parallel_step(tmp_path: Path) -> None:
    text = """\
[steps.p]
inputs = { images = "data/*.png", table = "data.csv", model = "models/small" }
outputs = { rows = "rows/", failed = "failed.jsonl", receipt = "receipt.json" }
[steps.p.parallel]
entry_script = "score.py"
source_directory = "."
over = "images"
mini_batch_size = 7
append_row_to = "rows"
append_row_file_name = "rows.jsonl"
output_action = "APPEND_ROW"
output_format = "jsonl"
header = false
delimiter = ";"
newline = "keep"
order = "completion"
items = "exact"
error_threshold = "1.5%"
mini_batch_error_threshold = 3
allowed_failed_percent = 5
run_invocation_timeout = "2 min"
init_timeout = 1.5
progress_update_timeout = "1 h"
run_max_try = 1
isolate_failures = false
workers = 4
nodes = 1
side_inputs = ["table"]
arguments = ["--verbose"]
environment_variables = { A = "1" }
logging_level = "DEBUG"
allow_reuse = false
durability = "full"
max_result_size = "1 KiB"
gpus_per_worker = 0
failed_to = "failed"
receipt_to = "receipt"
"""
    step = load(tmp_path, text).steps["p"]
    settings = step.parallel
    assert settings is not None
    assert step.inputs["images"].kind == "dataset"
    assert (settings.append_row_to, settings.append_row_file_name) == ("rows", "rows.jsonl")
    assert (settings.workers, settings.output_action, settings.output_format) == (4, "append_row", "jsonl")
    assert (settings.header, settings.delimiter, settings.newline) == (False, ";", "keep")
    assert (settings.order, settings.items) == ("completion", "exact")
    assert settings.error_threshold == Threshold(percent=1.5)
    assert settings.mini_batch_error_threshold == Threshold(count=3)
    assert settings.allowed_failed_percent == 5.0
    assert (settings.run_invocation_timeout_s, settings.init_timeout_s, settings.progress_update_timeout_s) == (
        120,
        1.5,
        3600,
    )
    assert (settings.run_max_try, settings.isolate_failures, settings.side_inputs) == (1, False, ("table",))
    assert (settings.arguments, dict(settings.environment_variables)) == (("--verbose",), {"A": "1"})
    assert (settings.logging_level, settings.allow_reuse, settings.max_result_size) == ("DEBUG", False, 1024)
    assert (settings.gpus_per_worker, settings.failed_to, settings.receipt_to) == (0, "failed", "receipt")


def test_the_only_output_takes_the_rows_and_its_extension_the_format(tmp_path: Path) -> None:
    for output, name, output_format in (
        ("o.txt", None, "text"),
        ("o/", "parallel_run_step.txt", "text"),
        ("o.JSONL", None, "jsonl"),
    ):
        settings = load(tmp_path, PARALLEL.replace("rows.csv", output)).steps["p"].parallel
        assert settings is not None
        assert (settings.append_row_to, settings.append_row_file_name) == ("rows", name)
        assert settings.output_format == output_format


def test_a_summary_has_no_rows(tmp_path: Path) -> None:
    settings = (
        load(tmp_path, PARALLEL.replace("rows.csv", "o/") + "output_action = 'summary_only'\n").steps["p"].parallel
    )
    assert settings is not None
    assert (settings.append_row_to, settings.append_row_file_name, settings.output_format) == (None, None, None)


def test_datasets_are_patterns_folders_and_lists(tmp_path: Path) -> None:
    text = "[datasets]\na.files = 'x/**/*.png'\nb.files = 'data/'\nc.files = ['x.csv', '/abs/', '../up']\n" + STEP
    datasets = load(tmp_path, text).datasets
    assert {name: one.patterns for name, one in datasets.items()} == {
        "a": (f"{tmp_path}/x/**/*.png",),
        "b": (f"{tmp_path}/data/",),
        "c": (f"{tmp_path}/x.csv", "/abs/", f"{tmp_path.parent}/up"),
    }
    assert isinstance(datasets["a"], FileDataset)


def test_wildcards_in_the_name_of_the_folder_are_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "run[1]*"
    folder.mkdir()
    text = (
        "datasets.d.files = 'x/*.png'\n" + STEP + "inputs = { d = '${datasets.d}', f = 'data.csv', g = 'data/*.png' }\n"
    )
    inputs = load(folder, text).steps["a"].inputs
    escaped = f"{tmp_path}/run[[]1][*]"
    assert inputs["d"].patterns == (f"{escaped}/x/*.png",)
    assert inputs["g"].patterns == (f"{escaped}/data/*.png",)
    assert (inputs["f"].kind, inputs["f"].patterns) == ("path", (f"{folder}/data.csv",))
    assert inputs["f"].listing_patterns == (f"{escaped}/data.csv",)
    assert inputs["g"].listing_patterns == inputs["g"].patterns


def test_a_model_keeps_its_digest_version_and_tags(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    text = f"[models.m]\npath = 'models/small'\nsha256 = '{digest}'\nversion = '3'\ntags = {{ a = 'b' }}\n" + STEP
    model = load(tmp_path, text).models["m"]
    assert (model.sha256, model.version, dict(model.tags)) == (digest, "3", {"a": "b"})


def test_without_default_the_last_steps_are_built(tmp_path: Path) -> None:
    text = STEP + "[steps.b]\nrun='x'\nafter=['a']\n[steps.c]\nrun='x'\n"
    assert load(tmp_path, text).default == ("b", "c")


def test_a_default_can_be_the_path_of_an_output(tmp_path: Path) -> None:
    assert load(tmp_path, "default = ['o/']\n" + STEP + "outputs = { o = 'o/' }\n").default == ("o/",)


def test_the_name_is_that_of_the_file_when_there_is_none(tmp_path: Path) -> None:
    path = make_folder(tmp_path, STEP).rename(tmp_path / "My work.toml")
    workflow = load_workflow(path, environ={})
    assert workflow.name == "my-work"
    assert workflow.state_folder == tmp_path / ".batchflow" / "My work"


def test_newer_toml_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, "[params]\nx = {\n  default = 1,\n  min = 0,\n}\n" + STEP).params["x"].value == 1


@pytest.mark.fault("K7")
def test_windows_line_ends_are_read(tmp_path: Path) -> None:
    assert load(tmp_path, STEP.replace("\n", "\r\n")).steps["a"].command == "true"


def test_a_plain_path_can_be_an_output_of_a_step_it_waits_for(tmp_path: Path) -> None:
    text = "steps.a={run='x', outputs={o='o/'}}\nsteps.b={run='x', inputs={i='o/part.txt'}, after=['a']}\n"
    assert load(tmp_path, text).steps["b"].inputs["i"].patterns == (f"{tmp_path}/o/part.txt",)


def test_a_path_inside_another_steps_folder(tmp_path: Path) -> None:
    text = "steps.a={run='x', outputs={o='o/'}}\nsteps.b={run='x', inputs={i='${steps.a.outputs.o}x/*.png'}}\n"
    step = load(tmp_path, text).steps["b"]
    assert (step.inputs["i"].kind, step.inputs["i"].producer) == ("dataset", "a")
    assert step.inputs["i"].patterns == (f"{tmp_path}/o/x/*.png",)
    assert step.dependencies == ("a",)


def test_files_named_outside_inputs_are_inputs_all_the_same(tmp_path: Path) -> None:
    text = "steps.a={run='x', outputs={o='o.txt'}}\nsteps.b={run='cat ${steps.a.outputs.o}'}\n"
    step = load(tmp_path, text).steps["b"]
    assert step.command == f"cat {tmp_path}/o.txt"
    assert step.inputs["steps.a.outputs.o"].patterns == (f"{tmp_path}/o.txt",)
    assert step.dependencies == ("a",)


def test_the_file_is_found_in_the_folder_or_above_it(tmp_path: Path) -> None:
    path = make_folder(tmp_path, STEP)
    below = tmp_path / "x/y"
    below.mkdir(parents=True)
    assert find_workflow(None, below) == path
    assert find_workflow("x/y", tmp_path) == path
    assert find_workflow("data.csv", tmp_path) == tmp_path / "data.csv"
    (below / "batchflow.toml").write_text(STEP)
    assert find_workflow(None, below) == below / "batchflow.toml"
    assert load_workflow(tmp_path, environ={}).path == path


def test_no_file_anywhere(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"no workflow.toml or batchflow.toml in .*\nhint: name the file"):
        find_workflow(None, tmp_path)


def test_a_loop_of_links_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "workflow.toml").symlink_to("workflow.toml")
    with pytest.raises(WorkflowError, match="cannot read"):
        load_workflow(tmp_path / "workflow.toml", environ={})


@pytest.mark.parametrize("text", [MNIST, STEP, PARALLEL, PARALLEL + "workers = '${params.x}'\n"])
def test_the_schema_accepts_good_files(text: str) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(tomli.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        STEP + "x = 1\n",
        "[steps.a]\nhelp = 'x'\n",
        PARALLEL + "workers = 0\n",
        PARALLEL + "workers = '8'\n",
        "[steps.A]\nrun='x'\n",
    ],
)
def test_the_schema_refuses_wrong_files(text: str) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(tomli.loads(text))


def test_every_key_in_the_schema_is_described() -> None:
    schema = json_schema()
    shapes = [schema, *schema["$defs"].values()]
    missing = [
        f"{shape['title']}.{key}"
        for shape in shapes
        for key, one in shape.get("properties", {}).items()
        if "description" not in one and "$ref" not in str(one)
    ]
    assert missing == []
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_schema_promises_nothing_that_is_not_there_yet() -> None:
    text = str(json_schema())
    assert "batchflow params" not in text
