"""Table datasets, and the parallel steps over them: what is read, and what is refused at its line and column."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import tomli
from unit.workflow.workflow_files import load, make_folder

from batchflow.tables.options import NULL_VALUES, TableOptions
from batchflow.workflow import json_schema, load_workflow
from batchflow.workflow.table_keys import EXTENSIONS
from batchflow.workflow.values import FileDataset, Input, ParallelSettings, Position, TableDataset

SALES = """\
[datasets.sales]
table = "data/*.csv"
[steps.p]
inputs = { sales = "${datasets.sales}" }
outputs = { rows = "rows.csv" }
[steps.p.parallel]
entry_script = "score.py"
"""
"""A parallel step over a table, seven lines; further keys of it can follow."""

TABLE = '[steps.a]\nrun = "true"\n[datasets.d]\ntable = "d.csv"\n'
"""A table dataset; its further keys begin on line 5."""

FILES = """\
[datasets.songs]
files = "data/**/*.wav"
partition_format = "{user}/{season}/{genre}.wav"
[steps.p]
inputs = { songs = "${datasets.songs}" }
outputs = { rows = "rows.csv" }
[steps.p.parallel]
entry_script = "score.py"
"""


def options_of(folder: Path, text: str) -> TableOptions:
    dataset = load(folder, text).datasets["d"]
    assert isinstance(dataset, TableDataset)
    return dataset.options


def settings_of(folder: Path, text: str) -> ParallelSettings:
    settings = load(folder, text).steps["p"].parallel
    assert settings is not None
    return settings


def test_a_table_by_its_name_alone(tmp_path: Path) -> None:
    dataset = load(tmp_path, TABLE).datasets["d"]
    assert isinstance(dataset, TableDataset)
    assert (dataset.name, dataset.patterns) == ("d", (f"{tmp_path}/d.csv",))
    assert dataset.options == TableOptions("csv")
    assert dataset.position == Position(tmp_path / "workflow.toml", 3, 11, 1)


@pytest.mark.parametrize(
    ("name", "table_format", "delimiter"),
    [
        ("d.csv", "csv", ","),
        ("d.TSV", "csv", "\t"),
        ("d.txt", "csv", ","),
        ("d.tsv.gz", "csv", "\t"),
        ("d.csv.zst", "csv", ","),
        ("d.jsonl", "jsonl", ","),
        ("d.ndjson.gz", "jsonl", ","),
        ("d/**/*.parquet", "parquet", ","),
        ("d.arrow", "arrow", ","),
        ("d.feather", "arrow", ","),
    ],
)
def test_the_extension_tells_format_and_delimiter(name: str, table_format: str, delimiter: str, tmp_path: Path) -> None:
    options = options_of(tmp_path, TABLE.replace("d.csv", name))
    assert (options.format, options.delimiter) == (table_format, delimiter)


def test_every_key_of_a_csv_table(tmp_path: Path) -> None:
    text = """\
table = ["a.dat", "more/"]
format = "csv"
delimiter = ";"
quote = "'"
escape = "\\\\"
header = false
encoding = "Latin1"
null_values = ["", "-"]
columns = ["0", "2"]
schema = { 2 = "timestamp[us, tz=Europe/Berlin]?" }
sample_rows = 20
field_size_max = "1 KiB"
"""
    assert options_of(tmp_path, '[steps.a]\nrun = "true"\n[datasets.d]\n' + text) == TableOptions(
        format="csv",
        delimiter=";",
        quote="'",
        escape="\\",
        header=False,
        encoding="iso8859-1",
        null_values=("", "-"),
        columns=("0", "2"),
        schema={"2": "timestamp[us, tz=Europe/Berlin]?"},
        sample_rows=20,
        field_size_max=1024,
    )


def test_what_is_empty_is_switched_off(tmp_path: Path) -> None:
    options = options_of(tmp_path, TABLE + "quote = ''\nescape = ''\nnull_values = []\n")
    assert (options.quote, options.escape, options.null_values) == (None, None, ())


def test_options_have_the_defaults_of_the_reader(tmp_path: Path) -> None:
    options = options_of(tmp_path, TABLE)
    assert (options.null_values, options.header, options.encoding) == (NULL_VALUES, True, "utf-8")
    assert TableOptions.from_json(options.as_json()) == options


@pytest.mark.parametrize(
    "name", ["UTF8", "utf-8-sig", "ascii", "latin-1", "cp1252", "koi8-r", "iso8859-15", "mac-roman", "euc_jp", "cp437"]
)
def test_encodings_in_which_a_comma_is_a_comma(name: str, tmp_path: Path) -> None:
    assert options_of(tmp_path, TABLE + f"encoding = '{name}'\n").encoding


def test_an_input_knows_its_table(tmp_path: Path) -> None:
    declared = load(tmp_path, SALES).steps["p"].inputs["sales"]
    position = Position(tmp_path / "workflow.toml", 2, 9, 12)
    assert declared == Input("sales", "dataset", (f"{tmp_path}/data/*.csv",), None, position, TableOptions("csv"), None)


@pytest.mark.parametrize(
    ("keys", "size", "unit"),
    [
        ("", 1 << 20, "bytes"),
        ("mini_batch_size = 1024\n", 1024, "bytes"),
        ("mini_batch_size = '1024KB'\n", 1 << 20, "bytes"),
        ("mini_batch_size = '10MB'\n", 10 << 20, "bytes"),
        ("mini_batch_size = '1.5 MiB'\n", 3 << 19, "bytes"),
        ("mini_batch_size = '1GB'\n", 1 << 30, "bytes"),
        ("mini_batch_size = '10_000 rows'\n", 10_000, "rows"),
        ("mini_batch_size = '1 row'\n", 1, "rows"),
        ("mini_batch_size = '5 Rows'\n", 5, "rows"),
    ],
)
def test_the_size_of_a_mini_batch_of_a_table(keys: str, size: int, unit: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SALES + keys)
    assert (settings.over, settings.mini_batch_size, settings.mini_batch_unit) == (("sales",), size, unit)
    assert (settings.frame, settings.partition_keys) == ("pandas", ())


def test_keys_and_kind_of_frame(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, SALES + "partition_keys = ['store', 'brand']\nas = 'arrow'\n")
    assert (settings.partition_keys, settings.frame) == (("store", "brand"), "arrow")


def test_a_parameter_can_be_the_keys_and_the_size(tmp_path: Path) -> None:
    params = "[params]\nkeys = ['store']\nsize = '2 MiB'\n"
    settings = settings_of(tmp_path, params + SALES + "partition_keys = '${params.keys}'\n")
    assert settings.partition_keys == ("store",)
    assert settings_of(tmp_path, params + SALES + "mini_batch_size = '${params.size}'\n").mini_batch_size == 2 << 20


def test_files_by_the_keys_in_their_paths(tmp_path: Path) -> None:
    workflow = load(tmp_path, FILES + "partition_keys = ['genre', 'user']\n")
    dataset, step = workflow.datasets["songs"], workflow.steps["p"]
    assert isinstance(dataset, FileDataset)
    assert dataset.partition_format == "{user}/{season}/{genre}.wav"
    assert step.inputs["songs"].partition_format == dataset.partition_format
    assert step.parallel is not None
    assert (step.parallel.partition_keys, step.parallel.mini_batch_unit) == (("genre", "user"), "items")


def test_several_inputs(tmp_path: Path) -> None:
    text = SALES.replace("inputs = { ", "inputs = { more = '${datasets.more}', model = 'data.csv', ")
    text += "over = ['sales', 'more']\n[datasets.more]\ntable = 'more.parquet'\n"
    settings = settings_of(tmp_path, text)
    assert (settings.over, settings.side_inputs) == (("sales", "more"), ("model",))


def test_the_rows_can_be_parquet_or_arrow(tmp_path: Path) -> None:
    for name, expected in (("o.parquet", "parquet"), ("o.arrow", "arrow"), ("o.feather", "arrow")):
        assert settings_of(tmp_path, SALES.replace("rows.csv", name)).output_format == expected
    assert settings_of(tmp_path, SALES + "output_format = 'parquet'\n").output_format == "parquet"


MADE = """\
params.pictures = "pictures[1]"
[datasets.sales]
table = "${steps.make.outputs.tables}*.csv"
[datasets.pictures]
files = ["${steps.make.outputs.pictures}", "data/"]
[steps.use]
run = "true"
inputs = { sales = "${datasets.sales}", pictures = "${datasets.pictures}" }
[steps.make]
run = "true"
outputs = { tables = "build/tables/", pictures = "build/${params.pictures}/" }
"""


def test_a_dataset_can_be_the_output_of_a_step(tmp_path: Path) -> None:
    workflow = load(tmp_path, MADE)
    step = workflow.steps["use"]
    assert step.dependencies == ("make",)
    assert step.inputs["sales"].patterns == (f"{tmp_path}/build/tables/*.csv",)
    assert (step.inputs["sales"].producer, step.inputs["sales"].kind) == ("make", "dataset")
    assert step.inputs["pictures"].patterns == (f"{tmp_path}/build/pictures[[]1]/", f"{tmp_path}/data/")
    assert workflow.default == ("use",)


def test_a_file_that_a_step_makes(tmp_path: Path) -> None:
    text = (
        "[datasets.d]\ntable = '${steps.make.outputs.iris}'\n[steps.make]\nrun='x'\noutputs = { iris = 'iris.csv' }\n"
    )
    dataset = load(tmp_path, text).datasets["d"]
    assert isinstance(dataset, TableDataset)
    assert (dataset.patterns, dataset.options.format) == ((f"{tmp_path}/iris.csv",), "csv")


def test_a_step_waits_though_it_names_the_dataset_outside_its_inputs(tmp_path: Path) -> None:
    text = MADE.replace('inputs = { sales = "${datasets.sales}", pictures = "${datasets.pictures}" }\n', "")
    step = load(tmp_path, text.replace('run = "true"\n', 'run = "cat ${datasets.sales}"\n', 1)).steps["use"]
    assert step.dependencies == ("make",)
    assert step.inputs["datasets.sales"].table == TableOptions("csv")


def test_a_parameter_of_a_dataset_belongs_to_the_steps_that_use_it(tmp_path: Path) -> None:
    text = "[params]\nsep = ';'\n" + SALES.replace("[steps.p]", "delimiter = '${params.sep}'\n[steps.p]")
    step = load(tmp_path, text).steps["p"]
    assert step.params == ("sep",)
    assert step.key_positions["inputs.sales.delimiter"] == Position(tmp_path / "workflow.toml", 5, 1, 9)
    assert step.inputs["sales"].table == TableOptions("csv", delimiter=";")


@pytest.mark.parametrize(
    "text",
    [
        SALES,
        FILES + "partition_keys = ['user']\n",
        SALES + "over = ['sales']\nmini_batch_size = '10_000 rows'\nas = 'polars'\n",
        TABLE + "quote = ''\nschema = { a = 'int64?' }\nnull_values = []\nheader = '${params.header}'\n",
    ],
)
def test_the_schema_accepts_tables(text: str) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(tomli.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        TABLE + "files = 'x'\n",
        TABLE.replace('table = "d.csv"', ""),
        TABLE + "delimiter = ';;'\n",
        SALES + "as = 'numpy'\n",
        SALES + "over = []\n",
        SALES + "partition_keys = []\n",
    ],
)
def test_the_schema_refuses_wrong_tables(text: str) -> None:
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(tomli.loads(text))


def test_what_is_described_of_extensions_is_what_is_known() -> None:
    described = json_schema()["$defs"]["DatasetShape"]["properties"]["format"]["description"]
    assert all(f" {one}" in described for one in EXTENSIONS)


def test_a_key_can_be_set_from_outside(tmp_path: Path) -> None:
    path = make_folder(tmp_path, TABLE)
    workflow = load_workflow(path, overrides=["datasets.d.delimiter=;", "datasets.d.table=x.txt"], environ={})
    dataset = workflow.datasets["d"]
    assert isinstance(dataset, TableDataset)
    assert (dataset.options.delimiter, dataset.options.format) == (";", "csv")
