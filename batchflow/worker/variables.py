"""The environment of zygote and workers: how many threads the libraries start.  Pure; the driver needs it too."""

from __future__ import annotations

from collections.abc import Mapping

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
)
"""The libraries' variables that say how many threads a pool of theirs has."""

_SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
_DEFAULTS = {"TOKENIZERS_PARALLELISM": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}


def zygote_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to set before anything is imported, so that imports leave the process with one thread.

    ``environ`` is what the user set, the step's ``environment_variables`` included.  Numbers of threads overrule it;
    ``thread_caps`` gives a worker the user's values back.
    """
    return _SINGLE_THREADED | {name: value for name, value in _DEFAULTS.items() if name not in environ}


def thread_caps(cores: int, workers: int, environ: Mapping[str, str]) -> dict[str, str]:
    """Every variable of ``THREAD_VARIABLES`` for a worker: the user's value in ``environ``, else cores ÷ workers.

    ``environ`` is the user's, before ``zygote_environment`` was applied.  At least 1.
    """
    cap = str(max(1, cores // max(1, workers)))
    return {name: environ.get(name, cap) for name in THREAD_VARIABLES}
