"""A ``run()`` that returns one row of a megabyte, newline included, for each item: bytes that are ready."""

ROW = "x" * 999_999


def run(mini_batch: list[str]) -> list[str]:
    return [ROW] * len(mini_batch)
