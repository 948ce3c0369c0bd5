"""How each tool is used: one module for each, one class ``Peer`` in it, all of the same shape (``peers.base``).

Every peer is the tool's own recommended way: the model is loaded by an initializer once in each worker, threads are
capped to cores ÷ workers, results come back in input order (``pool-unordered`` shows what giving up the order brings).
Where the tool lets messages carry several mini-batches, the number is tuned before it is measured.
"""

LIGHT = ("loop", "static", "pool", "pool-unordered", "executor", "joblib", "mpire")
HEAVY = ("dataloader", "tf-data", "dask", "ray-actors", "ray-data", "spark")
"""Hundreds of megabytes to install or seconds to start: not in quick runs unless they are named."""
MODULES = {
    "batchflow": "batchflow._core",
    "joblib": "joblib",
    "mpire": "mpire",
    "dataloader": "torch",
    "tf-data": "tensorflow",
    "dask": "distributed",
    "ray-actors": "ray",
    "ray-data": "ray",
    "spark": "pyspark",
}
"""What has to be importable; the others are Python's own."""
CHUNKED = ("pool", "pool-unordered", "executor", "joblib", "mpire", "dataloader", "dask", "ray-actors", "ray-data")
"""How many mini-batches a message carries can be chosen."""
BUNDLING = ("dask", "ray-actors", "ray-data")
"""Of these, the ones whose documentation advises against small tasks: not measured with one mini-batch a message."""
ALONE = ("loop", "tf-data")
"""One process, whose threads may use every core."""
UNREAPED = ("dask", "ray-actors", "ray-data", "spark")
"""Their processes are killed or reaped by others: what CPU time they took is read before they end."""
