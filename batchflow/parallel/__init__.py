"""One parallel step from listing to receipt, and ``map`` and ``Pool`` for callers without a workflow."""
