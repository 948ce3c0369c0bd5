"""What runs in child processes: the zygote, its workers, and the entry-script contract.

The driver imports from here only what it tells them (``spec``, ``variables``).
"""
