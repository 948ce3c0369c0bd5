"""Datasets → items: which files there are.

patterns   what a pattern means
datasets   patterns → packed listing
hints      why nothing matched
"""

from batchflow.data.datasets import list_files

__all__ = ["list_files"]
