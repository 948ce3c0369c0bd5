"""The words of the help texts: verbs, what they are for, examples."""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """How a verb is written and what it is for, in one line each."""

    usage: str
    summary: str


VERBS = {
    "run": Verb("[FILE] [TARGET...] [options]", "bring the targets up to date; the same command again continues"),
    "retry": Verb("[FILE] [STEP...] [options]", "do the failed and missing items, only these; then what follows"),
    "plan": Verb("[FILE] [TARGET...] [options]", "show what would run, and why; changes nothing"),
    "check": Verb("[FILE] [options]", "check a workflow file; runs nothing"),
    "list": Verb("[FILE] [options]", "show the steps and parameters of a workflow"),
    "dag": Verb("[FILE] [options]", "draw how the steps depend on each other"),
    "status": Verb("[FILE] [options]", "show how each step last ended, and where its outputs are"),
    "verify": Verb("[FILE] [STEP...] [options]", "check outputs, journals and receipts against each other"),
    "split": Verb("FILE [options]", "show where the pieces of a CSV or JSON Lines file begin"),
    "verify-split": Verb("FILE [options]", "prove that the pieces give the rows of the whole file"),
    "schema": Verb("[-o FILE]", "print the JSON Schema of workflow files, for editors"),
    "init": Verb("[FOLDER]", "write a small workflow that runs, to start from"),
}

EXAMPLES = {
    "run": """\
examples:
  batchflow run                        workflow.toml here or in a folder above
  batchflow run flow.toml predict      one step and what it needs
  batchflow run --set limit=200 -c 4   another parameter, four cores
  batchflow run -n                     what would run, and why
  batchflow run --profile-run          where the time goes, and the bottleneck

FILE is the first argument that ends in .toml or is a folder with a workflow in
it; a TARGET is a step or an output.""",
    "retry": """\
examples:
  batchflow retry                      every item that failed in the last run
  batchflow retry flow.toml predict    those of one step
  batchflow retry -n                   which steps, and how many items

Items that succeeded are kept, also if the script has changed since.""",
    "plan": """\
examples:
  batchflow plan                       workflow.toml here or in a folder above
  batchflow plan --set limit=200       what this parameter would change
  batchflow plan --json                the same for a program""",
    "check": """\
examples:
  batchflow check flow.toml
  batchflow check --json               every problem with its line and column""",
    "list": """\
examples:
  batchflow list
  batchflow list flow.toml --json""",
    "dag": """\
examples:
  batchflow dag                        a tree in the terminal
  batchflow dag --format dot | dot -Tsvg > dag.svg""",
    "status": """\
examples:
  batchflow status
  batchflow status flow.toml --json""",
    "verify": """\
examples:
  batchflow verify
  batchflow verify flow.toml predict   one step
  batchflow verify --json

Reads every byte of the outputs; runs and changes nothing. Exit code 6 if
something is not as it was written.""",
    "split": """\
examples:
  batchflow split orders.csv                  pieces of 1 MiB
  batchflow split orders.tsv --rows 10000     pieces of 10,000 records
  batchflow split dump.txt --delimiter ';' --escape '\\' --no-header --json

A piece begins with a record and never ends inside one, whatever is quoted.""",
    "verify-split": """\
examples:
  batchflow verify-split orders.csv
  batchflow verify-split orders.csv --rows 7  any other pieces

Python's csv reads each piece alone and the whole file in one pass. Exit code 1
with the first row that is not the same.""",
    "schema": """\
examples:
  batchflow schema -o workflow.schema.json""",
    "init": """\
examples:
  batchflow init                       here
  batchflow init digits && cd digits && batchflow run""",
}

TOP_HELP = "\n".join(
    [
        "Batch inference on all of this machine: every answer once, whatever crashes.",
        "",
        "examples:",
        "  batchflow init digits && cd digits   a small workflow to start from",
        "  batchflow run                        run workflow.toml of this folder",
        "  batchflow run flow.toml --set n=200  another file, another parameter",
        "  batchflow plan                       what would run, and why",
        "  batchflow retry                      only the items that failed",
        "",
        "usage: batchflow VERB [FILE] [options]",
        "",
        "verbs:",
        *(f"  {name:<12}  {verb.summary}" for name, verb in VERBS.items()),
        "",
        "options:",
        "  -h, --help     this help; batchflow VERB --help for a verb's options",
        "  -V, --version  the version",
        "",
        "exit codes: 0 done, or nothing to do; 1 a step failed; 2 command line;",
        "  3 workflow file; 4 the machine gave out; 5 a bug in batchflow; 6 refused;",
        "  128+n ended by signal n",
    ]
)
