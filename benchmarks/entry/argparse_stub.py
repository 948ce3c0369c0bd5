"""A command line of the size of ours in plain argparse: ten subcommands with eight options each."""

import argparse

parser = argparse.ArgumentParser(description=__doc__)
commands = parser.add_subparsers()
for name in ("run", "plan", "check", "list", "status", "dag", "init", "schema", "retry", "verify"):
    command = commands.add_parser(name, help=f"what {name} does")
    for letter in "abcdefgh":
        command.add_argument(f"--{letter * 3}", help=f"what {letter} means")
parser.parse_args()
