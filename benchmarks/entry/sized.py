"""A ``run()`` whose rows are ``--size`` bytes each, newline included."""

import argparse

_row: str


def init() -> None:
    global _row
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    _row = "x" * (parser.parse_args().size - 1)


def run(mini_batch: list[str]) -> list[str]:
    return [_row] * len(mini_batch)
