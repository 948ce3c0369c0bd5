"""Datasets → items → mini-batches: which files there are, and which of them belong together.

patterns   what a pattern means
datasets   patterns → packed listing
hints      why nothing matched
partition  items → mini-batches
"""

from batchflow.data.datasets import list_files
from batchflow.data.partition import mini_batch_count, mini_batch_range

__all__ = ["list_files", "mini_batch_count", "mini_batch_range"]
