"""From a job to what plan, pool and gather are made with.  Pure, but for reading the environment and the script."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from batchflow.parallel.values import ParallelJob
from batchflow.plan import Policy
from batchflow.pool.slot import PoolLimits
from batchflow.worker.spec import WorkerSpec
from batchflow.worker.variables import THREAD_VARIABLES


def worker_spec(job: ParallelJob) -> WorkerSpec:
    settings = job.settings
    variables = dict(os.environ) | dict(settings.environment_variables)
    return WorkerSpec(
        kind="script",
        worker_count=job.workers,
        folder=str(job.folder),
        environment=dict(settings.environment_variables),
        thread_environment={name: variables[name] for name in THREAD_VARIABLES if name in variables},
        cores=job.cores,
        logging_level=settings.logging_level,
        gpus_per_worker=settings.gpus_per_worker,
        script=str(settings.entry_script),
        source=_source_of(settings.entry_script),
        source_directory=str(settings.source_directory),
        arguments=job.arguments,
        step=job.step,
        run_id=job.run_id,
        output_folder=None if job.output_folder is None else str(job.output_folder),
        scratch_folder=str(job.state_folder / "scratch"),
        output_format=settings.output_format,
        delimiter=settings.delimiter,
        newline=settings.newline,
        items=settings.items,
        max_result_size=settings.max_result_size,
        frame=settings.frame if job.inputs[0].table is not None else None,
        profile=job.profile,
    )


def _source_of(script: Path) -> str | None:
    """What every worker executes, whoever edits the file meanwhile; None where the worker is to say what is wrong."""
    with contextlib.suppress(OSError):
        return script.read_bytes().decode("latin-1")
    return None


def pool_limits(job: ParallelJob) -> PoolLimits:
    settings = job.settings
    return PoolLimits(
        init_timeout_s=settings.init_timeout_s,
        run_timeout_s=settings.run_invocation_timeout_s,
        max_result_size=settings.max_result_size,
    )


def plan_policy(job: ParallelJob, item_count: int, mini_batch_count: int) -> Policy:
    """The counts are those of the whole input, however much of it is left to do."""
    settings = job.settings
    return Policy(
        attempts_max=settings.run_max_try,
        # A mini-batch may be one thing to the script: a model is trained on all of it.
        isolate=settings.isolate_failures and settings.items != "any" and not settings.partition_keys,
        failed_items_limit=settings.error_threshold.limit(item_count),
        failed_mini_batches_limit=settings.mini_batch_error_threshold.limit(mini_batch_count),
        failed_percent_limit=settings.allowed_failed_percent,
    )
