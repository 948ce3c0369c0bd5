"""Output files: the growing one of a parallel step, failure log and receipt, and publishing under the final name."""
