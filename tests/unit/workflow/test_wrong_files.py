"""Wrong workflow files: each gives its error at its line and column.  The numbers are counted by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from unit.workflow.workflow_files import PARALLEL, STEP, refused


@dataclass(frozen=True)
class Wrong:
    name: str
    text: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""


WRONG = [
    # the file as a whole
    Wrong("empty", "", 1, 1, "BF013", "no steps", "[steps.NAME]"),
    Wrong("only comments", "# nothing\n# here\n", 1, 1, "BF013", "no steps"),
    Wrong("no steps in the table", "name = 'x'\n[steps]\n", 2, 2, "BF013", "no steps"),
    Wrong("steps is text", "steps = 'a'\n", 1, 9, "BF010", "expected a table for `steps`, got 'a'"),
    Wrong("not toml", "schema = 1\nname = \n", 2, 8, "BF004", "not valid TOML: invalid value"),
    Wrong("duplicate key", 'name = "a"\nname = "b"\n' + STEP, 2, 11, "BF004", "cannot overwrite a value"),
    Wrong("duplicate step", STEP + "[steps.a]\nrun = 'x'\n", 3, 9, "BF004", "twice"),
    Wrong("unclosed string", 'name = "a\n' + STEP, 1, 8, "BF004", "this string is not closed", "closing quote"),
    Wrong("unclosed second string", "default = ['a', \"it's\n" + STEP, 1, 17, "BF004", "this string is not closed"),
    Wrong("unclosed literal", "name = 'a\n" + STEP, 1, 8, "BF004", "this string is not closed"),
    Wrong(
        "unclosed table",
        "[steps.a]  # {\ninputs = { x = '}', # {\nrun = 'y'\n[steps.b]\nrun = 'z'\n",
        *(2, 10, "BF004", "this `{` is not closed"),
    ),
    Wrong("unclosed array", "default = ['a'\nname = 'b'\n" + STEP, 1, 11, "BF004", "this `[` is not closed"),
    Wrong("schema of the future", "schema = 2\n" + STEP, 1, 10, "BF011", "`schema`: expected 1, got 2"),
    Wrong("unknown key", 'namx = "x"\n' + STEP, 1, 1, "BF012", "unknown key `namx`", "did you mean `name`?"),
    Wrong("unknown table", STEP + "[step.b]\nrun = 'x'\n", 3, 2, "BF012", "unknown key `step`", "`steps`"),
    Wrong("name with a slash", 'name = "a/b"\n' + STEP, 1, 8, "BF014", "'a/b' is not a name"),
    Wrong("default is text", 'default = "a"\n' + STEP, 1, 11, "BF010", "`default`: expected an array, got 'a'"),
    Wrong("unknown default", 'default = ["a", "tain"]\n' + STEP, 1, 17, "BF040", "'tain'"),
    # names
    Wrong("step in capitals", "[steps.Train]\nrun = 'x'\n", 1, 8, "BF014", "a step cannot be named 'Train'", "a-z 0-9"),
    Wrong("step with dots", '[steps."../x"]\nrun = "x"\n', 1, 8, "BF014", "a step cannot be named '../x'"),
    Wrong("look-alike letter", '[steps."tr\u0430in"]\nrun = "x"\n', 1, 8, "BF014", "cannot be named"),
    Wrong("step of 65 letters", f"[steps.{'a' * 65}]\nrun = 'x'\n", 1, 8, "BF014", "cannot be named"),
    Wrong("output with a slash", STEP + 'outputs = { "a/b" = "x" }\n', 3, 13, "BF014", "an entry of `outputs`"),
    Wrong("parameter with a dash", "[params]\na-b = 1\n" + STEP, 2, 1, "BF014", "a parameter cannot be named 'a-b'"),
    # steps
    Wrong("unknown key of a step", STEP + 'outptz = { o = "x" }\n', 3, 1, "BF012", "`outptz` in step `a`", "`outputs`"),
    Wrong("no kind", "[steps.a]\nhelp = 'x'\n", 1, 8, "BF016", "needs exactly one of `run`, `call`"),
    Wrong("two kinds", STEP + "call = 'tasks:main'\n", 1, 8, "BF016", "has `run` and `call`"),
    Wrong("args of a command", STEP + "args = { x = 1 }\n", 3, 1, "BF016", "`args` is for `call` steps"),
    Wrong("run is a number", "[steps.a]\nrun = 5\n", 2, 7, "BF010", "`run`: expected a command"),
    Wrong("run has a number", '[steps.a]\nrun = ["head", 5]\n', 2, 7, "BF010", "`run`: expected", "numbers in quotes"),
    Wrong(
        "call without function", "[steps.a]\ncall = 'tasks'\n", 2, 8, "BF011", "expected module:function, got 'tasks'"
    ),
    Wrong("call of a file", "[steps.a]\ncall = 'tasks.py:main'\n", 2, 8, "BF051", "no module", "write tasks:main"),
    Wrong("call of a path", "[steps.a]\ncall = './lib/x.py:f'\n", 2, 8, "BF011", "module:function", "write lib.x:f"),
    Wrong("call of no module", "[steps.a]\ncall = 'taskz:main'\n", 2, 8, "BF051", "no module `taskz`", "taskz.py"),
    Wrong(
        "call of no function",
        *("[steps.a]\ncall = 'tasks:mian'\n", 2, 8, "BF053", "does not define mian()", "did you mean `tasks:main`?"),
    ),
    Wrong(
        "call of another",
        "[steps.a]\ncall = 'tasks:x'\n",
        2,
        8,
        "BF053",
        "define x()",
        "define x(inputs, outputs, args)",
    ),
    Wrong("call of run()", "[steps.a]\ncall = 'score:run'\n", 2, 8, "BF053", "(inputs, outputs, args), line 4"),
    Wrong("date in args", "[steps.a]\ncall = 'tasks:main'\nargs = { day = 2024-01-01 }\n", 3, 16, "BF010", "a date"),
    Wrong("matrix", STEP + "matrix = { m = ['a'] }\n", 3, 1, "BF015", "`matrix` is not yet supported"),
    Wrong("profiles", STEP + "[profiles.quick]\nparams = {}\n", 3, 2, "BF015", "`profiles` is not yet supported"),
    Wrong("input that is missing", STEP + 'inputs = { x = "date.csv" }\n', 3, 16, "BF050", "date.csv", "`data.csv`"),
    Wrong("input that is no folder", STEP + 'inputs = { x = "data.csv/" }\n', 3, 16, "BF050", "is not a folder"),
    Wrong("remote input", STEP + 'inputs = { x = "s3://b/x" }\n', 3, 16, "BF015", "`s3:` locations"),
    Wrong("output pattern", STEP + 'outputs = { x = "*.csv" }\n', 3, 17, "BF011", "is a pattern"),
    Wrong("after nothing", STEP + "after = ['b']\n", 3, 10, "BF040", "no step `b`"),
    # graph
    Wrong("waits for itself", STEP + "after = ['a']\n", 3, 10, "BF041", "step `a` waits for itself"),
    Wrong(
        "cycle of three",
        "[steps.a]\nrun='x'\nafter=['c']\n[steps.b]\nrun='x'\nafter=['a']\n[steps.c]\nrun='x'\nafter=['b']\n",
        *(3, 8, "BF041", "steps wait for each other: `a` → `c` → `b` → `a`"),
    ),
    Wrong(
        "own output as input",
        'steps.a.run = "x"\nsteps.a.outputs.o = "o.txt"\nsteps.a.inputs.i = "${steps.a.outputs.o}"\n',
        *(3, 21, "BF041", "step `a` waits for itself"),
    ),
    Wrong(
        "one output of two steps",
        "steps.a={run='x', outputs={o='o.txt'}}\nsteps.b={run='x', outputs={p='./o.txt'}}\n",
        *(2, 30, "BF042", "output `p` of step `b` is the same path as output `o` of step `a`"),
    ),
    Wrong(
        "output in another's folder",
        "steps.a={run='x', outputs={o='d/x.txt'}}\nsteps.b={run='x', outputs={p='d/'}}\n",
        *(2, 30, "BF042", "output `p` of step `b` contains output `o` of step `a`"),
    ),
    Wrong("output replaces the project", STEP + "outputs = { o = './' }\n", 3, 17, "BF043", "the workflow file"),
    Wrong(
        "output replaces the file", STEP + "outputs = { o = 'workflow.toml' }\n", 3, 17, "BF043", "the workflow file"
    ),
    Wrong("output in our records", STEP + "outputs = { o = '.batchflow/x' }\n", 3, 17, "BF043", "records"),
    Wrong(
        "output replaces the input",
        STEP + "inputs = { i = 'data/a.png' }\noutputs = { o = 'data/' }\n",
        *(4, 17, "BF043", "output `o` would overwrite input `i`"),
    ),
    Wrong(
        "output among the input",
        STEP + "inputs = { i = 'data/**/*.png' }\noutputs = { o = 'data/new/' }\n",
        *(4, 17, "BF043", "lies inside input `i`"),
    ),
    Wrong(
        "reads without waiting",
        "steps.a={run='x', outputs={o='o.txt'}}\nsteps.b={run='x', inputs={i='o.txt'}}\n",
        *(2, 29, "BF044", "written by step `a`", "${steps.a.outputs.o}"),
    ),
    # references
    Wrong(
        "no such parameter",
        '[params]\nlimit = 1\n[steps.a]\nrun = "x ${params.limitx}"\n',
        4,
        10,
        "BF030",
        "`limitx`",
        "`limit`",
    ),
    Wrong("no such step", STEP + 'inputs = { x = "${steps.b.outputs.o}" }\n', 3, 17, "BF030", "no step `b`"),
    Wrong(
        "no such output",
        STEP + 'outputs = { o = "x" }\ninputs = { x = "${steps.a.outputs.p}" }\n',
        4,
        17,
        "BF030",
        "`p`",
    ),
    Wrong(
        "not an output", STEP + 'inputs = { x = "${steps.a.inputs.o}" }\n', 3, 17, "BF030", "${steps.STEP.outputs.NAME}"
    ),
    Wrong("no such namespace", '[steps.a]\nrun = "x ${paramz.x}"\n', 2, 10, "BF031", "`paramz`", "`params`"),
    Wrong("environment of the shell", '[steps.a]\nrun = "x ${env.HOME}"\n', 2, 10, "BF015", "`env` in references"),
    Wrong("gather", STEP + 'inputs = { x = "${steps.a[*].outputs.o}" }\n', 3, 17, "BF015", "[…] in references"),
    Wrong(
        "output of its own as input", STEP + 'inputs = { x = "${outputs.o}" }\n', 3, 17, "BF032", "cannot stand here"
    ),
    Wrong("not closed", '[params]\nx = 1\n[steps.a]\nrun = "y ${params.x"\n', 4, 10, "BF032", "is not closed"),
    Wrong("in a comment", '[params]\nx = 1\n[steps.a]\nrun = "y # ${params.x}"\n', 4, 12, "BF033", "inside a comment"),
    Wrong(
        "in backquotes", '[params]\nx = 1\n[steps.a]\nrun = "`y ${params.x}`"\n', 4, 11, "BF033", "inside backquotes"
    ),
    Wrong("list in quotes", "[params]\nx = [1, 2]\n[steps.a]\nrun = 'y \"${params.x}\"'\n", 4, 11, "BF033", "a list"),
    # parameters
    Wrong("no value", "[params]\nx = { type = 'int' }\n" + STEP, 2, 1, "BF021", "`x` needs a value", "--set x=VALUE"),
    Wrong("no type", "[params]\nx = { help = 'y' }\n" + STEP, 2, 1, "BF013", "needs a type or a default"),
    Wrong("unknown type", "[params]\nx = { type = 'integer' }\n" + STEP, 2, 14, "BF011", "`type`: expected", "`int`"),
    Wrong(
        "quoted default",
        "[params]\nx = { type = 'int', default = '5' }\n" + STEP,
        2,
        31,
        "BF022",
        "'5'",
        "remove the quotes",
    ),
    Wrong("above the maximum", "[params]\nx = { default = 5, max = 4 }\n" + STEP, 2, 17, "BF022", "at most 4, got 5"),
    Wrong(
        "min of text", "[params]\nx = { default = 'a', min = 4 }\n" + STEP, 2, 28, "BF023", "`min` is for int and float"
    ),
    Wrong(
        "min of a quoted number",
        "[params]\nx = { default = '50', min = 1 }\n" + STEP,
        *(2, 29, "BF023", "`min` is for int and float", "remove the quotes of the default"),
    ),
    Wrong("min above max", "[params]\nx = { default = 5, min = 9, max = 4 }\n" + STEP, 2, 26, "BF023", "`min` is 9"),
    Wrong(
        "bad pattern", "[params]\nx = { default = 'a', pattern = '(' }\n" + STEP, 2, 32, "BF023", "not a regular expr"
    ),
    Wrong(
        "not a choice",
        "[params]\nx = { default = 'c', choices = ['a', 'b'] }\n" + STEP,
        2,
        17,
        "BF022",
        "one of 'a', 'b'",
    ),
    Wrong("nan", "[params]\nx = nan\n" + STEP, 2, 5, "BF022", "a finite number"),
    Wrong("a date", "[params]\nx = 2024-01-01\n" + STEP, 2, 5, "BF010", "cannot be a parameter"),
    # datasets and models
    Wrong("tables", "[datasets.d]\ntables = 'x.csv'\n" + STEP, 2, 1, "BF012", "unknown key `tables`", "`table`?"),
    Wrong("remote dataset", "[datasets.d]\nfiles = 'az://c/x'\n" + STEP, 2, 9, "BF015", "`az:` locations"),
    Wrong("no files", "[datasets.d]\n" + STEP, 1, 11, "BF013", "missing key `files` or `table` in [datasets.d]"),
    Wrong("number among files", "[datasets.d]\nfiles = ['a', 5]\n" + STEP, 2, 15, "BF010", "`files`: expected"),
    Wrong(
        "missing model",
        "[models.m]\npath = 'models/smallx'\n" + STEP,
        2,
        8,
        "BF054",
        "models/smallx does not",
        "`small`",
    ),
    Wrong(
        "wrong digest", "[models.m]\npath = 'models/small'\nsha256 = 'abc'\n" + STEP, 3, 10, "BF011", "64 hexadecimal"
    ),
    # the parallel step; its lines begin at 6
    Wrong(
        "typo", PARALLEL + "mini_batchsize = 5\n", 6, 1, "BF012", "`mini_batchsize` in step `p`", "`mini_batch_size`"
    ),
    Wrong("key of the step", PARALLEL + "after = []\n", 6, 1, "BF012", "unknown key `after`", "belongs to the step"),
    Wrong(
        "quoted number",
        PARALLEL + 'mini_batch_size = "5"\n',
        6,
        19,
        "BF010",
        "whole number, got '5'",
        "remove the quotes",
    ),
    Wrong(
        "nothing in a batch",
        PARALLEL + "mini_batch_size = 0\n",
        6,
        19,
        "BF011",
        "`mini_batch_size`: expected at least 1, got 0",
    ),
    Wrong("too much in a batch", PARALLEL + "mini_batch_size = 1_000_000_000_000_000_000\n", 6, 19, "BF011", "at most"),
    Wrong("batch in bytes", PARALLEL + 'mini_batch_size = "10 KB"\n', 6, 19, "BF016", "for tables"),
    Wrong("batch in words", PARALLEL + 'mini_batch_size = "ten"\n', 6, 19, "BF010", "whole number, got 'ten'"),
    Wrong(
        "reference without braces",
        PARALLEL + "mini_batch_size = '$params.batch'\n",
        *(6, 19, "BF010", "whole number, got '$params.batch'", "did you mean `${params.batch}`?"),
    ),
    Wrong("no workers", PARALLEL + "workers = 0\n", 6, 11, "BF011", "`workers`: expected at least 1, got 0"),
    Wrong("fewer than no workers", PARALLEL + "workers = -1\n", 6, 11, "BF011", "expected at least 1, got -1"),
    Wrong("a million workers", PARALLEL + "workers = 1_000_000\n", 6, 11, "BF011", "expected at most 4096"),
    Wrong("true workers", PARALLEL + "workers = true\n", 6, 11, "BF010", "expected a whole number, got true"),
    Wrong("half a worker", PARALLEL + "workers = 1.5\n", 6, 11, "BF010", "expected a whole number, got 1.5"),
    Wrong("timeout nan", PARALLEL + "init_timeout = nan\n", 6, 16, "BF011", "expected a duration"),
    Wrong("timeout inf", PARALLEL + "init_timeout = inf\n", 6, 16, "BF011", "expected a duration"),
    Wrong("timeout minus zero", PARALLEL + "init_timeout = -0.0\n", 6, 16, "BF011", "expected a duration"),
    Wrong("timeout in quotes", PARALLEL + "init_timeout = '60'\n", 6, 16, "BF010", "got '60'", "remove the quotes"),
    Wrong(
        "timeout in parsecs", PARALLEL + "init_timeout = '2 parsec'\n", 6, 16, "BF010", "got '2 parsec'", "units: ms"
    ),
    Wrong("threshold in quotes", PARALLEL + "error_threshold = '5'\n", 6, 19, "BF010", "got '5'", "remove the quotes"),
    Wrong("threshold too low", PARALLEL + "error_threshold = -2\n", 6, 19, "BF011", "-1 (any number)"),
    Wrong("threshold of 101%", PARALLEL + "error_threshold = '101%'\n", 6, 19, "BF011", "at most 100%"),
    Wrong("size of nothing", PARALLEL + "max_result_size = 0\n", 6, 19, "BF011", "from 1 byte"),
    Wrong("order", PARALLEL + "order = 'inptu'\n", 6, 9, "BF011", "'input' or 'completion'", "did you mean `input`?"),
    Wrong("two nodes", PARALLEL + "nodes = 2\n", 6, 9, "BF015", "more than one node is not yet supported"),
    Wrong("durability", PARALLEL + "durability = 'none'\n", 6, 14, "BF011", "expected 'full' or 'process', got 'none'"),
    Wrong(
        "number as argument",
        PARALLEL + "arguments = ['--n', 5]\n",
        6,
        21,
        "BF010",
        "expected a string, got 5",
        "quotes",
    ),
    Wrong("variable with a dash", PARALLEL + "environment_variables = { A-B = '1' }\n", 6, 27, "BF014", "'A-B'"),
    Wrong("variable as a number", PARALLEL + "environment_variables = { A = 1 }\n", 6, 31, "BF010", "a string, got 1"),
    Wrong("over nothing", PARALLEL + "over = 'image'\n", 6, 8, "BF060", "no input `image` to split", "`images`"),
    Wrong("side input", PARALLEL + "side_inputs = ['images']\n", 6, 15, "BF060", "is the input that is split"),
    Wrong("rows to nothing", PARALLEL + "append_row_to = 'row'\n", 6, 17, "BF061", "no output `row`", "`rows`"),
    Wrong(
        "rows of a summary",
        PARALLEL + "output_action='summary_only'\nappend_row_to='rows'\n",
        7,
        15,
        "BF016",
        "no meaning",
    ),
    Wrong("file name in a file", PARALLEL + "append_row_file_name = 'x'\n", 6, 24, "BF016", "is a file"),
    Wrong("failures to nothing", PARALLEL + "failed_to = 'x'\n", 6, 13, "BF061", "no output `x` for failed_to"),
    Wrong(
        "failures among rows",
        PARALLEL + "append_row_to = 'rows'\nfailed_to = 'rows'\n",
        7,
        13,
        "BF061",
        "an output each",
    ),
    Wrong(
        "unknown extension", PARALLEL.replace("rows.csv", "rows.dat"), 3, 20, "BF062", "cannot be told", "output_format"
    ),
    Wrong("no output", PARALLEL.replace('rows = "rows.csv"', ""), 4, 10, "BF061", "has no output for its rows"),
    Wrong(
        "two outputs", PARALLEL.replace('"rows.csv"', '"a.csv", b = "b.csv"'), 4, 10, "BF061", "has 2 outputs", '"b"'
    ),
    Wrong("no input", PARALLEL.replace('images = "data/"', ""), 4, 10, "BF060", "has no input to split"),
    Wrong(
        "two inputs",
        PARALLEL.replace('"data/"', '"data/", d = "data.csv"'),
        4,
        10,
        "BF060",
        "which one",
        'over = "images"',
    ),
    Wrong(
        "no entry script",
        PARALLEL.replace('entry_script = "score.py"', ""),
        4,
        10,
        "BF013",
        "missing key `entry_script`",
    ),
    Wrong(
        "script is missing",
        PARALLEL.replace("score.py", "scor.py"),
        5,
        16,
        "BF051",
        "scor.py does not exist",
        "`score.py`",
    ),
    Wrong("script is a folder", PARALLEL.replace("score.py", "data"), 5, 16, "BF051", "is a folder"),
    Wrong(
        "script cannot be parsed", PARALLEL.replace("score.py", "no_syntax.py"), 5, 16, "BF051", "no_syntax.py, line 1:"
    ),
    Wrong("script without run()", PARALLEL.replace("score.py", "no_run.py"), 5, 16, "BF052", "does not define run()"),
    Wrong("run() takes three", PARALLEL.replace("score.py", "two_many.py"), 5, 16, "BF052", "must take (mini_batch)"),
    Wrong("no source folder", PARALLEL + "source_directory = 'src'\n", 6, 20, "BF051", "src is not a folder"),
]


@pytest.mark.fault("H20", "K1", "K2", "K3", "K4", "K5", "K6", "K7", "K12", "K14", "S3")
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_wrong_file_is_refused_at_its_line_and_column(wrong: Wrong, tmp_path: Path) -> None:
    error = refused(tmp_path, wrong.text)
    found = error.diagnostics[0]
    assert found.position is not None, str(error)
    assert (found.position.line, found.position.column, found.code) == (wrong.line, wrong.column, wrong.code), str(
        error
    )
    assert wrong.message in found.message
    assert wrong.hint in (found.hint or "")
    assert error.exit_code == 3
    # One fault, one error: nothing that follows from it is reported as well.
    assert len(error.diagnostics) == 1, str(error)


def test_every_code_that_is_used_is_explained() -> None:
    from batchflow.workflow import CODES

    assert {wrong.code for wrong in WRONG} <= set(CODES)
