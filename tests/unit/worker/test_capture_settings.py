"""The variables and the logging a worker gets; what needs a process of its own is in the system tests."""

from __future__ import annotations

import logging

import pytest

from batchflow.worker.capture import configure_logging
from batchflow.worker.variables import thread_caps, zygote_environment


@pytest.mark.parametrize(
    ("cores", "workers", "cap"), [(8, 2, "4"), (8, 3, "2"), (2, 2, "1"), (2, 8, "1"), (1, 1, "1"), (4, 0, "4")]
)
def test_cores_are_shared_out(cores, workers, cap):
    caps = thread_caps(cores, workers, {"PATH": "/bin"})
    assert set(caps.values()) == {cap}
    assert {
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "RAYON_NUM_THREADS",
    } <= caps.keys()


def test_what_the_user_set_stays_and_comes_back():
    user = {"OMP_NUM_THREADS": "3", "TF_NUM_INTRAOP_THREADS": "0"}
    environ = user | zygote_environment(user)
    assert environ["OMP_NUM_THREADS"] == "1"
    caps = thread_caps(8, 4, user)
    assert (caps["OMP_NUM_THREADS"], caps["TF_NUM_INTRAOP_THREADS"]) == ("3", "0")
    assert caps["OPENBLAS_NUM_THREADS"] == "2"


def test_the_zygote_imports_with_one_thread():
    assert zygote_environment({}) == {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "TOKENIZERS_PARALLELISM": "false",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    chosen = {"TF_CPP_MIN_LOG_LEVEL": "0", "TOKENIZERS_PARALLELISM": "true"}
    assert chosen.keys().isdisjoint(zygote_environment(chosen))


@pytest.fixture
def root(monkeypatch):
    """A function that gives the root logger as Python starts with it, without the handlers of the test runner."""
    logger = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(logging, "root", logger)
    monkeypatch.setattr(logging.Logger, "root", logger)
    monkeypatch.setattr(logging.Logger.manager, "root", logger)

    def fresh():
        logger.handlers.clear()
        logger.setLevel(logging.WARNING)
        return logger

    return fresh


def test_logging_goes_to_standard_error_at_the_level(root, capsys):
    logger = root()
    configure_logging("INFO")
    logger.info("loaded %s", "m")
    logger.debug("hidden")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(" INFO root: loaded m\n")
    configure_logging("DEBUG")
    assert len(logger.handlers) == 1


def test_what_the_script_configured_stays(root):
    logger = root()
    logging.basicConfig(format="mine %(message)s", level="ERROR")
    configure_logging("DEBUG")
    assert (logger.level, len(logger.handlers)) == (logging.ERROR, 1)
    root()
    logging.basicConfig(format="mine %(message)s")
    configure_logging("DEBUG")
    assert (logger.level, len(logger.handlers)) == (logging.WARNING, 1)


def test_the_handler_of_logging_info_is_not_a_configuration(root, capsys):
    logger = root()
    logging.info("too early")
    assert len(logger.handlers) == 1
    configure_logging("INFO")
    logging.info("now")
    assert capsys.readouterr().err == "INFO:root:now\n"
