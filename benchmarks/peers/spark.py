"""Spark on this machine: ``DataFrame.mapInPandas`` over the paths, results by Arrow with ``toPandas``.

Python workers are used again by later jobs: a first job, whose tasks wait for each other, loads the model in each;
a second one takes the way of the real one, so that the JVM has its classes loaded.
Spark makes a partition of each Arrow batch: there are a few for each worker, as its tuning guide advises, of as many
paths as fill whole mini-batches, and the function cuts them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import pandas
from pyspark.sql import SparkSession

from benchmarks.cases.common import MissingToolError
from benchmarks.peers.base import Setting, call, load, meet, pack, unpack

PARTITIONS = 3
"""For each worker."""


class Peer:
    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def start(self) -> None:
        if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
            raise MissingToolError("java is not installed")
        setting = self._setting
        os.environ["PYSPARK_PYTHON"] = sys.executable
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        self._spark = (
            SparkSession.builder.master(f"local[{setting.workers}]")
            .config("spark.ui.enabled", "false")
            .config("spark.log.level", "ERROR")
            .config("spark.sql.execution.arrow.pyspark.enabled", "true")
            .config("spark.default.parallelism", setting.workers * PARTITIONS)
            .getOrCreate()
        )
        with tempfile.TemporaryDirectory() as folder:
            tasks = self._spark.range(0, setting.workers, 1, setting.workers)
            tasks.mapInPandas(partial(load_and_meet, setting, folder), "number long").collect()
        self._map(identity, pandas.DataFrame({"path": ["warm"] * setting.workers * PARTITIONS}))

    def results(self, mini_batches: Iterable[list[str]], count: int) -> Iterator[list[Any]]:
        setting = self._setting
        everything = list(mini_batches)
        paths = pandas.DataFrame({"path": list(chain.from_iterable(everything))})
        size = len(everything[0])
        bundle = -(-len(everything) // (setting.workers * PARTITIONS))
        self._spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", bundle * size)
        score = partial(score_all, size, setting.output_format)
        yield unpack(self._map(score, paths), setting.output_format)

    def _map(self, function: Any, paths: pandas.DataFrame) -> list[str]:
        rows: list[str] = (
            self._spark.createDataFrame(paths).mapInPandas(function, "row string").toPandas()["row"].tolist()
        )
        return rows

    def close(self) -> None:
        gateway = self._spark.sparkContext._gateway
        self._spark.stop()
        gateway.shutdown()
        gateway.proc.stdin.close()  # the JVM ends when it reads the end of it
        gateway.proc.wait()


def load_and_meet(setting: Setting, folder: str, frames: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
    load(setting.script, setting.arguments)
    meet(folder, setting.workers)
    for frame in frames:
        yield pandas.DataFrame({"number": frame["id"]})


def identity(frames: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
    """Paths as rows."""
    for frame in frames:
        yield pandas.DataFrame({"row": frame["path"]})


def score_all(size: int, output_format: str, frames: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
    """One frame of rows for each frame of paths."""
    for frame in frames:
        paths = frame["path"].tolist()
        rows = chain.from_iterable(call(paths[start : start + size]) for start in range(0, len(paths), size))
        yield pandas.DataFrame({"row": pack(rows, output_format)})
