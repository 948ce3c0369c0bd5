"""Table datasets and the steps over them: what is refused, and at which line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.workflow.test_tables import FILES, MADE, SALES, TABLE
from unit.workflow.test_wrong_files import Wrong
from unit.workflow.workflow_files import refused

WRONG = [
    # datasets
    Wrong("neither", TABLE.replace('table = "d.csv"\n', ""), 3, 11, "BF013", "missing key `files` or `table`"),
    Wrong("both", TABLE + "files = 'x'\n", 4, 1, "BF016", "has both `files` and `table`", "it gets data frames"),
    Wrong(
        "delimiter of files",
        TABLE.replace("table", "files") + "delimiter = ';'\n",
        *(5, 1, "BF016", "`delimiter` is for datasets with `table`, and dataset `d` has `files`", "write `table`"),
    ),
    Wrong("format of a path", TABLE + "partition_format = '{a}.csv'\n", 5, 1, "BF016", "is for datasets with `files`"),
    Wrong("a table is a number", TABLE.replace('"d.csv"', "5"), 4, 9, "BF010", "`table`: expected a path, a pattern"),
    Wrong("no tables", TABLE.replace('"d.csv"', "[]"), 4, 9, "BF011", "`table`: an empty array is not allowed"),
    Wrong("an empty table", TABLE.replace('"d.csv"', '["d.csv", ""]'), 4, 19, "BF011", "got an empty string"),
    Wrong("a table on the web", TABLE.replace("d.csv", "az://x.csv"), 4, 9, "BF015", "`az:` locations"),
    Wrong("unknown key", TABLE + "delimeter = ';'\n", 5, 1, "BF012", "`delimeter` in dataset `d`", "`delimiter`?"),
    Wrong("a key of the step", TABLE + "mini_batch_size = 5\n", 5, 1, "BF012", "unknown key", "the table `parallel`"),
    Wrong("no such format", TABLE + "format = 'xls'\n", 5, 10, "BF011", "`format`: expected 'csv', 'jsonl', 'parquet'"),
    Wrong("a folder", TABLE.replace("d.csv", "d/"), 4, 9, "BF064", "cannot be told from 'd/'", 'add format = "csv"'),
    Wrong("json", TABLE.replace("d.csv", "d/*.json"), 4, 9, "BF064", "cannot be told from '*.json'", "add format"),
    Wrong(
        "two formats",
        TABLE.replace('"d.csv"', '["a.csv", "b.jsonl"]'),
        *(4, 19, "BF064", "'a.csv' is csv and 'b.jsonl' is jsonl", "make two of it"),
    ),
    Wrong(
        "two delimiters",
        TABLE.replace('"d.csv"', '["a.csv", "b.tsv"]'),
        *(4, 19, "BF064", "'b.tsv' and 'a.csv' have different delimiters", "add `delimiter`"),
    ),
    Wrong(
        "compressed twice",
        TABLE.replace("d.csv", "d.parquet.gz"),
        *(4, 9, "BF064", "'d.parquet.gz': parquet files that are compressed once more", "by itself"),
    ),
    Wrong(
        "delimiter of parquet",
        TABLE.replace("d.csv", "d.parquet") + "delimiter = ';'\n",
        *(5, 1, "BF016", "`delimiter` is for csv, and this table is parquet"),
    ),
    Wrong(
        "schema of arrow",
        TABLE.replace("d.csv", "d.arrow") + "schema = { a = 'int64' }\n",
        *(5, 1, "BF016", "`schema` is for csv and jsonl, and this table is arrow"),
    ),
    Wrong(
        "header of jsonl", TABLE.replace("d.csv", "d.jsonl") + "header = true\n", 5, 1, "BF016", "`header` is for csv"
    ),
    Wrong("two characters", TABLE + "delimiter = '||'\n", 5, 13, "BF011", "expected one character, got '||'"),
    Wrong("umlaut", TABLE + "delimiter = 'ä'\n", 5, 13, "BF011", "expected an ASCII character that ends no line"),
    Wrong("newline", TABLE + 'delimiter = "\\n"\n', 5, 13, "BF011", "expected an ASCII character that ends no line"),
    Wrong("quote is delimiter", TABLE + "quote = ','\n", 5, 9, "BF011", "`quote`: ',' is the delimiter already"),
    Wrong("escape is quote", TABLE + "escape = '\"'\n", 5, 10, "BF011", "is the quote already"),
    Wrong("no such encoding", TABLE + "encoding = 'latin-99'\n", 5, 12, "BF011", "'latin-99' is not known", "latin-1"),
    Wrong("no encoding of text", TABLE + "encoding = 'base64'\n", 5, 12, "BF011", "'base64' is not known"),
    *(
        Wrong(f"encoding {name}", TABLE + f"encoding = '{name}'\n", 5, 12, "BF011", "are not a byte each", "iconv -f")
        for name in ("utf-16", "utf-32-le", "shift_jis", "gbk", "big5", "utf-7", "iso2022_jp", "hz", "cp037")
    ),
    Wrong("a column twice", TABLE + "columns = ['a', 'b', 'a']\n", 5, 22, "BF011", "'a' stands there twice"),
    Wrong("no columns", TABLE + "columns = []\n", 5, 11, "BF011", "`columns`: an empty array is not allowed"),
    Wrong(
        "int",
        TABLE + "schema = { b = 'int64', a = 'int?' }\n",
        *(5, 29, "BF011", "`schema.a`: 'int?' is not a type", "write int64?"),
    ),
    Wrong("no type", TABLE + "schema.a = 'colour'\n", 5, 12, "BF011", "'colour' is not a type", "types: int64, double"),
    Wrong("type as a number", TABLE + "schema.a = 64\n", 5, 12, "BF010", "`schema.a`: expected a string, got 64"),
    Wrong(
        "type of another column",
        TABLE + "columns = ['price']\nschema.prize = 'double'\n",
        *(6, 16, "BF065", "'prize' is not among `columns`", "did you mean `price`?"),
    ),
    Wrong("no sample", TABLE + "sample_rows = 0\n", 5, 15, "BF011", "`sample_rows`: expected at least 1, got 0"),
    Wrong("no field", TABLE + "field_size_max = '1 mile'\n", 5, 18, "BF010", "expected bytes or a size"),
    Wrong(
        "format without a key",
        FILES.replace("{user}/{season}/{genre}.wav", "*.wav"),
        *(3, 20, "BF011", "`partition_format`: a wildcard"),
    ),
    Wrong(
        "outputs of nobody",
        TABLE.replace("d.csv", "${steps.make.outputs.d}"),
        *(4, 10, "BF030", "no step `make`", "known: `a`"),
    ),
    Wrong(
        "a dataset of a dataset",
        TABLE.replace("d.csv", "${datasets.e}"),
        4,
        10,
        "BF032",
        "`${datasets.e}` cannot stand",
    ),
    Wrong(
        "a step in another key",
        TABLE + "delimiter = '${steps.a.outputs.x}'\n",
        *(5, 14, "BF032", "cannot stand here"),
    ),
    # parallel steps
    Wrong("over a number", SALES + "over = 5\n", 8, 8, "BF010", "`over`: expected the name of an input or an array"),
    Wrong("over nothing", SALES + "over = []\n", 8, 8, "BF011", "`over`: an empty array"),
    Wrong("over an unknown one", SALES + "over = ['sales', 'sale']\n", 8, 18, "BF060", "no input `sale`", "`sales`?"),
    Wrong("over one twice", SALES + "over = ['sales', 'sales']\n", 8, 18, "BF060", "`sales` would be split twice"),
    Wrong(
        "of two kinds",
        SALES.replace("inputs = { ", "inputs = { d = 'data/', ") + "over = ['sales', 'd']\n",
        *(8, 18, "BF063", "the items of `sales` are the records of a table, those of `d` are files", "all of them"),
    ),
    Wrong("text as a number", SALES + "mini_batch_size = '1024'\n", 8, 19, "BF010", "got '1024'", "remove the quotes"),
    Wrong("no rows", SALES + "mini_batch_size = '0 rows'\n", 8, 19, "BF011", "from 1 to 1000000000 rows"),
    Wrong("a comma", SALES + "mini_batch_size = '10,000 rows'\n", 8, 19, "BF010", 'such as "10_000 rows"'),
    Wrong("no bytes", SALES + "mini_batch_size = '0 KB'\n", 8, 19, "BF011", "a size from 1 byte"),
    Wrong(
        "rows of files",
        FILES + "mini_batch_size = '5 rows'\n",
        *(9, 19, "BF016", "in rows is for tables, and the items of `songs` are files", "the number of files"),
    ),
    Wrong(
        "bytes of a path",
        FILES.replace("${datasets.songs}", "data.csv") + "mini_batch_size = '1 MiB'\n",
        *(9, 19, "BF016", "in bytes is for tables", "declare it: [datasets.NAME] with table"),
    ),
    Wrong("frames of files", FILES + "as = 'pandas'\n", 9, 6, "BF016", "`as` is for tables, and the items of `songs`"),
    Wrong("no such frame", SALES + "as = 'numpy'\n", 8, 6, "BF011", "`as`: expected 'pandas', 'arrow' or 'polars'"),
    Wrong(
        "keys and a size",
        SALES + "partition_keys = ['store']\nmini_batch_size = '1 MiB'\n",
        *(9, 19, "BF016", "`mini_batch_size` and `partition_keys` exclude each other", "the same keys"),
    ),
    Wrong("no keys", SALES + "partition_keys = []\n", 8, 18, "BF011", "`partition_keys`: an empty array"),
    Wrong("one key as text", SALES + "partition_keys = 'store'\n", 8, 18, "BF010", "expected an array, got 'store'"),
    Wrong("a key twice", SALES + "partition_keys = ['a', 'a']\n", 8, 24, "BF011", "'a' stands there twice"),
    Wrong(
        "a key that is not read",
        SALES.replace("[steps.p]", "columns = ['store', 'x']\n[steps.p]") + "partition_keys = ['x', 'stor']\n",
        *(9, 24, "BF065", "the key 'stor' is not in the `columns` that are read of `sales`", "`store`?"),
    ),
    Wrong(
        "a key that is in no path",
        FILES + "partition_keys = ['user', 'gender']\n",
        *(9, 27, "BF065", "the key 'gender' is not in the partition_format of `songs`", "`genre`?"),
    ),
    Wrong(
        "keys without a format",
        FILES.replace('partition_format = "{user}/{season}/{genre}.wav"\n', "") + "partition_keys = ['user']\n",
        *(8, 18, "BF065", "the files of `songs` have no keys", "partition_format ="),
    ),
    Wrong(
        "a format in the wrong place",
        SALES + "partition_format = '{a}.csv'\n",
        *(8, 1, "BF012", "unknown key `partition_format`", "belongs to the dataset"),
    ),
    Wrong(
        "header of parquet",
        SALES.replace("rows.csv", "rows.parquet") + "header = false\n",
        *(8, 10, "BF016", "`header` has no meaning in parquet"),
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_table_is_refused_at_its_line_and_column(wrong: Wrong, tmp_path: Path) -> None:
    error = refused(tmp_path, wrong.text)
    found = error.diagnostics[0]
    assert found.position is not None, str(error)
    place = (found.position.line, found.position.column, found.code)
    assert place == (wrong.line, wrong.column, wrong.code), str(error)
    assert wrong.message in found.message
    assert wrong.hint in (found.hint or "")
    assert len(error.diagnostics) == 1, str(error)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    keys = "delimiter = 'ä'\nencoding = 'x'\nschema = { a = 'b', c = 'int' }\ncolumns = ['a', 'a']\n"
    error = refused(tmp_path, TABLE + keys)
    assert [(one.position.line, one.code) for one in error.diagnostics if one.position] == [
        (5, "BF011"),
        (6, "BF011"),
        (7, "BF011"),
        (7, "BF011"),
        (7, "BF065"),
        (8, "BF011"),
    ]


def test_a_step_that_reads_what_it_makes_waits_for_itself(tmp_path: Path) -> None:
    text = "[datasets.d]\ntable = '${steps.a.outputs.o}'\n[steps.a]\nrun='x'\n"
    text += "inputs = { d = '${datasets.d}' }\noutputs = { o = 'o.csv' }\n"
    (found,) = refused(tmp_path, text).diagnostics
    assert (found.code, found.message) == ("BF041", "step `a` waits for itself")
    assert found.position is not None
    assert (found.position.line, found.position.column) == (5, 16)


def test_the_files_beside_an_output_are_looked_at_as_well(tmp_path: Path) -> None:
    """That one source is made by a step it waits for does not excuse the others."""
    text = MADE + "[steps.other]\nrun = 'true'\noutputs = { o = 'data/o.txt' }\n"
    (found,) = refused(tmp_path, text).diagnostics
    assert found.code == "BF044"
    assert "lies inside input `pictures`" in found.message
